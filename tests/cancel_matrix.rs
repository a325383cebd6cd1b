//! Each kind of wait, ended by a cancellation and by a time limit: the coroutine unwinds, and what it waited
//! for is as good as before for others, with nothing lost.
//!
//! Each test has one worker: when the test's own coroutine runs again after the other one has said that it is
//! about to wait, that one waits.

mod checked;

use std::cell::Cell;
use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use sward::channel::{self, broadcast, oneshot, watch};
use sward::net::{TcpListener, TcpStream};
use sward::sync::{Barrier, Condvar, Mutex, Notify, Once, OnceLock, RwLock, Semaphore, WaitGroup};
use sward::task::{self, CancelToken, JoinError, JoinHandle, JoinSet, ScopeBuilder};
use sward::time::{Deadline, timeout};

/// A limit that no test reaches unless it hangs.
const GUARD: Duration = Duration::from_secs(30);

/// A time limit that is to end a wait, and not the way there, also where waits are checked.
const SHORT: Duration = Duration::from_millis(100);

fn one_worker() -> sward::runtime::Runtime {
    sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime")
}

fn on_one_worker(test: impl FnOnce() + Send) {
    one_worker().run(|| timeout(2 * GUARD, test).expect("the test itself waits for what is lost"));
}

/// Joins within the guard.
fn join<T>(handle: JoinHandle<T>) -> Result<T, JoinError> {
    timeout(GUARD, || handle.join()).expect("it still waits")
}

/// Counts its end.
struct Unwound(Arc<AtomicUsize>);

impl Drop for Unwound {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Spawns a coroutine, and returns when it waits.
fn waiting<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let begun = Arc::new(AtomicBool::new(false));
    let begins = begun.clone();
    let handle = sward::spawn(move || {
        begins.store(true, Ordering::SeqCst);
        wait()
    });
    while !begun.load(Ordering::SeqCst) {
        sward::yield_now();
    }
    assert!(!handle.is_finished(), "there was nothing to wait for");
    handle
}

/// Ends the wait in each way, and each time lets the caller look at what is left.
fn ended<T: Send + 'static>(wait: impl Fn() -> T + Send + Sync + 'static, mut usable: impl FnMut()) {
    let wait = Arc::new(wait);
    for round in 0..4 {
        let unwound = Arc::new(AtomicUsize::new(0));
        let (theirs, wait) = (Unwound(unwound.clone()), wait.clone());
        if round % 2 == 0 {
            let waits = waiting(move || {
                let _unwound = theirs;
                wait();
                unreachable!("cancelled");
            });
            assert!(waits.cancel());
            let outcome: Result<(), _> = join(waits);
            assert!(matches!(outcome, Err(JoinError::Cancelled)), "{outcome:?}");
        } else {
            let waits = waiting(move || {
                let _unwound = theirs;
                let outcome = timeout(SHORT, || wait());
                assert!(outcome.is_err(), "it has not waited");
                assert_eq!(Deadline::current(), Deadline::never());
            });
            join(waits).expect("the time limit ends the wait alone");
        }
        assert_eq!(unwound.load(Ordering::SeqCst), 1);
        usable();
    }
}

/// Gives what one coroutine waits for, and cancels it before it runs: it has got it, or it is left for
/// others. Both are tried, the cancellation first and the gift first.
fn given_and_cancelled<T: Send + 'static>(
    wait: impl Fn() -> T + Send + Sync + 'static,
    give: impl Fn(),
    left: impl Fn() -> usize,
) {
    let wait = Arc::new(wait);
    for round in 0..4 {
        let theirs = wait.clone();
        let waits = waiting(move || drop(theirs()));
        if round % 2 == 0 {
            give();
            waits.cancel();
        } else {
            waits.cancel();
            give();
        }
        let got = match join(waits) {
            Ok(()) => 1,
            Err(JoinError::Cancelled) => 0,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(got + left(), 1, "round {round}");
    }
}

fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("bound")
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = listen();
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
    (client, listener.accept().expect("accepted").0)
}

#[test]
fn a_sleep() {
    on_one_worker(|| ended(|| sward::sleep(GUARD), || sward::sleep(Duration::from_micros(1))));
}

