//! What each coroutine of a runtime does, for a dump. It stops nobody.
//!
//! # The problem
//!
//! A thread wants to know what each coroutine waits for. Only the worker that runs a coroutine's home may
//! look at the coroutine's stack, and only while no coroutine of that home runs. But a home may have 100,000
//! coroutines, a worker may be in a turn that never ends, and no coroutine may wait long because of a dump.
//!
//! # Terms
//!
//! - *Capture* a coroutine: copy what is known of it into a [`Captured`].
//! - *Cursor* of a home: the first coroutine in the home's list that the dump has not captured yet
//!   (`Members::cursor`). It is under the lock of the list.
//! - *Portion*: captures in a row, by one worker, for [`PORTION`] at most.
//!
//! # How it goes
//!
//! ```text
//!  the dumping thread                     the worker that runs a home
//!  sets the cursor of each home to the    between two turns, on its cold paths: after a tick's poll,
//!  head of its list                       before it sleeps, as a slice of a mobile home begins
//!  sets `wants_capture`, notifies the       `wants_capture`? captures a portion, with no lock
//!  workers, queues idle mobile homes        moves the cursor on, and hands over what it has captured,
//!  waits until no cursor is left            under the lock; serves its queues; then the next portion
//!  where a home makes no progress,
//!  captures the rest, under the lock
//! ```
//!
//! A worker that computes sees `wants_capture` at its next tick. One that sleeps is notified. For both the
//! argument is that of a push to the home's inbox (`README.md`, argument 1; `handover.rs`): the flag is set,
//! then the worker or the home is notified; the worker announces its sleep, or releases the home, and then
//! checks the flag. All four are sequentially consistent. A home that wants a capture is released as if its
//! inbox held something, so it is queued until its cursor has come to the end. No more mobile homes are asked
//! at a time than there are workers: a home that is woken waits behind slices of others.
//!
//! # Why no coroutine is missed, and none is captured twice
//!
//! - A coroutine that is listed when the dump begins is at the cursor or behind it. The cursor passes it only
//!   under the lock, in the same critical section in which its [`Captured`] is handed over, or it ends: then
//!   `Home::remove` moves a cursor that stands on it to the next one.
//! - A coroutine that is listed later comes before the head of that time, and is not part of the dump. So a
//!   dump ends, whatever is spawned meanwhile.
//! - A worker at a portion holds no lock. Until it has handed over, the dumping thread may have taken the
//!   home over and moved the cursor. Then the worker finds another cursor, or the number of a later dump, and
//!   drops what it has. Meanwhile the list from the cursor on does not change, since only the worker that
//!   runs a home takes coroutines off its list, and new ones come before the head.
//!
//! # What each of the two may read
//!
//! The worker reads all of a suspended coroutine of its home. The dumping thread reads what any thread may
//! read: label, reason, flags of the waiter, atomics. The list's lock keeps the coroutine alive meanwhile,
//! since it is taken off the list before it ends. In migrating mode another worker may run, and end, any
//! coroutine of a list; so there the dumping thread does it all, and no stacks are known.
//!
//! # When the dumping thread takes a home over
//!
//! If neither the home's cursor nor the turn of the worker that runs it has changed for [`STUCK`], that
//! worker is stuck in a turn. If no worker runs the home, or the worker is between two turns, the system may
//! not run the worker's thread; this is given [`LATE`]. A worker that has left takes no portion any more. And
//! no dump lasts longer than [`LIMIT`].
//!
//! Of a worker that is stuck, the dumping thread then asks the thread for its stack, by a signal
//! (`base/sys/sample`).
//!
//! # What it costs
//!
//! A turn pays nothing. The end of a listed coroutine compares the cursor. A tick, and a worker that runs out
//! of work, read one flag. During a dump a worker is held for one portion and what one capture takes, again
//! and again, but it polls and serves its queues between two portions; a busy one captures once for each
//! tick.
//!
//! # Rejected
//!
//! - To stop the workers while the dump reads: the pause grows with the number of coroutines.
//! - To capture a home in one go: the same, for its worker.
//! - A request to each coroutine, which answers when it runs next: it would never answer.

