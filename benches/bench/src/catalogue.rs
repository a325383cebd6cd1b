//! The workloads with their sizes, the peers, and which peer skips which workload.

use crate::micro::Size;
use crate::net::Service;

pub const PEERS: [&str; 9] =
    ["sward", "sward-homes", "sward-migrating", "sward-serve", "go", "tokio", "may", "threads", "raw"];

/// A measure with a table of its own. For all measures less is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// Its name in the output of the children.
    pub key: &'static str,
    pub title: &'static str,
}

const WALL: Measure = Measure { key: "wall", title: "time per operation" };
const CPU: Measure = Measure { key: "cpu", title: "CPU per operation" };
const BYTES: Measure = Measure { key: "bytes", title: "memory and page tables, each" };
const LATE: Measure = Measure { key: "late99", title: "lateness, p99" };
const SERVER: Measure = Measure { key: "cpu", title: "server CPU per request" };
const USER: Measure = Measure { key: "user", title: "server user time per request" };
const RATE: Measure = Measure { key: "wall", title: "time per request, all connections together" };
const P50: Measure = Measure { key: "p50", title: "latency, p50" };
const P99: Measure = Measure { key: "p99", title: "latency, p99" };
const MAX: Measure = Measure { key: "max", title: "latency, maximum" };
const BACKLOG: Measure =
    Measure { key: "backlog", title: "most coroutines that were spawned and not started" };
const SLEEPS: Measure = Measure { key: "sleeps", title: "times that threads went to sleep in a second" };

/// The sections of a report.
pub const SECTIONS: [&str; 6] =
    ["Spawning and memory", "Switching", "Channels and locks", "Timers", "Servers", "Fairness"];

#[derive(Clone, Copy)]
pub enum Kind {
    /// A child that computes. Threads get fewer operations, or none, since they are much slower.
    Micro { run: &'static str, size: Size, threads: u64 },
    /// A server and a load.
    Net { service: Service, connections: usize, active: usize, one_core: bool },
    /// A server and `wrk`.
    Http { connections: usize },
}

#[derive(Clone)]
pub struct Workload {
    pub name: &'static str,
    pub about: String,
    pub kind: Kind,
    pub measures: &'static [Measure],
}

impl Workload {
    /// Whether this is the workload's name, or the name of its group.
    pub fn answers_to(&self, name: &str) -> bool {
        self.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    /// Its section of [`SECTIONS`].
    pub fn section(&self) -> &'static str {
        let section = match self.kind {
            Kind::Micro { run: "spawn" | "parked" | "heap" | "skynet" | "fib", .. } => 0,
            Kind::Micro { run: "yield" | "unpark" | "pingpong", .. } => 1,
            Kind::Micro { run: "sleepers" | "timers", .. } => 3,
            Kind::Micro { run: "datagrams" | "accepts", .. } => 4,
            Kind::Micro { run: "start-beside" | "backlog" | "beside-hog" | "naps", .. } => 5,
            Kind::Net { service: Service::Hog1 | Service::Hog4 | Service::Skewed, .. } => 5,
            Kind::Micro { .. } => 2,
            Kind::Net { .. } | Kind::Http { .. } => 4,
        };
        SECTIONS[section]
    }

    /// Why a peer skips it. Reasons other than a missing primitive were seen in runs.
    pub fn skips(&self, peer: &str) -> Option<&'static str> {
        match (peer, self.kind) {
            ("sward-serve", Kind::Micro { .. }) => Some("it is a server"),
            ("sward-serve", Kind::Net { service: Service::Burn, .. }) => {
                Some("what the coroutines beside it do is the same as in pinned mode")
            }
            ("raw", Kind::Micro { .. }) => Some("an epoll loop has no coroutines"),
            (
                "raw",
                Kind::Net {
                    service:
                        Service::Deadline | Service::Burn | Service::Hog1 | Service::Hog4 | Service::Skewed,
                    ..
                },
            ) => Some("an epoll loop has no timers and nothing beside it"),
            ("threads", Kind::Micro { threads: 0, .. }) => Some("more threads than the kernel has"),
            ("threads", Kind::Net { connections, .. }) if connections > 5_000 => {
                Some("more threads than the kernel has")
            }
            ("tokio", Kind::Micro { run: "channel", size: Size { partners: 2.., .. }, .. }) => {
                Some("its channels have one receiver")
            }
            ("may" | "threads" | "tokio", Kind::Micro { run: "token" | "datagrams" | "accepts", .. }) => {
                Some("written for sward and Go only")
            }
            (
                "may" | "threads",
                Kind::Net { service: Service::Hog1 | Service::Hog4 | Service::Skewed, .. }
                | Kind::Micro { run: "start-beside" | "backlog" | "beside-hog" | "naps", .. },
            ) => Some("the comparison is with Go and tokio"),
            ("may", Kind::Micro { run: "parked" | "heap" | "skynet" | "fib" | "sleepers", .. }) => {
                Some("two mappings for each stack: it ends at vm.max_map_count")
            }
            ("may", Kind::Net { connections, .. }) if connections > 20_000 => {
                Some("two mappings for each stack: it ends at vm.max_map_count")
            }
            ("may", Kind::Net { service: Service::Burn, .. }) => {
                Some("its coroutines that burn CPU starve the connections: no answer within 20 s")
            }
            _ => None,
        }
    }
}