#[test]
fn a_park() {
    on_one_worker(|| {
        ended(task::park, || {
            let parks = waiting(task::park);
            parks.task().unpark();
            join(parks).unwrap();
        });
    });
}

#[test]
fn a_tick() {
    on_one_worker(|| {
        let start = Instant::now() + 2 * GUARD;
        let ticks = Arc::new(Mutex::new(sward::time::interval_at(start, GUARD)));
        let theirs = ticks.clone();
        ended(move || theirs.lock().unwrap().tick(), || assert!(ticks.try_lock().is_ok()));
        let due = Instant::now();
        ticks.lock().unwrap().reset_at(due);
        assert_eq!(ticks.lock().unwrap().tick(), due);
    });
}

#[test]
fn a_read() {
    on_one_worker(|| {
        let (mut client, server) = pair();
        let server = Arc::new(server);
        let theirs = server.clone();
        ended(
            move || (&*theirs).read(&mut [0; 8]),
            || {
                client.write_all(b"abc").unwrap();
                let mut buffer = [0; 3];
                (&*server).read_exact(&mut buffer).unwrap();
                assert_eq!(&buffer, b"abc");
            },
        );
    });
}

#[test]
fn a_write() {
    on_one_worker(|| {
        let (client, mut server) = pair();
        client.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut sent = 0;
        while let Ok(count) = (&client).write(&[7; 1 << 16]) {
            sent += count;
        }
        client.set_write_timeout(None).unwrap();
        let client = Arc::new(client);
        let theirs = client.clone();
        ended(move || (&*theirs).write(&[8]), || ());
        // What was written before is there, and nothing else.
        let mut all = vec![0; sent];
        server.read_exact(&mut all).unwrap();
        assert!(all.iter().all(|byte| *byte == 7));
        (&*client).write_all(b"9").unwrap();
        server.read_exact(&mut all[..1]).unwrap();
        assert_eq!(all[0], b'9', "a write that was ended has written after all");
    });
}

#[test]
fn an_accept() {
    on_one_worker(|| {
        let listener = Arc::new(listen());
        let theirs = listener.clone();
        let address = listener.local_addr().unwrap();
        ended(
            move || theirs.accept(),
            || {
                let client = TcpStream::connect(address).unwrap();
                let (_, peer) = listener.accept().unwrap();
                assert_eq!(peer, client.local_addr().unwrap());
            },
        );
    });
}

#[test]
fn a_connect() {
    on_one_worker(|| {
        let listener = listen();
        let address = listener.local_addr().unwrap();
        // A queue of one: the connections beyond it are not answered.
        // SAFETY: the call takes no pointers.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            queued.push(stream);
            assert!(queued.len() < 16, "the queue has no end");
        }
        let before = descriptors();
        ended(move || TcpStream::connect(address), || assert!(descriptors() <= before, "its socket is left"));
        for _ in &queued {
            listener.accept().unwrap();
        }
        // Connections that were given up may still be in the queue, dead.
        TcpStream::connect_timeout(&address, GUARD).unwrap();
    });
}

