//! Thread-locals of Rust, std's idea of the thread, and the end of a storage.

use super::{enter, on_worker, passes_in_child, storage};
use crate::base::local::thread_locals;
use crate::storage::loan::{Loan, loans};
use crate::storage::{Storage, sys};
use std::cell::{Cell, RefCell};
use std::mem;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

thread_locals! {
    static LIST: RefCell<Vec<u32>> = RefCell::new(Vec::new());
    fn borrow_for_good() = |list| mem::forget(list.borrow_mut()), destroyed: ();
    fn is_borrowed() -> bool = |list| list.try_borrow_mut().is_err(), destroyed: false;
}

#[test]
fn a_borrow_follows_from_worker_to_worker() {
    let Some(storage) = storage() else { return };
    on_worker(&storage, borrow_for_good);
    assert!(on_worker(&storage, is_borrowed), "the borrow has stayed behind");
    assert!(!is_borrowed(), "it has leaked to a thread outside");
    storage.end().join().expect("it ends");
}

thread_locals! {
    static SHARED: RefCell<Option<Rc<u32>>> = RefCell::new(None);
    fn share(value: Rc<u32>) -> usize = |shared| {
        let count = Rc::strong_count(&value) + 1;
        drop(shared.replace(Some(Rc::clone(&value))));
        mem::forget(value);
        count
    }, destroyed: 0;
    fn shares() -> usize = |shared| shared.borrow().as_ref().map_or(0, Rc::strong_count), destroyed: 0;
}

#[test]
fn counted_references_stay_in_the_storage() {
    let Some(storage) = storage() else { return };
    assert_eq!(on_worker(&storage, || share(Rc::new(1))), 2);
    assert_eq!(on_worker(&storage, shares), 2);
    assert_eq!(shares(), 0);
    storage.end().join().expect("it ends");
}

#[test]
fn std_takes_each_worker_for_the_lender() {
    let Some(storage) = storage() else { return };
    let lender = storage.thread().thread().id();
    for _ in 0..2 {
        let (id, name) =
            on_worker(&storage, || (thread::current().id(), thread::current().name().map(str::to_owned)));
        assert_eq!((id, name.as_deref()), (lender, Some("lender")));
    }
    assert_ne!(thread::current().id(), lender);
    storage.end().join().expect("it ends");
}

/// std's parker is found through the handle, by a thread outside.
#[test]
fn a_handle_unparks_whichever_worker_is_inside() {
    let Some(storage) = storage() else { return };
    let (sender, handles) = mpsc::channel();
    let woken = Arc::new(AtomicBool::new(false));
    let waker = thread::spawn({
        let woken = Arc::clone(&woken);
        move || {
            let handle: thread::Thread = handles.recv().expect("sent");
            // On another worker than the one that has sent it.
            handles.recv().expect("sent");
            thread::sleep(Duration::from_millis(5));
            woken.store(true, Ordering::SeqCst);
            handle.unpark();
        }
    });
    on_worker(&storage, || sender.send(thread::current()).expect("received"));
    on_worker(&storage, || {
        sender.send(thread::current()).expect("received");
        while !woken.load(Ordering::SeqCst) {
            thread::park_timeout(Duration::from_secs(10));
        }
    });
    waker.join().expect("no panic");
    storage.end().join().expect("it ends");
}

#[test]
fn threads_are_started_and_joined_inside() {
    let Some(storage) = storage() else { return };
    on_worker(&storage, borrow_for_good);
    let ids = on_worker(&storage, || {
        let of_thread = thread::spawn(|| (thread::current().id(), is_borrowed())).join().expect("no panic");
        (of_thread, thread::current().id(), is_borrowed())
    });
    let ((other, other_borrowed), own, borrowed) = ids;
    assert_ne!(other, own);
    assert!(borrowed && !other_borrowed);
    storage.end().join().expect("it ends");
}

#[test]
fn the_thread_pointer_is_the_lenders_inside_and_the_own_one_afterwards() {
    let Some(storage) = storage() else { return };
    let before = sys::thread_pointer();
    // SAFETY: no other thread enters.
    let inside = unsafe { enter(&storage, sys::thread_pointer) };
    assert_eq!(sys::thread_pointer(), before);
    assert_ne!(inside, before);
    assert!(Loan::of(inside).is_some_and(|loan| !loan.is_of_this_thread() && loan.own_pointer() == before));
    assert!(Loan::of(before).is_none());
    storage.end().join().expect("it ends");
}

static ENDED: Mutex<Vec<(u32, ThreadId)>> = Mutex::new(Vec::new());

struct AtEnd(Cell<u32>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        ENDED.lock().expect("no panic").push((self.0.get(), thread::current().id()));
    }
}

