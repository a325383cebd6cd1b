//! Task locals, in coroutines and on plain threads.

use crate::common::{LONG, in_runtime};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::ThreadId;
use std::time::Duration;
use sward::sleep;
use sward::task::{self, JoinError};

/// Runs the test in a coroutine, and on a plain thread that ends.
fn in_coroutine_and_thread(test: impl Fn() + Send + Sync) {
    in_runtime(&test);
    std::thread::scope(|s| {
        s.spawn(&test);
    });
}

type Journal = Arc<Mutex<Vec<String>>>;

/// Writes its name into the journal when it is dropped.
struct WritesInDrop(Journal, &'static str);

impl Drop for WritesInDrop {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(self.1.to_owned());
    }
}

fn entries(journal: &Journal) -> Vec<String> {
    journal.lock().unwrap().clone()
}

mod shapes {
    use std::cell::{Cell, RefCell};

    sward::task_local! {}
    sward::task_local!(static BARE: u8 = 1);
    sward::task_local!(static BARE_CONST: u8 = const { 2 });
    sward::task_local! {
        /// Documented, and with an attribute.
        #[allow(dead_code)]
        pub static PUBLIC: Cell<u32> = const { Cell::new(3) };
        pub(crate) static LIST: RefCell<Vec<u32>> = RefCell::new(vec![4]);
        pub(super) static LAST: String = String::from("five");
        static BLOCK: u32 = const { const FIVE: u32 = 5; FIVE + 1 };
        static UNTERMINATED: (u8, Option<&'static str>) = (7, None)
    }

    #[test]
    fn all_shapes_of_the_macro() {
        assert_eq!((BARE.with(|v| *v), BARE_CONST.with(|v| *v), PUBLIC.get()), (1, 2, 3));
        assert_eq!((LIST.with_borrow(|v| v.clone()), LAST.with(|v| v.clone())), (vec![4], "five".into()));
        assert_eq!((BLOCK.with(|v| *v), UNTERMINATED.with(|v| *v)), (6, (7, None)));
    }
}

#[test]
fn each_coroutine_has_its_own() {
    sward::task_local!(static NUMBER: Cell<u32> = const { Cell::new(5) });
    in_coroutine_and_thread(|| {
        NUMBER.set(1);
        let others: Vec<_> = (0..100)
            .map(|i| {
                sward::spawn(move || {
                    assert_eq!(NUMBER.get(), 5);
                    NUMBER.set(100 + i);
                    for _ in 0..10 {
                        sward::yield_now();
                        sleep(Duration::from_micros(10));
                        assert_eq!(NUMBER.get(), 100 + i);
                    }
                })
            })
            .collect();
        for other in others {
            other.join().unwrap();
        }
        std::thread::spawn(|| assert_eq!(NUMBER.get(), 5)).join().unwrap();
        assert_eq!(NUMBER.get(), 1);
    });
}

#[test]
fn a_value_is_made_at_its_first_use() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    sward::task_local!(static LAZY: usize = MADE.fetch_add(1, Ordering::SeqCst));
    in_runtime(|| {
        sward::spawn(|| ()).join().unwrap();
        assert_eq!(MADE.load(Ordering::SeqCst), 0);
        let first = sward::spawn(|| (LAZY.with(|v| *v), LAZY.with(|v| *v)));
        assert_eq!(first.join().unwrap(), (0, 0));
        assert_eq!(MADE.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn making_a_value_may_wait_and_use_others() {
    sward::task_local! {
        static FIRST: u32 = {
            sleep(Duration::from_millis(1));
            20
        };
        static SECOND: u32 = FIRST.with(|first| first + 1);
    }
    in_coroutine_and_thread(|| assert_eq!(SECOND.with(|second| *second), 21));
}

/// As in std, a value that the initializer itself has set is replaced and dropped.
#[test]
fn an_initializer_that_uses_its_own_local() {
    struct Depth(u32);
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    impl Drop for Depth {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::SeqCst);
        }
    }
    sward::task_local! {
        static AGAIN: Cell<bool> = const { Cell::new(true) };
        static DEEP: Depth = if AGAIN.replace(false) { DEEP.with(|v| Depth(v.0 + 1)) } else { Depth(0) };
    }
    in_runtime(|| {
        let both = sward::spawn(|| (DEEP.with(|v| v.0), DEEP.with(|v| v.0), DROPPED.load(Ordering::SeqCst)));
        assert_eq!(both.join().unwrap(), (1, 1, 1));
        assert_eq!(DROPPED.load(Ordering::SeqCst), 2);
    });
}

/// After a panic in the initializer, the next use makes the value again.
#[test]
fn a_panic_while_a_value_is_made() {
    sward::task_local! {
        static FAILS: Cell<bool> = const { Cell::new(true) };
        static VALUE: u32 = if FAILS.replace(false) { resume_unwind(Box::new("no")) } else { 1 };
    }
    in_coroutine_and_thread(|| {
        assert!(catch_unwind(|| VALUE.with(|v| *v)).is_err());
        assert_eq!(VALUE.with(|v| *v), 1);
    });
}

/// The reference that `with` passes stays valid over waits, although other locals are made meanwhile.
#[test]
fn a_value_is_kept_while_it_is_used() {
    sward::task_local! {
        static TEXT: RefCell<String> = RefCell::new("kept".to_owned());
        static A: u64 = 1;
        static B: [u64; 64] = [2; 64];
        static C: String = "c".into();
    }
    in_coroutine_and_thread(|| {
        TEXT.with(|text| {
            let held = text.borrow();
            let address = held.as_ptr();
            sleep(Duration::from_millis(1));
            assert_eq!(A.with(|v| *v) + B.with(|v| v[63]) + C.with(|v| v.len() as u64), 4);
            TEXT.scope(RefCell::new("other".into()), || TEXT.with_borrow_mut(|t| t.push('!')));
            assert!(catch_unwind(|| TEXT.with_borrow_mut(|_| ())).is_err(), "it is borrowed still");
            assert_eq!((held.as_str(), held.as_ptr()), ("kept", address));
        });
    });
}

#[test]
fn cells_have_the_functions_of_std() {
    sward::task_local! {
        static CELL: Cell<u32> = panic!("not needed to set it");
        static LIST: RefCell<Vec<u32>> = panic!("not needed to set it");
    }
    in_coroutine_and_thread(|| {
        CELL.set(1);
        assert_eq!((CELL.get(), CELL.replace(2), CELL.take(), CELL.get()), (1, 1, 2, 0));
        LIST.set(vec![1]);
        LIST.with_borrow_mut(|list| list.push(2));
        assert_eq!((LIST.with_borrow(Vec::len), LIST.replace(vec![3])), (2, vec![1, 2]));
        LIST.set(vec![4]);
        assert_eq!((LIST.take(), LIST.take()), (vec![4], vec![]));
    });
}

#[test]
fn a_value_need_not_be_send() {
    sward::task_local!(static SHARED: Rc<Cell<u32>> = Rc::new(Cell::new(0)));
    in_runtime(|| {
        let handles: Vec<_> = (0..200)
            .map(|_| {
                sward::spawn(|| {
                    let mine = SHARED.with(Rc::clone);
                    for _ in 0..20 {
                        SHARED.with(|shared| shared.set(shared.get() + 1));
                        sward::yield_now();
                    }
                    (mine.get(), Rc::strong_count(&mine))
                })
            })
            .collect();
        for handle in handles {
            assert_eq!(handle.join().unwrap(), (20, 2));
        }
    });
}

#[test]
fn a_value_is_destroyed_before_the_join_returns_and_on_its_own_thread() {
    struct Seen(mpsc::Sender<(Option<task::Id>, ThreadId)>);
    impl Drop for Seen {
        fn drop(&mut self) {
            self.0.send((task::current().id(), std::thread::current().id())).unwrap();
        }
    }
    sward::task_local!(static SEEN: RefCell<Option<Seen>> = const { RefCell::new(None) });
    in_runtime(|| {
        for _ in 0..200 {
            let (tx, rx) = mpsc::channel();
            let handle = sward::spawn(move || {
                SEEN.set(Some(Seen(tx)));
                sward::yield_now();
                std::thread::current().id()
            });
            let id = handle.task().id();
            let thread = handle.join().unwrap();
            let seen = rx.try_recv().expect("destroyed by now");
            assert_eq!(seen.0, id);
            assert!(cfg!(sward_migrate) || seen.1 == thread);
        }
    });
}

#[test]
fn values_are_destroyed_in_reverse_order() {
    sward::task_local! {
        static A: RefCell<Option<WritesInDrop>> = const { RefCell::new(None) };
        static B: RefCell<Option<WritesInDrop>> = const { RefCell::new(None) };
        static C: RefCell<Option<WritesInDrop>> = const { RefCell::new(None) };
    }
    in_coroutine_and_thread(|| {
        let journal = Journal::default();
        let theirs = journal.clone();
        let fill = move || {
            B.set(Some(WritesInDrop(theirs.clone(), "b")));
            C.set(Some(WritesInDrop(theirs.clone(), "c")));
            A.set(Some(WritesInDrop(theirs.clone(), "a")));
            B.with_borrow(|b| assert!(b.is_some()));
        };
        sward::spawn(fill.clone()).join().unwrap();
        std::thread::spawn(fill).join().unwrap();
        assert_eq!(entries(&journal), ["a", "c", "b", "a", "c", "b"]);
    });
}

#[test]
fn values_are_destroyed_after_a_panic_and_a_cancellation() {
    sward::task_local!(static NOTES: RefCell<Option<WritesInDrop>> = const { RefCell::new(None) });
    in_runtime(|| {
        let journal = Journal::default();
        let theirs = journal.clone();
        let panics = sward::spawn(move || {
            NOTES.set(Some(WritesInDrop(theirs, "panic")));
            resume_unwind(Box::new("mine"))
        });
        let outcome: Result<(), _> = panics.join();
        assert!(matches!(outcome, Err(JoinError::Panicked(_))));
        let theirs = journal.clone();
        let (tx, rx) = mpsc::channel();
        let cancelled = sward::spawn(move || {
            NOTES.set(Some(WritesInDrop(theirs, "cancel")));
            tx.send(()).unwrap();
            sleep(LONG);
        });
        while rx.try_recv().is_err() {
            sward::yield_now();
        }
        cancelled.cancel();
        assert!(matches!(cancelled.join(), Err(JoinError::Cancelled)));
        assert_eq!(entries(&journal), ["panic", "cancel"]);
    });
}

#[test]
fn values_are_destroyed_at_shutdown() {
    sward::task_local!(static NOTES: RefCell<Option<WritesInDrop>> = const { RefCell::new(None) });
    let journal = Journal::default();
    in_runtime(|| {
        let started = Arc::new(AtomicUsize::new(0));
        for _ in 0..50 {
            let (theirs, count) = (journal.clone(), started.clone());
            drop(sward::spawn(move || {
                NOTES.set(Some(WritesInDrop(theirs, "shutdown")));
                count.fetch_add(1, Ordering::SeqCst);
                task::park();
            }));
        }
        while started.load(Ordering::SeqCst) < 50 {
            sleep(Duration::from_millis(1));
        }
    });
    assert_eq!(entries(&journal).len(), 50);
}

/// A destructor can use a local that still has its value, can make one that had none, and cannot use its own.
#[test]
fn destructors_use_other_locals() {
    struct Looks(Journal);
    impl Drop for Looks {
        fn drop(&mut self) {
            let own = LOOKS.try_with(|_| ());
            assert_eq!(own.unwrap_err().to_string(), "the task local has been destroyed, or is being so");
            assert!(catch_unwind(|| LOOKS.scope(RefCell::new(None), || ())).is_err());
            EARLIER.with_borrow_mut(|text| text.push_str(" seen"));
            MADE_LATE.set(Some(WritesInDrop(self.0.clone(), "made late")));
            assert!(LATER.try_with(|_| ()).is_err(), "it went before this one");
            WritesInDrop(self.0.clone(), "looks");
        }
    }
    struct Tells(Journal, String);
    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(std::mem::take(&mut self.1));
        }
    }
    impl Tells {
        fn push_str(&mut self, text: &str) {
            self.1.push_str(text);
        }
    }
    sward::task_local! {
        static EARLIER: RefCell<Tells> = panic!("set first");
        static LOOKS: RefCell<Option<Looks>> = const { RefCell::new(None) };
        static LATER: u8 = 1;
        static MADE_LATE: RefCell<Option<WritesInDrop>> = const { RefCell::new(None) };
    }
    let journal = Journal::default();
    in_coroutine_and_thread(|| {
        let (a, b) = (journal.clone(), journal.clone());
        let work = move || {
            EARLIER.set(Tells(a.clone(), "earlier".into()));
            LOOKS.set(Some(Looks(b.clone())));
            LATER.with(|_| ());
        };
        sward::spawn(work.clone()).join().unwrap();
        assert_eq!(entries(&journal), ["looks", "made late", "earlier seen"]);
        journal.lock().unwrap().clear();
        std::thread::spawn(work).join().unwrap();
        assert_eq!(entries(&journal), ["looks", "made late", "earlier seen"]);
        journal.lock().unwrap().clear();
    });
}