/// Descriptors of sockets that are not connected and do not listen.
fn descriptors() -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir("/proc/self/fd").expect("Linux") {
        let Ok(number) = entry.expect("an entry").file_name().to_str().unwrap_or("").parse::<i32>() else {
            continue;
        };
        let mut state = [0u8; 1];
        let mut len = 1 as libc::socklen_t;
        // The first byte of `tcp_info` is the state of the connection.
        // SAFETY: there is room for the one byte that is asked for.
        let asked = unsafe {
            libc::getsockopt(
                number,
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                state.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        const SYN_SENT: u8 = 2;
        count += usize::from(asked == 0 && state[0] == SYN_SENT);
    }
    count
}

#[test]
fn a_lock() {
    on_one_worker(|| {
        let mutex = Arc::new(Mutex::new(0));
        let (theirs, guard) = (mutex.clone(), Cell::new(Some(mutex.lock().unwrap())));
        ended(
            move || drop(theirs.lock()),
            || {
                drop(guard.take());
                *mutex.lock().unwrap() += 1;
                guard.set(Some(mutex.lock().unwrap()));
            },
        );
        drop(guard);
        assert_eq!(*mutex.lock().unwrap(), 4);
        let theirs = mutex.clone();
        let guard = Cell::new(None);
        // The one who waits for the lock, and is handed it or not.
        for _ in 0..4 {
            guard.set(Some(mutex.lock().unwrap()));
            let (first, second) = (theirs.clone(), theirs.clone());
            let first = waiting(move || drop(first.lock().unwrap()));
            let second = waiting(move || drop(second.lock().unwrap()));
            drop(guard.take());
            first.cancel();
            let _ = join(first);
            join(second).expect("the wake is passed on");
        }
    });
}

#[test]
fn a_read_lock_and_a_write_lock() {
    on_one_worker(|| {
        let lock = Arc::new(RwLock::new(0));
        let theirs = lock.clone();
        let written = Cell::new(Some(lock.write().unwrap()));
        ended(
            move || drop(theirs.read()),
            || {
                drop(written.take());
                *lock.write().unwrap() += 1;
                written.set(Some(lock.write().unwrap()));
            },
        );
        drop(written);
        let theirs = lock.clone();
        let read = Cell::new(Some(lock.read().unwrap()));
        ended(
            move || drop(theirs.write()),
            || {
                // Readers get in again beside the one that there is.
                drop(lock.read().unwrap());
                drop(read.take());
                *lock.write().unwrap() += 1;
                read.set(Some(lock.read().unwrap()));
            },
        );
        drop(read);
        assert_eq!(*lock.write().unwrap(), 8);
        // A writer that gives up lets the readers behind it in, whether it was chosen or not.
        for release_first in [false, true] {
            let read = lock.read().unwrap();
            let (writes, reads) = (lock.clone(), lock.clone());
            let writer = waiting(move || drop(writes.write()));
            let reader = waiting(move || drop(reads.read()));
            if release_first {
                drop(read);
                writer.cancel();
                let _ = join(writer);
                join(reader).unwrap();
            } else {
                writer.cancel();
                assert!(matches!(join(writer), Err(JoinError::Cancelled)));
                join(reader).unwrap();
                drop(read);
            }
        }
    });
}

#[test]
fn a_condvar() {
    on_one_worker(|| {
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let theirs = shared.clone();
        ended(
            move || {
                let guard = theirs.0.lock().unwrap();
                drop(theirs.1.wait(guard));
            },
            || *shared.0.try_lock().expect("the mutex is free") += 1,
        );
        assert_eq!(*shared.0.lock().unwrap(), 4);
        // Two wait, one is notified and cancelled: the notification is the other's, or was used.
        for _ in 0..4 {
            let both: Vec<_> = (0..2)
                .map(|_| {
                    let theirs = shared.clone();
                    waiting(move || drop(theirs.1.wait(theirs.0.lock().unwrap())))
                })
                .collect();
            let [first, second] = both.try_into().unwrap();
            shared.1.notify_one();
            first.cancel();
            if join(first).is_ok() {
                assert!(!second.is_finished());
                shared.1.notify_one();
            }
            join(second).expect("the notification is passed on");
        }
    });
}

#[test]
fn a_semaphore() {
    on_one_worker(|| {
        let semaphore = Arc::new(Semaphore::new(2));
        let theirs = semaphore.clone();
        ended(
            move || theirs.acquire_many(3).map(drop),
            || {
                assert_eq!(semaphore.available_permits(), 2);
                drop(semaphore.acquire_many(2).unwrap());
            },
        );
        let none = Arc::new(Semaphore::new(0));
        let theirs = none.clone();
        given_and_cancelled(
            move || theirs.acquire().unwrap().forget(),
            || none.add_permits(1),
            || {
                let left = none.available_permits();
                (0..left).for_each(|_| none.try_acquire().unwrap().forget());
                left
            },
        );
        // A large request that gives up lets the small one behind it through.
        let (large, small) = (semaphore.clone(), semaphore.clone());
        let held = semaphore.acquire().unwrap();
        let large = waiting(move || large.acquire_many(2).map(drop));
        let small = waiting(move || small.acquire().map(drop));
        large.cancel();
        assert!(join(large).is_err());
        join(small).unwrap().unwrap();
        drop(held);
        assert_eq!(semaphore.available_permits(), 2);
    });
}

#[test]
fn a_barrier() {
    on_one_worker(|| {
        let barrier = Arc::new(Barrier::new(2));
        let theirs = barrier.clone();
        ended(
            move || theirs.wait(),
            || {
                // Whoever has left does not count.
                let other = barrier.clone();
                let other = waiting(move || other.wait().is_leader());
                assert!(barrier.wait().is_leader());
                assert!(!join(other).unwrap());
            },
        );
    });
}

#[test]
fn a_once() {
    on_one_worker(|| {
        for _ in 0..2 {
            let (once, cell) = (Arc::new(Once::new()), Arc::new(OnceLock::new()));
            let (go, gate) = channel::bounded::<()>(0);
            let (runs, fills) = (once.clone(), cell.clone());
            let inits = waiting(move || {
                runs.call_once(|| {
                    fills.get_or_init(|| gate.recv().map(|()| 7));
                });
            });
            let (theirs, other) = (once.clone(), once.clone());
            ended(move || theirs.call_once(|| unreachable!()), || assert!(!once.is_completed()));
            ended(move || other.wait(), || assert!(!once.is_completed()));
            let theirs = cell.clone();
            ended(move || theirs.get_or_init(|| unreachable!()).is_ok(), || assert!(cell.get().is_none()));
            go.send(()).unwrap();
            join(inits).unwrap();
            assert!(once.is_completed());
            assert_eq!(cell.get(), Some(&Ok(7)));
        }
    });
}

/// The one who initialises is ended: another one does it.
#[test]
fn an_initialiser() {
    on_one_worker(|| {
        let (once, cell) = (Arc::new(Once::new()), Arc::new(OnceLock::<u32>::new()));
        let (theirs, fills) = (once.clone(), cell.clone());
        ended(move || theirs.call_once(task::park), || assert!(!once.is_completed()));
        once.call_once(|| ());
        ended(
            move || {
                fills.get_or_init(|| {
                    task::park();
                    1
                });
            },
            || assert!(cell.get().is_none()),
        );
        assert_eq!(cell.get_or_init(|| 2), &2);
    });
}

#[test]
fn a_wait_group() {
    on_one_worker(|| {
        let group = Arc::new(WaitGroup::new());
        let theirs = group.clone();
        group.add(1);
        ended(move || theirs.wait(), || ());
        let theirs = group.clone();
        let waits = waiting(move || theirs.wait());
        group.done();
        join(waits).unwrap();
    });
}

#[test]
fn a_notification() {
    on_one_worker(|| {
        let notify = Arc::new(Notify::new());
        let theirs = notify.clone();
        ended(
            move || theirs.wait(),
            || {
                // Nobody is left on the list who would swallow it.
                notify.notify_one();
                assert!(!notify.wait_timeout(GUARD).timed_out());
            },
        );
        let theirs = notify.clone();
        given_and_cancelled(
            move || theirs.wait(),
            || notify.notify_one(),
            || usize::from(!notify.wait_timeout(Duration::from_millis(1)).timed_out()),
        );
    });
}

#[test]
fn a_receive() {
    on_one_worker(|| {
        for capacity in [0, 1, 16, usize::MAX] {
            let (sender, receiver) = channel::bounded(capacity);
            let theirs = receiver.clone();
            ended(
                move || theirs.recv(),
                || {
                    if capacity == 0 {
                        assert!(sender.try_send(1).unwrap_err().is_full(), "somebody waits still");
                    } else {
                        sender.send(1).unwrap();
                        assert_eq!(receiver.try_recv(), Ok(1));
                    }
                },
            );
            let theirs = receiver.clone();
            let given = Cell::new(0);
            given_and_cancelled(
                move || theirs.recv().unwrap(),
                || given.set(usize::from(sender.try_send(1).is_err())),
                // On a rendezvous channel it may have been refused.
                || receiver.try_iter().count() + given.get(),
            );
        }
        let never = channel::never::<()>();
        ended(move || never.recv(), || ());
        let after = channel::after(Duration::from_millis(100));
        let theirs = after.clone();
        ended(move || theirs.recv().map(|_| sward::sleep(GUARD)), || ());
    });
}

#[test]
fn a_send() {
    on_one_worker(|| {
        for capacity in [0, 1, 3] {
            let (sender, receiver) = channel::bounded(capacity);
            (0..capacity).for_each(|_| sender.send(0).unwrap());
            let theirs = sender.clone();
            ended(
                move || theirs.send(1),
                || {
                    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), vec![0; capacity]);
                    (0..capacity).for_each(|_| sender.send(0).unwrap());
                },
            );
            // Those who wait behind it are served.
            let (first, second) = (sender.clone(), sender.clone());
            let first = waiting(move || first.send(1));
            let second = waiting(move || second.send(2));
            first.cancel();
            assert!(join(first).is_err());
            assert_eq!(receiver.iter().take(capacity + 1).last(), Some(2));
            join(second).unwrap().unwrap();
        }
    });
}

