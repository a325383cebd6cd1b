//! The records that belong together: those of one server, or of one runtime's `task::on_ready`. Their time
//! limits, and their end.
//!
//! # Terms
//!
//! - *Record*, *idle*: `coroutine/dormant.rs`. An [`Entry`] is the part of a record that its host uses.
//! - *Limit*: how long a record may be idle. *Deadline*: when that time is over, in ticks of 16 ms since the
//!   host began. A limit is observed late by up to two ticks and 1/64 of it, and never early.
//! - *Keeper*: the coroutine that sleeps until the next deadline. It exists while there are records.
//!
//! # Limits cost nothing per request
//!
//! Each entry is in one list: in that of the tick at which the keeper visits it, or in that of the entries
//! that are not visited. To set a limit, the owner stores the deadline in the entry. If the entry is visited
//! by then anyway, that is all. The keeper visits the entries of a tick that has come, fires an idle one
//! whose deadline has passed, and moves any other to the list of its present deadline. So an entry that is
//! busy is moved once for each limit, not once for each request.
//!
//! *No deadline is missed.* The keeper marks the entry as not visited and then reads the deadline; the owner
//! stores the deadline and then reads the mark, all sequentially consistent. So the owner finds the mark and
//! lists the entry itself, or the keeper finds the deadline. *No deadline fires a later wait*:
//! `Dormant::fire_idle_if` checks the deadline for one wait, and loses if that wait has ended.
//!
//! # Limits of this
//!
//! - The keeper is a coroutine like any other. A turn that computes for long on its worker delays the limits
//!   by as long. If no stack is left for it, the host ends, and so do all connections; `has_no_keeper` says
//!   so.
//! - When many limits pass at once, the keeper visits them in portions, and lets others run in between. The
//!   keeper itself closes records whose limit ends them. If the destructor of a user's state waits there,
//!   the other limits are late.
//! - The words for ticks wrap around after a year, which matters only to a keeper that is half a year late.
//!
//! # The end
//!
//! | phase | set by | effect |
//! |---|---|---|
//! | `OPEN` | | |
//! | `DRAINING` | a graceful shutdown | idle records are closed; a running handler returns first, then its record is closed |
//! | `CANCELLING` | the end of that shutdown's limit; the keeper that is cancelled, as its runtime shuts down | likewise, and the coroutines of running handlers are cancelled |
//!
//! The phase is stored under the lock, and each record is fired afterwards under the same lock. A record that
//! is idle is then closed by the thread that ends the host. The owner of any other record finds its next wait
//! ended, and reads the phase. A new record is refused under the lock.
//!
//! *Cancelling a running handler.* The entry names the coroutine while the handler runs. The owner sets or
//! clears the name and then reads the phase; `end` stores the phase and then reads the name, all sequentially
//! consistent. So `end` finds the name of each handler that begins, or the owner finds the phase, and does
//! not run the handler. And after it has cleared the name, an owner that finds `CANCELLING` takes the lock
//! once before it goes on: the coroutine outlives the use of its name.

use crate::base::clock;
use crate::base::fork::PerProcess;
use crate::base::histogram::add_to;
use crate::base::lock::{Mutex, Rank};
use crate::coroutine::{Batch, Cause, Dormant, Event, Header, RecordTable, Site, WaitReason, contain_panic};
use crate::sched::{
    self, Here, Phase, Shared, SimulatedHost, Spawn, here_in, set, set_for_good, wait_for, yield_now,
};
use std::any::Any;
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The unit of deadlines. The 31 bits of a deadline hold 397 days, half of them to either side of now.
const TICK: Duration = Duration::from_millis(16);
/// The longest limit, in ticks: 99 days.
const LONGEST: u64 = 1 << 29;
/// How many entries the keeper visits before it lets others run.
const PORTION: usize = 256;

/// All hosts of the process, for metrics. A host that is gone is removed when the next one is made.
static HOSTS: PerProcess<std::sync::Mutex<Vec<Weak<Host>>>> = PerProcess::new(Default::default);

const OPEN: u8 = 0;
const DRAINING: u8 = 1;
const CANCELLING: u8 = 2;

/// The part of a record that its host uses. It is the record's first field.
#[repr(C)]
pub(super) struct Entry {
    /// First, so that a pointer to it is a pointer to the record.
    pub(super) dormant: Dormant,
    pub(super) host: Arc<Host>,
    /// The neighbours in the entry's list. Used under the lock of the host.
    previous: AtomicPtr<Entry>,
    next: AtomicPtr<Entry>,
    /// The coroutine of the activation, while the handler runs.
    handler: AtomicPtr<Header>,
    /// Zero for none; otherwise the tick, modulo 2^31, and in the lowest bit whether the record is closed
    /// then.
    deadline: AtomicU32,
    /// The tick whose list the entry is in, modulo 2^31; zero for the list of entries that are not visited.
    /// Written under the lock of the host. The lowest bit is set by a wake-up by hand, before it fires, and
    /// cleared by the owner without the lock; so each change of the word keeps the other part.
    visited: AtomicU32,
}

