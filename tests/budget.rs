//! Coroutines that never have to wait, or only for each other, do not starve others on their worker.
//!
//! Each test has one worker, a coroutine or a pair that starves others if it can, and a bystander. The tests
//! bound the number of turns that the starver takes between two turns of the bystander, and not their time.

mod checked;
mod common;

use common::{pair, without_spare_workers};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use sward::channel::{self, broadcast, oneshot, watch};
use sward::net::TcpListener;
use sward::sync::{Barrier, Mutex, Notify, RwLock, Semaphore, WaitGroup};
use sward::task::{self, CancelToken, JoinSet};

/// Turns of the starver until a runnable bystander has run. The budget is 128 calls, and every fourth turn of
/// a worker starts a new coroutine.
const RUNNABLE: u64 = 1_000;

/// Turns of the starver until a bystander has run whose event has occurred. A worker that never runs dry
/// polls once after each tick of the netpoller thread, every millisecond or two. It takes twice that if the
/// thread was faster and has fetched the event between the two polls. A turn takes some nanoseconds at least.
const EVENT: u64 = 2_000_000;

/// So many turns cannot be explained by a thread that the system has preempted while it had fetched an event:
/// the bystander starves.
const FOR_EVER: u64 = 50_000_000;

/// What the starver and the bystander share.
struct Meter {
    /// Turns of the starver since the last turn of the bystander.
    since: AtomicU64,
    bound: AtomicU64,
    all: AtomicU64,
    /// The longest run of turns.
    longest: AtomicU64,
    starved: AtomicBool,
    ended: AtomicBool,
}

impl Meter {
    fn new() -> Meter {
        Meter {
            since: AtomicU64::new(0),
            bound: AtomicU64::new(u64::MAX),
            all: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            starved: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    /// A turn of the starver. Returns false when the starver must end: also when it has starved the
    /// bystander, which could not end it any more.
    fn turn(&self) -> bool {
        self.all.fetch_add(1, Ordering::Relaxed);
        let since = self.since.fetch_add(1, Ordering::Relaxed) + 1;
        let bound = self.bound.load(Ordering::Relaxed);
        if bound != u64::MAX {
            self.longest.fetch_max(since, Ordering::Relaxed);
        }
        if since > bound {
            self.starved.store(true, Ordering::Relaxed);
        }
        self.goes_on()
    }

    fn goes_on(&self) -> bool {
        !self.starved.load(Ordering::Relaxed) && !self.ended.load(Ordering::Relaxed)
    }

    /// A turn of the bystander, which waits in the closure. Returns how many turns the starver has had
    /// meanwhile.
    fn waits(&self, bound: u64, what: &str, wait: impl FnOnce()) -> u64 {
        self.since.store(0, Ordering::Relaxed);
        self.bound.store(bound, Ordering::Relaxed);
        wait();
        let since = self.since.load(Ordering::Relaxed);
        let starved = self.starved.load(Ordering::Relaxed);
        assert!(!starved, "{bound} turns were taken before the bystander had one after {what}");
        // The turns between two waits of the bystander are not counted.
        self.bound.store(u64::MAX, Ordering::Relaxed);
        since
    }
}

/// Ends the starver, also when the bystander fails.
struct Ends<'a>(&'a Meter);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Relaxed);
    }
}

/// Runs the starver beside a bystander that yields, one that starts, and one that waits for an event.
fn starves_nobody(starver: impl FnOnce(&Meter) + Send) {
    run(starver, |meter| {
        let mut events = Vec::new();
        for _ in 0..20 {
            meter.waits(RUNNABLE, "a yield", sward::yield_now);
            meter.waits(RUNNABLE, "a spawn", || sward::spawn(|| ()).join().unwrap());
            let (mut here, mut there) = pair();
            there.write_all(b"x").unwrap();
            // A short read, so that the next one waits for an event although there are bytes to read.
            assert_eq!(here.read(&mut [0; 8]).unwrap(), 1);
            there.write_all(b"y").unwrap();
            events.push(meter.waits(FOR_EVER, "an event", || here.read_exact(&mut [0]).unwrap()));
        }
        events.sort_unstable();
        assert!(events[events.len() / 2] <= EVENT, "so many turns before events were seen: {events:?}");
    });
}

