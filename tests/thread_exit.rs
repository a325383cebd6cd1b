//! Waits in destructors of thread-locals, after the crate's own thread-locals are gone: the thread still is
//! one task, with a token, a time limit and masks of its own.

mod checked;

use std::cell::RefCell;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use sward::task::{self, Task};
use sward::time::timeout;

/// A time that no test waits for unless it hangs.
const LONG: Duration = Duration::from_secs(3600);

/// Long enough to see whether a thread is woken that should not be.
const MOMENT: Duration = Duration::from_millis(5);

/// Calls the closure when it is dropped.
struct AtExit(Box<dyn FnOnce() + Send>);

impl Drop for AtExit {
    fn drop(&mut self) {
        std::mem::replace(&mut self.0, Box::new(|| ()))();
    }
}

/// Runs the closure in a new thread as the destructor of a thread-local that is destroyed after the crate's.
fn at_exit(f: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread_local! {
        static LAST: RefCell<Option<AtExit>> = const { RefCell::new(None) };
    }
    thread::spawn(|| {
        // Destructors run in the reverse order of the first uses.
        LAST.with(|last| *last.borrow_mut() = Some(AtExit(Box::new(f))));
        task::park_timeout(Duration::ZERO);
    })
}

/// Whether somebody has unparked the calling thread.
fn is_woken() -> bool {
    let start = Instant::now();
    task::park_timeout(MOMENT);
    start.elapsed() < MOMENT
}

/// The token went to a parker that the next thread had by then, and the wait was one on yet another parker.
#[test]
fn a_token_reaches_a_thread_that_ends_and_no_other() {
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
        // Begins to wait meanwhile.
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
}

/// A handle that outlives its thread wakes nobody.
#[test]
fn a_handle_that_outlives_its_thread_wakes_nobody() {
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
}

#[test]
fn a_time_limit_holds_in_a_thread_that_ends() {
    let (tell, told) = mpsc::channel();
    let thread = at_exit(move || {
        let outcome = timeout(Duration::from_millis(1), || sward::sleep(LONG));
        let masked = timeout(Duration::from_millis(1), || task::mask(|| sward::sleep(MOMENT)));
        tell.send((outcome.is_err(), masked.is_ok())).unwrap();
    });
    assert_eq!(told.recv_timeout(Duration::from_secs(60)), Ok((true, true)));
    thread.join().unwrap();
}

/// Also one that has never waited before.
#[test]
fn a_thread_may_wait_for_the_first_time_as_it_ends() {
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
}