/// Destructors that make each other's values: each value is made once more, so the destruction ends.
#[test]
fn destructors_that_make_each_others_values() {
    struct Revives(fn());
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    impl Drop for Revives {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::SeqCst);
            (self.0)();
        }
    }
    sward::task_local! {
        static PING: Revives = Revives(|| _ = PONG.try_with(|_| ()));
        static PONG: Revives = Revives(|| _ = PING.try_with(|_| ()));
    }
    in_runtime(|| {
        sward::spawn(|| PING.with(|_| ())).join().unwrap();
        assert_eq!(DROPPED.load(Ordering::SeqCst), 2);
        std::thread::spawn(|| PONG.with(|_| ())).join().unwrap();
        assert_eq!(DROPPED.load(Ordering::SeqCst), 4);
    });
}

#[test]
fn destructors_may_wait() {
    struct Sleeps(Journal);
    impl Drop for Sleeps {
        fn drop(&mut self) {
            sleep(Duration::from_millis(2));
            let helper = sward::spawn(|| 1);
            assert_eq!(helper.join().unwrap(), 1);
            let limited = sward::time::timeout(Duration::from_millis(2), || sleep(LONG));
            assert!(limited.is_err());
            WritesInDrop(self.0.clone(), "waited");
        }
    }
    sward::task_local!(static SLEEPS: RefCell<Option<Sleeps>> = const { RefCell::new(None) });
    in_coroutine_and_thread(|| {
        let journal = Journal::default();
        let theirs = journal.clone();
        let work = move || SLEEPS.set(Some(Sleeps(theirs.clone())));
        let handles: Vec<_> = (0..20).map(|_| sward::spawn(work.clone())).collect();
        for handle in handles {
            handle.join().unwrap();
        }
        assert_eq!(entries(&journal).len(), 20);
        std::thread::spawn(work).join().unwrap();
        assert_eq!(entries(&journal).len(), 21);
    });
}