use super::captured::{Captured, CapturedRuntime, CapturedWorker, Collection, Detail, State, WorkerState};
use super::config::Phase;
use super::home::Cursor;
use super::shared::{Home, Remote, Shared};
use crate::coroutine::{Capture, Header, Id, Site, Trace, WaitReason};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a worker captures in a row. A ticker on that worker is late by so much more.
const PORTION: Duration = Duration::from_micros(500);
/// How often the dumping thread looks for what the workers have done.
const SHORTEST_NAP: Duration = Duration::from_micros(50);
/// The same, if they have done nothing lately.
const LONGEST_NAP: Duration = Duration::from_millis(1);
/// How long a worker may stay in one turn before the dumping thread takes its home over.
const STUCK: Duration = Duration::from_millis(200);
/// How long a home may make no progress without such a turn.
const LATE: Duration = Duration::from_secs(1);
/// The longest that a dump waits for workers.
const LIMIT: Duration = Duration::from_secs(5);
/// How long a worker's thread may take to answer the signal that asks for its stack.
const SAMPLED: Duration = Duration::from_millis(100);
/// How many coroutines the dumping thread captures under the lock of a list in a row.
const LOCKED: usize = 128;

impl Shared {
    /// Whether a dump shows it: it has not ended, or it has leaked coroutines.
    pub(super) fn may_have_coroutines(&self) -> bool {
        !self.closed.load(Ordering::Relaxed) || self.homes().any(|home| home.live() > 0)
    }

    /// Captures a portion of a home's coroutines, if a dump waits for them.
    ///
    /// # Safety
    ///
    /// The caller is the worker that runs the home, between two turns.
    #[cold]
    pub(super) unsafe fn capture_portion(&self, home: &Home) {
        let Some(collection) = self.collection.lock().clone() else { return };
        let (began, mut portion) = (Instant::now(), Vec::new());
        let from = home.cursor();
        let worker = worker_of(home);
        // SAFETY: as the caller says. In migrating mode no home wants to be captured by a worker.
        let to = collection.with_capture(|stacks| unsafe {
            home.walk_from(from, |header| {
                if collection.detail.wants(header) {
                    let stacks = (collection.detail == Detail::Stacks).then_some(&mut *stacks);
                    portion.push(Captured::by_worker(self, header, worker, stacks));
                }
                began.elapsed() < PORTION
            })
        });
        home.advance(from, to, || collection.found.lock().append(&mut portion));
    }
}

impl Detail {
    /// Whether that coroutine is captured.
    fn wants(self, header: &Header) -> bool {
        match self {
            Detail::Waits => header.reason().needs_others(),
            Detail::Stacks => true,
        }
    }
}

/// The worker that coroutines of a pinned home live on.
fn worker_of(home: &Home) -> Option<usize> {
    (!home.is_mobile()).then(|| home.base())
}

impl Captured {
    /// What any thread may read of a coroutine that is listed, under the lock of the list.
    fn published(shared: &Shared, header: &Header, worker: Option<usize>) -> Captured {
        let reason = header.reason();
        // A coroutine that runs has no reason; nor has one that has yielded.
        let wait = header.waiter.parked_in();
        let state = if wait.is_some() { State::Parked } else { State::Runnable };
        Captured {
            id: header.id(),
            name: header.name().map(Box::from),
            site: header.site(),
            parent: header.parent(),
            state,
            reason,
            wait,
            since: (reason != WaitReason::None).then(|| shared.after(header.since())),
            deadline: None,
            facts: None,
            subject: header.subject_address().map(|subject| subject.addr().get()),
            cancelled: header.waiter.cancelled(),
            masked: header.waiter.is_masked(),
            trace: None,
            stack_size: header.stack_size().bytes(),
            worker,
            by_worker: false,
        }
    }

