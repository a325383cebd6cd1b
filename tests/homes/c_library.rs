//! What the C library keeps for each thread.

use super::coroutines::coroutines;
use super::kernel::pthread_kill_of_the_caller_reaches_it;
use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::CStr;
use std::hash::{BuildHasher, RandomState};
use std::net::ToSocketAddrs;
use std::sync::atomic::{AtomicUsize, Ordering};

unsafe extern "C" {
    fn isalpha(c: libc::c_int) -> libc::c_int;
    fn __ctype_b_loc() -> *const *const u16;
}

#[inline(never)]
fn errno() -> *mut libc::c_int {
    // SAFETY: the call has no conditions.
    unsafe { libc::__errno_location() }
}

/// The runtime's own calls may change its value at a wait, as any call may.
#[test]
fn errno_belongs_to_the_thread() {
    coroutines(50).run(|this| {
        let at = errno();
        for i in 0..50 {
            let own = 1_000 + (this.number * 50 + i) as libc::c_int;
            // SAFETY: it is the thread's own, and the thread is the same in the whole coroutine.
            unsafe { *errno() = own };
            for _ in 0..100 {
                // SAFETY: as above.
                assert_eq!(unsafe { *errno() }, own);
            }
            let failed = match this.number % 2 {
                // SAFETY: no file has this number.
                0 => unsafe { libc::close(-1) },
                // SAFETY: the path has an end.
                _ => unsafe { libc::open(c"/no such file".as_ptr(), libc::O_RDONLY) },
            };
            let expected = [libc::EBADF, libc::ENOENT][this.number % 2];
            assert_eq!((failed, std::io::Error::last_os_error().raw_os_error()), (-1, Some(expected)));
            this.pause();
            assert_eq!(errno(), at);
        }
    });
}

#[test]
fn the_tables_of_characters_are_there() {
    coroutines(10).run(|this| {
        this.pause();
        // SAFETY: the table has an entry for each character.
        unsafe {
            assert!(!__ctype_b_loc().is_null() && !(*__ctype_b_loc()).is_null());
            assert!(isalpha('a' as libc::c_int) != 0 && isalpha('1' as libc::c_int) == 0);
        }
        this.pause();
    });
}

/// `uselocale` sets the locale of a thread.
#[test]
fn the_locale_belongs_to_the_thread() {
    coroutines(10).isolated().run(|this| {
        // SAFETY: the name has an end; the locale is freed when the thread no longer uses it.
        unsafe {
            let locale = libc::newlocale(libc::LC_ALL_MASK, c"C".as_ptr(), std::ptr::null_mut());
            assert!(!locale.is_null());
            let before = libc::uselocale(locale);
            this.pauses(5);
            assert_eq!(libc::uselocale(std::ptr::null_mut()), locale);
            assert!(isalpha('b' as libc::c_int) != 0);
            assert_eq!(libc::uselocale(before), locale);
            libc::freelocale(locale);
        }
    });
}

/// The stack of the thread. The coroutine does not run on it, here no more than on a worker's own thread.
#[test]
fn the_bounds_of_the_threads_stack_stay() {
    fn bounds() -> (usize, usize) {
        // SAFETY: the attributes are initialized by the first call, and destroyed once.
        unsafe {
            let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
            assert_eq!(libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes), 0);
            let (mut start, mut size) = (std::ptr::null_mut(), 0);
            assert_eq!(libc::pthread_attr_getstack(&raw const attributes, &raw mut start, &raw mut size), 0);
            assert_eq!(libc::pthread_attr_destroy(&raw mut attributes), 0);
            (start.addr(), size)
        }
    }
    coroutines(10).run(|this| {
        let before = bounds();
        assert!(before.0 > 0 && before.1 > 0);
        this.pauses(5);
        assert_eq!(bounds(), before);
    });
}

thread_local!(static SIGNALS: Cell<usize> = const { Cell::new(0) });

extern "C" fn count_signal(_: libc::c_int) {
    SIGNALS.set(SIGNALS.get() + 1);
}

