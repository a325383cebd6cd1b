//! What the tests of I/O have in common.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::io::{self, ErrorKind};
use std::time::Duration;

/// Long enough for a coroutine to park; nothing depends on its being so.
pub const MOMENT: Duration = Duration::from_millis(20);

/// A limit that no test reaches unless it hangs.
pub const LONG: Duration = Duration::from_secs(60);

/// Runs the closure in a runtime of its own. Unlike `sward::run` this does not become the default runtime,
/// in which other tests spawn from plain threads meanwhile.
pub fn in_runtime<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    sward::runtime::Builder::new().build().expect("a runtime").run(f)
}

/// Runs the test in a coroutine and on a plain thread.
pub fn both(test: impl Fn() + Send + Sync) {
    in_runtime(&test);
    test();
}

/// The kind of the error that there must be.
pub fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> ErrorKind {
    result.expect_err("an error").kind()
}
