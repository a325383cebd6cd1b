//! What `select!` accepts, and what it expands to.

use crate::common::both;
use crate::mpmc::MS;
use sward::channel::{Receiver, RecvError, bounded, never, unbounded};

#[test]
fn select_is_an_expression_in_its_function() {
    fn first(r: &Receiver<u8>) -> Result<u8, RecvError> {
        loop {
            sward::select! {
                recv(r) -> message => {
                    let message = message?;
                    if message > 2 {
                        break Ok(message);
                    }
                    continue;
                }
            }
        }
    }
    let (s, r) = unbounded();
    (0..5).for_each(|i| s.send(i).unwrap());
    assert_eq!(first(&r), Ok(3));
    r.recv().unwrap();
    drop(s);
    assert_eq!(first(&r), Err(RecvError));
}

/// What crossbeam-channel's `select!` accepts: temporaries that live until the end of the select, commas at
/// the end.
#[test]
fn select_accepts_what_crossbeam_accepts() {
    both(|| {
        let (s, r) = bounded::<u8>(1);
        let (none, some): (Option<&Receiver<u8>>, _) = (None, Some(&r));
        s.send(1).unwrap();
        let got = sward::select! {
            recv(none.unwrap_or(&never()),) -> _ => unreachable!(),
            recv(some.unwrap_or(&never())) -> message => message,
        };
        assert_eq!(got, Ok(1));
        let shared = std::sync::Mutex::new((s.clone(), r.clone()));
        sward::select! {
            send(shared.lock().unwrap().0, 2,) -> sent => { sent.unwrap() },
            default(MS,) => unreachable!(),
        }
        sward::select! {
            recv(shared.lock().unwrap().1) -> message => assert_eq!(message, Ok(2)),
            default() => unreachable!(),
        }
        // The body can use the receiver again, unless a destructor borrows it.
        let mut receiver = r.clone();
        sward::select! {
            recv(receiver) -> _ => unreachable!(),
            default => { receiver = never(); }
        }
        assert!(receiver.same_channel(&never()));
        let mut next = Some(3);
        sward::select! { send_from(s, next,) -> sent => sent.unwrap(), }
        assert_eq!(next, None);
        let token = sward::task::CancelToken::new();
        token.cancel();
        sward::select! { cancelled(token,) => {}, }
        let child = sward::spawn(|| 4);
        assert_eq!(sward::select! { join(child,) -> four => four.unwrap(), }, 4);
    });
}

#[test]
fn select_takes_many_arms() {
    let (s, r) = unbounded();
    s.send(()).unwrap();
    let off = never::<()>();
    let chosen = sward::select! {
        recv(off) => 0, recv(off) => 1, recv(off) => 2, recv(off) => 3, recv(off) => 4, recv(off) => 5,
        recv(off) => 6, recv(off) => 7, recv(off) => 8, recv(off) => 9, recv(off) => 10, recv(off) => 11,
        recv(off) => 12, recv(off) => 13, recv(off) => 14, recv(off) => 15, recv(off) => 16, recv(off) => 17,
        recv(off) => 18, recv(off) => 19, recv(off) => 20, recv(off) => 21, recv(off) => 22, recv(off) => 23,
        recv(off) => 24, recv(off) => 25, recv(off) => 26, recv(off) => 27, recv(off) => 28, recv(off) => 29,
        recv(off) => 30, recv(r) => 31,
    };
    assert_eq!(chosen, 31);
}

/// The expression for a handle is evaluated once, and the select joins that handle.
#[test]
fn a_handle_to_join_may_be_any_expression() {
    both(|| {
        let mut handles = vec![sward::spawn(|| "first"), sward::spawn(|| "second")];
        let joined = sward::select! { join(handles.pop().unwrap()) -> result => result.unwrap() };
        assert_eq!((joined, handles.len()), ("second", 1));
        let variable = handles.pop().unwrap();
        sward::select! {
            join(sward::spawn(sward::task::park)) -> _ => unreachable!(),
            join(variable) -> result => assert_eq!(result.unwrap(), "first"),
        }
        // A handle in a variable is still there if another arm was carried out.
        let (tx, rx) = bounded(1);
        tx.send(()).unwrap();
        let waits = sward::spawn(sward::task::park);
        sward::select! {
            join(waits) => unreachable!(),
            recv(rx) => assert!(waits.cancel()),
        }
    });
}

/// The expansion of `select!` means the same when the caller has other things with the names that it uses.
#[test]
fn select_may_be_used_among_other_names() {
    #[derive(Debug, PartialEq)]
    enum Mine<T> {
        Some(T),
        None,
    }
    use Mine::{None, Some};
    #[allow(unused_macros)]
    macro_rules! unreachable {
        ($($tokens:tt)*) => {
            compile_error!("the caller's own")
        };
    }
    macro_rules! concat {
        () => {};
    }
    #[allow(non_camel_case_types, dead_code)]
    struct Option;
    concat!();
    both(|| {
        let (tx, rx) = bounded(1);
        let mut next = std::option::Option::Some(1);
        let child = sward::spawn(|| Some(2));
        let joined = sward::select! { join(child) -> result => result.unwrap() };
        assert_eq!(joined, Some(2));
        sward::select! { send_from(tx, next) -> sent => sent.unwrap() }
        assert!(next.is_none());
        sward::select! { send(tx, 3) => panic!("there is no room"), default => {} }
        let received = sward::select! { recv(rx) -> message => Some(message.unwrap()), default(MS) => None };
        assert_eq!(received, Some(1));
    });
}
