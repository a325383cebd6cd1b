//! Which workers sleep, which search for work, and which of them a push wakes. Pure.
//!
//! The problem: a push and the decision to sleep happen at the same time on different threads. No work may
//! wait for a worker that sleeps, and one push must not wake more than one worker.
//!
//! Terms: a *searcher* is a worker without work that tries to take shared work: work that any worker may
//! run. A *notifier* is a thread that ends another worker's sleep, after a push.
//!
//! The idle word counts the searchers and the sleepers of a runtime. Other workers are in no count: they
//! have work, or they spin, yield their processor, or may not search.
//!
//! ```text
//!  half     count        up by                                      down by
//!  high     searchers    `try_search`, a notification to search     `found`, `prepare_sleep`
//!  low      sleepers     `prepare_sleep`                            a notification, `finish_sleep`
//! ```
//!
//! The sleep state says of one worker whether it sleeps:
//!
//! ```text
//!  AWAKE --prepare_sleep--> ASLEEP --notify--> NOTIFYING --notify--> NOTIFIED or NOTIFIED_TO_SEARCH
//!    ^                        |                                                 |
//!    +------finish_sleep------+-----------------finish_sleep--------------------+
//!
//!  transition                by          cause
//!  AWAKE -> ASLEEP           the worker  it has nothing to run; it checks all queues once more after this
//!  ASLEEP -> AWAKE           the worker  a queue was not empty, or its own event or timer woke it; it takes
//!                                        itself out of the sleepers
//!  ASLEEP -> NOTIFYING       a notifier  it has pushed something; one notifier at most wins this
//!  NOTIFYING -> NOTIFIED...  the same    it has changed the idle word; next it writes the wake-up
//!  NOTIFIED... -> AWAKE      the worker  it is awake, and learns whether it is to search
//! ```
//!
//! - ASLEEP implies that the worker is counted among the sleepers: it is added before, and the party that
//!   moves the state from ASLEEP takes it out.
//! - In NOTIFYING, for a few instructions, the notifier takes the worker out of the sleepers, and adds it
//!   to the searchers if it is to search. A worker that wakes up meanwhile waits for that. If it went on,
//!   it could leave the searchers before it is counted as one. The number of searchers would wrap around
//!   below zero, and a push at that time would see searchers and notify no sleeper.
//!
//! Why nothing is missed: a push and `prepare_sleep` each write, fence, and then read what the other has
//! written. The fences are totally ordered, so the worker sees the push, or the pusher sees the worker
//! asleep. If a searcher is awake, a push notifies no worker: the last searcher checks all queues after it
//! has left the searchers (`found`). `README.md` beside this file has the whole argument, and the rejected
//! designs. The models below check it.

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

/// How many workers sleep, and how many search, in one word.
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

    /// Whether to notify a sleeper to search, after shared work was pushed. If a worker searches already, it
    /// finds the work, or notifies a sleeper after `found`. Several threads may get true at the same time.
    #[inline]
    pub(crate) fn wants_searcher(&self) -> bool {
        // Pairs with the fences in `add_sleeper` and `found`: either they see the push, or we see that they
        // do not search any more.
        fence(Ordering::SeqCst);
        let word = self.word.load(Ordering::Relaxed);
        searchers(word) == 0 && sleepers(word) > 0
    }

    /// Becomes a searcher, unless half of the workers search already. Notifications to search ignore this
    /// limit.
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

    /// A searcher has found work, or stops searching. True if it was the last searcher: then it must check
    /// for more shared work, and notify a sleeper to search if it finds some.
    pub(crate) fn found(&self) -> bool {
        let before = self.word.fetch_sub(SEARCHER, Ordering::SeqCst);
        // Pairs with the fence in `wants_searcher`.
        fence(Ordering::SeqCst);
        searchers(before) == 1
    }

    /// Announces that a worker is going to sleep. It checks every queue once more after this.
    fn add_sleeper(&self, was_searching: bool) {
        let change = if was_searching { SLEEPER.wrapping_sub(SEARCHER) } else { SLEEPER };
        self.word.fetch_add(change, Ordering::SeqCst);
        // Pairs with the fence in `wants_searcher`.
        fence(Ordering::SeqCst);
    }

    /// Takes a worker out of the sleepers. The worker itself calls this, or its notifier.
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

/// Whether one worker sleeps. The head of the file has the states.
#[derive(Debug)]
pub(crate) struct SleepState {
    state: AtomicUsize,
}

impl SleepState {
    /// The state of a worker that is awake.
    pub(crate) fn new() -> Self {
        SleepState { state: AtomicUsize::new(AWAKE) }
    }

    /// The worker announces that it will sleep. It checks its inbox and every other queue after this.
    pub(crate) fn prepare_sleep(&self, idle: &Idle, was_searching: bool) {
        idle.add_sleeper(was_searching);
        self.state.store(ASLEEP, Ordering::SeqCst);
        // Pairs with the fence in `notify`.
        fence(Ordering::SeqCst);
    }

