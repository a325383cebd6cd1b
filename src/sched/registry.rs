//! The runtimes of the process, for a dump of all of them.
//!
//! A runtime enters when it starts. It leaves when it is freed: one that has leaked coroutines stays, and a
//! dump shows these.

use super::shared::Shared;
use crate::base::fork::PerProcess;
use std::sync::{Arc, Mutex, PoisonError, Weak};

type Runtimes = Mutex<Vec<Weak<Shared>>>;

/// A forked child that may start runtimes of its own begins with none.
static RUNTIMES: PerProcess<Runtimes> = PerProcess::new(Mutex::default);

/// Enters a runtime that starts now.
pub(crate) fn register(shared: &Arc<Shared>) {
    let mut runtimes = RUNTIMES.get().lock().unwrap_or_else(PoisonError::into_inner);
    runtimes.retain(|runtime| runtime.strong_count() > 0);
    runtimes.push(Arc::downgrade(shared));
}

/// The runtimes that have coroutines or may have some, in the order in which they started. An observer is not
/// among them: its coroutines wake no others, and hold nothing that others wait for.
pub(crate) fn runtimes() -> Vec<Arc<Shared>> {
    let runtimes = RUNTIMES.get().lock().unwrap_or_else(PoisonError::into_inner);
    runtimes
        .iter()
        .filter_map(Weak::upgrade)
        .filter(|shared| shared.may_have_coroutines() && !shared.config().observer)
        .collect()
}