impl Entry {
    pub(super) fn new(table: &'static RecordTable, host: Arc<Host>) -> Entry {
        Entry {
            dormant: Dormant::new(table),
            host,
            previous: AtomicPtr::new(ptr::null_mut()),
            next: AtomicPtr::new(ptr::null_mut()),
            handler: AtomicPtr::new(ptr::null_mut()),
            deadline: AtomicU32::new(0),
            visited: AtomicU32::new(0),
        }
    }

    /// Takes the limit away. Returns whether the record was to be closed at it. Called by the owner.
    pub(super) fn take_limit(&self) -> bool {
        let deadline = self.deadline.load(Ordering::Relaxed);
        if deadline != 0 {
            self.deadline.store(0, Ordering::Relaxed);
        }
        deadline & 1 != 0
    }

    /// Whether it was woken by hand since the last call. Called by the owner after `begin`.
    pub(super) fn take_woken(&self) -> bool {
        self.visited.load(Ordering::Relaxed) & 1 != 0
            && self.visited.fetch_and(!1, Ordering::Relaxed) & 1 != 0
    }

    /// Sets the tick of the visit; zero for none.
    fn set_visited(&self, tick: u64) {
        let bits = (tick as u32) << 1;
        let _ = self.visited.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |was| Some(was & 1 | bits));
    }

    /// The tick of the visit.
    fn visited(&self, now: u64) -> Option<u64> {
        let visited = self.visited.load(Ordering::SeqCst) & !1;
        (visited != 0).then(|| full_tick(visited, now))
    }

    /// Names the coroutine in which the handler runs.
    pub(super) fn handler_begins(&self) {
        let handler = sched::current_coroutine().map_or(ptr::null_mut(), NonNull::as_ptr);
        self.handler.store(handler, Ordering::SeqCst);
    }

    /// The coroutine is no longer the handler's.
    pub(super) fn handler_ends(&self) {
        if self.handler.swap(ptr::null_mut(), Ordering::SeqCst).is_null() {
            return;
        }
        if self.host.phase.load(Ordering::SeqCst) == CANCELLING {
            drop(self.host.list.lock());
        }
    }
}

/// The tick that 31 bits stand for.
fn full_tick(deadline: u32, now: u64) -> u64 {
    let ahead = (deadline & !1).wrapping_sub((now as u32) << 1) as i32 >> 1;
    now.saturating_add_signed(i64::from(ahead))
}

/// The tick of a deadline: late enough, and shared by many.
fn tick_after(limit: Duration, now: u64) -> u64 {
    let ticks = u64::try_from(limit.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX).min(LONGEST);
    let step = (ticks / 64).max(1).next_power_of_two() >> u32::from(ticks >= 64);
    let step = step.max(1);
    // One more, since the present tick has begun.
    let tick = (now + ticks + 1).next_multiple_of(step);
    not_zero(tick)
}

/// Zero stands for none.
fn not_zero(tick: u64) -> u64 {
    if tick as u32 & (u32::MAX >> 1) == 0 { tick + 1 } else { tick }
}

struct List {
    /// Entries that are not visited.
    others: *mut Entry,
    /// Entries by the tick at which they are visited.
    ticks: BTreeMap<u64, *mut Entry>,
    /// Whether the keeper exists.
    keeper: bool,
    /// Whether the keeper stays although there are no entries.
    held: bool,
    wakers: HashMap<NonNull<Entry>, Arc<WakerSlot>>,
}

// SAFETY: the entries are alive while they are listed, and shared by threads.
unsafe impl Send for List {}

/// For a wake-up by hand: the record, as long as it exists.
pub(crate) struct WakerSlot {
    host: Arc<Host>,
    /// Null once the record is gone. Written under the lock of the host.
    entry: AtomicPtr<Entry>,
}

impl WakerSlot {
    /// Has the handler run again: now if the record is idle, otherwise once the present run has ended. Does
    /// nothing if the record is gone.
    pub(crate) fn wake(&self) {
        let mut batch = Batch::new();
        let list = self.host.list.lock();
        if let Some(entry) = NonNull::new(self.entry.load(Ordering::Relaxed)) {
            // SAFETY: it is listed, so alive, until `leave` has had the lock.
            unsafe {
                entry.as_ref().visited.fetch_or(1, Ordering::Relaxed);
                Dormant::fire(entry.cast(), Cause::Cancelled, &mut batch);
            }
        }
        drop(list);
        batch.wake();
    }
}

