//! Panics of coroutines that nobody hears of: the coroutine was detached, or its handle was dropped after the
//! panic. std's message on stderr is all that is left of one, and a program may have silenced that. So they
//! are counted, and the last one is remembered.

use super::label::Label;
use crate::base::local::thread_locals;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);
static LAST: parking_lot::Mutex<Option<Box<str>>> = parking_lot::Mutex::new(None);

thread_locals! {
    /// How many of them this thread has counted.
    static HERE: Cell<u64> = Cell::new(0);

    #[cfg(sward_sim)]
    /// How many panics of coroutines nobody has heard of that have ended on this thread.
    pub(crate) fn lost_panics_here() -> u64 = |count| count.get(), destroyed: 0;

    fn count_here() = |count| count.set(count.get() + 1), destroyed: ();
}

thread_locals! {
    /// The message of the first of them that this thread has counted since it was last asked.
    static MESSAGE: Cell<Option<Box<str>>> = Cell::new(None);

    #[cfg(sward_sim)]
    /// The message of the first of them on this thread since the last call.
    pub(crate) fn take_lost_panic_here() -> Option<Box<str>> = |message| message.take(), destroyed: None;

    fn remember_here(new: Box<str>) = |message| {
        let former = message.take();
        message.set(Some(former.unwrap_or(new)));
    }, destroyed: ();
}

/// Counts a panic of that coroutine, whose result is about to be dropped.
#[cold]
pub(super) fn count(label: &Label<'_>, message: Option<&str>) {
    remember_here(message.unwrap_or("(no message)").into());
    COUNT.fetch_add(1, Ordering::Relaxed);
    count_here();
    let text = label.to_string().into_boxed_str();
    let before = LAST.lock().replace(text);
    drop(before);
}

/// How many panics of coroutines nobody has heard of, in this process.
pub(crate) fn lost_panics() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// The coroutine of the last one, in the words of reports.
pub(crate) fn last_lost_panic() -> Option<Box<str>> {
    LAST.lock().clone()
}
