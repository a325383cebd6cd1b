//! Waiting for the first of several operations: `select!`, and [`Select`] for a number of them that is
//! known only at run time.

use super::{EventArm, ReadyTimeoutError, RecvArm, SendArm, SendWithArm, TryReadyError};
use crate::coroutine::WaitReason;
use crate::sched::select::{AnyArm, Order, WaitLimit, ready, select};
use std::fmt;
use std::time::{Duration, Instant};

/// How many arms there is room for without allocating.
const INLINE: usize = 8;

/// A select over a number of operations that is known only at run time. For a fixed number there is
/// [`select!`](crate::select), whose documentation has the guarantees; they hold here too.
///
/// Unlike crossbeam-channel's, an operation carries its message with it: the message is handed over when the
/// operation is chosen. There, a chosen sender has yet to make its message, and the receiver waits for it.
///
/// ```
/// use sward::channel::{Select, bounded};
///
/// let channels: Vec<_> = (0..4).map(|_| bounded(1)).collect();
/// channels[2].0.send("two").unwrap();
///
/// let mut arms: Vec<_> = channels.iter().map(|(_, receiver)| receiver.arm()).collect();
/// let mut select = Select::new();
/// for arm in &mut arms {
///     select.recv(arm);
/// }
/// let chosen = select.wait();
/// assert_eq!(chosen, 2);
/// assert_eq!(arms.swap_remove(chosen).finish(), Ok("two"));
/// ```
///
/// # Coming from crossbeam-channel
///
/// | there | here |
/// |---|---|
/// | `select.recv(&receiver)`, `select.send(&sender)` | `select.recv(&mut receiver.arm())`, `select.send(&mut sender.arm(message))`, with the arm in a variable; for a message that is made when it can be sent, `send_with` and [`arm_with`](super::Sender::arm_with) |
/// | `select.select()`, `try_select`, `select_timeout`, `select_deadline` | [`wait`](Self::wait), [`poll`](Self::poll), [`wait_timeout`](Self::wait_timeout), [`wait_deadline`](Self::wait_deadline): they give the number of what has been carried out |
/// | `operation.recv(&receiver)`, `operation.send(&sender, message)` | `finish` of the arm |
/// | `ready` and its kin, `remove`, `new_biased` | the same |
/// | `Clone` | none: a select borrows its arms, which hold messages, exclusively |
pub struct Select<'a> {
    arms: Arms<'a>,
    /// How many arms were added so far: the number of the next one.
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
    /// A select without arms. To wait on it is to wait for ever.
    pub fn new() -> Select<'a> {
        Select { arms: Arms::Few([const { None }; INLINE], 0), added: 0, order: Order::Random }
    }

    /// As [`new`](Self::new), but of several arms that can be carried out the one that was added first is, as
    /// with [`select_biased!`](crate::select_biased).
    pub fn new_biased() -> Select<'a> {
        Select { order: Order::Given, ..Select::new() }
    }

    /// Adds a receive, and gives its number: they count from zero.
    pub fn recv<T>(&mut self, arm: &'a mut RecvArm<'_, T>) -> usize {
        self.add(arm.any())
    }

    /// Adds a send, and gives its number: they count from zero. If its message was sent already, the select
    /// panics when it comes to it.
    pub fn send<T>(&mut self, arm: &'a mut SendArm<'_, T>) -> usize {
        self.add(arm.any())
    }

    /// Adds a send of a message that is yet to be made, and gives its number: they count from zero.
    pub fn send_with<T, F: FnOnce() -> T>(&mut self, arm: &'a mut SendWithArm<'_, T, F>) -> usize {
        self.add(arm.any())
    }

    /// Adds the end of a coroutine or a cancellation, and gives its number: they count from zero.
    pub fn event(&mut self, arm: &'a mut EventArm<'_>) -> usize {
        self.add(arm.any())
    }

    fn add(&mut self, arm: AnyArm<'a>) -> usize {
        let number = self.added;
        self.arms.add(arm.numbered(number));
        self.added += 1;
        number
    }

    /// Takes out the arm of that number, for example because its channel is disconnected. The others keep
    /// their numbers, and that number is not given again.
    ///
    /// # Panics
    ///
    /// There is no arm of that number, or it was taken out before.
    ///
    /// ```
    /// use sward::channel::{Select, unbounded};
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
        let found = self.arms.all().iter_mut().find(|arm| arm.as_ref().is_some_and(|a| a.number() == number));
        *found.unwrap_or_else(|| panic!("sward: a Select has no arm of the number {number}")) = None;
    }

    /// Carries out one of the arms as soon as one can be, and gives its number. Parks until then.
    pub fn wait(self) -> usize {
        self.carry_out(WaitLimit::Endless).expect("an endless wait ends with an arm")
    }

    /// Carries out one of the arms if one can be now, and gives its number. Does not park.
    pub fn poll(self) -> Option<usize> {
        self.carry_out(WaitLimit::None)
    }

    /// Carries out one of the arms if one can be within that time, and gives its number. Parks until then.
    pub fn wait_timeout(self, timeout: Duration) -> Option<usize> {
        self.carry_out(super::patience(timeout))
    }

    /// Carries out one of the arms if one can be until then, and gives its number. Parks until then.
    pub fn wait_deadline(self, deadline: Instant) -> Option<usize> {
        self.carry_out(WaitLimit::Until(deadline))
    }

    fn carry_out(mut self, patience: WaitLimit) -> Option<usize> {
        select(self.arms.all(), WaitReason::Select, patience, self.order)
    }

    /// Waits until one of the arms can be carried out, and gives its number, but leaves it to the caller to
    /// do that. Parks until then. An arm counts as ready also if its channel is disconnected.
    ///
    /// Another receiver or sender may be faster than the caller: use `try_recv` and `try_send`, and call this
    /// again if they fail. A send and a receive that both only wait for readiness do not meet on a channel
    /// without room.
    ///
    /// ```
    /// use sward::channel::{Select, unbounded};
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
        self.look(WaitLimit::Endless).expect("an endless wait ends with an arm")
    }

    /// The number of an arm that can be carried out now; see [`ready`](Self::ready). Does not park.
    ///
    /// # Errors
    ///
    /// There was a moment at which none could be.
    pub fn try_ready(&mut self) -> Result<usize, TryReadyError> {
        self.look(WaitLimit::None).ok_or(TryReadyError)
    }

    /// As [`ready`](Self::ready), but waits for that long at most. Parks until then.
    ///
    /// # Errors
    ///
    /// The time is over, and none can be carried out.
    pub fn ready_timeout(&mut self, timeout: Duration) -> Result<usize, ReadyTimeoutError> {
        self.look(super::patience(timeout)).ok_or(ReadyTimeoutError)
    }

    /// As [`ready`](Self::ready), but waits until that time at most. Parks until then.
    ///
    /// # Errors
    ///
    /// The time is over, and none can be carried out.
    pub fn ready_deadline(&mut self, deadline: Instant) -> Result<usize, ReadyTimeoutError> {
        self.look(WaitLimit::Until(deadline)).ok_or(ReadyTimeoutError)
    }

    fn look(&mut self, patience: WaitLimit) -> Option<usize> {
        ready(self.arms.all(), WaitReason::Select, patience, self.order)
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

#[doc(hidden)]
pub fn select_among(
    arms: &mut [Option<AnyArm<'_>>],
    timeout: Option<Duration>,
    biased: bool,
) -> Option<usize> {
    let order = if biased { Order::Given } else { Order::Random };
    select(arms, WaitReason::Select, timeout.map_or(WaitLimit::Endless, super::patience), order)
}

/// Waits for the first of several operations, and carries it out.
///
/// ```
/// use std::time::Duration;
/// use sward::channel::{bounded, unbounded};
///
/// sward::run(|| {
///     let (jobs, incoming) = unbounded();
///     let (results, outgoing) = bounded(1);
///     jobs.send(20).unwrap();
///     sward::select! {
///         recv(incoming) -> job => println!("a job: {job:?}"),
///         send(results, 1) -> sent => println!("room for a result: {sent:?}"),
///         default(Duration::from_secs(1)) => println!("nothing for a second"),
///     }
///     # drop(outgoing);
/// });
/// ```
///
/// # Arms
///
/// | arm | carried out when | the pattern gets |
/// |---|---|---|
/// | `recv(receiver) -> pattern => body` | there is a message, or all senders are gone | `Result<T, RecvError>` |
/// | `send(sender, message) -> pattern => body` | there is room or a receiver, or all receivers are gone | `Result<(), SendError<T>>` |
/// | `send_from(sender, slot) -> pattern => body` | as above, and `slot` (a variable of type `Option<T>`) is `Some` | as above |
/// | `send_with(sender, closure) -> pattern => body` | as `send`; the closure makes the message then | as above |
/// | `join(handle) -> pattern => body` | the coroutine has ended; the handle is used up | what `join` gives |
/// | `cancelled(token) => body` | the token is cancelled | |
/// | `default => body` | no other arm can be carried out now | |
/// | `default(duration) => body` | no other arm could be within that time | |
///
/// The handle of `join` stays in its variable if another arm is chosen. If it is not a variable but another
/// expression, it is dropped then, and its coroutine runs on detached.
///
/// `-> pattern` may be left out. The value of the whole is that of the body. A body that is no block ends
/// with a comma, as in `match`. All expressions in parentheses are evaluated once, before anything is carried
/// out; a comma may follow the last of them. What they borrow from lives as long as the whole, as in a
/// `match`. For a receiver there may be any expression that can be borrowed, so an arm is switched off with
/// `recv(receiver.as_ref().unwrap_or(&never()))`.
///
/// # Guarantees
///
/// - Exactly one arm is carried out, as a whole. A message is sent only if its arm was chosen, and received
///   only if its arm was chosen; nothing is taken and put back.
/// - What `send` was to send is dropped if another arm is chosen. With `send_from` it stays in the
///   variable, and is taken out of it only if it is sent; so too if the select unwinds.
/// - Fair: if several arms can be carried out, each of them is equally likely to be.
/// - `default` is taken only if there was a moment at which no other arm could be carried out; with a
///   duration, such a moment after it. A message that moves from the channel of one arm to that of another
///   meanwhile is not missed.
/// - With `send_with` the message is made when there is room or a receiver for it, and at most once, by a
///   closure that may wait. If another sender then is faster the select goes on with that message, and drops
///   it if another arm is chosen after all.
/// - Nothing is allocated, unless messages have more than 128 bytes: those have a box each for their way. No
///   coroutine is started.
/// - Works in coroutines and on plain threads. A cancelled coroutine unwinds out of it, with no arm
///   carried out.
///
/// The syntax is crossbeam-channel's, but for `send`: there, the message is evaluated only if its arm was
/// chosen. Here it is evaluated before, since it goes to a receiver that waits at the moment at which the arm
/// is chosen; `send_with` is for a message that is costly to make. The arbitration is described in
/// `sched::select`.
///
/// An arm of a wrong form is a compile error that names the arm and the right form:
///
/// ```compile_fail
/// let (_sender, receiver) = sward::channel::unbounded::<u8>();
/// sward::select! { recv(receiver, 1) -> _ => {} }
/// ```
///
/// ```compile_fail
/// let (_sender, receiver) = sward::channel::unbounded::<u8>();
/// sward::select! { receive(receiver) -> _ => {} }
/// ```
#[macro_export]
macro_rules! select {
    ($($tokens:tt)*) => {
        $crate::__select!(@start false $($tokens)*)
    };
}

/// As [`select!`](crate::select), but of several arms that can be carried out the first is.
///
/// Mind that an arm may then starve the ones below it.
///
/// ```
/// use sward::channel::unbounded;
///
/// let (urgent, first) = unbounded();
/// let (_other, second) = unbounded::<&str>();
/// urgent.send("now").unwrap();
/// sward::select_biased! {
///     recv(first) -> message => assert_eq!(message, Ok("now")),
///     recv(second) -> _ => unreachable!(),
/// }
/// ```
#[macro_export]
macro_rules! select_biased {
    ($($tokens:tt)*) => {
        $crate::__select!(@start true $($tokens)*)
    };
}

/// The parts of `select!`. `@parse` reads one arm, as far as its body; `@arm` looks at its arguments, and
/// gives it the names of its variables and its number. `@hold` evaluates the arguments of all arms, each in a
/// `match`, so that what they borrow from lives as long as the whole; `@run` selects and calls a body. The
/// rest is what differs between kinds of arms.
///
/// Each wrong arm is one `compile_error!`, which is all that the macro then expands to.
#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    (@start $biased:tt) => {
        ::core::compile_error!("select!: there is no arm")
    };
    (@start $biased:tt $($tokens:tt)*) => {
        $crate::__select!(@parse [$biased (a0 o0 0) (a1 o1 1) (a2 o2 2) (a3 o3 3) (a4 o4 4) (a5 o5 5) (a6 o6 6) (a7 o7 7) (a8 o8 8) (a9 o9 9) (a10 o10 10) (a11 o11 11) (a12 o12 12) (a13 o13 13) (a14 o14 14) (a15 o15 15) (a16 o16 16) (a17 o17 17) (a18 o18 18) (a19 o19 19) (a20 o20 20) (a21 o21 21) (a22 o22 22) (a23 o23 23) (a24 o24 24) (a25 o25 25) (a26 o26 26) (a27 o27 27) (a28 o28 28) (a29 o29 29) (a30 o30 30) (a31 o31 31)] [] [] $($tokens)*)
    };

    (@parse [$biased:tt $($ids:tt)*] $arms:tt $default:tt) => {
        $crate::__select!(@hold $arms $biased $arms $default)
    };
    (@parse $ids:tt $arms:tt $default:tt default => $body:block, $($rest:tt)*) => {
        $crate::__select!(@arm $ids $arms $default [default () (_) ($body)] $($rest)*)
    };
    (@parse $ids:tt $arms:tt $default:tt default => $body:block $($rest:tt)*) => {
        $crate::__select!(@arm $ids $arms $default [default () (_) ($body)] $($rest)*)
    };
    (@parse $ids:tt $arms:tt $default:tt default => $body:expr $(, $($rest:tt)*)?) => {
        $crate::__select!(@arm $ids $arms $default [default () (_) ($body)] $($($rest)*)?)
    };
    (@parse $ids:tt $arms:tt $default:tt $kind:ident ($($args:tt)*) => $body:block, $($rest:tt)*) => {
        $crate::__select!(@arm $ids $arms $default [$kind ($($args)*) (_) ($body)] $($rest)*)
    };
    (@parse $ids:tt $arms:tt $default:tt $kind:ident ($($args:tt)*) => $body:block $($rest:tt)*) => {
        $crate::__select!(@arm $ids $arms $default [$kind ($($args)*) (_) ($body)] $($rest)*)
    };
    (@parse $ids:tt $arms:tt $default:tt $kind:ident ($($args:tt)*) => $body:expr $(, $($rest:tt)*)?) => {
        $crate::__select!(@arm $ids $arms $default [$kind ($($args)*) (_) ($body)] $($($rest)*)?)
    };
    (@parse $ids:tt $arms:tt $default:tt
        $kind:ident ($($args:tt)*) -> $p:pat => $body:block, $($rest:tt)*) => {
        $crate::__select!(@arm $ids $arms $default [$kind ($($args)*) ($p) ($body)] $($rest)*)
    };
    (@parse $ids:tt $arms:tt $default:tt
        $kind:ident ($($args:tt)*) -> $p:pat => $body:block $($rest:tt)*) => {
        $crate::__select!(@arm $ids $arms $default [$kind ($($args)*) ($p) ($body)] $($rest)*)
    };
    (@parse $ids:tt $arms:tt $default:tt
        $kind:ident ($($args:tt)*) -> $p:pat => $body:expr $(, $($rest:tt)*)?) => {
        $crate::__select!(@arm $ids $arms $default [$kind ($($args)*) ($p) ($body)] $($($rest)*)?)
    };
    (@parse $ids:tt $arms:tt $default:tt $kind:ident ($($args:tt)*) -> $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "select!: after `", ::core::stringify!($kind($($args)*) ->),
            "` there has to be `pattern => body`; a body that is no block ends with a comma"
        ))
    };
    (@parse $ids:tt $arms:tt $default:tt $kind:ident ($($args:tt)*) $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "select!: after `", ::core::stringify!($kind($($args)*)),
            "` there has to be `-> pattern => body` or `=> body`; a body that is no block ends with a comma"
        ))
    };
    (@parse $ids:tt $arms:tt $default:tt default $($rest:tt)*) => {
        ::core::compile_error!("select!: after `default` there has to be `=> body` or `(duration) => body`")
    };
    (@parse $ids:tt $arms:tt $default:tt $kind:ident $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "select!: after `", ::core::stringify!($kind), "` there have to be its arguments in parentheses"
        ))
    };
    (@parse $ids:tt $arms:tt $default:tt $wrong:tt $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "select!: an arm does not begin with `", ::core::stringify!($wrong), "`"
        ))
    };

    (@arm $ids:tt $arms:tt [] [default ($($timeout:expr $(,)?)?) $p:tt $body:tt] $($rest:tt)*) => {
        $crate::__select!(@parse $ids $arms [($($timeout)?) $body] $($rest)*)
    };
    (@arm $ids:tt $arms:tt [] [default ($($args:tt)*) $p:tt $body:tt] $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "select!: `default` takes one duration or nothing, not `", ::core::stringify!($($args)*), "`"
        ))
    };
    (@arm $ids:tt $arms:tt [$($default:tt)+] [default $($arm:tt)*] $($rest:tt)*) => {
        ::core::compile_error!("select!: there is more than one `default`")
    };
    (@arm [$biased:tt] $($rest:tt)*) => {
        ::core::compile_error!("select!: there are too many arms; `channel::Select` has no limit")
    };
    (@arm [$biased:tt ($a:ident $o:ident $n:literal) $($ids:tt)*] [$($arms:tt)*] $default:tt
        [recv ($of:expr $(,)?) $p:tt $body:tt] $($rest:tt)*) => {
        $crate::__select!(
            @parse [$biased $($ids)*] [$($arms)* ($a $o $n recv ($of) $p $body)] $default $($rest)*
        )
    };
    (@arm [$biased:tt ($a:ident $o:ident $n:literal) $($ids:tt)*] [$($arms:tt)*] $default:tt
        [send ($of:expr, $what:expr $(,)?) $p:tt $body:tt] $($rest:tt)*) => {
        $crate::__select!(
            @parse [$biased $($ids)*] [$($arms)* ($a $o $n send ($of, $what) $p $body)] $default $($rest)*
        )
    };
    (@arm [$biased:tt ($a:ident $o:ident $n:literal) $($ids:tt)*] [$($arms:tt)*] $default:tt
        [send_from ($of:expr, $what:expr $(,)?) $p:tt $body:tt] $($rest:tt)*) => {
        $crate::__select!(
            @parse [$biased $($ids)*] [$($arms)* ($a $o $n send_from ($of, $what) $p $body)] $default
                $($rest)*
        )
    };
    (@arm [$biased:tt ($a:ident $o:ident $n:literal) $($ids:tt)*] [$($arms:tt)*] $default:tt
        [send_with ($of:expr, $what:expr $(,)?) $p:tt $body:tt] $($rest:tt)*) => {
        $crate::__select!(
            @parse [$biased $($ids)*] [$($arms)* ($a $o $n send_with ($of, $what) $p $body)] $default
                $($rest)*
        )
    };
    (@arm [$biased:tt ($a:ident $o:ident $n:literal) $($ids:tt)*] [$($arms:tt)*] $default:tt
        [join ($of:ident $(,)?) $p:tt $body:tt] $($rest:tt)*) => {
        $crate::__select!(
            @parse [$biased $($ids)*] [$($arms)* ($a $o $n join ($of) $p $body)] $default $($rest)*
        )
    };
    (@arm [$biased:tt ($a:ident $o:ident $n:literal) $($ids:tt)*] [$($arms:tt)*] $default:tt
        [join ($of:expr $(,)?) $p:tt $body:tt] $($rest:tt)*) => {
        $crate::__select!(
            @parse [$biased $($ids)*] [$($arms)* ($a $o $n join_of ($of) $p $body)] $default $($rest)*
        )
    };
    (@arm [$biased:tt ($a:ident $o:ident $n:literal) $($ids:tt)*] [$($arms:tt)*] $default:tt
        [cancelled ($of:expr $(,)?) $p:tt $body:tt] $($rest:tt)*) => {
        $crate::__select!(
            @parse [$biased $($ids)*] [$($arms)* ($a $o $n cancelled ($of) $p $body)] $default $($rest)*
        )
    };
    (@arm $ids:tt $arms:tt $default:tt [recv $args:tt $p:tt $body:tt] $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "select!: `recv` takes one receiver, not `", ::core::stringify!($args), "`"
        ))
    };
    (@arm $ids:tt $arms:tt $default:tt [send $args:tt $p:tt $body:tt] $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "select!: `send` takes a sender and a message, not `", ::core::stringify!($args), "`"
        ))
    };
    (@arm $ids:tt $arms:tt $default:tt [send_from $args:tt $p:tt $body:tt] $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "select!: `send_from` takes a sender and a variable, not `", ::core::stringify!($args), "`"
        ))
    };
    (@arm $ids:tt $arms:tt $default:tt [send_with $args:tt $p:tt $body:tt] $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "select!: `send_with` takes a sender and a closure, not `", ::core::stringify!($args), "`"
        ))
    };
    (@arm $ids:tt $arms:tt $default:tt [join $args:tt $p:tt $body:tt] $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "select!: `join` takes one handle, not `", ::core::stringify!($args), "`"
        ))
    };
    (@arm $ids:tt $arms:tt $default:tt [cancelled $args:tt $p:tt $body:tt] $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "select!: `cancelled` takes one token, not `", ::core::stringify!($args), "`"
        ))
    };
    (@arm $ids:tt $arms:tt $default:tt [$kind:ident $($arm:tt)*] $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "select!: `", ::core::stringify!($kind), "` is no kind of arm: there are `recv`, `send`, \
             `send_from`, `send_with`, `join`, `cancelled` and `default`"
        ))
    };

    (@hold [] $biased:tt $arms:tt $default:tt) => {
        $crate::__select!(@run $biased $arms $default)
    };
    // The handle stays in its variable unless it is joined.
    (@hold [($a:ident $o:ident $n:literal join $($arm:tt)*) $($more:tt)*] $($rest:tt)*) => {
        $crate::__select!(@hold [$($more)*] $($rest)*)
    };
    (@hold [($a:ident $o:ident $n:literal join_of ($of:expr) $($arm:tt)*) $($more:tt)*] $($rest:tt)*) => {
        match $of {
            $o => $crate::__select!(@hold [$($more)*] $($rest)*),
        }
    };
    (@hold [($a:ident $o:ident $n:literal send ($of:expr, $what:expr) $($arm:tt)*) $($more:tt)*]
        $($rest:tt)*) => {
        match (&$of, $what) {
            $a => $crate::__select!(@hold [$($more)*] $($rest)*),
        }
    };
    (@hold [($a:ident $o:ident $n:literal send_with ($of:expr, $what:expr) $($arm:tt)*) $($more:tt)*]
        $($rest:tt)*) => {
        match (&$of, $what) {
            $a => $crate::__select!(@hold [$($more)*] $($rest)*),
        }
    };
    (@hold [($a:ident $o:ident $n:literal $kind:ident ($of:expr $(, $what:expr)?) $($arm:tt)*) $($more:tt)*]
        $($rest:tt)*) => {
        match &$of {
            $a => $crate::__select!(@hold [$($more)*] $($rest)*),
        }
    };

    (@run $biased:tt [$(($a:ident $o:ident $n:literal $kind:ident $args:tt ($p:pat) ($body:expr)))*]
        $default:tt) => {{
        $($crate::__select!(@out $kind $o);)*
        let chosen = {
            let timeout = $crate::__select!(@timeout $default);
            $($crate::__select!(@make $kind $a $o $args);)*
            let arms = &mut [$(::core::option::Option::Some($a.any().numbered($n))),*];
            let chosen = $crate::channel::select_among(arms, timeout, $biased);
            $($crate::__select!(@finish $kind $a $o $n chosen);)*
            chosen
        };
        match chosen {
            $(::core::option::Option::Some($n) => {
                let $p = $crate::__select!(@value $kind $o $args);
                $body
            })*
            _ => $crate::__select!(@default $default),
        }
    }};

    (@timeout []) => { ::core::option::Option::None };
    (@timeout [() $body:tt]) => { ::core::option::Option::Some(::core::time::Duration::ZERO) };
    (@timeout [($timeout:expr) $body:tt]) => { ::core::option::Option::Some($timeout) };
    (@default []) => { ::core::unreachable!("an endless wait ends with an arm") };
    (@default [$timeout:tt ($body:expr)]) => { $body };

    (@out join $o:ident) => {};
    (@out join_of $o:ident) => {};
    (@out $kind:ident $o:ident) => {
        let mut $o = ::core::option::Option::None;
    };

    (@make send $a:ident $o:ident $args:tt) => {
        let mut $a = $a.0.arm($a.1);
    };
    (@make send_with $a:ident $o:ident $args:tt) => {
        let mut $a = $a.0.arm_with($a.1);
    };
    // After all other expressions, which may look at the slot.
    (@make send_from $a:ident $o:ident ($sender:expr, $slot:expr)) => {
        let mut $a = $a.arm_from(&mut $slot);
    };
    (@make join $a:ident $o:ident ($handle:ident)) => {
        let mut $a = $handle.arm();
    };
    (@make join_of $a:ident $o:ident $args:tt) => {
        let mut $a = $o.arm();
    };
    (@make $kind:ident $a:ident $o:ident $args:tt) => {
        let mut $a = $a.arm();
    };

    (@finish join $a:ident $o:ident $n:literal $chosen:ident) => {};
    (@finish join_of $a:ident $o:ident $n:literal $chosen:ident) => {};
    (@finish $kind:ident $a:ident $o:ident $n:literal $chosen:ident) => {
        if $chosen == ::core::option::Option::Some($n) {
            $o = ::core::option::Option::Some($a.finish());
        }
    };

    (@value join $o:ident ($handle:ident)) => { $handle.join() };
    (@value join_of $o:ident $args:tt) => { $o.join() };
    (@value $kind:ident $o:ident $args:tt) => { $o.expect("the arm was carried out") };
}
