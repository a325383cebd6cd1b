//! Time: sleeping, time limits, intervals.
//!
//! In a coroutine the calls that wait park it; on a plain thread they block the thread. Points in time are
//! [`std::time::Instant`]s.
//!
//! - [`sleep()`] and [`sleep_until`] wait.
//! - [`timeout`](timeout()) limits the time that any code waits, whatever it waits for.
//! - [`Deadline`] is a point in time that is passed from function to function; [`Deadline::current`] is the
//!   earliest limit that the caller is under.
//! - [`sleep_async`] and [`timeout_async`] are for futures, on any executor.
//! - [`Interval`] ticks at equal distances.

// Rank 8. `deadline`: the type. `sleep`, `timeout`, `interval`: one call each; the timers are in `sched`.
// `future`: the same for futures.

mod deadline;
mod future;
mod interval;
mod sleep;
mod timeout;

pub use deadline::Deadline;
pub use future::{Sleep, sleep_async, sleep_until_async, timeout_async};
pub use interval::{Interval, MissedTickBehavior, interval, interval_at};
pub use sleep::{sleep, sleep_until};
pub use timeout::{Elapsed, timeout, timeout_at};
