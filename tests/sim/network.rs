//! Sockets of a simulation: the code is that of any program, the network is in memory.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;
use sward::net::{Shutdown, TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
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

/// The news that the reader has made room is told again once the link is mended.
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
        sward::sleep(Duration::from_secs(3600));
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