    /// Notifies a worker, after something was pushed where it will check. Returns true if the worker slept
    /// and no other thread has notified it: then the caller writes the wake-up. With `to_search`, the
    /// worker counts as a searcher from now on.
    pub(crate) fn notify(&self, idle: &Idle, to_search: bool) -> bool {
        // Pairs with the fence in `prepare_sleep`: either the worker sees the push, or we see it asleep.
        fence(Ordering::SeqCst);
        if self.state.load(Ordering::Relaxed) != ASLEEP
            || self.state.compare_exchange(ASLEEP, NOTIFYING, Ordering::SeqCst, Ordering::Relaxed).is_err()
        {
            return false;
        }
        idle.remove_sleeper(to_search);
        let notified = if to_search { NOTIFIED_TO_SEARCH } else { NOTIFIED };
        self.state.store(notified, Ordering::SeqCst);
        true
    }

    /// The worker has woken up, or does not sleep after all. Returns whether it was notified to search.
    pub(crate) fn finish_sleep(&self, idle: &Idle) -> bool {
        if self.state.compare_exchange(ASLEEP, AWAKE, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
            idle.remove_sleeper(false);
            return false;
        }
        let mut turn = 0;
        loop {
            match self.state.load(Ordering::SeqCst) {
                NOTIFYING => spin(turn),
                notified => {
                    self.state.store(AWAKE, Ordering::SeqCst);
                    return notified == NOTIFIED_TO_SEARCH;
                }
            }
            turn += 1;
        }
    }

    /// Whether the worker sleeps and no thread has notified it. Acquires what the worker did before.
    pub(crate) fn asleep(&self) -> bool {
        self.state.load(Ordering::Acquire) == ASLEEP
    }
}

/// What tests see of the counts.
#[cfg(all(test, not(loom)))]
impl Idle {
    /// How many sleep, and how many search.
    pub(super) fn counts(&self) -> (usize, usize) {
        let word = self.word.load(Ordering::Relaxed);
        (sleepers(word), searchers(word))
    }
}

#[cfg(all(test, not(loom)))]
impl SleepState {
    /// Whether a notifier has counted the worker as a searcher, and the worker has not seen that yet.
    pub(super) fn will_search(&self) -> bool {
        self.state.load(Ordering::Relaxed) == NOTIFIED_TO_SEARCH
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_push_wakes_a_sleeper_only_if_no_worker_searches() {
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
    fn a_sleeper_is_notified_once() {
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

        /// Pushes shared work; whether that notified a worker.
        fn push(&self) -> bool {
            self.queue.store(1, Ordering::Relaxed);
            self.idle.wants_searcher()
                && self.sleep_states.iter().any(|sleep_state| sleep_state.notify(&self.idle, true))
        }

        fn queued(&self) -> bool {
            self.queue.load(Ordering::Relaxed) == 1
        }
    }

    /// One worker goes to sleep while another thread pushes shared work: the worker sees the work in its last
    /// check, or is notified.
    #[test]
    fn no_pushed_work_waits_while_the_worker_sleeps() {
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
                let notified = pusher.join().unwrap();
                assert!(seen || notified, "the work waits while the worker sleeps");
            });
        }
    }

    /// The last searcher finds one piece of work while another is pushed: it sees that one in its check, or
    /// the pusher notifies the sleeper.
    #[test]
    fn the_last_searcher_sees_new_work_or_a_sleeper_is_notified() {
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
    fn no_worker_sleeps_on_a_full_inbox() {
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
            let notified = pusher.join().unwrap();
            assert!(seen || notified);
            assert!(!world.sleep_states[0].finish_sleep(&world.idle));
        });
    }

    /// One worker sleeps. Another one goes to sleep and wakes up, while a thread notifies it for its inbox.
    /// A push of shared work finds the counts right all the same, and notifies one of the two.
    #[test]
    fn a_notification_amid_prepare_sleep_hides_no_sleeper() {
        loom::model(|| {
            let world = World::new();
            world.sleep_states[1].prepare_sleep(&world.idle, false);
            let notifier = {
                let world = world.clone();
                thread::spawn(move || world.sleep_states[0].notify(&world.idle, false))
            };
            let pusher = {
                let world = world.clone();
                thread::spawn(move || world.push())
            };
            world.sleep_states[0].prepare_sleep(&world.idle, false);
            let mut searchers = usize::from(world.sleep_states[0].finish_sleep(&world.idle));
            notifier.join().unwrap();
            assert!(pusher.join().unwrap(), "the sleeper is not notified");
            searchers += usize::from(world.sleep_states[1].finish_sleep(&world.idle));
            assert_eq!(searchers, 1);
            assert_eq!(world.idle.word.load(Ordering::Relaxed), SEARCHER);
        });
    }

    /// A worker is notified to search, wakes up by itself at the same time, finds something and stops
    /// searching. A further push then notifies the other worker.
    #[test]
    fn a_worker_notified_to_search_counts_once_it_is_awake() {
        loom::model(|| {
            let world = World::new();
            world.sleep_states[0].prepare_sleep(&world.idle, false);
            world.sleep_states[1].prepare_sleep(&world.idle, false);
            let notifier = {
                let world = world.clone();
                thread::spawn(move || world.sleep_states[0].notify(&world.idle, true))
            };
            if world.sleep_states[0].finish_sleep(&world.idle) {
                assert!(world.idle.found(), "it was counted");
            }
            assert!(world.push(), "the other one is not notified");
            notifier.join().unwrap();
        });
    }
}
