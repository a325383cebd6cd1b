//! Values that are bound to a thread: borrows, counts, the thread's identity, panics.

use super::coroutines::coroutines;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;

/// A borrow that lasts over waits excludes the siblings, which live in the same thread, and nobody else.
#[test]
fn a_borrow_of_a_thread_local_lasts_over_waits() {
    thread_local!(static CELL: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) });
    coroutines(40).run(|this| {
        let sum = CELL.with(|cell| {
            let mut values = this.retry(|| cell.try_borrow_mut().ok());
            values.clear();
            for i in 0..20 {
                values.push(this.number);
                this.pause();
                assert_eq!(values.len(), i + 1);
                assert!(cell.try_borrow().is_err());
            }
            values.iter().sum::<usize>()
        });
        assert_eq!(sum, 20 * this.number);
    });
}

#[test]
fn the_clones_of_an_rc_stay_in_one_thread() {
    thread_local!(static SHARED: Rc<Cell<usize>> = Rc::default());
    coroutines(100).run(|this| {
        let own = Rc::new(this.number);
        let clones = vec![own.clone(); 10];
        let shared = SHARED.with(Rc::clone);
        for _ in 0..20 {
            let before = shared.replace(usize::MAX);
            assert_ne!(before, usize::MAX, "another thread is in between");
            shared.set(before + 1);
            this.pause();
            let again = SHARED.with(Rc::clone);
            assert!(Rc::ptr_eq(&shared, &again) && Rc::strong_count(&again) >= 3);
        }
        assert_eq!(Rc::strong_count(&own), 11);
        drop(clones);
        this.pauses(3);
        assert_eq!(Rc::strong_count(&own), 1);
    });
    coroutines(20).isolated().run(|this| {
        let shared = SHARED.with(Rc::clone);
        this.pauses(20);
        assert_eq!(Rc::strong_count(&shared), 2);
    });
}

#[test]
fn the_thread_is_the_same_after_each_wait() {
    thread_local!(static BYTE: u8 = const { 0 });
    #[inline(never)]
    fn address() -> usize {
        BYTE.with(|byte| std::ptr::from_ref(byte).addr())
    }
    coroutines(100).run(|this| {
        let (thread, at) = (thread::current(), address());
        for _ in 0..20 {
            this.pause();
            assert_eq!(thread::current().id(), thread.id());
            assert_eq!(thread::current().name(), thread.name());
            assert_eq!(address(), at);
        }
    });
}

/// Isolated coroutines are in different threads, as long as they live.
#[test]
fn no_two_isolated_coroutines_are_in_one_thread() {
    let threads = Arc::new(Mutex::new(HashSet::new()));
    coroutines(50).isolated().run(move |this| {
        let id = thread::current().id();
        assert!(threads.lock().expect("no panic").insert(id));
        this.pauses(20);
        assert_eq!(thread::current().id(), id);
        threads.lock().expect("no panic").remove(&id);
    });
}

#[test]
fn a_scope_in_a_thread_local_lasts_over_waits() {
    scoped_tls::scoped_thread_local!(static SCOPED: usize);
    coroutines(20).isolated().unchecked().run(|this| {
        SCOPED.set(&this.number, || {
            for _ in 0..20 {
                SCOPED.with(|number| {
                    this.pause();
                    assert_eq!(*number, this.number);
                });
            }
        });
        assert!(!SCOPED.is_set());
    });
}

#[test]
fn the_initializer_of_a_thread_local_may_wait() {
    thread_local! {
        static LATE: Rc<Cell<thread::ThreadId>> = {
            let thread = thread::current().id();
            (0..5).for_each(|_| sward::yield_now());
            Rc::new(Cell::new(thread))
        };
    }
    coroutines(20).isolated().unchecked().run(|this| {
        let late = LATE.with(Rc::clone);
        assert_eq!(late.get(), thread::current().id());
        this.pauses(3);
        assert_eq!(Rc::strong_count(&late), 2);
    });
}

/// The count of panics is the thread's. It is the coroutine's own, since nothing switches while it is not 0.
#[test]
fn panics_do_not_mix() {
    struct Waits(usize);
    impl Drop for Waits {
        fn drop(&mut self) {
            assert!(thread::panicking());
            (0..5 + self.0 % 3).for_each(|_| sward::yield_now());
            assert!(thread::panicking());
            let inner = catch_unwind(|| {
                sward::yield_now();
                resume_unwind(Box::new(2));
            });
            assert!(inner.is_err() && thread::panicking());
        }
    }
    coroutines(100).run(|this| {
        for round in 0..10 {
            assert!(!thread::panicking());
            let panic = catch_unwind(AssertUnwindSafe(|| {
                let _waits = Waits(this.number + round);
                this.pauses(this.number % 2);
                resume_unwind(Box::new(this.number));
            }));
            assert_eq!(*panic.expect_err("a panic").downcast::<usize>().expect("a number"), this.number);
            assert!(!thread::panicking());
            this.pause();
        }
        let mutex = Mutex::new(0);
        let guard = mutex.lock().expect("no panic");
        this.pauses(3);
        drop(guard);
        assert!(!mutex.is_poisoned());
    });
}

#[test]
fn a_backtrace_reaches_the_caller() {
    #[inline(never)]
    fn a_function_to_find(pause: impl Fn()) -> String {
        pause();
        std::backtrace::Backtrace::force_capture().to_string()
    }
    coroutines(5).run(|this| {
        assert!(a_function_to_find(|| this.pauses(3)).contains("a_function_to_find"));
    });
}

/// Memory that one thread has allocated is freed in another. Many coroutines are unstarted for a while.
#[test]
fn memory_is_the_coroutines_own() {
    coroutines(3_000).run(|this| {
        let values = vec![this.number; 50];
        this.pauses(this.number % 5);
        let clone = values.clone();
        this.pause();
        assert_eq!(values, clone);
    });
}
