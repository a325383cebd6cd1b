//! The accept loop of the example servers: a coroutine for each connection, and a limit on their number. And
//! how a server closes a connection.

use super::{Arguments, raise_descriptor_limit};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use sward::net::{Conn, Shutdown, TcpListener, TcpStream};
use sward::sync::Semaphore;
use sward::time::timeout;

/// How many connections a server holds at once, without `--connections`.
const CONNECTIONS: u64 = 4_000;

/// Descriptors that are not for connections: the listener, the standard streams, the runtime's own.
const RESERVED: u64 = 64;

/// How long the loop pauses after an error of the listener.
const PAUSE: Duration = Duration::from_secs(1);

/// Takes `--connections N`. Raises the descriptor limit, and lowers the number to what the limit allows, if a
/// connection needs `descriptors_each`.
pub fn connections(arguments: &mut Arguments, descriptors_each: u64) -> usize {
    let wanted = arguments.number("--connections", CONNECTIONS);
    let descriptors = raise_descriptor_limit().unwrap_or(1024);
    wanted.min(descriptors.saturating_sub(RESERVED) / descriptors_each).max(1) as usize
}

/// How long, and for how many bytes, a server reads on after its last answer.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 << 20;

/// Serves each connection in a coroutine of its own, at most `limit` at once, until the listener is closed.
/// Further connections wait in the kernel's backlog, where they cost this process nothing.
pub fn serve<F>(listener: &TcpListener, limit: usize, connection: F)
where
    F: FnOnce(TcpStream) + Clone + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(limit));
    let mut incoming = listener.incoming();
    // The permit comes first, so that an accepted connection is served at once.
    while let Ok(permit) = permits.acquire_owned() {
        match incoming.next() {
            Some(Ok(stream)) => {
                let connection = connection.clone();
                sward::spawn(move || {
                    // Returned when the connection ends, also by a panic.
                    let _permit = permit;
                    connection(stream);
                });
            }
            Some(Err(e)) => pause(&e),
            None => return,
        }
    }
}

/// After an error of `accept` a server prints it and goes on a little later. sward itself passes over the
/// errors of single connections, and backs off while descriptors are exhausted. So an error here is the
/// listener's, and may pass.
pub fn pause(error: &io::Error) {
    eprintln!("accept: {error}");
    sward::sleep(PAUSE);
}

/// Ends a connection so that the peer gets the last answer. If a connection is closed with unread data, the
/// kernel resets it, and the reset overtakes the answer. So the server ends its own direction, and discards
/// input until the peer closes too or a limit is reached.
pub fn close_gently(mut stream: impl HalfClose) {
    if stream.end_writing().is_err() {
        return;
    }
    let (mut buffer, mut left) = ([0; 4 << 10], LINGER_BYTES);
    let _ = timeout(LINGER_TIME, || {
        while let Ok(count @ 1..) = stream.read(&mut buffer)
            && count < left
        {
            left -= count;
        }
    });
}

/// A stream of which one direction can be ended.
pub trait HalfClose: Read {
    fn end_writing(&mut self) -> io::Result<()>;
}

impl HalfClose for &TcpStream {
    fn end_writing(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl HalfClose for &mut Conn<'_> {
    fn end_writing(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}