thread_locals! {
    static AT_END: AtEnd = AtEnd(Cell::new(0));
    fn at_end(value: u32) -> u32 = |it| it.0.replace(value), destroyed: u32::MAX;
}

#[test]
fn destructors_run_once_on_the_lender_at_the_end() {
    let Some(storage) = storage() else { return };
    let lender = storage.thread().thread().id();
    let of_lender = || {
        let ended = ENDED.lock().expect("no panic");
        ended.iter().filter(|(_, thread)| *thread == lender).map(|(value, _)| *value).collect::<Vec<_>>()
    };
    assert_eq!(on_worker(&storage, || at_end(1)), 0);
    assert_eq!(on_worker(&storage, || at_end(2)), 1);
    assert_eq!(of_lender(), [0; 0], "a worker's end is not the storage's");
    storage.end().join().expect("it ends");
    assert_eq!(of_lender(), [2]);
}

#[test]
fn workers_alternate_in_several_storages() {
    const TURNS: u32 = 20_000;
    thread_locals! {
        static TURN: Cell<u32> = Cell::new(0);
        fn next_turn() -> u32 = |turn| turn.replace(turn.get() + 1), destroyed: 0;
    }
    let (Some(one), Some(two)) = (storage(), storage()) else { return };
    let shelves = [Mutex::new((one, 0)), Mutex::new((two, 0))];
    let outside = AtomicU32::new(0);
    thread::scope(|scope| {
        for worker in 0..3 {
            let (shelves, outside) = (&shelves, &outside);
            scope.spawn(move || {
                for i in 0..TURNS {
                    let mut shelf = shelves[(i + worker) as usize & 1].lock().expect("no panic");
                    let (storage, turn) = &mut *shelf;
                    // SAFETY: the mutex makes it the only one inside, and synchronizes.
                    assert_eq!(unsafe { enter(storage, next_turn) }, *turn);
                    *turn += 1;
                }
                outside.fetch_add(next_turn(), Ordering::Relaxed);
            });
        }
    });
    assert_eq!(outside.into_inner(), 0);
    for shelf in shelves {
        let (storage, turns) = shelf.into_inner().expect("no panic");
        assert_eq!(turns, TURNS / 2 * 3);
        storage.end().join().expect("it ends");
    }
}

/// In a process of its own, because other tests lend as well.
#[test]
fn a_loan_is_withdrawn_and_used_again() {
    if passes_in_child("values::a_loan_is_withdrawn_and_used_again") {
        return;
    }
    let Some(first) = storage() else { return };
    let pointer = on_worker(&first, sys::thread_pointer);
    assert!(Loan::of(pointer).is_some());
    first.end().join().expect("it ends");
    assert!(Loan::of(pointer).is_none());
    let all = loans().count();
    for _ in 0..10 {
        let storage = Storage::lend("again".into(), || ()).expect("a thread");
        on_worker(&storage, || at_end(1));
        storage.end().join().expect("it ends");
    }
    assert_eq!(loans().count(), all);
}

/// What the function finds on the thread's own block, in the middle of a call inside.
#[test]
fn a_function_runs_outside_and_the_thread_is_inside_again() {
    let Some(storage) = storage() else { return };
    let found = thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let own = (sys::thread_pointer(), thread::current().id());
            // SAFETY: this is the only thread that enters.
            let inside = unsafe {
                enter(&storage, || {
                    let facts = || (sys::thread_pointer(), thread::current().id());
                    let (before, mut outside) = (facts(), None);
                    storage.outside(&mut || outside = Some(facts()));
                    assert_eq!(facts(), before, "inside again");
                    assert_eq!(outside, Some(own));
                    before
                })
            };
            (own, inside)
        });
        worker.join().expect("no panic")
    });
    assert_ne!(found.0, found.1);
    assert_eq!(found.1.1, storage.thread().thread().id());
    storage.end().join().expect("it ends");
}

thread_locals! {
    static SAW_END: SawEnd = SawEnd(Cell::new(false));
    fn touch() = |saw| saw.0.set(false), destroyed: ();
    fn see_end() = |saw| saw.0.set(true), destroyed: ();
}

/// Says at its destruction whether the lender's last call came before.
struct SawEnd(Cell<bool>);

static END_WAS_SEEN: AtomicBool = AtomicBool::new(false);

impl Drop for SawEnd {
    fn drop(&mut self) {
        END_WAS_SEEN.store(self.0.get(), Ordering::Relaxed);
    }
}

#[test]
fn the_lenders_last_call_comes_before_its_destructors() {
    if storage().map(|other| other.end().join()).is_none() {
        return;
    }
    let storage = Storage::lend("last call".into(), see_end).expect("a thread");
    on_worker(&storage, touch);
    storage.end().join().expect("it ends");
    assert!(END_WAS_SEEN.load(Ordering::Relaxed));
}
