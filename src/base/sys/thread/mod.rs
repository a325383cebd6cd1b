//! Whether the system runs a thread, asked from another thread: a type `Probe` for each kind of system.
//!
//! - `linux`: files of `/proc/self/task`.
//! - `other`: systems that do not report it.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod other;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use linux::{Probe, count_threads};
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use other::{Probe, count_threads};

/// What the system does with a thread at one moment.
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ThreadState {
    /// The thread runs, or is in the run queue of a processor.
    Running,
    /// The thread waits for something in the kernel.
    Waiting,
    /// The thread is stopped, by a signal or by a debugger.
    Stopped,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_new_thread_is_counted() {
        let (end, ended) = channel::<()>();
        let thread = std::thread::spawn(move || ended.recv());
        assert!(count_threads().is_none_or(|count| count >= 2));
        drop(end);
        assert!(thread.join().expect("it ends").is_err());
    }

    #[test]
    fn a_thread_that_sleeps_waits_and_one_that_computes_runs() {
        let (sender, receiver) = channel();
        let (end, ended) = channel::<()>();
        let sleeper = std::thread::spawn(move || {
            sender.send(Probe::of_this_thread()).expect("received");
            let _ = ended.recv();
        });
        let Some(probe) = receiver.recv().expect("sent") else {
            println!("skipped: this system does not report what a thread does");
            return;
        };
        while probe.state() != Some(ThreadState::Waiting) {
            std::thread::yield_now();
        }
        println!("it waits in {:?}", probe.wait_channel());
        drop(end);
        sleeper.join().expect("it ends");
        assert_eq!(probe.state(), None, "of a thread that has ended");
        let own = Probe::of_this_thread().expect("as before");
        assert_eq!(own.state(), Some(ThreadState::Running));
        assert!(own.run_delay() <= own.run_delay());
    }
}
