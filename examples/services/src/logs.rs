//! tracing to the standard error stream, with spans that belong to coroutines.

use sward_tracing::PerCoroutine;
use tracing::Level;

/// Logs events of that level and above, for the rest of the process.
pub fn start(level: Level) {
    let subscriber =
        tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_ansi(false);
    tracing::subscriber::set_global_default(PerCoroutine::new(subscriber.finish()))
        .expect("the service sets it once");
}
