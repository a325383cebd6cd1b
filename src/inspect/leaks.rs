//! Leaks: coroutines that nobody will ever wake.
//!
//! # What is certain
//!
//! - In a global deadlock ([`global`](super::global)): all coroutines.
//! - The members of a deadlock, and all that wait behind it: for a lock that one of these holds, or for its
//!   end. They waited at one moment, and none of them goes on before another one has
//!   ([`deadlock`](super::deadlock)).
//!
//! # Why a channel is no proof
//!
//! A coroutine that waits for a message leaks if all other handles of the channel are held by coroutines that
//! wait in the same closed set. The channel counts its handles, so they would only have to be found on the
//! stacks of the set. But a stack is no proof: a handle that was moved into a thread, a box or another
//! channel leaves a copy of its bytes where it was, and nothing tells the copy from the handle. A coroutine
//! that has registered its sender somewhere, and waits for messages, is as healthy as a server can be, and
//! has such a copy on its stack. A number in each handle changes nothing, since it is copied as well; a
//! record of the last use says nothing about a handle that was moved since. To look for handles in the heap,
//! as a garbage collector does, meets freed memory that still has the bytes. Rust has no way to see a move.
//!
//! So what is not certain is suspected by numbers, as Uber's LeakProf does for Go, and says so: coroutines of
//! one spawn site that all wait in the same place, are many, and have waited for long.

use super::collect::{collect, outside_of_workers};
use super::deadlock;
use super::dump::{CoroutineDump, Dump};
use super::global::{self, Found};
use super::text::{Chosen, groups};
use crate::coroutine::{Id, WaitReason};
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

/// How long a wait is suspected after.
const AGE: Duration = Duration::from_secs(60);
/// How many such waits are suspected.
const COUNT: usize = 100;
/// How many groups the text shows.
const GROUPS: usize = 20;

/// Finds coroutines that nobody will ever wake, and groups of coroutines that are suspected of that. The same
/// as [`LeakSearch::new().find()`](LeakSearch::find).
///
/// Use this in a program that has more and more coroutines. In a test,
/// [`assert_no_leaks`](super::assert_no_leaks) is exact.
///
/// Blocks and parks as [`dump`](super::dump()) does.
///
/// # Panics
///
/// In a coroutine, if the system has no thread for it.
///
/// ```
/// let leaks = sward::run(sward::observe::leaks);
/// assert!(leaks.certain.is_empty() && leaks.suspected.is_empty(), "{leaks}");
/// ```
pub fn leaks() -> Leaks {
    LeakSearch::new().find()
}

/// A search for leaks with other limits than [`leaks`] has.
#[derive(Clone, Copy, Debug)]
#[must_use = "it searches when `find` is called"]
pub struct LeakSearch {
    age: Duration,
    count: usize,
}

/// What a search for leaks has found. `{}` prints it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Leaks {
    /// Nobody wakes these, except by a cancellation: they are members of a deadlock, wait behind one, or are
    /// part of a process all of whose coroutines wait for ever.
    pub certain: Vec<CoroutineDump>,
    /// Groups of coroutines with the same spawn site and stack that wait for other coroutines or threads, all
    /// for long and without a time limit. Each may be as it should be, such as a pool of idle workers.
    ///
    /// Coroutines that [migrate](crate::runtime::Builder::migrate_started) are not suspected, nor those of a
    /// worker that is in a long turn: whether their waits have limits is not known.
    pub suspected: Vec<Vec<CoroutineDump>>,
    /// For the names of others.
    dump: Dump,
}

impl LeakSearch {
    /// A search that suspects groups of at least 100 coroutines that have all waited for a minute.
    pub fn new() -> LeakSearch {
        LeakSearch { age: AGE, count: COUNT }
    }

    /// Suspects waits that have lasted for so long. Default: a minute.
    pub fn older_than(mut self, age: Duration) -> LeakSearch {
        self.age = age;
        self
    }

    /// Suspects groups of that many coroutines or more. Default: 100.
    pub fn at_least(mut self, count: usize) -> LeakSearch {
        self.count = count.max(1);
        self
    }

    /// Searches. As [`leaks`].
    pub fn find(self) -> Leaks {
        outside_of_workers(move || self.search())
    }

    fn search(self) -> Leaks {
        let global = matches!(global::look(), Found::Deadlock(_));
        let (deadlocks, _) = deadlock::look();
        let stuck: HashSet<Id> = deadlocks.iter().flat_map(deadlock::Deadlock::stuck).collect();
        let dump = collect();
        let all = dump.runtimes.iter().flat_map(|runtime| &runtime.coroutines);
        let certain: Vec<_> =
            all.filter(|coroutine| global || stuck.contains(&coroutine.id)).cloned().collect();
        let known: HashSet<Id> = certain.iter().map(|coroutine| coroutine.id).collect();
        let others = dump.runtimes.iter().flat_map(|runtime| &runtime.coroutines);
        let others: Vec<_> =
            others.filter(|one| !known.contains(&one.id) && self.suspects(one)).cloned().collect();
        let of_group = |group: Vec<&CoroutineDump>| group.into_iter().cloned().collect::<Vec<_>>();
        let large = groups(&others).into_iter().filter(|group| group.len() >= self.count);
        let suspected = large.map(of_group).collect();
        Leaks { certain, suspected, dump }
    }

    fn suspects(self, coroutine: &CoroutineDump) -> bool {
        // Otherwise nobody knows whether the wait has a limit.
        coroutine.complete
            && coroutine.wait.as_ref().is_some_and(|wait| {
                let needs_somebody = WaitReason::of_words(wait.call).is_some_and(WaitReason::needs_somebody);
                needs_somebody && wait.ends_in.is_none() && wait.lasts >= self.age
            })
    }
}

impl Default for LeakSearch {
    fn default() -> Self {
        LeakSearch::new()
    }
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let write = |coroutines: &[CoroutineDump], f: &mut fmt::Formatter<'_>| {
            write!(f, "{}", Chosen { dump: &self.dump, coroutines, groups: GROUPS })
        };
        if self.certain.is_empty() && self.suspected.is_empty() {
            return f.write_str("no leaks are known\n");
        }
        if !self.certain.is_empty() {
            writeln!(f, "leaked: nobody will wake these {}:", self.certain.len())?;
            write(&self.certain, f)?;
        }
        for group in &self.suspected {
            writeln!(f, "suspected: these {} have all waited for long in the same place:", group.len())?;
            write(group, f)?;
        }
        Ok(())
    }
}
