//! Limits and bad input: peers that drip, vanish and reset; descriptors, buffers and signals that get in the
//! way. What concerns the whole process is tested in a child: the test runs itself again.

mod checked;
mod common;
mod programs;

use common::{cpu_time, listen, pair, reset_on_drop, set_option};
use programs::Server;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use sward::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use sward::time::timeout;

/// A limit that no test reaches unless it hangs.
const GUARD: Duration = Duration::from_secs(60);

const ROLE: &str = "SWARD_TEST_ROLE";

/// Runs the closure in a child process, which is this test again, and demands that it succeeds.
fn in_child(test: &str, f: impl FnOnce()) -> Option<String> {
    if std::env::var_os(ROLE).is_some() {
        f();
        return None;
    }
    let mut command = Command::new(std::env::current_exe().expect("the test's own program"));
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, test);
    let output: Output = command.output().expect("a child");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
    Some(said.into_owned())
}

fn in_runtime<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime").run(f)
}

/// The byte at that place of a long transfer: a period that no buffer's size divides.
fn byte(at: usize) -> u8 {
    (at % 251) as u8
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(byte).collect()
}

/// Many who send their requests a byte at a time: those who behave are answered meanwhile, and the slow ones
/// are refused in the end.
#[test]
fn slow_clients_do_not_hold_up_the_others() {
    const SLOW: usize = 300;
    let Some(server) = Server::start("http", &["--head-seconds", "2", "--workers", "1"]) else { return };
    let connect = || {
        let stream = std::net::TcpStream::connect(&server.address).expect("connected");
        stream.set_read_timeout(Some(GUARD)).expect("set");
        stream
    };
    let mut slow: Vec<_> = (0..SLOW)
        .map(|_| {
            let mut stream = connect();
            stream.write_all(b"GET / HTTP/1.1\r\nX: ").expect("written");
            stream
        })
        .collect();
    let start = Instant::now();
    let mut answered = 0;
    while start.elapsed() < Duration::from_secs(1) || answered < 20 {
        // Some may have been refused already, if this machine is slow.
        slow.iter_mut().for_each(|stream| _ = stream.write_all(b"x"));
        let mut good = connect();
        good.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("written");
        let mut answer = String::new();
        good.read_to_string(&mut answer).expect("read");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("Hello, World!\n"), "{answer}");
        answered += 1;
    }
    for mut stream in slow {
        let mut refusal = Vec::new();
        // A byte that crosses with the refusal turns the end into a reset.
        let ended = stream.read_to_end(&mut refusal);
        assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
        let refused = refusal.starts_with(b"HTTP/1.1 408");
        assert!(refused || refusal.is_empty(), "{}", String::from_utf8_lossy(&refusal));
    }
}

/// How a peer leaves.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// It resets the connection, having said nothing.
    ResetAtOnce,
    /// It resets it while the server waits for the rest of the request.
    ResetInRequest,
    /// It resets it while the server waits for room to write its answer to.
    ResetInAnswer,
    /// It closes with the answer unread.
    CloseInAnswer,
    /// It closes its own direction in the middle of the request.
    HalfInRequest,
    /// It closes its own direction after the request, and reads the answer to its end.
    HalfAfterRequest,
}

const WAYS: [Leaves; 6] = [
    Leaves::ResetAtOnce,
    Leaves::ResetInRequest,
    Leaves::ResetInAnswer,
    Leaves::CloseInAnswer,
    Leaves::HalfInRequest,
    Leaves::HalfAfterRequest,
];

const REQUEST: usize = 1_000;
/// More than the buffers of a connection hold.
const ANSWER: usize = 16 << 20;

/// Reads a request, and writes an answer that does not fit into any buffer.
fn serve(mut stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    stream.read_exact(&mut [0; REQUEST])?;
    stream.write_all(answer)
}

