//! How a simulation chooses what runs next.
//!
//! A *decision* is one of two questions with one answer: which of the runnable coroutines runs next, at the
//! end of a turn; and whether the one that runs goes on or lets another one run, at a call that need not wait
//! (a *point*).
//!
//! - [`RandomWalk`]: any runnable coroutine is as likely as any other. At a point, others run with a
//!   probability that is drawn for the whole run, from one in two to one in 64: some runs switch at almost
//!   every call, others have long turns.
//! - [`Pct`]: probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte, "A randomized
//!   scheduler with probabilistic guarantees of finding bugs", 2010). Each coroutine has a random priority,
//!   and the highest runs. At `depth - 1` random decisions the running one falls below all others. A bug that
//!   needs `depth` orderings among n coroutines in k decisions is found with a probability of at least 1 / (n
//!   k^(depth-1)) in each run. A coroutine that yields by itself falls below all others as well, since it may
//!   wait in a loop for another one.
//! - [`Exhaustive`]: depth first through all decisions, with a bound on the preemptions of a run, as CHESS
//!   (Musuvathi, Qadeer, 2007).
//! - [`Replay`]: a schedule that was recorded.

use super::random::Random;
use std::collections::BTreeMap;

/// A decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    /// The coroutines to choose from, by number. At a point the first one is the one that runs.
    pub(super) options: &'a [u32],
    /// Whether it is a point: to choose any but the first option is a preemption.
    pub(super) point: bool,
    /// The coroutine whose turn has just ended because it yielded by itself.
    pub(super) yielded: Option<u32>,
}

/// How a simulation chooses.
pub(super) trait Strategy {
    /// Which option it is.
    fn decide(&mut self, question: &Question<'_>) -> usize;
}

/// Any runnable coroutine is as likely as any other.
pub(super) struct RandomWalk {
    random: Random,
    /// At a point, others run in one of 2^n cases.
    rarity: u32,
}

impl RandomWalk {
    pub(super) fn new(seed: u64) -> RandomWalk {
        let mut random = Random::new(seed, 1);
        let rarity = 1 + random.below(6) as u32;
        RandomWalk { random, rarity }
    }
}

impl Strategy for RandomWalk {
    fn decide(&mut self, question: &Question<'_>) -> usize {
        let count = question.options.len();
        if !question.point {
            return self.random.below(count);
        }
        if count > 1 && self.random.next() >> (64 - self.rarity) == 0 {
            1 + self.random.below(count - 1)
        } else {
            0
        }
    }
}

/// Probabilistic concurrency testing.
pub(super) struct Pct {
    random: Random,
    /// By coroutine. The highest runs.
    priorities: BTreeMap<u32, u64>,
    /// The decisions at which the running one falls, in order.
    changes: Vec<u64>,
    decisions: u64,
    /// Priorities of coroutines that have fallen. Each is lower than the one before.
    lowest: u64,
}

/// Priorities that are drawn are at least this; those of coroutines that have fallen are lower.
const DRAWN: u64 = 1 << 63;

impl Pct {
    /// `length`: about how many decisions a run has.
    pub(super) fn new(seed: u64, depth: u32, length: u64) -> Pct {
        let mut random = Random::new(seed, 2);
        let mut changes: Vec<u64> = (1..depth).map(|_| random.below(length.max(1) as usize) as u64).collect();
        changes.sort_unstable();
        changes.reverse();
        Pct { random, priorities: BTreeMap::new(), changes, decisions: 0, lowest: DRAWN }
    }

    fn fall(&mut self, who: u32) {
        self.lowest -= 1;
        self.priorities.insert(who, self.lowest);
    }
}

impl Strategy for Pct {
    fn decide(&mut self, question: &Question<'_>) -> usize {
        if let Some(yielded) = question.yielded {
            self.fall(yielded);
        }
        let highest = |random: &mut Random, priorities: &mut BTreeMap<u32, u64>| {
            let priority = |who: &u32| *priorities.entry(*who).or_insert_with(|| random.next() | DRAWN);
            let drawn: Vec<u64> = question.options.iter().map(priority).collect();
            (0..drawn.len()).max_by_key(|&place| drawn[place]).unwrap_or(0)
        };
        let mut place = highest(&mut self.random, &mut self.priorities);
        while self.changes.last().is_some_and(|&at| at <= self.decisions) {
            self.changes.pop();
            self.fall(question.options[place]);
            place = highest(&mut self.random, &mut self.priorities);
        }
        self.decisions += 1;
        place
    }
}

/// Where an exhaustive search is: for each decision of the present run the choice, and how many there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Search {
    path: Vec<(u32, u32)>,
}

impl Search {
    /// Goes on to the next run; false if there is none.
    pub(super) fn next(&mut self) -> bool {
        while let Some((choice, count)) = self.path.pop() {
            if choice + 1 < count {
                self.path.push((choice + 1, count));
                return true;
            }
        }
        false
    }
}

