//! Histories of concurrent calls, and the check whether they are linearizable: whether each call can have
//! taken effect at one moment between its beginning and its end, so that all results are those of a
//! sequential model.
//!
//! The search is that of Wing and Gong (Testing and Verifying Concurrent Objects, 1993), with Lowe's table of
//! the pairs of linearized calls and state that have led nowhere (Testing for Linearizability, 2017). A
//! rendezvous is no linearizable object: its two calls take effect together, so a model may also say what two
//! calls do at one moment (concurrency-aware linearizability, Hemed, Rinetzky and Vafeiadis, 2015).

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most calls of a history.
const MOST: usize = 64;

/// A call with its result, and when it was made and had returned, in the order of all these events.
#[derive(Clone, Debug)]
pub(crate) struct Call<O> {
    pub(crate) op: O,
    pub(crate) made: usize,
    pub(crate) returned: usize,
}

/// What the coroutines of a program have called.
pub(crate) struct History<O> {
    events: AtomicUsize,
    calls: Mutex<Vec<Call<O>>>,
    /// What is noted of a call that unwinds, since its coroutine was cancelled: it is to have had no effect.
    cancelled: fn() -> O,
}

/// A call that has not returned.
struct Open<'a, O> {
    history: &'a History<O>,
    made: usize,
    op: Option<O>,
}

impl<O> Drop for Open<'_, O> {
    fn drop(&mut self) {
        let returned = self.history.events.fetch_add(1, Ordering::SeqCst);
        let op = self.op.take().unwrap_or_else(self.history.cancelled);
        self.history.calls.lock().expect("no panic").push(Call { op, made: self.made, returned });
    }
}

impl<O> History<O> {
    pub(crate) fn new(cancelled: fn() -> O) -> History<O> {
        History { events: AtomicUsize::new(0), calls: Mutex::new(Vec::new()), cancelled }
    }

    /// Makes a call, and notes what `describe` says of its result.
    pub(crate) fn call<T>(&self, call: impl FnOnce() -> T, describe: impl FnOnce(&T) -> O) -> T {
        let made = self.events.fetch_add(1, Ordering::SeqCst);
        let mut open = Open { history: self, made, op: None };
        let result = call();
        open.op = Some(describe(&result));
        drop(open);
        result
    }

    /// All calls so far.
    pub(crate) fn take(&self) -> Vec<Call<O>> {
        std::mem::take(&mut *self.calls.lock().expect("no panic"))
    }
}

/// The state of a sequential model.
pub(crate) trait Model: Clone + Eq + Hash {
    type Op: Debug;

    /// The state after a call with that result; `None` if it cannot have that result now. Others may be under
    /// way at the same time: `others` are all that may be.
    fn after(&self, op: &Self::Op, others: &[&Self::Op]) -> Option<Self>;

    /// The same for two calls that take effect together.
    fn after_both(&self, _: &Self::Op, _: &Self::Op) -> Option<Self> {
        None
    }
}

/// Whether the calls can have taken effect in some order, from that state on.
pub(crate) fn is_linearizable<M: Model>(initial: M, calls: &[Call<M::Op>]) -> bool {
    assert!(calls.len() <= MOST, "a history is short");
    let all = if calls.len() == MOST { u64::MAX } else { (1 << calls.len()) - 1 };
    let (mut seen, mut open) = (HashSet::new(), vec![(0_u64, initial)]);
    while let Some((done, state)) = open.pop() {
        if done == all {
            return true;
        }
        if !seen.insert((done, state.clone())) {
            continue;
        }
        let left = || (0..calls.len()).filter(|index| done & (1 << index) == 0);
        // The next effect comes before any of these calls has returned.
        let first = left().map(|index| calls[index].returned).min().expect("some are left");
        let next: Vec<_> = left().filter(|index| calls[*index].made < first).collect();
        for &index in &next {
            let others: Vec<_> =
                next.iter().filter(|other| **other != index).map(|other| &calls[*other].op).collect();
            if let Some(after) = state.after(&calls[index].op, &others) {
                open.push((done | 1 << index, after));
            }
            for &other in &next {
                if index != other
                    && let Some(after) = state.after_both(&calls[index].op, &calls[other].op)
                {
                    open.push((done | 1 << index | 1 << other, after));
                }
            }
        }
    }
    false
}

/// Panics with the history if it is not linearizable.
pub(crate) fn assert_linearizable<M: Model>(initial: M, history: &History<M::Op>) {
    let mut calls = history.take();
    calls.sort_by_key(|call| call.made);
    let said =
        || calls.iter().map(|call| format!("\n  {:>3}..{:<3} {:?}", call.made, call.returned, call.op));
    assert!(is_linearizable(initial, &calls), "not linearizable:{}", said().collect::<String>());
}

/// A register: what was written last is read.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Register(u32);

#[derive(Clone, Copy, Debug)]
enum Access {
    Write(u32),
    Read(u32),
}

impl Model for Register {
    type Op = Access;

    fn after(&self, op: &Access, _: &[&Access]) -> Option<Register> {
        match *op {
            Access::Write(value) => Some(Register(value)),
            Access::Read(value) => (value == self.0).then(|| self.clone()),
        }
    }
}

fn of_a_register(calls: &[(usize, usize, Access)]) -> bool {
    let calls: Vec<_> = calls.iter().map(|&(made, returned, op)| Call { op, made, returned }).collect();
    is_linearizable(Register(0), &calls)
}

#[test]
fn calls_in_a_row_have_one_order() {
    use Access::{Read, Write};
    assert!(of_a_register(&[(0, 1, Write(1)), (2, 3, Read(1))]));
    assert!(!of_a_register(&[(0, 1, Write(1)), (2, 3, Read(0))]), "a stale read");
    assert!(!of_a_register(&[(0, 1, Read(1)), (2, 3, Write(1))]), "a read of the future");
}

#[test]
fn calls_at_once_have_any_order() {
    use Access::{Read, Write};
    assert!(of_a_register(&[(0, 3, Write(1)), (1, 2, Read(0))]));
    assert!(of_a_register(&[(0, 3, Write(1)), (1, 2, Read(1))]));
    assert!(of_a_register(&[(0, 9, Write(1)), (1, 2, Read(0)), (3, 4, Read(1))]));
    // Each read by itself is fine.
    assert!(!of_a_register(&[(0, 9, Write(1)), (1, 2, Read(1)), (3, 4, Read(0))]), "time goes back");
    assert!(!of_a_register(&[
        (0, 9, Write(1)),
        (1, 10, Write(2)),
        (2, 3, Read(1)),
        (4, 5, Read(2)),
        (6, 7, Read(1)),
    ]));
}
