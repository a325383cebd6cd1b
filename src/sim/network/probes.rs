//! Questions whether the other end of a connection is still there, from an end that would not learn it
//! otherwise.
//!
//! An end whose packets do not get through sends them again, and gives up at last (`stream.rs`). One that
//! waits for room sends no packet, so it asks now and then, as TCP does with its probes of a window of zero.
//! One with `SO_KEEPALIVE` asks after a long while. If no answer comes the connection ends with `ETIMEDOUT`.
//!
//! An end asks only while the other one is gone or out of reach: otherwise nothing would come of it, and a
//! program whose ends wait for each other shall come to rest.

use super::engine::{Network, RETRANSMIT};
use super::random::nanos;
use super::types::{Asks, Event, Options, Probes, SocketId};
use std::time::Duration;

impl Network {
    /// Whether that end has to ask for the other one: that is gone or out of reach, and this end would not
    /// notice.
    fn must_probe(&self, id: SocketId) -> Option<Asks> {
        let socket = self.sockets.get(&id)?;
        let (stream, (to, to_host)) = (&socket.stream, socket.stream.peer?);
        let is_gone = !self.sockets.contains_key(&to);
        let is_cut = !self.reaches(socket.host, to_host) || !self.reaches(to_host, socket.host);
        if stream.broken || !(is_gone || is_cut) {
            None
        } else if stream.wants_room || is_gone && stream.unanswered {
            Some(Asks::Soon)
        } else {
            is_set(&socket.options, (libc::SOL_SOCKET, libc::SO_KEEPALIVE)).then_some(Asks::KeepsAlive)
        }
    }

    /// The other end may have gone, or may be out of reach.
    pub(super) fn begin_to_probe(&mut self, id: SocketId) {
        let Some(why) = self.must_probe(id) else { return };
        let stream = &mut self.sockets.get_mut(&id).expect("it was there").stream;
        if stream.probes.is_none_or(|probes| probes.why != why) {
            stream.probes = Some(Probes { why, since: self.now, tries: 0, next: 0 });
            self.plan_probe(id);
        }
    }

    /// A link was mended: nobody asks who need not any more.
    pub(super) fn end_probes(&mut self) {
        let all = self.sockets.keys().copied();
        let done: Vec<SocketId> = all.filter(|&id| self.must_probe(id).is_none()).collect();
        for id in done {
            self.sockets.get_mut(&id).expect("it was there").stream.probes = None;
        }
    }

    /// Plans the next question of an end that asks.
    fn plan_probe(&mut self, id: SocketId) {
        let socket = self.sockets.get_mut(&id).expect("it asks");
        let keeps = |option, default| number(&socket.options, (libc::IPPROTO_TCP, option)).unwrap_or(default);
        let (idle, interval) = (keeps(libc::TCP_KEEPIDLE, 7200), keeps(libc::TCP_KEEPINTVL, 75));
        let Some(probes) = &mut socket.stream.probes else { return };
        let pause = match (probes.why, probes.tries) {
            (Asks::Soon, tries) => (RETRANSMIT.0 << tries.min(20)).min(RETRANSMIT.1),
            (Asks::KeepsAlive, 0) => nanos(Duration::from_secs(idle)),
            (Asks::KeepsAlive, _) => nanos(Duration::from_secs(interval)),
        };
        probes.next = self.now.saturating_add(pause);
        let next = probes.next;
        self.plan(next, Event::Probe { from: id });
    }

    /// Asks whether the other end is still there, and again later, since the answer may be lost.
    pub(super) fn probe(&mut self, id: SocketId) {
        let must = self.must_probe(id);
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let retries = number(&socket.options, (libc::IPPROTO_TCP, libc::TCP_KEEPCNT)).unwrap_or(9);
        let (host, stream) = (socket.host, &mut socket.stream);
        let (Some(probes), Some((to, to_host))) = (&mut stream.probes, stream.peer) else { return };
        // Otherwise the event is one of earlier questions, which have ended.
        if self.now < probes.next {
            return;
        }
        if must != Some(probes.why) {
            stream.probes = None;
            return self.begin_to_probe(id);
        }
        let gives_up = match probes.why {
            Asks::Soon => self.now - probes.since >= nanos(self.settings.give_up),
            Asks::KeepsAlive => u64::from(probes.tries) >= retries,
        };
        if gives_up {
            return self.breaks(id, libc::ETIMEDOUT);
        }
        probes.tries += 1;
        self.plan_probe(id);
        if self.reaches(host, to_host) && self.reaches(to_host, host) {
            self.answer_with_reset(id, to);
        }
    }
}

/// The value of an option that is a number, if it was set.
fn number(options: &Options, option: (libc::c_int, libc::c_int)) -> Option<u64> {
    let value = options.get(&option)?.get(..4)?.try_into().ok()?;
    u64::try_from(i32::from_ne_bytes(value)).ok()
}

/// Whether an option is on.
fn is_set(options: &Options, option: (libc::c_int, libc::c_int)) -> bool {
    number(options, option).is_some_and(|value| value != 0)
}
