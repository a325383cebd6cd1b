//! Who searches, who sleeps, and whom new work wakes. The protocol and its argument are in
//! `README.md` beside this file. Pure.

use crate::base::sync::{AtomicUsize, Ordering, fence};

const HALF: u32 = usize::BITS / 2;
const SLEEPER: usize = 1;
const SEARCHER: usize = 1 << HALF;

fn sleepers(word: usize) -> usize {
    word & (SEARCHER - 1)
}

fn searchers(word: usize) -> usize {
    word >> HALF
}

/// How many workers sleep, and how many are awake looking for work, in one word.
#[derive(Debug)]
pub(crate) struct Idle {
    word: AtomicUsize,
    workers: usize,
}

impl Idle {
    /// The state of that many workers, all awake.
    pub(crate) fn new(workers: usize) -> Self {
        Idle { word: AtomicUsize::new(0), workers }
    }

    /// After work that any worker may take was pushed: whether to wake a sleeper to search for it.
    /// Somebody who searches already will find it.
    #[inline]
    pub(crate) fn wants_searcher(&self) -> bool {
        // Pairs with the fences in `lie_down` and `found`: either they see the push, or we see that
        // they search no more.
        fence(Ordering::SeqCst);
        let word = self.word.load(Ordering::Relaxed);
        searchers(word) == 0 && sleepers(word) > 0
    }

