//! The netpoller thread: with it, readiness and timers are seen within 2 ms even if every worker is in a long
//! turn.
//!
//! # The problem
//!
//! A worker polls its shard and fires its timers between two turns. While all workers compute, no worker does
//! so, and a socket that becomes ready would wait for as long as the longest turn. So one more thread polls
//! for busy workers. It must not compete with workers that poll by themselves, and it must not wake an idle
//! machine.
//!
//! # Terms
//!
//! `docs/GLOSSARY.md` has the terms turn, shard, home, inbox and injector. Here:
//!
//! - *Awake*: the worker is not in its sleep (`sched::idle`). A sleeping worker waits inside its poller, so
//!   it needs no help.
//! - *Tick*: the thread checks every worker once ([`Monitored::tick`]).
//! - *Help*: the thread polls the worker's shard without waiting, fires its due timers, and schedules what
//!   this has woken: each coroutine goes to the inbox of its home, or to the injector if it may migrate. An
//!   idle mobile home goes to the injector. The worker may poll at the same time: each event is returned to
//!   at least one of the two (`sys/mod.rs`), and the timers are under a lock.
//! - *Busy*: an awake worker that has not polled since the last tick, or not for [`LATE`]. A tick helps the
//!   busy workers and leaves the others alone. Each worker counts its polls and notes the time of the last
//!   one; the thread reads both.
//! - *Next deadline*: when the next tick is due ([`NextDeadline`]).
//!
//! # States
//!
//! Between two ticks the thread sleeps on a condition variable. In the *timed sleep* it wakes up at the next
//! deadline. In the *untimed sleep* only a worker that wakes up, or `stop`, wakes it. The tick decides: it
//! returns a deadline if some worker is awake, or has polled since the last tick, and `None` otherwise. A
//! worker that sleeps now but has polled since the last tick may soon wake up again. In the timed sleep
//! `asleep` is false, so that worker does not have to notify the thread.
//!
//! ```text
//!                   a deadline                      None
//!    timed sleep <-------------- tick ----------------------------> untimed sleep
//!         |                      ^  ^                                  |
//!         +----------------------+  +----------------------------------+
//!           at the deadline            a worker has woken up: it saw `asleep`,
//!                                      or the thread's last check saw the worker
//! ```
//!
//! `asleep` (`asleep.rs`) is true only in the untimed sleep, and shortly before it. It changes under the
//! mutex `stop`, with which the thread waits; a worker reads it without the mutex.
//!
//! | from, to | by | cause |
//! |---|---|---|
//! | false, true | the thread | a tick has returned `None` |
//! | true, false | the thread | its last check finds a worker awake |
//! | true, false | a worker | it has woken up and reads `asleep` as true |
//! | true, false | `stop` | the runtime ends |
//!
//! # Why no wake-up is lost
//!
//! The danger: a worker wakes up and computes, while the thread goes into the untimed sleep and does not
//! know.
//!
//! ```text
//!   thread, in `Asleep::begin`                  worker, in `Asleep::worker_must_wake`
//!   asleep = true                               its sleep state = AWAKE
//!   fence (SeqCst)                              fence (SeqCst)
//!   reads the sleep states of all workers       reads asleep
//! ```
//!
//! One of the two fences comes first in their single total order. If it is the thread's, then the worker
//! reads `asleep` as true, and wakes the thread. If it is the worker's, then the thread reads the worker as
//! awake, and does not sleep. (The worker may have gone back to sleep by then. Then it waits inside its
//! poller again, and needs no help.) A notification cannot come between the thread's check of `asleep` and
//! its wait, since the worker changes `asleep` and notifies under the mutex that the thread holds until it
//! waits. Model: `asleep::models::the_thread_does_not_sleep_while_a_worker_is_awake`.
//!
//! # Why an event is seen within 2 ms
//!
//! The next deadline is computed from when each awake worker polled last:
//!
//! | the worker | latest next tick |
//! |---|---|
//! | was helped in this tick, so its shard was polled just now | `TICK` from now |
//! | polled less than `TICK / 2` ago | `2 * TICK` after its poll |
//! | polled earlier, but is not busy | the earlier of `2 * TICK` after its poll and `TICK` from now |
//! | sleeps in this tick, and polls after the tick, before its next turn | `2 * TICK` from now |
//!
//! Why the last line holds: `Worker::next` polls before a turn if a tick has come since the last poll. For
//! the same reason a worker with short turns, which always has something to run, polls once after each tick.
//!
//! The earliest of these is the deadline. So the next tick comes at most `2 * TICK` = 1.8 ms after the last
//! poll of every shard, and the rest of the 2 ms is the kernel's timer slack. At that tick the thread polls
//! for the worker, unless the worker has polled in between. In both cases the next 2 ms count from the newer
//! poll.
//!
//! The limits of this:
//! - A tick between the end of a worker's wait and its read of the tick count counts as seen by that worker.
//!   The delay then grows by the time from the end of the wait to the tick, which is microseconds unless the
//!   system preempts the worker there.
//! - The system has to run the thread when its sleep ends.
//! - One poll fetches 256 events. If more sources of one shard are ready, the next polls see the rest.
//! - Seen is not run: a woken coroutine that may not migrate waits until a worker runs its home.
//!
//! How often the thread runs:
//! - each `TICK` if workers compute (about 1,100 times a second);
//! - each 1.35 to 1.8 ms if all workers poll by themselves every few hundred microseconds, as in a server;
//! - not at all once all workers sleep, after one or two more ticks.
//!
//! # The end
//!
//! The thread owns a reference to what its workers share (`runtime::monitor`), shards and timers included, so
//! they stay in memory until [`Netpoller::run`] has returned. A shutdown calls `stop` once the workers have
//! left, or are abandoned. The thread then leaves its sleep, or ends the present tick, and `run` returns. If
//! all workers left before the shutdown's timeout, it waits for the thread, for 200 ms at most.
//!
//! # Rejected
//!
//! - *Only this thread polls.* Each event then wakes two threads, this one and the worker: measured as 18 to
//!   21 µs of processor time for an HTTP request, against 11 to 14 µs.
//! - *A tick at a fixed interval.* It wakes an idle machine, and ticks twice as often as a server needs.
//! - *Workers poll after a number of turns, without this thread.* No number bounds the length of one turn.

