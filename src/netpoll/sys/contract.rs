//! The contract of a back-end (`mod.rs`) as a test suite, for each back-end that a test build has.

use crate::netpoll::event::{Key, PollEvent};

/// A key, as a shard makes them.
pub(super) const KEY: Key = Key { slot: 5, generation: 9 };

/// The suite. A back-end calls this in the module of its own tests, with the path of its module.
macro_rules! contract {
    ($backend:path) => {
        mod contract {
            use std::io::{Read, Write};
            use std::os::fd::AsFd;
            use std::os::unix::net::UnixStream;
            use std::thread;
            use std::time::{Duration, Instant};
            use $backend::{Events, Poller};
            use $crate::netpoll::event::{Direction, PollEvent};
            use $crate::netpoll::sys::contract::{KEY, other, readable, writable};

            const MOMENT: Duration = Duration::from_millis(20);
            const NOW: Option<Duration> = Some(Duration::ZERO);

            /// One `wait`, and its events. The tests arm a direction before they wait for it, as sources do.
            fn wait(poller: &Poller, timeout: Option<Duration>) -> Vec<PollEvent> {
                let mut events = Events::with_capacity(8);
                poller.wait(&mut events, timeout).expect("waits");
                events.iter().collect()
            }

            /// A poller; `None` where the system refuses io_uring.
            fn new() -> Option<Poller> {
                match Poller::new() {
                    Err(e) if stringify!($backend).ends_with("io_uring") => {
                        println!("skipped: io_uring is refused: {e}");
                        None
                    }
                    poller => Some(poller.expect("a poller")),
                }
            }

            fn pair() -> (UnixStream, UnixStream) {
                let (a, b) = UnixStream::pair().expect("a pair");
                b.set_nonblocking(true).expect("set");
                (a, b)
            }

            #[test]
            fn each_change_is_reported_once_with_its_key() {
                let Some(poller) = new() else { return };
                let (mut a, mut b) = pair();
                poller.add(b.as_fd(), KEY).expect("added");
                let first = wait(&poller, None);
                assert!(writable(&first, KEY) && !readable(&first, KEY));
                assert!(wait(&poller, NOW).is_empty());
                for _ in 0..3 {
                    poller.arm(KEY, Direction::Read);
                    assert!(wait(&poller, NOW).is_empty());
                    a.write_all(b"x").expect("written");
                    assert!(readable(&wait(&poller, None), KEY));
                    assert!(wait(&poller, NOW).is_empty());
                    assert_eq!(b.read(&mut [0; 2]).expect("read"), 1);
                }
                poller.remove(b.as_fd(), KEY).expect("removed");
            }

            #[test]
            fn a_one_shot_event_comes_again_once_it_is_armed() {
                let Some(poller) = new() else { return };
                let (mut a, b) = pair();
                poller.add(b.as_fd(), KEY).expect("added");
                wait(&poller, None);
                a.write_all(b"x").expect("written");
                assert!(readable(&wait(&poller, None), KEY));
                a.write_all(b"y").expect("written");
                assert_eq!(wait(&poller, NOW).is_empty(), Poller::ONE_SHOT);
                poller.arm(KEY, Direction::Read);
                assert_eq!(readable(&wait(&poller, NOW), KEY), Poller::ONE_SHOT);
            }

            #[test]
            fn what_was_added_unarmed_is_reported_once_it_is_armed() {
                let Some(poller) = new() else { return };
                let (mut a, b) = pair();
                a.write_all(b"x").expect("written");
                poller.add_unarmed(b.as_fd(), KEY).expect("added");
                for direction in [Direction::Read, Direction::Write] {
                    assert_eq!(wait(&poller, NOW).is_empty(), Poller::ONE_SHOT);
                    poller.arm(KEY, direction);
                    let events = wait(&poller, if Poller::ONE_SHOT { None } else { NOW });
                    if Poller::ONE_SHOT {
                        assert_eq!(readable(&events, KEY), direction == Direction::Read);
                        assert_eq!(writable(&events, KEY), direction == Direction::Write);
                    } else {
                        return;
                    }
                }
            }

            #[test]
            fn a_retired_poller_keeps_no_file_open() {
                let Some(poller) = new() else { return };
                let (mut a, b) = pair();
                poller.add(b.as_fd(), KEY).expect("added");
                wait(&poller, None);
                poller.retire();
                drop(b);
                assert_eq!(a.read(&mut [0]).expect("the end, unless a watch keeps it open"), 0);
            }

            #[test]
            fn the_state_at_add_is_reported() {
                let Some(poller) = new() else { return };
                let (mut a, b) = pair();
                a.write_all(b"x").expect("written");
                poller.add(b.as_fd(), KEY).expect("added");
                let mut events = Vec::new();
                while !(readable(&events, KEY) && writable(&events, KEY)) {
                    events.extend(wait(&poller, Some(MOMENT)));
                }
            }

            #[test]
            fn a_full_buffer_that_drains_is_reported() {
                let Some(poller) = new() else { return };
                let (mut a, mut b) = pair();
                poller.add(b.as_fd(), KEY).expect("added");
                assert!(writable(&wait(&poller, None), KEY));
                while b.write(&[0; 4096]).is_ok() {}
                poller.arm(KEY, Direction::Write);
                assert!(wait(&poller, NOW).is_empty());
                a.set_nonblocking(true).expect("set");
                while a.read(&mut [0; 4096]).is_ok() {}
                assert!(writable(&wait(&poller, None), KEY));
            }

            #[test]
            fn the_end_of_the_peer_is_reported_in_both_directions() {
                let Some(poller) = new() else { return };
                let (a, b) = pair();
                poller.add(b.as_fd(), KEY).expect("added");
                wait(&poller, None);
                drop(a);
                poller.arm(KEY, Direction::Write);
                let mut events = Vec::new();
                while !(readable(&events, KEY) && writable(&events, KEY)) {
                    let more = wait(&poller, Some(MOMENT));
                    assert!(!more.is_empty());
                    events.extend(more);
                }
            }

            #[test]
            fn nothing_is_reported_after_remove() {
                let Some(poller) = new() else { return };
                let (mut a, b) = pair();
                poller.add(b.as_fd(), KEY).expect("added");
                poller.remove(b.as_fd(), KEY).expect("removed");
                a.write_all(b"x").expect("written");
                poller.arm(KEY, Direction::Read);
                assert!(wait(&poller, NOW).is_empty());
                poller.add(b.as_fd(), other(KEY)).expect("added again");
                let events = wait(&poller, None);
                assert!(!events.is_empty() && events.iter().all(|one| one.key == other(KEY)));
            }

            #[test]
            fn a_wake_ends_the_next_wait_once() {
                let Some(poller) = new() else { return };
                let mut events = Events::with_capacity(8);
                for wakes in 1..3 {
                    for _ in 0..wakes {
                        poller.wake();
                    }
                    poller.wait(&mut events, None).expect("waits");
                    assert!(events.woken() && events.iter().next().is_none());
                    poller.wait(&mut events, NOW).expect("waits");
                    assert!(!events.woken());
                }
            }

            #[test]
            fn a_wake_ends_a_wait_in_progress() {
                let Some(poller) = new() else { return };
                thread::scope(|scope| {
                    let waiter = scope.spawn(|| {
                        let mut events = Events::with_capacity(8);
                        poller.wait(&mut events, None).expect("waits");
                        events.woken()
                    });
                    thread::sleep(MOMENT);
                    poller.wake();
                    assert!(waiter.join().expect("no panic"));
                });
            }

            #[test]
            fn a_hundred_thousand_wakes_do_no_harm() {
                let Some(poller) = new() else { return };
                let mut events = Events::with_capacity(8);
                for _ in 0..100_000 {
                    poller.wake();
                }
                poller.wait(&mut events, None).expect("waits");
                assert!(events.woken());
                poller.wake();
                poller.wait(&mut events, None).expect("waits");
            }

            #[test]
            fn a_wait_in_progress_sees_what_is_added_and_armed() {
                let Some(poller) = new() else { return };
                let (mut a, b) = pair();
                thread::scope(|scope| {
                    let waiter = scope.spawn(|| wait(&poller, None));
                    thread::sleep(MOMENT);
                    poller.add(b.as_fd(), KEY).expect("added");
                    assert!(writable(&waiter.join().expect("no panic"), KEY));
                    a.write_all(b"x").expect("written");
                    assert!(readable(&wait(&poller, None), KEY));
                    let waiter = scope.spawn(|| wait(&poller, None));
                    thread::sleep(MOMENT);
                    (&b).read_exact(&mut [0]).expect("read");
                    poller.arm(KEY, Direction::Read);
                    a.write_all(b"x").expect("written");
                    assert!(readable(&waiter.join().expect("no panic"), KEY));
                });
            }

            #[test]
            fn a_removed_descriptor_closes_under_a_wait_in_progress() {
                let Some(poller) = new() else { return };
                let (mut a, b) = pair();
                poller.add(b.as_fd(), KEY).expect("added");
                wait(&poller, None);
                thread::scope(|scope| {
                    let waiter = scope.spawn(|| wait(&poller, None));
                    thread::sleep(MOMENT);
                    poller.remove(b.as_fd(), KEY).expect("removed");
                    drop(b);
                    assert_eq!(a.read(&mut [0]).expect("the end, unless the wait keeps it open"), 0);
                    poller.wake();
                    assert!(waiter.join().expect("no panic").is_empty());
                });
            }

            #[test]
            fn a_timeout_is_kept_and_not_cut_short() {
                let Some(poller) = new() else { return };
                let (_a, b) = pair();
                poller.add(b.as_fd(), KEY).expect("added");
                wait(&poller, None);
                for limit in [Duration::from_nanos(1), Duration::from_micros(2_300)] {
                    let start = Instant::now();
                    assert!(wait(&poller, Some(limit)).is_empty());
                    assert!(start.elapsed() >= limit);
                }
                poller.wake();
                assert!(wait(&poller, Some(Duration::MAX)).is_empty());
            }

            /// Two threads poll, as a worker and the netpoller thread do; a third waits for each event.
            #[test]
            fn no_event_is_lost_between_two_threads_that_poll() {
                const ROUNDS: usize = 2_000;
                let Some(poller) = new() else { return };
                let (mut a, b) = pair();
                poller.add(b.as_fd(), KEY).expect("added");
                let (report, reports) = std::sync::mpsc::channel();
                let over = std::sync::atomic::AtomicBool::new(false);
                let is_over = || over.load(std::sync::atomic::Ordering::Relaxed);
                let poll = |timeout| {
                    let report = report.clone();
                    let (poller, is_over) = (&poller, &is_over);
                    move || {
                        let mut events = Events::with_capacity(8);
                        while !is_over() {
                            poller.wait(&mut events, timeout).expect("waits");
                            if events.woken() {
                                poller.wake();
                            }
                            if readable(&events.iter().collect::<Vec<_>>(), KEY) {
                                report.send(()).expect("received");
                            }
                        }
                        poller.wake();
                    }
                };
                thread::scope(|scope| {
                    scope.spawn(poll(Some(Duration::from_secs(600))));
                    scope.spawn(poll(NOW));
                    for _ in 0..ROUNDS {
                        a.write_all(b"x").expect("written");
                        while (&b).read(&mut [0]).is_err() {
                            poller.arm(KEY, Direction::Read);
                            reports.recv_timeout(Duration::from_secs(120)).expect("reported");
                        }
                    }
                    over.store(true, std::sync::atomic::Ordering::Relaxed);
                    poller.wake();
                });
            }
        }
    };
}

pub(super) use contract;

/// Whether the events report the key as readable.
pub(super) fn readable(events: &[PollEvent], key: Key) -> bool {
    events.iter().any(|one| one.key == key && one.readable)
}

/// Whether the events report the key as writable.
pub(super) fn writable(events: &[PollEvent], key: Key) -> bool {
    events.iter().any(|one| one.key == key && one.writable)
}

/// The next key of the same slot.
pub(super) fn other(key: Key) -> Key {
    Key { generation: key.generation + 1, ..key }
}
