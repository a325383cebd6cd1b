//! A cancellation, a time limit and the end of the runtime reach a coroutine whose calls never have to wait,
//! at the yield that its budget forces. Nothing that a call has taken is lost there.
//!
//! No test here measures time: a limit has passed from the start, and the tests count calls.

use crate::common::{LONG, SetOnDrop, listen, pair, with_workers};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use sward::channel::{self, broadcast, oneshot, watch};
use sward::sync::{Barrier, Mutex, Notify, RwLock, Semaphore, WaitGroup};
use sward::task::{self, CancelToken, JoinError, JoinSet};
use sward::time::timeout_at;

/// A cancellation must come within this number of calls. The budget is 128, and one call here may make
/// several.
const REACH: usize = 300;

type Call = Box<dyn FnMut() + Send>;

type Make = fn() -> Call;

/// Calls that are always ready. Each is made in the coroutine that uses it.
fn always_ready() -> Vec<(&'static str, Make)> {
    vec![
        ("yield_now", || Box::new(sward::yield_now)),
        ("sleep", || Box::new(|| sward::sleep(Duration::ZERO))),
        ("sleep_until", || {
            let past = Instant::now();
            Box::new(move || sward::time::sleep_until(past))
        }),
        ("tick", || {
            let mut ticks = sward::time::interval(Duration::from_nanos(1));
            Box::new(move || _ = ticks.tick())
        }),
        ("park", || {
            Box::new(|| {
                task::current().unpark();
                task::park();
            })
        }),
        ("park_timeout", || {
            Box::new(|| {
                task::current().unpark();
                task::park_timeout(LONG);
            })
        }),
        ("send", || {
            let (sender, receiver) = channel::unbounded();
            Box::new(move || {
                sender.send(()).unwrap();
                assert!(!receiver.is_empty());
            })
        }),
        ("recv", || {
            let (sender, receiver) = channel::unbounded();
            Box::new(move || {
                sender.try_send(()).unwrap();
                receiver.recv().unwrap();
            })
        }),
        ("try_recv", || {
            let (sender, receiver) = channel::bounded::<()>(1);
            Box::new(move || {
                assert!(receiver.try_recv().is_err());
                assert!(!sender.is_full());
            })
        }),
        ("recv_timeout", || {
            let (sender, receiver) = channel::bounded(1);
            Box::new(move || {
                sender.try_send(()).unwrap();
                receiver.recv_timeout(Duration::ZERO).unwrap();
            })
        }),
        ("oneshot", || {
            Box::new(|| {
                let (sender, receiver) = oneshot::channel();
                sender.send(()).unwrap();
                receiver.recv().unwrap();
            })
        }),
        ("tick channel", || {
            let always = channel::tick(Duration::ZERO);
            Box::new(move || _ = always.recv().unwrap())
        }),
        ("watch", || {
            let (sender, mut receiver) = watch::channel(0);
            Box::new(move || {
                sender.send(1);
                receiver.changed().unwrap();
            })
        }),
        ("broadcast", || {
            let (sender, mut receiver) = broadcast::channel(4);
            Box::new(move || {
                sender.send(1).unwrap();
                receiver.recv().unwrap();
            })
        }),
        ("select", || {
            let (sender, receiver) = channel::bounded(1);
            Box::new(move || {
                sender.try_send(()).unwrap();
                sward::select! { recv(receiver) -> message => message.unwrap() }
            })
        }),
        ("select with default", || {
            let (_sender, silence) = channel::bounded::<()>(1);
            Box::new(move || {
                sward::select! {
                    recv(silence) -> _ => {}
                    default => {}
                }
            })
        }),
        ("lock", || {
            let mutex = Mutex::new(());
            Box::new(move || drop(mutex.lock()))
        }),
        ("read", || {
            let lock = RwLock::new(());
            Box::new(move || drop(lock.read()))
        }),
        ("write", || {
            let lock = RwLock::new(());
            Box::new(move || drop(lock.write()))
        }),
        ("acquire", || {
            let semaphore = Semaphore::new(1);
            Box::new(move || drop(semaphore.acquire().unwrap()))
        }),
        ("notified", || {
            let notify = Notify::new();
            Box::new(move || {
                notify.notify_one();
                notify.wait();
            })
        }),
        ("wait group", || {
            let group = WaitGroup::new();
            Box::new(move || group.wait())
        }),
        ("barrier", || {
            let barrier = Barrier::new(1);
            Box::new(move || _ = barrier.wait())
        }),
        ("token", || {
            let token = CancelToken::new();
            token.cancel();
            Box::new(move || token.wait())
        }),
        ("block_on", || Box::new(|| sward::block_on(async {}))),
        ("a future that wakes itself", || {
            Box::new(|| {
                let mut polled = false;
                sward::block_on(std::future::poll_fn(|context| {
                    context.waker().wake_by_ref();
                    if std::mem::replace(&mut polled, true) {
                        std::task::Poll::Ready(())
                    } else {
                        std::task::Poll::Pending
                    }
                }));
            })
        }),
        ("join", || {
            Box::new(|| {
                let ends = sward::spawn(|| ());
                // This one is not always ready, but it never waits.
                while !ends.is_finished() {
                    sward::yield_now();
                }
                _ = ends.join();
            })
        }),
        ("socket", || {
            let (mut client, mut server) = pair();
            Box::new(move || {
                client.write_all(b"x").unwrap();
                server.read_exact(&mut [0]).unwrap();
            })
        }),
        ("peek", || {
            let (mut client, server) = pair();
            client.write_all(b"x").unwrap();
            Box::new(move || assert_eq!(server.peek(&mut [0]).unwrap(), 1))
        }),
        ("pipe", || {
            let (mut reader, mut writer) = sward::io::pipe().unwrap();
            Box::new(move || {
                writer.write_all(b"x").unwrap();
                reader.read_exact(&mut [0]).unwrap();
            })
        }),
    ]
}

