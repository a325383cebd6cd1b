//! tracing's spans in sward's coroutines: each coroutine has its own current span.
//!
//! tracing keeps the current span in a thread-local. Coroutines share their threads, so a span that a
//! coroutine enters and holds over a wait becomes the current span of its neighbours: their events land in
//! it, and their spans become its children. [`PerCoroutine`] wraps a subscriber and keeps the entered spans
//! of each coroutine apart.
//!
//! ```
//! use sward_tracing::{PerCoroutine, in_current_span};
//! use tracing_subscriber::layer::SubscriberExt;
//!
//! let subscriber = tracing_subscriber::registry().with(tracing_subscriber::fmt::layer());
//! tracing::subscriber::set_global_default(PerCoroutine::new(subscriber))?;
//!
//! sward::run(|| {
//!     let request = tracing::info_span!("request", id = 7).entered();
//!     // Waits for nobody's span but its own.
//!     sward::sleep(std::time::Duration::from_millis(1));
//!     // A spawned coroutine begins outside of all spans, unless it is to begin in this one.
//!     let child = sward::spawn(in_current_span(|| tracing::info!("in the request")));
//!     child.join().unwrap();
//!     drop(request);
//! });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//!
//! The wrapper keeps the list of entered spans of each coroutine, in a task local, and for each thread the
//! list of spans that the inner subscriber believes to be entered there. When a call comes in, it compares
//! the two. If they differ, another coroutine has used the thread last: the wrapper exits that one's spans,
//! from the innermost outwards, and enters the caller's. What both lists begin with stays. So a switch of
//! coroutines that use no tracing costs nothing, no hook in the scheduler is needed, and `Span::current`,
//! `in_scope`, `#[instrument]` and the layers of a `Registry` work as on a thread of the coroutine's own.
//!
//! Consequences:
//!
//! - A layer sees `on_exit` of a span that a parked coroutine has entered only when another coroutine of its
//!   thread uses tracing, and `on_enter` again afterwards. Times between the two (`busy` in the formatter)
//!   are not those of turns.
//! - A span that is entered stays open, even if all its handles are dropped, until it is exited or its
//!   coroutine ends.
//! - In a runtime whose coroutines migrate, a coroutine may exit a span on another thread than it has entered
//!   it. The first thread notices at its next call of tracing. The span closes no earlier.
//! - A layer must not wait in `on_enter` and `on_exit`. It may in `on_event`.
//! - [`Builder::checks`](sward::runtime::Builder::checks) knows nothing of the wrapper, and reports a wait
//!   inside of `in_scope`.
//!
//! The current *subscriber* of `with_default` and `set_default` still is the thread's: use the global
//! default.

use std::any::TypeId;
use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Weak};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, Subscriber};
use tracing::{Dispatch, Event, Metadata, Span};
use tracing_core::span::Current;

type Inner = dyn Subscriber + Send + Sync;

/// A subscriber whose current span is the calling coroutine's.
///
/// Wrap the whole subscriber, after all its layers: `PerCoroutine::new(registry().with(..).with(..))`. On
/// plain threads nothing changes.
pub struct PerCoroutine<S> {
    inner: Arc<S>,
    /// The same, for the lists below.
    erased: Arc<Inner>,
}

/// The spans that a coroutine, or a plain thread, has entered in one subscriber, the outermost first.
struct Entered {
    subscriber: Arc<Inner>,
    spans: Vec<Id>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Guards that were leaked: `PerCoroutine::enter` holds a reference for each.
        while let Some(span) = self.spans.pop() {
            self.subscriber.try_close(span);
        }
    }
}

/// The spans that a subscriber believes to be entered on a thread.
struct OnThread {
    subscriber: Weak<Inner>,
    spans: Vec<Id>,
}

sward::task_local! {
    static ENTERED: RefCell<Vec<Entered>> = const { RefCell::new(Vec::new()) };
}

thread_local! {
    static ON_THREAD: RefCell<Vec<OnThread>> = const { RefCell::new(Vec::new()) };
}

impl<S: Subscriber + Send + Sync> PerCoroutine<S> {
    /// Wraps a subscriber.
    pub fn new(subscriber: S) -> PerCoroutine<S> {
        let inner = Arc::new(subscriber);
        let erased: Arc<Inner> = inner.clone();
        PerCoroutine { inner, erased }
    }

