//! Waiting for the first of several operations: `select!`, and [`Select`] for a number of them that is
//! known only at run time.

use super::{EventArm, RecvArm, SendArm};
use crate::coroutine::WaitReason;
use crate::sched::select::{AnyArm, Order, Patience, select};
use std::fmt;
use std::time::{Duration, Instant};

/// How many arms there is room for without allocating.
const INLINE: usize = 8;

/// A select over a number of operations that is known only at run time. For a fixed number there is
/// [`select!`](crate::select), whose documentation has the guarantees; they hold here too.
///
/// Unlike crossbeam-channel's, an operation carries its message with it: the whole of it takes place when
/// it is chosen. There, what is chosen is the right to send; a receiver that was chosen with it waits until the
/// sender has come up with its message.
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
pub struct Select<'a> {
    arms: Arms<'a>,
}

enum Arms<'a> {
    Few([Option<AnyArm<'a>>; INLINE], usize),
    Many(Vec<Option<AnyArm<'a>>>),
}

impl<'a> Select<'a> {
    /// A select without arms. To wait on it is to wait for ever.
    pub fn new() -> Select<'a> {
        Select { arms: Arms::Few([const { None }; INLINE], 0) }
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

    /// Adds the end of a coroutine or a cancellation, and gives its number: they count from zero.
    pub fn event(&mut self, arm: &'a mut EventArm<'_>) -> usize {
        self.add(arm.any())
    }

    fn add(&mut self, arm: AnyArm<'a>) -> usize {
        match &mut self.arms {
            Arms::Few(arms, count) if *count < INLINE => {
                arms[*count] = Some(arm.numbered(*count));
                *count += 1;
                *count - 1
            }
            Arms::Few(arms, _) => {
                let mut many: Vec<_> = arms.iter_mut().map(Option::take).collect();
                many.push(Some(arm.numbered(INLINE)));
                self.arms = Arms::Many(many);
                INLINE
            }
            Arms::Many(arms) => {
                arms.push(Some(arm.numbered(arms.len())));
                arms.len() - 1
            }
        }
    }

    /// Carries out one of the arms as soon as one can be, and gives its number. Parks until then.
    pub fn wait(self) -> usize {
        self.carry_out(Patience::Endless).expect("an endless wait ends with an arm")
    }

    /// Carries out one of the arms if one can be now, and gives its number. Does not park.
    pub fn poll(self) -> Option<usize> {
        self.carry_out(Patience::None)
    }

    /// Carries out one of the arms if one can be within that time, and gives its number. Parks until then.
    pub fn wait_timeout(self, timeout: Duration) -> Option<usize> {
        self.carry_out(super::patience(timeout))
    }

    /// Carries out one of the arms if one can be until then, and gives its number. Parks until then.
    pub fn wait_deadline(self, deadline: Instant) -> Option<usize> {
        self.carry_out(Patience::Until(deadline))
    }

    fn carry_out(mut self, patience: Patience) -> Option<usize> {
        let arms = match &mut self.arms {
            Arms::Few(arms, count) => &mut arms[..*count],
            Arms::Many(arms) => arms,
        };
        select(arms, WaitReason::Select, patience, Order::Random)
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
pub fn select_among(arms: &mut [Option<AnyArm<'_>>], timeout: Option<Duration>) -> Option<usize> {
    select(arms, WaitReason::Select, timeout.map_or(Patience::Endless, super::patience), Order::Random)
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
/// | `join(handle) -> pattern => body` | the coroutine has ended; the handle is used up | what `join` gives |
/// | `cancelled(token) => body` | the token is cancelled | |
/// | `default => body` | no other arm can be carried out now | |
/// | `default(duration) => body` | no other arm could be within that time | |
///
/// The handle of `join` stays in its variable if another arm is chosen. If it is not a variable but another
/// expression, it is dropped then, and its coroutine runs on detached.
///
/// `-> pattern` may be left out. The value of the whole is that of the body. A body that is no block ends with
/// a comma, as in `match`. All expressions in parentheses are evaluated once, before anything is carried
/// out. For a receiver there may be any expression that can be borrowed: with
/// `recv(if idle { &tick } else { &never })` an arm is switched off.
///
/// # Guarantees
///
/// - Exactly one arm is carried out, as a whole. A message is sent only if its arm was chosen, and received
///   only if its arm was chosen; nothing is taken and put back.
/// - What `send` was to send is dropped if another arm is chosen. With `send_from` it stays in the
///   variable, and is taken out of it only if it is sent; so too if the select unwinds.
/// - Fair: if several arms can be carried out, each of them is equally likely to be.
/// - `default` is taken only if there was a moment at which no other arm could be carried out; with a duration,
///   such a moment after it. A message that moves from the channel of one arm to that of another meanwhile is
///   not missed.
/// - Nothing is allocated, unless messages have more than 128 bytes: those have a box each for their way. No
///   coroutine is started.
/// - Works in coroutines and on plain threads. A cancelled coroutine unwinds out of it, with no arm
///   carried out.
///
/// The syntax is crossbeam-channel's; the arbitration is described in `sched::select`.
#[macro_export]
macro_rules! select {
    ($($tokens:tt)*) => {
        $crate::__select!(@parse [(a0 o0 0) (a1 o1 1) (a2 o2 2) (a3 o3 3) (a4 o4 4) (a5 o5 5) (a6 o6 6) (a7 o7 7) (a8 o8 8) (a9 o9 9) (a10 o10 10) (a11 o11 11) (a12 o12 12) (a13 o13 13) (a14 o14 14) (a15 o15 15) (a16 o16 16) (a17 o17 17) (a18 o18 18) (a19 o19 19) (a20 o20 20) (a21 o21 21) (a22 o22 22) (a23 o23 23)] [] [] $($tokens)*)
    };
}

/// The parts of `select!`: `@parse` goes through the arms, one at a time, and gives each the names of its
/// variables and its number; `@expand` has them all; the rest is what differs between kinds of arms.
#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    (@parse [$($ids:tt)*] [$($arms:tt)*] [$($default:tt)*]) => {
        $crate::__select!(@expand [$($arms)*] [$($default)*])
    };
    (@parse $ids:tt $arms:tt $default:tt default => $($rest:tt)*) => {
        $crate::__select!(@parse $ids $arms $default default() -> _ => $($rest)*)
    };
    (@parse $ids:tt $arms:tt $default:tt $kind:ident $args:tt => $($rest:tt)*) => {
        $crate::__select!(@parse $ids $arms $default $kind $args -> _ => $($rest)*)
    };
    (@parse $ids:tt $arms:tt $default:tt $kind:ident $args:tt -> $p:pat => $body:block, $($rest:tt)*) => {
        $crate::__select!(@add $ids $arms $default [$kind $args ($p) ($body)] $($rest)*)
    };
    (@parse $ids:tt $arms:tt $default:tt $kind:ident $args:tt -> $p:pat => $body:block $($rest:tt)*) => {
        $crate::__select!(@add $ids $arms $default [$kind $args ($p) ($body)] $($rest)*)
    };
    (@parse $ids:tt $arms:tt $default:tt $kind:ident $args:tt -> $p:pat => $body:expr, $($rest:tt)*) => {
        $crate::__select!(@add $ids $arms $default [$kind $args ($p) ($body)] $($rest)*)
    };
    (@parse $ids:tt $arms:tt $default:tt $kind:ident $args:tt -> $p:pat => $body:expr) => {
        $crate::__select!(@add $ids $arms $default [$kind $args ($p) ($body)])
    };
    (@parse $ids:tt $arms:tt $default:tt $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!("select!: not an arm: `", ::core::stringify!($($rest)*), "`"))
    };

    (@add $ids:tt $arms:tt [] [default ($($timeout:expr)?) $p:tt ($body:expr)] $($rest:tt)*) => {
        $crate::__select!(@parse $ids $arms [($($timeout)?) ($body)] $($rest)*)
    };
    (@add $ids:tt $arms:tt [$($default:tt)+] [default $($arm:tt)*] $($rest:tt)*) => {
        ::core::compile_error!("select!: more than one default")
    };
    (@add [] $($rest:tt)*) => {
        ::core::compile_error!("select!: too many arms; there is channel::Select")
    };
    (@add [($a:ident $o:ident $n:literal) $($ids:tt)*] [$($arms:tt)*] $default:tt
        [$kind:ident $args:tt $p:tt $body:tt] $($rest:tt)*) => {
        $crate::__select!(@parse [$($ids)*] [$($arms)* ($a $o $n $kind $args $p $body)] $default $($rest)*)
    };

    (@expand [$(($a:ident $o:ident $n:literal $kind:ident $args:tt ($p:pat) ($body:expr)))*] $default:tt) => {{
        $($crate::__select!(@own $kind $o $args);)*
        let chosen = {
            $($crate::__select!(@arm $kind $a $o $args);)*
            let timeout = $crate::__select!(@timeout $default);
            $($crate::__select!(@fill $kind $a $args);)*
            let arms = &mut [$(::core::option::Option::Some($a.any().numbered($n))),*];
            let chosen = $crate::channel::select_among(arms, timeout);
            $($crate::__select!(@finish $kind $a $o $n chosen $args);)*
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

    // A handle that is in a variable stays there unless it is joined; another one is kept here.
    (@own join $o:ident ($handle:ident)) => {};
    (@own join $o:ident ($handle:expr)) => {
        let $o = $handle;
    };
    (@own $kind:ident $o:ident $args:tt) => {
        let mut $o = ::core::option::Option::None;
    };

    (@arm recv $a:ident $o:ident ($receiver:expr)) => {
        let $a = &$receiver;
        let mut $a = $a.arm();
    };
    (@arm send $a:ident $o:ident ($sender:expr, $message:expr)) => {
        let $a = &$sender;
        let mut $a = $a.arm($message);
    };
    (@arm send_from $a:ident $o:ident ($sender:expr, $slot:expr)) => {
        let $a = &$sender;
    };
    (@arm join $a:ident $o:ident ($handle:ident)) => {
        let mut $a = $handle.arm();
    };
    (@arm join $a:ident $o:ident ($handle:expr)) => {
        let mut $a = $o.arm();
    };
    (@arm cancelled $a:ident $o:ident ($token:expr)) => {
        let $a = &$token;
        let mut $a = $a.arm();
    };
    (@arm $kind:ident $a:ident $o:ident $args:tt) => {
        ::core::compile_error!(
            ::core::concat!("select!: not an arm: `", ::core::stringify!($kind $args), "`")
        )
    };

    (@fill send_from $a:ident ($sender:expr, $slot:expr)) => {
        // After all other expressions, which may look at the slot.
        let mut $a = $a.arm_from(&mut $slot);
    };
    (@fill $kind:ident $a:ident $args:tt) => {};

    (@finish join $a:ident $o:ident $n:literal $chosen:ident $args:tt) => {};
    (@finish $kind:ident $a:ident $o:ident $n:literal $chosen:ident $args:tt) => {
        if $chosen == ::core::option::Option::Some($n) {
            $o = ::core::option::Option::Some($a.finish());
        }
    };

    (@value join $o:ident ($handle:ident)) => { $handle.join() };
    (@value join $o:ident ($handle:expr)) => { $o.join() };
    (@value $kind:ident $o:ident $args:tt) => { $o.expect("the arm was carried out") };
}
