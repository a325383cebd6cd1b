//! Sockets of a simulation: the code is that of any program, the network is in memory.

use std::io::{ErrorKind, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use sward::net::{Shutdown, TcpListener, TcpSocket, TcpStream, UdpSocket, UnixListener, UnixStream};
use sward::sim::{Check, Link, Sim, SystemFaults};

fn echo(listener: TcpListener) {
    for stream in listener.incoming() {
        let mut stream = stream.expect("accepted");
        sward::spawn(move || {
            let mut buf = [0; 100];
            loop {
                match stream.read(&mut buf) {
                    Ok(0) | Err(_) => return,
                    Ok(count) => stream.write_all(&buf[..count]).expect("written"),
                }
            }
        });
    }
}

#[test]
fn a_server_and_its_clients_talk_over_loopback() {
    let passed = Check::new().runs(20).run(|_| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound");
        let closes = listener.try_clone().expect("cloned");
        let server = sward::spawn(move || echo(listener));
        sward::scope(|scope| {
            for client in 0..3u8 {
                scope.spawn(move || {
                    let mut stream = TcpStream::connect(address).expect("connected");
                    let sent = vec![client; 3000];
                    stream.write_all(&sent).expect("written");
                    stream.shutdown(Shutdown::Write).expect("shut");
                    let mut got = Vec::new();
                    stream.read_to_end(&mut got).expect("read");
                    assert_eq!(got, sent);
                });
            }
        });
        closes.close().expect("closed");
        server.join().expect("no panic");
    });
    assert_eq!(passed.schedules, 20);
}

/// A host that answers each connection with what it reads.
fn echo_host(sim: &Sim) {
    sim.host("echo", || echo(TcpListener::bind("0.0.0.0:7").expect("bound")));
    sward::sleep(Duration::from_millis(1));
}

