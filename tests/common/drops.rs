//! Values that show when they are dropped.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Sets the flag when it is dropped.
pub struct SetOnDrop<F: Deref<Target = AtomicBool> = Arc<AtomicBool>>(pub F);

impl<F: Deref<Target = AtomicBool>> Drop for SetOnDrop<F> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Adds one when it is dropped.
pub struct CountOnDrop<C: Deref<Target = AtomicUsize> = Arc<AtomicUsize>>(pub C);

impl<C: Deref<Target = AtomicUsize>> Drop for CountOnDrop<C> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Sleeps, and then adds one, when it is dropped.
pub struct SleepOnDrop<C: Deref<Target = AtomicUsize> = Arc<AtomicUsize>>(pub C);

impl<C: Deref<Target = AtomicUsize>> Drop for SleepOnDrop<C> {
    fn drop(&mut self) {
        sward::sleep(Duration::from_millis(5));
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
