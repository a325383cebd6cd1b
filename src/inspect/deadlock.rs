//! Deadlocks: coroutines and plain threads that wait for one another, so that none of their waits can end.
//!
//! # What counts
//!
//! A *waiter* is a coroutine or a plain thread that waits in sward. An edge leads from a waiter to each one
//! without which its wait cannot end:
//!
//! | it waits for | edges to |
//! |---|---|
//! | a mutex, a reader-writer lock, a one-time initialisation | the exclusive holder, if there is one |
//! | the end of a coroutine | that coroutine |
//! | the end of all of several coroutines, as a scope does | each of them that is known |
//! | the end of any of several coroutines | the last one, if only one is left |
//!
//! A wait with a deadline has no edges, since it ends. Nor has a `select!`, or a wait for a message, a permit
//! or a notification: any thread may send, release or notify. Readers of a lock are counted and not named, so
//! a writer that waits for readers has no edges. So what is called a deadlock here is one; but a program can
//! hang in other ways.
//!
//! # Why no report is false
//!
//! The waiters go on while they are looked at, and a capture reads one after the other. So a cycle in one
//! capture proves nothing: each of its edges may have existed at another time. Hence three looks:
//!
//! ```text
//!   before    the number of each waiter's present wait
//!                                                          t1
//!   capture   what each waits for, and who holds that
//!                                                          t2
//!   after     the number of each waiter's present wait
//! ```
//!
//! The waits of a waiter are numbered. A member with the same number in all three looks was in that one wait
//! from t1 to t2. So it took and released nothing in that time. The capture saw the edge from one member to
//! the next between t1 and t2: the next one held the lock then, or had not ended. It did not run, so it held
//! the lock all the time from t1 to t2. So at t1 all members waited, and all edges existed at once: no member
//! goes on before another one has.
//!
//! A cancellation may still end the wait of a coroutine. The report says what the program does by itself.

use super::collect::{alone, outside_of_workers};
use super::graph;
use super::stack::Stack;
use super::stacks::Stacks;
use super::subject::Subject;
use super::text::Frames;
use crate::coroutine::{Facts, Holder, Id, Trace};
use crate::sched::{self, BlockedThread, Captured, Detail, Shared};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Coroutines and threads that wait for one another, so that none of them can go on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Deadlock {
    /// Each waits for the next one, and the last one for the first.
    pub members: Vec<Member>,
    /// How many others cannot go on either, as they wait for a member, directly or through others.
    pub waiting_behind: usize,
    /// The waits of the members, in their order.
    pub(super) waits: Vec<WaitOf>,
    /// The coroutines that wait behind it.
    behind: Vec<Id>,
}

impl Deadlock {
    /// The coroutines that cannot go on because of it.
    pub(super) fn stuck(&self) -> impl Iterator<Item = Id> + '_ {
        self.members.iter().filter_map(|member| member.id).chain(self.behind.iter().copied())
    }
}

/// A coroutine or a plain thread in a deadlock.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Member {
    /// The coroutine's number; `None` for a plain thread.
    pub id: Option<Id>,
    /// The name of the coroutine or thread.
    pub name: Option<Box<str>>,
    /// The call that has spawned the coroutine.
    pub spawned_at: Option<&'static Location<'static>>,
    /// The call that waits, such as `"Mutex::lock"`.
    pub call: &'static str,
    /// What it waits for.
    pub subject: Option<Subject>,
    /// The coroutine's stack, if it is known.
    pub stack: Option<Arc<Stack>>,
}