    /// Becomes a searcher, unless half of the workers search already.
    pub(crate) fn try_search(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while 2 * searchers(word) < self.workers {
            match self.word.compare_exchange_weak(word, word + SEARCHER, Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// A searcher has found work; true if it was the last one, and so has to look whether there is
    /// more and to wake the next.
    pub(crate) fn found(&self) -> bool {
        let before = self.word.fetch_sub(SEARCHER, Ordering::SeqCst);
        // Pairs with the fence in `wants_searcher`.
        fence(Ordering::SeqCst);
        searchers(before) == 1
    }

    /// Announces that the worker sleeps from now on. It looks at every queue once more before it
    /// does.
    pub(crate) fn lie_down(&self, was_searching: bool) {
        let change = if was_searching { SLEEPER.wrapping_sub(SEARCHER) } else { SLEEPER };
        self.word.fetch_add(change, Ordering::SeqCst);
        // Pairs with the fence in `wants_searcher`.
        fence(Ordering::SeqCst);
    }

    /// Takes the announcement back: by the worker itself, or by whoever calls it out of its bed.
    pub(crate) fn get_up(&self, to_search: bool) {
        let change = if to_search { SEARCHER.wrapping_sub(SLEEPER) } else { 0usize.wrapping_sub(SLEEPER) };
        self.word.fetch_add(change, Ordering::SeqCst);
    }
}

const AWAKE: usize = 0;
const ASLEEP: usize = 1;
const CALLED: usize = 2;
const CALLED_TO_SEARCH: usize = 3;

/// How a worker got up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rise {
    /// By itself: the announcement is its own to take back.
    Alone,
    /// Called for its inbox; the caller took the announcement back.
    Called,
    /// Called to search; the caller took the announcement back and counted it as a searcher.
    CalledToSearch,
}

/// Whether one worker sleeps, so that at most one caller wakes it.
///
/// ```text
///  AWAKE --lie_down--> ASLEEP --call--> CALLED or CALLED_TO_SEARCH
///    ^                    |                      |
///    +------rise----------+----------rise--------+
/// ```
#[derive(Debug)]
pub(crate) struct Bed {
    state: AtomicUsize,
}

impl Bed {
    /// The bed of a worker that is awake.
    pub(crate) fn new() -> Self {
        Bed { state: AtomicUsize::new(AWAKE) }
    }

    /// The worker announces that it will sleep; it looks at its inbox after this.
    pub(crate) fn lie_down(&self) {
        self.state.store(ASLEEP, Ordering::SeqCst);
        // Pairs with the fence in `call`.
        fence(Ordering::SeqCst);
    }

    /// Calls a sleeping worker, after something was put where it will look. True if the caller is the
    /// one to end its sleep.
    pub(crate) fn call(&self, to_search: bool) -> bool {
        // Pairs with the fence in `lie_down`: either the worker sees what was put, or we see it asleep.
        fence(Ordering::SeqCst);
        let called = if to_search { CALLED_TO_SEARCH } else { CALLED };
        self.state.load(Ordering::Relaxed) == ASLEEP
            && self.state.compare_exchange(ASLEEP, called, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// The worker is up.
    pub(crate) fn rise(&self) -> Rise {
        match self.state.swap(AWAKE, Ordering::SeqCst) {
            CALLED => Rise::Called,
            CALLED_TO_SEARCH => Rise::CalledToSearch,
            _ => Rise::Alone,
        }
    }

    /// Whether the worker sleeps and nobody has called it.
    pub(crate) fn asleep(&self) -> bool {
        self.state.load(Ordering::SeqCst) == ASLEEP
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_push_wakes_a_sleeper_only_if_nobody_searches() {
        let idle = Idle::new(4);
        assert!(!idle.wants_searcher());
        idle.lie_down(false);
        assert!(idle.wants_searcher());
        assert!(idle.try_search());
        assert!(!idle.wants_searcher());
        assert!(idle.found());
        assert!(idle.wants_searcher());
    }

    #[test]
    fn at_most_half_search() {
        let idle = Idle::new(4);
        assert!(idle.try_search() && idle.try_search());
        assert!(!idle.try_search());
        assert!(!idle.found());
        assert!(idle.found());
    }

    #[test]
    fn a_bed_is_called_once() {
        let bed = Bed::new();
        assert!(!bed.call(false));
        bed.lie_down();
        assert!(bed.asleep());
        assert!(bed.call(true));
        assert!(!bed.call(false));
        assert_eq!(bed.rise(), Rise::CalledToSearch);
        bed.lie_down();
        assert_eq!(bed.rise(), Rise::Alone);
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    struct World {
        idle: Idle,
        bed: Bed,
        queue: AtomicUsize,
    }

    /// One worker goes to sleep while another thread pushes work that any may take: the work is seen
    /// by the last look, or the sleeper is called.
    #[test]
    fn pushed_work_is_not_slept_over() {
        for searching in [false, true] {
            loom::model(move || {
                let world =
                    Arc::new(World { idle: Idle::new(2), bed: Bed::new(), queue: AtomicUsize::new(0) });
                if searching {
                    assert!(world.idle.try_search());
                }
                let pusher = {
                    let world = world.clone();
                    thread::spawn(move || {
                        world.queue.store(1, Ordering::Relaxed);
                        if world.idle.wants_searcher() && world.bed.call(true) {
                            world.idle.get_up(true);
                            return true;
                        }
                        false
                    })
                };
                world.bed.lie_down();
                world.idle.lie_down(searching);
                let seen = world.queue.load(Ordering::Relaxed) == 1;
                let called = pusher.join().unwrap();
                assert!(seen || called, "the work is slept over");
            });
        }
    }

    /// The last searcher finds one piece of work while another is pushed: it sees that one when it
    /// looks again, or the pusher wakes the sleeper.
    #[test]
    fn the_last_searcher_hands_on() {
        loom::model(|| {
            let world = Arc::new(World { idle: Idle::new(2), bed: Bed::new(), queue: AtomicUsize::new(0) });
            assert!(world.idle.try_search());
            world.idle.lie_down(false);
            let pusher = {
                let world = world.clone();
                thread::spawn(move || {
                    world.queue.store(1, Ordering::Relaxed);
                    world.idle.wants_searcher()
                })
            };
            let last = world.idle.found();
            assert!(last);
            let seen = world.queue.load(Ordering::Relaxed) == 1;
            assert!(seen || pusher.join().unwrap());
        });
    }

    /// A worker goes to sleep while another thread pushes to its inbox.
    #[test]
    fn an_inbox_is_not_slept_over() {
        loom::model(|| {
            let world = Arc::new(World { idle: Idle::new(2), bed: Bed::new(), queue: AtomicUsize::new(0) });
            let pusher = {
                let world = world.clone();
                thread::spawn(move || {
                    world.queue.store(1, Ordering::Relaxed);
                    world.bed.call(false)
                })
            };
            world.bed.lie_down();
            let seen = world.queue.load(Ordering::Relaxed) == 1;
            let called = pusher.join().unwrap();
            assert!(seen || called);
            assert_eq!(world.bed.rise() == Rise::Called, called);
        });
    }
}