fn visit(address: SocketAddr, leaves: Leaves) {
    let mut stream = std::net::TcpStream::connect(address).expect("connected");
    match leaves {
        Leaves::ResetAtOnce => reset_on_drop(&stream),
        Leaves::ResetInRequest => {
            stream.write_all(&[1; REQUEST / 2]).expect("written");
            thread::sleep(Duration::from_millis(5));
            reset_on_drop(&stream);
        }
        Leaves::ResetInAnswer | Leaves::CloseInAnswer => {
            stream.write_all(&[1; REQUEST]).expect("written");
            stream.read_exact(&mut [0; 100]).expect("the answer begins");
            thread::sleep(Duration::from_millis(5));
            if let Leaves::ResetInAnswer = leaves {
                reset_on_drop(&stream);
            }
        }
        Leaves::HalfInRequest => {
            stream.write_all(&[1; REQUEST / 2]).expect("written");
            stream.shutdown(Shutdown::Write).expect("half closed");
            assert_eq!(stream.read(&mut [0]).expect("the server closes"), 0);
        }
        Leaves::HalfAfterRequest => {
            stream.write_all(&[1; REQUEST]).expect("written");
            stream.shutdown(Shutdown::Write).expect("half closed");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).expect("read");
            assert!(answer == pattern(ANSWER));
        }
    }
}

/// Peers leave in all ways and at all times. Each handler ends, with the right error, and the server goes on.
#[test]
fn peers_that_vanish_end_their_handlers_alone() {
    const EACH: usize = 5;
    let outcomes = in_runtime(|| {
        let (listener, address) = listen();
        let answer = pattern(ANSWER);
        let peers = thread::spawn(move || {
            let visits = (0..EACH * WAYS.len()).map(|i| thread::spawn(move || visit(address, WAYS[i % 6])));
            visits.collect::<Vec<_>>().into_iter().for_each(|visit| visit.join().expect("no panic"));
        });
        let outcomes = sward::scope(|s| {
            let handlers: Vec<_> = (0..EACH * WAYS.len())
                .map(|_| {
                    let (stream, _) = listener.accept().expect("accepted");
                    s.spawn(|| serve(stream, &answer))
                })
                .collect();
            let join = || handlers.into_iter().map(|handler| handler.join().expect("no panic")).collect();
            timeout(GUARD, join).expect("a handler waits for a peer that is gone")
        });
        sward::blocking(|| peers.join().expect("no panic")).expect("a thread");
        let outcomes: Vec<io::Result<()>> = outcomes;
        outcomes
    });
    let count = |wanted: &[ErrorKind]| {
        outcomes.iter().filter(|o| o.as_ref().is_err_and(|e| wanted.contains(&e.kind()))).count()
    };
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), EACH, "{outcomes:?}");
    assert_eq!(count(&[ErrorKind::UnexpectedEof]), EACH, "{outcomes:?}");
    // A connection that is reset once more bytes are on their way is a broken pipe.
    let reset = count(&[ErrorKind::ConnectionReset, ErrorKind::BrokenPipe]);
    assert_eq!(reset, 4 * EACH, "{outcomes:?}");
}

/// A write that waits for room ends with the reset, and so do those that come after it.
#[test]
fn a_reset_ends_a_write_that_waits() {
    let test = || {
        let (mut client, server) = pair();
        reset_on_drop(&server);
        let (told, tell) = mpsc::channel();
        let writer = thread::spawn(move || {
            in_runtime(|| {
                let mut written = 0;
                let error = loop {
                    match client.write(&[1; 1 << 16]) {
                        Ok(count) => written += count,
                        Err(error) => break error,
                    }
                    told.send(written).expect("somebody listens");
                };
                (error.kind(), client.write(&[1]).expect_err("it is reset").kind())
            })
        });
        // Nobody reads: the writer stops when the buffers are full.
        while tell.recv_timeout(Duration::from_millis(200)).is_ok() {}
        assert!(!writer.is_finished());
        drop(server);
        let (first, second) = writer.join().expect("no panic");
        assert_eq!((first, second), (ErrorKind::ConnectionReset, ErrorKind::BrokenPipe));
    };
    in_runtime(test);
    test();
}

