//! What there is to run: the workloads with their sizes, the peers, and which peer has no part in which workload.

use crate::micro::Size;
use crate::net::Service;

pub const PEERS: [&str; 7] = ["sward", "sward-migrating", "go", "tokio", "may", "threads", "raw"];

/// A measure that gets a table of its own. The less the better, for all of them.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// As the children name it.
    pub key: &'static str,
    pub title: &'static str,
}

const WALL: Measure = Measure { key: "wall", title: "time per operation" };
const CPU: Measure = Measure { key: "cpu", title: "CPU per operation" };
const BYTES: Measure = Measure { key: "bytes", title: "memory and page tables, each" };
const LATE: Measure = Measure { key: "late99", title: "lateness, p99" };
const SERVER: Measure = Measure { key: "cpu", title: "server CPU per request" };
const RATE: Measure = Measure { key: "wall", title: "time per request, all connections together" };
const P50: Measure = Measure { key: "p50", title: "latency, p50" };
const P99: Measure = Measure { key: "p99", title: "latency, p99" };
const SLEEPS: Measure = Measure { key: "sleeps", title: "times that threads went to sleep in a second" };

#[derive(Clone, Copy)]
pub enum Kind {
    /// A child computes by itself. Threads get fewer operations, or none: they are that much slower.
    Micro { run: &'static str, size: Size, threads: u64 },
    /// A server and a load.
    Net { service: Service, connections: usize, active: usize, one_core: bool },
    /// A server and `wrk`.
    Http { connections: usize },
}

pub struct Workload {
    pub name: &'static str,
    pub about: String,
    pub kind: Kind,
    pub measures: &'static [Measure],
}

impl Workload {
    /// Whether the name is this one's, or that of a group that it belongs to.
    pub fn answers_to(&self, name: &str) -> bool {
        self.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    /// Why a peer has no part in it. What is no matter of missing primitives was seen to fail in this way.
    pub fn skips(&self, peer: &str) -> Option<&'static str> {
        match (peer, self.kind) {
            ("raw", Kind::Micro { .. }) => Some("an epoll loop has no coroutines"),
            ("raw", Kind::Net { service: Service::Deadline | Service::Burn, .. }) => {
                Some("an epoll loop has no timers and nothing beside it")
            }
            ("threads", Kind::Micro { threads: 0, .. }) => Some("more threads than the kernel has"),
            ("threads", Kind::Net { connections, .. }) if connections > 5_000 => {
                Some("more threads than the kernel has")
            }
            ("tokio", Kind::Micro { run: "channel", size: Size { partners: 2.., .. }, .. }) => {
                Some("its channels have one receiver")
            }
            ("may", Kind::Micro { run: "parked" | "skynet" | "sleepers", .. }) => {
                Some("two mappings for each stack: it ends at vm.max_map_count")
            }
            ("may", Kind::Net { connections, .. }) if connections > 20_000 => {
                Some("two mappings for each stack: it ends at vm.max_map_count")
            }
            ("may", Kind::Net { service: Service::Burn, .. }) => {
                Some("those that burn starve the connections: no answer within 20 s")
            }
            _ => None,
        }
    }
}

/// Descriptors that a server or a load needs besides its connections.
const SPARE_DESCRIPTORS: u64 = 64;

/// All workloads, for processes that may have that many open files.
pub fn workloads(descriptors: u64) -> Vec<Workload> {
    let most = descriptors.saturating_sub(SPARE_DESCRIPTORS).min(50_000) as usize;
    let micro = |name, about: &str, run, (tasks, partners, ops), threads, measures| Workload {
        name,
        about: about.to_owned(),
        kind: Kind::Micro { run, size: Size { tasks, partners, ops }, threads },
        measures,
    };
    let net = |name, about: String, service, connections, active, measures| Workload {
        name,
        about,
        kind: Kind::Net { service, connections, active, one_core: false },
        measures,
    };
    let http = |name, connections| Workload {
        name,
        about: format!("HTTP keep-alive by wrk, connections: {connections}"),
        kind: Kind::Http { connections },
        measures: &[SERVER, RATE, P99],
    };
    let echo = |name, connections| {
        let about = format!("echo, connections: {connections}");
        net(name, about, Service::Echo, connections, connections, &[SERVER, RATE, P99])
    };
    let one_core = |mut workload: Workload| {
        if let Kind::Net { one_core, .. } = &mut workload.kind {
            *one_core = true;
        }
        workload.about += ", server and load on one core";
        workload
    };
    vec![
        micro(
            "spawn",
            "batches of 1,000: spawn, run, exit, join",
            "spawn",
            (1, 1, 1_000_000),
            20_000,
            &[WALL],
        ),
        micro(
            "parked-100k",
            "100,000 parked at once, woken, joined",
            "parked",
            (1, 1, 100_000),
            0,
            &[WALL, BYTES],
        ),
        micro(
            "parked-1m",
            "1,000,000 parked at once, woken, joined",
            "parked",
            (1, 1, 1_000_000),
            0,
            &[WALL, BYTES],
        ),
        micro("yield-2", "2 coroutines yield", "yield", (2, 1, 5_000_000), 1_000_000, &[WALL]),
        micro("yield-100", "100 coroutines yield", "yield", (100, 1, 5_000_000), 1_000_000, &[WALL]),
        micro("yield-10k", "10,000 coroutines yield", "yield", (10_000, 1, 5_000_000), 0, &[WALL]),
        micro(
            "unpark",
            "two on different workers wake each other: one wake",
            "unpark",
            (2, 1, 200_000),
            50_000,
            &[WALL],
        ),
        micro(
            "pingpong",
            "there and back over rendezvous channels",
            "pingpong",
            (1, 0, 500_000),
            30_000,
            &[WALL],
        ),
        micro(
            "pingpong-apart",
            "the same, started on different workers",
            "pingpong",
            (1, 1, 200_000),
            30_000,
            &[WALL],
        ),
        micro("chan-1-1", "bounded(128), 1 to 1", "channel", (1, 1, 5_000_000), 2_000_000, &[WALL]),
        micro("chan-2-2", "bounded(128), 2 to 2", "channel", (2, 2, 5_000_000), 2_000_000, &[WALL]),
        micro("chan-16-1", "bounded(128), 16 to 1", "channel", (16, 1, 5_000_000), 2_000_000, &[WALL]),
        micro("mutex", "100 share a mutex", "mutex", (100, 1, 10_000_000), 5_000_000, &[WALL]),
        micro(
            "rwlock",
            "100 share a read-write lock, 90 % reads",
            "rwlock",
            (100, 1, 5_000_000),
            1_000_000,
            &[WALL],
        ),
        micro(
            "skynet",
            "a tree with 1,000,000 leaves, 10 children a node",
            "skynet",
            (1, 1, 1_000_000),
            0,
            &[WALL],
        ),
        micro("fib", "fork-join fib of about 400,000 spawns", "fib", (1, 1, 400_000), 0, &[WALL]),
        micro(
            "sleepers",
            "100,000 sleep once, for up to a second",
            "sleepers",
            (1, 1, 100_000),
            0,
            &[CPU, LATE],
        ),
        micro(
            "timers",
            "ping-pong, each receive with a timeout that is met",
            "timers",
            (1, 1, 300_000),
            30_000,
            &[WALL],
        ),
        echo("echo-1", 1),
        one_core(echo("echo-1-core", 1)),
        echo("echo-64", 64),
        echo("echo-1k", 1_000),
        echo("echo-10k", 10_000.min(most)),
        http("http-64", 64),
        http("http-1k", 1_000),
        net(
            "churn",
            "connect, request, close, 64 at a time".into(),
            Service::Once,
            64,
            64,
            &[SERVER, RATE, P99],
        ),
        net(
            "deadline",
            "echo with a deadline on every read, 64 connections".into(),
            Service::Deadline,
            64,
            64,
            &[SERVER, RATE],
        ),
        net(
            "burn",
            "echo, 32 connections beside 32 coroutines that burn CPU in slices of 5 ms".into(),
            Service::Burn,
            32,
            32,
            &[P99, P50],
        ),
        net(
            "skew",
            "echo, 1,000 connections, of which 100 carry all traffic".into(),
            Service::Echo,
            1_000,
            100,
            &[SERVER, RATE, P99],
        ),
        net(
            "beside-1k",
            "echo, 64 connections beside 1,000 idle ones".into(),
            Service::Echo,
            1_064,
            64,
            &[SERVER, RATE],
        ),
        net(
            "beside-most",
            format!("echo, 64 connections beside {} idle ones", most - 64),
            Service::Echo,
            most,
            64,
            &[SERVER, RATE],
        ),
        net(
            "idle",
            format!("{most} idle connections, as many as one process may hold (at most 50,000)"),
            Service::Echo,
            most,
            0,
            &[BYTES, SLEEPS],
        ),
    ]
}
