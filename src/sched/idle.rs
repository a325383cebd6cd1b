//! Who searches, who sleeps, and whom new work wakes. The protocol and its argument are in
//! `README.md` beside this file. Pure.

use crate::base::sync::{AtomicUsize, Ordering, fence, spin};

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
        // Pairs with the fences in `add_sleeper` and `found`: either they see the push, or we see that
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

    /// Announces that a worker sleeps from now on. It looks at every queue once more before it
    /// does.
    fn add_sleeper(&self, was_searching: bool) {
        let change = if was_searching { SLEEPER.wrapping_sub(SEARCHER) } else { SLEEPER };
        self.word.fetch_add(change, Ordering::SeqCst);
        // Pairs with the fence in `wants_searcher`.
        fence(Ordering::SeqCst);
    }

    /// Takes the announcement back: by the worker itself, or by whoever calls it out of its sleep_state.
    fn remove_sleeper(&self, to_search: bool) {
        let change = if to_search { SEARCHER.wrapping_sub(SLEEPER) } else { 0usize.wrapping_sub(SLEEPER) };
        self.word.fetch_add(change, Ordering::SeqCst);
    }
}

const AWAKE: usize = 0;
const ASLEEP: usize = 1;
const NOTIFYING: usize = 2;
const NOTIFIED: usize = 3;
const NOTIFIED_TO_SEARCH: usize = 4;

/// Whether one worker sleeps, so that at most one caller wakes it.
///
/// ```text
///  AWAKE --prepare_sleep--> ASLEEP --notify--> NOTIFYING --notify--> NOTIFIED or NOTIFIED_TO_SEARCH
///    ^                    |                                        |
///    +------finish_sleep----------+-------------------finish_sleep-----------------+
/// ```
///
/// - ASLEEP implies that the worker is counted among the sleepers: it is so before it lies down.
/// - In NOTIFYING, for a few instructions, the caller takes the worker out of that count. A worker that
///   gets up meanwhile waits for it: it would otherwise count on with what has not been counted yet.
#[derive(Debug)]
pub(crate) struct SleepState {
    state: AtomicUsize,
}

impl SleepState {
    /// The bed of a worker that is awake.
    pub(crate) fn new() -> Self {
        SleepState { state: AtomicUsize::new(AWAKE) }
    }

    /// The worker announces that it will sleep; it looks at its inbox and every other queue after this.
    pub(crate) fn prepare_sleep(&self, idle: &Idle, was_searching: bool) {
        idle.add_sleeper(was_searching);
        self.state.store(ASLEEP, Ordering::SeqCst);
        // Pairs with the fence in `notify`.
        fence(Ordering::SeqCst);
    }

    /// Calls a sleeping worker, after something was put where it will look. True if the caller is the
    /// one to end its sleep; to search, it is counted as a searcher from now on.
    pub(crate) fn notify(&self, idle: &Idle, to_search: bool) -> bool {
        // Pairs with the fence in `prepare_sleep`: either the worker sees what was put, or we see it asleep.
        fence(Ordering::SeqCst);
        if self.state.load(Ordering::Relaxed) != ASLEEP
            || self.state.compare_exchange(ASLEEP, NOTIFYING, Ordering::SeqCst, Ordering::Relaxed).is_err()
        {
            return false;
        }
        idle.remove_sleeper(to_search);
        let called = if to_search { NOTIFIED_TO_SEARCH } else { NOTIFIED };
        self.state.store(called, Ordering::SeqCst);
        true
    }