/// What a host has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) open: usize,
    pub(crate) idle: usize,
    pub(crate) activations: u64,
    pub(crate) moves: u64,
    pub(crate) panicked: u64,
    /// Records that were closed since there was no stack for their coroutine, or since their source could not
    /// be watched any more.
    pub(crate) lost: u64,
}

/// What one worker has counted, on a cache line of its own. Only that worker writes it; what other threads
/// count has one of its own, which they share.
#[repr(align(64))]
#[derive(Default)]
struct Counts {
    activations: AtomicU64,
    /// How often a source has moved to another shard.
    moves: AtomicU64,
    /// How many waits of records have begun, and ended.
    waits_begun: AtomicU64,
    waits_ended: AtomicU64,
}

/// The extension of a host that belongs to no server.
struct Common;

/// The records that belong together.
pub(crate) struct Host {
    runtime: Weak<Shared>,
    site: Site,
    /// The simulated host of its coroutines.
    pub(super) simulated_host: SimulatedHost,
    began: Instant,
    phase: AtomicU8,
    list: Mutex<List>,
    /// What the keeper waits for.
    changed: Event,
    /// How many records exist.
    open: AtomicUsize,
    /// Set when a record has gone. Only the caller of `serve` waits for it.
    left: Event,
    /// Set for good when the host has ended and no record is left.
    empty: Event,
    /// By worker of the runtime. The last one is that of all other threads.
    counts: Box<[Counts]>,
    panicked: AtomicU64,
    lost: AtomicU64,
    /// Whether a keeper was dropped before it has begun.
    has_no_keeper: AtomicBool,
    /// In which shard the next source is watched.
    next_shard: AtomicUsize,
    /// Called once, when the host ends.
    on_end: parking_lot::Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// What belongs to the kind of record.
    pub(crate) extension: Box<dyn Any + Send + Sync>,
}

