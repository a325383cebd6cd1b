//! Destructors at the end of a thread. A home's run when its runtime has ended.

use super::coroutines::coroutines;
use crate::common::eventually;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Each value is dropped once, in the thread that has it.
#[test]
fn destructors_of_thread_locals_run_once() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Waits(std::thread::ThreadId);
    impl Drop for Waits {
        fn drop(&mut self) {
            (0..3).for_each(|_| sward::yield_now());
            assert_eq!(self.0, std::thread::current().id());
            DROPPED.fetch_add(1, Ordering::SeqCst);
        }
    }
    thread_local! {
        static VALUE: Waits = {
            MADE.fetch_add(1, Ordering::SeqCst);
            Waits(std::thread::current().id())
        };
    }
    coroutines(20).isolated().run(|this| VALUE.with(|_| this.pauses(2)));
    coroutines(100).run(|this| VALUE.with(|_| this.pauses(2)));
    assert!(MADE.load(Ordering::SeqCst) > 20);
    eventually("all are dropped", || DROPPED.load(Ordering::SeqCst) == MADE.load(Ordering::SeqCst));
}

/// The same for the keys of pthreads. Their destructors run after those of thread-locals.
#[test]
fn destructors_of_pthread_keys_run_once() {
    static SET: AtomicUsize = AtomicUsize::new(0);
    static DESTROYED: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C" fn destroy(value: *mut libc::c_void) {
        assert_eq!(value.addr(), pthread_self());
        DESTROYED.fetch_add(1, Ordering::SeqCst);
    }
    fn pthread_self() -> usize {
        // SAFETY: the call has no conditions.
        unsafe { libc::pthread_self() as usize }
    }
    let mut key: libc::pthread_key_t = 0;
    // SAFETY: the key lives until the call ends, and the destructor as long as the program.
    assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(destroy)) }, 0);
    let check = move |this: &super::coroutines::Coroutine| {
        let own = pthread_self();
        // SAFETY: the key is never deleted. The value is a number that nobody dereferences.
        unsafe {
            let value = libc::pthread_getspecific(key).addr();
            if value == 0 {
                SET.fetch_add(1, Ordering::SeqCst);
                assert_eq!(libc::pthread_setspecific(key, std::ptr::without_provenance(own)), 0);
            }
            assert!(value == 0 || value == own);
            this.pauses(3);
            assert_eq!(libc::pthread_getspecific(key).addr(), own);
        }
        assert_eq!(pthread_self(), own);
    };
    coroutines(20).isolated().run(check);
    coroutines(100).run(check);
    assert!(SET.load(Ordering::SeqCst) > 20);
    eventually("all are destroyed", || DESTROYED.load(Ordering::SeqCst) == SET.load(Ordering::SeqCst));
}