/// The handler runs in the caller's thread, before the call returns.
#[test]
fn a_raised_signal_reaches_the_thread() {
    let handler: extern "C" fn(libc::c_int) = count_signal;
    // SAFETY: the handler touches only a thread-local without initializer and destructor.
    unsafe { libc::signal(libc::SIGUSR2, handler as libc::sighandler_t) };
    coroutines(20).run(|this| {
        for _ in 0..5 {
            this.pause();
            let before = SIGNALS.get();
            // SAFETY: the calls take no pointers, and the thread is alive.
            unsafe {
                assert_eq!(libc::raise(libc::SIGUSR2), 0);
                assert_eq!(SIGNALS.get(), before + 1);
                if pthread_kill_of_the_caller_reaches_it() {
                    assert_eq!(libc::pthread_kill(libc::pthread_self(), libc::SIGUSR2), 0);
                    assert_eq!(SIGNALS.get(), before + 2);
                }
                assert_eq!(libc::pthread_kill(libc::pthread_self(), 0), 0);
            }
        }
    });
}

#[test]
fn a_thread_has_a_name() {
    fn name() -> String {
        let mut name = [0; 16];
        // SAFETY: the buffer is as long as the longest name with its end.
        unsafe {
            assert_eq!(libc::pthread_getname_np(libc::pthread_self(), name.as_mut_ptr(), name.len()), 0);
            CStr::from_ptr(name.as_ptr()).to_str().expect("UTF-8").to_owned()
        }
    }
    coroutines(10).run(|this| {
        assert!(!name().is_empty());
        this.pauses(3);
        assert!(!name().is_empty());
    });
}

#[test]
fn names_of_hosts_are_resolved() {
    coroutines(10).run(|this| {
        this.pause();
        assert!(("localhost", 80).to_socket_addrs().expect("resolved").next().is_some());
        this.pause();
        // The text for an unknown number is in a buffer of the thread.
        let text = std::io::Error::from_raw_os_error(77_777).to_string();
        assert!(text.contains("77777"), "{text}");
        // SAFETY: the text stays until the thread's next call.
        let text = unsafe { CStr::from_ptr(libc::strerror(77_777 + this.number as libc::c_int)) };
        assert!(text.to_str().expect("UTF-8").contains(&(77_777 + this.number).to_string()));
    });
}

#[test]
fn random_numbers_differ() {
    let all = std::sync::Mutex::new(std::collections::HashSet::new());
    coroutines(100).run(move |this| {
        for _ in 0..5 {
            let mut bytes = [0_u8; 16];
            // SAFETY: the buffer has that length.
            let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
            assert_eq!(got, 16);
            assert!(all.lock().expect("no panic").insert(bytes));
            // std keeps the keys of a thread, and adds one for each map.
            let keys = (RandomState::new(), RandomState::new());
            this.pause();
            assert_ne!(keys.0.hash_one(1), keys.1.hash_one(1));
            let map: HashMap<_, _> = (0..20).map(|i| (i, i + this.number)).collect();
            this.pause();
            assert!((0..20).all(|i| map[&i] == i + this.number));
        }
    });
}

/// `sched_getcpu` asks the thread's rseq area if there is one. An area that stays behind with the number of a
/// former processor would be wrong half of the time.
#[test]
fn the_processor_is_the_workers() {
    let differs = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = differs.clone();
    let runs = coroutines(50).run(move |this| {
        for _ in 0..20 {
            let mut direct: libc::c_uint = 0;
            // SAFETY: the number lives until the call ends; the other pointers may be null.
            let (done, cpu) = unsafe {
                let null = std::ptr::null_mut::<libc::c_void>();
                (libc::syscall(libc::SYS_getcpu, &raw mut direct, null, null), libc::sched_getcpu())
            };
            assert!(done == 0 && cpu >= 0);
            if cpu != direct as libc::c_int {
                counted.fetch_add(1, Ordering::Relaxed);
            }
            this.pause();
        }
    });
    // The kernel may move the worker's thread between the two calls.
    assert!(differs.load(Ordering::Relaxed) <= runs * 20 / 10, "{differs:?} of {}", runs * 20);
}