impl Host {
    /// A host of that runtime. Reports name the line for the coroutines of activations.
    pub(crate) fn new(shared: &Arc<Shared>, site: Site, extension: Box<dyn Any + Send + Sync>) -> Arc<Host> {
        let host = Arc::new(Host {
            runtime: Arc::downgrade(shared),
            site,
            simulated_host: SimulatedHost::of_caller(),
            began: clock::now(),
            phase: AtomicU8::new(OPEN),
            list: Mutex::new(
                Rank::Host,
                List {
                    others: ptr::null_mut(),
                    ticks: BTreeMap::new(),
                    keeper: false,
                    held: false,
                    wakers: HashMap::new(),
                },
            ),
            changed: Event::new(),
            open: AtomicUsize::new(0),
            left: Event::new(),
            empty: Event::new(),
            counts: (0..=shared.remotes.len()).map(|_| Counts::default()).collect(),
            panicked: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            has_no_keeper: AtomicBool::new(false),
            next_shard: AtomicUsize::new(0),
            on_end: parking_lot::Mutex::new(None),
            extension,
        });
        let mut hosts = HOSTS.get().lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|host| host.strong_count() > 0);
        hosts.push(Arc::downgrade(&host));
        drop(hosts);
        host
    }

    /// The host of the records of that runtime that belong to no server. It exists while they do.
    pub(crate) fn common(shared: &Arc<Shared>, site: Site) -> Arc<Host> {
        let is_common = |host: &Arc<Host>| {
            ptr::eq(host.runtime.as_ptr(), &raw const **shared)
                && host.extension.is::<Common>()
                && host.simulated_host == SimulatedHost::of_caller()
                && host.is_open()
        };
        // Two hosts that are made at the same time serve as well.
        let found = hosts().into_iter().find(is_common);
        found.unwrap_or_else(|| Host::new(shared, site, Box::new(Common)))
    }

    /// Has the closure called once, when the host ends. It does not park, and does not panic.
    pub(crate) fn on_end(&self, f: impl FnOnce() + Send + 'static) {
        *self.on_end.lock() = Some(Box::new(f));
        if !self.is_open() {
            self.call_on_end();
        }
    }

    fn call_on_end(&self) {
        let f = self.on_end.lock().take();
        if let Some(f) = f {
            f();
        }
    }

    pub(super) fn runtime(&self) -> &Weak<Shared> {
        &self.runtime
    }

    pub(super) fn site(&self) -> Site {
        self.site
    }

    /// Whether records may stay.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.phase.load(Ordering::SeqCst) == OPEN
    }

    /// How many records exist.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// The shard for the next source: each worker's in turn, since an activation may run anywhere.
    pub(super) fn choose_shard(&self) -> usize {
        self.next_shard.fetch_add(1, Ordering::Relaxed)
    }

    /// The calling thread, if it is a worker of this runtime. The functions that count take it.
    #[inline]
    pub(super) fn here(&self) -> Option<Here> {
        here_in(&self.runtime)
    }

    /// Adds one to a number of the calling thread's counts.
    #[inline]
    fn count(&self, here: Option<Here>, number: impl FnOnce(&Counts) -> &AtomicU64) {
        match here {
            Some(here) => add_to(number(&self.counts[here.worker]), 1),
            None => self.count_elsewhere(number(&self.counts[self.counts.len() - 1])),
        }
    }

    #[cold]
    fn count_elsewhere(&self, number: &AtomicU64) {
        number.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_activation(&self, here: Option<Here>) {
        self.count(here, |counts| &counts.activations);
    }

    pub(super) fn count_move(&self, here: Option<Here>) {
        self.count(here, |counts| &counts.moves);
    }

    /// A record is about to wait.
    pub(super) fn count_wait(&self, here: Option<Here>) {
        self.count(here, |counts| &counts.waits_begun);
    }

    /// The wait of a record has ended, or has not begun after all.
    pub(super) fn count_wait_ended(&self, here: Option<Here>) {
        self.count(here, |counts| &counts.waits_ended);
    }

    pub(crate) fn count_panic(&self) {
        self.panicked.fetch_add(1, Ordering::Relaxed);
    }

    /// A record is closed although nobody has asked for it: see [`Totals::lost`].
    pub(super) fn count_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether records may stay, and no shutdown of the runtime has begun.
    pub(super) fn goes_on(&self) -> bool {
        let runs = |shared: Arc<Shared>| shared.phase() == Phase::Running;
        self.is_open() && self.runtime.upgrade().is_some_and(runs)
    }

    /// Whether the host has ended since its keeper could not begin.
    pub(crate) fn has_no_keeper(&self) -> bool {
        self.has_no_keeper.load(Ordering::Relaxed)
    }

    /// What it has done. The counts of idle records are read one after the other, while they change.
    pub(crate) fn totals(&self) -> Totals {
        let sum = |of: fn(&Counts) -> &AtomicU64| -> u64 {
            self.counts.iter().map(|counts| of(counts).load(Ordering::Relaxed)).sum()
        };
        let ended = sum(|counts| &counts.waits_ended);
        let idle = sum(|counts| &counts.waits_begun).saturating_sub(ended);
        let open = self.open();
        Totals {
            open,
            idle: usize::try_from(idle).unwrap_or(usize::MAX).min(open),
            activations: sum(|counts| &counts.activations),
            moves: sum(|counts| &counts.moves),
            panicked: self.panicked.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }

    /// Keeps the keeper although there are no records, until [`release`](Self::release).
    pub(crate) fn hold(self: &Arc<Host>) -> io::Result<()> {
        self.list.lock().held = true;
        self.start_keeper()
    }

    /// Ends [`hold`](Self::hold).
    pub(crate) fn release(&self) {
        self.list.lock().held = false;
        set(&self.changed);
    }

    /// Lists a new record. False if the host has ended.
    ///
    /// # Safety
    ///
    /// The entry is a record's, stays alive until `leave`, and is good for all of the record.
    pub(super) unsafe fn enter(self: &Arc<Host>, entry: NonNull<Entry>) -> bool {
        let mut list = self.list.lock();
        if self.phase.load(Ordering::Relaxed) != OPEN {
            return false;
        }
        // SAFETY: as the caller says.
        unsafe { list.link(entry, None) };
        self.open.fetch_add(1, Ordering::SeqCst);
        true
    }

    /// Takes a record off its list, before it is freed.
    ///
    /// # Safety
    ///
    /// The entry has entered, and this is called once.
    pub(super) unsafe fn leave(&self, entry: NonNull<Entry>) {
        let now = self.now();
        let mut list = self.list.lock();
        // SAFETY: as the caller says.
        unsafe { list.unlink(entry, now) };
        let slot = list.wakers.remove(&entry);
        if let Some(slot) = &slot {
            slot.entry.store(ptr::null_mut(), Ordering::Relaxed);
        }
        let ends = list.is_empty() && !list.held;
        drop(list);
        drop(slot);
        if ends {
            set(&self.changed);
        }
    }

    /// A record that has left was freed.
    pub(super) fn freed(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
        set(&self.left);
        self.note_if_empty();
    }

    /// Sets `empty` if the host has ended and no record is left. Called after either has come true: the later
    /// of the two callers sees both, since all accesses are sequentially consistent.
    fn note_if_empty(&self) {
        if !self.is_open() && self.open.load(Ordering::SeqCst) == 0 {
            set_for_good(&self.empty);
        }
    }

    /// Waits until there are fewer records than `most`, or the host has ended. Parks.
    pub(crate) fn wait_for_room(&self, most: usize) {
        while self.open() >= most && self.is_open() {
            let _ = wait_for(&self.left, WaitReason::ServeRoom, None);
            self.left.consume();
        }
    }

    /// Waits until no record is left. The host has ended. False after the deadline. Parks.
    pub(crate) fn wait_until_empty(&self, deadline: Option<Instant>) -> bool {
        wait_for(&self.empty, WaitReason::ServeEnd, deadline).is_ok()
    }

    /// A handle to wake the record by hand.
    ///
    /// # Safety
    ///
    /// The caller owns the record.
    pub(super) unsafe fn waker(self: &Arc<Host>, entry: NonNull<Entry>) -> Arc<WakerSlot> {
        let mut list = self.list.lock();
        let new = || WakerSlot { host: Arc::clone(self), entry: AtomicPtr::new(entry.as_ptr()) };
        Arc::clone(list.wakers.entry(entry).or_insert_with(|| Arc::new(new())))
    }

    /// Sets when the wait that begins now ends at the latest, and whether the record is closed then. Called
    /// by the owner.
    ///
    /// # Safety
    ///
    /// The caller owns the record, which has entered.
    pub(super) unsafe fn set_limit(&self, entry: NonNull<Entry>, limit: Duration, closes: bool) {
        let now = self.now();
        let tick = tick_after(limit, now);
        // SAFETY: alive, as the caller owns it.
        let this = unsafe { entry.as_ref() };
        this.deadline.store((tick as u32) << 1 | u32::from(closes), Ordering::SeqCst);
        if this.visited(now).is_some_and(|visited| visited <= tick) {
            return;
        }
        let mut list = self.list.lock();
        let first = list.ticks.first_key_value().is_none_or(|(first, _)| tick < *first);
        // SAFETY: it is listed, and the lock is ours.
        unsafe {
            list.unlink(entry, now);
            list.link(entry, Some(tick));
        }
        drop(list);
        if first {
            set(&self.changed);
        }
    }

    /// Closes idle records, and has all others close after the present run of their handlers. No record
    /// enters afterwards.
    pub(crate) fn drain(&self) {
        self.end(DRAINING);
    }

    /// As `drain`, and cancels the handlers that run.
    pub(crate) fn cancel(&self) {
        self.end(CANCELLING);
    }

    fn end(&self, phase: u8) {
        let (mut idle, mut cancelled) = (Batch::new(), Batch::new());
        let list = self.list.lock();
        if self.phase.load(Ordering::Relaxed) < phase {
            self.phase.store(phase, Ordering::SeqCst);
        }
        list.for_each(|entry| {
            // SAFETY: it is listed, so alive until `leave` has had the lock. A coroutine whose name is found
            // here with the phase `CANCELLING` outlives this section (see the head of this file).
            unsafe {
                Dormant::fire(entry.cast(), Cause::Cancelled, &mut idle);
                if phase == CANCELLING
                    && let Some(handler) = NonNull::new(entry.as_ref().handler.load(Ordering::SeqCst))
                {
                    Header::cancel(handler, &mut cancelled);
                }
            }
        });
        drop(list);
        self.call_on_end();
        cancelled.wake();
        Dormant::close_all(&mut idle);
        // `wait_for_room` goes on.
        set(&self.left);
        self.note_if_empty();
    }

    fn now(&self) -> u64 {
        let ticks = clock::since(self.began).as_nanos() / TICK.as_nanos();
        u64::try_from(ticks).unwrap_or(u64::MAX) + 1
    }

    fn instant_of(&self, tick: u64) -> Option<Instant> {
        let millis = tick.saturating_sub(1).checked_mul(TICK.as_millis() as u64)?;
        self.began.checked_add(Duration::from_millis(millis))
    }

    /// Starts the keeper if there is none. Called after a record has entered.
    pub(super) fn start_keeper(self: &Arc<Host>) -> io::Result<()> {
        if std::mem::replace(&mut self.list.lock().keeper, true) {
            return Ok(());
        }
        let keeper = Keeper { host: ManuallyDrop::new(Arc::clone(self)), begun: false };
        let Some(shared) = self.runtime.upgrade() else {
            return Err(io::Error::other("the runtime has shut down"));
        };
        let spawn = Spawn::of(&shared).at(self.site).named("activations");
        sched::spawn_detached(spawn, move || keeper.run());
        Ok(())
    }

    /// Visits entries whose time has come, up to a portion of them, and says what the keeper does next.
    fn visit(&self) -> Visited {
        let (mut batch, mut closing) = (Batch::new(), Batch::new());
        let now = self.now();
        let mut visits = 0;
        let mut list = self.list.lock();
        while visits < PORTION
            && let Some(mut bucket) = list.ticks.first_entry().filter(|bucket| *bucket.key() <= now)
            && let Some(entry) = NonNull::new(*bucket.get())
        {
            visits += 1;
            // SAFETY: listed entries are alive under the lock.
            unsafe {
                let this = entry.as_ref();
                match this.next.load(Ordering::Relaxed).as_ref() {
                    None => _ = bucket.remove(),
                    Some(next) => {
                        next.previous.store(ptr::null_mut(), Ordering::Relaxed);
                        *bucket.get_mut() = this.next.load(Ordering::Relaxed);
                    }
                }
                this.set_visited(0);
                let deadline = Cell::new(0);
                let has_passed = || {
                    deadline.set(this.deadline.load(Ordering::SeqCst));
                    deadline.get() != 0 && full_tick(deadline.get(), now) <= now
                };
                let mut fired = Batch::new();
                let has_fired = Dormant::fire_idle_if(entry.cast(), has_passed, Cause::Timeout, &mut fired);
                // The record is now this thread's, so the deadline is that of the wait that has ended.
                let to = if deadline.get() & 1 != 0 { &mut closing } else { &mut batch };
                to.append(&mut fired);
                let tick = match this.deadline.load(Ordering::SeqCst) {
                    _ if has_fired => None,
                    0 => None,
                    // It is queued to run if that time has passed: a moment later it has no deadline.
                    deadline => Some(full_tick(deadline, now).max(now + 1)),
                };
                list.link(entry, tick);
            }
        }
        if list.is_empty() && !list.held {
            list.keeper = false;
            return Visited::Over;
        }
        let next = list.ticks.first_key_value().map(|(tick, _)| *tick);
        drop(list);
        batch.wake();
        Dormant::close_all(&mut closing);
        match next {
            Some(tick) if tick <= now => Visited::More,
            next => Visited::Until(next.and_then(|tick| self.instant_of(tick))),
        }
    }
}

/// What the keeper does after a visit.
enum Visited {
    /// It goes on at once, once others have run.
    More,
    /// It sleeps.
    Until(Option<Instant>),
    /// It ends.
    Over,
}

/// What the records of a runtime do at present.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dormancy {
    /// How many records exist.
    pub(crate) records: usize,
    /// How many of them wait.
    pub(crate) idle: usize,
    /// How often handlers have run.
    pub(crate) activations: u64,
}

