//! How a simulation chooses what runs next.
//!
//! A *decision* answers one of three questions:
//!
//! - at the end of a turn: which of the runnable coroutines runs next;
//! - at a call that need not wait (a *point*): whether the coroutine goes on, or lets another one run;
//! - at a choice of the program (a *draw*): which arm `select!` looks at first. The seed decides it, unless a
//!   search or a recorded schedule says otherwise.
//!
//! The strategies:
//!
//! - [`RandomWalk`]: any runnable coroutine is as likely as any other. At a point, others run with a
//!   probability that is drawn for the whole run, from one in two to one in 64: some runs switch at almost
//!   every call, others have long turns.
//! - [`Pct`]: probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte, "A randomized
//!   scheduler with probabilistic guarantees of finding bugs", 2010). Each coroutine has a random priority,
//!   and the highest runs. At `depth - 1` random decisions the running one falls below all others. How low
//!   these falls are among each other is drawn as well, and does not depend on which comes first. A bug that
//!   needs `depth` orderings among n coroutines in k decisions is found with a probability of at least 1 / (n
//!   k^(depth-1)) in each run. A coroutine that yields by itself falls below all others, since it may wait in
//!   a loop for another one. The paper has no such coroutines; where there are some, a later fall goes below
//!   the earlier ones if there was a yield in between.
//! - [`Exhaustive`]: depth first through all decisions, with a bound on the preemptions of a run, as CHESS
//!   (Musuvathi, Qadeer, 2007). That a coroutine which has yielded goes on before the others have had a turn
//!   counts as a preemption: otherwise there would be a schedule for each number of rounds of a loop that
//!   yields, and one in which two such loops take turns for ever while a third coroutine waits.
//! - [`Replay`]: a schedule that was recorded.

use super::random::Random;
use std::collections::{BTreeMap, BTreeSet};

/// A decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    /// The coroutines to choose from, by number; of a draw, the numbers.
    pub(super) options: &'a [u32],
    pub(super) kind: Kind,
    /// The coroutines that have yielded by themselves since all others had a turn: they may wait in a loop
    /// for one of these.
    pub(super) behind: &'a BTreeSet<u32>,
}

/// What a decision is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Which coroutine has the next turn. The given one was the last that ran, if it has yielded by itself.
    Turn { yielded: Option<u32> },
    /// Whether the first option, which runs, lets another one run first: that is a preemption.
    Point,
    /// What the program draws. The seed's own draw is at that place.
    Draw(usize),
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
        match question.kind {
            Kind::Turn { .. } => return self.random.below(count),
            Kind::Draw(place) => return place,
            Kind::Point => {}
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
    /// The decisions at which the running one falls, the last one first; each with the fall's rank among the
    /// falls, from one.
    changes: Vec<(u64, u64)>,
    decisions: u64,
    /// The priority of the coroutine that yielded last. Each is lower than the one before by the depth, so
    /// there is room for a fall of each rank in between.
    lowest: u64,
    depth: u64,
}

/// Priorities that are drawn are at least this; those of coroutines that have fallen are lower.
const DRAWN: u64 = 1 << 63;

impl Pct {
    /// `length`: about how many decisions a run has.
    pub(super) fn new(seed: u64, depth: u32, length: u64) -> Pct {
        let mut random = Random::new(seed, 2);
        let mut ranks: Vec<u64> = (1..depth.into()).collect();
        for at in 1..ranks.len() {
            ranks.swap(at, random.below(at + 1));
        }
        let at = |rank| (random.below(length.max(1) as usize) as u64, rank);
        let mut changes: Vec<_> = ranks.into_iter().map(at).collect();
        changes.sort_unstable_by_key(|&(at, _)| std::cmp::Reverse(at));
        Pct {
            random,
            priorities: BTreeMap::new(),
            changes,
            decisions: 0,
            lowest: DRAWN,
            depth: depth.max(1).into(),
        }
    }
}

