//! What the unit tests of the policies count, and where they interrupt a worker (`virtual_workers`).
//! Elsewhere nothing is left of it.

#[cfg(test)]
use crate::base::local::thread_locals;
#[cfg(test)]
use std::cell::Cell;

/// A decision (where a coroutine starts, from whom to steal, whom to notify) is about to look at all workers:
/// it costs more, the more there are.
#[cfg(not(test))]
#[inline(always)]
pub(super) fn note_scan() {}

/// Whether a worker stops between two slices of mobile homes.
#[cfg(not(test))]
#[inline(always)]
pub(super) fn stops_after_slice() -> bool {
    false
}

#[cfg(test)]
thread_locals! {
    /// How often a decision on this thread has looked at all workers.
    static SCANS: Cell<usize> = Cell::new(0);

    pub(super) fn note_scan() = |scans| scans.set(scans.get() + 1), destroyed: ();

    /// How often since the last call.
    #[cfg_attr(loom, allow(dead_code))]
    pub(super) fn take_scans() -> usize = |scans| scans.take(), destroyed: 0;
}

#[cfg(test)]
thread_locals! {
    /// Whether this thread takes the steps of virtual workers.
    static STOPS: Cell<bool> = Cell::new(false);

    pub(super) fn stops_after_slice() -> bool = |stops| stops.get(), destroyed: false;

    #[cfg_attr(loom, allow(dead_code))]
    pub(super) fn set_stops_after_slice(stops: bool) = |own| own.set(stops), destroyed: ();
}