use super::asleep::Asleep;
use crate::base::lock::{Mutex, Rank};
use std::time::{Duration, Instant};

/// The time between two ticks while workers are busy. Two ticks and the kernel's timer slack are less than
/// 2 ms, the time within which readiness is seen.
const TICK: Duration = Duration::from_micros(900);

/// A worker that has not polled for so long is helped. It is longer than a tick: a worker with short turns,
/// which always has something to run, polls right after each tick, so at the next tick its poll is as old as
/// one tick. It needs no help.
const LATE: Duration = Duration::from_micros(1_300);

/// What the thread watches: the workers of a runtime. A trait, since they belong to a higher rank.
pub(crate) trait Monitored: Send + Sync {
    /// Checks every worker, and helps each one for which [`NextDeadline::must_help`] says so. Returns when
    /// the next tick is due; `None` if no worker is awake, and none has polled since the last tick.
    fn tick(&self, state: &mut Self::State) -> Option<NextDeadline>;

    /// Whether any worker is awake now.
    fn awake(&self) -> bool;

    /// What the thread remembers between two ticks.
    type State: Default;
}

/// When the next tick is due, as far as the workers that were checked so far need it.
pub(crate) struct NextDeadline {
    now: Instant,
    at: Instant,
}

impl NextDeadline {
    /// For a tick at that time, with no awake worker so far.
    pub(crate) fn new(now: Instant) -> NextDeadline {
        NextDeadline { now, at: now + 2 * TICK }
    }