/// What the records of that runtime do.
pub(crate) fn dormancy(shared: &Shared) -> Dormancy {
    let mut sum = Dormancy::default();
    for host in hosts().iter().filter(|host| ptr::eq(host.runtime.as_ptr(), shared)) {
        let totals = host.totals();
        sum.records += totals.open;
        sum.idle += totals.idle;
        sum.activations += totals.activations;
    }
    sum
}

/// All hosts of the process. The last reference to one may be among them, and dropping that runs a user's
/// code.
fn hosts() -> Vec<Arc<Host>> {
    HOSTS.get().lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
}

impl List {
    fn is_empty(&self) -> bool {
        self.others.is_null() && self.ticks.is_empty()
    }

    /// Adds the entry to the list of that tick, or to that of entries that are not visited.
    ///
    /// # Safety
    ///
    /// The entry is in no list, and alive until it was unlinked.
    unsafe fn link(&mut self, entry: NonNull<Entry>, tick: Option<u64>) {
        // Zero stands for none.
        let tick = tick.map(not_zero);
        let head = match tick {
            None => &mut self.others,
            Some(tick) => self.ticks.entry(tick).or_insert(ptr::null_mut()),
        };
        // SAFETY: listed entries are alive.
        unsafe {
            let this = entry.as_ref();
            this.set_visited(tick.unwrap_or(0));
            this.previous.store(ptr::null_mut(), Ordering::Relaxed);
            this.next.store(*head, Ordering::Relaxed);
            if let Some(next) = head.as_ref() {
                next.previous.store(entry.as_ptr(), Ordering::Relaxed);
            }
        }
        *head = entry.as_ptr();
    }