/// Runs both on one worker. Returns the longest run of turns of the starver.
fn run(starver: impl FnOnce(&Meter) + Send, bystander: impl FnOnce(&Meter) + Send) -> u64 {
    let meter = Meter::new();
    without_spare_workers(1).run(|| {
        sward::scope(|s| {
            let _ends = Ends(&meter);
            let starves = s.spawn(|| starver(&meter));
            meter.waits(RUNNABLE, "the start", || {
                while meter.all.load(Ordering::Relaxed) == 0 {
                    sward::yield_now();
                }
            });
            bystander(&meter);
            assert!(!starves.is_finished() || !meter.goes_on(), "the starver has ended by itself");
        });
    });
    meter.longest.load(Ordering::Relaxed)
}

/// Starves with a call that need not wait.
fn with(mut call: impl FnMut() + Send) {
    starves_nobody(|meter| {
        while meter.turn() {
            call();
        }
    });
}

#[test]
fn the_meter_finds_starvation() {
    let meter = Meter::new();
    meter.bound.store(RUNNABLE, Ordering::Relaxed);
    assert!((0..RUNNABLE).all(|_| meter.turn()));
    assert!(!meter.turn());
    assert!(meter.starved.load(Ordering::Relaxed));
}

#[test]
fn a_pair_that_parks() {
    starves_nobody(|meter| {
        sward::scope(|s| {
            let me = task::current();
            let peer = s.spawn(move || {
                while meter.goes_on() {
                    task::park();
                    me.unpark();
                }
            });
            while meter.turn() {
                peer.task().unpark();
                task::park();
            }
            peer.task().unpark();
        });
    });
}

#[test]
fn a_pair_that_meets_at_a_channel() {
    starves_nobody(|meter| {
        let (ping, pings) = channel::bounded(0);
        let (pong, pongs) = channel::bounded(0);
        sward::scope(|s| {
            s.spawn(move || {
                while pings.recv().is_ok() {
                    pong.send(()).unwrap();
                }
            });
            while meter.turn() {
                ping.send(()).unwrap();
                pongs.recv().unwrap();
            }
            drop(ping);
        });
    });
}

#[test]
fn a_pair_with_questions_and_answers() {
    starves_nobody(|meter| {
        let (ask, questions) = channel::unbounded::<oneshot::Sender<()>>();
        sward::scope(|s| {
            s.spawn(move || questions.iter().for_each(|question| question.send(()).unwrap()));
            while meter.turn() {
                let (question, answer) = oneshot::channel();
                ask.send(question).unwrap();
                answer.recv().unwrap();
            }
            drop(ask);
        });
    });
}

#[test]
fn a_park_whose_token_is_there() {
    with(|| {
        task::current().unpark();
        task::park();
    });
}

#[test]
fn a_reader_of_a_socket_that_is_always_ready() {
    starves_nobody(|meter| {
        let (mut client, mut server) = pair();
        let mut left = 0;
        while meter.turn() {
            if left == 0 {
                left = 30_000;
                client.write_all(&vec![0; left]).unwrap();
            }
            server.read_exact(&mut [0]).unwrap();
            left -= 1;
        }
    });
}

#[test]
fn a_reader_that_peeks() {
    starves_nobody(|meter| {
        let (mut client, server) = pair();
        client.write_all(b"x").unwrap();
        while meter.turn() {
            assert_eq!(server.peek(&mut [0]).unwrap(), 1);
        }
    });
}

#[test]
fn a_writer_that_is_never_blocked() {
    starves_nobody(|meter| {
        let (mut client, server) = pair();
        let mut server = server.into_std().unwrap();
        let reader = std::thread::spawn(move || std::io::copy(&mut server, &mut std::io::sink()));
        while meter.turn() {
            client.write_all(b"x").unwrap();
        }
        drop(client);
        reader.join().unwrap().unwrap();
    });
}

