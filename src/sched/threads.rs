//! The threads of one runtime: started, counted, and waited for at its end.

use crate::base::fork;
use crate::base::sys::report;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The threads of one runtime.
#[derive(Default)]
pub(crate) struct Threads {
    handles: parking_lot::Mutex<Vec<JoinHandle<()>>>,
    /// Each thread has it, and the runtime until its end.
    pub(crate) alive: parking_lot::Mutex<Option<Arc<fork::Alive>>>,
    /// How many have nothing more to do and stay all the same.
    staying: AtomicUsize,
}

impl Threads {
    pub(crate) fn start(&self, name: String, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let alive = self.alive.lock().clone();
        let body = move || {
            let _alive = alive;
            body();
        };
        let handle = std::thread::Builder::new().name(name).spawn(body)?;
        self.handles.lock().push(handle);
        Ok(())
    }

    /// The end of a worker that leaks coroutines. Their frames are never left, so what they borrow from
    /// the thread's locals has to stay for ever, and with it the thread.
    pub(crate) fn stay(&self) -> ! {
        self.staying.fetch_add(1, Ordering::Release);
        loop {
            std::thread::park();
        }
    }

    /// Waits until that many at most are left; false once the deadline has passed.
    pub(crate) fn wait_for(&self, most: usize, deadline: Instant) -> bool {
        let mut nap = Duration::from_micros(20);
        loop {
            // One that stays is never finished. Read first: a sum too high is looked at again.
            let staying = self.staying.load(Ordering::Acquire);
            let unfinished = self.handles.lock().iter().filter(|handle| !handle.is_finished()).count();
            if unfinished.saturating_sub(staying) <= most {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(nap);
            nap = (nap * 2).min(Duration::from_millis(2));
        }
    }

    pub(crate) fn join_finished(&self) {
        for handle in self.handles.lock().drain(..).filter(JoinHandle::is_finished) {
            let _ = handle.join();
        }
    }
}

/// A worker runs users' code inside `catch_unwind` only, and the netpoller thread none: a panic that reaches
/// their threads is the runtime's own, and its coroutines would hang.
pub(crate) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            report(format_args!(
                "sward: a thread of the runtime has panicked: this is an error of the runtime"
            ));
            std::process::abort();
        }
    }
}