    /// Takes the entry out of its list.
    ///
    /// # Safety
    ///
    /// It is in a list of this host.
    unsafe fn unlink(&mut self, entry: NonNull<Entry>, now: u64) {
        // SAFETY: listed entries are alive.
        unsafe {
            let this = entry.as_ref();
            let (previous, next) = (this.previous.load(Ordering::Relaxed), this.next.load(Ordering::Relaxed));
            if let Some(next) = next.as_ref() {
                next.previous.store(previous, Ordering::Relaxed);
            }
            if let Some(previous) = previous.as_ref() {
                previous.next.store(next, Ordering::Relaxed);
                return;
            }
            match this.visited(now) {
                None => self.others = next,
                Some(tick) => {
                    if next.is_null() {
                        self.ticks.remove(&tick);
                    } else {
                        self.ticks.insert(tick, next);
                    }
                }
            }
        }
    }

    fn for_each(&self, mut f: impl FnMut(NonNull<Entry>)) {
        for mut at in self.ticks.values().copied().chain([self.others]) {
            while let Some(entry) = NonNull::new(at) {
                // SAFETY: listed entries are alive, and stay in their lists while the caller has the lock.
                at = unsafe { entry.as_ref() }.next.load(Ordering::Relaxed);
                f(entry);
            }
        }
    }
}