    /// All that is known of a suspended coroutine.
    ///
    /// # Safety
    ///
    /// The caller is the worker that runs its home, between two turns.
    unsafe fn by_worker(
        shared: &Shared,
        header: &Header,
        worker: Option<usize>,
        stacks: Option<&mut Capture>,
    ) -> Captured {
        // SAFETY: as the caller says.
        let trace = stacks.map(|stacks| unsafe { stacks.stack_of(header) });
        let published = Captured { by_worker: true, trace, ..Captured::published(shared, header, worker) };
        // SAFETY: as the caller says; nothing is kept of it.
        let Some(waiting) = (unsafe { header.waiting() }) else { return published };
        Captured {
            deadline: waiting.deadline,
            facts: waiting.subject.map(|subject| subject.facts()),
            masked: waiting.masked,
            ..published
        }
    }
}

/// What the coroutines of a runtime do, as far as `detail` asks. Blocks the thread until the workers have
/// captured their coroutines. The caller makes sure that there is one dump at a time.
pub(crate) fn capture(shared: &Shared, detail: Detail) -> CapturedRuntime {
    let number = next_number();
    let collection = Arc::new(Collection::new(detail));
    *shared.collection.lock() = Some(Arc::clone(&collection));
    let by_workers = !shared.config().migrate && shared.phase() != Phase::Abandoned;
    for home in shared.homes() {
        home.begin_capture(number);
    }
    if by_workers {
        shared.wait_for_workers();
    }
    for home in shared.homes() {
        let mut found = Vec::new();
        let worker = worker_of(home);
        let mut visit = |header: &Header| {
            if detail.wants(header) {
                found.push(Captured::published(shared, header, worker));
            }
        };
        while home.walk_locked(number, LOCKED, &mut visit) {}
        collection.found.lock().append(&mut found);
    }
    *shared.collection.lock() = None;
    let mut coroutines = std::mem::take(&mut *collection.found.lock());
    let workers = shared.active_remotes().iter().enumerate();
    let workers = workers
        .map(|(index, remote)| capture_worker(shared, index, remote, detail, &mut coroutines))
        .collect();
    if shared.config().migrate {
        coroutines.iter_mut().for_each(|coroutine| coroutine.worker = None);
    }
    CapturedRuntime {
        at: Instant::now(),
        name: shared.config().thread_name.clone(),
        phase: shared.phase(),
        migrate: shared.config().migrate,
        mobile_homes: shared.has_mobile_homes(),
        netpoll: shared.netpoll().name(),
        workers,
        coroutines,
        injected: shared.count_injected(),
    }
}

/// What the coroutines of a simulated runtime do, without stacks. Only one in its first turn may be missing.
///
/// # Safety
///
/// The caller is the worker of that runtime, between two turns.
#[cfg(sward_sim)]
pub(crate) unsafe fn capture_simulated(shared: &Shared) -> Vec<Captured> {
    let mut found = Vec::new();
    for home in shared.homes() {
        home.for_each_listed(|this| {
            // SAFETY: listed coroutines are alive; the rest as the caller says.
            let one = unsafe { Captured::by_worker(shared, this.as_ref(), worker_of(home), None) };
            found.push(one);
        });
    }
    found
}

/// Calls `f` for each coroutine that is parked in a wait that needs others, with the number of that wait and
/// its beginning, as any thread may read it. The caller makes sure that there is no dump at the same time.
/// `f` runs under the lock of a list.
pub(crate) fn for_each_wait_for_others(shared: &Shared, mut f: impl FnMut(Id, u64, Instant)) {
    let number = next_number();
    for home in shared.homes() {
        home.begin_capture(number);
        let mut visit = |header: &Header| {
            if header.reason().needs_others()
                && let Some(wait) = header.waiter.parked_in()
            {
                f(header.id(), wait, shared.after(header.since()));
            }
        };
        while home.walk_locked(number, LOCKED, &mut visit) {}
    }
}

/// A coroutine that has started and has not ended, as any thread may read it.
pub(crate) struct Live {
    pub(crate) site: Site,
    pub(crate) state: State,
    /// Why it waits, and since when.
    pub(crate) reason: WaitReason,
    pub(crate) since: Instant,
    /// The bytes of address space of its stack.
    pub(crate) stack_size: usize,
}