    /// The worker is up; whether it was called to search.
    pub(crate) fn finish_sleep(&self, idle: &Idle) -> bool {
        if self.state.compare_exchange(ASLEEP, AWAKE, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
            idle.remove_sleeper(false);
            return false;
        }
        let mut turn = 0;
        loop {
            match self.state.load(Ordering::SeqCst) {
                NOTIFYING => spin(turn),
                called => {
                    self.state.store(AWAKE, Ordering::SeqCst);
                    return called == NOTIFIED_TO_SEARCH;
                }
            }
            turn += 1;
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
        idle.add_sleeper(false);
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
        let (idle, sleep_state) = (Idle::new(1), SleepState::new());
        assert!(!sleep_state.notify(&idle, false));
        sleep_state.prepare_sleep(&idle, false);
        assert!(sleep_state.asleep());
        assert!(sleep_state.notify(&idle, true));
        assert!(!sleep_state.notify(&idle, false));
        assert!(sleep_state.finish_sleep(&idle));
        assert!(idle.found());
        sleep_state.prepare_sleep(&idle, false);
        assert!(!sleep_state.finish_sleep(&idle));
        assert_eq!(idle.word.load(Ordering::Relaxed), 0);
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    struct World {
        idle: Idle,
        sleep_states: [SleepState; 2],
        queue: AtomicUsize,
        inbox: AtomicUsize,
    }

    impl World {
        fn new() -> Arc<World> {
            Arc::new(World {
                idle: Idle::new(4),
                sleep_states: [SleepState::new(), SleepState::new()],
                queue: AtomicUsize::new(0),
                inbox: AtomicUsize::new(0),
            })
        }

        /// Pushes work that any worker may take; whether that called one.
        fn push(&self) -> bool {
            self.queue.store(1, Ordering::Relaxed);
            self.idle.wants_searcher()
                && self.sleep_states.iter().any(|sleep_state| sleep_state.notify(&self.idle, true))
        }

        fn queued(&self) -> bool {
            self.queue.load(Ordering::Relaxed) == 1
        }
    }

    /// One worker goes to sleep while another thread pushes work that any may take: the work is seen
    /// by the last look, or the sleeper is called.
    #[test]
    fn pushed_work_is_not_slept_over() {
        for searching in [false, true] {
            loom::model(move || {
                let world = World::new();
                if searching {
                    assert!(world.idle.try_search());
                }
                let pusher = {
                    let world = world.clone();
                    thread::spawn(move || world.push())
                };
                world.sleep_states[0].prepare_sleep(&world.idle, searching);
                let seen = world.queued();
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
            let world = World::new();
            assert!(world.idle.try_search());
            world.sleep_states[0].prepare_sleep(&world.idle, false);
            let pusher = {
                let world = world.clone();
                thread::spawn(move || world.push())
            };
            let last = world.idle.found();
            assert!(last);
            let seen = world.queued();
            assert!(seen || pusher.join().unwrap());
        });
    }

    /// A worker goes to sleep while another thread pushes to its inbox.
    #[test]
    fn an_inbox_is_not_slept_over() {
        loom::model(|| {
            let world = World::new();
            let pusher = {
                let world = world.clone();
                thread::spawn(move || {
                    world.inbox.store(1, Ordering::Relaxed);
                    world.sleep_states[0].notify(&world.idle, false)
                })
            };
            world.sleep_states[0].prepare_sleep(&world.idle, false);
            let seen = world.inbox.load(Ordering::Relaxed) == 1;
            let called = pusher.join().unwrap();
            assert!(seen || called);
            assert!(!world.sleep_states[0].finish_sleep(&world.idle));
        });
    }

    /// One worker sleeps. Another lies down and gets up, and is called for its inbox meanwhile. A push of
    /// shared work finds the counts right all the same, and calls one of the two.
    #[test]
    fn a_call_amid_lying_down_hides_no_sleeper() {
        loom::model(|| {
            let world = World::new();
            world.sleep_states[1].prepare_sleep(&world.idle, false);
            let caller = {
                let world = world.clone();
                thread::spawn(move || world.sleep_states[0].notify(&world.idle, false))
            };
            let pusher = {
                let world = world.clone();
                thread::spawn(move || world.push())
            };
            world.sleep_states[0].prepare_sleep(&world.idle, false);
            let mut searchers = usize::from(world.sleep_states[0].finish_sleep(&world.idle));
            caller.join().unwrap();
            assert!(pusher.join().unwrap(), "the sleeper is not called");
            searchers += usize::from(world.sleep_states[1].finish_sleep(&world.idle));
            assert_eq!(searchers, 1);
            assert_eq!(world.idle.word.load(Ordering::Relaxed), SEARCHER);
        });
    }

    /// A worker is called to search, gets up by itself at the same time, finds something and is searcher
    /// no more. Further work that is pushed then calls the next, or is seen.
    #[test]
    fn who_is_called_to_search_is_counted_when_it_is_up() {
        loom::model(|| {
            let world = World::new();
            world.sleep_states[0].prepare_sleep(&world.idle, false);
            world.sleep_states[1].prepare_sleep(&world.idle, false);
            let caller = {
                let world = world.clone();
                thread::spawn(move || world.sleep_states[0].notify(&world.idle, true))
            };
            if world.sleep_states[0].finish_sleep(&world.idle) {
                assert!(world.idle.found(), "it was counted");
            }
            assert!(world.push(), "the other one is not called");
            caller.join().unwrap();
        });
    }
}