/// The number of connections is limited, so this test counts how many are accepted until the other
/// coroutine has its turn. With mobile homes that may take more than one turn of the acceptor, if a tick
/// passes (`src/sched/README.md`).
#[test]
fn an_acceptor_of_a_full_backlog() {
    const CONNECTIONS: usize = 450;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // SAFETY: the call takes no pointers.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 4_096) }, 0);
    let address = listener.local_addr().unwrap();
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let accepted = AtomicU64::new(0);
    let longest = run(
        |meter| {
            for _ in &clients {
                meter.turn();
                drop(listener.accept().unwrap());
                accepted.fetch_add(1, Ordering::Relaxed);
            }
            while meter.goes_on() {
                sward::yield_now();
            }
        },
        |meter| {
            while accepted.load(Ordering::Relaxed) < CONNECTIONS as u64 {
                meter.waits(RUNNABLE, "a yield", sward::yield_now);
            }
        },
    );
    assert!((2..CONNECTIONS as u64).contains(&longest), "{longest} were accepted in a row");
}

#[test]
fn a_sender_to_a_channel_that_is_never_full() {
    let (sender, receiver) = channel::unbounded();
    with(|| sender.send(()).unwrap());
    assert!(!receiver.is_empty());
}

#[test]
fn a_receiver_of_a_channel_that_is_never_empty() {
    starves_nobody(|meter| {
        let (sender, receiver) = channel::unbounded();
        let mut left = 0;
        while meter.turn() {
            if left == 0 {
                // Few, so that this turn stays below the stall threshold. Otherwise a spare worker would run
                // the bystander in migrating mode, on a thread of its own.
                left = 1_000;
                (0..left).for_each(|_| sender.try_send(()).unwrap());
            }
            receiver.recv().unwrap();
            left -= 1;
        }
    });
}

#[test]
fn a_receiver_that_asks_again_and_again() {
    let (_sender, receiver) = channel::bounded::<()>(1);
    with(|| assert!(receiver.try_recv().is_err()));
    let (_sender, mut receiver) = broadcast::channel::<()>(1);
    with(|| assert!(receiver.try_recv().is_err()));
    let (_sender, receiver) = oneshot::channel::<()>();
    with(|| assert!(receiver.try_recv().is_err()));
}

#[test]
fn a_receiver_of_time() {
    let always = channel::tick(Duration::ZERO);
    with(|| assert!(always.recv().is_ok()));
}

#[test]
fn a_select_with_an_arm_that_is_ready() {
    let (sender, receiver) = channel::bounded(1);
    let (_silent, silence) = channel::bounded::<()>(0);
    with(|| {
        sender.try_send(()).unwrap();
        sward::select! {
            recv(receiver) -> message => message.unwrap(),
            recv(silence) -> _ => unreachable!(),
        }
    });
    with(|| {
        sward::select! {
            recv(silence) -> _ => unreachable!(),
            default => {}
        }
    });
}

#[test]
fn values_that_are_always_new() {
    let (sender, mut receiver) = watch::channel(0);
    with(|| {
        sender.send(1);
        receiver.changed().unwrap();
    });
    let (sender, mut receiver) = broadcast::channel(4);
    with(|| {
        sender.send(1).unwrap();
        receiver.recv().unwrap();
    });
}

#[test]
fn locks_that_are_always_free() {
    let mutex = Mutex::new(());
    with(|| drop(mutex.lock().unwrap()));
    let lock = RwLock::new(());
    with(|| drop(lock.read().unwrap()));
    with(|| drop(lock.write().unwrap()));
    let semaphore = Semaphore::new(1);
    with(|| drop(semaphore.acquire().unwrap()));
}

#[test]
fn events_that_have_occurred() {
    let notify = Notify::new();
    with(|| {
        notify.notify_one();
        notify.wait();
    });
    let group = WaitGroup::new();
    with(|| group.wait());
    let barrier = Barrier::new(1);
    with(|| assert!(barrier.wait().is_leader()));
    let token = CancelToken::new();
    token.cancel();
    with(|| token.wait());
    with(|| sward::block_on(async {}));
}