/// A send that the end of the wait and the receiver both want: the message arrives or is dropped, not both.
#[test]
fn a_send_that_is_met() {
    on_one_worker(|| {
        let (sender, receiver) = channel::bounded(0);
        for receive_first in [true, false] {
            let theirs = sender.clone();
            let sends = waiting(move || theirs.send(5));
            let received = if receive_first {
                let received = receiver.try_recv().is_ok();
                sends.cancel();
                received
            } else {
                sends.cancel();
                receiver.try_recv().is_ok()
            };
            assert_eq!(received, join(sends).is_ok());
            assert!(receiver.try_recv().is_err());
        }
    });
}

#[test]
fn a_select() {
    on_one_worker(|| {
        let (sender, receiver) = channel::bounded(1);
        let (full, filled) = channel::bounded(1);
        full.send(0).unwrap();
        let (receives, sends) = (receiver.clone(), full.clone());
        ended(
            move || {
                sward::select! {
                    recv(receives) -> _ => (),
                    send(sends, 1) -> _ => (),
                    default(2 * GUARD) => (),
                }
            },
            || {
                sender.send(1).unwrap();
                assert_eq!(receiver.try_recv(), Ok(1));
                assert_eq!(filled.try_recv(), Ok(0));
                assert!(filled.try_recv().is_err(), "an ended select has sent");
                full.send(0).unwrap();
            },
        );
        let (receives, sends) = (receiver.clone(), full.clone());
        given_and_cancelled(
            move || {
                sward::select! {
                    recv(receives) -> message => assert_eq!(message, Ok(1)),
                    send(sends, 1) -> _ => unreachable!(),
                }
            },
            || sender.try_send(1).unwrap(),
            || receiver.try_iter().count(),
        );
    });
}

