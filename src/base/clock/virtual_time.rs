//! The clock where simulations are possible: on a thread that simulates it is the simulation's.

use crate::base::local::thread_locals;
use std::cell::Cell;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

/// The clock of a simulation.
#[derive(Clone, Copy)]
struct Clock {
    /// When the simulation began.
    began: Instant,
    /// How many nanoseconds have passed since then.
    nanos: u64,
}

thread_locals! {
    /// The clock of the simulation that this thread runs.
    static CLOCK: Cell<Option<Clock>> = Cell::new(None);

    fn clock() -> Option<Clock> = |clock| clock.get(), destroyed: None;

    fn set(to: Option<Clock>) = |clock| clock.set(to), destroyed: ();
}

/// The time.
#[inline]
pub(crate) fn now() -> Instant {
    match clock() {
        Some(clock) => clock.began + Duration::from_nanos(clock.nanos),
        None => Instant::now(),
    }
}

/// How many nanoseconds have passed in the simulation that this thread runs, if it does.
pub(crate) fn virtual_nanos() -> Option<u64> {
    clock().map(|clock| clock.nanos)
}

/// While it lives, this thread's clock is that of a simulation, which begins at zero.
pub(crate) struct VirtualTime {
    /// It belongs to its thread.
    _thread: PhantomData<*const ()>,
}

impl VirtualTime {
    /// Begins a simulation's time on this thread, which has none.
    pub(crate) fn begin() -> VirtualTime {
        assert!(clock().is_none(), "this thread runs a simulation already");
        // Once more with the clock set: where a program has replaced the system's clock by the simulation's,
        // the beginning is the same in each run.
        set(Some(Clock { began: Instant::now(), nanos: 0 }));
        set(Some(Clock { began: Instant::now(), nanos: 0 }));
        VirtualTime { _thread: PhantomData }
    }

    /// How many nanoseconds have passed.
    pub(crate) fn nanos(&self) -> u64 {
        virtual_nanos().unwrap_or(0)
    }

    /// Moves the clock. It never goes back.
    pub(crate) fn set(&self, nanos: u64) {
        if let Some(clock) = clock() {
            set(Some(Clock { nanos: nanos.max(clock.nanos), ..clock }));
        }
    }

    /// How many nanoseconds after the beginning that time is; zero if it is before.
    pub(crate) fn nanos_of(&self, at: Instant) -> u64 {
        clock().map_or(0, |clock| {
            u64::try_from(at.saturating_duration_since(clock.began).as_nanos()).unwrap_or(u64::MAX)
        })
    }
}

impl Drop for VirtualTime {
    fn drop(&mut self) {
        set(None);
    }
}
