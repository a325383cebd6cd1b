//! The graceful end: SIGTERM, which supervisors send, and Ctrl-C.

use std::io;
use sward::signal::{SignalKind, signal};

/// Calls `stop` in a coroutine of its own at the first of the two signals. Further ones change nothing: the
/// service ends after its grace at the latest.
pub fn on_signal(stop: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let (terminate, interrupt) = (signal(SignalKind::TERMINATE)?, signal(SignalKind::INTERRUPT)?);
    sward::spawn(move || {
        sward::select! {
            recv(terminate) -> _ => tracing::info!("SIGTERM"),
            recv(interrupt) -> _ => tracing::info!("SIGINT"),
        }
        stop();
    });
    Ok(())
}