/// In a cancelled coroutine the waits of destructors unwind like all its waits. The other destructors run.
#[test]
fn a_wait_in_a_destructor_of_a_cancelled_coroutine() {
    struct Sleeps(#[allow(dead_code)] WritesInDrop);
    impl Drop for Sleeps {
        fn drop(&mut self) {
            sleep(LONG);
            unreachable!("the wait unwinds");
        }
    }
    sward::task_local! {
        static FIRST: RefCell<Option<WritesInDrop>> = const { RefCell::new(None) };
        static SLEEPS: RefCell<Option<Sleeps>> = const { RefCell::new(None) };
    }
    in_runtime(|| {
        let journal = Journal::default();
        let theirs = journal.clone();
        let handle = sward::spawn(move || {
            FIRST.set(Some(WritesInDrop(theirs.clone(), "first")));
            SLEEPS.set(Some(Sleeps(WritesInDrop(theirs, "sleeps"))));
            task::park();
        });
        handle.cancel();
        assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
        // The cancellation came before or after the start, so either none of them was made, or both were.
        assert!(matches!(entries(&journal).len(), 0 | 2), "{:?}", entries(&journal));
    });
}

#[test]
fn a_panic_in_a_destructor_ends_there() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            resume_unwind(Box::new("in a destructor"));
        }
    }
    sward::task_local! {
        static FIRST: RefCell<Option<WritesInDrop>> = const { RefCell::new(None) };
        static PANICS: Panics = Panics;
    }
    in_coroutine_and_thread(|| {
        let journal = Journal::default();
        let theirs = journal.clone();
        let work = move || {
            FIRST.set(Some(WritesInDrop(theirs.clone(), "first")));
            PANICS.with(|_| ());
            7
        };
        assert_eq!(sward::spawn(work.clone()).join().unwrap(), 7);
        assert_eq!(std::thread::spawn(work).join().unwrap(), 7);
        assert_eq!(entries(&journal), ["first", "first"]);
    });
}

