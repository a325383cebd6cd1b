//! What observes turns, wakes and spawns while it is switched on: accounting, and the flight recorder.
//!
//! The problem: what is off may cost nothing that can be measured. So one static byte says what is on. Each
//! turn, wake and spawn reads it once: a load and a branch. If it is not zero, a cold path does the same, and
//! calls the functions of this file. The byte is the same for all runtimes of the process.
//!
//! An instrument that is switched on or off amid a turn sees the rest of it: [`Turn`] keeps what was on when
//! the turn began.

use super::shared::Shared;
use super::worker::Worker;
use crate::coroutine::Header;
use std::sync::atomic::{AtomicU8, Ordering};

/// Accounting: what each spawn site costs (`accounts`).
#[allow(dead_code, reason = "the instruments use it")]
pub(crate) const ACCOUNTING: u8 = 1;
/// The flight recorder.
#[allow(dead_code, reason = "the instruments use it")]
pub(crate) const RECORDING: u8 = 1 << 1;

static ON: AtomicU8 = AtomicU8::new(0);

/// What is on.
// Relaxed: nothing is published by it. A worker that sees it late misses some turns.
#[inline(always)]
pub(crate) fn on() -> u8 {
    ON.load(Ordering::Relaxed)
}

/// Switches an instrument on or off. Returns whether it was on.
#[allow(dead_code, reason = "the instruments use it")]
pub(crate) fn switch(instrument: u8, wanted: bool) -> bool {
    let before = if wanted {
        ON.fetch_or(instrument, Ordering::Relaxed)
    } else {
        ON.fetch_and(!instrument, Ordering::Relaxed)
    };
    before & instrument != 0
}

/// How a coroutine leaves its stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaves {
    /// It waits; its reason says why. If the wait has ended meanwhile, it goes on in the same turn.
    Waits,
    /// It lets others run first.
    Yields,
    /// It has ended.
    Ends,
}

/// What a turn tells its observer.
pub(super) trait Observer {
    /// The coroutine has left its stack. It still is the worker's alone: no other thread can run it yet.
    fn leaves(&mut self, header: &Header, how: Leaves);
    /// The wait had ended before the coroutine was parked: it goes on in the same turn.
    fn goes_on(&mut self);
}

/// Nobody observes. All of it is optimized away.
impl Observer for () {
    #[inline(always)]
    fn leaves(&mut self, _: &Header, _: Leaves) {}
    #[inline(always)]
    fn goes_on(&mut self) {}
}

/// A turn that is observed.
pub(super) struct Turn<'a> {
    #[expect(dead_code, reason = "the instruments use it")]
    worker: &'a Worker,
    #[expect(dead_code, reason = "the instruments use it")]
    on: u8,
}

impl<'a> Turn<'a> {
    /// The turn of a coroutine begins. `on` is what is on.
    pub(super) fn begin(worker: &'a Worker, _header: &Header, on: u8) -> Turn<'a> {
        Turn { worker, on }
    }

    /// The turn is over. The coroutine may run elsewhere by now, or be gone.
    pub(super) fn end(self) {}
}

impl Observer for Turn<'_> {
    fn leaves(&mut self, _header: &Header, _how: Leaves) {}

    fn goes_on(&mut self) {}
}

/// A coroutine whose wait has ended is about to be queued.
#[cold]
#[inline(never)]
pub(super) fn note_wake(_shared: &Shared, _header: &Header, _on: u8) {}

/// An unstarted coroutine is about to be queued.
#[cold]
#[inline(never)]
pub(super) fn note_spawn(_shared: &Shared, _header: &Header, _on: u8) {}
