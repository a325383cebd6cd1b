//! The threads of one runtime: started, counted, and waited for at its end.

use crate::base::counted_threads::CountedThread;
use crate::base::fork;
use crate::base::new_thread::new_thread;
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
    /// Each thread holds it, and the runtime does until its end: see `base/fork.rs`.
    pub(crate) alive: parking_lot::Mutex<Option<Arc<fork::Alive>>>,
    /// How many threads have nothing more to do and never end: workers that leak coroutines.
    staying: AtomicUsize,
}

impl Threads {
    /// Starts a thread of that name.
    pub(crate) fn start(&self, name: String, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let alive = self.alive.lock().clone();
        let body = move || {
            let _alive = alive;
            let _own = CountedThread::begin();
            body();
        };
        let handle = new_thread(name)?.spawn(body)?;
        self.handles.lock().push(handle);
        Ok(())
    }

    /// Counts threads that others have started, and waits for them at the end.
    pub(crate) fn adopt(&self, handles: Vec<JoinHandle<()>>) {
        self.handles.lock().extend(handles);
    }

    /// The end of a worker that leaks coroutines. Their frames stay for ever, so what these borrow from
    /// thread-locals must stay as well, and with it the thread.
    pub(crate) fn stay(&self) -> ! {
        self.staying.fetch_add(1, Ordering::Release);
        loop {
            std::thread::park();
        }
    }

    /// Waits until at most that many threads are left; false if the deadline passes first.
    pub(crate) fn wait_for(&self, most: usize, deadline: Instant) -> bool {
        let mut nap = Duration::from_micros(20);
        loop {
            // A thread that stays never finishes. Read first: a result that is too high is only checked
            // again.
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

    /// Joins the threads that have finished.
    pub(crate) fn join_finished(&self) {
        for handle in self.handles.lock().drain(..).filter(JoinHandle::is_finished) {
            let _ = handle.join();
        }
    }
}

/// Aborts the process if its thread panics. A worker runs users' code inside of `catch_unwind` only, and
/// the netpoller thread runs none. So a panic that reaches their threads is an error of the runtime, whose
/// coroutines would hang.
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
