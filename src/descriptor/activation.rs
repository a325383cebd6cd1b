//! Activations: a handler that runs in a fresh coroutine each time that there is something to do.
//!
//! Between two activations there is only a record: no stack, no coroutine. `coroutine/dormant.rs` has its
//! states and the argument that no event is lost, and `host.rs` the time limits and the end.
//!
//! ```text
//!   poller, keeper, waker: fire --> batch --> `activate`: an unstarted coroutine in the worker's deque
//!                                                |
//!   the record is idle <-- `Activation::idle` <-- `Activation::run`: the handler, once or several times
//! ```
//!
//! The coroutine is unstarted, so any worker may steal it. The source stays in its shard, whose worker
//! fetches its next event. If other workers run it again and again, since that worker has more to do than
//! they, the source moves to the shard of the worker that has run it last. It does so just before it waits
//! again, while its owner runs: no waiter of the record is listed, so an event that either shard's poll sets
//! meanwhile is found by `park` (`netpoll/source.rs`, `follow`). `netpoll/affinity.rs` keeps it from going
//! back and forth. A coroutine that has used up its budget, because its client sends without pause, passes
//! the record on to a new one: so a busy record may leave its worker, too. After [`RUNS`] runs it does so in
//! any case, since a handler that waits in between begins a new budget each time.
//!
//! *The source may be in the shard of another runtime*, if that one has waited for it before. When that
//! runtime ends, the source is in no shard. If the record waits then, the shard that retires activates it.
//! Otherwise its owner runs, or finds its event set when it lists itself. In each case the owner joins a
//! shard of the record's own runtime before it waits again (`Activation::watch`).
//!
//! *When a handler has not consumed the readiness*, its record cannot wait for an edge: there may be none.
//! The owner then asks the kernel with `poll(2)`. If the source is ready the handler runs again, in the same
//! coroutine, after the budget was checked; so a client that sends without pause costs no spawns. The usual
//! handler reads until a short read, which consumes the readiness, and no question is asked. A handler that
//! twice in a row does not even try to read is not run again for the same readiness: it would keep a worker
//! busy, and meet no limit.

use super::host::{Entry, Host, WakerSlot};
use super::readiness::set_again;
use crate::coroutine::{Cause, Dormant, Parked, RecordTable, Ticket, Waiter, contain_panic};
use crate::netpoll::{Direction, Source, is_ready};
use crate::sched::{self, Here, Shared, Spawn, budget_is_used_up, cancelling, follow_to_shard, join_shard};
use std::io;
use std::mem;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

/// How many runs in a row one coroutine makes.
const RUNS: u32 = 64;

/// What a handler wants when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// It is run again when there is something to do.
    Idle,
    /// Likewise, and also if nothing has happened for that long: then with [`Why::Limit`]. The limit is
    /// observed up to 32 ms and 1/64 of it too late. Limits of more than 99 days count as 99 days.
    IdleFor(Duration),
    /// It is not run again, and what it served is dropped.
    Close,
}

/// Why a handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There may be something to read, or the stream has ended. A spurious activation is possible.
    Ready,
    /// The limit of [`Next::IdleFor`] has passed.
    Limit,
    /// It was woken by hand.
    Woken,
}

/// What becomes of a record after a run of its handler.
pub(crate) enum Verdict {
    /// It waits, for that long at most. Then it is activated, or closed.
    /// `has_read`: the handler has tried to read from the source.
    Idle { limit: Option<Duration>, closes: bool, has_read: bool },
    /// The handler runs again at once.
    Again,
    /// It is freed.
    Close,
}

/// A present activation.
pub(crate) struct Active<'a> {
    pub(crate) host: &'a Arc<Host>,
    pub(crate) why: Why,
    entry: NonNull<Entry>,
}

// SAFETY: it refers to a host, which is shared, and names an entry, which is shared as well.
unsafe impl Send for Active<'_> {}
// SAFETY: as above.
unsafe impl Sync for Active<'_> {}

impl Active<'_> {
    /// A handle to wake the record by hand.
    pub(crate) fn waker(&self) -> Arc<WakerSlot> {
        // SAFETY: this exists while the owner of the record runs its handler.
        unsafe { self.host.waker(self.entry) }
    }
}

