//! A server whose idle connections have no coroutines: `serve`.

use crate::common::{
    CountOnDrop, Folder, LONG, MOMENT, Random, SHORT, eventually, in_runtime, kind, listen, one_worker,
    two_workers,
};
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use sward::net::{
    Conn, ConnWaker, Next, ServeHandle, ServeMetrics, ServeOptions, SocketAddr, TcpStream, UnixListener,
    UnixStream, Why, serve,
};
use sward::observe::RuntimeDump;
use sward::task::JoinHandle;

/// A server in a coroutine.
struct Server {
    address: SocketAddr,
    handle: ServeHandle,
    runs: JoinHandle<io::Result<()>>,
}

impl Server {
    fn start<S, F>(options: ServeOptions, handler: F) -> Server
    where
        S: Default + Send + 'static,
        F: Fn(&mut Conn<S>) -> io::Result<Next> + Send + Sync + 'static,
    {
        let (listener, address) = listen();
        let handle = options.handle();
        let runs = sward::spawn(move || serve(listener, options, handler));
        Server { address, handle, runs }
    }

    fn echo(options: ServeOptions) -> Server {
        Server::start(options, echo)
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).expect("connected")
    }

    fn metrics(&self) -> ServeMetrics {
        self.handle.metrics()
    }

    /// Waits until all connections, of which there are that many, are idle.
    fn until_idle(&self, count: usize) {
        eventually("all connections are idle", || {
            let metrics = self.metrics();
            metrics.connections == count && metrics.idle == count
        });
    }

    fn end(self) -> ServeMetrics {
        assert!(self.handle.shutdown(LONG));
        self.runs.join().expect("no panic").expect("no error");
        let metrics = self.handle.metrics();
        assert_eq!((metrics.connections, metrics.idle), (0, 0));
        metrics
    }
}

fn echo(conn: &mut Conn) -> io::Result<Next> {
    let mut buf = [0; 4096];
    let n = conn.read(&mut buf)?;
    conn.write_all(&buf[..n])?;
    Ok(Next::Idle)
}

fn ask(client: &mut TcpStream, what: &[u8]) {
    client.write_all(what).expect("written");
    let mut answer = vec![0; what.len()];
    client.read_exact(&mut answer).expect("read");
    assert_eq!(answer, what);
}