    /// The wrapped subscriber.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn is_of(&self, other: *const Inner) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.erased), other)
    }

    /// Calls `f` with the caller's list. `None` if its task locals are gone: it ends.
    fn with_entered<R>(&self, f: impl FnOnce(&mut Vec<Id>) -> R) -> Option<R> {
        let with_list = |all: &RefCell<Vec<Entered>>| {
            let mut all = all.borrow_mut();
            let found = all.iter().position(|of| self.is_of(Arc::as_ptr(&of.subscriber)));
            let index = found.unwrap_or_else(|| {
                all.push(Entered { subscriber: Arc::clone(&self.erased), spans: Vec::new() });
                all.len() - 1
            });
            f(&mut all[index].spans)
        };
        ENTERED.try_with(with_list).ok()
    }

    /// Has the inner subscriber see the caller's spans as the entered ones of this thread.
    fn bring_in_line(&self) {
        let differ = self.with_entered(|entered| self.take_difference(entered));
        // At the coroutine's end: no spans.
        let Some((exit, enter)) = differ.unwrap_or_else(|| self.take_difference(&[])) else { return };
        // The lists are equal already, so a layer that uses tracing here gets what it expects.
        for span in exit.iter().rev() {
            self.inner.exit(span);
        }
        for span in &enter {
            self.inner.enter(span);
        }
    }

    /// Sets the thread's list to the caller's. Returns the spans to exit and to enter, or nothing if they
    /// were equal.
    // Not inlined: the address of a thread-local must not be kept over a wait.
    #[inline(never)]
    fn take_difference(&self, entered: &[Id]) -> Option<(Vec<Id>, Vec<Id>)> {
        let compare = |all: &RefCell<Vec<OnThread>>| {
            let mut all = all.borrow_mut();
            let index = match all.iter().position(|of| self.is_of(of.subscriber.as_ptr())) {
                Some(index) => index,
                None if entered.is_empty() => return None,
                None => {
                    all.retain(|of| of.subscriber.strong_count() > 0);
                    all.push(OnThread { subscriber: Arc::downgrade(&self.erased), spans: Vec::new() });
                    all.len() - 1
                }
            };
            let there = &mut all[index].spans;
            if there == entered {
                return None;
            }
            let same = there.iter().zip(entered).take_while(|(there, here)| there == here).count();
            let exit = there.split_off(same);
            there.extend_from_slice(&entered[same..]);
            Some((exit, entered[same..].to_vec()))
        };
        // At the thread's end nothing is left to bring in line.
        ON_THREAD.try_with(compare).ok().flatten()
    }
}

impl<S: Subscriber + Send + Sync> Subscriber for PerCoroutine<S> {
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        self.inner.on_register_dispatch(dispatch);
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.inner.register_callsite(metadata)
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        self.inner.max_level_hint()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Filters may ask for the current span.
        self.bring_in_line();
        self.inner.enabled(metadata)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.bring_in_line();
        self.inner.new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.inner.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.inner.record_follows_from(span, follows);
    }

    fn event_enabled(&self, event: &Event<'_>) -> bool {
        self.bring_in_line();
        self.inner.event_enabled(event)
    }

    fn event(&self, event: &Event<'_>) {
        self.bring_in_line();
        self.inner.event(event);
    }

    fn enter(&self, span: &Id) {
        // The inner subscriber exits it, and may close it, when another coroutine uses the thread.
        let span = self.inner.clone_span(span);
        let spare = span.clone();
        if self.with_entered(|entered| entered.push(span)).is_none() {
            self.inner.try_close(spare);
        }
        self.bring_in_line();
    }

    fn exit(&self, span: &Id) {
        let left = self.with_entered(|entered| {
            let at = entered.iter().rposition(|entered| entered == span)?;
            Some(entered.remove(at))
        });
        self.bring_in_line();
        if let Some(span) = left.flatten() {
            self.inner.try_close(span);
        }
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.inner.clone_span(id)
    }

    fn try_close(&self, id: Id) -> bool {
        self.inner.try_close(id)
    }

    #[allow(deprecated)]
    fn drop_span(&self, id: Id) {
        self.inner.drop_span(id);
    }

    fn current_span(&self) -> Current {
        self.bring_in_line();
        self.inner.current_span()
    }

    #[allow(unsafe_code)]
    unsafe fn downcast_raw(&self, id: TypeId) -> Option<*const ()> {
        if id == TypeId::of::<Self>() {
            return Some(std::ptr::from_ref(self).cast());
        }
        // SAFETY: what the inner subscriber returns is valid as long as that lives, which this one keeps.
        unsafe { self.inner.downcast_raw(id) }
    }
}

impl<S> fmt::Debug for PerCoroutine<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerCoroutine").finish_non_exhaustive()
    }
}

/// The closure, run in a span. For any way to spawn a coroutine, and for [`sward::blocking`].
///
/// ```
/// # use sward_tracing::in_span;
/// sward::run(|| {
///     sward::scope(|s| {
///         s.spawn(in_span(tracing::info_span!("left"), || 1));
///         s.spawn(in_span(tracing::info_span!("right"), || 2));
///     });
/// });
/// ```
pub fn in_span<T>(span: Span, f: impl FnOnce() -> T) -> impl FnOnce() -> T {
    move || span.in_scope(f)
}

/// The closure, run in the span that is current now: the spawned coroutine inherits its spawner's span.
pub fn in_current_span<T>(f: impl FnOnce() -> T) -> impl FnOnce() -> T {
    in_span(Span::current(), f)
}

/// As [`in_current_span`], and in that span the coroutine has one of its own: `coroutine`, at level `INFO`,
/// with the fields `id` and `name`.
pub fn in_coroutine_span<T>(f: impl FnOnce() -> T) -> impl FnOnce() -> T {
    in_current_span(move || {
        let me = sward::task::current();
        let span =
            tracing::info_span!("coroutine", id = me.id().map(tracing::field::display), name = me.name());
        span.in_scope(f)
    })
}

/// Spawns a coroutine that inherits the caller's span: [`sward::spawn`] with [`in_current_span`].
#[track_caller]
pub fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> sward::task::JoinHandle<T> {
    let span = Span::current();
    sward::spawn(move || span.in_scope(f))
}
