//! Accounts: what the coroutines of each spawn site cost. Only while accounting is on.
//!
//! # The problem
//!
//! A program has a million coroutines, but a few dozen lines that spawn them. So figures are kept for each of
//! these lines. A turn may last less than a microsecond, and a read of the thread's processor time is a
//! system call of half a microsecond. So most turns have to do without.
//!
//! # The clocks
//!
//! - The *clock* is monotonic, and is read once for each turn, as it ends. The next turn begins where the
//!   last one has ended: what the worker does between two turns counts to the coroutine that it prepares. A
//!   poll, or a search for work, breaks that chain (a *gap*): then the clock is read as the turn begins.
//! - The *thread clock* is the processor time of the worker's thread. It is read as a turn ends that has
//!   lasted for [`CHECKED`] or longer, and after a gap. A turn that the system has interrupted, or that was
//!   blocked in the kernel, is such a turn. Of a shorter turn, all its time counts as processor time.
//!
//! ```text
//!   clock          |-gap-|--turn--|-turn-|----turn, CHECKED or longer----|
//!   is read              ^        ^      ^                               ^
//!   thread clock         ^ base                                          ^ what the thread has used since
//!                                                                          the base, less the turns before
//! ```
//!
//! # Who writes what
//!
//! The worker writes the figures, with plain loads and stores ([`add_to`]). Any thread reads them
//! ([`WorkerAccounts::read`]). The worker finds the account of a site without a lock. It takes the lock of
//! the list when it meets a site for the first time.
//!
//! A coroutine carries two times in its header. `since`: when it has left its stack for its last wait.
//! `runnable_at`: since when it waits for its turn. The thread that wakes it writes that, and the turn takes
//! it. A time of before the last switch of accounting is not used ([`Accounts::delay_of`]).

use crate::base::histogram::{Histogram, SharedHistogram, add_to};
use crate::base::lock::{Mutex, Rank};
use crate::base::sys::ThreadClock;
use crate::coroutine::{Header, Site, WAIT_REASONS, WaitReason};
use crate::stack::depth;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// From which length on, in nanoseconds, the processor time of a turn is read.
const CHECKED: u64 = 50_000;
/// The unit of `Header::runnable_at`, as a power of two of nanoseconds. So its 32 bits wrap after 275 s.
const UNIT: u32 = 6;
/// How much later than it was written a `runnable_at` may seem, in its units: two threads read the clock.
const SKEW: u32 = 1 << 10;
/// Accounts that are found at once.
const NEAR: usize = 64;
/// How many coroutines of a site on a worker have their stacks measured at first. Then each
/// [`MEASURED_EVERY`]th has: the kernel has to fault its pages in again.
const MEASURED_FIRST: u64 = 4;
const MEASURED_EVERY: u64 = 64;
/// How often such a stack is looked at before its coroutine ends: that is a system call.
const LOOKED_AT_EVERY: u64 = 1024;

/// Counts switches of accounting. It is on while the number is odd.
static SWITCHES: AtomicU32 = AtomicU32::new(0);
/// How long accounting was on, and since when it is on.
static ON: std::sync::Mutex<(Duration, Option<Instant>)> = std::sync::Mutex::new((Duration::ZERO, None));

/// Notes that accounting was switched on or off; false if it was so before. Calls `f` if it was not so: one
/// call at a time.
pub(super) fn note_switch(on: bool, f: impl FnOnce()) -> bool {
    let mut times = ON.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if times.1.is_some() == on {
        return false;
    }
    match times.1.take() {
        Some(since) => times.0 += since.elapsed(),
        None => times.1 = Some(Instant::now()),
    }
    SWITCHES.fetch_add(1, Ordering::Relaxed);
    f();
    true
}

/// How long accounting has been on, and whether it is.
pub(crate) fn accounted() -> (Duration, bool) {
    let times = ON.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    (times.0 + times.1.map_or(Duration::ZERO, |since| since.elapsed()), times.1.is_some())
}

/// When accounting was switched on, if it is on.
#[cold]
fn switched_on() -> Option<Instant> {
    ON.lock().unwrap_or_else(std::sync::PoisonError::into_inner).1
}

/// A coroutine waits for its turn from then on. `now` is in nanoseconds since the runtime began.
pub(super) fn note_runnable(header: &Header, now: u64) {
    // Zero means that nothing is known.
    header.runnable_at.store(units(now) | 1, Ordering::Relaxed);
}

