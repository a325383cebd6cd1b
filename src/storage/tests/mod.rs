//! What code finds inside a storage, and what it leaves behind.
//!
//! - [`values`]: thread-locals of Rust, std's idea of the thread, and the end of a storage.
//! - [`c_library`]: what glibc keeps for each thread, and libraries that are loaded later.
//! - [`signals`]: signals that arrive inside, `setuid` and its kin.
//! - [`processes`]: forks, valgrind, panics.

mod c_library;
mod processes;
mod signals;
mod values;

use super::{Storage, supported};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A storage, unless this process cannot have any.
fn storage() -> Option<Storage> {
    match supported() {
        Ok(()) => Some(Storage::lend("lender".into(), || ()).expect("a thread")),
        Err(reason) => {
            println!("skipped: {reason}");
            None
        }
    }
}

/// Runs the function inside, on the calling thread. A panic is passed on outside.
///
/// # Safety
///
/// As `Storage::enter`.
unsafe fn enter<T>(storage: &Storage, f: impl FnOnce() -> T) -> T {
    let (mut f, mut result) = (Some(f), None);
    // SAFETY: as the caller says.
    unsafe {
        storage.enter(false, &mut || {
            let f = f.take().expect("called once");
            result = Some(catch_unwind(AssertUnwindSafe(f)));
        });
    }
    result.expect("it was called").unwrap_or_else(|panic| resume_unwind(panic))
}

/// Runs the function inside, on a new worker. A test calls it from one thread, and so the workers are inside
/// one after the other.
fn on_worker<T: Send>(storage: &Storage, f: impl FnOnce() -> T + Send) -> T {
    // SAFETY: the worker is joined before the caller can start another one.
    thread::scope(|scope| scope.spawn(|| unsafe { enter(storage, f) }).join())
        .unwrap_or_else(|panic| resume_unwind(panic))
}

/// Runs the function on a thread, and fails if that takes two minutes.
fn within_time<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(f);
    let start = Instant::now();
    while !thread.is_finished() {
        assert!(start.elapsed() < Duration::from_secs(120), "it hangs");
        thread::sleep(Duration::from_millis(1));
    }
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

const CHILD: &str = "SWARD_STORAGE_TEST_CHILD";

/// In the test: runs the same test alone in a process of its own, and returns how that has ended; none in
/// that process.
fn in_child(test: &str) -> Option<Output> {
    if std::env::var_os(CHILD).is_some() {
        return None;
    }
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args([&format!("storage::tests::{test}"), "--exact", "--nocapture", "--test-threads=1"]);
    let mut child =
        command.env(CHILD, "1").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a child");
    let start = Instant::now();
    while child.try_wait().expect("a state").is_none() {
        if start.elapsed() > Duration::from_secs(300) {
            let _ = child.kill();
        }
        thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().expect("its output");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    print!("{}", String::from_utf8_lossy(&output.stderr));
    Some(output)
}

/// The same for a test that succeeds there. Returns whether this is the test, and not that process.
fn passes_in_child(test: &str) -> bool {
    in_child(test).inspect(|output| assert!(output.status.success(), "{}", output.status)).is_some()
}
