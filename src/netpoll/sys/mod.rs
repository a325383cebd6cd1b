//! The back-ends: the kernel's interface behind a shard, one for each kind of system.
//!
//! - `epoll`: Linux, Android. Edge-triggered.
//! - `io_uring`: Linux, if a runtime asks for it. One-shot.
//! - `kqueue`: macOS, the BSDs. Edge-triggered.
//! - `poll`: any Unix. One-shot.
//!
//! `build.rs` chooses one; `--cfg sward_poll` forces `poll`. A test build also compiles `poll` and the pure
//! part of `kqueue`, and tests them. Linux has two, and each runtime chooses (`choice`); elsewhere there is
//! nothing to choose (`single`).
//!
//! # The contract
//!
//! A back-end supplies a type `Poller`, whose methods several threads call at the same time, and a type
//! `Events`, the buffer that one `wait` fills. Two threads may be inside `wait` of one poller: the worker of
//! the shard and the netpoller thread, each with its own `Events`. The names in parentheses are the tests
//! that show a guarantee, in `contract.rs`.
//!
//! `Poller::new() -> io::Result<Poller>`: an empty poller. Its descriptors are close-on-exec.
//!
//! `add(&self, fd, key) -> io::Result<()>`: watches `fd` in both directions.
//!
//! - One event for the state at the time of the call, and one for each change after it
//!   (`the_state_at_add_is_reported`, `each_change_is_reported_once_with_its_key`,
//!   `a_full_buffer_that_drains_is_reported`, `the_end_of_the_peer_is_reported_in_both_directions`).
//! - It fails if the system cannot report the readiness of such a file, as far as the back-end can find out.
//!   `poll(2)` reports such a file as ready, so waits for it end at once.
//! - The caller adds a descriptor once.
//!
//! `add_unarmed(&self, fd, key) -> io::Result<()>`: likewise. In a one-shot back-end no direction is armed;
//! the caller arms the one that it waits for (`what_was_added_unarmed_is_reported_once_it_is_armed`).
//!
//! `remove(&self, fd, key) -> io::Result<()>`: ends the watch.
//!
//! - No event for `fd` is generated afterwards (`nothing_is_reported_after_remove`). An event that a
//!   concurrent `wait` has already fetched may still be returned; no source has its key any more.
//! - The caller may close `fd` right afterwards. No `wait` keeps the open file alive for longer than it takes
//!   that `wait` to notice (`a_removed_descriptor_closes_under_a_wait_in_progress`).
//!
//! `retire(&self)`: ends all watches. Needed only where a watch keeps its file open: sources that leave a
//! shard with it are not removed one by one (`a_retired_poller_keeps_no_file_open`).
//!
//! `Poller::ONE_SHOT: bool`: whether an event ends the watch for its direction until `arm` is called.
//!
//! `Poller::REPORTS_PRIORITY: bool`: whether urgent data (`POLLPRI`) is an event of its own, for reading.
//!
//! `arm(&self, key, direction)`: in a one-shot back-end, watches that direction again, with an event for the
//! state at the time of the call (`a_one_shot_event_comes_again_once_it_is_armed`). It does nothing for a key
//! that was removed, and nothing in other back-ends.
//!
//! `wait(&self, events, timeout) -> io::Result<()>`: blocks until there is an event, `wake` is called, a
//! signal arrives, or the timeout has passed (`None`: never; zero: it does not block).
//!
//! - Without another of these causes it never returns before the timeout, so a coarse clock rounds up
//!   (`a_timeout_is_kept_and_not_cut_short`).
//! - It fills `events`, possibly with none. It sees what other threads add, remove and arm meanwhile
//!   (`a_wait_in_progress_sees_what_is_added_and_armed`).
//! - If two threads poll, each event is returned to at least one of them
//!   (`no_event_is_lost_between_two_threads_that_poll`).
//!
//! `wake(&self)`: ends a `wait` that is in progress, or else the next one. One call ends at least one `wait`;
//! several calls may end only one. The caller may hold any lock, so `wake` takes none but `Rank::Poller`
//! (`a_wake_ends_a_wait_in_progress`, `a_wake_ends_the_next_wait_once`,
//! `a_hundred_thousand_wakes_do_no_harm`).
//!
//! `Events::with_capacity(n)`: a buffer for about `n` events. `Events::iter()`: the events of the last
//! `wait`, as [`PollEvent`](crate::netpoll::event::PollEvent)s. `Events::woken() -> bool`: whether `wake` was
//! among the causes that ended the last `wait`.
//!
//! Spurious events are allowed: the caller tries its call again, and waits again. Lost events are not:
//! nothing else would end the wait.
//!
//! A back-end runs the suite with `contract!(its module)` among its own tests. After that, all of the crate's
//! tests have to pass on the back-end. `CONTRIBUTING.md` has the steps.
//!
//! # Why one-shot is enough
//!
//! The callers work in this order: consume the readiness, make the call, list the waiter, arm the direction.
//!
//! - An event between consuming and arming is kept by the readiness event (`coroutine::event`): the waiter
//!   finds it set when it lists itself, or is woken.
//! - A change before arming is a state by then, and arming reports the state.
//! - An event wakes one of several waiters, and ends the watch for all of them. A woken waiter that uses the
//!   event up and leaves arms the direction for the others (`Source::rearm_for_others`).

#[cfg(all(sward_backend = "epoll", target_os = "linux", not(any(loom, miri))))]
mod choice;
#[cfg(all(test, not(loom)))]
mod contract;
#[cfg(sward_backend = "epoll")]
mod epoll;
#[cfg(all(sward_backend = "epoll", target_os = "linux", not(any(loom, miri))))]
mod io_uring;
#[cfg(any(sward_backend = "kqueue", all(test, not(loom))))]
mod kqueue;
#[cfg(any(sward_backend = "poll", all(test, not(loom))))]
mod poll;
#[cfg(not(all(sward_backend = "epoll", target_os = "linux", not(any(loom, miri)))))]
mod single;

#[cfg(all(sward_backend = "epoll", target_os = "linux", not(any(loom, miri))))]
pub(crate) use choice::{BACKENDS, Events, Poller, backend_of, new_poller, one_shot, reports_priority};
#[cfg(not(all(sward_backend = "epoll", target_os = "linux", not(any(loom, miri)))))]
pub(crate) use single::{BACKENDS, Events, Poller, backend_of, new_poller, one_shot, reports_priority};
