//! A waiter that has no owner while it waits: its wake-up starts a coroutine. An activation waits with it.
//!
//! # The problem
//!
//! A connection that waits between two requests needs no stack, only something that a readiness event, a time
//! limit or a wake-up by hand can fire. Other waiters belong to a coroutine or a thread, which goes on when
//! its wait ends. Here a *record* on the heap waits, and whatever ends its wait passes the whole record on to
//! a new coroutine.
//!
//! # The states
//!
//! The record is owned by one party at a time. The state is that of its waiter (`waiter.rs`):
//!
//! ```text
//!  state     word of the waiter    owner
//!  RUNNING   epoch e               the coroutine of the activation
//!  IDLE      epoch e, PARKED       nobody: the party that wins the wait owns it next
//!  QUEUED    epoch e+1             that party: the batch, then the unstarted coroutine
//!  CLOSED    -                     freed by its last owner
//!
//!  from      to            by                  cause
//!  RUNNING   IDLE          `park`              the handler waits for more
//!  RUNNING   RUNNING, e+1  `fire`, the event   a wake-up before `park`, which then fails: RUNNING+READY
//!  IDLE      QUEUED        `fire`, the event   readiness, a limit, a wake-up by hand, a shutdown
//!  QUEUED    QUEUED, e+2   `fire`              a wake-up before the coroutine starts, which serves both
//!  QUEUED    RUNNING       `begin`             the coroutine starts
//!  RUNNING   CLOSED        the owner           the handler closes, fails or panics; or a shutdown
//!  QUEUED    CLOSED        the owner           the coroutine cannot start, or a shutdown
//! ```
//!
//! # The argument
//!
//! - *One owner.* PARKED is set by the last step of `park`. Only the party whose compare-and-swap clears it
//!   gets the record, once. Until that last step the caller of `park` owns the record; after it, the caller
//!   does not touch it.
//! - *No event is lost.* The owner takes its ticket before the handler runs. A wake-up by hand that comes
//!   during the handler ends that ticket's wait early, so `park` fails and the handler runs again. Readiness
//!   that the handler has not consumed is still set in the event, so the node is not listed, and `park`
//!   reports it. An edge after the node was listed fires the ticket.
//! - *A source that changes its shard* (`netpoll/source.rs`, `follow`) does so while the record is RUNNING,
//!   so no node of the record is listed. An event that either shard's poll brings meanwhile sets the event,
//!   and `park` reports it. One that the old shard drops is a state, which joining the new shard has
//!   reported, or an edge after that, which the new shard reports.
//! - *No event is doubled.* A fire wins an epoch once. `begin` takes the node out of the event's ring before
//!   the handler runs, so at most one node of a record is listed.
//! - *No event reaches another record.* The ring has the node's own address, and the record is freed only by
//!   its owner, after `begin` has removed the node: `Event::remove` waits for a thread that is about to fire
//!   it. All other parties fire under the lock of the list that the record leaves before it is freed.
//! - *The next owner sees what the last one has written*: `park` releases, the fire acquires (`AcqRel`).

use super::event::{Event, EventNode};
use super::waiter::{Batch, Cause, Fired, Park, Table, Ticket, Waiter};
use std::cell::UnsafeCell;
use std::ptr::NonNull;

/// What a kind of record does with itself.
#[repr(C)]
pub(crate) struct RecordTable {
    /// First, so that a pointer to it is a pointer to the whole.
    table: Table,
    /// Frees the record in place of its next activation.
    close: unsafe fn(NonNull<Waiter>),
}

impl RecordTable {
    /// `activate` starts a coroutine that owns the record, or closes it; `close` frees it. Both get the
    /// record from its last owner.
    pub(crate) const fn new(
        activate: unsafe fn(NonNull<Waiter>),
        close: unsafe fn(NonNull<Waiter>),
    ) -> RecordTable {
        RecordTable { table: Table { schedule: activate }, close }
    }
}

/// The part of a record that waits. It is the record's first field.
#[repr(C)]
pub(crate) struct Dormant {
    /// First, so that a pointer to it is a pointer to the record.
    waiter: Waiter,
    /// Its node in the ring of the event that it waits for. Only the owner touches the cell.
    node: UnsafeCell<Option<EventNode>>,
}

