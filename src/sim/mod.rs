//! Deterministic simulation: runs a program hundreds of times, each time with another schedule, on a clock of
//! its own, and says how to get a failure again. Cargo feature `sim`.
//!
//! Use it in tests of code that uses sward. The code stays as it is: the same `spawn`, `Mutex`, `select!`.
//!
//! ```
//! sward::sim::check(|_| {
//!     let (sender, receiver) = sward::channel::bounded(1);
//!     let producer = sward::spawn(move || (0..3).try_for_each(|i| sender.send(i)));
//!     assert_eq!(receiver.iter().sum::<i32>(), 3);
//!     producer.join().unwrap().unwrap();
//! });
//! ```
//!
//! # What a run is
//!
//! All coroutines of a run share one thread, and the simulation decides each step: which coroutine has the
//! next turn, and at each call of sward that need not wait, whether another one runs first. The decisions
//! follow from the run's *seed*. Between two such calls nothing interrupts a coroutine. After 128 of them in
//! one turn it yields. A poll of a future is not interrupted at all. After 128 calls in it that need not
//! wait, the next one is pending all the same, so that the executor lets others run.
//!
//! The clock moves by a microsecond with each step. If no coroutine can run, it jumps to the next timer, so
//! a test that sleeps for a year is over in no time. `sward::sleep`, timeouts, deadlines and intervals follow
//! this clock. So a coroutine that can run is never late, as it may be on a real machine, unless the check
//! asks for it: [`Check::pauses`], [`Sim::pause`].
//!
//! A run fails if
//!
//! - the closure panics, or a coroutine does that nobody joins;
//! - nothing can run and no timer is set, though the closure has not returned: a deadlock;
//! - coroutines are left when the closure has returned: a leak ([`Check::leaks_fail`]);
//! - a destructor waits while it unwinds, for what only another coroutine can do: that blocks the thread;
//! - it takes too many steps ([`Check::step_limit`]), or too much time ([`Check::time_limit`]).
//!
//! Each seed is run twice, and the events of both runs are compared, and how they end. If they differ, the
//! program depends on something that is not simulated, and the check fails and says where the runs part.
//!
//! A failure is reported with the seed, with what the coroutines wait for, and with the last events of the
//! smallest schedule that was found to fail in the same way. For a destructor that waits, it is the schedule
//! in which that was found, and only the wait of the destructor is told.
//!
//! # Hosts, a network and disks
//!
//! The sockets of [`net`](crate::net) are connected by a network in memory. [`Sim::host`] starts a closure on
//! a host of its own, with an address, a name that resolves, and a disk for [`fs`](crate::fs). Hosts
//! [crash](Sim::crash) and [restart](Sim::restart). [`Sim::link`] and [`Sim::partition`] make the network
//! slow, lossy or cut; [`Sim::disk`] has writes and syncs fail, and a crash loses what was not synced.
//!
//! # What is not simulated
//!
//! - Threads. A coroutine that waits for a thread of the program looks as if it waits for ever.
//! - Statics: they keep their values from one run to the next.
//! - Locks of std. One that is held over a call of sward blocks the run's thread when another coroutine wants
//!   it, and the run hangs. After ten seconds of real time stderr names the coroutine.
//! - `std::time::Instant::now`, hash seeds and random numbers of the system: they differ from run to run,
//!   unless the test has [`override_libc!`](override_libc).
//!
//! The guide's chapter `docs/guide/simulation.md` has more: the report of a failure, and what a crash leaves
//! of a disk. `docs/TESTING.md` has a replicated store that is tested in this way.
//!
//! # Environment
//!
//! | variable | value | meaning |
//! |---|---|---|
//! | `SWARD_SIM_SEED` | a number | checks run this seed alone |
//! | `SWARD_SIM_RUNS` | a number, at least 1 | how many seeds each check runs |
//! | `SWARD_SIM_JOBS` | a number, at least 1 | how many seeds each check runs at once ([`Check::jobs`]) |
//! | `SWARD_SIM_SCHEDULE` | a path | checks run that schedule alone; the report of a failure names the file |

// Rank 11, from the bottom:
//
// - `random`, `trace`, `strategy`, `failure`, `pauses`, `watchdog`: parts of a run.
// - `network`, `disk`, `disks`, `world`: what answers system calls. `libc_overrides`: the clock and random
//   numbers of the C library.
// - `run`: one run. `minimise`: smaller schedules. `record`: what is left of a failure on disk.
// - `jobs`, `settings`, `runner`: a check. `handle`, `hosts`, `control`: the type `Sim`, for the program.

mod control;
mod disk;
mod disks;
mod failure;
mod handle;
mod hosts;
mod jobs;
mod libc_overrides;
mod minimise;
mod network;
mod pauses;
mod random;
mod record;
mod run;
mod runner;
mod settings;
mod strategy;
mod trace;
mod watchdog;
mod world;

pub use control::{SystemFaults, inject_faults};
pub use disks::DiskSettings;
pub use handle::Sim;
pub use libc_overrides::override_libc;
#[doc(hidden)]
pub use libc_overrides::{__clock_gettime, __getrandom, timespec};
pub use network::Link;
pub use runner::{Failed, Passed};
pub use settings::{Check, Strategy};

/// Runs the closure in simulations with 100 seeds, or as many as `SWARD_SIM_RUNS` says, each twice.
///
/// The closure runs as a coroutine. [`sim`](self) says what makes a run fail.
///
/// # Panics
///
/// If a run fails; with the report.
#[track_caller]
pub fn check(f: impl Fn(&Sim) + Sync) {
    Check::new().run(f);
}

/// Runs the closure with all schedules that interrupt a coroutine at most twice at a call that need not wait,
/// for small programs; otherwise as [`check`]. At most 100,000 schedules are run, or as many as
/// `SWARD_SIM_RUNS` says.
///
/// # Panics
///
/// If a run fails; with the report.
#[track_caller]
pub fn exhaustive(f: impl Fn(&Sim) + Sync) {
    Check::new().strategy(Strategy::Exhaustive { preemptions: 2 }).run(f);
}