#[test]
fn a_oneshot() {
    on_one_worker(|| {
        let (sender, receiver) = oneshot::channel();
        let receiver = Arc::new(receiver);
        let theirs = receiver.clone();
        ended(move || theirs.recv(), || assert!(!sender.is_closed()));
        sender.send(3).unwrap();
        assert_eq!(receiver.recv(), Ok(3));
    });
}

#[test]
fn a_watched_value() {
    on_one_worker(|| {
        let (sender, mut mine) = watch::channel(0);
        let source = sender.clone();
        ended(
            move || source.subscribe().changed(),
            || {
                assert_eq!(sender.receiver_count(), 1);
                sender.send_modify(|n| n + 1);
                mine.changed().unwrap();
            },
        );
        assert_eq!(*mine.get(), 4);
    });
}

#[test]
fn a_broadcast() {
    on_one_worker(|| {
        let (sender, mut mine) = broadcast::channel(8);
        let source = sender.clone();
        ended(
            move || source.subscribe().recv(),
            || {
                assert_eq!(sender.send(1).unwrap(), 1, "a receiver that is gone counts");
                assert_eq!(mine.recv(), Ok(1));
            },
        );
    });
}

#[test]
fn a_join() {
    on_one_worker(|| {
        let (go, gate) = channel::bounded(0);
        let ended_well = Arc::new(AtomicUsize::new(0));
        let (theirs, wait) = (ended_well.clone(), gate.clone());
        ended(
            move || {
                let (theirs, gate) = (theirs.clone(), wait.clone());
                let joined = sward::spawn(move || {
                    gate.recv().unwrap();
                    theirs.fetch_add(1, Ordering::SeqCst);
                });
                joined.join()
            },
            || go.send(()).expect("the joined one was not cancelled"),
        );
        while ended_well.load(Ordering::SeqCst) < 4 {
            sward::yield_now();
        }
    });
}