/// What the keeper has to do. If it is dropped early, since its runtime shuts down, its host ends.
struct Keeper {
    host: ManuallyDrop<Arc<Host>>,
    begun: bool,
}

impl Keeper {
    fn run(mut self) {
        self.begun = true;
        loop {
            match self.host.visit() {
                Visited::More => yield_now(),
                Visited::Until(next) => {
                    let _ = wait_for(&self.host.changed, WaitReason::Activations, next);
                    self.host.changed.consume();
                }
                Visited::Over => break,
            }
        }
        // SAFETY: it is not used again, as the destructor does not run.
        unsafe { ManuallyDrop::drop(&mut self.host) };
        std::mem::forget(self);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // SAFETY: a destructor runs once, and not after `run` has returned.
        let host = unsafe { ManuallyDrop::take(&mut self.host) };
        host.has_no_keeper.store(!self.begun, Ordering::Relaxed);
        contain_panic(|| host.cancel());
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn ticks_survive_their_encoding() {
        for now in [1, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 2, 1 << 33] {
            for ahead in [0, 1, 63, 64, 65, 1_000_000, LONGEST] {
                let tick = tick_after(TICK * u32::try_from(ahead).unwrap(), now);
                assert!(tick > now + ahead && tick <= now + ahead + 3 + ahead / 32, "{now} {ahead} {tick}");
                assert_eq!(full_tick((tick as u32) << 1, now), tick);
            }
        }
        assert_eq!(full_tick(5 << 1, 9), 5);
    }

    /// A host that is older than two years, which is 2^32 ticks.
    #[test]
    fn the_keeper_of_an_old_host_wakes_up() {
        let runtime = crate::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
        let host = Host::new(runtime.shared(), std::panic::Location::caller(), Box::new(()));
        for tick in [1_u64, 1 << 31, 1 << 32, (1 << 32) + 2, 1 << 36] {
            let expected = host.began + Duration::from_secs(2 * (tick - 1) / 125);
            let at = host.instant_of(tick).expect("it is no more than 35 years ahead");
            assert!(at >= expected && at < expected + Duration::from_secs(1), "{tick}");
        }
    }
}

/// A stand-in for the host and its records, with the real waiters: one record, whose activations these
/// threads run themselves. Loom takes sequentially consistent accesses for acquire and release; the fences
/// here stand for the order of such accesses in the code.
#[cfg(all(test, loom))]
mod models {
    use super::{CANCELLING, OPEN};
    use crate::base::sync::{AtomicUsize, Ordering, fence};
    use crate::coroutine::{Batch, Cause, Dormant, Event, Parked, RecordTable, Waiter};
    use loom::thread;
    use std::ptr::NonNull;
    use std::sync::Arc;

    struct World {
        phase: AtomicUsize,
        list: loom::sync::Mutex<Option<NonNull<Record>>>,
        /// Whether `end` has returned.
        ended: AtomicUsize,
        closed: AtomicUsize,
        ran: AtomicUsize,
    }

    #[repr(C)]
    struct Record {
        dormant: Dormant,
        event: Event,
        /// One while a coroutine runs the handler, zero otherwise.
        handler: AtomicUsize,
        cancelled: AtomicUsize,
        /// Whether the coroutine that ran the handler last exists.
        exists: AtomicUsize,
        world: Arc<World>,
    }

    struct Shared(NonNull<Record>, Arc<World>);
    // SAFETY: the record is shared as it is in the runtime.
    unsafe impl Send for Shared {}

    const TABLE: &RecordTable = &RecordTable::new(activate, close);

    unsafe fn activate(waiter: NonNull<Waiter>) {
        // SAFETY: this thread has got the record.
        unsafe { run(waiter.cast()) };
    }

