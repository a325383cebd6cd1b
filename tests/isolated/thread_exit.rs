//! Waits in destructors of thread-locals, after the thread-locals of the crate are gone. The thread is still
//! one task, with a token, a time limit and masks of its own.

use crate::common::{LONG, MOMENT, in_child};
use std::cell::RefCell;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use sward::task::{self, Task};
use sward::time::timeout;

/// Calls the closure when it is dropped.
struct AtExit(Box<dyn FnOnce() + Send>);

impl Drop for AtExit {
    fn drop(&mut self) {
        std::mem::replace(&mut self.0, Box::new(|| ()))();
    }
}

/// Runs the closure in a new thread, in the destructor of a thread-local that is destroyed after those of the
/// crate.
fn at_exit(f: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread_local! {
        static LAST: RefCell<Option<AtExit>> = const { RefCell::new(None) };
    }
    thread::spawn(|| {
        // Destructors run in the reverse order of first use.
        LAST.with(|last| *last.borrow_mut() = Some(AtExit(Box::new(f))));
        task::park_timeout(Duration::ZERO);
    })
}

/// Whether the calling thread has been unparked.
fn is_woken() -> bool {
    let start = Instant::now();
    task::park_timeout(MOMENT);
    start.elapsed() < MOMENT
}

/// The thread keeps its parker, so that a token reaches it, and not the next thread that uses the parker.
#[test]
fn a_token_reaches_a_thread_that_ends_and_no_other() {
    in_child(|| {
        for _ in 0..20 {
            let (tasks, task) = mpsc::channel::<Task>();
            let (next, begins) = mpsc::channel::<()>();
            let (ended, end) = mpsc::channel();
            let ending = at_exit(move || {
                tasks.send(task::current()).unwrap();
                begins.recv().unwrap();
                task::park_timeout(LONG);
                task::current().unpark();
                task::park_timeout(LONG);
                ended.send(()).unwrap();
            });
            let task = task.recv().unwrap();
            // Another thread that begins to wait meanwhile.
            let other = thread::spawn(move || {
                task::park_timeout(Duration::ZERO);
                task.unpark();
                next.send(()).unwrap();
                is_woken()
            });
            assert!(!other.join().unwrap(), "another thread has its token");
            end.recv_timeout(Duration::from_secs(60)).expect("the token is lost");
            ending.join().unwrap();
        }
    });
}

/// A handle of a thread that has ended wakes no other thread.
#[test]
fn a_handle_that_outlives_its_thread_wakes_nobody() {
    in_child(|| {
        for in_destructor in [false, true] {
            for _ in 0..20 {
                let (tasks, task) = mpsc::channel::<Task>();
                let send = move || tasks.send(task::current()).unwrap();
                let thread = if in_destructor { at_exit(send) } else { thread::spawn(send) };
                let task = task.recv().unwrap();
                thread.join().unwrap();
                let woken = thread::spawn(move || {
                    task::park_timeout(Duration::ZERO);
                    task.unpark();
                    is_woken()
                });
                assert!(!woken.join().unwrap(), "it has what belonged to the ended one");
            }
        }
    });
}

#[test]
fn a_time_limit_holds_in_a_thread_that_ends() {
    in_child(|| {
        let (tell, told) = mpsc::channel();
        let thread = at_exit(move || {
            let outcome = timeout(Duration::from_millis(1), || sward::sleep(LONG));
            let masked = timeout(Duration::from_millis(1), || task::mask(|| sward::sleep(MOMENT)));
            tell.send((outcome.is_err(), masked.is_ok())).unwrap();
        });
        assert_eq!(told.recv_timeout(Duration::from_secs(60)), Ok((true, true)));
        thread.join().unwrap();
    });
}

/// The same for a thread that has never waited before.
#[test]
fn a_thread_may_wait_for_the_first_time_as_it_ends() {
    in_child(|| {
        thread_local! {
            static LAST: RefCell<Option<AtExit>> = const { RefCell::new(None) };
        }
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(|| {
            LAST.with(|last| {
                *last.borrow_mut() = Some(AtExit(Box::new(move || {
                    let me = task::current();
                    me.unpark();
                    task::park_timeout(LONG);
                    tell.send(timeout(Duration::from_millis(1), || sward::sleep(LONG)).is_err()).unwrap();
                })));
            });
        });
        assert_eq!(told.recv_timeout(Duration::from_secs(60)), Ok(true));
        thread.join().unwrap();
    });
}
