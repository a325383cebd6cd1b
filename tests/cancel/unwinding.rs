//! Waits in destructors while their coroutine or thread unwinds, where no switch is possible.

use crate::common::{LONG, homes_by_default, listen, one_worker, one_worker_and_home, pair};
use std::io::{BufWriter, ErrorKind, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};
use sward::net::UdpSocket;
use sward::runtime::Homes;
use sward::task::{self, JoinError, JoinSet};
use sward::time::{timeout, timeout_at};

/// Calls the closure when it is dropped.
struct InDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for InDrop<F> {
    fn drop(&mut self) {
        assert!(std::thread::panicking());
        (self.0)();
    }
}

/// Waits until a coroutine sets the flag.
fn wait_for(flag: &AtomicBool) {
    while !flag.load(Ordering::Acquire) {
        sward::yield_now();
    }
}

/// How a section of code is ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Cancel,
    Limit,
    Panic,
}

/// Runs the closure in a destructor while the section unwinds, and returns its result.
fn in_destructor<T: Send>(end: End, f: impl FnOnce() -> T + Send) -> T {
    let (mut f, mut outcome) = (Some(f), None);
    let begun = AtomicBool::new(false);
    let body = || {
        begun.store(true, Ordering::Release);
        let _drops = InDrop(|| outcome = f.take().map(|f| f()));
        if end == End::Panic {
            resume_unwind(Box::new("a panic"));
        }
        sward::sleep(LONG);
    };
    match end {
        End::Limit => assert!(timeout(Duration::from_millis(1), body).is_err()),
        End::Panic => assert!(catch_unwind(AssertUnwindSafe(body)).is_err()),
        End::Cancel => sward::scope(|s| {
            let coroutine = s.spawn(body);
            wait_for(&begun);
            coroutine.cancel();
            assert!(matches!(coroutine.join(), Err(JoinError::Cancelled)));
        }),
    }
    outcome.expect("the destructor has run")
}

/// More than the buffers of a connection hold.
const MUCH: usize = 64 << 20;

/// The destructor of a buffered writer flushes it, and must not block the worker for ever.
#[test]
fn a_buffered_writer_whose_client_does_not_read_blocks_no_worker() {
    let buffered = |stream| {
        let mut writer = BufWriter::with_capacity(MUCH + 1, stream);
        writer.write_all(&vec![0; MUCH]).unwrap();
        writer
    };
    one_worker().run(|| {
        let (_client, server) = pair();
        let begun = Arc::new(AtomicBool::new(false));
        let begins = begun.clone();
        let writes = sward::spawn(move || {
            let _writer = buffered(server);
            begins.store(true, Ordering::Release);
            task::park();
        });
        wait_for(&begun);
        writes.cancel();
        assert!(matches!(writes.join(), Err(JoinError::Cancelled)));
    });
    let limited = || {
        let (_client, server) = pair();
        let ended = timeout(Duration::from_millis(1), || {
            let _writer = buffered(server);
            sward::sleep(LONG);
        });
        assert!(ended.is_err());
    };
    one_worker().run(limited);
    limited(); // on a plain thread
    let (_client, server) = pair();
    let runtime = one_worker();
    let ended = Arc::new(AtomicBool::new(false));
    let theirs = ended.clone();
    runtime.run(move || {
        let begun = Arc::new(AtomicBool::new(false));
        let begins = begun.clone();
        sward::spawn(move || {
            // This is dropped after the writer.
            let _ended = InDrop(move || theirs.store(true, Ordering::Relaxed));
            let _writer = buffered(server);
            begins.store(true, Ordering::Release);
            task::park();
        });
        wait_for(&begun);
    });
    runtime.shutdown_timeout(Duration::from_secs(300));
    assert!(ended.load(Ordering::Relaxed), "it was leaked");
}

/// An operation that has to wait.
type Operation = Box<dyn FnMut() -> std::io::Result<()> + Send>;