/// Finds the deadlocks of the process, through all of its runtimes and through plain threads that wait in
/// sward. Each deadlock is found as often as this is called, as long as it lasts.
///
/// sward looks for deadlocks by itself and reports each one once, within about a second
/// ([`Builder::watch_deadlocks`](crate::runtime::Builder::watch_deadlocks)). Use this in a test, or to act on
/// a deadlock.
///
/// Found are cycles of waits for mutexes, reader-writer locks, one-time initialisations, the ends of
/// coroutines, and the ends of scopes. Not found are cycles through channels, semaphores, notifications and
/// the readers of a lock, since anybody may send, release or notify; nor through locks of other crates. A
/// wait with a time limit is part of no deadlock. What is found is no guess: at one moment all members waited
/// for one another.
///
/// Not among them is the global deadlock that [`Builder::watch_deadlocks`] reports.
///
/// [`Builder::watch_deadlocks`]: crate::runtime::Builder::watch_deadlocks
///
/// Coroutines that [migrate](crate::runtime::Builder::migrate_started) are not looked at. Nor are, while a
/// worker stays in a long turn, the coroutines that live on it.
///
/// Blocks and parks as [`dump`](super::dump()) does.
///
/// # Panics
///
/// In a coroutine, if the system has no thread for it.
pub fn deadlocks() -> Vec<Deadlock> {
    outside_of_workers(|| {
        let mut deadlocks = look().0;
        add_stacks(&mut deadlocks);
        deadlocks
    })
}

/// A wait: who waits, and the number of the wait.
pub(super) type WaitOf = (Holder, u64);

/// One waiter of the capture.
pub(super) struct Waiter {
    wait: WaitOf,
    member: Member,
    /// Without whom its wait does not end.
    needs: Vec<Holder>,
}

/// Finds the deadlocks, without stacks, and says whether all waits could be looked at. The thread is no
/// worker.
pub(super) fn look() -> (Vec<Deadlock>, bool) {
    let _alone = alone();
    let runtimes = sched::runtimes();
    let before = waits(&runtimes, Duration::ZERO);
    let (mut waiters, mut complete) = (Vec::new(), true);
    if !before.is_empty() {
        for shared in &runtimes {
            let captured = sched::capture(shared, Detail::Waits);
            let unseen = |coroutine: &Captured| coroutine.reason.needs_others() && !coroutine.by_worker;
            complete &= captured.migrate || !captured.coroutines.iter().any(unseen);
            waiters.extend(captured.coroutines.into_iter().filter_map(Waiter::of));
        }
        sched::for_each_blocked_thread(|blocked| waiters.extend(Waiter::of_thread(blocked)));
    }
    let after = waits(&runtimes, Duration::ZERO);
    waiters.retain(|waiter| [&before, &after].iter().all(|waits| waits.contains(&waiter.wait)));
    (deadlocks_among(&waiters), complete)
}

/// Captures the stacks of the members. Apart, since they are rarely needed, and finding the names of
/// functions takes long.
pub(super) fn add_stacks(deadlocks: &mut [Deadlock]) {
    if deadlocks.is_empty() {
        return;
    }
    let _alone = alone();
    let runtimes = sched::runtimes();
    let captured = runtimes.iter().flat_map(|shared| sched::capture(shared, Detail::Stacks).coroutines);
    let of_wait = |one: Captured| Some(((Holder::Coroutine(one.id), one.wait?), one.trace?));
    let waits: HashSet<WaitOf> = deadlocks.iter().flat_map(|deadlock| &deadlock.waits).copied().collect();
    let traces: HashMap<WaitOf, Arc<Trace>> =
        captured.filter_map(of_wait).filter(|(wait, _)| waits.contains(wait)).collect();
    let stacks = Stacks::of(traces.values());
    for deadlock in deadlocks {
        for (member, wait) in deadlock.members.iter_mut().zip(&deadlock.waits) {
            member.stack = traces.get(wait).and_then(|trace| stacks.get(trace));
        }
    }
}

/// The present waits that need others and have lasted for so long.
pub(super) fn waits_older_than(age: Duration) -> HashSet<WaitOf> {
    let _alone = alone();
    waits(&sched::runtimes(), age)
}

fn waits(runtimes: &[Arc<Shared>], age: Duration) -> HashSet<WaitOf> {
    let (mut waits, now) = (HashSet::new(), Instant::now());
    let mut visit = |who, wait, since| {
        if now.saturating_duration_since(since) >= age {
            waits.insert((who, wait));
        }
    };
    for shared in runtimes {
        sched::for_each_wait_for_others(shared, |id, wait, since| visit(Holder::Coroutine(id), wait, since));
    }
    sched::for_each_blocked_thread(|blocked| {
        if blocked.reason.needs_others() {
            visit(blocked.who, blocked.wait, blocked.since);
        }
    });
    waits
}