/// With no descriptors left, what needs one fails or waits, without spinning; what has one goes on; and when
/// there are some again, all is as before.
#[test]
fn a_server_survives_without_descriptors() {
    let said = in_child("a_server_survives_without_descriptors", || {
        in_runtime(|| {
            let (listener, address) = listen();
            let served = Arc::new(AtomicUsize::new(0));
            let theirs = served.clone();
            sward::spawn(move || {
                for stream in listener.incoming() {
                    let stream = stream.expect("exhaustion is waited out");
                    let served = theirs.clone();
                    sward::spawn(move || {
                        served.fetch_add(1, Ordering::SeqCst);
                        io::copy(&mut &stream, &mut &stream)
                    });
                }
            });
            let echo = |stream: &TcpStream| {
                (&mut &*stream).write_all(b"x").expect("written");
                (&mut &*stream).read_exact(&mut [0]).expect("echoed");
            };
            let early = TcpStream::connect(address).expect("connected");
            echo(&early);
            let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
            // SAFETY: the limit lives until the call ends.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
            let mut held = Vec::new();
            while let Ok(file) = std::fs::File::open("/dev/null") {
                held.push(file);
            }
            // One is left for the client, and none for the server.
            held.pop();
            let waits = TcpStream::connect(address).expect("the kernel connects it");
            let before = cpu_time();
            let start = Instant::now();
            let mut refused = 0;
            while start.elapsed() < Duration::from_secs(1) {
                for connected in [TcpStream::connect(address), TcpStream::connect(("127.0.0.1", 9))] {
                    assert_eq!(connected.expect_err("no descriptor").raw_os_error(), Some(libc::EMFILE));
                }
                assert_eq!(TcpListener::bind("127.0.0.1:0").unwrap_err().raw_os_error(), Some(libc::EMFILE));
                refused += 1;
                echo(&early);
                sward::sleep(Duration::from_millis(10));
            }
            assert!(refused > 0);
            assert!(cpu_time() - before < Duration::from_millis(500), "it spins: {:?}", cpu_time() - before);
            assert_eq!(served.load(Ordering::SeqCst), 1);
            drop(held);
            timeout(GUARD, || echo(&waits)).expect("accepted in the end");
            let late = TcpStream::connect(address).expect("connected");
            timeout(GUARD, || echo(&late)).expect("accepted");
            assert_eq!(served.load(Ordering::SeqCst), 3);
        });
    });
    if let Some(said) = said {
        assert!(said.contains("backing off"), "{said}");
    }
}

/// Buffers so small that hardly any write is done in one piece.
#[test]
fn writes_in_small_pieces_lose_nothing() {
    const SIZE: usize = 1 << 19;
    let test = || {
        let (client, server) = pair();
        // The smallest that the kernel allows; and no pauses until what was sent before is acknowledged.
        set_option::<libc::c_int>(&client, libc::SOL_SOCKET, libc::SO_SNDBUF, 1);
        client.set_nodelay(true).expect("set");
        let sent = pattern(SIZE);
        let expected = sent.clone();
        let reader = thread::spawn(move || {
            in_runtime(|| {
                let (mut got, mut server) = (Vec::new(), server);
                timeout(GUARD, || server.read_to_end(&mut got)).expect("all comes").expect("read");
                assert!(got.len() == 2 * SIZE && got[..SIZE] == expected && got[SIZE..] == expected);
            });
        });
        let mut short = 0;
        let mut left = &sent[..];
        while !left.is_empty() {
            let count = (&client).write(left).expect("written");
            short += usize::from(count < left.len());
            left = &left[count..];
        }
        assert!(short > 8, "the buffers are not small");
        let mut slices: Vec<_> = sent.chunks(700).map(IoSlice::new).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            let count = (&client).write_vectored(left).expect("written");
            IoSlice::advance_slices(&mut left, count);
        }
        drop(client);
        reader.join().expect("no panic");
    };
    in_runtime(test);
    test();
}

