//! What observes turns, wakes and spawns while it is switched on: accounting, and the flight recorder.
//!
//! The problem: what is off may cost nothing that can be measured. So one static byte says what is on. Each
//! turn, wake, spawn and start reads it once: a load and a branch. If it is not zero, a cold path does the
//! same, and calls the functions of this file. The byte is the same for all runtimes of the process.
//!
//! An instrument that is switched on or off amid a turn sees the rest of it: [`Turn`] keeps what was on when
//! the turn began.

pub(super) use super::accounts::Leaves;
use super::accounts::{self, AccountedTurn, Of};
use super::current::with;
use super::recorder::{self, TurnEnd, Writer};
use super::registry::runtimes;
use super::shared::{Home, Shared};
use super::worker::Worker;
use crate::coroutine::Header;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU8, Ordering};

/// Accounting: what each spawn site costs (`accounts`).
pub(crate) const ACCOUNTING: u8 = 1;
/// The flight recorder (`recorder`).
pub(crate) const RECORDING: u8 = 1 << 1;

static ON: AtomicU8 = AtomicU8::new(0);

/// Whether anything is on. The functions that this file has for that case read once more what it is, so that
/// this test is one comparison with memory.
// Relaxed: nothing is published by it. A worker that sees it late misses some turns.
#[inline(always)]
pub(super) fn any() -> bool {
    on() != 0
}

#[inline(always)]
fn on() -> u8 {
    ON.load(Ordering::Relaxed)
}

/// Switches an instrument on or off. Returns whether it was on.
fn switch(instrument: u8, wanted: bool) -> bool {
    let before = if wanted {
        ON.fetch_or(instrument, Ordering::Relaxed)
    } else {
        ON.fetch_and(!instrument, Ordering::Relaxed)
    };
    before & instrument != 0
}

/// Switches accounting on or off, for all runtimes of the process. Returns whether it was on.
pub(crate) fn set_accounting(on: bool) -> bool {
    let changed = accounts::note_switch(on, || {
        switch(ACCOUNTING, on);
        for shared in runtimes() {
            shared.netpoller_time.note_switch(on);
        }
    });
    on != changed
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
    worker: &'a Worker,
    account: Option<AccountedTurn>,
    /// What the recorder writes at the end.
    recorded: Option<(Writer<'a>, TurnEnd)>,
}

impl<'a> Turn<'a> {
    /// The turn of a coroutine begins.
    pub(super) fn begin(worker: &'a Worker, header: &Header) -> Turn<'a> {
        let on = on();
        let account = (on & ACCOUNTING != 0).then(|| worker.accounts.begin(accounts_of(worker), header));
        let recorded = (on & RECORDING != 0).then(|| {
            // SAFETY: this is the worker's thread.
            let writer = unsafe { worker.remote().track.writer() };
            writer.begin(header);
            (writer, TurnEnd::none())
        });
        Turn { worker, account, recorded }
    }

    /// The turn is over. The coroutine may run elsewhere by now, or be gone.
    pub(super) fn end(self) {
        if let Some(turn) = self.account {
            self.worker.accounts.end(accounts_of(self.worker), turn);
        }
        if let Some((writer, how)) = self.recorded {
            writer.end(how);
        }
    }
}

impl Observer for Turn<'_> {
    fn leaves(&mut self, header: &Header, how: Leaves) {
        if let Some(turn) = &self.account {
            self.worker.accounts.leave(accounts_of(self.worker), turn, header, how);
        }
        if let Some((writer, end)) = &mut self.recorded {
            *end = match how {
                Leaves::Waits => TurnEnd::parks(header),
                Leaves::Yields => TurnEnd::yields(header),
                Leaves::Ends => writer.ended(header),
            };
        }
    }

    fn goes_on(&mut self) {}
}

fn accounts_of(worker: &Worker) -> Of<'_> {
    let remote = worker.remote();
    Of {
        shared: &remote.accounts,
        clock: remote.clock.get().copied(),
        polls: remote.polls.load(Ordering::Relaxed),
        began: worker.shared().began(),
    }
}

/// A coroutine is about to start on the free stack with that base.
#[cold]
#[inline(never)]
pub(super) fn note_start(worker: &Worker, header: &Header, base: NonZeroUsize) {
    if on() & ACCOUNTING != 0 {
        worker.accounts.prepare_stack(accounts_of(worker), header, base);
    }
}

/// A coroutine whose wait has ended is about to be queued.
#[cold]
#[inline(never)]
pub(super) fn note_wake(header: &Header, home: &Home) {
    let on = on();
    if on & ACCOUNTING != 0
        && let Some(shared) = home.runtime().upgrade()
    {
        accounts::note_runnable(header, shared.now());
    }
    if on & RECORDING != 0 {
        let recorded = with(|worker| {
            let remote = worker.remote();
            // SAFETY: this is the worker's thread.
            unsafe { remote.track.writer() }.wake(header, remote.running.id_or_zero());
        });
        if recorded.is_none() {
            recorder::wake_elsewhere(header);
        }
    }
}

/// An unstarted coroutine is about to be queued.
#[cold]
#[inline(never)]
pub(super) fn note_spawn(shared: &Shared, header: &Header) {
    let on = on();
    if on & ACCOUNTING != 0 {
        accounts::note_runnable(header, shared.now());
    }
    if on & RECORDING != 0 {
        // SAFETY: this is the worker's thread.
        let recorded = with(|worker| unsafe { worker.remote().track.writer() }.spawn(header));
        if recorded.is_none() {
            recorder::spawn_elsewhere(header);
        }
    }
}

/// Switches the flight recorder on or off, for all runtimes of the process.
pub(crate) fn switch_recorder(on: bool) {
    recorder::switch(on);
    switch(RECORDING, on);
}