fn waiting() -> Vec<(&'static str, Operation)> {
    let (client, server) = pair();
    let (mut idle, idle_peer) = pair();
    let (peeks, peeks_peer) = pair();
    let (listener, _) = listen();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (mut reader, writer) = sward::io::pipe().unwrap();
    let mut child = sward::process::Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
    let file = std::env::temp_dir().join(format!("sward-unwinding-{}", std::process::id()));
    let (locked, waits) = (sward::fs::File::create(&file).unwrap(), sward::fs::File::open(&file).unwrap());
    std::fs::remove_file(&file).unwrap();
    locked.lock().unwrap();
    vec![
        (
            "write",
            Box::new(move || {
                (&server).write_all(&vec![0; MUCH]).map(|()| assert!(client.peer_addr().is_ok()))
            }),
        ),
        ("read", Box::new(move || idle.read(&mut [0]).map(|_| assert!(idle_peer.peer_addr().is_ok())))),
        ("peek", Box::new(move || peeks.peek(&mut [0]).map(|_| assert!(peeks_peer.peer_addr().is_ok())))),
        ("accept", Box::new(move || listener.accept().map(drop))),
        ("recv_from", Box::new(move || udp.recv_from(&mut [0]).map(drop))),
        ("a pipe", Box::new(move || reader.read(&mut [0]).map(|_| drop(writer.try_clone())))),
        ("a child", Box::new(move || child.wait().map(drop))),
        (
            "a child until then",
            Box::new({
                let mut child =
                    sward::process::Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
                move || child.wait_timeout(LONG).map(drop)
            }),
        ),
        ("a file's lock", Box::new(move || waits.lock().map(|()| drop(locked.try_clone())))),
    ]
}

#[test]
fn io_fails_where_it_would_wait_while_a_cancellation_or_a_limit_unwinds() {
    let test = |end, kind| {
        for (name, mut call) in waiting() {
            let error = in_destructor(end, move || call().expect_err(name));
            assert_eq!(error.kind(), kind, "{name}: {error}");
            assert!(error.to_string().contains("while it unwinds"), "{name}: {error}");
        }
    };
    one_worker().run(|| {
        test(End::Cancel, ErrorKind::Other);
        test(End::Limit, ErrorKind::TimedOut);
    });
    test(End::Limit, ErrorKind::TimedOut); // on a plain thread
}

