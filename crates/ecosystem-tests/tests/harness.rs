//! The checks find a crate that blocks its worker.

use ecosystem_tests::{Gate, Row, check_on};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;
use sward::runtime::{Builder, Homes};

/// Waits in a lock of std.
#[derive(Default)]
struct Blocks {
    closed: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
}

impl Row for Blocks {
    fn operate(&self, _: u32) {}

    fn wait(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_while(closed, |closed| *closed).unwrap_or_else(PoisonError::into_inner));
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    fn gate(&self) -> &dyn Gate {
        self
    }
}

impl Gate for Blocks {
    fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    fn open(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.opened.notify_all();
    }

    fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

#[test]
fn a_crate_that_blocks_its_worker_is_found() {
    let builder = Builder::new().homes(Homes::Off).on_stall(|_| ());
    // Two operations block both workers, so a hundred are never there, however long it takes.
    let check = || check_on(builder, Duration::from_secs(1), Blocks::default);
    let failure = catch_unwind(AssertUnwindSafe(check)).expect_err("the check fails");
    let failure = failure.downcast::<String>().expect("a message");
    assert!(failure.contains("operations at the peer at once"), "{failure}");
}