/// Repeats the call until it unwinds, but not much more often than the budget allows.
fn call_until_reached(call: &mut Call, calls: &AtomicUsize) {
    for _ in 0..REACH {
        calls.fetch_add(1, Ordering::Relaxed);
        call();
    }
}

/// Cancels a coroutine that is about to make the calls. Returns how many it has made.
fn cancelled_while_it_calls(
    runtime: &sward::runtime::Runtime,
    make: Make,
    section: fn(&mut dyn FnMut()),
) -> (Result<(), JoinError>, usize) {
    let began = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicUsize::new(0));
    let (begins, counts) = (began.clone(), calls.clone());
    let coroutine = runtime.spawn(move || {
        let mut call = make();
        begins.store(true, Ordering::Relaxed);
        while !task::is_cancelled() {
            std::hint::spin_loop();
        }
        section(&mut || call_until_reached(&mut call, &counts));
    });
    while !began.load(Ordering::Relaxed) {
        std::thread::yield_now();
    }
    coroutine.cancel();
    (coroutine.join(), calls.load(Ordering::Relaxed))
}

#[test]
fn a_cancellation_reaches_it() {
    let runtime = with_workers(2);
    for (name, make) in always_ready() {
        let (result, calls) = cancelled_while_it_calls(&runtime, make, |calls| calls());
        assert!(matches!(result, Err(JoinError::Cancelled)), "{name}: {result:?} after {calls} calls");
    }
}

#[test]
fn a_mask_defers_the_cancellation_at_the_forced_yield() {
    let runtime = with_workers(2);
    for (name, make) in always_ready() {
        let (result, calls) = cancelled_while_it_calls(&runtime, make, |calls| {
            task::mask(&mut *calls);
            task::checkpoint();
        });
        assert!(matches!(result, Err(JoinError::Cancelled)), "{name}: {result:?}");
        assert_eq!(calls, REACH, "{name}");
    }
}

