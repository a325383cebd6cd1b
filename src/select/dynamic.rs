//! [`Select`]: a select over a number of operations that is known only at run time.

use super::arm::AnyArm;
use super::engine::{Order, ready, select};
use super::error::{ReadyTimeoutError, TryReadyError};
use super::event_arm::EventArm;
use super::limit::WaitLimit;
use crate::coroutine::WaitReason;
use std::fmt;
use std::time::{Duration, Instant};

/// How many arms fit without an allocation.
const INLINE: usize = 8;

/// Waits for the first of a number of operations that is known only at run time. For a fixed number use
/// [`select!`](crate::select!); its guarantees hold here too.
///
/// Unlike in crossbeam-channel, a send carries its message with it, and the receiver has the message at the
/// moment at which the arm completes. There, a selected sender has yet to make its message, and the receiver
/// waits for it.
///
/// ```
/// use sward::channel::bounded;
/// use sward::select::Select;
///
/// let channels: Vec<_> = (0..4).map(|_| bounded(1)).collect();
/// channels[2].0.send("two").unwrap();
///
/// let mut arms: Vec<_> = channels.iter().map(|(_, receiver)| receiver.arm()).collect();
/// let mut select = Select::new();
/// for arm in &mut arms {
///     select.recv(arm);
/// }
/// let completed = select.wait();
/// assert_eq!(completed, 2);
/// assert_eq!(arms.swap_remove(completed).finish(), Ok("two"));
/// ```
///
/// # Coming from crossbeam-channel
///
/// | there | here |
/// |---|---|
/// | `select.recv(&receiver)`, `select.send(&sender)` | `select.recv(&mut receiver.arm())`, `select.send(&mut sender.arm(message))`, with the arm in a variable; for a message that is made when it can be sent, `send_with` and [`arm_with`](crate::channel::Sender::arm_with) |
/// | `select.select()`, `try_select`, `select_timeout`, `select_deadline` | [`wait`](Self::wait), [`poll`](Self::poll), [`wait_timeout`](Self::wait_timeout), [`wait_deadline`](Self::wait_deadline): they return the number of the arm that has completed |
/// | `operation.recv(&receiver)`, `operation.send(&sender, message)` | `finish` of the arm |
/// | `ready`, `try_ready`, `ready_timeout`, `ready_deadline`, `remove`, `new_biased` | the same |
/// | `Clone` | missing: a select borrows its arms exclusively, as they hold messages |
#[doc(alias = "reflect.Select")]
pub struct Select<'a> {
    arms: Arms<'a>,
    /// How many arms were added so far, removed ones included: the number of the next one.
    added: usize,
    order: Order,
}