// SAFETY: the waiter is Sync. The node's cell is the owner's, and a listed node is the ring's (`event.rs`).
unsafe impl Sync for Dormant {}
// SAFETY: nothing in it is bound to a thread.
unsafe impl Send for Dormant {}

/// How `park` has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Parked {
    /// The record waits. It is no longer the caller's.
    Idle,
    /// The ticket's wait has ended already: the caller goes on, with [`Dormant::cause`].
    Woken,
    /// The event is set: the caller goes on.
    Set,
}

impl Dormant {
    /// For a new record, which its maker owns.
    pub(crate) fn new(table: &'static RecordTable) -> Dormant {
        // SAFETY: the table is a constant.
        let waiter = unsafe { Waiter::new(NonNull::from(table).cast()) };
        Dormant { waiter, node: UnsafeCell::new(None) }
    }

    /// Begins an activation, and returns the ticket for the wait that follows it.
    ///
    /// # Safety
    ///
    /// The caller owns the record, `this` is good for all of it, and `event` is the one that it last waited
    /// for.
    pub(crate) unsafe fn begin(this: NonNull<Dormant>, event: Option<&Event>) -> Ticket {
        // SAFETY: the cell is the owner's, as the caller says. A listed node is used by others until
        // `remove` has returned, so it is dropped after that.
        unsafe {
            let node = this.as_ref().node.get();
            if let (Some(event), Some(node)) = (event, (*node).as_ref()) {
                event.remove(node);
            }
            *node = None;
            let ticket = Waiter::ticket(this.cast());
            // Acquires: the owner sees what each party did before a fire that the ticket already counts.
            let _ = this.as_ref().waiter.parked_in();
            ticket
        }
    }

    /// Ends an activation: the record waits for the event, and for all other parties that fire it. `listed`
    /// runs once the node is in the event's ring.
    ///
    /// # Safety
    ///
    /// As for `begin`, from which the ticket comes. After [`Parked::Idle`] the caller does not touch the
    /// record, the event and what `listed` has borrowed.
    pub(crate) unsafe fn park(
        this: NonNull<Dormant>,
        ticket: Ticket,
        event: Option<&Event>,
        listed: impl FnOnce(),
    ) -> Parked {
        // SAFETY: the cell is the owner's. The node stays where it is until the next `begin`, or the
        // `remove` below.
        unsafe {
            if let Some(event) = event {
                let node = (*this.as_ref().node.get()).insert(EventNode::new(ticket));
                if !event.enqueue(node) {
                    *this.as_ref().node.get() = None;
                    return Parked::Set;
                }
            }
            listed();
            match this.as_ref().waiter.park(ticket, true) {
                Park::Parked => Parked::Idle,
                Park::Woken => {
                    Dormant::begin(this, event);
                    Parked::Woken
                }
            }
        }
    }

    /// What ended the last wait. Called by the owner.
    pub(crate) fn cause(&self) -> Cause {
        self.waiter.last_cause()
    }

    /// Whether the record waits at this moment.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiter.parked_in().is_some()
    }

    /// Ends the present wait, or the next one if the record does not wait. If it waited, it goes into the
    /// batch.
    ///
    /// # Safety
    ///
    /// The record is alive, and `this` is good for all of it.
    pub(crate) unsafe fn fire(this: NonNull<Dormant>, cause: Cause, batch: &mut Batch) {
        // A lost fire means that another party's came first, perhaps for an activation that has begun long
        // ago. Only a fire that wins is certain to be followed by a run of the handler.
        // SAFETY: as the caller says.
        while unsafe { Waiter::ticket(this.cast()).fire(cause, batch) } == Fired::Lost {}
    }

    /// Ends the present wait if there is one and the condition, which is checked for this very wait, holds.
    /// False otherwise.
    ///
    /// # Safety
    ///
    /// As for `fire`.
    pub(crate) unsafe fn fire_idle_if(
        this: NonNull<Dormant>,
        condition: impl FnOnce() -> bool,
        cause: Cause,
        batch: &mut Batch,
    ) -> bool {
        // SAFETY: as the caller says. If the record is activated, or waits again, after the ticket was read,
        // the ticket loses.
        unsafe {
            let ticket = Waiter::ticket(this.cast());
            this.as_ref().is_idle() && condition() && ticket.fire(cause, batch) != Fired::Lost
        }
    }

    /// Frees each record of the batch in place of activating it.
    pub(crate) fn close_all(batch: &mut Batch) {
        while let Some(waiter) = batch.pop() {
            // SAFETY: only records are fired into such a batch, with the verdict `Schedule`, and each leaves
            // it once. Their table is a `RecordTable`.
            unsafe {
                let table = waiter.as_ref().table().cast::<RecordTable>();
                (table.as_ref().close)(waiter);
            }
        }
    }
}