/// Descriptors that a server or a load client needs besides its connections.
const SPARE_DESCRIPTORS: u64 = 64;

/// A child that computes. Its sizes are: coroutines, partners, operations, and operations for threads.
fn micro(name: &'static str, run: &'static str, sizes: [u64; 4], about: &str) -> Workload {
    let [tasks, partners, ops, threads] = sizes;
    let kind = Kind::Micro { run, size: Size { tasks, partners, ops }, threads };
    Workload { name, about: about.to_owned(), kind, measures: &[WALL] }
}

/// A server and its load. Its counts are: connections, and connections that carry traffic.
fn net(name: &'static str, service: Service, counts: [usize; 2], about: &str) -> Workload {
    let [connections, active] = counts;
    let kind = Kind::Net { service, connections, active, one_core: false };
    Workload { name, about: about.to_owned(), kind, measures: &[SERVER, RATE, P99] }
}

fn echo(name: &'static str, connections: usize) -> Workload {
    let about = format!("echo, connections: {connections}");
    net(name, Service::Echo, [connections; 2], &about)
}

fn http(name: &'static str, connections: usize) -> Workload {
    let about = format!("HTTP keep-alive by wrk, connections: {connections}");
    Workload { name, about, kind: Kind::Http { connections }, measures: &[SERVER, RATE, P99] }
}

impl Workload {
    fn measuring(mut self, measures: &'static [Measure]) -> Workload {
        self.measures = measures;
        self
    }

    fn on_one_core(mut self) -> Workload {
        if let Kind::Net { one_core, .. } = &mut self.kind {
            *one_core = true;
        }
        self.about += ", server and load on one core";
        self
    }
}

