//! The stack of another thread of the process, as addresses, while that thread computes or is blocked.
//!
//! - `linux_gnu`: a signal to the thread, whose handler walks the stack.
//! - `none`: systems where such a handler would not be safe, or is not written. And ThreadSanitizer, which
//!   calls handlers later, and loses count of its frames where a handler is left by a jump.

#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "aarch64", target_arch = "x86_64"),
    not(sward_sanitizer = "thread")
))]
mod linux_gnu;
#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "aarch64", target_arch = "x86_64"),
    not(sward_sanitizer = "thread")
)))]
mod none;

#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "aarch64", target_arch = "x86_64"),
    not(sward_sanitizer = "thread")
))]
pub(crate) use linux_gnu::{recover, sample};
#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "aarch64", target_arch = "x86_64"),
    not(sward_sanitizer = "thread")
)))]
pub(crate) use none::{recover, sample};

/// The most frames of a stack that are captured: the innermost ones.
pub(crate) const MOST_FRAMES: usize = 128;

/// The stack of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Addresses in the calls that have not returned, from the innermost frame outwards. Each is the address
    /// at which the call goes on when it returns; for the innermost frame, one more than the address of the
    /// instruction at which the thread was interrupted. So the address before each is in the code that runs.
    pub(crate) addresses: Vec<usize>,
    /// Whether there are more frames.
    pub(crate) cut: bool,
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::base::sys::Probe;
    use std::hint::black_box;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::mpsc::channel;
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    /// Samples a thread that calls the closure again and again.
    fn sample_while(what: &str, each: impl Fn() + Send + 'static) {
        let (end, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (sender, receiver) = channel();
        let (its_end, its_rounds) = (Arc::clone(&end), Arc::clone(&rounds));
        let thread = std::thread::spawn(move || {
            sender.send(Probe::of_this_thread()).expect("received");
            while !its_end.load(Ordering::Relaxed) {
                each();
                its_rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        let probe = receiver.recv().expect("sent").expect("a probe");
        let (mut frames, mut failed, begin) = (0, 0, Instant::now());
        for _ in 0..200 {
            match sample(probe, Duration::from_secs(2)) {
                Some(sample) => frames = frames.max(sample.addresses.len()),
                None => failed += 1,
            }
        }
        let each = begin.elapsed() / 200;
        let before = rounds.load(Ordering::Relaxed);
        while rounds.load(Ordering::Relaxed) == before {
            std::thread::yield_now();
        }
        end.store(true, Ordering::Relaxed);
        thread.join().expect("it goes on as before");
        println!("{what}: up to {frames} frames, {each:?} each, {failed} not answered");
        if cfg!(all(target_os = "linux", target_env = "gnu", not(sward_sanitizer = "thread"))) {
            assert_eq!(failed, 0, "{what}");
            assert!(frames >= 3, "{what}: {frames}");
        }
    }

    #[test]
    fn a_thread_goes_on_whatever_it_is_interrupted_in() {
        sample_while("a loop", || {
            black_box((0..1000).fold(0_u64, |sum, n| black_box(sum + n)));
        });
        sample_while("the clock", || {
            black_box(Instant::now());
        });
        sample_while("the allocator", || {
            black_box(vec![1_u8; black_box(100)]);
        });
        sample_while("the unwinder", || {
            let _ = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(1)));
        });
        sample_while("a sleep", || std::thread::sleep(Duration::from_millis(3)));
        sample_while("the loader", || {
            drop(black_box(std::backtrace::Backtrace::force_capture()));
        });
        let lock = Arc::new(Mutex::new(()));
        let (other, ended) = (Arc::clone(&lock), Arc::new(AtomicBool::new(false)));
        let its_end = Arc::clone(&ended);
        let holder = std::thread::spawn(move || {
            while !its_end.load(Ordering::Relaxed) {
                let guard = other.lock();
                std::thread::sleep(Duration::from_millis(2));
                drop(guard);
            }
        });
        sample_while("a mutex", move || drop(lock.lock()));
        ended.store(true, Ordering::Relaxed);
        holder.join().expect("it ends");
    }
}