/// The result of a detached coroutine is dropped on its stack. Locals that its destructor makes are destroyed
/// too, and destroyed ones stay inaccessible.
#[test]
fn locals_in_the_destructor_of_a_detached_result() {
    struct Result(Journal, Arc<AtomicBool>);
    impl Drop for Result {
        fn drop(&mut self) {
            assert!(USED.try_with(|_| ()).is_err());
            UNUSED.set(Some(WritesInDrop(self.0.clone(), "unused")));
            self.1.store(true, Ordering::Release);
        }
    }
    sward::task_local! {
        static USED: u8 = 1;
        static UNUSED: RefCell<Option<WritesInDrop>> = const { RefCell::new(None) };
    }
    let journal = Journal::default();
    in_runtime(|| {
        let dropped = Arc::new(AtomicBool::new(false));
        let detached = Arc::new(AtomicBool::new(false));
        let (mine, gate, theirs) = (dropped.clone(), detached.clone(), journal.clone());
        drop(sward::spawn(move || {
            USED.with(|_| ());
            // Otherwise the result would be dropped with the handle, by this test.
            while !gate.load(Ordering::Acquire) {
                sward::yield_now();
            }
            Result(theirs, mine)
        }));
        detached.store(true, Ordering::Release);
        while !dropped.load(Ordering::Acquire) {
            sleep(Duration::from_millis(1));
        }
    });
    assert_eq!(entries(&journal), ["unused"]);
}