#[test]
fn a_partition_stalls_a_connection_and_healing_mends_it() {
    Check::new().runs(20).run(|sim| {
        echo_host(sim);
        let mut stream = TcpStream::connect("echo:7").expect("connected");
        assert_eq!(stream.peer_addr().expect("connected").ip(), sim.address("echo"));
        sim.partition("", "echo");
        stream.write_all(b"hello").expect("there is room");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
        let mut buf = [0; 5];
        assert_eq!(stream.read(&mut buf).expect_err("cut").kind(), ErrorKind::WouldBlock);
        assert!(sim.now() >= Duration::from_secs(60));
        sim.heal("", "echo");
        stream.read_exact(&mut buf).expect("it was sent again");
        assert_eq!(&buf, b"hello");
        sim.isolate("echo");
        let refused = TcpStream::connect("echo:7").expect_err("nobody answers");
        assert_eq!(refused.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_crashed_host_is_gone_and_comes_back() {
    Check::new().runs(20).run(|sim| {
        echo_host(sim);
        let mut stream = TcpStream::connect("echo:7").expect("connected");
        sim.crash("echo");
        let _ = stream.write_all(b"x");
        sim.restart("echo");
        // The new host knows nothing of the connection.
        assert!(!matches!(stream.read(&mut [0]), Ok(1)));
        let mut stream = TcpStream::connect("echo:7").expect("it is up");
        stream.write_all(b"y").expect("written");
        stream.read_exact(&mut [0]).expect("answered");
    });
}

/// The news that the reader has made room is told again once the link is mended, if that is in time.
#[test]
fn a_writer_that_waits_for_room_goes_on_after_a_long_partition() {
    Check::new().runs(3).run(|sim| {
        sim.socket_buffer(10);
        sim.host("reader", || {
            let (mut stream, _) = TcpListener::bind("0.0.0.0:80").expect("bound").accept().expect("accepted");
            sward::sleep(Duration::from_secs(10));
            let mut got = Vec::new();
            stream.read_to_end(&mut got).expect("read");
            assert_eq!(got.len(), 30);
        });
        sward::sleep(Duration::from_millis(1));
        let mut stream = TcpStream::connect("reader:80").expect("connected");
        stream.write_all(&[0; 10]).expect("there is room");
        sward::sleep(Duration::from_secs(5));
        sim.partition("", "reader");
        let writer = sward::spawn(move || stream.write_all(&[1; 20]).expect("written"));
        sward::sleep(Duration::from_secs(800));
        sim.heal("", "reader");
        writer.join().expect("no panic");
    });
}

/// What is written waits for room, so no packet would find out.
#[test]
fn a_writer_that_waits_for_room_learns_that_the_reader_has_crashed() {
    for (restarts, cut) in [(true, false), (false, false), (true, true)] {
        Check::new().runs(10).run(|sim| {
            sim.socket_buffer(10);
            sim.host("reader", || {
                let listener = TcpListener::bind("0.0.0.0:80").expect("bound");
                let _stream = listener.accept().expect("accepted");
                sward::task::park();
            });
            sward::sleep(Duration::from_millis(1));
            let mut stream = TcpStream::connect("reader:80").expect("connected");
            stream.write_all(&[0; 10]).expect("there is room");
            sward::sleep(Duration::from_secs(5));
            let writer = sward::spawn(move || stream.write_all(&[1; 20]).expect_err("nobody reads").kind());
            sward::sleep(Duration::from_secs(5));
            if cut {
                sim.partition("", "reader");
            }
            sim.crash("reader");
            if restarts {
                sim.restart("reader");
            }
            sward::sleep(Duration::from_secs(60));
            sim.heal_all();
            let kind = writer.join().expect("no panic");
            assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::TimedOut), "{kind}");
        });
    }
}

#[test]
fn a_connect_that_never_times_out_waits_for_the_link() {
    Check::new().runs(3).run(|sim| {
        sim.host("a", || {});
        sim.connect_timeout(Duration::MAX);
        sim.partition("", "a");
        let connects = sward::spawn(|| TcpStream::connect("a:80").map(drop));
        sward::sleep(Duration::from_secs(1000));
        connects.cancel();
        assert!(connects.join().is_err_and(|error| error.is_cancelled()));
    });
    // The end of time is no event: the simulation does not get there.
    let waits = Check::new().runs(1).try_run(|sim| {
        sim.host("a", || {});
        sim.connect_timeout(Duration::MAX);
        sim.partition("", "a");
        let _ = TcpStream::connect("a:80");
    });
    let waits = waits.expect_err("nobody mends the link");
    assert!(waits.what().contains("deadlock"), "{waits}");
}

struct SaysGoodBye(u16);

impl Drop for SaysGoodBye {
    fn drop(&mut self) {
        if let Ok(socket) = UdpSocket::bind("0.0.0.0:0") {
            let _ = socket.send_to(b"bye", ("10.0.0.254", self.0));
        }
    }
}

#[test]
fn destructors_of_a_crashed_host_reach_nobody() {
    Check::new().runs(20).run(|sim| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("bound");
        let port = socket.local_addr().expect("bound").port();
        sim.host("a", move || {
            let _bye = SaysGoodBye(port);
            sward::task::park();
        });
        sward::sleep(Duration::from_millis(1));
        sim.crash("a");
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("set");
        assert_eq!(socket.recv_from(&mut [0; 9]).expect_err("nobody sends").kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn small_buffers_and_bad_links_lose_no_byte_of_a_stream() {
    Check::new().runs(20).run(|sim| {
        sim.socket_buffer(500);
        sim.links(Link::new().loss(0.05).slow(0.1).bandwidth(100_000));
        echo_host(sim);
        let mut faults = SystemFaults::default();
        (faults.exhausted, faults.interrupted) = (0.2, 0.2);
        sim.system_faults(faults);
        let stream = loop {
            match TcpStream::connect("echo:7") {
                Ok(stream) => break stream,
                Err(error) => assert_eq!(error.raw_os_error(), Some(24), "no descriptor: {error}"),
            }
        };
        let data: Vec<u8> = (0..5_000u32).map(|n| n as u8).collect();
        let mut got = Vec::new();
        sward::scope(|scope| {
            scope.spawn(|| {
                (&stream).write_all(&data).expect("written");
                stream.shutdown(Shutdown::Write).expect("shut");
            });
            (&stream).read_to_end(&mut got).expect("read");
        });
        assert!(got == data);
    });
}

#[test]
fn datagrams_get_lost_and_unix_sockets_do_not_leave_their_host() {
    let mut lost = 0;
    for seed in 0..10 {
        let count = std::sync::atomic::AtomicUsize::new(0);
        Check::new().runs(1).seed(seed).run(|sim| {
            sim.links(Link::new().loss(0.3));
            sim.host("receiver", || {
                let listener = UnixListener::bind("/run").expect("bound");
                let _ = listener.accept();
            });
            sward::sleep(Duration::from_millis(1));
            assert!(UnixStream::connect("/run").is_err(), "that is on another host");
            let socket = UdpSocket::bind("0.0.0.0:0").expect("bound");
            let to = socket.local_addr().expect("bound").port();
            sim.host("sender", move || {
                let socket = UdpSocket::bind("0.0.0.0:0").expect("bound");
                for n in 0..20u8 {
                    socket.send_to(&[n], ("10.0.0.254", to)).expect("sent");
                }
            });
            socket.set_read_timeout(Some(Duration::from_secs(1))).expect("set");
            let mut got = 0;
            while let Ok((_, from)) = socket.recv_from(&mut [0; 9]) {
                assert_eq!(from.ip(), sim.address("sender"));
                got += 1;
            }
            count.store(got, std::sync::atomic::Ordering::Relaxed);
        });
        lost += 20 - count.into_inner();
    }
    assert!(lost > 20, "{lost} of 200");
}

/// A connection to a host that neither reads nor writes.
fn to_silent_host(sim: &Sim) -> TcpStream {
    sim.host("silent", || {
        let listener = TcpListener::bind("0.0.0.0:80").expect("bound");
        let _stream = listener.accept().expect("accepted");
        sward::task::park();
    });
    sward::sleep(Duration::from_millis(1));
    let stream = TcpStream::connect("silent:80").expect("connected");
    sward::sleep(Duration::from_secs(1));
    stream
}

#[test]
fn a_writer_that_waits_behind_a_partition_gives_up() {
    for (one_way, heals) in [(false, false), (true, false), (false, true)] {
        Check::new().runs(10).run(|sim| {
            sim.socket_buffer(10);
            let mut stream = to_silent_host(sim);
            stream.write_all(&[0; 10]).expect("there is room");
            sward::sleep(Duration::from_secs(1));
            let cut =
                || if one_way { sim.partition_one_way("silent", "") } else { sim.partition("", "silent") };
            cut();
            let began = sim.now();
            stream.set_write_timeout(Some(Duration::from_secs(600))).expect("set");
            assert_eq!(stream.write(&[1]).expect_err("no room").kind(), ErrorKind::WouldBlock);
            stream.set_write_timeout(None).expect("set");
            if heals {
                // The time begins anew.
                sim.heal_all();
                sward::sleep(Duration::from_secs(1));
                cut();
            }
            assert_eq!(stream.write(&[1]).expect_err("no answer").kind(), ErrorKind::TimedOut);
            let minutes = (sim.now() - began).as_secs() / 60;
            let expected = if heals { 25 } else { 15 };
            assert!((expected..expected + 2).contains(&minutes), "after {minutes} minutes");
        });
    }
}

#[test]
fn an_idle_connection_ends_only_if_it_is_kept_alive() {
    let connect = |sim: &Sim, minutes: u64| {
        sim.host("silent", || {
            let listener = TcpListener::bind("0.0.0.0:80").expect("bound");
            let _stream = listener.accept().expect("accepted");
            sward::task::park();
        });
        sward::sleep(Duration::from_millis(1));
        let socket = TcpSocket::new_v4().expect("opened");
        socket.set_keepalive(minutes > 0).expect("set");
        if minutes > 0 {
            socket.set_keepalive_time(Duration::from_secs(minutes * 60)).expect("set");
            socket.set_keepalive_interval(Duration::from_secs(60)).expect("set");
            socket.set_keepalive_retries(5).expect("set");
        }
        let address = (sim.address("silent"), 80).into();
        let stream = socket.connect(address).expect("connected");
        sward::sleep(Duration::from_secs(1));
        stream
    };
    // Out of reach.
    Check::new().runs(10).run(|sim| {
        let mut stream = connect(sim, 20);
        stream.set_read_timeout(Some(Duration::from_secs(3600))).expect("set");
        assert_eq!(stream.read(&mut [0]).expect_err("nothing comes").kind(), ErrorKind::WouldBlock);
        sim.isolate("silent");
        stream.set_read_timeout(None).expect("set");
        let began = sim.now();
        assert_eq!(stream.read(&mut [0]).expect_err("no answer").kind(), ErrorKind::TimedOut);
        assert_eq!((sim.now() - began).as_secs(), 25 * 60);
    });
    // Gone, and its host knows nothing of it.
    Check::new().runs(10).run(|sim| {
        let mut stream = connect(sim, 20);
        let began = sim.now();
        sim.partition("", "silent");
        sim.restart("silent");
        sim.heal("", "silent");
        assert_eq!(stream.read(&mut [0]).expect_err("reset").kind(), ErrorKind::ConnectionReset);
        assert!((sim.now() - began).as_secs() <= 20 * 60);
    });
    // Without, a reader waits for ever.
    let failed = Check::new().runs(1).try_run(|sim| {
        let mut stream = connect(sim, 0);
        sim.isolate("silent");
        let _ = stream.read(&mut [0]);
    });
    let failed = failed.expect_err("nobody answers");
    assert!(failed.what().contains("deadlock"), "{failed}");
}

/// Requests arrive and answers do not: the connection neither loses nor repeats a byte, and ends at last.
#[test]
fn a_link_that_is_cut_in_one_direction() {
    Check::new().runs(20).run(|sim| {
        let got = Arc::new(Mutex::new(Vec::new()));
        let reads = Arc::clone(&got);
        sim.host("server", move || {
            let (mut stream, _) = TcpListener::bind("0.0.0.0:80").expect("bound").accept().expect("accepted");
            let mut buf = [0; 3];
            while let Ok(count @ 1..) = stream.read(&mut buf) {
                reads.lock().expect("no panic").extend_from_slice(&buf[..count]);
                if stream.write_all(&buf[..count]).is_err() {
                    return;
                }
            }
        });
        sward::sleep(Duration::from_millis(1));
        let mut stream = TcpStream::connect("server:80").expect("connected");
        let (sent, rest) = b"hello, world".split_at(5);
        stream.write_all(sent).expect("sent");
        stream.read_exact(&mut [0; 5]).expect("answered");
        sim.partition_one_way("server", "");
        stream.write_all(rest).expect("sent");
        stream.set_read_timeout(Some(Duration::from_secs(300))).expect("set");
        assert_eq!(stream.read(&mut [0]).expect_err("cut").kind(), ErrorKind::WouldBlock);
        assert_eq!(*got.lock().expect("no panic"), b"hello, world");
        if sim.random() % 2 == 0 {
            sim.heal("", "server");
            stream.read_exact(&mut [0; 7]).expect("answered");
            assert_eq!(*got.lock().expect("no panic"), b"hello, world");
        } else {
            stream.set_read_timeout(None).expect("set");
            assert_eq!(stream.read(&mut [0]).expect_err("no answer").kind(), ErrorKind::TimedOut);
            assert!(sim.now() > Duration::from_secs(15 * 60));
        }
    });
}

/// The same program on the system and in a simulation.
#[test]
fn ends_of_connections_are_those_of_the_system() {
    let wait = || sward::sleep(Duration::from_millis(50));
    let kind = |result: std::io::Result<usize>| match result {
        Ok(count) => format!("{count}"),
        Err(error) => format!("{:?}", error.kind()),
    };
    let program = || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound");
        let pair = || {
            let client = TcpStream::connect(address).expect("connected");
            (client, listener.accept().expect("accepted").0)
        };
        let mut seen = Vec::new();
        // Closed, and then written to.
        for reads_first in [false, true] {
            let (mut client, server) = pair();
            drop(server);
            wait();
            seen.push(kind(client.write(b"x")));
            wait();
            if reads_first {
                seen.push(kind(client.read(&mut [0])));
            }
            seen.push(kind(client.write(b"x")));
            seen.push(kind(client.read(&mut [0])));
            seen.push(kind(client.write(b"x")));
        }
        // Closed with something unread.
        for writes_first in [false, true] {
            let (mut client, mut server) = pair();
            client.write_all(b"unread").expect("sent");
            server.write_all(b"data").expect("sent");
            wait();
            drop(server);
            wait();
            if writes_first {
                seen.push(kind(client.write(b"x")));
            }
            for _ in 0..3 {
                seen.push(kind(client.read(&mut [0; 9])));
            }
            seen.push(kind(client.write(b"x")));
        }
        // No more reads, and something comes all the same.
        let (client, mut server) = pair();
        client.shutdown(Shutdown::Read).expect("shut");
        seen.push(kind((&client).read(&mut [0; 9])));
        server.write_all(b"data").expect("sent");
        wait();
        seen.push(kind((&client).read(&mut [0; 9])));
        seen.push(kind((&client).read(&mut [0; 9])));
        seen
    };
    let real = sward::run(program);
    Check::new().runs(5).run(|_| assert_eq!(program(), real));
}