#[test]
fn times_that_have_passed() {
    with(|| sward::sleep(Duration::ZERO));
    let past = Instant::now();
    with(|| sward::time::sleep_until(past));
    let mut ticks = sward::time::interval(Duration::from_nanos(1));
    with(|| _ = ticks.tick());
    with(|| task::park_timeout(Duration::ZERO));
}

#[test]
fn calls_on_the_pool() {
    with(|| sward::blocking(|| ()).unwrap());
}

/// A spawn consumes budget where it may have to wait for room. A spawned bystander would stand behind all
/// coroutines that were spawned before, so this one only yields.
#[test]
fn spawns_for_which_there_is_room() {
    run(
        |meter| {
            task::ScopeBuilder::new().limit(1 << 20).scope(|s| {
                while meter.turn() {
                    s.spawn(|| ());
                }
            });
        },
        |meter| (0..20).for_each(|_| _ = meter.waits(RUNNABLE, "a yield", sward::yield_now)),
    );
}

/// A spawn consumes no budget, and a join does. The children have ended before they are joined.
#[test]
fn joins_of_ended_coroutines() {
    const COROUTINES: usize = 1_000;
    let ready = AtomicBool::new(false);
    let joined = AtomicU64::new(0);
    for in_a_set in [false, true] {
        ready.store(false, Ordering::Relaxed);
        joined.store(0, Ordering::Relaxed);
        let longest = run(
            |meter| {
                let count = Arc::new(AtomicU64::new(0));
                let ends = || {
                    let count = count.clone();
                    move || _ = count.fetch_add(1, Ordering::Relaxed)
                };
                let mut set = JoinSet::new();
                let mut handles = Vec::new();
                for _ in 0..COROUTINES {
                    if in_a_set { _ = set.spawn(ends()) } else { handles.push(sward::spawn(ends())) }
                }
                while count.load(Ordering::Relaxed) < COROUTINES as u64 {
                    sward::yield_now();
                }
                ready.store(true, Ordering::Relaxed);
                for handle in handles {
                    meter.turn();
                    handle.join().unwrap();
                    joined.fetch_add(1, Ordering::Relaxed);
                }
                while let Some(result) = set.join_next() {
                    meter.turn();
                    result.unwrap();
                    joined.fetch_add(1, Ordering::Relaxed);
                }
                while meter.goes_on() {
                    sward::yield_now();
                }
            },
            |meter| {
                assert!(ready.load(Ordering::Relaxed));
                while joined.load(Ordering::Relaxed) < COROUTINES as u64 {
                    meter.waits(RUNNABLE, "a yield", sward::yield_now);
                }
            },
        );
        assert!((2..COROUTINES as u64 / 2).contains(&longest), "{longest} were joined in a row");
    }
}

/// Calls that never park do not yield either. Callers make them while they hold a std lock; after a yield
/// another coroutine of the same worker would block on that lock.
#[test]
fn calls_that_never_park_never_yield() {
    if cfg!(sward_migrate) {
        println!("skipped: another worker may run the bystander");
        return;
    }
    without_spare_workers(1).run(|| {
        let ran = Arc::new(AtomicBool::new(false));
        let theirs = ran.clone();
        let bystander = sward::spawn(move || theirs.store(true, Ordering::Relaxed));
        let (sender, _receiver) = channel::unbounded();
        let (mutex, semaphore, notify) = (Mutex::new(()), Semaphore::new(1), Notify::new());
        let (news, _watching) = watch::channel(0);
        let (all, _each) = broadcast::channel(1);
        let token = task::current();
        for _ in 0..300 {
            sender.try_send(()).unwrap();
            drop((mutex.try_lock().unwrap(), semaphore.try_acquire().unwrap()));
            notify.notify_one();
            notify.notify_all();
            news.send(1);
            all.send(1).unwrap();
            token.unpark();
            let (answer, _question) = oneshot::channel();
            answer.send(()).unwrap();
            sward::spawn(|| ());
        }
        assert!(!ran.load(Ordering::Relaxed), "a call that never parks has let others run");
        bystander.join().unwrap();
    });
}