/// What a kind of record is.
pub(crate) trait Body: Send + Sized + 'static {
    /// What it waits for. `None`: only time limits and wake-ups by hand activate it.
    fn source(&self) -> Option<&Source>;

    /// Runs the handler.
    fn run(&mut self, active: &Active<'_>) -> Verdict;

    /// Called before it is dropped.
    fn leave(&mut self, _host: &Host) {}
}

/// A record.
#[repr(C)]
struct Record<B> {
    /// First, so that a pointer to it is a pointer to the record.
    entry: Entry,
    body: B,
}

impl<B: Body> Record<B> {
    const TABLE: &RecordTable = &RecordTable::new(activate::<B>, close::<B>);
}

/// An owned record. Dropping it closes the record.
///
/// It is no Box, since other threads use the entry of the record meanwhile.
struct Activation<B: Body>(NonNull<Record<B>>);

// SAFETY: it owns the body, which is Send, and shares the entry, which is Sync.
unsafe impl<B: Body> Send for Activation<B> {}

/// Makes a record, which waits from now on: for that long at most, after which it is activated, or closed.
/// `begin` is called before.
///
/// # Errors
///
/// The host has ended, its runtime has shut down, or the source cannot be watched. The body is dropped.
pub(crate) fn adopt<B: Body>(
    host: &Arc<Host>,
    body: B,
    limit: Option<Duration>,
    closes: bool,
    begin: impl FnOnce(&Active<'_>),
) -> io::Result<()> {
    let record = Record { entry: Entry::new(Record::<B>::TABLE, Arc::clone(host)), body };
    let record = NonNull::from(Box::leak(Box::new(record)));
    // Before it enters: the end of the host, which fires all that have entered, then ends the wait below.
    // SAFETY: nobody else has the record, and it waits for nothing yet.
    let ticket = unsafe { Dormant::begin(record.cast(), None) };
    // SAFETY: the record is alive until its owner has left the host.
    if !unsafe { host.enter(record.cast()) } {
        // SAFETY: nobody else has it.
        let mut record = unsafe { Box::from_raw(record.as_ptr()) };
        record.body.leave(host);
        drop(record);
        return Err(io::Error::other("it has shut down"));
    }
    let activation = Activation(record);
    host.start_keeper()?;
    begin(&Active { host, why: Why::Ready, entry: record.cast() });
    if let Some(source) = activation.body().source()
        && source.is_unbound()
    {
        let shared = runtime_of(host)?;
        source.prepare()?;
        // "Maybe ready". Joining reports the state as an event.
        source.event(Direction::Read).consume();
        join_some(host, &shared, source)?;
    }
    match activation.idle(ticket, limit, closes, false).map_err(|(_, error)| error)? {
        None => {}
        Some((activation, why)) => launch(activation, host.here(), Some(why), None),
    }
    Ok(())
}

fn runtime_of(host: &Host) -> io::Result<Arc<Shared>> {
    host.runtime().upgrade().ok_or_else(|| io::Error::other("the runtime has shut down"))
}

/// Joins the source to the shard of each worker in turn.
fn join_some(host: &Host, shared: &Shared, source: &Source) -> io::Result<()> {
    source.join(&shared.remotes[host.choose_shard() % shared.config().workers].shard)
}

/// An activation whose coroutine has not begun.
struct Launched<B: Body>(Option<Activation<B>>);

impl<B: Body> Drop for Launched<B> {
    fn drop(&mut self) {
        if let Some(activation) = self.0.take() {
            let host = &activation.entry().host;
            // While the host and its runtime go on, only a stack can be missing.
            if host.goes_on() {
                host.count_lost();
            }
        }
    }
}

/// Puts an unstarted coroutine that owns the record into a queue: the worker's own if this is a worker of its
/// runtime, otherwise the injector. Closes the record if the runtime is gone. `here`: the calling thread.
/// `why`: `None` for what ended the record's wait. `polled_by`: the worker whose poll has brought an event of
/// the source.
fn launch<B: Body>(
    activation: Activation<B>,
    here: Option<Here>,
    why: Option<Why>,
    polled_by: Option<usize>,
) {
    let host = &activation.entry().host;
    let (runtime, site, simulated) = (host.runtime(), host.site(), host.simulated_host);
    let spawn = if here.is_some() {
        Spawn::on_this_worker().at(site)
    } else if let Some(shared) = runtime.upgrade() {
        Spawn::of(&shared).at(site)
    } else {
        return contain_panic(|| drop(activation));
    };
    let mut launched = Launched(Some(activation));
    let begin = move || {
        if let Some(activation) = launched.0.take() {
            activation.run(why, polled_by);
        }
    };
    simulated.spawning(|| sched::spawn_detached(spawn, begin));
}

unsafe fn activate<B: Body>(waiter: NonNull<Waiter>) {
    // SAFETY: the function is in the table of such records alone, whose first field is the waiter, and its
    // last owner passes it on.
    let activation = Activation::<B>(waiter.cast());
    let host = &activation.entry().host;
    let here = host.here();
    host.count_wait_ended(here);
    // A wake-up by hand, or the keeper's, may come from anywhere, also from inside of a poll.
    let polled_by = match activation.why() {
        Why::Ready => here.filter(|here| here.polls).map(|here| here.worker),
        Why::Limit | Why::Woken => None,
    };
    launch(activation, here, None, polled_by);
}

unsafe fn close<B: Body>(waiter: NonNull<Waiter>) {
    // SAFETY: as in `activate`.
    let activation = Activation::<B>(waiter.cast());
    let host = &activation.entry().host;
    host.count_wait_ended(host.here());
    contain_panic(|| drop(activation));
}

impl<B: Body> Activation<B> {
    fn entry(&self) -> &Entry {
        // SAFETY: owned, so alive. No exclusive reference to the entry exists.
        unsafe { &(*self.0.as_ptr()).entry }
    }

    fn body(&self) -> &B {
        // SAFETY: owned, so alive, and nobody else uses the body.
        unsafe { &(*self.0.as_ptr()).body }
    }

    fn body_mut(&mut self) -> &mut B {
        // SAFETY: as above; the borrow of the owner makes it exclusive.
        unsafe { &mut (*self.0.as_ptr()).body }
    }

    /// What ended the last wait.
    fn why(&self) -> Why {
        match self.entry().dormant.cause() {
            Cause::Event => Why::Ready,
            Cause::Timeout => Why::Limit,
            Cause::Cancelled => Why::Woken,
        }
    }

    /// # Safety
    ///
    /// The caller does not use a ticket of before any more.
    unsafe fn begin(&self) -> Ticket {
        let event = self.body().source().map(|source| source.event(Direction::Read));
        // SAFETY: this owns the record, whose event is always the same.
        unsafe { Dormant::begin(self.0.cast(), event) }
    }

    /// The source follows the record's user, before the record waits. Usually the worker whose poll has
    /// brought its event runs the activation: the source is in that worker's shard.
    fn follow(&self, polled_by: Option<usize>) {
        let Some(source) = self.body().source() else { return };
        let here = self.entry().host.here();
        if polled_by.is_some() && polled_by == here.map(|here| here.worker) {
            source.stay();
        } else if follow_to_shard(source) {
            self.entry().host.count_move(here);
        }
    }

    /// Has a shard of its runtime watch the source, if none does.
    fn watch(&self) -> io::Result<()> {
        match self.body().source() {
            Some(source) if source.is_unbound() => self.join(source),
            _ => Ok(()),
        }
    }

    #[cold]
    fn join(&self, source: &Source) -> io::Result<()> {
        let host = &self.entry().host;
        source.prepare()?;
        if host.here().is_some() { join_shard(source) } else { join_some(host, &*runtime_of(host)?, source) }
    }

    /// The coroutine of an activation.
    fn run(mut self, why: Option<Why>, polled_by: Option<usize>) {
        let mut why = why.unwrap_or_else(|| self.why());
        if self.entry().take_limit() && why == Why::Limit {
            return;
        }
        // Whether the last run, though there was something to read, has not tried to.
        let (mut fruitless, mut runs) = (false, 0);
        loop {
            // SAFETY: the last ticket was used up.
            let ticket = unsafe { self.begin() };
            if self.entry().take_woken() {
                why = Why::Woken;
            }
            // A run that gave up has taken the readiness of bytes that may still be there. Without it a read
            // would wait for an edge, which has been. With it the first read asks the kernel.
            if why != Why::Ready
                && let Some(source) = self.body().source()
            {
                set_again(source, Direction::Read);
            }
            self.entry().handler_begins();
            // A host that ends sets the phase, then fires the ticket and reads the coroutine's name.
            if !self.entry().host.is_open() {
                return;
            }
            self.entry().host.count_activation(self.entry().host.here());
            // SAFETY: the record is alive while this owns it. The handler gets the body exclusively; the host
            // is not part of it.
            let host = unsafe { &(*self.0.as_ptr()).entry.host };
            let active = Active { host, why, entry: self.0.cast() };
            let verdict = self.body_mut().run(&active);
            self.entry().handler_ends();
            match verdict {
                Verdict::Close => return,
                Verdict::Again => why = Why::Ready,
                Verdict::Idle { limit, closes, has_read } => {
                    let again = mem::replace(&mut fruitless, why == Why::Ready && !has_read);
                    self.follow(polled_by);
                    match self.idle(ticket, limit, closes, again && fruitless) {
                        Ok(Some((again, cause))) => (self, why) = (again, cause),
                        Ok(None) => return,
                        Err((lost, _)) => return lost.note_lost(),
                    }
                }
            }
            runs += 1;
            if runs == RUNS || budget_is_used_up() {
                let here = self.entry().host.here();
                return launch(self, here, Some(why), None);
            }
        }
    }

    /// Counts a record that is about to be closed since it could not wait, unless its end is due.
    #[cold]
    fn note_lost(self) {
        let closed = self.body().source().is_some_and(Source::is_closed);
        if !closed && self.entry().host.goes_on() {
            self.entry().host.count_lost();
        }
    }

    /// Has the record wait. Returns it if there is something to do already. `gives_up`: the handler does not
    /// read what there is, so only news, a limit or a wake-up by hand ends the wait.
    ///
    /// # Errors
    ///
    /// The source is closed, or cannot be watched. The record comes back.
    fn idle(
        self,
        ticket: Ticket,
        limit: Option<Duration>,
        closes: bool,
        gives_up: bool,
    ) -> Result<Option<(Self, Why)>, (Self, io::Error)> {
        if gives_up && let Some(source) = self.body().source() {
            let event = source.event(Direction::Read);
            while event.take().is_some_and(|taken| event.unstick(taken)) {}
        }
        if let Some(limit) = limit {
            // SAFETY: this owns the record.
            unsafe { self.entry().host.set_limit(self.0.cast(), limit, closes) };
        }
        loop {
            if let Err(error) = self.watch() {
                return Err((self, error));
            }
            let source = self.body().source();
            let event = source.map(|source| source.event(Direction::Read));
            // A one-shot back-end would report the same state at once. So it gets no news at all, not even
            // of the end of the stream: `net::serve` says so.
            let armed = source.filter(|_| !gives_up);
            let listed = || armed.into_iter().for_each(|source| source.arm(Direction::Read));
            // Before the wait begins, after which the host may be gone.
            let here = self.entry().host.here();
            self.entry().host.count_wait(here);
            // SAFETY: this owns the record, and the ticket comes from `begin`. If the record waits, it is not
            // used here any more.
            match unsafe { Dormant::park(self.0.cast(), ticket, event, listed) } {
                Parked::Idle => {
                    mem::forget(self);
                    return Ok(None);
                }
                Parked::Woken => {
                    self.entry().host.count_wait_ended(here);
                    self.entry().take_limit();
                    let why = self.why();
                    return Ok(Some((self, why)));
                }
                Parked::Set => {
                    self.entry().host.count_wait_ended(here);
                    let source = source.expect("only an event is set");
                    match has_more(source) {
                        Ok(true) => {
                            self.entry().take_limit();
                            return Ok(Some((self, Why::Ready)));
                        }
                        Ok(false) => {}
                        Err(error) => return Err((self, error)),
                    }
                }
            }
        }
    }
}

/// Whether a source whose event is set can be read. If not, the event is not set any more, unless there was
/// news meanwhile.
fn has_more(source: &Source) -> io::Result<bool> {
    source.prepare()?;
    let event = source.event(Direction::Read);
    // Before the question, so that an edge after it is kept.
    let taken = event.take();
    if is_ready(source.fd(), Direction::Read)? {
        set_again(source, Direction::Read);
        return Ok(true);
    }
    if let Some(taken) = taken {
        // Set for good, and wrongly so: as in `perform`.
        event.unstick(taken);
    }
    Ok(false)
}

impl<B: Body> Drop for Activation<B> {
    fn drop(&mut self) {
        struct Freed(Arc<Host>);
        impl Drop for Freed {
            fn drop(&mut self) {
                self.0.freed();
            }
        }
        let freed = Freed(Arc::clone(&self.entry().host));
        if std::thread::panicking() && !cancelling() {
            freed.0.count_panic();
        }
        // SAFETY: this owns the record: it is in no ring after `begin`, and in no list of its host after
        // `leave`. So no other thread reaches it, and it was made by a Box.
        unsafe {
            self.begin();
            self.entry().handler_ends();
            freed.0.leave(self.0.cast());
            self.body_mut().leave(&freed.0);
            drop(Box::from_raw(self.0.as_ptr()));
        }
    }
}

#[cfg(all(test, not(loom), target_pointer_width = "64"))]
mod tests {
    use super::*;
    use std::mem::ManuallyDrop;
    use std::os::fd::{FromRawFd, OwnedFd};

    /// A connection with a state of 8 bytes takes 256 bytes: this record, the readiness (56 bytes), the slot
    /// in the shard (16) and the allocator's own words.
    #[test]
    fn a_record_is_small() {
        struct Small(Source, Option<Box<u8>>, u64);
        impl Body for Small {
            fn source(&self) -> Option<&Source> {
                Some(&self.0)
            }
            fn run(&mut self, _: &Active<'_>) -> Verdict {
                let _ = (&self.1, self.2);
                Verdict::Close
            }
        }
        assert!(size_of::<Record<Small>>() <= 168, "{}", size_of::<Record<Small>>());
    }

    /// A body that does nothing.
    struct Nothing;
    impl Body for Nothing {
        fn source(&self) -> Option<&Source> {
            None
        }
        fn run(&mut self, _: &Active<'_>) -> Verdict {
            Verdict::Close
        }
    }

    /// An activation that a shutdown discards is no connection that has failed.
    #[test]
    fn an_activation_that_never_ran_counts_while_its_runtime_goes_on() {
        let runtime = crate::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
        let host = Host::new(runtime.shared(), std::panic::Location::caller(), Box::new(()));
        let discard = || {
            let record = Record { entry: Entry::new(Record::<Nothing>::TABLE, host.clone()), body: Nothing };
            let record = NonNull::from(Box::leak(Box::new(record)));
            // SAFETY: nobody else has the record.
            assert!(unsafe { host.enter(record.cast()) });
            drop(Launched(Some(Activation(record))));
            host.totals().lost
        };
        assert_eq!(discard(), 1);
        drop(runtime);
        assert!(host.is_open(), "it has no keeper, which would end it");
        assert_eq!(discard(), 1);
        assert_eq!(host.open(), 0);
    }

    /// As a connection, with all that it has in user memory but its slot in the shard. The descriptor is a
    /// stand-in, since there cannot be a million of them: nothing waits for it.
    struct Connection {
        source: ManuallyDrop<Source>,
        _lent: Option<Box<u8>>,
        _state: u64,
    }

    impl Body for Connection {
        fn source(&self) -> Option<&Source> {
            None
        }
        fn run(&mut self, _: &Active<'_>) -> Verdict {
            Verdict::Close
        }
        fn leave(&mut self, _: &Host) {
            // SAFETY: it was made once, and is taken once.
            mem::forget(unsafe { ManuallyDrop::take(&mut self.source) }.into_fd());
        }
    }

    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").expect("on Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        line.trim_end_matches("kB").trim().parse::<usize>().expect("a number") * 1024
    }

    /// `cargo test --lib a_million_records -- --ignored --nocapture` prints the memory of each.
    #[test]
    #[ignore = "it takes 240 MB, and other tests must not run beside it"]
    fn a_million_records_take_240_bytes_each() {
        const WARM: usize = 1_000;
        const RECORDS: usize = 1_000_000;
        let runtime = crate::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
        let host = Host::new(runtime.shared(), std::panic::Location::caller(), Box::new(()));
        let mut before = 0;
        for number in 0..WARM + RECORDS {
            if number == WARM {
                before = resident();
            }
            // SAFETY: standard input is open, and `leave` forgets this owner of it.
            let fd = unsafe { OwnedFd::from_raw_fd(0) };
            let source = ManuallyDrop::new(Source::new(fd));
            let body = Connection { source, _lent: None, _state: 0 };
            adopt(&host, body, Some(Duration::from_secs(3600)), true, |_| ()).expect("adopted");
        }
        let each = (resident() - before) as f64 / RECORDS as f64;
        println!("a record: {each:.1} bytes");
        assert_eq!(host.open(), WARM + RECORDS);
        assert!(each < 241.0, "{each}");
        host.drain();
    }
}
