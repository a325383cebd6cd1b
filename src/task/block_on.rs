//! Running a future to its end in a coroutine.

use crate::coroutine::{Event, WaitReason};
use crate::sched;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// Set when the future's waker is called.
struct Signal(Event);

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        sched::set(&self.0);
    }
}

/// Runs the future to its end and returns its output, as `futures::executor::block_on`. Parks while the
/// future is pending, until its waker is called from any thread. A future that wakes itself while it is
/// polled lets other coroutines go first.
///
/// The future is polled on the caller's stack. So it need not be `Send`, and a call of this crate in it parks
/// it as it parks any code of the coroutine. A future that needs the driver of another runtime, such as
/// tokio's timers and sockets, needs that runtime's context while it is polled: the crate `sward-compat`
/// enters it for each poll. Do not hold a guard of `tokio::runtime::Handle::enter` over a wait: it is in the
/// thread's storage, so it would be in force for other coroutines of the worker too.
///
/// A cancelled coroutine unwinds out of it and drops the future, and so does one whose time limit
/// ([`time::timeout`](crate::time::timeout())) passes.
///
/// # Panics
///
/// If the future does.
///
/// ```
/// async fn sum(parts: Vec<sward::task::JoinHandle<u64>>) -> u64 {
///     let mut sum = 0;
///     for part in parts {
///         sum += part.await.unwrap();
///     }
///     sum
/// }
///
/// sward::run(|| {
///     let parts = (0..10).map(|i| sward::spawn(move || i)).collect();
///     assert_eq!(sward::block_on(sum(parts)), 45);
/// });
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    sched::consume_budget();
    let mut future = pin!(future);
    let signal = Arc::new(Signal(Event::new()));
    let waker = Waker::from(Arc::clone(&signal));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        if signal.0.consume() {
            sched::yield_now();
        } else {
            // Without a deadline it returns only when the event is set.
            let _ = sched::wait_for(&signal.0, WaitReason::BlockOn, None);
            signal.0.consume();
        }
    }
}