#[test]
fn a_transfer_is_read_a_byte_at_a_time() {
    const SIZE: usize = 1 << 20;
    in_runtime(|| {
        let (mut client, mut server) = pair();
        let writer = sward::spawn(move || client.write_all(&pattern(SIZE)));
        let mut got = [0];
        for at in 0..SIZE {
            assert_eq!(server.read(&mut got).expect("read"), 1);
            assert_eq!(got[0], byte(at), "at {at}");
        }
        assert_eq!(server.read(&mut got).expect("the end"), 0);
        writer.join().expect("no panic").expect("written");
    });
}

/// The memory of this process that is in use, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}

/// What a writer has not got rid of yet is in its own buffer, and nowhere else.
#[test]
fn a_long_write_to_a_slow_reader_takes_no_memory() {
    const SIZE: usize = 64 << 20;
    in_child("a_long_write_to_a_slow_reader_takes_no_memory", || {
        in_runtime(|| {
            let (mut client, mut server) = pair();
            let sent = pattern(SIZE);
            let mut buffer = vec![1; 1 << 16];
            // What the transfer needs once is there before the measurement.
            client.write_all(&sent[..1 << 20]).expect("it fits");
            server.read_exact(&mut vec![1; 1 << 20]).expect("read");
            let before = resident();
            let mut most = before;
            sward::scope(|s| {
                s.spawn(|| {
                    client.write_all(&sent).expect("written");
                    client.shutdown(Shutdown::Write).expect("the end");
                });
                let mut at = 0;
                loop {
                    let count = server.read(&mut buffer).expect("read");
                    if count == 0 {
                        break;
                    }
                    assert!(
                        buffer[..count].iter().enumerate().all(|(i, got)| *got == byte(at + i)),
                        "at {at}"
                    );
                    if at >> 20 != (at + count) >> 20 {
                        most = most.max(resident());
                        sward::sleep(Duration::from_millis(5));
                    }
                    at += count;
                }
                assert_eq!(at, SIZE);
            });
            assert!(most < before + (8 << 10), "it took {} KiB", most - before);
        });
    });
}