#[test]
fn a_time_limit_reaches_it() {
    let test = || {
        for (name, make) in always_ready() {
            let calls = AtomicUsize::new(0);
            let mut call = make();
            let ended = timeout_at(Instant::now(), || call_until_reached(&mut call, &calls));
            assert!(ended.is_err(), "{name}: not within {REACH} calls");
        }
    };
    with_workers(2).run(test);
    test(); // on a plain thread
}

#[test]
fn the_end_of_its_runtime_reaches_it() {
    for (name, make) in always_ready() {
        let unwound = Arc::new(AtomicBool::new(false));
        let theirs = SetOnDrop(unwound.clone());
        let runtime = with_workers(1);
        runtime.run(|| {
            let started = Arc::new(AtomicBool::new(false));
            let starts = started.clone();
            sward::spawn(move || {
                let _unwound = theirs;
                let mut call = make();
                loop {
                    starts.store(true, Ordering::Relaxed);
                    call();
                }
            });
            while !started.load(Ordering::Relaxed) {
                sward::yield_now();
            }
        });
        // The shutdown returns when all have ended.
        runtime.shutdown_timeout(Duration::from_secs(300));
        assert!(unwound.load(Ordering::Relaxed), "{name}: leaked");
    }
}

/// Takes things one by one, again and again, under a limit that has passed, and checks that each was taken
/// once. Runs in a coroutine and on a plain thread.
fn nothing_is_lost<S>(make: impl Fn(usize) -> S + Sync, take: impl Fn(&mut S) -> Option<usize> + Sync) {
    const COUNT: usize = 1_000;
    let test = || {
        let mut source = make(COUNT);
        let (mut taken, mut ended) = (Vec::new(), 0);
        while taken.len() < COUNT {
            let limited = timeout_at(Instant::now(), || {
                while let Some(one) = take(&mut source) {
                    taken.push(one);
                }
            });
            if limited.is_ok() {
                break;
            }
            ended += 1;
        }
        taken.sort_unstable();
        assert!(taken.iter().copied().eq(0..COUNT), "{} of {COUNT} were taken", taken.len());
        assert!(ended > 1, "no yield has unwound");
    };
    with_workers(1).run(test);
    test();
}

#[test]
fn no_message_is_lost_by_the_forced_yield() {
    nothing_is_lost(
        |count| {
            let (sender, receiver) = channel::unbounded();
            (0..count).for_each(|i| sender.try_send(i).unwrap());
            receiver
        },
        |receiver| receiver.recv().ok(),
    );
    nothing_is_lost(
        |count| {
            let (sender, receiver) = channel::unbounded();
            (0..count).for_each(|i| sender.try_send(i).unwrap());
            receiver
        },
        |receiver| receiver.try_recv().ok(),
    );
    nothing_is_lost(
        |count| {
            let (sender, receiver) = channel::unbounded();
            (0..count).for_each(|i| sender.try_send(i).unwrap());
            (receiver, channel::never::<()>())
        },
        |(receiver, never)| {
            sward::select! {
                recv(receiver) -> message => message.ok(),
                recv(never) -> _ => unreachable!(),
            }
        },
    );
    nothing_is_lost(
        |count| {
            let (sender, receiver) = broadcast::channel(2_000);
            (0..count).for_each(|i| _ = sender.send(i).unwrap());
            receiver
        },
        |receiver| receiver.recv().ok(),
    );
}

