//! The back-ends: the kernel's interface behind a shard, one for each kind of system.
//!
//! - `epoll`: Linux, Android.
//! - `kqueue`: macOS, the BSDs.
//! - `poll`: any Unix.
//!
//! `build.rs` chooses one; `--cfg sward_poll` makes it `poll`, which a test build has besides.
//!
//! # What a back-end supplies
//!
//! A type `Poller` and a type `Events`, both usable from several threads at once (each call of `wait`
//! with an `Events` of its own):
//!
//! - `Poller::new() -> io::Result<Poller>`; its descriptors are close-on-exec.
//! - `add(&self, fd, key)`: watches `fd` in both directions, edge-triggered: an event for the state
//!   at the time of the call, and one for each change after it. A descriptor is added once.
//!   Fails for one whose readiness the system does not tell, if the back-end can know: `poll(2)` calls such a
//!   file ready, so that waits for it end at once.
//! - `remove(&self, fd, key)`: no event for `fd` is generated afterwards. One that a concurrent `wait` has
//!   fetched already may still come; the key's generation tells it apart. The caller may close `fd` then:
//!   no `wait` keeps it open for longer than it takes to notice.
//! - `Poller::ONE_SHOT`: whether an event ends the watch for its direction until `arm` is called.
//! - `arm(&self, key, direction)`: watches that direction again, with an event for the state at the time
//!   of the call. Does nothing in a back-end that is not one-shot, or for a key that was removed.
//! - `wait(&self, events, timeout)`: blocks until there is an event, `wake` is called, a signal
//!   comes, or the timeout passes (`None`: never; zero: not at all), never returning before the
//!   timeout without one of these for want of clock resolution. Fills `events`, possibly with none. What
//!   other threads add, remove and arm meanwhile counts for it.
//! - `wake(&self)`: ends a present `wait`, or else the next one. May be called with any lock held.
//! - `Events::with_capacity(n)`, `Events::iter()` giving [`PollEvent`], `Events::woken()` whether `wake`
//!   was among what ended the wait.
//!
//! `contract.rs` is this as a test suite, which each back-end of a test build passes.
//!
//! Why one-shot is enough of an edge: a direction is consumed before it is tried, and armed after the try,
//! once the waiter is listed. An event that comes between the consuming and the arming is kept by the
//! readiness word. Arming reports a state that holds already, so no earlier one is missed. An event wakes one
//! of several waiters, and ends the watch for all of them. If that one uses the event up and goes, it arms
//! the direction for the others.

#[cfg(all(test, not(loom)))]
mod contract;
#[cfg(sward_backend = "epoll")]
mod epoll;
#[cfg(any(sward_backend = "kqueue", all(test, not(loom))))]
mod kqueue;
#[cfg(any(sward_backend = "poll", all(test, not(loom))))]
mod poll;

#[cfg(sward_backend = "epoll")]
pub(crate) use epoll::{Events, Poller};
#[cfg(sward_backend = "kqueue")]
pub(crate) use kqueue::{Events, Poller};
#[cfg(sward_backend = "poll")]
pub(crate) use poll::{Events, Poller};