#[cfg(test)]
mod testing {
    use super::*;
    use crate::base::sync::{AtomicUsize, Ordering};
    use std::sync::Arc;

    /// A record that counts, and whose activations a test runs by hand.
    #[repr(C)]
    pub(super) struct Record {
        pub(super) dormant: Dormant,
        pub(super) event: Event,
        pub(super) counts: Arc<Counts>,
        /// What its handler does after it has consumed the readiness.
        pub(super) handler: Box<dyn Fn()>,
    }

    #[derive(Default)]
    pub(super) struct Counts {
        /// What a waker writes before it fires, and what the last activation has seen of it.
        pub(super) data: AtomicUsize,
        pub(super) seen: AtomicUsize,
        pub(super) activated: AtomicUsize,
        pub(super) closed: AtomicUsize,
    }

    const TABLE: &RecordTable = &RecordTable::new(activate, close);

    unsafe fn activate(waiter: NonNull<Waiter>) {
        // SAFETY: the records of this module, and this thread has got this one.
        unsafe { Record::run(waiter.cast()) };
    }

    unsafe fn close(waiter: NonNull<Waiter>) {
        // SAFETY: as above; it was made by a Box.
        let record = unsafe { Box::from_raw(waiter.cast::<Record>().as_ptr()) };
        // SAFETY: this thread owns it.
        unsafe { Dormant::begin(NonNull::from(&record.dormant), Some(&record.event)) };
        record.counts.closed.fetch_add(1, Ordering::Relaxed);
    }

    impl Record {
        pub(super) fn new(event: Event) -> (NonNull<Record>, Arc<Counts>) {
            Record::with_handler(event, || ())
        }

        pub(super) fn with_handler(
            event: Event,
            handler: impl Fn() + 'static,
        ) -> (NonNull<Record>, Arc<Counts>) {
            let counts = Arc::new(Counts::default());
            let (dormant, handler) = (Dormant::new(TABLE), Box::new(handler));
            let record = Record { dormant, event, counts: counts.clone(), handler };
            (NonNull::from(Box::leak(Box::new(record))), counts)
        }

        /// An activation whose handler consumes the readiness. It ends when the record waits.
        pub(super) unsafe fn run(this: NonNull<Record>) {
            // SAFETY: the caller owns the record until it waits.
            unsafe {
                loop {
                    let ticket = Dormant::begin(this.cast(), Some(&this.as_ref().event));
                    let counts = &this.as_ref().counts;
                    counts.activated.fetch_add(1, Ordering::Relaxed);
                    counts.seen.store(counts.data.load(Ordering::Relaxed), Ordering::Relaxed);
                    this.as_ref().event.consume();
                    (this.as_ref().handler)();
                    match Dormant::park(this.cast(), ticket, Some(&this.as_ref().event), || ()) {
                        Parked::Idle => return,
                        Parked::Woken | Parked::Set => {}
                    }
                }
            }
        }
    }

    pub(super) unsafe fn set(record: NonNull<Record>) {
        let mut batch = Batch::new();
        // SAFETY: alive, as the caller says.
        unsafe { record.as_ref() }.event.set(&mut batch);
        batch.wake();
    }

    pub(super) unsafe fn fire(record: NonNull<Record>) {
        let mut batch = Batch::new();
        // SAFETY: as above.
        unsafe { Dormant::fire(record.cast(), Cause::Cancelled, &mut batch) };
        batch.wake();
    }

