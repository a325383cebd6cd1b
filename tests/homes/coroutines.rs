//! Runs a check in many coroutines at once, until one of them has moved to another worker.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use sward::runtime::{Builder, Homes, Runtime, homes_supported};
use sward::task::{self, JoinHandle};

/// The workers of each runtime.
const WORKERS: usize = 2;

/// How long a check repeats before too few moves are a failure.
const LIMIT: Duration = Duration::from_secs(300);

/// The settings of each runtime in these tests: mobile homes, unless the environment says otherwise.
pub(crate) fn builder() -> Builder {
    let builder = Builder::new().worker_threads(WORKERS);
    if std::env::var_os("SWARD_HOMES").is_some() { builder } else { builder.homes(Homes::Auto) }
}

/// Whether homes move between the workers of this runtime, or why not.
pub(crate) fn homes_move(runtime: &Runtime) -> Result<(), String> {
    if runtime.metrics().homes.is_some() {
        return Ok(());
    }
    if cfg!(sward_migrate) {
        return Err("coroutines move, and not their homes".to_owned());
    }
    homes_supported().map_err(|reason| reason.to_string())?;
    Err("SWARD_HOMES says so".to_owned())
}

/// Spawns a coroutine that stays in the home in which it starts: one of its own, if it is isolated.
fn spawn(isolated: bool, f: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let builder = task::Builder::new().isolated(isolated).pinned(cfg!(sward_migrate));
    builder.spawn(f).expect("a coroutine")
}

/// The number of the kernel's thread that runs the caller. No thread-local is involved.
#[inline(never)]
pub(crate) fn kernel_thread() -> libc::c_long {
    // SAFETY: the call takes no pointers.
    unsafe { libc::syscall(libc::SYS_gettid) }
}

/// One coroutine of a check.
pub(crate) struct Coroutine {
    /// From 0 to the number of coroutines. No two that run at the same time have the same one.
    pub(crate) number: usize,
    /// The kernel's thread that has run it last.
    thread: Cell<libc::c_long>,
    moves: Arc<AtomicUsize>,
    failed: Arc<AtomicBool>,
}

impl Drop for Coroutine {
    fn drop(&mut self) {
        if thread::panicking() {
            self.failed.store(true, Ordering::Relaxed);
        }
    }
}

impl Coroutine {
    fn new(number: usize, moves: Arc<AtomicUsize>, failed: Arc<AtomicBool>) -> Coroutine {
        Coroutine { number, thread: Cell::new(kernel_thread()), moves, failed }
    }

    /// Lets others run, and perhaps moves to another worker.
    pub(crate) fn pause(&self) {
        self.wait(sward::yield_now);
    }

    /// The same, with another wait.
    pub(crate) fn wait(&self, wait: impl FnOnce()) {
        wait();
        let thread = kernel_thread();
        if self.thread.replace(thread) != thread {
            self.moves.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn pauses(&self, count: usize) {
        (0..count).for_each(|_| self.pause());
    }

    /// Pauses until the attempt succeeds. If another coroutine fails meanwhile, it may never.
    pub(crate) fn retry<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(done) = attempt() {
                return done;
            }
            assert!(!self.failed.load(Ordering::Relaxed), "another coroutine has failed");
            self.pause();
        }
    }
}

/// The coroutines that a check runs in.
pub(crate) struct Coroutines {
    count: usize,
    isolated: bool,
    checks: bool,
    moves: usize,
}

pub(crate) fn coroutines(count: usize) -> Coroutines {
    Coroutines { count, isolated: false, checks: true, moves: 1 }
}

impl Coroutines {
    /// Each coroutine has a home of its own. So it may leave something in its thread over a wait that must
    /// not interleave with that of others.
    pub(crate) fn isolated(mut self) -> Coroutines {
        self.isolated = true;
        self
    }

    /// The check waits where checked waits panic.
    pub(crate) fn unchecked(mut self) -> Coroutines {
        self.checks = false;
        self
    }

    /// Repeats the check until the coroutines have moved that many times.
    pub(crate) fn moves(mut self, moves: usize) -> Coroutines {
        self.moves = moves;
        self
    }

    /// Runs the check, and returns how many coroutines have run it altogether.
    pub(crate) fn run(self, f: impl Fn(&Coroutine) + Send + Sync + 'static) -> usize {
        let build = |builder: Builder| {
            let builder = if self.checks { builder } else { builder.checks(false) };
            builder.build().expect("a runtime")
        };
        let (f, moves, failed) =
            (Arc::new(f), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let check = |number| {
            let (f, moves, failed) = (f.clone(), moves.clone(), failed.clone());
            move || f(&Coroutine::new(number, moves, failed))
        };
        let runtime = build(builder());
        let in_force = homes_move(&runtime);
        if let Err(reason) = &in_force {
            println!("skipped: moves: {reason}");
        }
        if self.isolated && in_force.is_err() {
            // A worker of its own is as good as a home of its own.
            let runtimes: Vec<_> = (0..self.count).map(|_| build(builder().worker_threads(1))).collect();
            let each = runtimes.iter().enumerate().map(|(number, runtime)| {
                let check = check(number);
                runtime.spawn(|| join([spawn(true, check)]))
            });
            join(each.collect::<Vec<_>>());
            return self.count;
        }
        runtime.run(|| {
            let done = Arc::new(AtomicBool::new(false));
            let hogs = if in_force.is_ok() { WORKERS } else { 0 };
            let hogs: Vec<_> = (0..hogs).map(|_| spawn(true, hog(done.clone()))).collect();
            let started = Instant::now();
            for round in 1.. {
                join((0..self.count).map(|number| spawn(self.isolated, check(number))).collect::<Vec<_>>());
                if hogs.is_empty() || moves.load(Ordering::Relaxed) >= self.moves {
                    done.store(true, Ordering::Relaxed);
                    join(hogs);
                    return round * self.count;
                }
                assert!(started.elapsed() < LIMIT, "{moves:?} moves in {round} rounds");
            }
            unreachable!("the loop returns");
        })
    }
}

/// Blocks a worker half of the time. There is one for each worker: whichever worker runs a home,
/// it is blocked now and then while the others have nothing to do, and take the home.
fn hog(done: Arc<AtomicBool>) -> impl FnOnce() {
    move || {
        while !done.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
            sward::time::sleep(Duration::from_millis(1));
        }
    }
}

fn join(handles: impl IntoIterator<Item = JoinHandle<()>>) {
    for handle in handles {
        handle.join().expect("no panic");
    }
}