    /// Takes an awake worker into account, which polled last at that time. Returns whether it is busy, so
    /// that the caller must help it: it has not polled since the last tick, or not for [`LATE`].
    pub(crate) fn must_help(&mut self, polled_since_tick: bool, polled_at: Instant) -> bool {
        let ago = self.now.saturating_duration_since(polled_at);
        let help = !polled_since_tick || ago > LATE;
        let left = match ago {
            _ if help => TICK,
            ago if ago < TICK / 2 => 2 * TICK - ago,
            ago => TICK.min(2 * TICK - ago),
        };
        self.at = self.at.min(self.now + left);
        help
    }
}

/// The thread's sleep, and what ends it.
pub(crate) struct Netpoller {
    /// Whether the thread is in the untimed sleep, or about to be.
    asleep: Asleep,
    /// Whether the thread must end.
    stop: Mutex<bool>,
    wake_up: parking_lot::Condvar,
}

impl Netpoller {
    /// A netpoller whose thread does not run yet.
    pub(crate) fn new() -> Netpoller {
        Netpoller {
            asleep: Asleep::new(),
            stop: Mutex::new(Rank::Netpoller, false),
            wake_up: parking_lot::Condvar::new(),
        }
    }

    /// The thread's life: returns after `stop`.
    pub(crate) fn run<M: Monitored>(&self, monitored: &M) {
        let mut state = M::State::default();
        loop {
            let stop = match monitored.tick(&mut state) {
                Some(next) => self.sleep_until(&next),
                None => self.sleep_untimed(monitored),
            };
            if stop {
                return;
            }
        }
    }

    /// A worker calls this when it has woken up, after it has set its sleep state to awake.
    #[inline]
    pub(crate) fn worker_woke_up(&self) {
        if self.asleep.worker_must_wake() {
            self.wake();
        }
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        *self.stop.lock() = true;
        self.wake();
    }

    #[cold]
    fn wake(&self) {
        let _held = self.stop.lock();
        self.asleep.end();
        self.wake_up.notify_one();
    }

    /// The timed sleep. Returns whether the thread must end.
    fn sleep_until(&self, next: &NextDeadline) -> bool {
        let mut stop = self.stop.lock();
        if !*stop {
            self.wake_up.wait_until(stop.raw(), next.at);
        }
        *stop
    }

    /// The untimed sleep. Returns whether the thread must end.
    fn sleep_untimed<M: Monitored>(&self, monitored: &M) -> bool {
        let mut stop = self.stop.lock();
        self.asleep.begin(|| monitored.awake());
        while !*stop && self.asleep.lasts() {
            self.wake_up.wait(stop.raw());
        }
        *stop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_poll_by_themselves_make_ticks_half_as_frequent() {
        let start = Instant::now();
        let now = start + TICK;
        let mut next = NextDeadline::new(now);
        assert!(!next.must_help(true, now) && !next.must_help(true, now - TICK / 4));
        assert_eq!(next.at, now - TICK / 4 + 2 * TICK);
        // A worker that always has something to run has polled right after the last tick.
        assert!(!next.must_help(true, start));
        assert_eq!(next.at, now + TICK);
    }

    /// The shard of a worker that is not helped stays unpolled from the worker's last poll until the next
    /// tick, if the worker itself polls no more.
    #[test]
    fn the_next_tick_comes_within_two_ticks_of_each_poll() {
        let polled = Instant::now();
        for micros in 0..3_000 {
            let now = polled + Duration::from_micros(micros);
            for polled_since_tick in [false, true] {
                let mut next = NextDeadline::new(now);
                let unpolled_from = if next.must_help(polled_since_tick, polled) { now } else { polled };
                assert!(next.at <= unpolled_from + 2 * TICK, "{micros} us");
                assert!(next.at > now, "{micros} us");
            }
        }
        assert!(NextDeadline::new(polled).must_help(false, polled));
        assert!(
            NextDeadline::new(polled).at <= polled + 2 * TICK,
            "for workers that wake up right after the tick"
        );
    }
}