/// The closure of a coroutine that never ran is dropped where the coroutine is discarded, with the locals
/// there.
#[test]
fn closures_that_never_run() {
    sward::task_local!(static NUMBER: Cell<u32> = const { Cell::new(1) });
    struct Reads(Arc<AtomicUsize>);
    impl Drop for Reads {
        fn drop(&mut self) {
            NUMBER.set(NUMBER.get() + 1);
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    in_runtime(|| {
        NUMBER.set(50);
        for _ in 0..100 {
            let reads = Reads(dropped.clone());
            let handle = sward::spawn(move || drop(reads));
            handle.cancel();
            assert!(matches!(handle.join(), Ok(()) | Err(JoinError::Cancelled)));
        }
        assert_eq!(NUMBER.get(), 50);
    });
    assert_eq!(dropped.load(Ordering::SeqCst), 100);
}

/// The destructor of a std thread-local uses a task local and waits, before or after the task locals were
/// destroyed. In either order of std, the use succeeds or is refused.
#[test]
fn a_thread_local_destructor_after_the_locals() {
    struct Late(mpsc::Sender<()>);
    impl Drop for Late {
        fn drop(&mut self) {
            let used = LOCAL.try_with(Cell::get);
            assert!(matches!(used, Ok(2) | Err(_)), "a value of its own");
            sleep(Duration::from_micros(10));
            self.0.send(()).unwrap();
        }
    }
    sward::task_local!(static LOCAL: Cell<u8> = const { Cell::new(1) });
    thread_local!(static LATE: RefCell<Option<Late>> = const { RefCell::new(None) });
    let (tx, rx) = mpsc::channel();
    let (early, early_rx) = mpsc::channel();
    std::thread::spawn(move || {
        LATE.set(Some(Late(tx)));
        LOCAL.set(2);
    })
    .join()
    .unwrap();
    std::thread::spawn(move || {
        LOCAL.set(2);
        LATE.set(Some(Late(early)));
    })
    .join()
    .unwrap();
    assert!(rx.recv().is_ok() && early_rx.recv().is_ok());
}

/// Each thread begins with values of its own, although the parker is used again.
#[test]
fn a_new_thread_finds_nothing_of_an_ended_one() {
    sward::task_local!(static NUMBER: Cell<u32> = const { Cell::new(1) });
    for _ in 0..100 {
        std::thread::spawn(|| {
            assert_eq!(NUMBER.replace(2), 1);
        })
        .join()
        .unwrap();
    }
}

#[test]
fn scope_sets_and_restores() {
    sward::task_local! {
        static NAME: String = "first".to_owned();
        static UNMADE: WritesInDrop = panic!("not made");
    }
    in_coroutine_and_thread(|| {
        let name = || NAME.with(|name| name.clone());
        let inside = NAME.scope("outer".into(), || {
            let inner = NAME.scope("inner".into(), || {
                sleep(Duration::from_micros(50));
                name()
            });
            let other = sward::spawn(|| NAME.with(|name| name.clone())).join().unwrap();
            (inner, name(), other)
        });
        assert_eq!(inside, ("inner".into(), "outer".into(), "first".into()));
        assert_eq!(name(), "first");
        let unwound = catch_unwind(|| NAME.scope("lost".into(), || -> () { resume_unwind(Box::new(())) }));
        assert!(unwound.is_err());
        assert_eq!(name(), "first");
        // The key's own initializer runs neither for the scope nor after it.
        let journal = Journal::default();
        UNMADE.scope(WritesInDrop(journal.clone(), "scoped"), || {
            UNMADE.with(|notes| assert_eq!(notes.1, "scoped"))
        });
        assert_eq!(entries(&journal), ["scoped"]);
        assert!(catch_unwind(AssertUnwindSafe(|| UNMADE.with(|_| ()))).is_err());
    });
}

#[test]
fn a_cancellation_restores_the_scope() {
    sward::task_local!(static NAME: RefCell<Option<WritesInDrop>> = const { RefCell::new(None) });
    in_runtime(|| {
        let journal = Journal::default();
        let theirs = journal.clone();
        let (tx, rx) = mpsc::channel();
        let handle = sward::spawn(move || {
            NAME.set(Some(WritesInDrop(theirs.clone(), "outer")));
            NAME.scope(RefCell::new(Some(WritesInDrop(theirs, "inner"))), || {
                tx.send(()).unwrap();
                sleep(LONG);
            });
        });
        while rx.try_recv().is_err() {
            sward::yield_now();
        }
        handle.cancel();
        assert!(handle.join().is_err());
        assert_eq!(entries(&journal), ["inner", "outer"]);
    });
}

#[test]
fn a_value_is_inherited_on_request() {
    sward::task_local!(static NAME: String = "first".to_owned());
    fn name() -> String {
        NAME.with(String::clone)
    }
    in_coroutine_and_thread(|| {
        let text = String::from("borrowed");
        NAME.scope("outer".into(), || {
            sward::scope(|s| {
                let inherits = s.spawn(NAME.inherit(|| {
                    let inner = NAME.scope("inner".into(), name);
                    // A grandchild inherits from the child.
                    let below = sward::scope(|s| s.spawn(NAME.inherit(name)).join().unwrap());
                    (name(), inner, below, text.len())
                }));
                let does_not = s.spawn(name);
                assert_eq!(inherits.join().unwrap(), ("outer".into(), "inner".into(), "outer".into(), 8));
                assert_eq!(does_not.join().unwrap(), "first");
            });
            // Detached coroutines as well; and a call that runs the closure in place restores its own value.
            assert_eq!(sward::spawn(NAME.inherit(name)).join().unwrap(), "outer");
            let later = NAME.inherit(name);
            NAME.scope("other".into(), || {
                assert_eq!(later(), "outer");
                assert_eq!(name(), "other");
            });
        });
        assert_eq!(name(), "first");
    });
}

/// The call makes the copy, not the start of the closure, and the copy belongs to the child.
#[test]
fn an_inherited_value_is_a_copy() {
    sward::task_local!(static COUNT: Cell<u32> = const { Cell::new(1) });
    sward::task_local!(static LOG: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) });
    in_coroutine_and_thread(|| {
        LOG.with_borrow_mut(|log| log.push(1));
        let child = COUNT.inherit(LOG.inherit(|| {
            COUNT.set(COUNT.get() + 10);
            LOG.with_borrow_mut(|log| log.push(2));
            (COUNT.get(), LOG.take())
        }));
        COUNT.set(5);
        LOG.with_borrow_mut(|log| log.push(3));
        assert_eq!(sward::spawn(child).join().unwrap(), (11, vec![1, 2]));
        assert_eq!((COUNT.get(), LOG.take()), (5, vec![1, 3]));
        // A borrowed value cannot be copied; then the call has no effect.
        let caught = LOG.with_borrow_mut(|_| catch_unwind(AssertUnwindSafe(|| drop(LOG.inherit(|| ())))));
        assert!(caught.is_err());
        COUNT.set(1);
    });
}

