//! A page that shows a running program, live, and the small HTTP server behind it.
//!
//! The server has a runtime of its own, with one worker. So it answers also while all workers of the program
//! are stuck, and what it does is not in the figures of the program's runtimes. `http`: the protocol.
//! `routes`: what it answers.

mod http;
mod routes;

use self::http::Policy;
use self::routes::{NAME, Routes};
use crate::blocking;
use crate::net::{TcpListener, ToSocketAddrs};
use crate::runtime::{Builder, Homes, Runtime};
use crate::sync::Semaphore;
use crate::task;
use crate::time;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How many connections it serves at a time. Further ones wait in the kernel's queue.
const CONNECTIONS: usize = 32;
/// How long the accept loop pauses after an error of the listener.
const PAUSE: Duration = Duration::from_secs(1);
/// How long [`Server::stop`] lets answers unwind.
const STOP: Duration = Duration::from_secs(1);

/// Serves the dashboard at that address of this machine: `Dashboard::new().serve(address)`.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let server = sward::observe::serve("127.0.0.1:0")?;
/// println!("open http://{}/", server.local_addr());
/// # server.stop();
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// As [`Dashboard::serve`].
pub fn serve<A: ToSocketAddrs>(address: A) -> io::Result<Server> {
    Dashboard::new().serve(address)
}

/// How to serve the dashboard: a page that shows what the program does, live, and the same facts for tools.
/// Needs the feature `dashboard`.
///
/// | path | what it answers |
/// |---|---|
/// | `/` | the page. It needs nothing from elsewhere, and it also shows a dump that is dropped on it |
/// | `/dump`, `/dump?full=1` | [`Dump`](super::Dump) as text, with `{}` and `{:#}` |
/// | `/dump.json` | [`Dump::to_json`](super::Dump::to_json) |
/// | `/summary.json` | [`Dump::to_summary_json`](super::Dump::to_summary_json), at most half a second old |
/// | `/deadlocks.json` | an object whose `deadlocks` are those of [`deadlocks`](super::deadlocks()) |
/// | `/leaks` | [`Leaks`](super::Leaks) as text |
/// | `/sites`, `/sites.json` | [`Sites`](super::Sites), as a table and as [`Sites::to_json`](super::Sites::to_json) |
/// | `/metrics`, `/metrics?runtime=NAME` | [`Metrics::to_prometheus`](crate::runtime::Metrics::to_prometheus) of the runtime that has started first, or of that name |
/// | `/trace?seconds=5` | [`record`](super::record()) for up to 60 seconds, as [`Trace::to_json`](super::Trace::to_json). |
/// | `/trace?last=10` | [`recorded`](super::recorded()), the same |
/// | `/healthz` | `ok` |
///
/// # Who may see it
///
/// Everybody who can connect: there is no password. An answer has names and spawn sites of coroutines,
/// functions, files and lines, addresses of memory and of sockets; nothing else of the program's data. So the
/// server listens on loopback only, unless [`allow_remote`](Self::allow_remote) says otherwise. Even there a
/// web page that somebody has opened could try to read it. Hence a request must name this machine by a
/// loopback address, by `localhost`, by the address that it was sent to, or by a name given to
/// [`host`](Self::host). Requests that a page of another origin makes are refused, but for a link to `/`.
///
/// The server reads (`GET`, `HEAD`). It changes nothing, except that a trace switches the flight recorder on
/// for its time. It bounds what a client can make it do: 32 connections, a request's head of 8 KiB and five
/// seconds, two dumps and one trace at a time, and 300,000 events in a trace.
#[derive(Clone, Debug, Default)]
pub struct Dashboard {
    remote: bool,
    hosts: Vec<String>,
}

impl Dashboard {
    /// Settings for a server that only this machine can reach.
    pub fn new() -> Dashboard {
        Dashboard::default()
    }

    /// Whether [`serve`](Self::serve) accepts an address that other machines can reach. Default: false.
    ///
    /// Anybody who can connect then sees what the program does, without a password and without encryption.
    /// Prefer a tunnel: `ssh -L 6060:127.0.0.1:6060 server`.
    pub fn allow_remote(mut self, allow: bool) -> Dashboard {
        self.remote = allow;
        self
    }

    /// One more name by which clients may address the server, such as `"build-7.example"`, or an address if a
    /// router or container changes it between the client and here. Without the port.
    pub fn host(mut self, name: impl Into<String>) -> Dashboard {
        self.hosts.push(name.into());
        self
    }

    /// Serves the dashboard at the first of the addresses that can be bound, until the process ends or
    /// [`Server::stop`]. Parks while a name is looked up.
    ///
    /// The server runs in a runtime of its own, with one worker: so it answers also while all workers of the
    /// program are stuck. It is not part of what it shows, and does not keep [`run`](crate::run) from
    /// returning. Idle it costs two threads that sleep; it looks at the program only for a request.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` for an address that other machines can reach, without
    /// [`allow_remote`](Self::allow_remote). Otherwise as [`TcpListener::bind`] and
    /// [`Builder::build`](crate::runtime::Builder::build).
    pub fn serve<A: ToSocketAddrs>(self, address: A) -> io::Result<Server> {
        let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
        let remote = addresses.iter().find(|address| !address.ip().is_loopback());
        if let Some(address) = remote.filter(|_| !self.remote) {
            let text = format!(
                "sward: other machines can reach {address}, and the dashboard has no password; \
                 Dashboard::allow_remote(true) serves it there all the same"
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        let builder = Builder::new().worker_threads(1).thread_name(NAME).homes(Homes::Off).observer();
        let runtime = builder.watch_deadlocks(false).build()?;
        let listener = TcpListener::bind(&addresses[..])?;
        let address = listener.local_addr()?;
        let policy = Arc::new(Policy::new(self.hosts));
        runtime.spawn(move || accept(&listener, &policy));
        Ok(Server { address, runtime: Some(runtime) })
    }
}

/// A dashboard that is served.
///
/// Dropping the handle detaches the server: it serves on until the process ends.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    /// Taken by the end.
    runtime: Option<Runtime>,
}

impl Server {
    /// The address at which it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Ends the server and its connections. Parks, or blocks a plain thread, for up to a second.
    pub fn stop(mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        // A worker must not block. Without a thread the runtime's own drop, which blocks it, ends the server.
        let _ = blocking::blocking(move || runtime.shutdown_timeout(STOP));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Its drop would end the server.
            std::mem::forget(runtime);
        }
    }
}

/// The life of the server.
fn accept(listener: &TcpListener, policy: &Arc<Policy>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let routes = Arc::new(Routes::new());
    while let Ok(permit) = permits.acquire_owned() {
        match listener.accept() {
            Ok((stream, _)) => {
                let (policy, routes) = (Arc::clone(policy), Arc::clone(&routes));
                let connection = task::Builder::new().name("connection").spawn(move || {
                    let _permit = permit;
                    // A broken connection ends only itself.
                    let _ = http::serve(stream, &policy, |request| routes.answer(request));
                });
                drop(connection);
            }
            Err(_) => time::sleep(PAUSE),
        }
    }
}