/// Calls `f` for each coroutine that has started and has not ended. The caller makes sure that there is no
/// dump at the same time. `f` runs under the lock of a list.
pub(crate) fn for_each_live(shared: &Shared, mut f: impl FnMut(Live)) {
    let number = next_number();
    for home in shared.homes() {
        home.begin_capture(number);
        let mut visit = |header: &Header| {
            let parked = header.waiter.parked_in().is_some();
            f(Live {
                site: header.site(),
                state: if parked { State::Parked } else { State::Runnable },
                reason: header.reason(),
                since: shared.after(header.since()),
                stack_size: header.stack_size().bytes(),
            });
        };
        while home.walk_locked(number, LOCKED, &mut visit) {}
    }
    // One in its first turn is not listed.
    for remote in shared.active_remotes() {
        if let Some(id) = remote.running.id()
            && remote.running_home().has_first_turn()
            && let Some(site) = remote.running.first_site_of(id)
        {
            let (state, reason) = (State::Running, WaitReason::None);
            let stack_size = shared.config().stack_size.bytes();
            f(Live { site, state, reason, since: Instant::now(), stack_size });
        }
    }
}

/// How many coroutines of the runtime are listed, if each of them is parked in a wait that somebody has to
/// end ([`WaitReason::needs_somebody`]); `None` if one is not. The caller makes sure that there is no dump at
/// the same time.
pub(crate) fn all_need_somebody(shared: &Shared) -> Option<usize> {
    let (number, mut count, all) = (next_number(), 0, Cell::new(true));
    for home in shared.homes() {
        home.begin_capture(number);
        let mut visit = |header: &Header| {
            count += 1;
            if !header.reason().needs_somebody() || header.waiter.parked_in().is_none() {
                all.set(false);
            }
        };
        while home.walk_locked(number, LOCKED, &mut visit) && all.get() {}
        if !all.get() {
            return None;
        }
    }
    Some(count)
}

/// Calls `f` for each started coroutine that has a name. The caller makes sure that there is no dump at the
/// same time. `f` runs under the lock of a list.
pub(crate) fn for_each_name(shared: &Shared, mut f: impl FnMut(Id, &str)) {
    let number = next_number();
    for home in shared.homes() {
        home.begin_capture(number);
        let mut visit = |header: &Header| {
            if let Some(name) = header.name() {
                f(header.id(), name);
            }
        };
        while home.walk_locked(number, LOCKED, &mut visit) {}
    }
}

fn next_number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// What a worker does. Marks the coroutine that it runs, and adds it if it is not listed yet.
fn capture_worker(
    shared: &Shared,
    index: usize,
    remote: &Remote,
    detail: Detail,
    coroutines: &mut Vec<Captured>,
) -> CapturedWorker {
    let turn = remote.running.turns();
    let mut running = remote.running.id().filter(|_| remote.running.was_turn(turn));
    let trace = |id| match detail {
        Detail::Waits => None,
        Detail::Stacks => trace_of_turn(remote, turn, id),
    };
    if let Some(id) = running {
        let home = remote.running_home();
        match coroutines.iter_mut().find(|coroutine| coroutine.id == id) {
            // It was captured between two turns: this is a later one.
            Some(coroutine) if coroutine.by_worker || coroutine.wait.is_some() => {}
            Some(coroutine) => {
                coroutine.state = State::Running;
                coroutine.trace = trace(id);
            }
            // The site last, so that the turn was not over when the home was asked.
            None => match home.has_first_turn().then(|| remote.running.first_site_of(id)).flatten() {
                Some(site) if remote.running.was_turn(turn) => {
                    let stack_size = shared.config().stack_size.bytes();
                    coroutines.push(in_first_turn(id, site, trace(id), stack_size, worker_of(home)));
                }
                _ => running = None,
            },
        }
    }
    let state = if remote.left.load(Ordering::Relaxed) {
        WorkerState::Left
    } else if let Some(id) = running {
        WorkerState::Running(id)
    } else if remote.awake() {
        WorkerState::Awake
    } else {
        WorkerState::Asleep
    };
    CapturedWorker {
        index,
        state,
        live: remote.live(),
        assigned: remote.assigned.len(),
        queued: remote.count_stealable(),
        since_poll: Instant::now().saturating_duration_since(shared.polled_at(remote)),
        blocked_in: WaitReason::from_number(remote.blocked_in.load(Ordering::Relaxed)),
    }
}

