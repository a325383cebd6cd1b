//! Mobile homes as the scheduler uses them: who runs them, who starts in them, how many there are, and how
//! they end.

use super::coroutines::kernel_thread;
use crate::common::{
    LONG, MOMENT, SetOnDrop, child, command, eventually, is_child, temporary_path, text, this_test,
};
use std::cell::Cell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};
use sward::runtime::{Builder, HomeMetrics, Homes, Runtime, homes_supported};
use sward::task::{self, JoinError, JoinHandle};

/// A user that owns nothing.
const OTHER_USER: u32 = 64_321;

/// A runtime with mobile homes; `None` where there can be none.
fn with_homes(workers: usize, homes: Homes) -> Option<Runtime> {
    with_homes_and_stall(workers, homes, Duration::from_millis(20))
}

/// The same; a turn is long from a tenth of that time on, and then spare workers help.
fn with_homes_and_stall(workers: usize, homes: Homes, stall: Duration) -> Option<Runtime> {
    if let Err(reason) = homes_supported() {
        println!("skipped: {reason}");
        return None;
    }
    if cfg!(sward_migrate) {
        println!("skipped: coroutines migrate without homes");
        return None;
    }
    let builder = Builder::new().worker_threads(workers).homes(homes).stall_threshold(stall);
    let runtime = builder.build().expect("a runtime");
    assert!(runtime.metrics().homes.is_some());
    Some(runtime)
}

/// The thread that the caller takes for its own: its home.
fn home() -> ThreadId {
    thread::current().id()
}

fn homes_of(runtime: &Runtime) -> HomeMetrics {
    runtime.metrics().homes.expect("it has homes")
}

fn isolated<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    task::Builder::new().isolated(true).spawn(f).expect("spawned")
}

/// The processor time of the kernel thread that runs this.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the variable lives until the call ends.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn compute(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Coroutines that say when they have started, then wait, and then say which kernel thread runs them.
fn waiting(
    count: usize,
    mut spawn: impl FnMut(Box<dyn FnOnce() + Send>) -> JoinHandle<()>,
) -> (Vec<JoinHandle<()>>, Receiver<libc::c_long>, Receiver<libc::c_long>) {
    let (started, starts) = channel();
    let (went_on, goes_on) = channel();
    let handles = (0..count)
        .map(|_| {
            let (started, went_on) = (started.clone(), went_on.clone());
            spawn(Box::new(move || {
                started.send(kernel_thread()).expect("the test listens");
                task::park();
                went_on.send(kernel_thread()).expect("the test listens");
            }))
        })
        .collect();
    (handles, starts, goes_on)
}

