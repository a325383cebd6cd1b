//! What sanitizers say about programs that use this crate: they find an error that is there, and no other.
//! Builds without a sanitizer have nothing to test here.

// Each sanitizer has tests of its own.
#![allow(dead_code)]

use crate::common::{command, text};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `ci/tsan.sh` and `ci/asan.sh` name the sanitizer that their builds have. Without this test they would pass
/// if the build script no longer saw it: there would be no test to fail.
#[test]
fn the_build_has_the_sanitizer_that_it_was_made_for() {
    let built = if cfg!(sward_sanitizer = "thread") {
        "thread"
    } else if cfg!(sward_sanitizer = "address") {
        "address"
    } else if cfg!(sward_sanitizer = "leak") {
        "leak"
    } else {
        "none"
    };
    if let Ok(wanted) = std::env::var("SWARD_TEST_SANITIZER") {
        assert_eq!(built, wanted);
    }
}

/// A number that any thread may write to.
struct Unprotected(UnsafeCell<u64>);

// SAFETY: this is not sound, which is what the tests are about.
unsafe impl Sync for Unprotected {}

impl Unprotected {
    const fn new() -> Unprotected {
        Unprotected(UnsafeCell::new(0))
    }

    fn add(&self, n: u64) {
        // SAFETY: as above.
        unsafe { *self.0.get() += n };
    }

    fn get(&self) -> u64 {
        // SAFETY: as above.
        unsafe { *self.0.get() }
    }
}

/// Keeps the calling coroutine's worker until so many have called it. It orders nothing.
fn meet(number: usize, met: &AtomicUsize) {
    met.fetch_add(1, Ordering::Relaxed);
    while met.load(Ordering::Relaxed) < number {
        std::thread::yield_now();
    }
}

/// Runs that test as a child; what the sanitizer said, and whether it was content.
fn verdict(test: &str, options: &[(&str, &str)]) -> (String, bool) {
    let output = command(test, test).envs(options.iter().copied()).output().expect("a child");
    let said = text(&output);
    assert!(said.contains("running 1 test"), "there is no test {test}: {said}");
    (said, output.status.success())
}

fn with_workers(workers: usize, f: impl FnOnce() + Send) {
    sward::runtime::Builder::new().worker_threads(workers).build().expect("a runtime").run(f);
}

#[cfg(sward_sanitizer = "thread")]
mod thread {
    use super::*;
    use crate::common::{is_child, this_test};
    use sward::channel;
    use sward::sync::{Condvar, Mutex, Notify, Once, RwLock, Semaphore};

    const OPTIONS: &[(&str, &str)] = &[("TSAN_OPTIONS", "exitcode=66:history_size=7")];

    /// Starts two coroutines, each on a worker of its own, and lets both write to one variable after so many
    /// turns each, when nothing orders them. Coroutines that have started stay on their worker, so they meet
    /// before their first turn ends: the first one keeps its worker until the other has been stolen.
    ///
    /// They write more than once: ThreadSanitizer looks at its record of the variable and then changes it, so
    /// it does not see two writes that come in the same instant. And it reports no race if it cannot show the
    /// stack of the other write: so both live until both have written, and call little in between, as it
    /// remembers only the last calls of each thread.
    fn race(turns: u32) {
        static SHARED: Unprotected = Unprotected::new();
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        static READY: AtomicUsize = AtomicUsize::new(0);
        static WRITTEN: AtomicUsize = AtomicUsize::new(0);
        let racer = move || {
            meet(2, &STARTED);
            for _ in 0..turns {
                sward::task::yield_now();
            }
            meet(2, &READY);
            for _ in 0..100 {
                SHARED.add(1);
                std::thread::yield_now();
            }
            meet(2, &WRITTEN);
        };
        let both = [sward::spawn(racer), sward::spawn(racer)];
        for one in both {
            one.join().expect("no panic");
        }
    }

    fn assert_race_found(test: &str) {
        let (said, content) = verdict(test, OPTIONS);
        assert!(!content && said.contains("ThreadSanitizer: data race"), "{said}");
        assert!(said.contains("thread::race::"), "the stack has the racer: {said}");
        assert!(said.contains("'coroutine "), "reports name coroutines: {said}");
    }

    #[test]
    fn a_race_between_two_coroutines_is_found() {
        if is_child() {
            with_workers(2, || race(0));
            return;
        }
        assert_race_found(this_test!());
    }

