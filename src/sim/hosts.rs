//! Hosts: groups of coroutines that have an address of their own, and that crash together.

use super::handle::Sim;
use super::run::Run;
use crate::base::sys::calls::Context;
use crate::sched::{self, Spawn};
use crate::time::sleep;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How often a crash looks whether the host's coroutines have unwound, and for how long it sleeps in between.
const LOOKS: usize = 10_000;
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// Hosts. A host is a closure with the coroutines that come from it. It has an address ([`Sim::address`]),
/// and its name is resolved to that. It may crash and be restarted. Coroutines of hosts may outlive the
/// check's closure.
///
/// All methods that take the name of a host panic if there is none.
impl Sim {
    /// Adds a host and starts it: the closure runs as a coroutine of that host, and so does everything that
    /// it spawns. Does not park. A panic of the closure is a failure of the run.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use sward::net::{TcpListener, TcpStream};
    /// use std::time::Duration;
    ///
    /// sward::sim::check(|sim| {
    ///     sim.host("hello", || {
    ///         let listener = TcpListener::bind("0.0.0.0:80").unwrap();
    ///         loop {
    ///             let (mut stream, _) = listener.accept().unwrap();
    ///             let _ = stream.write_all(b"hello");
    ///         }
    ///     });
    ///     sward::sleep(Duration::from_millis(1));
    ///     let mut text = String::new();
    ///     TcpStream::connect("hello:80").unwrap().read_to_string(&mut text).unwrap();
    ///     assert_eq!(text, "hello");
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// If the name is empty, or there is a host of that name.
    #[track_caller]
    pub fn host(&self, name: &str, f: impl Fn() + Send + Sync + 'static) {
        let run = self.run();
        assert!(!name.is_empty(), "sward::sim: a host has a name; \"\" is the check itself");
        assert!(run.host_named(name).is_none(), "sward::sim: there is a host {name:?}");
        let host = run.add_host(name, Arc::new(f));
        run.world().add_host(host, name);
        start(&run, host, Location::caller());
    }

    /// Crashes a host, and parks until its coroutines have ended. From the beginning of the call nothing that
    /// they do reaches the network. They unwind as at the end of a runtime, so that their destructors run;
    /// what these do to memory that others share with the host is seen by them. In a destructor that unwinds
    /// this does not park: the coroutines end later.
    ///
    /// # Panics
    ///
    /// If a coroutine of the host does not unwind within ten seconds of simulated time.
    ///
    /// # Cancellation
    ///
    /// A host that crashes itself unwinds out of this.
    pub fn crash(&self, name: &str) {
        let run = self.run();
        let host = named(&run, name);
        crash(&run, host);
        wait_for_end(&run, host);
    }

    /// Starts a host's closure again, after a [crash](Self::crash) or when it has returned. A host that is up
    /// is crashed first. Parks if it has to wait for that, as [`crash`](Self::crash) does. A host that is
    /// restarted by several callers at a time is started once.
    ///
    /// # Cancellation
    ///
    /// A host that restarts itself unwinds out of this, and is started again.
    #[track_caller]
    pub fn restart(&self, name: &str) {
        let site = Location::caller();
        let run = self.run();
        let host = named(&run, name);
        if run.has_coroutines(host) || !run.is_crashed(host) {
            crash(&run, host);
        }
        if Context::host(&*run) != host && sched::may_switch() {
            return start_when_down(&run, host, site);
        }
        let (name, sim) = (run.name_of_host(host), *self);
        let spawn = Spawn::on_this_worker().named(&name).at(site);
        // One that the crash does not concern, since it comes later.
        run.spawning_for(host, || {
            sched::spawn_detached(spawn, move || start_when_down(&sim.run(), host, site));
        });
        wait_for_end(&run, host);
    }

    /// Stops a host for that long, from now on: none of its coroutines runs, as when its machine stands still
    /// or its memory is swapped out. Its clock goes on, its timers are late, and what others send arrives. A
    /// host that pauses itself goes on until its next call of sward. A crash ends the pause. Does not park.
    ///
    /// ```
    /// use std::time::Duration;
    /// sward::sim::check(|sim| {
    ///     let inside = *sim;
    ///     sim.host("a", move || {
    ///         sward::sleep(Duration::from_secs(1));
    ///         assert!(inside.now() >= Duration::from_secs(60));
    ///     });
    ///     sim.pause("a", Duration::from_secs(60));
    ///     sward::sleep(Duration::from_secs(90));
    /// });
    /// ```
    pub fn pause(&self, name: &str, time: Duration) {
        let run = self.run();
        run.pause_host(named(&run, name), time);
    }

    /// Whether a host has coroutines and has not crashed.
    pub fn is_up(&self, name: &str) -> bool {
        let run = self.run();
        let host = named(&run, name);
        run.has_coroutines(host) && !run.is_crashed(host)
    }

    /// Sets the host's clock ahead of the simulation's, or back, as [`system_time`](Self::system_time) reads
    /// it; and `std::time::SystemTime::now`, where [`override_libc!`](crate::sim::override_libc) is in force.
    /// The clock of timers and deadlines has no zero that hosts could have in common, so it stays as it is.
    pub fn clock_skew(&self, name: &str, ahead_nanos: i64) {
        let run = self.run();
        run.set_skew(named(&run, name), ahead_nanos);
    }

    /// The time of day on the host of the caller. A run begins on January 1st, 2000.
    pub fn system_time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.run().system_nanos())
    }
}

#[track_caller]
fn named(run: &Run, name: &str) -> u32 {
    match run.host_named(name) {
        Some(host) => host,
        None => panic!("sward::sim: there is no host {name:?}"),
    }
}

/// Crashes that host, and does not wait for the end of its coroutines.
fn crash(run: &Run, host: u32) {
    run.world().crash(host);
    run.crash(host);
}

/// Parks until the coroutines of that host have ended which a crash has met. Where nothing can park, they can
/// end only later.
fn wait_for_end(run: &Run, host: u32) {
    if !sched::may_switch() {
        return;
    }
    for _ in 0..LOOKS {
        if !run.has_crashed_coroutines(host) {
            return;
        }
        sleep(BETWEEN_LOOKS);
    }
    panic!("sward::sim: a coroutine of the host {:?} does not unwind", run.name_of_host(host));
}

/// Parks until that host, which has crashed, is down, and starts its closure again, unless somebody else has.
fn start_when_down(run: &Run, host: u32, site: &'static Location<'static>) {
    wait_for_end(run, host);
    if run.is_crashed(host) {
        run.world().restart(host);
        start(run, host, site);
    }
}

/// Starts the closure of that host.
fn start(run: &Run, host: u32, site: &'static Location<'static>) {
    let (name, body) = run.begin_host(host);
    let spawn = Spawn::on_this_worker().named(&name).at(site);
    run.spawning_for(host, || sched::spawn_detached(spawn, move || body()));
}