/// A coroutine in a home of its own that computes until the first value is dropped, and its kernel
/// thread.
fn hog(runtime: &Runtime) -> (SetOnDrop, libc::c_long) {
    let over = Arc::new(AtomicBool::new(false));
    let seen = over.clone();
    let (sender, receiver) = channel();
    runtime.spawn(|| {
        isolated(move || {
            sender.send(kernel_thread()).expect("the test listens");
            while !seen.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
    });
    (SetOnDrop(over), receiver.recv_timeout(LONG).expect("it starts"))
}

/// A home that becomes runnable behind a coroutine that computes is run by another worker.
#[test]
fn homes_behind_a_hog_run_elsewhere() {
    const COUNT: usize = 40;
    for workers in [1, 2, 4] {
        // Only the hog is to have a long turn, however slowly the others start.
        let stall = Duration::from_millis(500);
        let Some(runtime) = with_homes_and_stall(workers, Homes::Auto, stall) else { return };
        let (handles, starts, goes_on) = waiting(COUNT, |f| runtime.spawn(f));
        let before: Vec<_> = (0..COUNT).map(|_| starts.recv_timeout(LONG).expect("it starts")).collect();
        let (over, hogged) = hog(&runtime);
        // With one worker, all have run on the one that the hog keeps now.
        assert!(workers > 1 || before.iter().all(|&thread| thread == hogged));
        handles.iter().for_each(|handle| handle.task().unpark());
        let after: Vec<_> = (0..COUNT).map(|_| goes_on.recv_timeout(LONG).expect("it goes on")).collect();
        drop(over);
        assert!(after.iter().all(|&thread| thread != hogged), "nobody runs beside the hog on its worker");
        handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
    }
}

/// Under forced moves, a coroutine that yields changes its worker often.
#[test]
fn homes_move() {
    const YIELDS: usize = 200;
    let Some(runtime) = with_homes(2, Homes::Auto) else { return };
    let most = (0..20).map(|_| {
        runtime.run(|| {
            let own = home();
            let yielder = || {
                let (mut moves, mut last) = (0, kernel_thread());
                for _ in 0..YIELDS {
                    sward::yield_now();
                    let now = kernel_thread();
                    moves += usize::from(now != last);
                    last = now;
                }
                moves
            };
            let others: Vec<_> = (0..10).map(|_| isolated(yielder)).collect();
            let moves: usize = others.into_iter().map(|other| other.join().expect("no panic")).sum();
            assert_eq!(home(), own);
            moves
        })
    });
    let most = most.max().expect("twenty");
    println!("{most} moves in {} yields", 10 * YIELDS);
    assert!(most > if cfg!(sward_move_homes) { 2 * YIELDS } else { 0 }, "{most} moves");
}

/// No coroutine shares the home of an isolated one.
#[test]
fn an_isolated_coroutine_is_alone_in_its_home() {
    for workers in [1, 2] {
        let Some(runtime) = with_homes(workers, Homes::Auto) else { return };
        let (sender, receiver) = channel();
        let mut handles = Vec::new();
        runtime.run(|| {
            for round in 0..40 {
                for alone in [true, false, false] {
                    let sender = sender.clone();
                    let f = move || {
                        sender.send((alone, home())).expect("the test listens");
                        if alone && round % 2 == 0 {
                            // Its children start elsewhere, too.
                            let sender = sender.clone();
                            let child = move || {
                                sender.send((false, home())).expect("the test listens");
                                task::park();
                            };
                            drop(sward::spawn(child));
                        }
                        task::park();
                    };
                    handles.push(task::Builder::new().isolated(alone).spawn(f).expect("spawned"));
                }
            }
        });
        let mut seen: Vec<_> = (0..140).map(|_| receiver.recv_timeout(LONG).expect("it starts")).collect();
        seen.sort_unstable_by_key(|&(alone, _)| !alone);
        let mut used = HashSet::new();
        for (alone, home) in seen {
            let first = used.insert(home);
            assert!(first || !alone, "two isolated coroutines share a home");
            if alone {
                continue;
            }
            used.remove(&home);
            assert!(first || !used.contains(&home), "a coroutine shares the home of an isolated one");
        }
    }
}

/// A home in which a coroutine has computed for long gets no newcomers.
#[test]
fn newcomers_avoid_a_home_that_had_a_long_turn() {
    let Some(runtime) = with_homes_and_stall(1, Homes::Auto, Duration::from_millis(500)) else { return };
    let (before, after, own) = runtime.run(|| {
        let homes_of_children = || {
            let child = || sward::spawn(home);
            let children: Vec<_> = (0..5).map(|_| child()).collect();
            children.into_iter().map(|child| child.join().expect("no panic")).collect::<HashSet<_>>()
        };
        let before = homes_of_children();
        // Whether the home is marked, only the monitor knows: it may be late. A turn is long if it has used
        // the processor for so long.
        let mut after = before.clone();
        for _ in 0..50 {
            let begin = processor_time();
            while processor_time() - begin < Duration::from_millis(100) {}
            after = homes_of_children();
            if !after.contains(&home()) {
                break;
            }
        }
        (before, after, home())
    });
    // Under forced moves the slice of the home is over before they start.
    assert!(before.contains(&own) || cfg!(sward_move_homes), "partners stay together");
    assert!(!after.contains(&own), "it starts behind a coroutine that computes");
}

/// A home that has no coroutines any more is used again.
#[test]
fn homes_are_reused() {
    const WAVE: usize = 10;
    for workers in [1, 2] {
        let Some(runtime) = with_homes(workers, Homes::Auto) else { return };
        for _ in 0..1_000 {
            let wave: Vec<_> = (0..WAVE)
                .map(|n| {
                    runtime.spawn(move || match n % 3 {
                        0 => sward::yield_now(),
                        1 => sward::sleep(Duration::from_micros(50)),
                        _ => (),
                    })
                })
                .collect();
            wave.into_iter().for_each(|one| one.join().expect("no panic"));
        }
        let HomeMetrics { made, limit, .. } = homes_of(&runtime);
        // A home is vacant a moment after its last coroutine has ended.
        assert!(made <= WAVE + 2 * workers, "{made} homes for {WAVE} coroutines at a time");
        assert_eq!(limit, 256);
        eventually("all are vacant", || homes_of(&runtime).vacant == made);
    }
}

/// Many coroutines that wait for one another share few homes.
#[test]
fn a_few_homes_are_enough() {
    const COUNT: usize = 1_000;
    for (workers, limit) in [(1, 1), (2, 1), (2, 2), (2, 3), (4, 2), (4, 3)] {
        // So long that no spare worker helps, whose pinned home would count.
        let stall = Duration::from_secs(60);
        let runtime = with_homes_and_stall(workers, Homes::Count(limit), stall);
        let Some(runtime) = runtime else { return };
        let seen = Arc::new(Mutex::new(HashSet::new()));
        let sum = runtime.run(|| {
            let (first, mut receiver) = sward::channel::bounded(1);
            for n in 0..COUNT {
                let (sender, next) = sward::channel::bounded(1);
                let (from, seen) = (std::mem::replace(&mut receiver, next), seen.clone());
                let pass_on = move || {
                    let own = home();
                    seen.lock().expect("no panic").insert(own);
                    for value in from {
                        if n % 50 == 0 {
                            sward::sleep(Duration::from_micros(100));
                        }
                        assert_eq!(home(), own);
                        sender.send(value + 1).expect("the next one lives");
                    }
                };
                drop(task::Builder::new().isolated(n % 7 == 0).spawn(pass_on).expect("spawned"));
            }
            sward::spawn(move || (0..20).for_each(|_| first.send(0).expect("the first one lives")));
            receiver.iter().sum::<usize>()
        });
        assert_eq!(sum, 20 * COUNT);
        assert_eq!(homes_of(&runtime).limit, limit);
        assert!(homes_of(&runtime).made <= limit);
        // If no home is idle when a coroutine starts, it starts in its worker's pinned one.
        let used = seen.lock().expect("no panic").len();
        assert!(used <= limit + 2 * workers, "{used} homes");
    }
}

/// At the limit, isolated coroutines share homes rather than wait.
#[test]
fn isolated_coroutines_share_homes_at_the_limit() {
    for workers in [1, 2] {
        let Some(runtime) = with_homes(workers, Homes::Count(3)) else { return };
        runtime.run(|| {
            let (sender, receiver) = sward::channel::bounded(0);
            for n in 0..20 {
                let sender = sender.clone();
                drop(isolated(move || sender.send(n).expect("the test listens")));
            }
            assert_eq!((0..20).map(|_| receiver.recv().expect("one more")).sum::<i32>(), 190);
        });
        assert!(homes_of(&runtime).made <= 3);
    }
}

/// A shutdown unwinds each coroutine in its own home, whatever it does when the shutdown begins.
#[test]
fn a_shutdown_unwinds_coroutines_in_their_homes() {
    struct ChecksHome(ThreadId, Arc<AtomicUsize>);
    impl Drop for ChecksHome {
        fn drop(&mut self) {
            // A failed assertion would abort here.
            if self.0 == home() {
                self.1.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
    const COUNT: usize = 90;
    for workers in [1, 2, 4] {
        for round in 0..5 {
            let Some(runtime) = with_homes(workers, Homes::Auto) else { return };
            let (started, at_home) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let handles: Vec<_> = (0..COUNT)
                .map(|n| {
                    let (started, at_home) = (started.clone(), at_home.clone());
                    runtime.spawn(move || {
                        let _checks = ChecksHome(home(), at_home);
                        started.fetch_add(1, Ordering::SeqCst);
                        match n % 3 {
                            0 => sward::sleep(LONG),
                            1 => loop {
                                sward::yield_now();
                            },
                            _ => loop {
                                compute(Duration::from_millis(2));
                                sward::yield_now();
                            },
                        }
                    })
                })
                .collect();
            eventually("enough have started", || started.load(Ordering::SeqCst) > round * COUNT / 5);
            drop(runtime);
            for handle in handles {
                assert!(matches!(handle.join(), Err(JoinError::ShutDown)));
            }
            let (started, at_home) = (started.load(Ordering::SeqCst), at_home.load(Ordering::SeqCst));
            assert_eq!(at_home, started, "so many unwound where they had started");
        }
    }
}

/// Counts the values of a thread-local: made, and dropped in the thread that made them.
struct Local {
    of: ThreadId,
    last: Cell<usize>,
    dropped: &'static AtomicUsize,
}

impl Drop for Local {
    fn drop(&mut self) {
        if self.of == home() {
            self.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// At the end of its runtime, the thread-locals of a home are destroyed: once.
#[test]
fn thread_locals_of_homes_are_destroyed_once() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static LOCAL: Local = {
            MADE.fetch_add(1, Ordering::SeqCst);
            Local { of: home(), last: Cell::new(0), dropped: &DROPPED }
        };
    }
    let Some(runtime) = with_homes(2, Homes::Auto) else { return };
    let seen = Arc::new(Mutex::new(HashSet::new()));
    for round in 0..3 {
        let handles: Vec<_> = (0..100)
            .map(|n| {
                let seen = seen.clone();
                runtime.spawn(move || {
                    LOCAL.with(|local| local.last.set(n));
                    seen.lock().expect("no panic").insert(home());
                    if n % 2 == round % 2 {
                        sward::sleep(Duration::from_millis(1));
                    }
                    LOCAL.with(|local| assert_eq!(local.of, home()));
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
        assert_eq!(DROPPED.load(Ordering::SeqCst), 0);
    }
    let used = seen.lock().expect("no panic").len();
    assert_eq!(MADE.load(Ordering::SeqCst), used);
    drop(runtime);
    eventually("all are dropped", || DROPPED.load(Ordering::SeqCst) == used);
    thread::sleep(MOMENT);
    assert_eq!((MADE.load(Ordering::SeqCst), DROPPED.load(Ordering::SeqCst)), (used, used));
}

/// A leaked coroutine may still use the thread-locals of its home. Those of other homes are destroyed.
#[test]
fn a_leaked_coroutine_keeps_the_thread_locals_of_its_home() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static LOCAL: Local = Local { of: home(), last: Cell::new(0), dropped: &DROPPED };
    }
    let Some(runtime) = with_homes(2, Homes::Auto) else { return };
    let stop = Arc::new(AtomicBool::new(false));
    let stops = stop.clone();
    let stop = SetOnDrop(stop);
    let (sender, receiver) = channel();
    let starts = sender.clone();
    let leaked = runtime.spawn(|| {
        isolated(move || {
            LOCAL.with(|local| {
                local.last.set(7);
                starts.send(()).expect("the test listens");
                // It has no wait in which it could unwind.
                while !stops.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(1));
                }
                assert_eq!((local.last.get(), local.of), (7, home()));
            });
            7
        })
    });
    let leaked = leaked.join().expect("no panic");
    let other = runtime.spawn(|| isolated(|| LOCAL.with(|local| local.last.set(1))));
    other.join().expect("no panic").join().expect("no panic");
    receiver.recv_timeout(LONG).expect("it starts");
    runtime.shutdown_timeout(MOMENT);
    // No home ends while a worker's thread stays: code in any of them may have left something with that
    // thread.
    thread::sleep(MOMENT);
    assert_eq!(DROPPED.load(Ordering::SeqCst), 0, "the home of the leaked one has ended");
    drop(stop);
    assert_eq!(leaked.join().expect("no panic"), 7);
    drop(sender);
}

/// Runtimes have homes of their own, also if their coroutines wake each other.
#[test]
fn several_runtimes_have_homes_of_their_own() {
    let mut runtimes = Vec::new();
    for _ in 0..3 {
        let Some(runtime) = with_homes(2, Homes::Count(20)) else { return };
        runtimes.push(runtime);
    }
    let seen: Arc<Vec<_>> = Arc::new((0..3).map(|_| Mutex::new(HashSet::new())).collect());
    let mut rings = Vec::new();
    for ring in 0..30 {
        let (mut senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| sward::channel::bounded(1)).unzip();
        senders[0].send(0).expect("room");
        // Each receives from the one before it.
        senders.rotate_left(1);
        for (at, (sender, receiver)) in senders.into_iter().zip(receivers).enumerate() {
            let seen = seen.clone();
            rings.push(runtimes[at].spawn(move || {
                let own = home();
                seen[at].lock().expect("no panic").insert(own);
                for value in receiver {
                    assert_eq!(home(), own);
                    if value == 300 + ring || sender.send(value + 1).is_err() {
                        break;
                    }
                }
            }));
        }
    }
    rings.into_iter().for_each(|one| one.join().expect("no panic"));
    let sets: Vec<_> = seen.iter().map(|set| set.lock().expect("no panic").clone()).collect();
    for at in 0..3 {
        assert!(sets[at].is_disjoint(&sets[(at + 1) % 3]));
        assert!(homes_of(&runtimes[at]).made <= 20);
    }
}

#[test]
fn wrong_numbers_of_homes_are_errors() {
    for count in [0, 65_537, usize::MAX] {
        let error = Builder::new().homes(Homes::Count(count)).build().expect_err("wrong");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&format!("not {count}")), "{error}");
    }
}

#[test]
fn wrong_values_in_the_environment_are_errors() {
    if is_child() {
        let error = Builder::new().build().expect_err("nonsense");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        println!("error: {error}");
        return;
    }
    for value in ["0", "65537", "-1", "many", "AUTO", "1.5", "on"] {
        let said = text(&child(this_test!(), &[("SWARD_HOMES", value)]));
        assert!(said.contains("error: environment variable SWARD_HOMES=") && said.contains(value), "{said}");
        assert!(said.contains("want auto, off, or a number from 1 to 65536"), "{said}");
    }
}

#[test]
fn the_environment_says_how_many_homes_there_may_be() {
    if is_child() {
        let limit = Builder::new().build().expect("a runtime").metrics().homes.map(|homes| homes.limit);
        println!("limit: {limit:?}");
        let own = Builder::new().homes(Homes::Off).build().expect("a runtime").metrics().homes;
        assert_eq!(own, None);
        return;
    }
    let mobile = homes_supported().is_ok() && !cfg!(sward_migrate);
    for (value, limit) in [("auto", Some(256)), (" 17 ", Some(17)), ("off", None), ("", None)] {
        let said = text(&child(this_test!(), &[("SWARD_HOMES", value)]));
        let limit = if mobile { limit } else { None };
        assert!(
            said.contains(&format!("limit: {limit:?}")) && said.contains("1 passed"),
            "{value:?}: {said}"
        );
    }
}

/// If the system has no more threads, the runtime goes on with the homes that it has: none, or a few.
#[test]
fn a_limit_of_threads_is_a_limit_of_homes() {
    use std::os::unix::process::CommandExt;

    if !is_child() {
        let test = this_test!();
        let mut command = command(test, test);
        // The limit does not hold for root. Another user cannot open folders of root's, so runs a copy.
        // SAFETY: the call has no conditions.
        let copy = (unsafe { libc::geteuid() } == 0).then(temporary_path);
        if let Some(copy) = &copy {
            std::fs::copy(std::env::current_exe().expect("the test's own program"), copy).expect("copied");
            let mut other = std::process::Command::new(copy);
            other.args(command.get_args());
            other.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            command = other;
            command.uid(OTHER_USER).gid(OTHER_USER).current_dir("/");
        }
        let output = command.output();
        copy.map(std::fs::remove_file);
        let said = text(&output.expect("a child"));
        assert!(said.contains("1 passed"), "{said}");
        return;
    }
    let set_limit = |threads| {
        // SAFETY: the limit lives until the calls end.
        unsafe {
            let mut limit = std::mem::zeroed();
            assert_eq!(libc::getrlimit(libc::RLIMIT_NPROC, &raw mut limit), 0);
            limit.rlim_cur = threads;
            assert_eq!(libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit), 0);
        }
    };
    for homes in [0, 3] {
        let Some(runtime) = with_homes(2, Homes::Auto) else { return };
        let (handles, starts, goes_on) = waiting(homes, |f| runtime.run(|| isolated(f)));
        (0..homes).for_each(|_| _ = starts.recv_timeout(LONG).expect("it starts"));
        let made = homes_of(&runtime).made;
        set_limit(0);
        assert!(thread::Builder::new().spawn(|| ()).is_err(), "the limit does not hold");
        let more = (0..100).map(|n| {
            let f = move || {
                sward::sleep(Duration::from_millis(1));
                n
            };
            runtime.spawn(move || if n % 2 == 0 { f() } else { isolated(f).join().expect("no panic") })
        });
        let more: Vec<_> = more.collect();
        assert_eq!(more.into_iter().map(|one| one.join().expect("no panic")).sum::<u64>(), 4_950);
        assert_eq!(homes_of(&runtime).made, made);
        handles.iter().for_each(|handle| handle.task().unpark());
        (0..homes).for_each(|_| _ = goes_on.recv_timeout(LONG).expect("it goes on"));
        handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
        set_limit(1_000);
    }
}
