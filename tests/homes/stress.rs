//! Everything that interrupts threads, or changes what they have, at once, amid thousands of moves.

use super::coroutines::coroutines;
use super::dynamic_loading::{Library, compile};
use crate::common::{Folder, in_child};
use std::cell::{Cell, RefCell};
use std::process::{Command, abort};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

thread_local! {
    static SIGNALS: Cell<usize> = const { Cell::new(0) };
    static VALUES: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}
static ALL_SIGNALS: AtomicUsize = AtomicUsize::new(0);

/// Uses what a handler may use of its thread, and changes `errno` meanwhile.
extern "C" fn on_signal(_: libc::c_int) {
    // SAFETY: it is the thread's own.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        SIGNALS.set(SIGNALS.get() + 1);
        *errno = 99;
        ALL_SIGNALS.fetch_add(1, Ordering::Relaxed);
        *errno = before;
    }
}

/// Sends the process a signal every 500 µs. Any thread that has not blocked it may get it.
fn start_timer() {
    let handler: extern "C" fn(libc::c_int) = on_signal;
    let period = libc::timeval { tv_sec: 0, tv_usec: 500 };
    let timer = libc::itimerval { it_interval: period, it_value: period };
    // SAFETY: zeros are a valid value; the handler is safe to call at any moment.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        assert_eq!(libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()), 0);
        assert_eq!(libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()), 0);
    }
}

#[test]
fn signals_loads_forks_and_groups_amid_moves() {
    in_child(|| {
        // A hang ends the child.
        thread::spawn(|| {
            thread::sleep(Duration::from_secs(300));
            abort();
        });
        let folder = Folder::new();
        let path = compile(&folder, "global-dynamic", 44);
        start_timer();
        coroutines(40).moves(3_000).run(move |this| match this.number {
            0 => {
                for _ in 0..100 {
                    let Some(path) = &path else { break };
                    let library = Library::load(path);
                    assert_eq!(library.get(), 44);
                    library.set(45);
                    this.pause();
                    assert_eq!(library.get(), 45);
                    library.unload();
                    this.pause();
                }
            }
            1 => {
                for _ in 0..20 {
                    assert!(Command::new("true").status().expect("a child").success());
                    this.pauses(10);
                }
            }
            2 => {
                for _ in 0..50 {
                    // SAFETY: the calls take no pointers.
                    assert_eq!(unsafe { libc::setgid(libc::getgid()) }, 0);
                    this.pauses(10);
                }
            }
            3 => {
                for _ in 0..50 {
                    let own = thread::current().id();
                    assert_ne!(thread::spawn(|| thread::current().id()).join().expect("no panic"), own);
                    this.pauses(10);
                }
            }
            _ => {
                for round in 0..200 {
                    let at = VALUES.with(|values| {
                        let mut values = this.retry(|| values.try_borrow_mut().ok());
                        values.clear();
                        values.resize(10 + round, this.number);
                        this.pause();
                        assert!(values.iter().all(|value| *value == this.number));
                        values.as_ptr()
                    });
                    std::hint::black_box(at);
                    this.wait(|| sward::sleep(Duration::from_micros(this.number as u64)));
                }
            }
        });
        assert!(ALL_SIGNALS.load(Ordering::Relaxed) > 0);
    });
}