enum Arms<'a> {
    Few([Option<AnyArm<'a>>; INLINE], usize),
    Many(Vec<Option<AnyArm<'a>>>),
}

impl<'a> Arms<'a> {
    fn add(&mut self, arm: AnyArm<'a>) {
        match self {
            Arms::Few(arms, count) if *count < INLINE => {
                arms[*count] = Some(arm);
                *count += 1;
            }
            Arms::Few(arms, _) => {
                let many = arms.iter_mut().map(Option::take).chain([Some(arm)]).collect();
                *self = Arms::Many(many);
            }
            Arms::Many(arms) => arms.push(Some(arm)),
        }
    }

    fn all(&mut self) -> &mut [Option<AnyArm<'a>>] {
        match self {
            Arms::Few(arms, count) => &mut arms[..*count],
            Arms::Many(arms) => arms,
        }
    }
}

impl<'a> Select<'a> {
    /// A select without arms. Waiting on it does not end.
    pub fn new() -> Select<'a> {
        Select { arms: Arms::Few([const { None }; INLINE], 0), added: 0, order: Order::Random }
    }

    /// As [`new`](Self::new), but of several arms that can complete, the one that was added first does, as
    /// with [`select_biased!`](crate::select_biased!).
    pub fn new_biased() -> Select<'a> {
        Select { order: Order::Given, ..Select::new() }
    }

    /// Adds the end of a coroutine, or a cancellation, and returns its number. Numbers count from zero, in
    /// the order of adding.
    pub fn event(&mut self, arm: &'a mut EventArm<'_>) -> usize {
        self.add(arm.any())
    }

    pub(crate) fn add(&mut self, arm: AnyArm<'a>) -> usize {
        let number = self.added;
        self.arms.add(arm.numbered(number));
        self.added += 1;
        number
    }

    /// Removes the arm of that number, for example because its channel is disconnected. The others keep their
    /// numbers, and no later arm has that number.
    ///
    /// # Panics
    ///
    /// If there is no arm of that number, or it was removed before.
    ///
    /// ```
    /// use sward::channel::unbounded;
    /// use sward::select::Select;
    ///
    /// let (sender, receiver) = unbounded::<u8>();
    /// let (_keep, idle) = unbounded::<u8>();
    /// let (mut first, mut second) = (receiver.arm(), idle.arm());
    /// let mut select = Select::new();
    /// let first = select.recv(&mut first);
    /// select.recv(&mut second);
    ///
    /// drop(sender);
    /// assert_eq!(select.ready(), first);
    /// select.remove(first);
    /// assert!(select.try_ready().is_err());
    /// ```
    pub fn remove(&mut self, number: usize) {
        let found = self.arms.all().iter_mut().find(|arm| arm.as_ref().is_some_and(|a| a.number == number));
        *found.unwrap_or_else(|| panic!("sward: a Select has no arm of the number {number}")) = None;
    }

    /// Completes one of the arms as soon as one can, and returns its number. Parks until then.
    pub fn wait(self) -> usize {
        self.complete(WaitLimit::Endless).expect("an endless wait ends with an arm")
    }

    /// Completes one of the arms if one can now, and returns its number. Does not park.
    pub fn poll(self) -> Option<usize> {
        self.complete(WaitLimit::None)
    }

    /// Completes one of the arms if one can within that time, and returns its number. Parks until then, or
    /// until the time is over.
    pub fn wait_timeout(self, timeout: Duration) -> Option<usize> {
        self.complete(WaitLimit::after(timeout))
    }

    /// Completes one of the arms if one can before the deadline, and returns its number. Parks until then, or
    /// until the deadline.
    pub fn wait_deadline(self, deadline: Instant) -> Option<usize> {
        self.complete(WaitLimit::Until(deadline))
    }

    fn complete(mut self, limit: WaitLimit) -> Option<usize> {
        select(self.arms.all(), WaitReason::Select, limit, self.order)
    }

    /// Waits until one of the arms can complete, and returns its number, but completes none: that is left to
    /// the caller. Parks until then. An arm counts as ready also if its channel is disconnected.
    ///
    /// Another receiver or sender may be faster than the caller: use `try_recv` and `try_send`, and call this
    /// again if they fail. A send and a receive that both only wait for readiness do not meet on a channel of
    /// capacity zero; nor does a send that waits for readiness meet a
    /// [`recv_async`](crate::channel::Receiver::recv_async) there, since `try_send` does not serve it.
    ///
    /// ```
    /// use sward::channel::unbounded;
    /// use sward::select::Select;
    ///
    /// let channels = [unbounded(), unbounded()];
    /// channels[1].0.send("one").unwrap();
    ///
    /// let mut arms = [0, 1].map(|i| channels[i].1.arm());
    /// let mut select = Select::new();
    /// for arm in &mut arms {
    ///     select.recv(arm);
    /// }
    /// let message = loop {
    ///     if let Ok(message) = channels[select.ready()].1.try_recv() {
    ///         break message;
    ///     }
    /// };
    /// assert_eq!(message, "one");
    /// ```
    pub fn ready(&mut self) -> usize {
        self.find_ready(WaitLimit::Endless).expect("an endless wait ends with an arm")
    }

    /// The number of an arm that can complete now; see [`ready`](Self::ready). Does not park.
    ///
    /// # Errors
    ///
    /// There was a moment at which none could.
    pub fn try_ready(&mut self) -> Result<usize, TryReadyError> {
        self.find_ready(WaitLimit::None).ok_or(TryReadyError)
    }

    /// As [`ready`](Self::ready), but waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// The time is over, and no arm can complete.
    pub fn ready_timeout(&mut self, timeout: Duration) -> Result<usize, ReadyTimeoutError> {
        self.find_ready(WaitLimit::after(timeout)).ok_or(ReadyTimeoutError)
    }

    /// As [`ready`](Self::ready), but waits no longer than until `deadline`.
    ///
    /// # Errors
    ///
    /// The deadline has passed, and no arm can complete.
    pub fn ready_deadline(&mut self, deadline: Instant) -> Result<usize, ReadyTimeoutError> {
        self.find_ready(WaitLimit::Until(deadline)).ok_or(ReadyTimeoutError)
    }

    fn find_ready(&mut self, limit: WaitLimit) -> Option<usize> {
        ready(self.arms.all(), WaitReason::Select, limit, self.order)
    }
}

impl Default for Select<'_> {
    fn default() -> Self {
        Select::new()
    }
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Select { .. }")
    }
}