    pub(super) unsafe fn end(record: NonNull<Record>) {
        let mut batch = Batch::new();
        // SAFETY: as above.
        unsafe { Dormant::fire(record.cast(), Cause::Cancelled, &mut batch) };
        Dormant::close_all(&mut batch);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::testing::{Record, end, fire, set};
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn each_edge_and_each_wake_up_activates_once() {
        let (record, counts) = Record::new(Event::new());
        // SAFETY: one thread; the record is alive until `end`.
        unsafe {
            Record::run(record);
            assert!(record.as_ref().dormant.is_idle());
            set(record);
            assert_eq!(record.as_ref().dormant.cause(), Cause::Event);
            fire(record);
            assert_eq!(record.as_ref().dormant.cause(), Cause::Cancelled);
            set(record);
            assert_eq!(counts.activated.load(Ordering::Relaxed), 4);
            end(record);
        }
        assert_eq!(counts.closed.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_wake_up_during_an_activation_is_kept() {
        let (record, _) = Record::new(Event::new());
        // SAFETY: as above.
        unsafe {
            let event = &record.as_ref().event;
            let ticket = Dormant::begin(record.cast(), Some(event));
            fire(record);
            assert_eq!(Dormant::park(record.cast(), ticket, Some(event), || ()), Parked::Woken);
            let ticket = Dormant::begin(record.cast(), Some(event));
            set(record);
            assert_eq!(Dormant::park(record.cast(), ticket, Some(event), || ()), Parked::Set);
            assert!(event.consume());
            assert_eq!(Dormant::park(record.cast(), ticket, Some(event), || ()), Parked::Idle);
            end(record);
        }
    }

    #[test]
    fn a_limit_ends_only_the_wait_that_it_was_checked_for() {
        let (record, counts) = Record::new(Event::new());
        // SAFETY: as above.
        unsafe {
            let mut batch = Batch::new();
            let limit = |condition: &dyn Fn() -> bool, batch: &mut Batch| {
                Dormant::fire_idle_if(record.cast(), condition, Cause::Timeout, batch)
            };
            assert!(!limit(&|| true, &mut batch), "it does not wait yet");
            Record::run(record);
            assert!(!limit(&|| false, &mut batch));
            let activated_meanwhile = || {
                set(record);
                true
            };
            assert!(!limit(&activated_meanwhile, &mut batch));
            assert!(limit(&|| true, &mut batch));
            batch.wake();
            assert_eq!(counts.activated.load(Ordering::Relaxed), 3);
            assert_eq!(record.as_ref().dormant.cause(), Cause::Timeout);
            end(record);
        }
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::testing::{Record, end, fire, set};
    use super::*;
    use crate::base::sync::Ordering;
    use loom::thread;
    use std::sync::Arc;

    struct Shared(NonNull<Record>);
    // SAFETY: a test's record is shared as it is in the runtime.
    unsafe impl Send for Shared {}

    fn on_thread(record: NonNull<Record>, f: unsafe fn(NonNull<Record>)) -> thread::JoinHandle<()> {
        let shared = Shared(record);
        thread::spawn(move || {
            let shared = shared;
            // SAFETY: the record outlives the model's threads.
            unsafe { f(shared.0) }
        })
    }

    unsafe fn write_and_fire(record: NonNull<Record>) {
        // SAFETY: alive, as the caller says.
        unsafe {
            record.as_ref().counts.data.store(1, Ordering::Relaxed);
            fire(record);
        }
    }

    /// An edge and a wake-up by hand race with an activation. The handler runs after each of them, and sees
    /// what the waker has written before; and the record waits in the end.
    #[test]
    fn no_wake_up_of_a_record_is_lost() {
        loom::model(|| {
            let (record, counts) = Record::new(Event::new());
            let (poller, waker) = (on_thread(record, set), on_thread(record, write_and_fire));
            // SAFETY: this thread owns the record.
            unsafe { Record::run(record) };
            poller.join().unwrap();
            waker.join().unwrap();
            assert_eq!(counts.seen.load(Ordering::Relaxed), 1, "no activation has begun after the wake-up");
            // SAFETY: alive until `end`.
            unsafe {
                assert!(record.as_ref().dormant.is_idle());
                assert!(!record.as_ref().event.is_set(), "an edge was left");
                end(record);
            }
            assert_eq!(counts.closed.load(Ordering::Relaxed), 1);
        });
    }

    /// Two parties fire an idle record at the same time: one activation each at most, and one owner at a
    /// time.
    #[test]
    fn a_record_has_one_owner() {
        loom::model(|| {
            let (record, counts) = Record::new(Event::new());
            // SAFETY: this thread owns the record.
            unsafe { Record::run(record) };
            let (poller, waker) = (on_thread(record, set), on_thread(record, fire));
            poller.join().unwrap();
            waker.join().unwrap();
            let activated = counts.activated.load(Ordering::Relaxed);
            assert!((2..=3).contains(&activated), "{activated}");
            // SAFETY: alive until `end`.
            unsafe {
                assert!(record.as_ref().dormant.is_idle() && !record.as_ref().event.is_set());
                end(record);
            }
        });
    }

    /// A socket that two shards can watch, as the kernel and the shards' tables see it.
    #[derive(Default)]
    struct Watched {
        socket: loom::sync::Mutex<Socket>,
        /// Whether the table of each shard has the source.
        tables: [loom::sync::Mutex<bool>; 2],
    }

    #[derive(Default)]
    struct Socket {
        readable: bool,
        watched_by: [bool; 2],
        /// Whether the next poll of each shard fetches an event.
        pending: [bool; 2],
    }

    impl Watched {
        fn arrive(&self) {
            let mut socket = self.socket.lock().unwrap();
            (socket.readable, socket.pending) = (true, socket.watched_by);
        }

        /// A poll of that shard.
        fn poll(&self, shard: usize, record: NonNull<Record>) {
            let fetched = std::mem::take(&mut self.socket.lock().unwrap().pending[shard]);
            let mut batch = Batch::new();
            if fetched && *self.tables[shard].lock().unwrap() {
                // SAFETY: alive until the model ends.
                unsafe { record.as_ref() }.event.set(&mut batch);
            }
            batch.wake();
        }

        /// `Source::change_shard`.
        fn change_shard(&self, from: usize, to: usize) {
            if *self.tables[to].lock().unwrap() {
                return;
            }
            let mut table = self.tables[to].lock().unwrap();
            *table = true;
            let mut socket = self.socket.lock().unwrap();
            socket.watched_by[to] = true;
            socket.pending[to] |= socket.readable;
            drop((socket, table));
            let mut table = self.tables[from].lock().unwrap();
            *table = false;
            let mut socket = self.socket.lock().unwrap();
            (socket.watched_by[from], socket.pending[from]) = (false, false);
            drop((socket, table));
        }
    }

    /// Bytes arrive while the source of a record changes its shard, of which the poller of the old shard may
    /// have fetched an event. The handler reads them.
    #[test]
    fn no_edge_is_lost_when_a_record_changes_its_shard() {
        loom::model(|| {
            let watched = Arc::new(Watched::default());
            watched.socket.lock().unwrap().watched_by[0] = true;
            *watched.tables[0].lock().unwrap() = true;
            let inside = watched.clone();
            let (record, _) = Record::with_handler(Event::new(), move || {
                inside.socket.lock().unwrap().readable = false;
                inside.change_shard(0, 1);
            });
            let (client, poller) = (watched.clone(), watched.clone());
            let client = thread::spawn(move || client.arrive());
            let shared = Shared(record);
            let poller = thread::spawn(move || {
                let shared = shared;
                poller.poll(0, shared.0);
            });
            // SAFETY: this thread owns the record.
            unsafe { Record::run(record) };
            client.join().unwrap();
            poller.join().unwrap();
            watched.poll(0, record);
            watched.poll(1, record);
            assert!(!watched.socket.lock().unwrap().readable, "the bytes are not read");
            // SAFETY: alive until `end`.
            unsafe {
                assert!(record.as_ref().dormant.is_idle());
                end(record);
            }
        });
    }
}