#[test]
fn a_scope() {
    on_one_worker(|| {
        let alive = Arc::new(AtomicUsize::new(0));
        let children = |alive: &Arc<AtomicUsize>, limit: usize, count: usize| {
            ScopeBuilder::new().limit(limit).scope(|s| {
                for _ in 0..count {
                    s.spawn(|| {
                        alive.fetch_add(1, Ordering::SeqCst);
                        let _ends = Unwound(Arc::default());
                        struct Leaves<'a>(&'a AtomicUsize);
                        impl Drop for Leaves<'_> {
                            fn drop(&mut self) {
                                self.0.fetch_sub(1, Ordering::SeqCst);
                            }
                        }
                        let _leaves = Leaves(alive);
                        task::park();
                    });
                }
            });
        };
        // It waits for room, and then at its end.
        for count in [3, 2] {
            let theirs = alive.clone();
            ended(
                move || children(&theirs, 2, count),
                || assert_eq!(alive.load(Ordering::SeqCst), 0, "a child has outlived its scope"),
            );
        }
    });
}

/// A child that waits for room in its scope is ended alone: the room is the next one's.
#[test]
fn a_spawn_for_which_there_is_no_room() {
    on_one_worker(|| {
        let (go, gate) = channel::bounded::<()>(0);
        ScopeBuilder::new().limit(2).scope(|s| {
            let holds = s.spawn(|| gate.recv().unwrap());
            let (begins, begun) = channel::bounded(1);
            let waits = s.spawn(move || {
                begins.send(()).unwrap();
                s.spawn(|| unreachable!());
            });
            begun.recv().unwrap();
            sward::yield_now();
            waits.cancel();
            assert!(matches!(waits.join(), Err(JoinError::Cancelled)));
            let outcome = timeout(GUARD, || s.spawn(|| 1).join().unwrap());
            assert_eq!(outcome, Ok(1), "the room is lost");
            go.send(()).unwrap();
            holds.join().unwrap();
        });
    });
}

#[test]
fn a_join_set() {
    on_one_worker(|| {
        let set = Arc::new(Mutex::new(JoinSet::new()));
        let (go, gate) = channel::bounded::<u32>(0);
        set.lock().unwrap().spawn(move || gate.recv().unwrap());
        let theirs = set.clone();
        ended(
            move || theirs.lock().unwrap().join_next().map(drop),
            || assert_eq!(set.try_lock().unwrap().len(), 1),
        );
        go.send(4).unwrap();
        let result = timeout(GUARD, || set.lock().unwrap().join_next());
        assert_eq!(result.unwrap().unwrap().unwrap(), 4);
    });
}

#[test]
fn a_future() {
    /// Is pending for ever, and counts its end.
    struct Pending(#[expect(dead_code, reason = "for its destructor")] Unwound);

    impl Future for Pending {
        type Output = ();
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }

    on_one_worker(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let theirs = dropped.clone();
        let mut rounds = 0;
        ended(
            move || sward::block_on(Pending(Unwound(theirs.clone()))),
            || {
                rounds += 1;
                assert_eq!(dropped.load(Ordering::SeqCst), rounds);
            },
        );
    });
}

#[test]
fn a_token() {
    on_one_worker(|| {
        let token = CancelToken::new();
        let (theirs, runs) = (token.clone(), token.clone());
        ended(move || theirs.wait(), || assert!(!token.is_cancelled()));
        ended(move || runs.run(task::park), || assert!(!token.is_cancelled()));
        let theirs = token.clone();
        let waits = waiting(move || theirs.wait());
        token.cancel();
        join(waits).unwrap();
    });
}

