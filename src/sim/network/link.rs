//! How a link between two hosts behaves.

use std::time::Duration;

/// How a link between two hosts behaves, in both directions. Pass it to `Sim::link`.
///
/// By default a link takes 100 microseconds to one millisecond and loses nothing.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use sward::sim::Link;
///
/// let slow = Link::new()
///     .latency(Duration::from_millis(20), Duration::from_millis(200))
///     .loss(0.01)
///     .bandwidth(1_000_000);
/// # let _ = slow;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Link {
    pub(super) latency: (Duration, Duration),
    pub(super) slow: f64,
    pub(super) loss: f64,
    pub(super) reset: f64,
    pub(super) duplicate: f64,
    pub(super) bandwidth: Option<u64>,
}

impl Link {
    /// A link with the default behaviour.
    pub fn new() -> Link {
        Link {
            latency: (Duration::from_micros(100), Duration::from_millis(1)),
            slow: 0.0,
            loss: 0.0,
            reset: 0.0,
            duplicate: 0.0,
            bandwidth: None,
        }
    }

    /// Sets how long data is under way: anything between the two, with equal probability. Datagrams
    /// overtake each other; the bytes of a stream do not.
    pub fn latency(mut self, least: Duration, most: Duration) -> Link {
        self.latency = (least, most);
        self
    }

    /// Sets with which probability a packet takes ten times as long.
    pub fn slow(mut self, probability: f64) -> Link {
        self.slow = probability;
        self
    }

    /// Sets with which probability a packet is lost. A datagram is gone. A stream sends the packet again, and
    /// stalls until it has arrived: 200 milliseconds, and twice as long each further time.
    pub fn loss(mut self, probability: f64) -> Link {
        self.loss = probability;
        self
    }

    /// Sets with which probability a packet of a stream resets the connection for both ends.
    pub fn reset(mut self, probability: f64) -> Link {
        self.reset = probability;
        self
    }

    /// Sets with which probability a datagram arrives twice.
    pub fn duplicate(mut self, probability: f64) -> Link {
        self.duplicate = probability;
        self
    }

    /// Sets how many bytes a second the link carries in each direction. There is no limit by default.
    ///
    /// # Panics
    ///
    /// If it is zero.
    pub fn bandwidth(mut self, bytes_per_second: u64) -> Link {
        assert!(bytes_per_second > 0, "a link without bandwidth is a partition");
        self.bandwidth = Some(bytes_per_second);
        self
    }
}

impl Default for Link {
    fn default() -> Link {
        Link::new()
    }
}