impl Strategy for Pct {
    fn decide(&mut self, question: &Question<'_>) -> usize {
        match question.kind {
            Kind::Draw(place) => return place,
            Kind::Turn { yielded: Some(yielded) } => {
                self.lowest -= self.depth;
                self.priorities.insert(yielded, self.lowest);
            }
            Kind::Turn { yielded: None } | Kind::Point => {}
        }
        let highest = |random: &mut Random, priorities: &mut BTreeMap<u32, u64>| {
            let priority = |who: &u32| *priorities.entry(*who).or_insert_with(|| random.next() | DRAWN);
            let drawn: Vec<u64> = question.options.iter().map(priority).collect();
            (0..drawn.len()).max_by_key(|&place| drawn[place]).unwrap_or(0)
        };
        let mut place = highest(&mut self.random, &mut self.priorities);
        while let Some((_, rank)) = self.changes.pop_if(|change| change.0 <= self.decisions) {
            self.priorities.insert(question.options[place], self.lowest - self.depth + rank);
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
        order.sort_by_key(|&place| question.options[place]);
        let count = order.len();
        // What runs without a preemption comes first in the order, and is so much of it.
        let free = match question.kind {
            Kind::Point => {
                order.retain(|&place| place != 0);
                order.insert(0, 0);
                1
            }
            // Coroutines that have yielded by themselves go last: they may wait in a loop for another one.
            Kind::Turn { .. } => {
                let last = |place: usize| question.behind.contains(&question.options[place]);
                order.sort_by_key(|&place| last(place));
                match order.iter().filter(|&&place| !last(place)).count() {
                    0 => count,
                    free => free,
                }
            }
            Kind::Draw(place) => {
                order.swap(0, place);
                count
            }
        };
        let count = if self.preemptions_left == 0 { free } else { count };
        let mut search = self.search.borrow_mut();
        if self.at == search.path.len() {
            search.path.push((0, count as u32));
        }
        let choice = (search.path[self.at].0 as usize).min(count - 1);
        self.at += 1;
        if choice >= free {
            self.preemptions_left -= 1;
        }
        order[choice]
    }
}

/// A recorded decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decided {
    /// That coroutine ran next, or was let run first; or that number was drawn.
    For(u32),
    /// At a point: it went on. At the end of a turn: the one that was spawned first. Of a draw: the seed's.
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
    match question.kind {
        Kind::Point => return 0,
        Kind::Draw(place) => return place,
        Kind::Turn { .. } => {}
    }
    let last_if_yielded = |option: u32| (question.behind.contains(&option), option);
    let places = 0..question.options.len();
    places.min_by_key(|&place| last_if_yielded(question.options[place])).unwrap_or(0)
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
    use std::rc::Rc;

    const NONE: &BTreeSet<u32> = &BTreeSet::new();

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
                let question =
                    Question { options: &options, kind: Kind::Turn { yielded: None }, behind: NONE };
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
                run.decide(&Question { options: &[0, 1], kind: Kind::Point, behind: NONE });
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
        let question = Question { options: &[0, 1, 2], kind: Kind::Turn { yielded: None }, behind: NONE };
        let first = pct.decide(&question);
        assert!((0..20).all(|_| pct.decide(&question) == first));
        let yielded = Kind::Turn { yielded: Some(first as u32) };
        let after = pct.decide(&Question { kind: yielded, ..question });
        assert_ne!(after, first);
    }

    /// The second coroutine to fall may be above the first one.
    #[test]
    fn how_low_a_fall_goes_does_not_depend_on_its_time() {
        let mut seen = BTreeSet::new();
        for seed in 0..100 {
            let mut changes = Pct::new(seed, 4, 1000).changes;
            assert!(changes.is_sorted_by_key(|&(at, _)| std::cmp::Reverse(at)));
            assert!(changes.iter().all(|&(at, to)| at < 1000 && (1..4).contains(&to)));
            changes.iter_mut().for_each(|change| change.0 = 0);
            seen.insert(changes);
        }
        assert_eq!(seen.len(), 6, "not all orders of three");
    }

    /// With a preemption to spare, the search lets the one that has yielded go on before the others; last.
    #[test]
    fn a_search_lets_a_coroutine_that_has_yielded_go_on_last() {
        let orders = |preemptions| {
            let search = Rc::new(RefCell::new(Search::default()));
            let mut order = Vec::new();
            loop {
                let mut run = Exhaustive::new(Rc::clone(&search), preemptions);
                let kind = Kind::Turn { yielded: Some(5) };
                order.push(run.decide(&Question { options: &[4, 5, 6], kind, behind: &[5].into() }));
                if !search.borrow_mut().next() {
                    break order;
                }
            }
        };
        assert_eq!(orders(0), [0, 2]);
        assert_eq!(orders(1), [0, 2, 1]);
    }
}