    /// The same after many turns of both, on stacks that others have used before.
    #[test]
    fn a_race_is_found_after_many_switches() {
        if is_child() {
            with_workers(2, || {
                for _ in 0..200 {
                    sward::spawn(sward::task::yield_now).join().expect("no panic");
                }
                race(1_000);
            });
            return;
        }
        assert_race_found(this_test!());
    }

    /// A value that each primitive passes on, or protects, is no race.
    #[test]
    fn what_is_synchronized_is_no_race() {
        if is_child() {
            with_workers(2, synchronized);
            return;
        }
        let (said, content) = verdict(this_test!(), OPTIONS);
        assert!(content && !said.contains("ThreadSanitizer"), "{said}");
    }

    const ADDERS: u64 = 8;
    const TURNS: u64 = 50;

    /// Runs adders beside one another. Each adds through `protect`, and yields or parks between.
    fn adders(shared: &Unprotected, protect: &(impl Fn(&dyn Fn()) + Sync)) {
        let before = shared.get();
        sward::scope(|scope| {
            for _ in 0..ADDERS {
                scope.spawn(|| {
                    for _ in 0..TURNS {
                        protect(&|| shared.add(1));
                        sward::task::yield_now();
                    }
                });
            }
        });
        assert_eq!(shared.get() - before, ADDERS * TURNS);
    }

    fn synchronized() {
        let shared = Unprotected::new();
        let mutex = Mutex::new(());
        adders(&shared, &|add| {
            let _guard = mutex.lock().expect("no panic");
            add();
        });
        let lock = RwLock::new(());
        adders(&shared, &|add| {
            let _ = lock.read().map(|_guard| shared.get());
            let _guard = lock.write().expect("no panic");
            add();
        });
        let one = Semaphore::new(1);
        adders(&shared, &|add| {
            let _permit = one.acquire().expect("it is never closed");
            add();
        });
        let (sender, receiver) = channel::bounded(1);
        sender.send(()).expect("open");
        adders(&shared, &|add| {
            receiver.recv().expect("open");
            add();
            sender.send(()).expect("open");
        });
        adders(&shared, &|add| {
            sward::select! {
                recv(receiver) -> token => token.expect("open"),
            }
            add();
            sward::select! {
                send(sender, ()) -> sent => sent.expect("open"),
            }
        });

        let (ready, changed) = (Mutex::new(false), Condvar::new());
        let (notify, once) = (Notify::new(), Once::new());
        sward::scope(|scope| {
            scope.spawn(|| {
                let mut guard = ready.lock().expect("no panic");
                while !*guard {
                    guard = changed.wait(guard).expect("no panic");
                }
                drop(guard);
                shared.add(1);
                notify.notify_one();
            });
            scope.spawn(|| {
                notify.wait();
                shared.add(1);
            });
            shared.add(1);
            *ready.lock().expect("no panic") = true;
            changed.notify_one();
        });
        sward::scope(|scope| {
            for _ in 0..ADDERS {
                scope.spawn(|| {
                    once.call_once(|| shared.add(1));
                    shared.get()
                });
            }
        });
        for _ in 0..TURNS {
            sward::spawn({
                let at = &raw const shared as usize;
                // SAFETY: joined before it ends.
                move || unsafe { &*(at as *const Unprotected) }.add(1)
            })
            .join()
            .expect("no panic");
        }
        sward::blocking(|| shared.get()).expect("no panic");
    }
}

#[cfg(sward_sanitizer = "address")]
mod address {
    use super::*;
    use crate::common::{is_child, this_test};
    use std::hint::black_box;

    const OPTIONS: &[(&str, &str)] = &[("ASAN_OPTIONS", "exitcode=66:detect_leaks=1")];

    /// An index beyond an array on a coroutine's stack, after switches.
    #[test]
    fn an_overrun_on_the_stack_of_a_coroutine_is_found() {
        if is_child() {
            with_workers(1, || {
                let array = black_box([7_u8; 32]);
                sward::task::yield_now();
                // SAFETY: this is not sound, which is what the test is about.
                black_box(unsafe { array.as_ptr().add(black_box(32)).read() });
            });
            return;
        }
        let (said, content) = verdict(this_test!(), OPTIONS);
        assert!(!content && said.contains("AddressSanitizer: stack-buffer-overflow"), "{said}");
    }
}

/// What LeakSanitizer says, by itself and as a part of AddressSanitizer.
#[cfg(any(sward_sanitizer = "address", sward_sanitizer = "leak"))]
mod leaks {
    use super::*;
    use crate::common::{is_child, this_test};
    use std::hint::black_box;
    use std::sync::Arc;

