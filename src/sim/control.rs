//! What a check can do to the network of its simulation.

use super::disks::DiskSettings;
use super::handle::Sim;
use super::network::{HostId, Link, Network};
use crate::base::sys::calls::{Classes, Faults, set_faults};
use std::net::Ipv4Addr;
use std::time::Duration;

/// The network. Hosts are meant by their names. `""` is the check itself, outside of all hosts.
///
/// All methods panic if there is no host of such a name.
impl Sim {
    fn network<T>(&self, hosts: &[&str], f: impl FnOnce(&mut Network, &[HostId]) -> T) -> T {
        let world = self.run().world();
        let hosts: Vec<_> = hosts
            .iter()
            .map(|name| match world.host_named(name) {
                Some(host) => host,
                None => panic!("sward::sim: there is no host {name:?}"),
            })
            .collect();
        f(&mut world.network(), &hosts)
    }

    /// The address of a host: 10.0.0.n. Names are resolved as well, as in `TcpStream::connect("db:80")`.
    pub fn address(&self, host: &str) -> Ipv4Addr {
        self.network(&[host], |_, hosts| super::network::address_of(hosts[0]))
    }

    /// Cuts the link between two hosts. What is sent, and what is under way, does not arrive. Connections
    /// stay, and send again once the link is [mended](Self::heal); a connection whose bytes do not get
    /// through for fifteen minutes fails with `TimedOut`, and so does one whose writer waits for its reader
    /// for that long. One on which nothing is sent stays, unless it has
    /// [`set_keepalive`](crate::net::TcpSocket::set_keepalive).
    pub fn partition(&self, a: &str, b: &str) {
        self.network(&[a, b], |network, hosts| network.partition(hosts[0], hosts[1]));
    }

    /// Cuts the link in one direction: what the first host sends does not arrive at the second one, and what
    /// that sends does. So a connection carries bytes in one direction, and a request may be carried out
    /// whose answer is lost. Streams stall in both directions before long, since their acknowledgements are
    /// lost.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sward::net::UdpSocket;
    ///
    /// sward::sim::check(|sim| {
    ///     sim.host("deaf", || {
    ///         let socket = UdpSocket::bind("0.0.0.0:80").unwrap();
    ///         sward::sleep(Duration::from_secs(1));
    ///         socket.send_to(b"hello", "10.0.0.254:80").unwrap();
    ///         socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    ///         assert!(socket.recv(&mut [0; 9]).is_err(), "it hears nothing");
    ///     });
    ///     sim.partition_one_way("", "deaf");
    ///     let socket = UdpSocket::bind("0.0.0.0:80").unwrap();
    ///     let (_, from) = socket.recv_from(&mut [0; 9]).unwrap();
    ///     socket.send_to(b"hello", from).unwrap();
    ///     sward::sleep(Duration::from_secs(3));
    /// });
    /// ```
    pub fn partition_one_way(&self, from: &str, to: &str) {
        self.network(&[from, to], |network, hosts| network.partition_one_way(hosts[0], hosts[1]));
    }

    /// Cuts the links between a host and all others.
    pub fn isolate(&self, host: &str) {
        let all = self.run().world().hosts();
        self.network(&[host], |network, hosts| {
            for other in all {
                if other != hosts[0] {
                    network.partition(hosts[0], other);
                }
            }
        });
    }

    /// Mends the link between two hosts, in both directions.
    pub fn heal(&self, a: &str, b: &str) {
        self.network(&[a, b], |network, hosts| network.heal(hosts[0], hosts[1]));
    }

    /// Mends all links.
    pub fn heal_all(&self) {
        self.network(&[], |network, _| network.heal_all());
    }

    /// Sets how the link between two hosts behaves.
    pub fn link(&self, a: &str, b: &str, link: Link) {
        self.network(&[a, b], |network, hosts| network.set_link(Some((hosts[0], hosts[1])), link));
    }

    /// Sets how all links behave that were not set one by one.
    pub fn links(&self, link: Link) {
        self.network(&[], |network, _| network.set_link(None, link));
    }

    /// Sets how many bytes a connection takes in each direction that its reader has not read: 128 KiB by
    /// default. A small number has writers wait, and reads and writes be short.
    pub fn socket_buffer(&self, bytes: usize) {
        self.network(&[], |network, _| network.settings().buffer = bytes.max(1));
    }

    /// Sets after how long a connect gives up that gets no answer: 127 seconds by default, as Linux has it.
    pub fn connect_timeout(&self, timeout: Duration) {
        self.network(&[], |network, _| network.settings().connect_timeout = timeout);
    }

    /// Sets how many sockets a host may have. Beyond that new ones fail with `EMFILE`, and `accept` waits.
    pub fn descriptors(&self, per_host: usize) {
        self.network(&[], |network, _| network.settings().descriptors = per_host);
    }

    /// Sets how the disk of a host behaves. The files of a host are its own, below `/`; there is a folder
    /// `/tmp`. A crash loses what was not synced: bytes of files, and names whose folder was not synced.
    ///
    /// # Panics
    ///
    /// For the check itself, which uses the system's files.
    pub fn disk(&self, host: &str, settings: DiskSettings) {
        assert!(!host.is_empty(), "the check itself has no simulated disk");
        let world = self.run().world();
        self.network(&[host], |_, hosts| hosts[0]);
        world.set_disk(world.host_named(host).expect("it was found"), settings);
    }

    /// Sets with which probability calls fail for reasons that lie in the system.
    pub fn system_faults(&self, faults: SystemFaults) {
        let world = self.run().world();
        world.set_interrupted(faults.interrupted);
        self.network(&[], |network, _| {
            let settings = network.settings();
            (settings.exhausted, settings.aborted) = (faults.exhausted, faults.aborted);
        });
    }
}

/// Errors that a system may return at any time, each with the probability that a call meets it.
///
/// The calls of [`net`](crate::net) handle all but the first by themselves.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SystemFaults {
    /// No descriptor is free for a new socket (`EMFILE`). An `accept` waits and tries again.
    pub exhausted: f64,
    /// A connection is gone when it is accepted (`ECONNABORTED`).
    pub aborted: f64,
    /// A signal interrupts a call (`EINTR`).
    pub interrupted: f64,
}

/// Makes about one in `rate` system calls of the whole process fail, or transfer less, on the real system:
/// errors that the kernel may return at any time, and that the crate handles by itself (`EINTR`, `EAGAIN`,
/// errors of `accept`, short counts where they say nothing). The seed decides which calls. A rate of zero
/// ends it. The same as `SWARD_FAULTS=seed:rate` in the environment, which can have more kinds of calls fail:
/// the start of threads, memory, sockets, pollers, and calls that older kernels do not have. It does not
/// concern simulations.
pub fn inject_faults(seed: u64, rate: u32) {
    set_faults(Faults { seed, rate, classes: Classes::CALLS });
}
