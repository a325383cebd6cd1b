//! The servers, one text for each shape of peer, and the load, which is the same for all.

pub mod activations;
pub mod blocking;
pub mod load;
pub mod raw;
pub mod tokio;

use crate::sys::{self, Usage};
use std::io::BufRead;
use std::sync::Mutex;
use std::time::Duration;

/// The service `Burn`: how many coroutines burn CPU beside the connections, and for how long at a time.
pub const BURNERS: usize = 32;
pub const SLICE: Duration = Duration::from_millis(5);
/// The services `Hog1` and `Hog4`: how long a hog computes, and how long it sleeps. It sleeps first, so the
/// connections open while no hog computes.
pub const HOG: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(800));
/// The same: requests a second, over all connections.
pub const HOG_RATE: u64 = 4_000;
/// The service `Skewed`: how long it computes for each message.
pub const WORK: Duration = Duration::from_micros(200);
/// The limit of each read of the service `Deadline`.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// Room for one read.
const ROOM: usize = 1024;

/// What a server does with its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Sends it back.
    Echo,
    /// Sends it back and closes the connection.
    Once,
    /// `Echo` with a limit on each read.
    Deadline,
    /// `Echo` beside coroutines that burn CPU.
    Burn,
    /// `Echo` beside one coroutine that burns CPU for [`HOG`] in each second.
    Hog1,
    /// `Echo` beside four of these. All four begin at the same time.
    Hog4,
    /// `Echo` that computes for [`WORK`] for each message. After a connection's first message it also sends
    /// the connection's [`Group`], so that the client can load the connections of one worker.
    Skewed,
    /// Answers requests.
    Http,
}

impl Service {
    pub fn name(self) -> &'static str {
        match self {
            Service::Echo => "echo",
            Service::Once => "once",
            Service::Deadline => "deadline",
            Service::Burn => "burn",
            Service::Hog1 => "hog-1",
            Service::Hog4 => "hog-4",
            Service::Skewed => "skewed",
            Service::Http => "http",
        }
    }

    pub fn named(name: &str) -> Option<Service> {
        use Service::{Burn, Deadline, Echo, Hog1, Hog4, Http, Once, Skewed};
        let all = [Echo, Once, Deadline, Burn, Hog1, Hog4, Skewed, Http];
        all.into_iter().find(|service| service.name() == name)
    }

    /// The number of coroutines that burn CPU for [`HOG`].
    pub fn hogs(self) -> usize {
        match self {
            Service::Hog1 => 1,
            Service::Hog4 => 4,
            _ => 0,
        }
    }
}

/// Connections that go together, by number: the connections of one worker.
///
/// sward: the connections whose first message was served on the same OS thread. The kernel's thread id names
/// the worker in each mode; `std::thread::current` would name the home. The connection waits for its second
/// message in the same turn, so it joins the shard of that worker. What the modes do with a skewed load
/// afterwards is what the workload measures: in pinned mode the worker serves the group for good, otherwise
/// homes or coroutines may move.
///
/// Go and tokio: each n-th connection, with n workers. Nothing ties their connections to a worker, so any
/// choice is as good.
type Group = u8;

/// The group of the connections that the calling OS thread serves first.
fn group_of_this_thread() -> Group {
    static THREADS: Mutex<Vec<i64>> = Mutex::new(Vec::new());
    let this = sys::thread_id();
    let mut threads = THREADS.lock().expect("nobody panics");
    let place = threads.iter().position(|&thread| thread == this).unwrap_or_else(|| {
        threads.push(this);
        threads.len() - 1
    });
    Group::try_from(place).expect("there are few workers")
}

/// One response for each request whose end is in the input. It only looks for the end of each head, and
/// assumes that a head comes in one piece, as `wrk`'s do: parsers are not compared here.
fn answer(input: &[u8], output: &mut Vec<u8>) {
    const RESPONSE: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, World!\n";
    output.clear();
    for _ in input.windows(4).filter(|window| window == b"\r\n\r\n") {
        output.extend_from_slice(RESPONSE);
    }
}

/// Keeps the processor busy.
fn burn(time: Duration) {
    let start = std::time::Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Prints where the server listens. Then a plain thread answers each line of the driver with the process's
/// use of resources, and ends the process when the driver ends.
fn announce(port: u16) {
    println!("{port}");
    std::thread::spawn(|| {
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
            let usage = Usage::now();
            let Usage { user, kernel, sleeps, preempted } = usage;
            println!("user {user} kernel {kernel} sleeps {sleeps} preempted {preempted}");
        }
        std::process::exit(0);
    });
}
