//! The macros `select!` and `select_biased!`.
//!
//! They make the arms, pass them to [`select_among`], and run the body of the arm that has completed. The
//! syntax is crossbeam-channel's.

use super::arm::AnyArm;
use super::engine::{Order, select};
use super::limit::WaitLimit;
use crate::coroutine::WaitReason;
use std::time::Duration;

/// What the macros call: completes one of the arms and returns its number, or `None` after the timeout.
#[doc(hidden)]
pub fn select_among(
    arms: &mut [Option<AnyArm<'_>>],
    timeout: Option<Duration>,
    biased: bool,
) -> Option<usize> {
    let order = if biased { Order::Given } else { Order::Random };
    select(arms, WaitReason::Select, timeout.map_or(WaitLimit::Endless, WaitLimit::after), order)
}

/// Waits for the first of several operations, completes it, and runs its body.
///
/// [`select_biased!`](crate::select_biased!) prefers the first of several arms that can complete;
/// [`Select`](crate::select::Select) takes a number of arms that is known only at run time.
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
/// | arm | completes when | the pattern gets |
/// |---|---|---|
/// | `recv(receiver) -> pattern => body` | there is a message, or the channel is empty and all senders are gone | `Result<T, RecvError>` |
/// | `send(sender, message) -> pattern => body` | there is room or a receiver, or all receivers are gone | `Result<(), SendError<T>>` |
/// | `send_from(sender, variable) -> pattern => body` | as above, and the variable, of type `Option<T>`, is `Some` | as above |
/// | `send_with(sender, closure) -> pattern => body` | as `send`; the closure makes the message at that time | as above |
/// | `join(handle) -> pattern => body` | the coroutine has ended; the handle is used up | what `join` returns |
/// | `changed(watcher) -> pattern => body` | the value of a [`watch`](crate::channel::watch) channel was not seen, or all senders are gone | `Result<(), RecvError>` |
/// | `cancelled(token) => body` | the token is cancelled | |
/// | `default => body` | no other arm can complete now | |
/// | `default(duration) => body` | no other arm could complete within that time | |
///
/// `recv` takes the receivers of [`channel`](crate::channel), of [`oneshot`](crate::channel::oneshot) and of
/// [`broadcast`](crate::channel::broadcast), whose errors are its own.
///
/// The handle of `join` stays in its variable if another arm completes. If it is not a variable but another
/// expression, it is dropped then, and its coroutine runs on detached.
///
/// `-> pattern` may be omitted. The value of the whole is that of the body. A body that is no block ends with
/// a comma, as in `match`. All expressions in parentheses are evaluated once, before any arm completes; a
/// comma may follow the last of them. Temporaries in them live until the end of the whole, as in a `match`.
/// The receiver may be any expression that can be borrowed; so `recv(receiver.as_ref().unwrap_or(&never()))`
/// disables an arm.
///
/// # Guarantees
///
/// - Exactly one arm completes, as a whole. A message is sent, or received, only by the arm that completes;
///   nothing is taken and put back.
/// - The message of a `send` is dropped if another arm completes. With `send_from` it stays in the variable
///   unless it is sent, also if the select unwinds.
/// - Fair: if several arms can complete, each of them is equally likely to.
/// - `default` is taken only if there was a moment at which no other arm could complete; with a duration,
///   such a moment after it. A message that moves from the channel of one arm to that of another meanwhile is
///   not missed.
/// - The closure of `send_with` is called when there is room or a receiver for its message, and at most once.
///   It may wait. If another sender is faster then, the select goes on with the message that was made, and
///   drops it if another arm completes in the end.
/// - Nothing is allocated, unless a message has more than 128 bytes: such a message has a box. No coroutine
///   is started.
/// - It works in coroutines and on plain threads. A cancelled coroutine unwinds out of it, with no arm
///   completed.
///
/// The syntax is crossbeam-channel's. One thing differs: there, the message of a `send` is evaluated only
/// after its arm was selected. Here it is evaluated before, since a receiver that waits has it at the moment
/// at which the arm completes. Use `send_with` for a message that is costly to make.
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

/// As [`select!`](crate::select!), but if several arms can complete, the first of them does.
///
/// An arm that can always complete starves the arms below it.
///
/// ```
/// use sward::channel::unbounded;
///
/// let (sender, first) = unbounded();
/// let (_other, second) = unbounded::<&str>();
/// sender.send("now").unwrap();
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

/// The parts of `select!`. `@parse` reads one arm with its body; `@arm` checks its arguments, and assigns the
/// names of its variables and its number. `@hold` evaluates the arguments of all arms, each in a `match`, so
/// that temporaries live until the end of the whole; `@run` selects and runs a body. The other rules are what
/// differs between kinds of arms.
///
/// A wrong arm makes the macro expand to one `compile_error!` and nothing else.
#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    (@start $biased:tt) => {
        ::core::compile_error!("select!: there is no arm, such as `recv(receiver) -> message => body`")
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
            "select!: an arm does not begin with `", ::core::stringify!($wrong), "`: the arms are `recv(receiver) -> message => body`, `send(sender, message) -> outcome => body`, \
             `send_from(sender, variable) -> outcome => body`, `send_with(sender, || message) -> outcome => body`, \
             `join(handle) -> result => body`, `changed(watcher) -> result => body`, `cancelled(token) => body`, \
             `default => body` and \
             `default(duration) => body`"
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
        ::core::compile_error!("select!: there are too many arms; `select::Select` has no limit")
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
        [changed ($of:expr $(,)?) $p:tt $body:tt] $($rest:tt)*) => {
        $crate::__select!(
            @parse [$biased $($ids)*] [$($arms)* ($a $o $n changed ($of) $p $body)] $default $($rest)*
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
            "select!: `recv` takes one receiver, not `", ::core::stringify!($args),
            "`: `recv(receiver) -> message => body`"
        ))
    };
    (@arm $ids:tt $arms:tt $default:tt [send $args:tt $p:tt $body:tt] $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "select!: `send` takes a sender and a message, not `", ::core::stringify!($args),
            "`: `send(sender, message) -> outcome => body`"
        ))
    };
    (@arm $ids:tt $arms:tt $default:tt [send_from $args:tt $p:tt $body:tt] $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "select!: `send_from` takes a sender and a variable, not `", ::core::stringify!($args),
            "`: `send_from(sender, variable) -> outcome => body`"
        ))
    };
    (@arm $ids:tt $arms:tt $default:tt [send_with $args:tt $p:tt $body:tt] $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "select!: `send_with` takes a sender and a closure, not `", ::core::stringify!($args),
            "`: `send_with(sender, || message) -> outcome => body`"
        ))
    };
    (@arm $ids:tt $arms:tt $default:tt [join $args:tt $p:tt $body:tt] $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "select!: `join` takes one handle, not `", ::core::stringify!($args),
            "`: `join(handle) -> result => body`"
        ))
    };
    (@arm $ids:tt $arms:tt $default:tt [changed $args:tt $p:tt $body:tt] $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "select!: `changed` takes one receiver of a watch channel, not `", ::core::stringify!($args),
            "`: `changed(watcher) -> result => body`"
        ))
    };
    (@arm $ids:tt $arms:tt $default:tt [cancelled $args:tt $p:tt $body:tt] $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "select!: `cancelled` takes one token, not `", ::core::stringify!($args),
            "`: `cancelled(token) => body`"
        ))
    };
    (@arm $ids:tt $arms:tt $default:tt [$kind:ident $($arm:tt)*] $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "select!: `", ::core::stringify!($kind), "` is no kind of arm: there are `recv(receiver) -> message => body`, `send(sender, message) -> outcome => body`, \
             `send_from(sender, variable) -> outcome => body`, `send_with(sender, || message) -> outcome => body`, \
             `join(handle) -> result => body`, `changed(watcher) -> result => body`, `cancelled(token) => body`, \
             `default => body` and \
             `default(duration) => body`"
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
        let completed = {
            let timeout = $crate::__select!(@timeout $default);
            $($crate::__select!(@make $kind $a $o $args);)*
            let arms = &mut [$(::core::option::Option::Some($a.any().numbered($n))),*];
            let completed = $crate::select::select_among(arms, timeout, $biased);
            $($crate::__select!(@finish $kind $a $o $n completed);)*
            completed
        };
        match completed {
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
    // After all other expressions, since these may read the variable.
    (@make send_from $a:ident $o:ident ($sender:expr, $variable:expr)) => {
        let mut $a = $a.arm_from(&mut $variable);
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

    (@finish join $a:ident $o:ident $n:literal $completed:ident) => {};
    (@finish join_of $a:ident $o:ident $n:literal $completed:ident) => {};
    (@finish $kind:ident $a:ident $o:ident $n:literal $completed:ident) => {
        if $completed == ::core::option::Option::Some($n) {
            $o = ::core::option::Option::Some($a.finish());
        }
    };

    (@value join $o:ident ($handle:ident)) => { $handle.join() };
    (@value join_of $o:ident $args:tt) => { $o.join() };
    (@value $kind:ident $o:ident $args:tt) => { $o.expect("the arm has completed") };
}
