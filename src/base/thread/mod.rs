//! What the system does with a thread, seen from another thread: a type `Probe` for each kind of system.
//!
//! - `linux`: files of `/proc/self/task`.
//! - `other`: systems that do not tell.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod other;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use linux::Probe;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use other::Probe;

/// What the system does with a thread at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It runs the thread, or has it in the queue of a processor.
    Runs,
    /// The thread waits for something in the kernel.
    Waits,
    /// It is stopped: by a signal, or by a debugger.
    Stopped,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_thread_that_sleeps_waits_and_one_that_computes_runs() {
        let (tell, told) = channel();
        let (end, ended) = channel::<()>();
        let sleeper = std::thread::spawn(move || {
            tell.send(Probe::of_this_thread()).expect("heard");
            let _ = ended.recv();
        });
        let Some(probe) = told.recv().expect("told") else {
            println!("skipped: this system does not tell what a thread does");
            return;
        };
        while probe.doing() != Some(Doing::Waits) {
            std::thread::yield_now();
        }
        println!("it waits in {:?}", probe.place());
        drop(end);
        sleeper.join().expect("it ends");
        assert_eq!(probe.doing(), None, "of a thread that has ended");
        let own = Probe::of_this_thread().expect("as before");
        assert_eq!(own.doing(), Some(Doing::Runs));
        assert!(own.delayed() <= own.delayed());
    }
}