fn units(nanoseconds: u64) -> u32 {
    (nanoseconds >> UNIT) as u32
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

/// What the coroutines of one spawn site have cost on one worker. Times are in nanoseconds.
#[derive(Debug)]
struct Account {
    site: Site,
    started: AtomicU64,
    ended: AtomicU64,
    turns: AtomicU64,
    used: AtomicU64,
    longest: AtomicU64,
    delays: SharedHistogram,
    /// For each reason: how many waits, and how long these were.
    waits: [[AtomicU64; 2]; WAIT_REASONS],
    /// The most bytes of a stack that were in use when a coroutine left it.
    suspended: AtomicU64,
    /// The deepest measured stack, in bytes, and how many stacks are measured.
    deepest: AtomicU64,
    measured: AtomicU64,
    /// How often a coroutine whose stack is measured has left it.
    leaves: AtomicU64,
}

impl Account {
    fn new(site: Site) -> Account {
        Account {
            site,
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            used: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            delays: SharedHistogram::new(),
            waits: [const { [const { AtomicU64::new(0) }; 2] }; WAIT_REASONS],
            suspended: AtomicU64::new(0),
            deepest: AtomicU64::new(0),
            measured: AtomicU64::new(0),
            leaves: AtomicU64::new(0),
        }
    }
}

fn raise(number: &AtomicU64, to: u64) {
    if number.load(Ordering::Relaxed) < to {
        number.store(to, Ordering::Relaxed);
    }
}

/// The figures of one spawn site on one worker, as they were when they were read.
#[derive(Clone, Debug)]
pub(crate) struct SiteFigures {
    pub(crate) site: Site,
    pub(crate) started: u64,
    pub(crate) ended: u64,
    pub(crate) turns: u64,
    pub(crate) used: Duration,
    pub(crate) longest: Duration,
    pub(crate) delays: Histogram,
    /// How many waits there were, and how long they were together.
    pub(crate) waits: Vec<(WaitReason, u64, Duration)>,
    pub(crate) suspended: usize,
    pub(crate) deepest: usize,
    pub(crate) measured: u64,
}

impl Account {
    fn read(&self) -> SiteFigures {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let waits = self.waits.iter().enumerate().filter(|(_, [count, _])| load(count) > 0);
        let waits = waits.map(|(reason, [count, time])| {
            (WaitReason::from_number(reason as u8), load(count), Duration::from_nanos(load(time)))
        });
        SiteFigures {
            site: self.site,
            started: load(&self.started),
            ended: load(&self.ended),
            turns: load(&self.turns),
            used: Duration::from_nanos(load(&self.used)),
            longest: Duration::from_nanos(load(&self.longest)),
            delays: self.delays.read(),
            waits: waits.collect(),
            suspended: load(&self.suspended) as usize,
            deepest: load(&self.deepest) as usize,
            measured: load(&self.measured),
        }
    }
}

/// A worker's accounts, as other threads see them.
#[derive(Debug)]
pub(crate) struct WorkerAccounts {
    sites: Mutex<Vec<Arc<Account>>>,
    /// The processor time that the worker's thread has used while accounting was on, up to `base`.
    used: AtomicU64,
    /// The thread clock when it was read last.
    base: AtomicU64,
    /// `SWITCHES` at that time.
    switches: AtomicU32,
    /// The processor time in turns.
    in_turns: AtomicU64,
}

impl WorkerAccounts {
    /// None yet.
    pub(super) const fn new() -> WorkerAccounts {
        WorkerAccounts {
            sites: Mutex::new(Rank::Accounts, Vec::new()),
            used: AtomicU64::new(0),
            base: AtomicU64::new(0),
            switches: AtomicU32::new(0),
            in_turns: AtomicU64::new(0),
        }
    }

    /// The figures of all spawn sites that the worker has met.
    pub(crate) fn read(&self) -> Vec<SiteFigures> {
        self.sites.lock().iter().map(|account| account.read()).collect()
    }

    /// The processor time of the worker's thread outside of turns, while accounting was on. `clock` is that
    /// thread's. A turn that has not ended counts here.
    pub(crate) fn outside_of_turns(&self, clock: Option<ThreadClock>) -> Duration {
        let mut used = self.used.load(Ordering::Relaxed);
        let switches = self.switches.load(Ordering::Relaxed);
        if switches % 2 == 1 && switches == SWITCHES.load(Ordering::Relaxed) {
            let now = clock.and_then(ThreadClock::read).map_or(0, |used| used.as_nanos() as u64);
            used += now.saturating_sub(self.base.load(Ordering::Relaxed));
        }
        Duration::from_nanos(used.saturating_sub(self.in_turns.load(Ordering::Relaxed)))
    }
}

/// The processor time of a thread that runs no coroutines, while accounting was on.
#[derive(Debug)]
pub(crate) struct ThreadTime {
    clock: OnceLock<ThreadClock>,
    /// Up to `base`, which is the thread clock when accounting was switched on or off last.
    used: AtomicU64,
    base: AtomicU64,
}

impl ThreadTime {
    /// Of no thread yet.
    pub(super) const fn new() -> ThreadTime {
        ThreadTime { clock: OnceLock::new(), used: AtomicU64::new(0), base: AtomicU64::new(0) }
    }

    /// It is that of the calling thread, which has just begun.
    pub(crate) fn begin(&self) {
        if let Some(clock) = ThreadClock::of_this_thread() {
            let _ = self.clock.set(clock);
        }
    }

    fn since_base(&self) -> u64 {
        let now = self.clock.get().and_then(|clock| clock.read()).map_or(0, |used| used.as_nanos() as u64);
        now.saturating_sub(self.base.load(Ordering::Relaxed))
    }

    /// Accounting was switched on or off. The caller sees to it that there is one such call at a time.
    pub(super) fn note_switch(&self, on: bool) {
        let since = self.since_base();
        self.base.fetch_add(since, Ordering::Relaxed);
        self.used.fetch_add(if on { 0 } else { since }, Ordering::Relaxed);
    }

    /// What it has used so far.
    pub(crate) fn read(&self) -> Duration {
        let since = if SWITCHES.load(Ordering::Relaxed) % 2 == 1 { self.since_base() } else { 0 };
        Duration::from_nanos(self.used.load(Ordering::Relaxed) + since)
    }
}

/// What a worker keeps for its accounts.
pub(super) struct Accounts {
    by_site: RefCell<BTreeMap<usize, Arc<Account>>>,
    /// Some of these, each at the place that its address says.
    near: [Cell<*const Account>; NEAR],
    /// When the last turn ended. All times are in nanoseconds since the runtime began.
    ended: Cell<u64>,
    /// When the thread clock was read last.
    base: Cell<u64>,
    /// `WorkerAccounts::polls` when the last turn began.
    polls: Cell<u64>,
    /// Whether the worker has searched for work since the last turn.
    searched: Cell<bool>,
    /// `SWITCHES` as the worker has seen it last, and when that switch was.
    switches: Cell<u32>,
    valid_from: Cell<u64>,
}

/// What the accounts need to know of the worker.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) shared: &'a WorkerAccounts,
    pub(super) clock: Option<ThreadClock>,
    /// How often the worker has polled.
    pub(super) polls: u64,
    /// When the runtime began.
    pub(super) began: Instant,
}

