//! The back-ends: the kernel's interface behind a shard, one for each kind of system.
//!
//! - `epoll`: Linux, Android. Edge-triggered.
//! - `kqueue`: macOS, the BSDs. Edge-triggered.
//! - `poll`: any Unix. One-shot.
//!
//! `build.rs` chooses one; `--cfg sward_poll` forces `poll`. A test build also compiles `poll` and the pure
//! part of `kqueue`, and tests them.
//!
//! # The contract
//!
//! A back-end supplies a type `Poller`, whose methods several threads call at the same time, and a type
//! `Events`, the buffer that one `wait` fills. Two threads may be inside `wait` of one poller: the worker of
//! the shard and the netpoller thread, each with its own `Events`.
//!
//! | to supply | what it does and guarantees |
//! |---|---|
//! | `Poller::new() -> io::Result<Poller>` | An empty poller. Its descriptors are close-on-exec. |
//! | `add(&self, fd, key) -> io::Result<()>` | Watches `fd` in both directions: one event for the state at the time of the call, and one for each change after it. The caller adds a descriptor once. Fails if the system cannot report the readiness of such a file, as far as the back-end can find out; `poll(2)` reports such a file as ready, so waits for it end at once. |
//! | `remove(&self, fd, key) -> io::Result<()>` | From here on no event for `fd` is generated. An event that a concurrent `wait` has already fetched may still be returned; its key has an old generation then. The caller may close `fd` right afterwards, and no `wait` keeps the open file alive for longer than it takes that `wait` to notice. |
//! | `Poller::ONE_SHOT: bool` | Whether an event ends the watch for its direction until `arm` is called. |
//! | `arm(&self, key, direction)` | One-shot back-ends: watches that direction again, with an event for the state at the time of the call. Does nothing for a key that was removed. Other back-ends: does nothing. |
//! | `wait(&self, events, timeout) -> io::Result<()>` | Blocks until there is an event, `wake` is called, a signal arrives, or the timeout has passed (`None`: never; zero: does not block). It never returns before the timeout without another of these causes, so a coarse clock rounds up. Fills `events`, possibly with none. It sees what other threads add, remove and arm meanwhile. |
//! | `wake(&self)` | Ends a `wait` that is in progress, or else the next one. One call ends at least one `wait`; several calls may end only one. The caller may hold any lock. |
//! | `Events::with_capacity(n)` | A buffer for about `n` events. |
//! | `Events::iter()` | The events of the last `wait`, as [`PollEvent`](crate::netpoll::event::PollEvent)s. |
//! | `Events::woken() -> bool` | Whether `wake` was among the causes that ended the last `wait`. |
//!
//! Spurious events are allowed: the caller tries its call again, and waits again. Lost events are not:
//! nothing else would end the wait.
//!
//! # Why one-shot is enough
//!
//! The callers work in this order: consume the readiness, make the call, list the waiter, arm the direction.
//!
//! - An event between consuming and arming is kept by the readiness event (`coroutine::event`): the waiter is
//!   not listed then, or is woken.
//! - A change before arming is a state by then, and arming reports the state.
//! - An event wakes one of several waiters, and ends the watch for all of them. A woken waiter that uses the
//!   event up and leaves arms the direction for the others (`Source::rearm_for_others`).
//!
//! # The tests
//!
//! `contract.rs` has this contract as a test suite. A back-end runs it with `contract!(its module)` among its
//! own tests. The suite shows: each change is reported once, with its key; the state at `add` and at `arm` is
//! reported; nothing is reported after `remove`; a removed descriptor closes under a `wait` in progress; a
//! `wake` ends the next `wait` or the one in progress, once, and 100,000 of them do no harm; timeouts are not
//! cut short; and of two threads that poll at the same time neither loses an event. After that, all of the
//! crate's tests have to pass on the back-end (`CONTRIBUTING.md` has the steps).

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