fn reads_end(client: &mut TcpStream) {
    match client.read(&mut [0; 16]) {
        Ok(n) => assert_eq!(n, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

#[test]
fn connections_are_served_and_idle_in_between() {
    for runtime in [one_worker(), two_workers()] {
        runtime.run(|| {
            let server = Server::echo(ServeOptions::new());
            let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
            for round in 0..5 {
                for (i, client) in clients.iter_mut().enumerate() {
                    ask(client, format!("{i} in {round}").as_bytes());
                }
            }
            server.until_idle(20);
            assert!(server.metrics().activations >= 100);
            clients.truncate(7);
            server.until_idle(7);
            for client in &mut clients {
                ask(client, b"still there");
            }
            drop(clients);
            server.until_idle(0);
            assert_eq!(server.end().accepted, 20);
        });
    }
}

#[test]
fn an_idle_connection_has_no_coroutine() {
    let runtime = two_workers();
    runtime.run(|| {
        let server = Server::echo(ServeOptions::new());
        let clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
        server.until_idle(50);
        let live = || -> usize {
            let metrics = sward::runtime::metrics().expect("inside a runtime");
            metrics.workers.iter().map(|worker| worker.live).sum()
        };
        // This one, `serve`, and the keeper of time limits. A connection is idle before its coroutine ends.
        eventually("the coroutines of the connections have ended", || live() <= 4);
        drop(clients);
        server.end();
    });
}

#[test]
fn bytes_that_were_sent_before_the_accept_are_served() {
    in_runtime(|| {
        let (listener, address) = listen();
        let mut client = TcpStream::connect(address).expect("connected");
        client.write_all(b"early").expect("written");
        let options = ServeOptions::new();
        let handle = options.handle();
        let runs = sward::spawn(move || serve(listener, options, echo));
        let mut answer = [0; 5];
        client.read_exact(&mut answer).expect("read");
        assert_eq!(&answer, b"early");
        handle.shutdown(LONG);
        runs.join().expect("no panic").expect("no error");
    });
}

#[test]
fn more_than_the_handler_has_read_activates_it_again() {
    in_runtime(|| {
        let server = Server::start(ServeOptions::new(), |conn: &mut Conn| {
            let mut byte = [0];
            conn.read_exact(&mut byte)?;
            conn.write_all(&byte)?;
            Ok(Next::Idle)
        });
        let mut client = server.connect();
        ask(&mut client, &[7; 300]);
        server.until_idle(1);
        assert!(server.end().activations >= 300);
    });
}

#[test]
fn the_state_stays_and_is_dropped_with_the_connection() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct State(u8, CountOnDrop<&'static AtomicUsize>);
    impl Default for State {
        fn default() -> State {
            State(0, CountOnDrop(&DROPPED))
        }
    }
    in_runtime(|| {
        let server = Server::start(ServeOptions::new(), |conn: &mut Conn<State>| {
            let mut buf = [0; 16];
            let n = conn.read(&mut buf)?;
            let _ = &conn.state().1;
            conn.state().0 += n as u8;
            let sum = conn.state().0;
            conn.write_all(&[sum])?;
            Ok(Next::Idle)
        });
        let (mut one, mut other) = (server.connect(), server.connect());
        for (client, sum) in [(&mut one, 1), (&mut other, 1)] {
            client.write_all(b"x").expect("written");
            let mut answer = [0];
            client.read_exact(&mut answer).expect("read");
            assert_eq!(answer, [sum]);
        }
        one.write_all(b"xx").expect("written");
        let mut answer = [0];
        one.read_exact(&mut answer).expect("read");
        assert_eq!(answer, [3]);
        drop(one);
        server.until_idle(1);
        assert_eq!(DROPPED.load(Ordering::SeqCst), 1);
        server.end();
        assert_eq!(DROPPED.load(Ordering::SeqCst), 2);
    });
}

/// Answers each line, one in each run.
fn lines(conn: &mut Conn<Vec<usize>>) -> io::Result<Next> {
    let Some(end) = conn.buffer().iter().position(|byte| *byte == b'\n') else {
        return conn.fill().map(|_| Next::Idle);
    };
    let line = conn.buffer()[..=end].to_vec();
    conn.consume(end + 1);
    conn.state().push(line.len());
    conn.write_all(&line)?;
    Ok(Next::Idle)
}

#[test]
fn pipelined_requests_and_parts_of_requests_are_served() {
    in_runtime(|| {
        let server = Server::start(ServeOptions::new(), lines);
        let mut client = server.connect();
        ask(&mut client, b"one\ntwo\nthree\n");
        client.write_all(b"a par").expect("written");
        server.until_idle(1);
        let mut other = server.connect();
        ask(&mut other, b"another\n");
        client.write_all(b"t\nand more\nand").expect("written");
        let mut answer = [0; 16];
        client.read_exact(&mut answer).expect("read");
        assert_eq!(&answer, b"a part\nand more\n");
        server.until_idle(2);
        client.write_all(b" so on\n").expect("written");
        let mut answer = [0; 10];
        client.read_exact(&mut answer).expect("read");
        assert_eq!(&answer, b"and so on\n");
        // Longer than a lent buffer.
        let long = [&[b'x'; 40_000][..], b"\n"].concat();
        let writes =
            sward::spawn(move || client.write_all(&long).map(|()| long.len()).map(|len| (client, len)));
        let (mut client, len) = writes.join().expect("no panic").expect("written");
        let mut answer = vec![0; len];
        client.read_exact(&mut answer).expect("read");
        server.end();
    });
}

#[test]
fn a_request_that_never_ends_is_an_error() {
    in_runtime(|| {
        let options = ServeOptions::new().max_unread(1000);
        let server = Server::start(options, |conn: &mut Conn| conn.fill().map(|_| Next::Idle));
        let mut client = server.connect();
        // The server resets the connection, perhaps amid this.
        let _ = client.write_all(&[1; 100_000]);
        reads_end(&mut client);
        server.until_idle(0);
        assert_eq!(server.end().failed, 1);
    });
}

#[test]
fn reads_of_all_kinds_take_the_buffered_bytes_first() {
    in_runtime(|| {
        let server = Server::start(ServeOptions::new(), |conn: &mut Conn| {
            let mut line = String::new();
            conn.read_line(&mut line)?;
            let mut rest = [0; 4];
            conn.read_exact(&mut rest)?;
            conn.write_all(line.as_bytes())?;
            conn.write_all(&rest)?;
            Ok(Next::Close)
        });
        let mut client = server.connect();
        ask(&mut client, b"line\nrest");
        reads_end(&mut client);
        server.end();
    });
}

#[test]
fn an_error_or_a_panic_ends_one_connection() {
    in_runtime(|| {
        let server = Server::start(ServeOptions::new(), |conn: &mut Conn| {
            let mut byte = [0];
            conn.read_exact(&mut byte)?;
            match byte[0] {
                b'p' => std::panic::resume_unwind(Box::new("as asked")),
                b'e' => Err(io::Error::other("as asked")),
                _ => conn.write_all(&byte).map(|()| Next::Idle),
            }
        });
        let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| ask(client, b"x"));
        clients[0].write_all(b"p").expect("written");
        clients[1].write_all(b"e").expect("written");
        reads_end(&mut clients[0]);
        reads_end(&mut clients[1]);
        ask(&mut clients[2], b"y");
        server.until_idle(1);
        let metrics = server.end();
        assert_eq!((metrics.panicked, metrics.failed), (1, 1));
    });
}

#[test]
fn a_limit_runs_the_handler() {
    in_runtime(|| {
        let server = Server::start(ServeOptions::new(), |conn: &mut Conn<Option<Instant>>| {
            if conn.why() == Why::Limit {
                let waited = conn.state().expect("set before").elapsed();
                assert!(waited >= SHORT, "{waited:?}");
                // There is nothing to read, and a read does not wait for it.
                assert_eq!(kind(conn.read(&mut [0; 4])), ErrorKind::TimedOut);
                conn.write_all(b"bye")?;
                return Ok(Next::Close);
            }
            let n = conn.read(&mut [0; 16])?;
            assert!(n > 0);
            *conn.state() = Some(Instant::now());
            Ok(Next::IdleFor(SHORT))
        });
        let mut client = server.connect();
        client.write_all(b"x").expect("written");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("read");
        assert_eq!(answer, "bye");
        assert_eq!(server.end().panicked, 0);
    });
}

#[test]
fn limits_close_idle_and_slow_connections() {
    in_runtime(|| {
        let server = Server::echo(ServeOptions::new().idle_limit(MOMENT));
        let (mut silent, mut asks) = (server.connect(), server.connect());
        // The limit may pass before this is served on a slow machine.
        let _ = asks.write_all(b"x");
        let _ = asks.read(&mut [0; 1]);
        reads_end(&mut silent);
        reads_end(&mut asks);
        server.until_idle(0);
        server.end();

        let server = Server::start(ServeOptions::new().request_limit(MOMENT), lines);
        let (mut silent, mut slow) = (server.connect(), server.connect());
        let _ = slow.write_all(b"a par");
        reads_end(&mut silent);
        reads_end(&mut slow);
        server.until_idle(0);
        server.end();

        // A handler that waits for the rest by itself.
        let server = Server::start(ServeOptions::new().request_limit(MOMENT), |conn: &mut Conn| {
            conn.read_exact(&mut [0; 10])?;
            Ok(Next::Idle)
        });
        let mut slow = server.connect();
        let _ = slow.write_all(b"a par");
        reads_end(&mut slow);
        server.until_idle(0);
        server.end();
    });
}

#[test]
fn a_client_that_does_not_read_meets_the_limit_of_writes() {
    in_runtime(|| {
        let server = Server::start(ServeOptions::new().write_limit(SHORT), |conn: &mut Conn| {
            conn.read_exact(&mut [0])?;
            loop {
                conn.write_all(&[0; 65536])?;
            }
        });
        let mut client = server.connect();
        client.write_all(b"x").expect("written");
        eventually("the connection has failed", || server.metrics().failed == 1);
        server.until_idle(0);
        drop(client);
        server.end();
    });
}

#[test]
fn a_busy_connection_meets_no_limit_of_its_past() {
    in_runtime(|| {
        // The first wait has a short limit, all others a long one.
        let server = Server::start(ServeOptions::new(), |conn: &mut Conn<u32>| {
            assert_ne!((conn.why(), *conn.state() > 1), (Why::Limit, true));
            let n = conn.read(&mut [0; 16]).or_else(|error| match error.kind() {
                ErrorKind::TimedOut => Ok(0),
                _ => Err(error),
            })?;
            *conn.state() += 1;
            conn.write_all(&vec![0; n])?;
            Ok(Next::IdleFor(if *conn.state() == 1 { MOMENT } else { LONG }))
        });
        let mut client = server.connect();
        for _ in 0..3 {
            client.write_all(b"x").expect("written");
            client.read_exact(&mut [0]).expect("read");
        }
        sward::sleep(4 * MOMENT);
        client.write_all(b"x").expect("written");
        client.read_exact(&mut [0]).expect("read");
        assert_eq!(server.end().panicked, 0);
    });
}

#[test]
fn the_number_of_connections_is_limited() {
    in_runtime(|| {
        let server = Server::echo(ServeOptions::new().max_connections(2));
        let (mut one, mut two) = (server.connect(), server.connect());
        ask(&mut one, b"1");
        ask(&mut two, b"2");
        let mut three = server.connect();
        three.write_all(b"3").expect("written");
        sward::sleep(MOMENT);
        assert_eq!(server.metrics().accepted, 2);
        drop(one);
        three.read_exact(&mut [0]).expect("it is served now");
        assert_eq!(server.metrics().accepted, 3);
        server.end();
    });
}

#[test]
fn the_connections_of_one_peer_are_limited() {
    in_runtime(|| {
        let server = Server::echo(ServeOptions::new().max_connections_per_peer(1));
        let mut one = server.connect();
        ask(&mut one, b"1");
        let mut two = server.connect();
        reads_end(&mut two);
        assert_eq!(server.metrics().refused, 1);
        drop(one);
        server.until_idle(0);
        ask(&mut server.connect(), b"3");
        server.end();
    });
}

#[test]
fn a_shutdown_closes_idle_connections_and_awaits_running_handlers() {
    in_runtime(|| {
        let (proceed, proceeds) = sward::channel::bounded::<()>(1);
        let started = Arc::new(AtomicUsize::new(0));
        let starts = started.clone();
        let server = Server::start(ServeOptions::new(), move |conn: &mut Conn| {
            conn.read_exact(&mut [0])?;
            starts.fetch_add(1, Ordering::SeqCst);
            proceeds.recv().expect("sent");
            assert!(conn.is_draining());
            conn.write_all(b"done")?;
            Ok(Next::Idle)
        });
        let (mut idle, mut busy) = (server.connect(), server.connect());
        busy.write_all(b"x").expect("written");
        eventually("the handler runs, the other one is idle", || {
            started.load(Ordering::SeqCst) == 1 && server.metrics().idle == 1
        });
        let handle = server.handle.clone();
        let shuts_down = sward::spawn(move || handle.shutdown(LONG));
        reads_end(&mut idle);
        proceed.send(()).expect("received");
        let mut answer = String::new();
        busy.read_to_string(&mut answer).expect("read");
        assert_eq!(answer, "done");
        assert!(shuts_down.join().expect("no panic"));
        server.runs.join().expect("no panic").expect("no error");
    });
}

#[test]
fn a_shutdown_cancels_handlers_after_its_limit() {
    in_runtime(|| {
        let [started, dropped] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let (starts, drops) = (started.clone(), dropped.clone());
        let (_keep, never) = sward::channel::bounded::<()>(1);
        let server = Server::start(ServeOptions::new(), move |conn: &mut Conn| {
            let _unwinds = CountOnDrop(drops.clone());
            starts.fetch_add(1, Ordering::SeqCst);
            conn.read_exact(&mut [0])?;
            let _ = never.recv();
            Ok(Next::Idle)
        });
        let mut client = server.connect();
        client.write_all(b"x").expect("written");
        eventually("the handler runs", || started.load(Ordering::SeqCst) == 1);
        assert!(!server.handle.shutdown(SHORT));
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
        server.runs.join().expect("no panic").expect("no error");
        reads_end(&mut client);
        assert_eq!(server.handle.metrics().panicked, 0, "a cancellation is no panic");
    });
}

#[test]
fn a_server_may_be_shut_down_before_it_begins() {
    in_runtime(|| {
        let (listener, _) = listen();
        let options = ServeOptions::new();
        assert!(options.handle().shutdown(LONG));
        serve(listener, options, echo).expect("it returns at once");
    });
}

#[test]
fn closing_the_listener_ends_the_server() {
    in_runtime(|| {
        let (listener, address) = listen();
        let closer = listener.try_clone().expect("a clone");
        let runs = sward::spawn(move || serve(listener, ServeOptions::new(), echo));
        let mut client = TcpStream::connect(address).expect("connected");
        ask(&mut client, b"x");
        closer.close().expect("closed");
        runs.join().expect("no panic").expect("no error");
        reads_end(&mut client);
    });
}

#[test]
fn a_server_that_is_cancelled_leaves_nothing() {
    in_runtime(|| {
        let (_keep, never) = sward::channel::bounded::<()>(1);
        let server = Server::start(ServeOptions::new(), move |conn: &mut Conn| {
            conn.read_exact(&mut [0])?;
            let _ = never.recv();
            Ok(Next::Idle)
        });
        let (mut idle, mut busy) = (server.connect(), server.connect());
        busy.write_all(b"x").expect("written");
        eventually("both are accepted, one is served", || {
            let metrics = server.metrics();
            (metrics.connections, metrics.activations) == (2, 1)
        });
        server.runs.cancel();
        assert!(server.runs.join().is_err());
        reads_end(&mut idle);
        reads_end(&mut busy);
    });
}

/// The runtime ends while connections are idle and handlers run.
#[test]
fn a_shutdown_of_the_runtime_ends_all() {
    let dropped = Arc::new(AtomicUsize::new(0));
    #[derive(Default)]
    struct State(Option<CountOnDrop>);
    for server_on_thread in [false, true] {
        dropped.store(0, Ordering::SeqCst);
        let runtime = two_workers();
        let (listener, address) = listen();
        let drops = dropped.clone();
        let handler = move |conn: &mut Conn<State>| {
            let mut byte = [0];
            conn.read_exact(&mut byte)?;
            conn.state().0 = Some(CountOnDrop(drops.clone()));
            conn.write_all(&byte)?;
            if byte[0] == b'b' {
                sward::sleep(LONG);
            }
            Ok(Next::Idle)
        };
        let serves = runtime.spawn(move || {
            let serves = || serve(listener, ServeOptions::new(), handler);
            if server_on_thread {
                // In the runtime of this coroutine all the same.
                sward::spawn(serves).join().expect("no panic")
            } else {
                serves()
            }
        });
        let mut clients: Vec<_> =
            (0..10).map(|_| std::net::TcpStream::connect(address).expect("connected")).collect();
        for (i, client) in clients.iter_mut().enumerate() {
            let byte = [if i < 3 { b'b' } else { b'i' }];
            client.write_all(&byte).expect("written");
            let mut answer = [0];
            client.read_exact(&mut answer).expect("read");
        }
        runtime.shutdown_timeout(LONG);
        // It is cancelled, or returns since its listener is closed: both happen at the same time.
        drop(serves.join());
        assert_eq!(dropped.load(Ordering::SeqCst), 10);
        for client in &mut clients {
            assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
        }
    }
}

#[test]
fn a_plain_thread_may_serve() {
    let (listener, address) = listen();
    let options = ServeOptions::new();
    let handle = options.handle();
    let serves = thread::spawn(move || serve(listener, options, echo));
    let mut clients: Vec<_> =
        (0..5).map(|_| std::net::TcpStream::connect(address).expect("connected")).collect();
    for client in &mut clients {
        client.write_all(b"x").expect("written");
        client.read_exact(&mut [0]).expect("read");
    }
    assert!(handle.shutdown(LONG));
    serves.join().expect("no panic").expect("no error");
}

#[test]
fn options_serve_once() {
    in_runtime(|| {
        let options = ServeOptions::new().idle_limit(LONG).request_limit(LONG).write_limit(LONG);
        assert_eq!(options.handle().metrics(), ServeMetrics::default());
        let text = format!("{options:?} {:?}", options.handle());
        assert!(text.contains("idle") && text.contains("ServeHandle"), "{text}");
        let server = Server::echo(options);
        ask(&mut server.connect(), b"x");
        server.end();
    });
}

#[test]
fn a_connection_is_woken_by_hand() {
    in_runtime(|| {
        let wakers = Arc::new(Mutex::new(Vec::<ConnWaker>::new()));
        let keeps = wakers.clone();
        let server = Server::start(ServeOptions::new(), move |conn: &mut Conn| {
            if conn.why() == Why::Woken {
                conn.write_all(b"woken")?;
                return Ok(Next::Idle);
            }
            conn.read_exact(&mut [0])?;
            keeps.lock().expect("no panic").push(conn.waker());
            conn.write_all(b"x")?;
            Ok(Next::Idle)
        });
        let mut client = server.connect();
        client.write_all(b"x").expect("written");
        client.read_exact(&mut [0]).expect("read");
        for _ in 0..100 {
            wakers.lock().expect("no panic")[0].wake();
            let mut answer = [0; 5];
            client.read_exact(&mut answer).expect("read");
            assert_eq!(&answer, b"woken");
        }
        drop(client);
        server.until_idle(0);
        // The connection is gone.
        wakers.lock().expect("no panic")[0].wake();
        server.end();
    });
}

/// Keeps the processor busy for that long.
fn compute(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn connections_move_away_from_a_worker_that_does_not_serve_them() {
    connections_move_away(false);
}

/// A worker that runs the handler since it has woken it is not the worker of the connection's shard.
#[test]
fn connections_that_are_woken_by_hand_move_as_well() {
    connections_move_away(true);
}

/// A coroutine keeps the worker whose shard has some of the connections. Another worker serves them, and has
/// them in its own shard before long. `by_hand`: another coroutine wakes all of them all the time.
fn connections_move_away(by_hand: bool) {
    const CONNECTIONS: u64 = 8;
    in_runtime(|| {
        let wakers = Arc::new(Mutex::new(Vec::<ConnWaker>::new()));
        let keeps = wakers.clone();
        let server = Server::start(ServeOptions::new(), move |conn: &mut Conn<bool>| {
            if conn.why() != Why::Ready {
                return Ok(Next::Idle);
            }
            if !std::mem::replace(conn.state(), true) {
                keeps.lock().expect("no panic").push(conn.waker());
            }
            echo_once(conn)
        });
        let address = server.address;
        let connect = |_| std::net::TcpStream::connect(address).expect("connected");
        let mut clients: Vec<_> = (0..CONNECTIONS).map(connect).collect();
        let mut round = 0_u32;
        let mut ask_all = move || {
            round += 1;
            for client in &mut clients {
                client.write_all(&round.to_le_bytes()).expect("written");
                let mut answer = [0; 4];
                client.read_exact(&mut answer).expect("answered");
                assert_eq!(answer, round.to_le_bytes());
            }
        };
        server.until_idle(CONNECTIONS as usize);
        let over = Arc::new(AtomicBool::new(false));
        let (begun, stop) = (Arc::new(AtomicBool::new(false)), over.clone());
        let begins = begun.clone();
        let keeps_a_worker = sward::spawn(move || {
            begins.store(true, Ordering::Release);
            while !stop.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
        });
        let (handle, stop) = (server.handle.clone(), over.clone());
        let wakes = move || {
            while by_hand && !stop.load(Ordering::Acquire) {
                wakers.lock().expect("no panic").iter().for_each(ConnWaker::wake);
                sward::sleep(Duration::from_millis(2));
            }
        };
        let wakes = sward::spawn(wakes);
        let asks = move || {
            while !begun.load(Ordering::Acquire) {
                thread::yield_now();
            }
            let began = Instant::now();
            while handle.metrics().moves < CONNECTIONS / 2 {
                ask_all();
                assert!(began.elapsed() < LONG, "they stay");
            }
            (0..10).for_each(|_| ask_all());
            over.store(true, Ordering::Release);
        };
        sward::blocking(asks).expect("a thread");
        keeps_a_worker.join().expect("no panic");
        wakes.join().expect("no panic");
        server.until_idle(0);
        server.end();
    });
}

#[test]
fn no_request_is_lost_among_wakes_and_limits() {
    asks_among_wakes_and_limits(false);
}

/// The worker of a connection's shard is busy now and then, so connections move.
#[test]
fn no_request_is_lost_while_connections_move() {
    asks_among_wakes_and_limits(true);
}

/// Clients come and go, ask, are silent, and are woken by hand, while limits pass. `move_`: so do coroutines
/// that keep a worker long enough for its connections to move away, and clients ask until some have moved.
fn asks_among_wakes_and_limits(move_: bool) {
    const MOVES: u64 = 3;
    const CLIENTS: u64 = 40;
    const REQUESTS: usize = 60;
    in_runtime(|| {
        let over = Arc::new(AtomicBool::new(false));
        let stop = over.clone();
        let computing = sward::spawn(move || {
            while move_ && !stop.load(Ordering::Relaxed) {
                // A new coroutine each time, which any worker may start.
                sward::spawn(|| compute(Duration::from_millis(100))).join().expect("no panic");
                sward::sleep(Duration::from_millis(10));
            }
        });
        let wakers = Arc::new(Mutex::new(Vec::<ConnWaker>::new()));
        let keeps = wakers.clone();
        let server = Server::start(ServeOptions::new(), move |conn: &mut Conn<bool>| {
            if conn.why() != Why::Ready {
                // Nothing that a client hears of. What it sends meanwhile must be served all the same.
                return Ok(Next::IdleFor(Duration::from_millis(1)));
            }
            if !std::mem::replace(conn.state(), true) {
                keeps.lock().expect("no panic").push(conn.waker());
            }
            let mut buf = [0; 512];
            let n = conn.read(&mut buf)?;
            conn.write_all(&buf[..n])?;
            Ok(Next::IdleFor(Duration::from_millis(2)))
        });
        let asking: Vec<_> = (0..CLIENTS)
            .map(|seed| {
                let (address, handle) = (server.address, server.handle.clone());
                sward::spawn(move || {
                    let mut random = Random(seed + 1);
                    let mut client = TcpStream::connect(address).expect("connected");
                    let (mut asked, began) = (0, Instant::now());
                    while asked < REQUESTS || move_ && handle.metrics().moves < MOVES {
                        assert!(began.elapsed() < LONG, "no connection moves");
                        asked += 1;
                        match random.below(8) {
                            0 => client = TcpStream::connect(address).expect("connected"),
                            1 => sward::sleep(Duration::from_micros(random.below(3_000))),
                            _ => {}
                        }
                        ask(&mut client, &vec![seed as u8; 1 + random.below(700) as usize]);
                    }
                })
            })
            .collect();
        while asking.iter().any(|client| !client.is_finished()) {
            wakers.lock().expect("no panic").iter().for_each(ConnWaker::wake);
            sward::sleep(Duration::from_micros(300));
        }
        for client in asking {
            client.join().expect("no panic");
        }
        over.store(true, Ordering::Relaxed);
        computing.join().expect("no panic");
        server.until_idle(0);
        let metrics = server.end();
        assert_eq!((metrics.panicked, metrics.failed), (0, 0));
        assert!(!move_ || metrics.moves >= MOVES);
    });
}

/// A handler that reads lines through `BufRead` loses no part of a line, however the bytes arrive.
#[test]
fn parts_of_lines_are_not_lost_by_a_handler_that_reads_lines() {
    in_runtime(|| {
        let server = Server::start(ServeOptions::new(), |conn: &mut Conn| {
            let mut line = String::new();
            conn.read_line(&mut line)?;
            conn.write_all(line.as_bytes())?;
            Ok(Next::Idle)
        });
        let mut client = server.connect();
        client.write_all(b"one\ntw").expect("written");
        let mut answer = [0; 4];
        client.read_exact(&mut answer).expect("read");
        assert_eq!(&answer, b"one\n");
        sward::sleep(MOMENT);
        client.write_all(b"o\n").expect("written");
        client.read_exact(&mut answer).expect("read");
        assert_eq!(&answer, b"two\n");
        server.end();
    });
}

#[test]
fn requests_before_the_end_of_the_stream_are_all_served() {
    in_runtime(|| {
        let server = Server::start(ServeOptions::new(), |conn: &mut Conn| {
            while !conn.buffer().contains(&b'\n') && conn.fill()? > 0 {}
            let Some(end) = conn.buffer().iter().position(|byte| *byte == b'\n') else {
                return Ok(Next::Close);
            };
            let line = conn.buffer()[..=end].to_vec();
            conn.consume(end + 1);
            conn.write_all(&line)?;
            Ok(Next::Idle)
        });
        let mut client = server.connect();
        client.write_all(b"one\ntwo\nthree\n").expect("written");
        client.shutdown(sward::net::Shutdown::Write).expect("shut down");
        let mut answers = String::new();
        client.read_to_string(&mut answers).expect("read");
        assert_eq!(answers, "one\ntwo\nthree\n");
        server.end();
    });
}

#[test]
fn a_limit_that_unwinds_out_of_fill_loses_nothing() {
    in_runtime(|| {
        let server = Server::start(ServeOptions::new(), |conn: &mut Conn| {
            conn.fill()?;
            assert!(sward::time::timeout(SHORT, || conn.fill()).is_err());
            let got = conn.buffer().to_vec();
            conn.consume(got.len());
            conn.write_all(&got)?;
            Ok(Next::Idle)
        });
        let mut client = server.connect();
        ask(&mut client, b"x");
        assert_eq!(server.end().panicked, 0);
    });
}

#[test]
fn the_limit_of_unread_bytes_is_exact_and_may_be_any_number() {
    in_runtime(|| {
        for most in [1, 1000, usize::MAX] {
            let server = Server::start(ServeOptions::new().max_unread(most), move |conn: &mut Conn| {
                while conn.buffer().len() < most.min(1000) {
                    if conn.fill()? == 0 {
                        return Ok(Next::Close);
                    }
                }
                let got = conn.buffer().to_vec();
                assert!(got.len() <= most);
                if most < usize::MAX {
                    assert_eq!(kind(conn.fill()), ErrorKind::InvalidData);
                }
                conn.consume(got.len());
                conn.write_all(&got)?;
                Ok(Next::Idle)
            });
            let mut client = server.connect();
            ask(&mut client, &[1; 1000]);
            drop(client);
            server.until_idle(0);
            assert_eq!(server.end().panicked, 0);
        }
    });
}

#[test]
fn a_state_that_cannot_be_made_ends_one_connection() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    struct State;
    impl Default for State {
        fn default() -> State {
            if MADE.fetch_add(1, Ordering::SeqCst) == 0 {
                std::panic::resume_unwind(Box::new("as asked"));
            }
            State
        }
    }
    in_runtime(|| {
        let server = Server::start(ServeOptions::new(), |conn: &mut Conn<State>| {
            let mut byte = [0];
            conn.read_exact(&mut byte)?;
            conn.write_all(&byte)?;
            Ok(Next::Idle)
        });
        reads_end(&mut server.connect());
        ask(&mut server.connect(), b"x");
        assert_eq!(server.end().panicked, 1);
    });
}

/// The wake-up comes while the handler runs, and while there is something to read.
#[test]
fn a_wake_up_by_hand_is_always_called_so() {
    in_runtime(|| {
        let woken = Arc::new(AtomicUsize::new(0));
        let counts = woken.clone();
        let server = Server::start(ServeOptions::new(), move |conn: &mut Conn| {
            if conn.why() == Why::Woken {
                counts.fetch_add(1, Ordering::SeqCst);
                return Ok(Next::Idle);
            }
            let mut byte = [0];
            conn.read_exact(&mut byte)?;
            conn.waker().wake();
            conn.write_all(&byte)?;
            Ok(Next::Idle)
        });
        let mut client = server.connect();
        ask(&mut client, &[1; 50]);
        server.until_idle(1);
        assert_eq!(woken.load(Ordering::SeqCst), 50);
        server.end();
    });
}

/// It neither keeps a worker busy nor escapes its limit.
#[test]
fn a_handler_that_does_not_read_is_not_run_again_and_again() {
    in_runtime(|| {
        let server = Server::start(ServeOptions::new(), |conn: &mut Conn| {
            Ok(if conn.why() == Why::Limit { Next::Close } else { Next::IdleFor(MOMENT) })
        });
        let mut client = server.connect();
        client.write_all(b"x").expect("written");
        reads_end(&mut client);
        server.until_idle(0);
        let metrics = server.end();
        assert!(metrics.activations < 10, "{metrics:?}");
    });
}

/// A handler that leaves bytes unread twice gives up: only news or a wake-up runs it again. That run reads
/// them.
#[test]
fn bytes_that_a_handler_left_are_there_after_a_wake_up_by_hand() {
    #[derive(Default)]
    struct State {
        is_busy: bool,
        fruitless: usize,
    }
    in_runtime(|| {
        let waker: Arc<Mutex<Option<ConnWaker>>> = Arc::default();
        let ignored = Arc::new(AtomicUsize::new(0));
        let (slot, count) = (Arc::clone(&waker), Arc::clone(&ignored));
        let server = Server::start(ServeOptions::new(), move |conn: &mut Conn<State>| {
            if conn.why() == Why::Woken {
                conn.state().is_busy = false;
            }
            if conn.state().is_busy {
                conn.state().fruitless += 1;
                count.store(conn.state().fruitless, Ordering::SeqCst);
                return Ok(Next::Idle);
            }
            *slot.lock().unwrap() = Some(conn.waker());
            conn.state().is_busy = true;
            echo_once(conn)
        });
        let mut client = server.connect();
        ask(&mut client, b"1");
        client.write_all(b"2").expect("written");
        eventually("the handler has given up", || ignored.load(Ordering::SeqCst) >= 2);
        server.until_idle(1);
        waker.lock().unwrap().take().expect("the handler has run").wake();
        let mut answer = [0];
        client.read_exact(&mut answer).expect("read");
        assert_eq!(answer, *b"2");
        drop(client);
        server.end();
    });
}

/// The echo of what one read returns.
fn echo_once<S>(conn: &mut Conn<S>) -> io::Result<Next> {
    let mut buf = [0; 64];
    let n = conn.read(&mut buf)?;
    if n == 0 {
        return Ok(Next::Close);
    }
    conn.write_all(&buf[..n])?;
    Ok(Next::Idle)
}

/// A shutdown after `serve` was cancelled waits for the handlers that unwind.
#[test]
fn a_shutdown_waits_also_if_the_server_was_cancelled() {
    in_runtime(|| {
        let unwound = Arc::new(AtomicUsize::new(0));
        let counts = unwound.clone();
        let (_keep, never) = sward::channel::bounded::<()>(1);
        let server = Server::start(ServeOptions::new(), move |conn: &mut Conn| {
            let _counts = CountOnDrop(counts.clone());
            conn.read_exact(&mut [0])?;
            sward::task::mask(|| sward::sleep(MOMENT));
            let _ = never.recv();
            Ok(Next::Idle)
        });
        let mut client = server.connect();
        client.write_all(b"x").expect("written");
        eventually("the handler runs", || server.metrics().activations == 1);
        server.runs.cancel();
        assert!(server.runs.join().is_err());
        server.handle.shutdown(LONG);
        assert_eq!(unwound.load(Ordering::SeqCst), 1);
        assert_eq!(server.handle.metrics().connections, 0);
    });
}

/// Connections are accepted while the server is shut down.
#[test]
fn a_connection_that_begins_during_a_shutdown_is_closed() {
    for _ in 0..20 {
        in_runtime(|| {
            let (listener, address) = listen();
            // It is closed, but keeps the port: no other test gets these connections.
            let _keeps_port = listener.try_clone().expect("a clone");
            let options = ServeOptions::new();
            let handle = options.handle();
            let runs = sward::spawn(move || serve(listener, options, echo));
            let server = Server { address, handle, runs };
            let connects = sward::spawn(move || {
                while let Ok(client) = TcpStream::connect(address) {
                    drop(client);
                }
            });
            eventually("it accepts", || server.metrics().accepted > 2);
            server.end();
            connects.cancel();
            drop(connects.join());
        });
    }
}

/// More limits pass at the same time than the keeper visits in one portion.
#[test]
fn limits_that_pass_at_once_close_all() {
    in_runtime(|| {
        let server = Server::echo(ServeOptions::new().idle_limit(10 * MOMENT));
        let mut clients: Vec<_> = (0..600).map(|_| server.connect()).collect();
        for client in &mut clients {
            reads_end(client);
        }
        server.until_idle(0);
        let metrics = server.end();
        assert_eq!((metrics.accepted, metrics.failed, metrics.panicked), (600, 0, 0));
    });
}

/// The connection goes over to another coroutine now and then, which any worker may take.
#[test]
fn a_connection_that_sends_without_pause_stays_in_no_coroutine() {
    lines_without_pause(2_000, 200, || ());
}

/// A handler that waits, for a database say, begins a new budget with each turn.
#[test]
fn a_connection_that_sends_without_pause_stays_in_no_coroutine_that_waits() {
    lines_without_pause(500, 64, sward::yield_now);
}

/// A client sends so many lines at once. The handler answers one in each run, and calls `waits`; a coroutine
/// makes `most` runs.
fn lines_without_pause(lines: usize, most: usize, waits: fn()) {
    in_runtime(|| {
        let ids = Arc::new(Mutex::new(std::collections::HashSet::new()));
        let seen = ids.clone();
        let server = Server::start(ServeOptions::new(), move |conn: &mut Conn| {
            let Some(end) = conn.buffer().iter().position(|byte| *byte == b'\n') else {
                return conn.fill().map(|_| Next::Idle);
            };
            seen.lock().expect("no panic").insert(sward::task::current().id());
            waits();
            let line = conn.buffer()[..=end].to_vec();
            conn.consume(end + 1);
            conn.write_all(&line)?;
            Ok(Next::Idle)
        });
        let mut client = server.connect();
        let sent = "x\n".repeat(lines);
        client.write_all(sent.as_bytes()).expect("written");
        let mut got = vec![0; sent.len()];
        client.read_exact(&mut got).expect("read");
        assert!(got == sent.as_bytes());
        let coroutines = ids.lock().expect("no panic").len();
        assert!(coroutines >= lines / most, "{coroutines}");
        server.end();
    });
}

#[test]
fn unix_connections_are_served() {
    in_runtime(|| {
        let folder = Folder::new();
        let path = folder.at("socket");
        let listener = UnixListener::bind(&path).expect("bound");
        let options = ServeOptions::new().max_connections_per_peer(1);
        let handle = options.handle();
        let runs = sward::spawn(move || serve(listener, options, echo));
        let mut clients: Vec<_> = (0..5).map(|_| UnixStream::connect(&path).expect("connected")).collect();
        for _ in 0..3 {
            for client in &mut clients {
                let sent = [7; 10_000];
                client.write_all(&sent).expect("written");
                let mut got = [0; 10_000];
                client.read_exact(&mut got).expect("read");
                assert!(got == sent);
            }
        }
        assert_eq!(handle.metrics().connections, 5);
        assert!(handle.shutdown(LONG));
        assert_eq!(clients[0].read(&mut [0]).expect("the end"), 0);
        runs.join().expect("no panic").expect("no error");
    });
}

#[test]
fn metrics_and_dumps_count_connections() {
    in_runtime(|| {
        let (enter, entered) = sward::channel::bounded::<()>(1);
        let (leave, left) = sward::channel::bounded::<()>(1);
        let server = Server::start(ServeOptions::new(), move |conn: &mut Conn| {
            let mut buf = [0; 16];
            if conn.read(&mut buf)? > 0 {
                enter.send(()).expect("received");
                left.recv().expect("sent");
            }
            Ok(Next::Idle)
        });
        let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
        server.until_idle(3);
        clients[0].write_all(b"x").expect("written");
        entered.recv().expect("sent");
        let of = || sward::runtime::metrics().expect("inside").activations;
        eventually("the metrics say so", || (of().idle, of().active) == (2, 1));
        let dump = sward::observe::dump();
        // Other tests of this process have runtimes, too.
        let counts = |runtime: &RuntimeDump| (runtime.idle_connections, runtime.active_connections);
        assert!(dump.runtimes.iter().any(|runtime| counts(runtime) == (2, 1)), "{dump}");
        assert!(dump.to_string().contains("connections: 2 idle, without coroutines; 1 active"), "{dump}");
        leave.send(()).expect("received");
        drop(clients);
        server.until_idle(0);
        server.end();
    });
}
