//! What several of these tests use.

use sward::observe::{CoroutineDump, Dump, WaitDump, dump};
use sward::task;

/// Spawns a coroutine of that name, at the caller's line.
#[track_caller]
pub(crate) fn start<T: Send + 'static>(
    name: &str,
    f: impl FnOnce() -> T + Send + 'static,
) -> task::JoinHandle<T> {
    task::Builder::new().name(name).spawn(f).expect("spawned")
}

pub(crate) fn all(dump: &Dump) -> impl Iterator<Item = &CoroutineDump> {
    dump.runtimes.iter().flat_map(|runtime| &runtime.coroutines)
}

/// The coroutine of that name. Tests run at the same time, so names differ from test to test.
pub(crate) fn named<'d>(dump: &'d Dump, name: &str) -> Option<&'d CoroutineDump> {
    all(dump).find(|coroutine| coroutine.name.as_deref() == Some(name))
}

/// Dumps until the coroutine of that name waits in that call, and its worker has captured it, which is not
/// done in migrating mode. Returns the coroutine as the dump shows it.
pub(crate) fn until_parked(name: &str, call: &str) -> CoroutineDump {
    let begin = std::time::Instant::now();
    loop {
        let dump = dump();
        if let Some(found) = named(&dump, name)
            && found.wait.as_ref().is_some_and(|wait| wait.call == call)
            && (found.complete || !coroutines_stay())
        {
            return found.clone();
        }
        assert!(begin.elapsed().as_secs() < 120, "{name} never waits in {call}:\n{dump}");
        sward::sleep(std::time::Duration::from_millis(2));
    }
}

pub(crate) fn wait_of(coroutine: &CoroutineDump) -> &WaitDump {
    coroutine.wait.as_ref().expect("it is parked")
}

/// Whether coroutines of the tests' runtimes stay in their homes.
pub(crate) fn coroutines_stay() -> bool {
    !cfg!(sward_migrate)
}