#[test]
fn no_byte_is_lost_by_the_forced_yield() {
    nothing_is_lost(
        |count| {
            let (mut client, server) = pair();
            (0..count).for_each(|i| client.write_all(&(i as u16).to_le_bytes()).unwrap());
            server
        },
        // One call of `read` for each byte, as bytes that were sent together arrive together.
        |server| {
            let mut number = [0; 2];
            (server.read(&mut number).unwrap() == 2).then(|| u16::from_le_bytes(number).into())
        },
    );
    nothing_is_lost(
        |count| {
            let (reader, mut writer) = sward::io::pipe().unwrap();
            (0..count).for_each(|i| writer.write_all(&(i as u16).to_le_bytes()).unwrap());
            reader
        },
        |reader| {
            let mut number = [0; 2];
            (reader.read(&mut number).unwrap() == 2).then(|| u16::from_le_bytes(number).into())
        },
    );
    nothing_is_lost(
        |count| {
            let sender = sward::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let receiver = sward::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            sender.connect(receiver.local_addr().unwrap()).unwrap();
            (sender, receiver, 0..count, false)
        },
        // One at a time, as a queue of datagrams may overflow.
        |(sender, receiver, numbers, sent)| {
            let number = numbers.clone().next()?;
            if !*sent {
                sender.send(&(number as u16).to_le_bytes()).unwrap();
                *sent = true;
            }
            let mut buf = [0; 2];
            assert_eq!(receiver.recv(&mut buf).unwrap(), 2);
            *sent = false;
            numbers.next();
            Some(u16::from_le_bytes(buf).into())
        },
    );
}

#[test]
fn no_connection_is_lost_by_the_forced_yield() {
    const COUNT: usize = 300;
    let (listener, address) = listen();
    // SAFETY: the call takes no pointers.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 4_096) }, 0);
    with_workers(1).run(|| {
        let clients: Vec<_> = (0..COUNT).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let (mut accepted, mut ended) = (Vec::new(), 0);
        while accepted.len() < COUNT {
            let limited = timeout_at(Instant::now(), || {
                loop {
                    accepted.push(listener.accept().unwrap().1);
                }
            });
            ended += usize::from(limited.is_err());
        }
        assert!(ended > 1);
        let mut expected: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
        accepted.sort_unstable();
        expected.sort_unstable();
        assert_eq!(accepted, expected);
    });
}

#[test]
fn no_token_permit_or_tick_is_lost_by_the_forced_yield() {
    // The park token is still there after a `park` that has unwound.
    nothing_is_lost(
        |count| (0..count, false),
        |(numbers, sent)| {
            let number = numbers.clone().next()?;
            if !*sent {
                *sent = true;
                task::current().unpark();
            }
            task::park();
            *sent = false;
            numbers.next();
            Some(number)
        },
    );
    nothing_is_lost(
        |count| (0..count, false, Notify::new()),
        |(numbers, sent, notify)| {
            let number = numbers.clone().next()?;
            if !*sent {
                *sent = true;
                notify.notify_one();
            }
            notify.wait();
            *sent = false;
            numbers.next();
            Some(number)
        },
    );
    nothing_is_lost(
        |count| (0..count, Semaphore::new(count)),
        |(numbers, semaphore)| {
            numbers.clone().next()?;
            semaphore.acquire().unwrap().forget();
            assert_eq!(semaphore.available_permits(), numbers.len() - 1);
            numbers.next()
        },
    );
    nothing_is_lost(
        |count| {
            let start = Instant::now().checked_sub(Duration::from_secs(1)).expect("a clock");
            (start, sward::time::interval_at(start, Duration::from_micros(1)), count)
        },
        |(start, ticks, left)| {
            (*left > 0).then(|| {
                let tick = ticks.tick();
                *left -= 1;
                (tick - *start).as_micros() as usize
            })
        },
    );
}

#[test]
fn no_result_is_lost_by_the_forced_yield() {
    nothing_is_lost(
        |count| {
            let mut set = JoinSet::new();
            let ended = Arc::new(AtomicUsize::new(0));
            for i in 0..count {
                let ends = ended.clone();
                set.spawn(move || {
                    ends.fetch_add(1, Ordering::Relaxed);
                    i
                });
            }
            while ended.load(Ordering::Relaxed) < count {
                sward::yield_now();
            }
            set
        },
        |set| set.join_next().map(|result| result.unwrap()),
    );
}
