//! Signals that interrupt everything, and programs that must not inherit descriptors.

use crate::common::{LONG, in_child, in_runtime, listen, pair, pattern};
use std::io::{ErrorKind, Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use sward::net::{Shutdown, TcpStream};

static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn count_signal(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Sends a signal to the process and to each of its threads every millisecond, which interrupts all waits in
/// the kernel. The storm ends after a while, so a call that it would delay for ever is a failure and not a
/// hang: the result says whether it lasted so long.
fn storm(stop: &AtomicBool) -> bool {
    let start = Instant::now();
    // SAFETY: the handler adds to an atomic; it is without `SA_RESTART`. The signals go to this process.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count_signal as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
        let me = libc::getpid();
        while !stop.load(Ordering::Relaxed) {
            if start.elapsed() > LONG {
                return true;
            }
            libc::kill(me, libc::SIGUSR1);
            for thread in std::fs::read_dir("/proc/self/task").expect("Linux") {
                let number = thread.expect("an entry").file_name();
                let number: libc::pid_t = number.to_str().and_then(|n| n.parse().ok()).expect("a number");
                // A thread that has ended meanwhile is not found.
                libc::syscall(libc::SYS_tgkill, me, number, libc::SIGUSR1);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    false
}

/// No call fails, ends early or late, or loses a byte when signals interrupt it, in coroutines and on plain
/// threads.
#[test]
fn a_storm_of_signals_is_not_noticed() {
    in_child(|| {
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

/// In each of these the other end is a plain thread, or a coroutine of the default runtime.
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
    // Longer than any pause of the storm, so it elapses only if interrupted waits add up.
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
    assert!(receiver.recv_timeout(LONG).is_err_and(|error| error.is_disconnected()));
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

/// The sockets, pollers, events and so on that a program has open which this process starts. Its standard
/// streams and the folder that it lists are left out.
fn inherited() -> Vec<String> {
    let mut command = Command::new("ls");
    let output = command.args(["-l", "/proc/self/fd"]).stdin(Stdio::null()).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("-> /dev/null"), "{text}");
    let special = |line: &&str| line.contains("socket:") || line.contains("anon_inode:");
    text.lines().filter(special).map(str::to_owned).collect()
}

/// Programs that are started while connections are made and used inherit none of them, and no descriptor of
/// the runtime.
#[test]
fn programs_inherit_no_descriptors() {
    in_child(|| {
        // Descriptors that the tests themselves have inherited do not count.
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