/// What is known of a coroutine that is not listed yet: it is in its first turn.
fn in_first_turn(
    id: Id,
    site: Site,
    trace: Option<Arc<Trace>>,
    stack_size: usize,
    worker: Option<usize>,
) -> Captured {
    Captured {
        id,
        name: None,
        site,
        parent: None,
        state: State::Running,
        reason: WaitReason::None,
        wait: None,
        since: None,
        deadline: None,
        facts: None,
        subject: None,
        cancelled: false,
        masked: false,
        trace,
        stack_size,
        worker,
        by_worker: false,
    }
}

/// The coroutine that is in that turn of a worker, and its stack; `None` if the turn is over or the thread
/// does not answer. Blocks the thread for a moment.
pub(crate) fn sample_turn(shared: &Shared, worker: usize, turn: u64) -> Option<(Id, Arc<Trace>)> {
    let remote = &shared.remotes[worker];
    let id = remote.running.id()?;
    Some((id, trace_of_turn(remote, turn, id)?))
}

/// The stack of that coroutine in that turn, while it lasts.
fn trace_of_turn(remote: &Remote, turn: u64, id: Id) -> Option<Arc<Trace>> {
    let trace = Trace::of_thread(*remote.probe.get()?, SAMPLED)?;
    // Afterwards, so that the stack is not one of a later turn.
    (remote.running.id() == Some(id) && remote.running.was_turn(turn)).then_some(trace)
}

/// What the dumping thread has seen of a home whose worker it waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Progress {
    cursor: Cursor,
    /// The worker that runs it, with the number of its present turn, if it is in one.
    runner: Option<(usize, Option<u64>)>,
}

impl Shared {
    /// Has the workers capture, and waits until they have, except for homes that make no progress.
    fn wait_for_workers(&self) {
        let began = Instant::now();
        let mut waiting = Vec::new();
        for remote in self.active_remotes() {
            if remote.home.want_capture() {
                remote.notify(&self.idle);
                waiting.push((&remote.home, self.progress_of(&remote.home), began));
            }
        }
        let mut later = self.mobile.iter();
        let mut nap = SHORTEST_NAP;
        loop {
            let now = Instant::now();
            let asked = waiting.iter().filter(|(home, _, _)| home.is_mobile()).count();
            let more = later.by_ref().filter(|home| home.want_capture());
            for home in more.take(self.config().workers.saturating_sub(asked)) {
                if home.handover.notify() {
                    self.queue_idle_home(home);
                }
                waiting.push((home, self.progress_of(home), now));
            }
            if waiting.is_empty() || began.elapsed() >= LIMIT {
                return;
            }
            std::thread::sleep(nap);
            let (now, before) = (Instant::now(), waiting.len());
            waiting.retain_mut(|(home, seen, since)| {
                let progress = self.progress_of(home);
                if progress != *seen {
                    (*seen, *since) = (progress, now);
                }
                let limit = match progress.runner {
                    Some((_, Some(_))) => STUCK,
                    Some((worker, None)) if self.remotes[worker].left.load(Ordering::Acquire) => {
                        Duration::ZERO
                    }
                    _ => LATE,
                };
                home.wants_capture() && now - *since < limit
            });
            nap = if waiting.len() < before { SHORTEST_NAP } else { (2 * nap).min(LONGEST_NAP) };
        }
    }

    fn progress_of(&self, home: &Home) -> Progress {
        let runs = |remote: &Remote| std::ptr::eq(remote.running_home(), home);
        let runner = self.active_remotes().iter().position(runs);
        // A worker that visits a mobile home stays for one turn, too, if that never ends.
        let runner = runner.or_else(|| (!home.is_mobile()).then(|| home.base()));
        let runner = runner.map(|index| {
            let running = &self.remotes[index].running;
            (index, running.id().map(|_| running.turns()))
        });
        Progress { cursor: home.cursor(), runner }
    }
}
