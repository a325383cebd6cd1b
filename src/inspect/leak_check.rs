//! The check at the end of a test that no coroutine is left.
//!
//! Coroutines that are about to end get time for it. The check passes at once when the runtime is at rest
//! (`sched/rest.rs`) and no coroutine is alive that counts: then none exists, wherever it could be. If
//! coroutines that do not count run all the time, the runtime never rests. Then the check waits until its
//! time is over, and looks at lists and queues once more. A coroutine that a worker takes from a queue at
//! that very moment is not seen; a leaked one is in a list, as it waits.

use super::collect::{collect, outside_of_workers};
use super::dump::CoroutineDump;
use super::text::Chosen;
use crate::coroutine::Id;
use crate::sched::{self, Shared};
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How long coroutines may go on to end.
const WITHIN: Duration = Duration::from_secs(2);
/// How many groups of coroutines the message shows.
const GROUPS: usize = 50;
/// The time between two looks, at first and at most.
const NAPS: [Duration; 2] = [Duration::from_micros(100), Duration::from_millis(20)];

/// Panics if coroutines are still alive. Call it at the end of a test.
///
/// In a coroutine it looks at the runtime of that coroutine, on a plain thread at all runtimes of the
/// process. The caller does not count, nor do its ancestors: the coroutine that has spawned it, and so on, as
/// far as these are alive. All others count, in whatever state they are: a coroutine that computes is alive
/// as well. [`LeakCheck`] makes exceptions of coroutines that were there before.
///
/// Coroutines that are about to end have two seconds for it. Without leaks the call returns as soon as the
/// others have ended.
///
/// The message of the panic shows the coroutines as a [`dump`](super::dump()) does, with stacks.
///
/// Tests of one process run at the same time. So call this in a coroutine of a runtime that the test does not
/// share, as each [`run`](crate::run) has one; or use
/// [`Runtime::assert_no_leaks`](crate::runtime::Runtime::assert_no_leaks).
///
/// Blocks and parks as [`dump`](super::dump()) does. A cancellation ends it early.
///
/// # Panics
///
/// If coroutines are still alive; in a coroutine, also if the system has no thread for the check.
///
/// ```
/// use sward::observe::assert_no_leaks;
///
/// sward::run(|| {
///     let (sender, receiver) = sward::channel::unbounded::<u32>();
///     sward::spawn(move || receiver.into_iter().sum::<u32>());
///     sender.send(7).unwrap();
///     drop(sender); // Without this line the coroutine would wait for more.
///     assert_no_leaks();
/// });
/// ```
#[track_caller]
pub fn assert_no_leaks() {
    LeakCheck::of(sched::current_runtime().as_ref(), HashSet::new()).assert();
}

/// A check for coroutines that were not there when it was made.
///
/// Use this where a test shares a runtime, or starts coroutines that outlive it on purpose. Otherwise
/// [`assert_no_leaks`] is enough, which also says what counts.
///
/// ```
/// use std::time::Duration;
/// use sward::observe::LeakCheck;
///
/// sward::run(|| {
///     let ticker = sward::spawn(|| sward::sleep(Duration::from_secs(60)));
///     sward::yield_now(); // It has started.
///     let check = LeakCheck::new();
///     sward::spawn(|| 6 * 7);
///     check.assert();
///     ticker.cancel();
/// });
/// ```
#[derive(Clone, Debug)]
#[must_use = "it checks when `assert` is called"]
pub struct LeakCheck {
    /// `None`: all runtimes.
    runtime: Option<Weak<Shared>>,
    /// Coroutines that do not count.
    known: HashSet<Id>,
    within: Duration,
}

impl LeakCheck {
    /// Remembers the coroutines that have started and not ended, of the runtime of the calling coroutine; on
    /// a plain thread, of all runtimes of the process. Blocks the thread for a moment.
    pub fn new() -> LeakCheck {
        let check = LeakCheck::of(sched::current_runtime().as_ref(), HashSet::new());
        let mut known = HashSet::new();
        for shared in check.runtimes() {
            sched::for_each_started(&shared, |id, _| _ = known.insert(id));
        }
        LeakCheck { known, ..check }
    }

    /// A check of one runtime or of all.
    pub(crate) fn of(runtime: Option<&Arc<Shared>>, known: HashSet<Id>) -> LeakCheck {
        LeakCheck { runtime: runtime.map(Arc::downgrade), known, within: WITHIN }
    }

    /// How long coroutines that are alive may go on to end. Default: two seconds.
    pub fn within(mut self, time: Duration) -> LeakCheck {
        self.within = time;
        self
    }

