//! Futures that need a tokio runtime.
//!
//! tokio finds its runtime in a thread-local, which `Handle::enter` sets and its guard resets. A guard that a
//! coroutine holds over a wait is on the thread while its siblings run, and guards are then dropped in
//! another order than they were made, which panics. So the context is entered anew for each poll: nothing
//! parks in between, unless the future itself calls code that parks.

use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::thread;
use tokio::runtime::{Builder, Handle};

/// tokio's runtime for this process: one thread, with tokio's timers and sockets. It starts with the first
/// call, and lasts as long as the process.
///
/// # Panics
///
/// If the system has no thread, or no descriptor, for it.
pub fn handle() -> &'static Handle {
    static HANDLE: OnceLock<Handle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_all().build().expect("sward: a tokio runtime");
        let handle = runtime.handle().clone();
        let thread = thread::Builder::new().name("sward-tokio".to_owned());
        let drives = move || runtime.block_on(std::future::pending::<()>());
        thread.spawn(drives).expect("sward: a thread for tokio");
        handle
    })
}

/// Runs a future that needs tokio: its timers, its sockets, `tokio::spawn`. Parks while the future is
/// pending, as [`sward::block_on`].
///
/// The future runs in the coroutine; what it spawns by `tokio::spawn` runs on tokio's one thread
/// ([`handle`]). Do not hold a guard of [`Handle::enter`] over a wait in a coroutine, as the guard would be
/// in force for all coroutines of the thread.
///
/// Make tokio's futures inside of an `async` block, as below: some of them, such as `tokio::time::sleep`, ask
/// for the context when they are made.
///
/// The future must not park while it is polled: within it use tokio's calls, or move what parks out of it.
///
/// # Panics
///
/// If the future does, or as [`handle`].
///
/// ```
/// use std::time::Duration;
///
/// sward::run(|| {
///     let answer = sward_compat::block_on(async {
///         tokio::time::sleep(Duration::from_millis(1)).await;
///         tokio::spawn(async { 6 * 7 }).await.unwrap()
///     });
///     assert_eq!(answer, 42);
/// });
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    sward::block_on(InTokio::new(future))
}

/// A future in tokio's context: whatever executor polls it, the context is there for each poll, and for the
/// drop.
#[derive(Debug)]
pub struct InTokio<F> {
    /// `None` once it was dropped.
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> InTokio<F> {
    /// That future, in the context of [`handle`].
    pub fn new(future: F) -> InTokio<F> {
        InTokio { future: Some(Box::pin(future)) }
    }
}

impl<F: Future> Future for InTokio<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _entered = handle().enter();
        self.future.as_mut().expect("it is not dropped").as_mut().poll(context)
    }
}

impl<F> Drop for InTokio<F> {
    fn drop(&mut self) {
        let _entered = handle().enter();
        self.future = None;
    }
}
