//! What the tests of I/O have in common.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::time::Duration;
use sward::net::{SocketAddr, TcpListener, TcpStream};

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

/// A listener on a free port, and where it is.
pub fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// The two ends of a connection.
pub fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listen();
    let client = TcpStream::connect(address).expect("connected");
    let (server, peer) = listener.accept().expect("accepted");
    assert_eq!(peer, client.local_addr().expect("an address"));
    assert_eq!(address, client.peer_addr().expect("an address"));
    (client, server)
}

/// Sets an option for which there is no method.
pub fn set_option<T>(socket: &impl AsRawFd, level: libc::c_int, name: libc::c_int, value: T) {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value lives until the call ends.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    assert_eq!(done, 0);
}

/// Dropping the socket resets the connection.
pub fn reset_on_drop(socket: &impl AsRawFd) {
    set_option(socket, libc::SOL_SOCKET, libc::SO_LINGER, libc::linger { l_onoff: 1, l_linger: 0 });
}

/// The processor time of this process.
pub fn cpu_time() -> Duration {
    // SAFETY: zeros are a valid value, and it lives until the call ends.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &raw mut usage), 0);
        usage
    };
    let part = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1_000);
    part(usage.ru_utime) + part(usage.ru_stime)
}

/// How often the workers of the caller's runtime have run a coroutine.
pub fn turns() -> u64 {
    let metrics = sward::runtime::metrics().expect("inside a runtime");
    metrics.workers.iter().map(|worker| worker.turns).sum()
}
