//! Waiting for the first of several operations: sends and receives on channels, changes of a watched value,
//! the end of a coroutine, a cancellation, a point in time.
//!
//! - [`select!`](crate::select!) and [`select_biased!`](crate::select_biased!) wait for a fixed set of
//!   operations, each with the code to run when it is the one that completes. The documentation of `select!`
//!   has all kinds of arms and the guarantees.
//! - [`Select`] waits for a number of operations that is known only at run time.
//!
//! Each operation is an *arm*. A channel makes arms with [`Sender::arm`](crate::channel::Sender::arm) and
//! [`Receiver::arm`](crate::channel::Receiver::arm), as do the receivers of
//! [`broadcast`](crate::channel::broadcast) and [`watch`](crate::channel::watch); a coroutine with
//! [`JoinHandle::arm`](crate::task::JoinHandle::arm), a cancellation with
//! [`CancelToken::arm`](crate::task::CancelToken::arm). Time is a channel:
//! [`after`](crate::channel::after), [`at`](crate::channel::at), [`tick`](crate::channel::tick).
//!
//! A select parks its coroutine, or blocks its thread if there is no coroutine. A cancelled coroutine unwinds
//! out of it, with no arm completed.
//!
//! `use sward::select` imports both the macro and this module:
//!
//! ```
//! use sward::task::CancelToken;
//! use sward::{channel, select};
//!
//! sward::run(|| {
//!     let (requests, incoming) = channel::unbounded();
//!     let stop = CancelToken::new();
//!     let server = sward::spawn({
//!         let stop = stop.clone();
//!         move || {
//!             let mut served = 0;
//!             loop {
//!                 select! {
//!                     recv(incoming) -> request => served += request.unwrap(),
//!                     cancelled(stop) => break served,
//!                 }
//!             }
//!         }
//!     });
//!     requests.send(42).unwrap();
//!     while !requests.is_empty() {
//!         sward::yield_now();
//!     }
//!     stop.cancel();
//!     assert_eq!(server.join().unwrap(), 42);
//!
//!     // The module:
//!     assert_eq!(select::Select::new().poll(), None);
//! });
//! ```

// Rank 5. `arm` is what an operation implements to be waited for; `channel` does so for sends and receives,
// `event_arm` for ends and cancellations. `engine` is the algorithm, with `limit` (how long it waits) and
// `shuffle` (in which order it looks). `macros` and `dynamic` (`Select`) only collect arms for it. `error`:
// why no arm was ready.

mod arm;
mod dynamic;
mod engine;
mod error;
mod event_arm;
mod limit;
mod macros;
mod shuffle;

pub(crate) use arm::{AnyArm, Arm};
pub use dynamic::Select;
pub(crate) use engine::{Order, select};
pub use error::{ReadyTimeoutError, TryReadyError};
pub use event_arm::EventArm;
pub(crate) use limit::WaitLimit;
#[doc(hidden)]
pub use macros::select_among;