/// One run of an exhaustive search.
pub(super) struct Exhaustive {
    /// Shared with the search.
    search: std::rc::Rc<std::cell::RefCell<Search>>,
    at: usize,
    preemptions_left: u32,
}

impl Exhaustive {
    pub(super) fn new(search: std::rc::Rc<std::cell::RefCell<Search>>, preemptions: u32) -> Exhaustive {
        Exhaustive { search, at: 0, preemptions_left: preemptions }
    }
}

impl Strategy for Exhaustive {
    fn decide(&mut self, question: &Question<'_>) -> usize {
        // By number, so that the order does not depend on how the set is kept.
        let mut order: Vec<usize> = (0..question.options.len()).collect();
        let fixed = usize::from(question.point);
        order[fixed..].sort_by_key(|&place| question.options[place]);
        // A coroutine that has yielded by itself goes last: it may wait in a loop for another one.
        if let Some(yielded) = question.yielded
            && order.len() > 1
        {
            order.retain(|&place| question.options[place] != yielded);
        }
        let count = if question.point && self.preemptions_left == 0 { 1 } else { order.len() as u32 };
        let mut search = self.search.borrow_mut();
        if self.at == search.path.len() {
            search.path.push((0, count));
        }
        let (choice, _) = search.path[self.at];
        self.at += 1;
        if question.point && choice > 0 {
            self.preemptions_left -= 1;
        }
        order[(choice as usize).min(order.len() - 1)]
    }
}

/// A recorded decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decided {
    /// That coroutine ran next, or was let run first.
    For(u32),
    /// At a point: it went on. At the end of a turn: the one that was spawned first.
    Default,
}

/// A schedule that was recorded. Where it does not fit, and after its end, nothing is preempted.
pub(super) struct Replay {
    decisions: Vec<Decided>,
    at: usize,
}

impl Replay {
    pub(super) fn new(decisions: Vec<Decided>) -> Replay {
        Replay { decisions, at: 0 }
    }
}

/// What is chosen without a wish.
pub(super) fn default_choice(question: &Question<'_>) -> usize {
    if question.point {
        return 0;
    }
    let places = 0..question.options.len();
    let last_if_yielded = |place: usize| question.yielded == Some(question.options[place]);
    places.min_by_key(|&place| (last_if_yielded(place), question.options[place])).unwrap_or(0)
}

impl Strategy for Replay {
    fn decide(&mut self, question: &Question<'_>) -> usize {
        let decided = self.decisions.get(self.at).copied();
        self.at += 1;
        match decided {
            Some(Decided::For(who)) => {
                let place = question.options.iter().position(|option| *option == who);
                place.unwrap_or_else(|| default_choice(question))
            }
            Some(Decided::Default) | None => default_choice(question),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::rc::Rc;

    /// Three threads of two steps each have 6! / (2! 2! 2!) = 90 orders; each is visited once.
    #[test]
    fn a_search_visits_each_order_once() {
        let search = Rc::new(RefCell::new(Search::default()));
        let mut seen = BTreeSet::new();
        loop {
            let mut run = Exhaustive::new(Rc::clone(&search), u32::MAX);
            let (mut left, mut order) = ([2; 3], Vec::new());
            loop {
                let options: Vec<u32> = (0..3).filter(|&who| left[who as usize] > 0).collect();
                if options.is_empty() {
                    break;
                }
                let question = Question { options: &options, point: false, yielded: None };
                let who = options[run.decide(&question)];
                left[who as usize] -= 1;
                order.push(who);
            }
            assert!(seen.insert(order), "it is visited twice");
            if !search.borrow_mut().next() {
                break;
            }
        }
        assert_eq!(seen.len(), 90);
    }

    /// The coroutine that runs goes on but for two decisions: 1 + 5 + 5 * 4 / 2 ways.
    #[test]
    fn a_bound_on_preemptions_bounds_the_search() {
        let search = Rc::new(RefCell::new(Search::default()));
        let mut runs = 0;
        loop {
            let mut run = Exhaustive::new(Rc::clone(&search), 2);
            for _ in 0..5 {
                run.decide(&Question { options: &[0, 1], point: true, yielded: None });
            }
            runs += 1;
            if !search.borrow_mut().next() {
                break;
            }
        }
        assert_eq!(runs, 16);
    }

    #[test]
    fn the_highest_priority_runs_until_it_falls() {
        let mut pct = Pct::new(3, 1, 100);
        let question = Question { options: &[0, 1, 2], point: false, yielded: None };
        let first = pct.decide(&question);
        assert!((0..20).all(|_| pct.decide(&question) == first));
        let after = pct.decide(&Question { yielded: Some(first as u32), ..question });
        assert_ne!(after, first);
    }
}
