//! The upstreams: which one is up, how much each one does, and which one is next.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// How many health checks in a row must fail to take an upstream out.
const FAILURES: usize = 2;

/// How the next upstream is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests in flight.
    Least,
}

impl FromStr for Balance {
    type Err = ();

    fn from_str(text: &str) -> Result<Balance, ()> {
        match text {
            "round-robin" => Ok(Balance::RoundRobin),
            "least" => Ok(Balance::Least),
            _ => Err(()),
        }
    }
}

pub struct Upstream {
    pub address: String,
    up: AtomicBool,
    /// Health checks that failed since the last one that did not.
    missed: AtomicUsize,
    in_flight: AtomicUsize,
    requests: AtomicU64,
    failures: AtomicU64,
}

type Metric = (&'static str, &'static str, fn(&Upstream) -> u64);

pub const METRICS: [Metric; 4] = [
    ("up", "gauge", |upstream| u64::from(upstream.is_up())),
    ("in_flight", "gauge", |upstream| upstream.in_flight.load(Ordering::Relaxed) as u64),
    ("requests_total", "counter", |upstream| upstream.requests.load(Ordering::Relaxed)),
    ("failures_total", "counter", |upstream| upstream.failures.load(Ordering::Relaxed)),
];

impl Upstream {
    /// It counts as up until a check or a request says otherwise.
    pub fn new(address: &str) -> Upstream {
        Upstream {
            address: address.to_owned(),
            up: AtomicBool::new(true),
            missed: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    fn set_up(&self, up: bool) {
        if self.up.swap(up, Ordering::Relaxed) != up {
            tracing::warn!(upstream = self.address, up, "changed");
        }
    }

    /// The result of a health check.
    pub fn checked(&self, healthy: bool) {
        if healthy {
            self.missed.store(0, Ordering::Relaxed);
            self.set_up(true);
        } else if self.missed.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES {
            self.set_up(false);
        }
    }

    /// A request failed. One whose connection was refused takes the upstream out until the next check.
    pub fn failed(&self, refused: bool) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if refused {
            self.set_up(false);
        }
    }
}

/// A request that an upstream works on.
pub struct Flight(Arc<Upstream>);

impl Flight {
    pub fn start(upstream: &Arc<Upstream>) -> Flight {
        upstream.requests.fetch_add(1, Ordering::Relaxed);
        upstream.in_flight.fetch_add(1, Ordering::Relaxed);
        Flight(Arc::clone(upstream))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An upstream that is up: one that was not tried, if there is one. `next` counts the calls.
pub fn choose(all: &[Arc<Upstream>], balance: Balance, tried: &[bool], next: &AtomicUsize) -> Option<usize> {
    let start = next.fetch_add(1, Ordering::Relaxed);
    let up = || (0..all.len()).map(|n| (start.wrapping_add(n)) % all.len()).filter(|n| all[*n].is_up());
    match balance {
        Balance::RoundRobin => up().find(|n| !tried[*n]).or_else(|| up().next()),
        // The first of the smallest: equal ones take turns, as `start` does.
        Balance::Least => up().min_by_key(|n| (tried[*n], all[*n].in_flight.load(Ordering::Relaxed))),
    }
}
