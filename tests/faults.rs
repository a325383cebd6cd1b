//! Programs whose system calls fail at random (`SWARD_FAULTS`): threads, memory, sockets, pollers. Nothing
//! hangs, aborts or is lost, and each error is one that the documentation of the call promises.
//!
//! Each case is a child process with a seed and a class of faults. What the crate handles by itself is tested
//! with the other test programs (`ci/faults.sh`).

mod checked;
mod common;

use common::{Folder, command, is_child, text, this_test};
use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use sward::net::{Conn, Next, ServeOptions, TcpListener, TcpStream, UdpSocket, UnixStream, serve};
use sward::runtime::{Builder, Runtime};
use sward::task::{JoinError, JoinHandle};

const COROUTINES: usize = 300;
const CLIENTS: usize = 30;
const BYTES: usize = 20_000;
/// Faults end a try, so each part of the program is tried again. That many in a row are no chance.
const TRIES: usize = 10_000;

/// Runs the case with some seeds, and returns what the children have said.
fn with_seeds(test: &str, classes: &str, rate: u32) -> String {
    let mut said = String::new();
    for seed in 0..seeds() {
        let faults = format!("{seed}:{rate}:{classes}");
        let child = command(test, test)
            .env("SWARD_FAULTS", &faults)
            // Faults are those of epoll.
            .env_remove("SWARD_NETPOLL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a child");
        let child = KillOnDrop(Some(child));
        let output = child.output(&faults);
        assert!(output.status.success(), "SWARD_FAULTS={faults}: {}: {}", output.status, text(&output));
        said += &text(&output);
    }
    said
}

/// As many as `SWARD_FAULT_SEEDS` says.
fn seeds() -> u64 {
    std::env::var("SWARD_FAULT_SEEDS").map_or(4, |seeds| seeds.parse().expect("a number"))
}

struct KillOnDrop(Option<std::process::Child>);

impl KillOnDrop {
    /// What the child says until its end. Panics if it hangs.
    fn output(mut self, faults: &str) -> std::process::Output {
        let child = self.0.take().expect("taken once");
        let pid = child.id();
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(child.wait_with_output()));
        match ended.recv_timeout(Duration::from_secs(240)) {
            Ok(output) => output.expect("its output"),
            Err(_) => {
                // SAFETY: the call takes no pointers. Nobody has reaped the child.
                unsafe { libc::kill(pid as libc::pid_t, libc::SIGABRT) };
                let said = ended.recv().expect("it ends").expect("its output");
                panic!("SWARD_FAULTS={faults}: it hangs: {}", text(&said));
            }
        }
    }
}

/// Whether the build injects faults at all.
fn has_faults() -> bool {
    if cfg!(any(not(target_os = "linux"), sward_poll, sward_libkqueue)) {
        println!("skipped: this build injects no faults");
        return false;
    }
    true
}