/// The error differs from that of a timeout of the socket itself.
#[test]
fn io_fails_so_also_with_a_timeout_of_its_own() {
    one_worker().run(|| {
        let (mut stream, _peer) = pair();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let error = in_destructor(End::Limit, move || stream.read(&mut [0]).expect_err("refused"));
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn io_that_does_not_have_to_wait_succeeds() {
    one_worker().run(|| {
        for end in [End::Cancel, End::Limit, End::Panic] {
            let (mut client, mut server) = pair();
            client.write_all(b"x").unwrap();
            while server.peek(&mut [0]).unwrap() == 0 {}
            in_destructor(end, move || {
                server.write_all(b"y").unwrap();
                server.read_exact(&mut [0]).unwrap();
            });
            client.read_exact(&mut [0]).unwrap();
        }
    });
}

/// In a masked section, a destructor waits and blocks its thread.
#[test]
fn io_waits_where_a_destructor_masks_it() {
    let test = |end| {
        let (client, mut server) = pair();
        let client = client.into_std().unwrap();
        let writes = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            (&client).write_all(b"x").unwrap();
            client
        });
        in_destructor(end, move || {
            task::mask(|| server.read_exact(&mut [0])).expect("masked");
            let error = server.read(&mut [0]).expect_err("masked no more");
            assert!(error.to_string().contains("while it unwinds"));
        });
        drop(writes.join().unwrap());
    };
    one_worker().run(|| {
        test(End::Cancel);
        test(End::Limit);
        // A limit inside a mask unwinds unmasked code.
        task::mask(|| {
            let (mut stream, _peer) = pair();
            in_destructor(End::Limit, move || stream.read(&mut [0]).expect_err("refused"));
        });
    });
    test(End::Limit);
}

/// While an ordinary panic unwinds, destructors may wait.
#[test]
fn io_waits_while_a_panic_unwinds_but_not_beyond_the_limit() {
    let test = || {
        let (client, mut server) = pair();
        let client = client.into_std().unwrap();
        let writes = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            (&client).write_all(b"x").unwrap();
            client
        });
        let mut server = in_destructor(End::Panic, move || {
            server.read_exact(&mut [0]).expect("it waits");
            server
        });
        let client = writes.join().unwrap();
        // The panic comes out of the section, since the limit did not end it.
        let mut kind = None;
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            timeout(Duration::from_millis(20), || {
                let _drops = InDrop(|| kind = server.read(&mut [0]).err().map(|error| error.kind()));
                resume_unwind(Box::new("a panic"));
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(kind, Some(ErrorKind::TimedOut));
        drop(client);
    };
    one_worker().run(test);
    test();
}

/// Whether another worker may run a coroutine whose thread that is, while this worker is blocked.
fn runs_elsewhere(home: ThreadId) -> bool {
    cfg!(sward_migrate) || home != thread::current().id()
}

/// A join fails if only the blocked worker could run the coroutine. Otherwise it would be a deadlock.
#[test]
fn a_join_that_would_wait_for_its_own_worker_fails() {
    let runtime = one_worker_and_home();
    for end in [End::Cancel, End::Limit, End::Panic] {
        runtime.run(|| {
            let stop = Arc::new(AtomicBool::new(false));
            let (stops, (begins, begun)) = (stop.clone(), sward::channel::bounded(1));
            let helper = sward::spawn(move || {
                begins.send(thread::current().id()).unwrap();
                while !stops.load(Ordering::Relaxed) {
                    sward::yield_now();
                }
                7
            });
            let home = begun.recv().unwrap();
            let (elsewhere, result) = in_destructor(end, || {
                let elsewhere = runs_elsewhere(home);
                stop.store(elsewhere, Ordering::Relaxed);
                (elsewhere, helper.join())
            });
            // If it lives in the worker's pinned home, nobody else runs it.
            if !matches!(result, Ok(7)) || !elsewhere {
                let error = result.expect_err("it lives on this worker");
                assert!(matches!(error, JoinError::Deadlock), "{error}");
                assert!(error.to_string().contains("while unwinding"), "{error}");
            }
            // The coroutine itself runs and ends afterwards.
            stop.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn a_set_whose_coroutines_all_wait_for_its_worker_is_emptied() {
    if cfg!(sward_migrate) {
        println!("skipped: other workers run them");
        return;
    }
    one_worker_and_home().run(|| {
        let (mut set, mut homes) = (JoinSet::new(), Vec::new());
        for _ in 0..3 {
            let (begins, begun) = sward::channel::bounded(1);
            set.spawn(move || {
                begins.send(thread::current().id()).unwrap();
                task::park();
            });
            homes.push(begun.recv().unwrap());
        }
        let (elsewhere, ended) = in_destructor(End::Cancel, move || {
            set.cancel_all();
            let ended = std::iter::from_fn(|| set.join_next()).map(|result| result.unwrap_err());
            (homes.into_iter().filter(|&home| runs_elsewhere(home)).count(), ended.collect::<Vec<_>>())
        });
        assert_eq!(ended.len(), 3);
        let cancelled = ended.iter().filter(|error| matches!(error, JoinError::Cancelled)).count();
        let deadlocks = ended.iter().filter(|error| matches!(error, JoinError::Deadlock)).count();
        assert_eq!(cancelled + deadlocks, 3);
        // Those in the worker's pinned home are not elsewhere either.
        assert!(cancelled <= elsewhere, "{ended:?}");
    });
}

#[test]
fn a_join_of_a_coroutine_that_only_the_blocked_worker_could_start_fails() {
    let result = one_worker_and_home().run(|| in_destructor(End::Cancel, || sward::spawn(|| 7).join()));
    if cfg!(sward_migrate) || homes_by_default() {
        assert_eq!(result.unwrap(), 7);
    } else {
        assert!(matches!(result, Err(JoinError::Deadlock)));
    }
}

/// With mobile homes another worker runs a coroutine in another home while the join blocks this one.
#[test]
fn a_join_of_a_coroutine_in_another_home_waits() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).homes(Homes::Auto).build().unwrap();
    if runtime.metrics().homes.is_none() {
        println!("skipped: there are no mobile homes");
        return;
    }
    for end in [End::Cancel, End::Limit, End::Panic] {
        runtime.run(|| {
            let (begins, begun) = sward::channel::bounded(1);
            let stop = Arc::new(AtomicBool::new(false));
            let stops = stop.clone();
            let isolated = task::Builder::new().isolated(true).spawn(move || {
                begins.send(thread::current().id()).unwrap();
                while !stops.load(Ordering::Relaxed) {
                    sward::yield_now();
                }
                7
            });
            let home = begun.recv().unwrap();
            let value = in_destructor(end, || {
                assert_ne!(home, thread::current().id());
                stop.store(true, Ordering::Relaxed);
                isolated.unwrap().join().unwrap()
            });
            assert_eq!(value, 7);
        });
    }
}

/// Another worker starts an unstarted coroutine.
#[test]
fn a_destructor_may_spawn_and_join_where_there_are_other_workers() {
    let runtime = sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
    for end in [End::Cancel, End::Limit, End::Panic] {
        let value = runtime.run(|| in_destructor(end, || sward::spawn(|| 7).join().unwrap()));
        assert_eq!(value, 7);
    }
}

/// A limit that has passed ends the section at once, and the destructors still run to their end.
#[test]
fn a_limit_that_has_passed_ends_io_in_destructors_at_once() {
    let (mut stream, _peer) = pair();
    let ended = timeout_at(Instant::now(), || {
        let _drops = InDrop(|| assert!(stream.read(&mut [0]).is_err()));
        task::checkpoint();
    });
    assert!(ended.is_err());
}