/// A closure that never runs drops the copy, and so does one whose coroutine is cancelled.
#[test]
fn an_inherited_copy_is_dropped_once() {
    #[derive(Clone)]
    struct Counted(Arc<()>);
    sward::task_local!(static HELD: Option<Counted> = None);
    in_runtime(|| {
        let count = Arc::new(());
        HELD.scope(Some(Counted(count.clone())), || {
            assert_eq!(Arc::strong_count(&HELD.with(|held| held.clone().unwrap().0)), 3);
            let unrun = HELD.inherit(|| ());
            assert_eq!(Arc::strong_count(&count), 3);
            drop(unrun);
            let parks = sward::spawn(HELD.inherit(task::park));
            parks.cancel();
            assert!(matches!(parks.join(), Err(JoinError::Cancelled)));
            assert_eq!(Arc::strong_count(&count), 2);
        });
        assert_eq!(Arc::strong_count(&count), 1);
    });
}

/// Keys that are constants, also equal ones of different types: each has a value of its own type.
#[test]
fn keys_that_are_constants() {
    const WORD: task::LocalKey<Cell<u64>> = task::LocalKey::new(|| Cell::new(0));
    const BYTES: task::LocalKey<Cell<[u8; 8]>> = task::LocalKey::new(|| Cell::new([0; 8]));
    in_coroutine_and_thread(|| {
        WORD.set(u64::MAX);
        BYTES.set([1; 8]);
        assert!(matches!(WORD.get(), 0 | u64::MAX));
        assert!(matches!(BYTES.get(), [0, ..] | [1, ..]));
    });
}