/// How often what was refused. Printed by a child, and looked for by its parent.
#[derive(Default)]
struct Refused(std::sync::Mutex<std::collections::BTreeMap<&'static str, usize>>);

impl Refused {
    /// Notes an error, which must be one of these.
    fn note(&self, what: &'static str, error: &io::Error, allowed: &[libc::c_int]) {
        let errno = error.raw_os_error().unwrap_or_default();
        assert!(allowed.contains(&errno), "{what}: {error:?}");
        self.count(what);
    }

    fn count(&self, what: &'static str) {
        *self.0.lock().expect("no panic").entry(what).or_default() += 1;
    }

    fn print(&self) {
        for (what, times) in &*self.0.lock().expect("no panic") {
            println!("refused: {what}: {times}");
        }
    }
}

const NO_POLLER: [libc::c_int; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOSPC];
const NO_SOCKET: [libc::c_int; 6] =
    [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::ENOSPC, libc::EAGAIN];
const NO_THREAD: [libc::c_int; 1] = [libc::EAGAIN];

fn entries(folder: &str) -> usize {
    std::fs::read_dir(folder).expect("Linux").count()
}

/// A runtime. "Nothing is left behind after an error."
fn build(refused: &Refused) -> Runtime {
    for _ in 0..TRIES {
        let before = [entries("/proc/self/fd"), entries("/proc/self/task")];
        match Builder::new().worker_threads(2).build() {
            Ok(runtime) => return runtime,
            Err(error) => refused.note("runtime", &error, &[&NO_POLLER[..], &NO_THREAD].concat()),
        }
        let begin = Instant::now();
        loop {
            let after = [entries("/proc/self/fd"), entries("/proc/self/task")];
            if after[0] <= before[0] && after[1] <= before[1] {
                break;
            }
            // A joined thread is in the list for a moment.
            assert!(begin.elapsed() < Duration::from_secs(60), "left behind: {before:?}, {after:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    panic!("no runtime");
}

/// Makes the call until it succeeds.
fn granted<T>(
    refused: &Refused,
    what: &'static str,
    allowed: &[libc::c_int],
    mut call: impl FnMut() -> io::Result<T>,
) -> T {
    for _ in 0..TRIES {
        match call() {
            Ok(value) => return value,
            Err(error) => refused.note(what, &error, allowed),
        }
    }
    panic!("{what}: never");
}

/// Each coroutine runs, or its join says that it had no stack.
fn coroutines(refused: &Refused) {
    let ran = Arc::new(AtomicUsize::new(0));
    let handles: Vec<_> = (0..COROUTINES)
        .map(|n| {
            let ran = Arc::clone(&ran);
            sward::spawn(move || {
                ran.fetch_add(1, Ordering::SeqCst);
                // Stacks are in use at the same time.
                sward::sleep(Duration::from_micros(n as u64 * 10));
                n
            })
        })
        .collect();
    let mut joined = 0;
    for (n, handle) in handles.into_iter().enumerate() {
        match handle.join() {
            Ok(value) => {
                assert_eq!(value, n);
                joined += 1;
            }
            Err(JoinError::NoStack(_)) => refused.count("stack"),
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(joined, ran.load(Ordering::SeqCst));
    assert!(joined > 0);
}

fn pattern(seed: usize) -> Vec<u8> {
    (0..BYTES).map(|n| (n * 31 + seed * 7) as u8).collect()
}

/// What a client has found out. All it sends fits into the buffers.
fn talk(address: sward::net::SocketAddr, client: usize) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let sent = pattern(client);
    stream.write_all(&sent)?;
    stream.shutdown(sward::net::Shutdown::Write)?;
    let mut got = Vec::new();
    let read = stream.read_to_end(&mut got);
    assert!(sent.starts_with(&got), "client {client} got other bytes");
    read?;
    if got.len() < sent.len() { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// An error of a connection: the system's refusal, or that the other side has ended for one.
fn is_refusal(error: &io::Error) -> bool {
    // `NotConnected`: a shutdown after a reset.
    use ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, UnexpectedEof};
    let ended = [ConnectionReset, BrokenPipe, UnexpectedEof, NotConnected];
    ended.contains(&error.kind()) || error.raw_os_error().is_some_and(|errno| NO_SOCKET.contains(&errno))
}

/// Spawns a coroutine until one has begun.
fn begun(refused: &Refused, f: impl FnOnce() + Clone + Send + 'static) -> JoinHandle<()> {
    for _ in 0..TRIES {
        let (begins, has_begun) = sward::channel::bounded(1);
        let f = f.clone();
        let handle = sward::spawn(move || {
            begins.send(()).expect("received");
            f();
        });
        // A coroutine that gets no stack drops its closure.
        match has_begun.recv() {
            Ok(()) => return handle,
            Err(_) => refused.count("stack"),
        }
    }
    panic!("no stack");
}

/// Clients of which each gets all its bytes back, or an error. At least one does, unless nobody listens any
/// more: then this returns true.
fn clients(refused: &Refused, address: sward::net::SocketAddr) -> bool {
    let nobody_listens = Cell::new(false);
    let clients: Vec<_> = (0..CLIENTS).map(|client| sward::spawn(move || talk(address, client))).collect();
    // Whether the client was served.
    let found = |result: io::Result<()>| match result {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            nobody_listens.set(true);
            false
        }
        Err(error) => {
            assert!(is_refusal(&error), "a client: {error:?}");
            refused.count("connection");
            false
        }
    };
    let mut whole = 0;
    for client in clients {
        match client.join() {
            Ok(result) => whole += usize::from(found(result)),
            Err(JoinError::NoStack(_)) => refused.count("stack"),
            Err(error) => panic!("{error:?}"),
        }
    }
    let served = whole > 0 || (0..TRIES).any(|client| found(talk(address, client)) || nobody_listens.get());
    assert!(served, "nobody was served");
    nobody_listens.get()
}

/// A server whose `accept` never fails: a shortage is no error of it.
fn accepting(refused: &Arc<Refused>) {
    let listener = Arc::new(granted(refused, "socket", &NO_SOCKET, || TcpListener::bind("127.0.0.1:0")));
    let (ours, notes) = (Arc::clone(&listener), Arc::clone(refused));
    let server = begun(refused, move || {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::NotConnected => return,
                Err(error) => panic!("accept: {error:?}"),
            };
            let notes = Arc::clone(&notes);
            sward::spawn(move || {
                let echo = |stream: &mut TcpStream| {
                    let mut buffer = [0; 4096];
                    loop {
                        match stream.read(&mut buffer)? {
                            0 => return Ok(()),
                            count => stream.write_all(&buffer[..count])?,
                        }
                    }
                };
                if let Err(error) = echo(&mut stream) {
                    assert!(is_refusal(&error), "the server: {error:?}");
                    notes.count("connection");
                }
            });
        }
    });
    assert!(!clients(refused, ours.local_addr().expect("bound")), "nobody listens");
    ours.close().expect("closed");
    server.join().expect("no panic");
}

/// The same with `serve`, which goes on for as long as it is not shut down.
fn serving(refused: &Refused) {
    let ends = Arc::new(AtomicUsize::new(0));
    for _ in 0..TRIES {
        let listener = granted(refused, "socket", &NO_SOCKET, || TcpListener::bind("127.0.0.1:0"));
        let address = listener.local_addr().expect("bound");
        let options = ServeOptions::new().idle_limit(Duration::from_secs(3_600));
        let handle = options.handle();
        let (started, ended) = (std::sync::Mutex::new(Some((listener, options))), Arc::clone(&ends));
        let started = Arc::new(started);
        let server = begun(refused, move || {
            let (listener, options) = started.lock().expect("no panic").take().expect("it begins once");
            let served = serve(listener, options, |conn: &mut Conn| {
                let mut buffer = [0; 4096];
                loop {
                    match conn.read(&mut buffer)? {
                        0 => return Ok(Next::Close),
                        count => conn.write_all(&buffer[..count])?,
                    }
                }
            });
            match served {
                Ok(()) => {}
                // "There was no stack for the coroutine that observes the time limits."
                Err(error) if error.kind() == ErrorKind::OutOfMemory => {
                    _ = ended.fetch_add(1, Ordering::SeqCst)
                }
                Err(error) => panic!("serve: {error:?}"),
            }
        });
        let nobody_listened = !server.is_finished() && clients(refused, address);
        handle.shutdown(Duration::from_secs(60));
        server.join().expect("no panic");
        if ends.swap(0, Ordering::SeqCst) == 0 {
            assert!(!nobody_listened, "nobody listened, and the server went on");
            return;
        }
        refused.count("stack");
    }
}

fn datagrams(refused: &Refused) {
    let bind = || granted(refused, "socket", &NO_SOCKET, || UdpSocket::bind("127.0.0.1:0"));
    let (one, other) = (bind(), bind());
    let to = other.local_addr().expect("bound");
    for number in 0..50u8 {
        granted(refused, "datagram", &NO_SOCKET, || one.send_to(&[number; 100], to));
        let mut got = [0; 200];
        let (count, _) = granted(refused, "datagram", &NO_SOCKET, || other.recv_from(&mut got));
        assert_eq!(got[..count], [number; 100]);
    }
}

fn streams(refused: &Refused) {
    let (mut one, mut other) = granted(refused, "socket", &NO_SOCKET, UnixStream::pair);
    let mut byte = [0];
    for number in 0..50 {
        granted(refused, "connection", &NO_SOCKET, || one.write_all(&[number]));
        granted(refused, "connection", &NO_SOCKET, || other.read_exact(&mut byte));
        assert_eq!(byte[0], number);
    }
}

/// Time, and messages, need nothing that can be refused.
fn waits(refused: &Refused) {
    let (sender, receiver) = sward::channel::bounded(1);
    let lock = Arc::new(sward::sync::Mutex::new(0));
    let mut handles = Vec::new();
    for _ in 0..20 {
        let (sender, lock) = (sender.clone(), Arc::clone(&lock));
        handles.push(begun(refused, move || {
            let mut count = lock.lock().expect("no panic");
            sward::sleep(Duration::from_micros(100));
            *count += 1;
            sender.send(*count).expect("received");
        }));
    }
    drop(sender);
    let got: Vec<i32> = receiver.iter().collect();
    assert_eq!(got, (1..=20).collect::<Vec<_>>());
    handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
    let never = sward::channel::bounded::<()>(0);
    assert!(never.1.recv_timeout(Duration::from_millis(2)).is_err());
    assert!(sward::time::timeout(Duration::from_millis(2), sward::task::park).is_err());
}

/// Calls for threads of the pool.
fn blocking(refused: &Refused, folder: &Folder) {
    for number in 0..30 {
        let value = granted(refused, "blocking", &NO_THREAD, || sward::blocking(|| number));
        assert_eq!(value, number);
    }
    let path = folder.at("file");
    let bytes = pattern(1);
    granted(refused, "file", &NO_THREAD, || sward::fs::write(&path, &bytes));
    let read = granted(refused, "file", &NO_THREAD, || sward::fs::read(&path));
    assert!(read == bytes);
}

/// Whether a child of this process exists, be it as a zombie.
fn has_children() -> bool {
    // SAFETY: all zeros is a value, which lives until the call ends.
    let mut about = unsafe { std::mem::zeroed::<libc::siginfo_t>() };
    let how = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: as above.
    unsafe { libc::waitid(libc::P_ALL, 0, &raw mut about, how) == 0 }
}

/// Children end, and no zombie stays, whether they are waited for or not.
fn children(refused: &Refused) {
    let allowed = [&NO_THREAD[..], &NO_POLLER].concat();
    let status = || sward::process::Command::new("true").status();
    for _ in 0..5 {
        assert!(granted(refused, "child", &allowed, status).success());
        drop(granted(refused, "child", &allowed, || sward::process::Command::new("true").spawn()));
    }
    let begin = Instant::now();
    while has_children() {
        assert!(begin.elapsed() < Duration::from_secs(120), "a zombie stays");
        sward::sleep(Duration::from_millis(1));
        // A new child reaps the old ones if there is no thread for that.
        let _ = status();
    }
}

/// All of it, twice: the second runtime uses what the first has left.
fn program() {
    let refused = Arc::new(Refused::default());
    for _ in 0..2 {
        let runtime = build(&refused);
        let notes = Arc::clone(&refused);
        let main = move || {
            coroutines(&notes);
            accepting(&notes);
            serving(&notes);
            datagrams(&notes);
            streams(&notes);
            waits(&notes);
            blocking(&notes, &Folder::new());
            children(&notes);
        };
        let mut tries = 0..TRIES;
        loop {
            assert!(tries.next().is_some(), "no stack");
            match runtime.spawn(main.clone()).join() {
                Ok(()) => break,
                Err(JoinError::NoStack(_)) => refused.count("stack"),
                Err(error) => panic!("{error:?}"),
            }
        }
        drop(runtime);
    }
    refused.print();
}

/// Runs the program in children, and looks whether any of these was refused. Which one it is depends on the
/// order of the threads, too.
fn refuses(test: &str, classes: &str, rate: u32, what: &[&str]) {
    if is_child() {
        return program();
    }
    if !has_faults() {
        return;
    }
    let said = with_seeds(test, classes, rate);
    let refused = |what: &&str| said.contains(&format!("refused: {what}: "));
    if what.is_empty() {
        assert!(!said.contains("refused: "), "an error: {said}");
    } else {
        assert!(what.iter().any(refused), "none of {what:?} was refused: {said}");
    }
}

#[test]
fn what_the_crate_handles_is_no_error() {
    refuses(this_test!(), "handled", 3, &[]);
}

#[test]
fn threads_may_be_refused() {
    refuses(this_test!(), "threads,newer", 3, &["runtime", "blocking", "child"]);
}

#[test]
fn memory_for_stacks_may_be_refused() {
    refuses(this_test!(), "memory,advice,newer", 2, &["stack"]);
}

#[test]
fn pollers_may_be_refused() {
    // With mobile homes a runtime also has a poller for each spare worker.
    let homes = std::env::var_os("SWARD_HOMES").is_some_and(|homes| homes == "auto");
    refuses(this_test!(), "pollers", if homes { 100 } else { 4 }, &["runtime"]);
}

#[test]
fn watches_may_be_refused() {
    refuses(this_test!(), "watches", 3, &["runtime", "connection"]);
}

#[test]
fn sockets_may_be_refused() {
    refuses(this_test!(), "sockets", 3, &["socket", "connection", "datagram"]);
}

#[test]
fn everything_may_be_refused() {
    refuses(this_test!(), "all", 6, &["runtime", "connection", "stack"]);
}