/// One test, since the pool and its limit are the process's.
#[test]
fn what_runs_on_the_pool() {
    sward::runtime::set_max_blocking_threads(1).unwrap();
    on_one_worker(|| {
        let folder = std::env::temp_dir().join(format!("sward-matrix-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("file");
        std::fs::write(&file, "text").unwrap();

        // In the queue.
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let holds = waiting(move || sward::blocking(move || told.recv().unwrap()).unwrap());
        while sward::runtime::metrics().unwrap().blocking_queued > 0 {
            sward::yield_now();
        }
        let queued = || sward::runtime::metrics().unwrap().blocking_queued;
        let ran = Arc::new(AtomicBool::new(false));
        let theirs = ran.clone();
        ended(
            move || sward::blocking(|| theirs.store(true, Ordering::SeqCst)).unwrap(),
            || assert_eq!(queued(), 0),
        );
        let path = file.clone();
        ended(move || sward::fs::remove_file(&path).unwrap(), || assert_eq!(queued(), 0));
        tell.send(()).unwrap();
        join(holds).unwrap();
        assert_eq!(sward::fs::read_to_string(&file).unwrap(), "text");
        assert!(!ran.load(Ordering::SeqCst));

        // Under way: it is awaited, and the next wait is ended.
        let returned = Arc::new(AtomicBool::new(false));
        let called_within = |limit: Option<Duration>| {
            let (tell, told) = std::sync::mpsc::channel::<()>();
            let theirs = returned.clone();
            let calls = waiting(move || {
                let call = move || {
                    sward::blocking(move || told.recv().unwrap()).unwrap();
                    theirs.store(true, Ordering::SeqCst);
                    task::park();
                };
                match limit {
                    Some(limit) => _ = timeout(limit, call).unwrap_err(),
                    None => call(),
                }
            });
            while queued() > 0 {
                sward::yield_now();
            }
            if limit.is_none() {
                calls.cancel();
            }
            sward::sleep(2 * limit.unwrap_or(SHORT));
            (calls, tell)
        };
        for limited in [false, true] {
            returned.store(false, Ordering::SeqCst);
            let mut limit = SHORT;
            let (calls, tell) = loop {
                let (calls, tell) = called_within(limited.then_some(limit));
                if !calls.is_finished() {
                    break (calls, tell);
                }
                // The pool's thread may not have come to it within the limit: then it was withdrawn.
                limit *= 4;
                assert!(limited && limit < GUARD, "a call under way was abandoned");
            };
            tell.send(()).unwrap();
            let outcome = join(calls);
            assert_eq!(outcome.is_ok(), limited);
            assert!(returned.load(Ordering::SeqCst));
        }
        assert_eq!(sward::blocking(|| 5).unwrap(), 5);
        std::fs::remove_dir_all(&folder).unwrap();
    });
}

/// The children of a scope are under the limit of the one that opened it, however deep, and their waits end
/// with it; those that are spawned detached are not.
#[test]
fn children_of_a_scope_inherit_the_limit() {
    one_worker().run(|| {
        let far = timeout(GUARD, || {
            let mine = Deadline::current();
            assert_ne!(mine, Deadline::never());
            let (child, grandchild) = sward::scope(|s| {
                let below = s.spawn(|| {
                    let grandchild = sward::scope(|s| s.spawn(Deadline::current).join().unwrap());
                    // A nearer limit of the child's own counts for its children.
                    let nearer = timeout(GUARD / 2, || {
                        sward::scope(|s| s.spawn(Deadline::current).join().unwrap()) < mine
                    });
                    assert_eq!(nearer, Ok(true));
                    (Deadline::current(), grandchild)
                });
                below.join().unwrap()
            });
            assert_eq!((child, grandchild), (mine, mine));
            let tried = sward::try_scope(|s| {
                s.spawn(move || if Deadline::current() == mine { Ok(()) } else { Err(()) });
                Ok(())
            });
            assert_eq!(tried, Ok(()));
            assert_eq!(sward::spawn(Deadline::current).join().unwrap(), Deadline::never());
        });
        assert_eq!(far, Ok(()));

        let unwound = Arc::new(AtomicUsize::new(0));
        let outcome = timeout(SHORT, || {
            sward::scope(|s| {
                for _ in 0..3 {
                    s.spawn(|| {
                        let _unwound = Unwound(unwound.clone());
                        // Its own time limit is later and does not put the end off.
                        timeout(GUARD, task::park)
                    });
                }
            });
        });
        assert!(outcome.is_err());
        assert_eq!(unwound.load(Ordering::SeqCst), 3);
        assert_eq!(Deadline::current(), Deadline::never());
    });
}