impl Of<'_> {
    fn now(self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }
}

/// A turn that is accounted for.
pub(super) struct AccountedTurn {
    account: *const Account,
    began: u64,
}

impl Accounts {
    pub(super) fn new() -> Accounts {
        Accounts {
            by_site: RefCell::new(BTreeMap::new()),
            near: [const { Cell::new(ptr::null()) }; NEAR],
            ended: Cell::new(0),
            base: Cell::new(0),
            polls: Cell::new(0),
            searched: Cell::new(false),
            switches: Cell::new(0),
            valid_from: Cell::new(0),
        }
    }

    /// The worker has spent time without a poll or a turn.
    #[inline]
    pub(super) fn note_search(&self) {
        self.searched.set(true);
    }

    /// The account of a site.
    fn account(&self, shared: &WorkerAccounts, site: Site) -> &Account {
        let address = ptr::from_ref(site).addr();
        // The compiler puts such places one behind the other.
        let near = &self.near[(address / size_of::<std::panic::Location<'_>>()) % NEAR];
        // SAFETY: null, or in `by_site`, which never loses an entry.
        if let Some(account) = unsafe { near.get().as_ref() }
            && ptr::eq(account.site, site)
        {
            return account;
        }
        let mut by_site = self.by_site.borrow_mut();
        let account = by_site.entry(address).or_insert_with(|| {
            let account = Arc::new(Account::new(site));
            shared.sites.lock().push(Arc::clone(&account));
            account
        });
        near.set(Arc::as_ptr(account));
        // SAFETY: as above.
        unsafe { &*near.get() }
    }

    /// Reads the thread clock, at the time `now`. Returns what the thread has used since the last time.
    fn read_thread_clock(&self, of: Of<'_>, now: u64) -> Option<u64> {
        let read = of.clock.and_then(ThreadClock::read)?.as_nanos() as u64;
        let used = read.saturating_sub(of.shared.base.load(Ordering::Relaxed));
        of.shared.base.store(read, Ordering::Relaxed);
        self.base.set(now);
        Some(used)
    }

    /// When a turn begins that follows a gap.
    #[cold]
    fn end_gap(&self, of: Of<'_>, switches: u32) -> u64 {
        let now = of.now();
        self.polls.set(of.polls);
        self.searched.set(false);
        let used = self.read_thread_clock(of, now).unwrap_or(0);
        if self.switches.replace(switches) == switches {
            add_to(&of.shared.used, used);
        } else {
            // Accounting was off until lately. A thread may already have noted times for this worker.
            let since =
                switched_on().map_or(now, |at| at.saturating_duration_since(of.began).as_nanos() as u64);
            self.valid_from.set(since);
            of.shared.switches.store(switches, Ordering::Relaxed);
        }
        now
    }

    /// How long a coroutine has waited for a turn that begins at `began`; `None` if that is not known.
    fn delay_of(&self, header: &Header, waited: bool, began: u64) -> Option<u64> {
        let at = header.runnable_at.swap(0, Ordering::Relaxed);
        if at == 0 {
            return None;
        }
        let delay = units(began).wrapping_sub(at);
        if delay > u32::MAX - SKEW {
            return Some(0);
        }
        let since = if waited { header.since() } else { 0 };
        let longest = began.saturating_sub(since.max(self.valid_from.get())) >> UNIT;
        let longest = u32::try_from(longest).unwrap_or(u32::MAX);
        // Otherwise it is of a time before accounting was off.
        (delay <= longest.saturating_add(SKEW)).then(|| u64::from(delay) << UNIT)
    }

    /// A turn begins.
    pub(super) fn begin(&self, of: Of<'_>, header: &Header) -> AccountedTurn {
        let switches = SWITCHES.load(Ordering::Relaxed);
        let gap = self.polls.get() != of.polls || self.searched.get() || self.switches.get() != switches;
        let began = if gap { self.end_gap(of, switches) } else { self.ended.get() };
        let account = self.account(of.shared, header.site());
        add_to(&account.turns, 1);
        // SAFETY: the worker owns the coroutine, which does not run yet.
        let has_run = unsafe { header.stack_in_use() }.is_some();
        add_to(&account.started, u64::from(!has_run));
        let reason = header.reason();
        let waited = reason != WaitReason::None;
        if let Some(delay) = self.delay_of(header, waited, began) {
            account.delays.add(delay);
            if waited {
                let [count, time] = &account.waits[reason as usize];
                add_to(count, 1);
                add_to(time, began.saturating_sub(header.since()).saturating_sub(delay));
            }
        }
        AccountedTurn { account, began }
    }

    /// The coroutine has left its stack, for a wait, a yield, or for good. It is still the worker's alone.
    pub(super) fn leave(&self, of: Of<'_>, turn: &AccountedTurn, header: &Header, leaves: Leaves) {
        // SAFETY: accounts live as long as the worker.
        let account = unsafe { &*turn.account };
        let now = of.now();
        self.ended.set(now);
        match leaves {
            Leaves::Waits => header.set_since(now),
            Leaves::Yields => note_runnable(header, now),
            Leaves::Ends => add_to(&account.ended, 1),
        }
        // SAFETY: the worker owns the coroutine, which does not run.
        let Some((inside, used)) = (unsafe { header.stack_in_use() }) else { return };
        raise(&account.suspended, used as u64);
        if header.measured.get() {
            add_to(&account.leaves, 1);
            let count = account.leaves.load(Ordering::Relaxed);
            let due =
                leaves == Leaves::Ends || count.is_power_of_two() || count.is_multiple_of(LOOKED_AT_EVERY);
            if due && let Some(bytes) = depth::deepest(inside, header.stack_size()) {
                raise(&account.deepest, bytes as u64);
            }
        }
    }

    /// The turn is over.
    pub(super) fn end(&self, of: Of<'_>, turn: AccountedTurn) {
        // SAFETY: accounts live as long as the worker.
        let account = unsafe { &*turn.account };
        let lasted = self.ended.get().saturating_sub(turn.began);
        let mut used = lasted;
        if lasted >= CHECKED {
            let before = turn.began.saturating_sub(self.base.get());
            // The clock first: what the system takes from the thread between the two reads is not the turn's.
            let now = of.now();
            if let Some(thread) = self.read_thread_clock(of, now) {
                add_to(&of.shared.used, thread);
                used = thread.saturating_sub(before).min(lasted);
                self.ended.set(now);
            }
        }
        add_to(&account.used, used);
        add_to(&of.shared.in_turns, used);
        raise(&account.longest, lasted);
    }

    /// A coroutine is about to start on the free stack with that base.
    pub(super) fn prepare_stack(&self, of: Of<'_>, header: &Header, base: NonZeroUsize) {
        let started = self.account(of.shared, header.site()).started.load(Ordering::Relaxed);
        if started < MEASURED_FIRST || started.is_multiple_of(MEASURED_EVERY) {
            // SAFETY: the stack is free, and has that size.
            let measured = unsafe { depth::discard(base.get(), header.stack_size()) };
            header.measured.set(measured);
            add_to(&self.account(of.shared, header.site()).measured, u64::from(measured));
        }
    }
}