static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn count_signal(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// A signal every millisecond to the process, and one to each of its threads, that interrupts whatever waits
/// in the kernel. It blows over after a while, so that what it holds up for ever is a failure, not a hang:
/// whether it has come to that.
fn storm(stop: &AtomicBool) -> bool {
    let start = Instant::now();
    // SAFETY: the handler adds to an atomic; it is without `SA_RESTART`. The signals go to this process.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count_signal as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
        let me = libc::getpid();
        while !stop.load(Ordering::Relaxed) {
            if start.elapsed() > GUARD {
                return true;
            }
            libc::kill(me, libc::SIGUSR1);
            for thread in std::fs::read_dir("/proc/self/task").expect("Linux") {
                let number = thread.expect("an entry").file_name();
                let number: libc::pid_t = number.to_str().and_then(|n| n.parse().ok()).expect("a number");
                // One that has ended meanwhile is not found.
                libc::syscall(libc::SYS_tgkill, me, number, libc::SIGUSR1);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    false
}

/// Nothing fails, ends early or late, or loses a byte because signals interrupt it, in coroutines and on
/// plain threads.
#[test]
fn a_storm_of_signals_is_not_noticed() {
    in_child("a_storm_of_signals_is_not_noticed", || {
        static STOP: AtomicBool = AtomicBool::new(false);
        let storms = thread::spawn(|| storm(&STOP));
        while SIGNALS.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        in_runtime(|| {
            sward::scope(|s| {
                s.spawn(transfers);
                s.spawn(sleeps);
                s.spawn(calls_block);
                s.spawn(messages);
                s.spawn(connects);
                s.spawn(|| sward::blocking(transfers).expect("a thread"));
                s.spawn(|| sward::blocking(sleeps).expect("a thread"));
                s.spawn(|| sward::blocking(messages).expect("a thread"));
                s.spawn(|| sward::blocking(connects).expect("a thread"));
            });
        });
        STOP.store(true, Ordering::Relaxed);
        assert!(!storms.join().expect("no panic"), "something does not end in a storm");
        let signals = SIGNALS.load(Ordering::Relaxed);
        assert!(signals > 200, "{signals} signals are no storm");
    });
}

/// The other end is a plain thread in each of these, or a coroutine of the default runtime.
fn transfers() {
    const SIZE: usize = 8 << 20;
    let (mut client, mut server) = pair();
    let echo = thread::spawn(move || {
        let mut buffer = [0; 10_000];
        loop {
            match server.read(&mut buffer).expect("read") {
                0 => break,
                count => server.write_all(&buffer[..count]).expect("written"),
            }
        }
    });
    let mut back = client.try_clone().expect("a clone");
    let writer = sward::spawn(move || {
        client.write_all(&pattern(SIZE)).expect("written");
        client.shutdown(Shutdown::Write).expect("the end");
    });
    let mut got = Vec::new();
    back.read_to_end(&mut got).expect("read");
    assert!(got == pattern(SIZE));
    writer.join().expect("no panic");
    sward::blocking(|| echo.join().expect("no panic")).expect("a thread");
}

fn sleeps() {
    for i in 0..100 {
        let (start, nap) = (Instant::now(), Duration::from_micros(i * 100));
        sward::sleep(nap);
        assert!(start.elapsed() >= nap, "a sleep has ended early");
    }
    let start = Instant::now();
    sward::sleep(Duration::from_millis(300));
    assert!(start.elapsed() >= Duration::from_millis(300), "a sleep has ended early");
    let (_client, mut server) = pair();
    // Longer than any pause of the storm, so that it elapses only if interrupted waits add up.
    let limit = Duration::from_millis(700);
    server.set_read_timeout(Some(limit)).expect("set");
    let start = Instant::now();
    assert_eq!(server.read(&mut [0]).expect_err("nothing comes").kind(), ErrorKind::WouldBlock);
    assert!(start.elapsed() >= limit, "a read has timed out early");
}

fn calls_block() {
    for i in 0..50 {
        let value = sward::blocking(|| {
            thread::sleep(Duration::from_millis(3));
            i
        });
        assert_eq!(value.expect("a thread"), i);
        assert!(!sward::fs::read("/proc/self/status").expect("read").is_empty());
    }
}

fn messages() {
    let (sender, receiver) = sward::channel::bounded(1);
    let lock = Arc::new((sward::sync::Mutex::new(0), sward::sync::Condvar::new()));
    let theirs = lock.clone();
    let peer = thread::spawn(move || {
        for n in 0..2_000 {
            sender.send(n).expect("received");
            *theirs.0.lock().expect("no panic") += 1;
            theirs.1.notify_one();
        }
    });
    for n in 0..2_000 {
        assert_eq!(receiver.recv(), Ok(n));
        if n % 100 == 0 {
            let guard = lock.0.lock().expect("no panic");
            drop(lock.1.wait_while(guard, |count| *count < n).expect("no panic"));
        }
    }
    assert!(receiver.recv_timeout(GUARD).is_err_and(|error| error.is_disconnected()));
    sward::blocking(|| peer.join().expect("no panic")).expect("a thread");
}

fn connects() {
    let (listener, address) = listen();
    let peer = thread::spawn(move || {
        for _ in 0..200 {
            let (mut stream, _) = listener.accept().expect("accepted");
            let mut got = [0; 4];
            stream.read_exact(&mut got).expect("read");
            stream.write_all(&got).expect("written");
        }
    });
    for n in 0..200u32 {
        let mut stream = TcpStream::connect(address).expect("connected");
        stream.write_all(&n.to_ne_bytes()).expect("written");
        let mut got = [0; 4];
        stream.read_exact(&mut got).expect("read");
        assert_eq!(got, n.to_ne_bytes());
    }
    sward::blocking(|| peer.join().expect("no panic")).expect("a thread");
}

/// What a program that is started by this process has open, besides its standard streams and the folder that
/// it lists: of sockets, pollers, events and the like.
fn inherited() -> Vec<String> {
    let mut command = Command::new("ls");
    let output = command.args(["-l", "/proc/self/fd"]).stdin(Stdio::null()).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("-> /dev/null"), "{text}");
    let special = |line: &&str| line.contains("socket:") || line.contains("anon_inode:");
    text.lines().filter(special).map(str::to_owned).collect()
}

/// Programs that are started while connections are made and used inherit none of them, and nothing of the
/// runtime's.
#[test]
fn programs_inherit_no_descriptors() {
    in_child("programs_inherit_no_descriptors", || {
        // What whoever has started the tests has left open is not ours.
        let before = inherited();
        in_runtime(|| {
            let (listener, address) = listen();
            let stop = AtomicBool::new(false);
            sward::scope(|s| {
                s.spawn(|| {
                    for stream in listener.incoming() {
                        let mut stream = stream.expect("accepted");
                        sward::spawn(move || stream.read_to_end(&mut Vec::new()));
                    }
                });
                let held: Vec<_> = (0..50).map(|_| TcpStream::connect(address).expect("connected")).collect();
                let _signals = signals();
                let churn = s.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let mut stream = TcpStream::connect(address).expect("connected");
                        stream.write_all(b"x").expect("written");
                        let _other = sward::runtime::Builder::new().worker_threads(1).build();
                        let _duplicate = stream.try_clone().and_then(TcpStream::into_std);
                    }
                });
                for _ in 0..30 {
                    let after = sward::blocking(inherited).expect("a thread");
                    assert_eq!(after.len(), before.len(), "{after:?}");
                }
                stop.store(true, Ordering::Relaxed);
                churn.join().expect("no panic");
                drop(held);
                listener.close().expect("closed");
            });
        });
    });
}

