//! Channels: messages between coroutines, between threads, and between the two.
//!
//! The API is crossbeam-channel's: many senders, many receivers, each message to one of them.
//!
//! | channel | what it does |
//! |---|---|
//! | [`bounded`] | has room for a number of messages; a sender waits while it is full |
//! | [`bounded(0)`](bounded) | has no room: a send and a receive take place together (rendezvous) |
//! | [`unbounded`] | has no limit: a sender never waits |
//! | [`after`], [`at`], [`tick`] | time sends |
//! | [`never()`] | has no message, and is never disconnected |
//! | [`oneshot`] | for one message |
//! | [`watch`] | for the latest version of a value |
//! | [`broadcast`] | each message goes to every receiver |
//!
//! [`select!`](crate::select!) waits for the first of several sends and receives.
//!
//! # Waiting and cancellation
//!
//! A send or a receive that waits parks its coroutine, or blocks its thread if there is no coroutine. A
//! coroutine that is cancelled, or whose [time limit](crate::time) is over, unwinds out of it: then its
//! message was not sent, and is dropped, and no message was received. A message that was handed to a receiver
//! counts as received: the receive returns it, and the receiver meets its cancellation at its next wait.
//!
//! # Messages
//!
//! Messages of more than 1 KiB are passed on in boxes, so that they are copied only twice: see
//! [large values](crate::task#large-values).
//!
//! When the last receiver of a channel is dropped, it drops the messages that nobody has received. If the
//! destructor of one panics, the others are dropped all the same. The first panic then continues, unless the
//! thread is unwinding already.
//!
//! ```
//! use sward::channel;
//!
//! sward::run(|| {
//!     let (sender, receiver) = channel::bounded(16);
//!     for i in 0..4 {
//!         let sender = sender.clone();
//!         sward::spawn(move || sender.send(i * i).unwrap());
//!     }
//!     drop(sender); // so that the receiver finds no sender once the four have ended
//!     assert_eq!(receiver.iter().sum::<i32>(), 14);
//! });
//! ```

// Rank 8. `chan` is the channel and its protocol, with its `queue`; `shared` and `arm_cell` put large
// messages into boxes; `sender` and `receiver` are what users hold, `iter` what they loop over, `error`
// why they fail. `send_arm` and `recv_arm` are the arms for a select, `arm_node` is their node in a wait
// list. `timed` has the channels on which time sends; `flavor` says which kind a receiver has. `topic` is
// what `watch` and `broadcast` have in common.

mod arm_cell;
mod arm_node;
pub mod broadcast;
mod chan;
mod error;
mod flavor;
mod iter;
pub mod oneshot;
mod queue;
mod receiver;
mod recv_arm;
mod send_arm;
mod sender;
mod shared;
mod timed;
mod topic;
pub mod watch;

// `Select` waits for more than channels, and lives in `select`. It has always been reachable here, too.
#[doc(no_inline)]
pub use crate::select::{EventArm, ReadyTimeoutError, Select, TryReadyError};
pub use error::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};
pub use iter::{IntoIter, Iter, TryIter};
pub use receiver::Receiver;
pub use recv_arm::RecvArm;
pub use send_arm::{SendArm, SendWithArm};
pub use sender::Sender;

use crate::base::clock;
use flavor::Flavor;
use shared::Shared;
use std::sync::Arc;
use std::time::{Duration, Instant};
use timed::{After, Tick};

/// A channel with room for that many messages. A sender waits while it is full.
///
/// With capacity zero there is no room: a send and a receive take place together, and either waits for the
/// other. Memory is allocated as messages are queued and freed as for [`unbounded`], so a large capacity
/// costs nothing by itself.
///
/// ```
/// let (sender, receiver) = sward::channel::bounded(1);
/// sender.send("one").unwrap();
/// assert!(sender.try_send("two").unwrap_err().is_full());
/// assert_eq!(receiver.recv(), Ok("one"));
/// ```
#[doc(alias("chan", "make", "mpsc", "mpmc", "sync_channel", "rendezvous"))]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let chan = Shared::new(capacity);
    (Sender::new(chan.share()), Receiver::new(Flavor::Chan(chan)))
}

/// A channel on which a sender never waits. Only memory limits how many messages are queued.
///
/// Messages are queued in chunks of about 4 KiB, and a chunk is freed when its messages have been received.
/// So the memory of a burst is freed: an empty channel holds at most 8 KiB, however many messages have
/// passed.
///
/// ```
/// let (sender, receiver) = sward::channel::unbounded();
/// sender.send(1).unwrap();
/// sender.send(2).unwrap();
/// drop(sender);
/// assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2]);
/// ```
#[doc(alias("mpsc", "mpmc", "unbounded_channel"))]
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    bounded(usize::MAX)
}

/// A channel that has one message after that time: the instant at which it was due. It is never disconnected.
/// Clones share the message. No timer runs unless somebody waits for it.
///
/// ```
/// use std::time::Duration;
///
/// let (_sender, receiver) = sward::channel::bounded::<()>(0);
/// sward::select! {
///     recv(receiver) -> _ => unreachable!(),
///     recv(sward::channel::after(Duration::from_millis(1))) -> _ => println!("nothing came"),
/// }
/// ```
#[doc(alias = "time.After")]
pub fn after(duration: Duration) -> Receiver<Instant> {
    let timed = After::new(clock::now().checked_add(duration));
    Receiver::new(Flavor::Timed(Arc::new(timed)))
}

/// A channel that has one message at that time: the instant. It is never disconnected. Clones share the
/// message.
///
/// ```
/// use std::time::Instant;
///
/// let now = Instant::now();
/// assert_eq!(sward::channel::at(now).recv(), Ok(now));
/// ```
pub fn at(instant: Instant) -> Receiver<Instant> {
    Receiver::new(Flavor::Timed(Arc::new(After::new(Some(instant)))))
}

/// A channel that has a message at the end of each period: the instant at which it was due. It is never
/// disconnected. If nobody receives for several periods, there is one message for all of them. With a period
/// of zero there is always a message.
///
/// ```
/// use std::time::Duration;
///
/// let tick = sward::channel::tick(Duration::from_millis(1));
/// let first = tick.recv().unwrap();
/// assert!(tick.recv().unwrap() > first);
/// ```
#[doc(alias = "Ticker")]
pub fn tick(period: Duration) -> Receiver<Instant> {
    Receiver::new(Flavor::Timed(Arc::new(Tick::new(clock::now(), period))))
}

/// A channel that never has a message and is never disconnected. It disables an arm of a
/// [`select!`](crate::select!).
///
/// ```
/// assert!(sward::channel::never::<()>().try_recv().unwrap_err().is_empty());
/// ```
pub fn never<T>() -> Receiver<T> {
    Receiver::new(Flavor::Never)
}