    /// The drop of an `Activation`.
    unsafe fn close(waiter: NonNull<Waiter>) {
        let record = waiter.cast::<Record>();
        // SAFETY: this thread owns the record, and no other one reaches it once it is off the list.
        unsafe {
            let this = record.as_ref();
            let _ = Dormant::begin(record.cast(), Some(&this.event));
            let world = Arc::clone(&this.world);
            *world.list.lock().unwrap() = None;
            drop(Box::from_raw(record.as_ptr()));
            world.closed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// `Activation::run`.
    unsafe fn run(record: NonNull<Record>) {
        // SAFETY: this thread owns the record until it waits.
        unsafe {
            let this = record.as_ref();
            loop {
                let ticket = Dormant::begin(record.cast(), Some(&this.event));
                this.event.consume();
                this.exists.store(1, Ordering::SeqCst);
                this.handler.store(1, Ordering::SeqCst);
                fence(Ordering::SeqCst);
                if this.world.phase.load(Ordering::SeqCst) != usize::from(OPEN) {
                    this.handler_ends();
                    return close(record.cast());
                }
                this.world.ran.fetch_add(1, Ordering::Relaxed);
                if this.world.ended.load(Ordering::SeqCst) == 1 {
                    assert_eq!(this.cancelled.load(Ordering::SeqCst), 1, "the handler goes on for ever");
                }
                this.handler_ends();
                match Dormant::park(record.cast(), ticket, Some(&this.event), || ()) {
                    Parked::Idle => return,
                    Parked::Woken | Parked::Set => {}
                }
            }
        }
    }

    impl Record {
        /// `Entry::handler_ends`, after which the coroutine may go.
        fn handler_ends(&self) {
            self.handler.swap(0, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            if self.world.phase.load(Ordering::SeqCst) == usize::from(CANCELLING) {
                drop(self.world.list.lock().unwrap());
            }
            self.exists.store(0, Ordering::SeqCst);
        }
    }

    /// `adopt`.
    unsafe fn adopt(record: NonNull<Record>, world: &World) {
        // SAFETY: nobody else has the record, until it is listed.
        unsafe {
            let this = record.as_ref();
            let ticket = Dormant::begin(record.cast(), None);
            let mut list = world.list.lock().unwrap();
            if world.phase.load(Ordering::Relaxed) != usize::from(OPEN) {
                drop(list);
                return close(record.cast());
            }
            *list = Some(record);
            drop(list);
            match Dormant::park(record.cast(), ticket, Some(&this.event), || ()) {
                Parked::Idle => {}
                Parked::Woken | Parked::Set => run(record),
            }
        }
    }

    /// `Host::end`.
    fn end(world: &World) {
        let mut idle = Batch::new();
        let list = world.list.lock().unwrap();
        world.phase.store(usize::from(CANCELLING), Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if let Some(record) = *list {
            // SAFETY: a listed record is alive under the lock.
            unsafe {
                Dormant::fire(record.cast(), Cause::Cancelled, &mut idle);
                let this = record.as_ref();
                if this.handler.load(Ordering::SeqCst) == 1 {
                    assert_eq!(this.exists.load(Ordering::SeqCst), 1, "the coroutine is gone");
                    this.cancelled.store(1, Ordering::SeqCst);
                    assert_eq!(this.exists.load(Ordering::SeqCst), 1, "the coroutine is gone");
                }
            }
        }
        drop(list);
        Dormant::close_all(&mut idle);
        world.ended.store(1, Ordering::SeqCst);
    }

    fn new() -> Shared {
        let world = Arc::new(World {
            phase: AtomicUsize::new(usize::from(OPEN)),
            list: loom::sync::Mutex::new(None),
            ended: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
            ran: AtomicUsize::new(0),
        });
        let record = Record {
            dormant: Dormant::new(TABLE),
            event: Event::new(),
            handler: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
            exists: AtomicUsize::new(0),
            world: Arc::clone(&world),
        };
        Shared(NonNull::from(Box::leak(Box::new(record))), world)
    }

    /// A record enters while its host ends: it is refused, or closed, once.
    #[test]
    fn a_record_that_enters_an_ending_host_is_closed_once() {
        loom::model(|| {
            let Shared(record, world) = new();
            let ending = {
                let world = Arc::clone(&world);
                thread::spawn(move || end(&world))
            };
            // SAFETY: this thread has the record.
            unsafe { adopt(record, &world) };
            ending.join().unwrap();
            assert_eq!(world.closed.load(Ordering::Relaxed), 1);
            assert_eq!(world.ran.load(Ordering::Relaxed), 0, "nothing was to be read");
        });
    }

    /// An idle record is activated while its host ends. It is closed once, by the one or the other; the
    /// handler that runs is cancelled, or does not begin; and no coroutine is cancelled that is gone.
    #[test]
    fn a_record_that_is_activated_in_an_ending_host_is_cancelled_and_closed_once() {
        loom::model(|| {
            let Shared(record, world) = new();
            // SAFETY: this thread has the record.
            unsafe { adopt(record, &world) };
            let shared = Shared(record, Arc::clone(&world));
            let poller = thread::spawn(move || {
                let shared = shared;
                let mut batch = Batch::new();
                {
                    // As a shard, which holds the readiness: the record's own may be gone.
                    let list = shared.1.list.lock().unwrap();
                    if let Some(record) = *list {
                        // SAFETY: a listed record is alive under the lock.
                        unsafe { record.as_ref() }.event.set(&mut batch);
                    }
                }
                batch.wake();
            });
            end(&world);
            poller.join().unwrap();
            assert_eq!(world.closed.load(Ordering::Relaxed), 1);
        });
    }
}