/// All workloads, sized for that limit of open files.
pub fn workloads(descriptors: u64) -> Vec<Workload> {
    use Service::{Burn, Deadline, Echo, Hog1, Hog4, Once, Skewed};
    let most = descriptors.saturating_sub(SPARE_DESCRIPTORS).min(50_000) as usize;
    let beside = format!("echo, 64 connections beside {} idle ones", most.saturating_sub(64));
    let idle = format!("{most} idle connections, as many as one process may hold (at most 50,000)");
    let burn = "echo, 32 connections beside 32 coroutines that burn CPU in slices of 5 ms";
    let memory = &[WALL, BYTES];
    vec![
        micro("spawn", "spawn", [1, 1, 1_000_000, 20_000], "batches of 1,000: spawn, run, exit, join"),
        micro("parked-100k", "parked", [1, 1, 100_000, 0], "100,000 parked at once, woken, joined")
            .measuring(memory),
        micro("parked-1m", "parked", [1, 1, 1_000_000, 0], "1,000,000 parked at once, woken, joined")
            .measuring(memory),
        micro("heap-100k", "heap", [1, 1, 100_000, 0], "the same, each with 1.5 KiB of heap that is in use")
            .measuring(memory),
        micro("yield-2", "yield", [2, 1, 5_000_000, 1_000_000], "2 coroutines yield"),
        micro("yield-100", "yield", [100, 1, 5_000_000, 1_000_000], "100 coroutines yield"),
        micro("yield-10k", "yield", [10_000, 1, 5_000_000, 0], "10,000 coroutines yield"),
        micro(
            "unpark",
            "unpark",
            [2, 1, 200_000, 50_000],
            "two on different workers wake each other: one wake",
        ),
        micro("pingpong", "pingpong", [1, 0, 500_000, 30_000], "there and back over rendezvous channels"),
        micro(
            "pingpong-apart",
            "pingpong",
            [1, 1, 200_000, 30_000],
            "the same, started on different workers",
        ),
        micro("chan-1-1", "channel", [1, 1, 5_000_000, 2_000_000], "bounded(128), 1 to 1"),
        micro("chan-2-2", "channel", [2, 2, 5_000_000, 2_000_000], "bounded(128), 2 to 2"),
        micro("chan-16-1", "channel", [16, 1, 5_000_000, 2_000_000], "bounded(128), 16 to 1"),
        micro("mutex", "mutex", [100, 1, 10_000_000, 5_000_000], "100 share a mutex"),
        micro("rwlock", "rwlock", [100, 1, 2_000_000, 1_000_000], "100 share a read-write lock, 90 % reads"),
        micro("skynet", "skynet", [1, 1, 1_000_000, 0], "a tree with 1,000,000 leaves, 10 children a node"),
        micro("fib", "fib", [1, 1, 400_000, 0], "fork-join fib of about 400,000 spawns"),
        micro("sleepers", "sleepers", [1, 1, 100_000, 0], "100,000 sleep once, for up to a second")
            .measuring(&[CPU, LATE]),
        micro(
            "timers",
            "timers",
            [1, 1, 300_000, 30_000],
            "ping-pong, each receive with a timeout that is met",
        ),
        micro(
            "token-10",
            "token",
            [10, 1, 300_000, 0],
            "select over an own channel and a shared token, 10 waiters",
        ),
        micro("token-10k", "token", [10_000, 1, 300_000, 0], "the same, 10,000 waiters"),
        micro("datagrams-10", "datagrams", [10, 1, 20_000, 0], "UDP, 10 receivers of one socket"),
        micro("datagrams-1k", "datagrams", [1_000, 1, 20_000, 0], "the same, 1,000 receivers"),
        micro("accepts-10", "accepts", [10, 1, 5_000, 0], "TCP, 10 acceptors of one listener"),
        micro("accepts-1k", "accepts", [1_000, 1, 5_000, 0], "the same, 1,000 acceptors"),
        micro(
            "start-beside",
            "start-beside",
            [2, 0, 500, 0],
            "spawn to start, 200 a second, beside 2 that compute for 10 ms and yield",
        )
        .measuring(&[P50, P99, MAX]),
        micro("backlog", "backlog", [1, 0, 1_000_000, 0], "one spawns 1,000,000 and yields after each 128")
            .measuring(&[BACKLOG, WALL]),
        micro(
            "beside-hog",
            "beside-hog",
            [10, 0, 10, 0],
            "how late 10 sleepers wake that were spawned in a row, beside one that computes for 1.5 s",
        )
        .measuring(&[P50, MAX]),
        micro(
            "beside-hog-200",
            "naps",
            [200, 0, 10, 0],
            "how late 200 sleepers wake that sleep for 10 ms at a time, beside one that computes for 400 ms",
        )
        .measuring(&[MAX, P99]),
        echo("echo-1", 1),
        echo("echo-1-core", 1).on_one_core(),
        echo("echo-64", 64),
        echo("echo-100", 100).measuring(&[SERVER, USER]),
        echo("echo-1k", 1_000),
        echo("echo-10k", 10_000.min(most)),
        http("http-64", 64),
        http("http-1k", 1_000),
        net("churn", Once, [64, 64], "connect, request, close, 64 at a time"),
        net("deadline", Deadline, [64, 64], "echo with a deadline on every read, 64 connections"),
        net("burn", Burn, [32, 32], burn).measuring(&[P99, P50]),
        net(
            "hog-1",
            Hog1,
            [200, 200],
            "echo, 200 connections, 4,000 requests a second in all, beside one that computes for 200 ms each second",
        )
        .measuring(&[P99, P50]),
        net("hog-4", Hog4, [200, 200], "the same beside four that compute at the same time")
            .measuring(&[P99, P50]),
        net(
            "uneven",
            Skewed,
            [1_000, 1_000],
            "1,000 connections; the ones of one worker are busy, and compute for 200 us for each request",
        )
        .measuring(&[RATE, P99]),
        net("flood", Once, [500, 500], "connect, request, close, 500 at a time").measuring(&[P99, P50, RATE]),
        net("skew", Echo, [1_000, 100], "echo, 1,000 connections, 100 of them carry all traffic"),
        net("beside-1k", Echo, [1_064, 64], "echo, 64 connections beside 1,000 idle ones"),
        net("beside-most", Echo, [most, 64], &beside),
        net("idle", Echo, [most, 0], &idle).measuring(&[BYTES, SLEEPS]),
    ]
}