#[test]
fn auto_traits_are_as_promised() {
    fn send_sync<T: Send + Sync>() {}
    send_sync::<task::LocalKey<Rc<Cell<u8>>>>();
    send_sync::<task::AccessError>();
}

/// A value for a local that is gone is dropped where its destructor may use other locals.
#[test]
fn a_value_for_a_destroyed_local_may_use_other_locals() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    enum Held {
        AtFirst,
        TooLate,
    }
    impl Drop for Held {
        fn drop(&mut self) {
            match self {
                Held::AtFirst => {
                    let late = catch_unwind(|| HELD.scope(Held::TooLate, || ()));
                    let message = late.expect_err("it is gone");
                    let message = message.downcast_ref::<String>().expect("a text");
                    assert!(message.starts_with("sward: "), "{message}");
                }
                Held::TooLate => _ = SEEN.fetch_add(NUMBER.with(|number| *number), Ordering::SeqCst),
            }
        }
    }
    sward::task_local! {
        static HELD: Held = Held::AtFirst;
        static NUMBER: usize = 1;
    }
    let use_both = || {
        NUMBER.with(|_| ());
        HELD.with(|_| ());
    };
    in_runtime(use_both);
    // Joined, so that the thread's locals are gone: the end of a thread scope does not wait for that.
    std::thread::spawn(use_both).join().expect("no panic");
    assert_eq!(SEEN.load(Ordering::SeqCst), 2);
}