    /// By itself it takes memory for reachable if it cannot say where the memory was allocated. Its fast way
    /// to find that out knows only the thread's own stack.
    const OPTIONS: &[(&str, &str)] =
        &[("ASAN_OPTIONS", "exitcode=66:detect_leaks=1"), ("LSAN_OPTIONS", "fast_unwind_on_malloc=0")];
    /// Here the process ends in a coroutine. Of frames of AddressSanitizer's own it sees only the ones of the
    /// coroutine then, not those of its worker.
    const ON_THE_STACK: &[(&str, &str)] =
        &[("ASAN_OPTIONS", "exitcode=66:detect_leaks=1:detect_stack_use_after_return=0")];
    const AFTER_RETURN: &[(&str, &str)] =
        &[("ASAN_OPTIONS", "exitcode=66:detect_leaks=1:detect_stack_use_after_return=1")];

    /// Memory that nothing points to any more, once the coroutine that had the pointer has ended.
    #[test]
    fn a_leak_of_a_coroutine_is_found() {
        if is_child() {
            with_workers(1, || {
                let leak = || std::mem::forget(black_box(vec![1_u8; 12_345]));
                sward::spawn(leak).join().expect("no panic");
            });
            return;
        }
        let (said, content) = verdict(this_test!(), OPTIONS);
        assert!(!content && said.contains("LeakSanitizer: detected memory leaks"), "{said}");
        assert!(said.contains("12345 byte"), "{said}");
    }

    /// The stack of a worker that has ended keeps nothing alive: here a destructor of a thread-local has left
    /// a pointer on it, which is still there if the system keeps the stack for another thread.
    #[test]
    fn what_the_stack_of_an_ended_worker_points_to_is_a_leak() {
        struct Leaves;
        impl Drop for Leaves {
            fn drop(&mut self) {
                let memory = black_box(vec![1_u8; 23_456]).leak().as_ptr();
                black_box([memory; 500]);
            }
        }
        thread_local!(static LEAVES: Leaves = const { Leaves });
        if is_child() {
            with_workers(1, || {
                sward::spawn(|| LEAVES.with(|_| ())).join().expect("no panic");
            });
            return;
        }
        let (said, content) = verdict(this_test!(), ON_THE_STACK);
        assert!(!content && said.contains("LeakSanitizer: detected memory leaks"), "{said}");
        assert!(said.contains("23456 byte"), "{said}");
    }

    /// What only the stack of a coroutine points to that waits for ever is no leak, wherever it was
    /// allocated.
    #[test]
    fn what_a_waiting_coroutine_has_is_no_leak() {
        if is_child() {
            with_workers(2, || {
                let (sender, receiver) = sward::channel::bounded(0);
                sward::spawn(move || {
                    let _memory = black_box(vec![1_u8; 54_321]);
                    sender.send(()).expect("open");
                    sward::task::mask(|| {
                        loop {
                            sward::task::park();
                        }
                    });
                });
                receiver.recv().expect("open");
                std::process::exit(0);
            });
        }
        let (said, content) = verdict(this_test!(), ON_THE_STACK);
        assert!(content && !said.contains("Sanitizer"), "{said}");
    }

    /// Switches, panics, stacks that are used again, and coroutines on several workers: no report, whether
    /// variables are on the stack or in frames of AddressSanitizer's own.
    #[test]
    fn coroutines_are_no_error() {
        if is_child() {
            with_workers(2, || {
                for round in 0..20 {
                    let shared = Arc::new(sward::sync::Mutex::new(0));
                    sward::scope(|scope| {
                        for _ in 0..50 {
                            let shared = shared.clone();
                            scope.spawn(move || {
                                let mut here = black_box([0_u64; 64]);
                                for at in 0..64 {
                                    here[at] = at as u64;
                                    sward::task::yield_now();
                                }
                                *shared.lock().expect("no panic") += here.iter().sum::<u64>();
                            });
                        }
                    });
                    assert_eq!(*shared.lock().expect("no panic"), 50 * 2016);
                    let panics = sward::spawn(move || {
                        let text = black_box(format!("{round}"));
                        sward::task::yield_now();
                        std::panic::resume_unwind(Box::new(text));
                    });
                    assert!(panics.join().is_err());
                }
            });
            return;
        }
        for options in [OPTIONS, AFTER_RETURN] {
            let (said, content) = verdict(this_test!(), options);
            assert!(content && !said.contains("Sanitizer"), "{said}");
        }
    }
}