#[cfg(feature = "signal")]
fn signals() -> sward::signal::Signals {
    sward::signal::signal(sward::signal::SignalKind::HANGUP).expect("a stream")
}

#[cfg(not(feature = "signal"))]
fn signals() {}

fn limit_address_space(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the limit lives until the call ends.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
}

/// A number of KiB that Linux tells of this process, in bytes.
fn status(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// Starts so many coroutines, each with the stack of the builder, that are alive at once; how many got no
/// stack.
fn alive_at_once(count: usize, builder: impl Fn() -> sward::task::Builder) -> usize {
    let (started, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let handles: Vec<_> = (0..count)
        .map(|_| {
            let (started, over) = (Arc::clone(&started), Arc::clone(&over));
            let wait = move || {
                started.fetch_add(1, Ordering::SeqCst);
                while !over.load(Ordering::SeqCst) {
                    sward::task::park();
                }
            };
            builder().spawn(wait).expect("spawned")
        })
        .collect();
    let failed = || handles.iter().filter(|handle| handle.is_finished()).count();
    while started.load(Ordering::SeqCst) + failed() < count {
        sward::sleep(Duration::from_millis(1));
    }
    over.store(true, Ordering::SeqCst);
    handles.iter().for_each(|handle| handle.task().unpark());
    let outcomes = handles.into_iter().map(sward::task::JoinHandle::join);
    outcomes.filter(|outcome| matches!(outcome, Err(sward::task::JoinError::NoStack(_)))).count()
}

/// The kernel marks no guards in locked memory. A program that locks its memory when it has coroutines
/// already, and unlocks it, still gets all of its coroutines; a region of stacks, which is then populated at
/// once, is no larger than needed.
#[test]
fn coroutines_start_after_the_program_has_locked_its_memory() {
    let said = in_child("coroutines_start_after_the_program_has_locked_its_memory", || {
        let lock = |flags: libc::c_int| {
            // SAFETY: the calls take no pointers.
            if unsafe { if flags == 0 { libc::munlockall() } else { libc::mlockall(flags) } } == 0 {
                return true;
            }
            println!("skipped: {}", io::Error::last_os_error());
            false
        };
        let usual = || sward::task::Builder::new();
        let large = || sward::task::Builder::new().stack_size(1 << 20);
        in_runtime(|| {
            assert_eq!(alive_at_once(20, usual), 0);
            for flags in [libc::MCL_FUTURE, libc::MCL_CURRENT | libc::MCL_FUTURE, libc::MCL_CURRENT, 0] {
                if !lock(flags) {
                    return;
                }
                assert_eq!(alive_at_once(60, usual), 0, "{flags}");
                assert_eq!(alive_at_once(600, || usual().stack_size(64 << 10)), 0, "{flags}");
            }
            if lock(libc::MCL_FUTURE)
                && let Some(before) = status("VmLck")
            {
                assert_eq!(alive_at_once(20, large), 0);
                let more = status("VmLck").expect("as before") - before;
                assert!(more < 32 << 20, "20 stacks of 1 MiB have locked {more} bytes");
            }
        });
    });
    if let Some(skipped) = said.as_deref().and_then(|said| said.lines().find(|line| line.contains("skipped")))
    {
        println!("{skipped}");
    }
}

/// With hardly any address space some coroutines get a stack, the others an error, and all of it ends.
#[test]
fn stacks_leave_address_space_to_the_others() {
    const TEST: &str = "stacks_leave_address_space_to_the_others";
    if std::env::var_os(ROLE).is_some() {
        let room = std::env::var("ROOM").expect("given").parse::<u64>().expect("a number");
        let mapped = status("VmSize").unwrap_or(0);
        let runtime = sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
        limit_address_space(mapped + (room << 20));
        runtime.run(|| {
            let failed = alive_at_once(500, sward::task::Builder::new);
            assert!((1..500).contains(&failed), "{failed} of 500 got no stack");
            assert_eq!(sward::runtime::metrics().expect("inside").no_stack, failed as u64);
            // What the allocator and new threads need is there.
            assert_eq!(vec![1_u8; 256 << 10].len(), 256 << 10);
        });
        return;
    }
    for room in ["10", "20", "40", "60", "80"] {
        let mut command = Command::new(std::env::current_exe().expect("the test's own program"));
        command.args([TEST, "--exact", "--nocapture", "--test-threads=1"]);
        // glibc's arenas, of 64 MiB of address space each, are not what this is about.
        command.env(ROLE, TEST).env("ROOM", room).env("MALLOC_ARENA_MAX", "1");
        // Nor is what the names of functions take.
        command.env("SWARD_CHECK", "0");
        let output = command.output().expect("a child");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "with {room} MiB: {said}");
    }
}

/// Nobody joins a detached coroutine: a report says that it got no stack, one for many.
#[test]
fn a_detached_coroutine_without_a_stack_is_reported() {
    let said = in_child("a_detached_coroutine_without_a_stack_is_reported", || {
        let mapped = status("VmSize").unwrap_or(1 << 30);
        let runtime = sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
        limit_address_space(mapped + (600 << 20));
        runtime.run(|| {
            for n in 0..50 {
                let huge = sward::task::Builder::new().name(format!("huge {n}")).stack_size(1 << 30);
                let handle = huge.spawn(|| unreachable!("there is no such stack")).expect("spawned");
                // Half of them when they have ended already.
                while n % 2 == 0 && !handle.is_finished() {
                    sward::yield_now();
                }
                drop(handle);
            }
            let no_stack = || sward::runtime::metrics().expect("inside").no_stack;
            while no_stack() < 50 {
                sward::sleep(Duration::from_millis(1));
            }
            assert_eq!(no_stack(), 50);
        });
    });
    let Some(said) = said else { return };
    assert_eq!(said.matches("never ran, and nobody joins it: no stack: ").count(), 1, "{said}");
    assert!(said.contains("\"huge 0\""), "{said}");
}