impl Waiter {
    /// A coroutine that needs others to go on.
    pub(super) fn of(captured: Captured) -> Option<Waiter> {
        if captured.deadline.is_some() {
            return None;
        }
        let needs = needs(captured.facts.as_ref()?);
        let wait = captured.wait.filter(|_| !needs.is_empty())?;
        let member = Member {
            id: Some(captured.id),
            name: captured.name,
            spawned_at: Some(captured.site),
            call: captured.reason.describe(),
            subject: Subject::of(captured.facts, captured.subject),
            stack: None,
        };
        Some(Waiter { wait: (Holder::Coroutine(captured.id), wait), member, needs })
    }

    /// A blocked thread that needs others to go on.
    fn of_thread(blocked: &BlockedThread<'_>) -> Option<Waiter> {
        if blocked.deadline.is_some() {
            return None;
        }
        let subject = blocked.subject?;
        let facts = subject.facts();
        let needs = needs(&facts);
        if needs.is_empty() {
            return None;
        }
        let member = Member {
            id: match blocked.who {
                Holder::Coroutine(id) => Some(id),
                Holder::Thread(_) => None,
            },
            name: blocked.thread.as_ref().and_then(Thread::name).map(Box::from),
            spawned_at: None,
            call: blocked.reason.describe(),
            subject: Subject::of(Some(facts), Some(subject.address())),
            stack: None,
        };
        Some(Waiter { wait: (blocked.who, blocked.wait), member, needs })
    }
}

/// The deadlocks among waiters that have all waited at one moment.
pub(super) fn deadlocks_among(waiters: &[Waiter]) -> Vec<Deadlock> {
    let places: HashMap<Holder, usize> =
        waiters.iter().enumerate().map(|(at, waiter)| (waiter.wait.0, at)).collect();
    let edges: Vec<Vec<usize>> = waiters
        .iter()
        .map(|waiter| waiter.needs.iter().filter_map(|needed| places.get(needed).copied()).collect())
        .collect();
    let cycles = graph::cycles(&edges);
    let members: HashSet<usize> = cycles.iter().flatten().copied().collect();
    let waiting_behind = |cycle: &[usize]| -> Vec<usize> {
        graph::leading_to(&edges, cycle).into_iter().filter(|at| !members.contains(at)).collect()
    };
    let deadlock = |cycle: &Vec<usize>| {
        let behind = waiting_behind(cycle);
        Deadlock {
            members: cycle.iter().map(|&at| waiters[at].member.clone()).collect(),
            waiting_behind: behind.len(),
            waits: cycle.iter().map(|&at| waiters[at].wait).collect(),
            behind: behind.into_iter().filter_map(|at| waiters[at].member.id).collect(),
        }
    };
    cycles.iter().map(deadlock).collect()
}

/// Without whom a wait for that does not end.
fn needs(facts: &Facts) -> Vec<Holder> {
    match facts {
        Facts::Lock { holder: Some(holder), .. } => vec![*holder],
        Facts::Coroutine(id) => vec![Holder::Coroutine(*id)],
        Facts::Coroutines { left, count, all, .. } if *all || *count == 1 => {
            left.iter().map(|id| Holder::Coroutine(*id)).collect()
        }
        _ => Vec::new(),
    }
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.members.len() {
            1 => f.write_str("deadlock: one waits for its own end, or its own lock")?,
            count => write!(f, "deadlock: {count} wait, each for the next one, and the last for the first")?,
        }
        if self.waiting_behind > 0 {
            write!(f, "; {} more wait behind them", self.waiting_behind)?;
        }
        for member in &self.members {
            write!(f, "\n  {member} waits in {}", member.call)?;
            if let Some(subject) = &member.subject {
                write!(f, " for {subject}")?;
            }
            if let Some(stack) = &member.stack {
                write!(f, "\n{}", Frames(stack).to_string().trim_end())?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) => write!(f, "coroutine #{id}")?,
            None => f.write_str("the thread")?,
        }
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        match self.spawned_at {
            Some(site) => write!(f, " (spawned at {site})"),
            None => Ok(()),
        }
    }
}