    /// Panics if coroutines are alive that were not there when the check was made. Blocks, parks and panics
    /// as [`assert_no_leaks`].
    #[track_caller]
    pub fn assert(&self) {
        let check = self.clone();
        // SAFETY: the coroutine that runs this is alive.
        let caller = sched::current_coroutine().map(|header| unsafe { header.as_ref() }.id());
        if let Err(leaks) = outside_of_workers(move || check.look(caller)) {
            panic!("{leaks}");
        }
    }

    fn runtimes(&self) -> Vec<Arc<Shared>> {
        match &self.runtime {
            Some(runtime) => runtime.upgrade().into_iter().collect(),
            None => sched::runtimes(),
        }
    }

    /// Waits until no coroutine is left, or the time is over: then describes the coroutines that are left.
    fn look(&self, caller: Option<Id>) -> Result<(), String> {
        let begin = Instant::now();
        let [mut nap, longest] = NAPS;
        loop {
            let runtimes = self.runtimes();
            let over = begin.elapsed() >= self.within;
            let before: Vec<_> = runtimes.iter().map(|shared| shared.at_rest()).collect();
            let alive = Alive::of(&runtimes, self.exempt(caller));
            let mut pairs = runtimes.iter().zip(&before);
            let rests = pairs.all(|(shared, before)| before.is_some() && shared.at_rest() == *before);
            if rests && alive.listed.is_empty() {
                return Ok(());
            }
            if over {
                // What no list shows may be in one by now, or may have ended.
                return if alive.is_none() { Ok(()) } else { alive.describe(self) };
            }
            drop(runtimes);
            std::thread::sleep(nap);
            nap = (2 * nap).min(longest);
        }
    }

    /// The coroutines that do not count.
    fn exempt(&self, caller: Option<Id>) -> HashSet<Id> {
        let mut exempt = self.known.clone();
        let mut next = caller;
        if next.is_none() {
            return exempt;
        }
        let mut parents = HashMap::new();
        // An ancestor may live in another runtime.
        for shared in sched::runtimes() {
            sched::for_each_started(&shared, |id, parent| _ = parents.insert(id, parent));
        }
        while let Some(id) = next {
            exempt.insert(id);
            next = parents.get(&id).copied().flatten();
        }
        exempt
    }
}

/// The coroutines that count and are alive.
struct Alive {
    listed: HashSet<Id>,
    /// Of those, the ones in their first turn.
    first_turns: HashSet<Id>,
    /// Whether there are some that have not started, or are in their first turn.
    others: bool,
}

impl Alive {
    fn of(runtimes: &[Arc<Shared>], exempt: HashSet<Id>) -> Alive {
        let mut listed = HashSet::new();
        for shared in runtimes {
            sched::for_each_started(shared, |id, _| {
                if !exempt.contains(&id) {
                    listed.insert(id);
                }
            });
        }
        let others = runtimes.iter().any(|shared| shared.has_unlisted(|id| exempt.contains(&id)));
        let first_turns = runtimes.iter().flat_map(|shared| shared.first_turns());
        let first_turns = first_turns.filter(|id| !exempt.contains(id)).collect();
        Alive { listed, first_turns, others }
    }

    fn is_none(&self) -> bool {
        self.listed.is_empty() && !self.others
    }

    fn describe(&self, check: &LeakCheck) -> Result<(), String> {
        let dump = collect();
        let counts = |coroutine: &&CoroutineDump| {
            self.listed.contains(&coroutine.id) || self.first_turns.contains(&coroutine.id)
        };
        let all = dump.runtimes.iter().flat_map(|runtime| &runtime.coroutines);
        let coroutines: Vec<_> = all.filter(counts).cloned().collect();
        let queues = check.runtimes().into_iter().filter(|shared| shared.queues_unstarted_only());
        let unstarted: usize = queues.map(|shared| shared.unstarted()).sum();
        if coroutines.is_empty() && unstarted == 0 {
            // They have ended while the dump was made.
            return Ok(());
        }
        let mut text = match coroutines.len() {
            1 => "sward: leak: 1 coroutine is still alive".to_owned(),
            count => format!("sward: leak: {count} coroutines are still alive"),
        };
        let _ = write!(text, " after {:?}", check.within);
        if unstarted > 0 {
            let _ = write!(text, "; {unstarted} wait for their first turn");
        }
        let _ = write!(text, "\n{}", Chosen { dump: &dump, coroutines: &coroutines, groups: GROUPS });
        Err(text)
    }
}

impl Default for LeakCheck {
    fn default() -> Self {
        LeakCheck::new()
    }
}
