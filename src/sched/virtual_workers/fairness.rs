//! Random programs: every wait for a turn is as short as `README.md` says, with any number of workers.

use super::{Mode, Seeded, VirtualRuntime, WORKERS};
use crate::sched::shared::{Remote, Shared};
use crate::sched::worker_index;
// Of higher ranks, which only tests may use.
#[cfg(test)]
use crate::{spawn, task, yield_now};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

/// Turns in a row in which a coroutine that was just woken may go first.
const LIFO_RUN: usize = 16;
/// After this number of turns the oldest child of a first turn starts (`OLDEST_TURN`).
const OLDEST_TURN: usize = 61;
/// A tick of the netpoller thread comes after this many turns of each worker.
const TICK: usize = 256;
/// Of this many rounds in a row, one at least serves coroutines that have yielded (`MAX_PUT_OFF`).
const YIELDED_ROUNDS: usize = 4;

/// How many steps each of the two that yield makes in a greedy program, and how long its chain is.
const GREEDY: usize = 400;

/// How a coroutine came to be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Woken,
    Yielded,
    Spawned,
    ChildOfFirstTurn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Parked,
    Ended,
    Queued {
        how: How,
        /// How many turns its worker had begun by then.
        turns: usize,
        /// The same with those of `lifo`.
        with_lifo: usize,
        round: usize,
        /// The most coroutines that its worker had to run since then; of an unstarted one, that any worker
        /// had.
        most: usize,
        /// The same of all workers together.
        most_of_all: usize,
    },
}

struct Member {
    task: Option<task::Task>,
    state: State,
    /// Where it has started.
    worker: Option<usize>,
    first_turn: bool,
    /// Whether the next park returns at once.
    token: bool,
    /// How many steps it has yet to make.
    left: usize,
}

enum Step {
    Yield,
    Park,
    Unpark(usize),
    Spawn,
    End,
}

/// What the test knows about a program.
struct World {
    shared: Arc<Shared>,
    random: Seeded,
    mode: Mode,
    /// Whether coroutines wake one another.
    wakes: bool,
    /// In place of a random program: a pair that wake one another again and again, two that yield, and a
    /// chain of coroutines each of which spawns the next one.
    greedy: bool,
    /// Whether all workers are equally fast, so that a round is a unit of time.
    even: bool,
    members: Vec<Member>,
    most_members: usize,
    /// The turns that each worker has begun, without those of `lifo`.
    turns: Vec<usize>,
    /// The coroutine that the running one has just woken on each worker, and how many such have run in a row.
    lifo: Vec<Option<usize>>,
    lifo_run: Vec<usize>,
    with_lifo: Vec<usize>,
    /// How many started coroutines each worker has to run.
    queued: Vec<usize>,
    queued_at_all: usize,
    round: usize,
    broken: Option<String>,
    /// The longest wait of each kind, in percent of its bound.
    longest: [usize; 4],
}

type Known = Arc<Mutex<World>>;

/// The lock is never held over a wait, and all is on one thread.
fn known(world: &Known) -> MutexGuard<'_, World> {
    world.lock().expect("no panic")
}

impl World {
    fn queue(&mut self, index: usize, how: How) {
        self.queued_at_all += 1;
        let worker = self.members[index].worker;
        if let Some(worker) = worker {
            self.queued[worker] += 1;
        }
        let turns = worker.map_or(0, |worker| self.turns[worker]);
        let with_lifo = worker.map_or(0, |worker| self.with_lifo[worker]);
        self.members[index].state = State::Queued {
            how,
            turns,
            with_lifo,
            round: self.round,
            most: 0,
            most_of_all: self.queued_at_all,
        };
    }

    /// Notes what each worker has to run, after a step.
    fn note(&mut self, round: usize) {
        self.round = round;
        let remotes = self.shared.active_remotes();
        let of_worker = |(index, remote): (usize, &Remote)| {
            self.queued[index] + remote.count_stealable() + remote.assigned.len()
        };
        let all: Vec<_> = remotes.iter().enumerate().map(of_worker).collect();
        let share = self.shared.count_injected().div_ceil(remotes.len());
        for member in &mut self.members {
            if let State::Queued { most, most_of_all, .. } = &mut member.state {
                *most_of_all = self.queued_at_all.max(*most_of_all);
                let here = member.worker.map_or(all.iter().max().copied(), |worker| Some(all[worker]));
                *most = (here.unwrap_or(0) + share).max(*most);
            }
        }
    }

    /// A turn begins. Checks how long the coroutine has waited for it.
    fn begin(&mut self, index: usize) {
        let here = worker_index().expect("a coroutine runs on a worker");
        let member = &mut self.members[index];
        let State::Queued { how, turns, with_lifo, round: queued_in, most, most_of_all } = member.state
        else {
            panic!("{index} runs, and was not queued: {:?}", member.state);
        };
        let started = member.worker;
        member.state = State::Running;
        member.worker = Some(here);
        self.queued_at_all -= 1;
        if let Some(worker) = started {
            self.queued[worker] -= 1;
            if self.mode == Mode::Pinned && worker != here {
                self.broken = Some(format!("{index} has moved from worker {worker} to {here}"));
            }
        }
        let waited = if started == Some(here) { self.turns[here] - turns } else { 0 };
        let waited_with_lifo = if started == Some(here) { self.with_lifo[here] - with_lifo } else { 0 };
        self.with_lifo[here] += 1;
        if self.with_lifo.iter().sum::<usize>().is_multiple_of(TICK * self.turns.len()) {
            self.shared.ticks.fetch_add(1, Ordering::Relaxed);
        }
        if self.goes_first(here, index) {
            return;
        }
        self.turns[here] += 1;
        // What was queued in the step before this one is seen only now.
        let (round, of_all) = (most + 2, most_of_all + 2);
        let each = if self.wakes { 1 + LIFO_RUN } else { 1 };
        let (waited, bound) = match (self.mode, how) {
            // In turns of the worker on which it lives: two rounds.
            (Mode::Pinned, How::Woken) => (waited, 2 * round),
            // The round in which it was queued, up to three that put it off, and one that serves it. Two
            // ticks may come in that time, and end such a round.
            (Mode::Pinned, How::Yielded) => (waited, (1 + 3 * YIELDED_ROUNDS) * round),
            // In rounds of all workers, since any of them may start it: the same number of turns. An item
            // that is given to another worker takes a step in place of a turn.
            (Mode::Pinned, How::Spawned) => (self.round - queued_in, 2 * 2 * each * round),
            (_, How::Woken | How::Spawned) => (self.round - queued_in, 2 * 2 * each * of_all),
            (_, How::Yielded) => (self.round - queued_in, 2 * (1 + 3 * YIELDED_ROUNDS) * each * of_all),
            (_, How::ChildOfFirstTurn) => (self.round - queued_in, 2 * OLDEST_TURN * round),
        };
        let in_turns = self.mode == Mode::Pinned && matches!(how, How::Woken | How::Yielded);
        if in_turns || self.even {
            let longest = &mut self.longest[how as usize];
            *longest = (100 * waited / bound).max(*longest);
            if waited > bound || in_turns && waited_with_lifo > (1 + LIFO_RUN) * bound {
                self.broken = Some(format!(
                    "{how:?} {index} has waited for {waited} ({waited_with_lifo} with those of lifo), bound {bound}; {most} on \
                     its worker, of {most_of_all}"
                ));
            }
        }
    }

    /// Whether this turn is one of `lifo`. After sixteen in a row, the next one has to wait as others do.
    fn goes_first(&mut self, here: usize, index: usize) -> bool {
        let (lifo, run) = (&mut self.lifo[here], &mut self.lifo_run[here]);
        if *run >= LIFO_RUN || lifo.is_none() {
            (*lifo, *run) = (None, 0);
            return false;
        }
        // Only the oldest child of a first turn may go before it.
        let first = *lifo == Some(index);
        if first {
            *lifo = None;
            *run += 1;
        }
        first
    }

    fn choose(&mut self, index: usize) -> Step {
        if self.members[index].left == 0 {
            return Step::End;
        }
        self.members[index].left -= 1;
        if self.greedy {
            return match index {
                0 | 1 if self.members[index].left.is_multiple_of(2) => Step::Park,
                0 | 1 => Step::Unpark(1 - index),
                2 | 3 => Step::Yield,
                _ if self.members.len() < self.most_members => Step::Spawn,
                _ => Step::End,
            };
        }
        match self.random.below(if self.wakes { 12 } else { 5 }) {
            0..3 => Step::Yield,
            3..5 if self.members.len() < self.most_members => Step::Spawn,
            3..5 => Step::Yield,
            5..8 => Step::Park,
            _ => Step::Unpark(self.random.below(self.members.len())),
        }
    }

    /// A new member, which is about to be spawned.
    fn add(&mut self, how: How) -> usize {
        let left = match (self.greedy, self.members.len()) {
            (true, 0 | 1) => 20 * GREEDY,
            (true, 2 | 3) => GREEDY,
            (true, _) => 1,
            (false, _) => 1 + self.random.below(12),
        };
        let state = State::Ended;
        let (task, worker) = (None, None);
        self.members.push(Member { task, state, worker, first_turn: true, token: false, left });
        self.queue(self.members.len() - 1, how);
        self.members.len() - 1
    }

    fn is_over(&self) -> bool {
        self.members.iter().all(|member| member.state == State::Ended)
    }
}

/// What each coroutine of a program does.
fn live(world: &Known, index: usize) {
    known(world).begin(index);
    loop {
        let step = known(world).choose(index);
        match step {
            Step::Yield => {
                let mut now = known(world);
                now.members[index].first_turn = false;
                now.queue(index, How::Yielded);
                drop(now);
                yield_now();
                known(world).begin(index);
            }
            Step::Park => {
                let mut now = known(world);
                if std::mem::take(&mut now.members[index].token) {
                    drop(now);
                    task::park();
                    continue;
                }
                now.members[index].first_turn = false;
                now.members[index].state = State::Parked;
                drop(now);
                task::park();
                known(world).begin(index);
            }
            Step::Unpark(other) => unpark(world, other),
            Step::Spawn => {
                let first = known(world).members[index].first_turn;
                let child = known(world).add(if first { How::ChildOfFirstTurn } else { How::Spawned });
                let own = Arc::clone(world);
                let handle = spawn(move || live(&own, child));
                known(world).members[child].task = Some(handle.task().clone());
            }
            Step::End => break known(world).members[index].state = State::Ended,
        }
    }
}

fn unpark(world: &Known, index: usize) {
    let mut now = known(world);
    match now.members[index].state {
        State::Ended => return,
        State::Parked => {
            now.queue(index, How::Woken);
            if now.mode == Mode::Pinned
                && worker_index().is_some()
                && now.members[index].worker == worker_index()
            {
                let here = worker_index().expect("on a worker");
                now.lifo[here] = Some(index);
            }
        }
        // A second token before it runs is the same token.
        State::Queued { how: How::Woken, .. } => {}
        State::Running | State::Queued { .. } => now.members[index].token = true,
    }
    let task = now.members[index].task.clone();
    drop(now);
    task.expect("known since it was spawned").unpark();
}

/// Runs a program to its end. The longest waits, in percent of their bounds.
fn run(workers: usize, mode: Mode, (wakes, even, greedy): (bool, bool, bool), seed: u64) -> [usize; 4] {
    let runtime = VirtualRuntime::new(workers, mode, seed);
    let runtime = if even { runtime } else { runtime.with_slow_workers() };
    let world = Arc::new(Mutex::new(World {
        shared: Arc::clone(&runtime.shared),
        random: Seeded::new(!seed),
        mode,
        wakes,
        greedy,
        even,
        members: Vec::new(),
        most_members: if greedy { GREEDY } else { 30 + 4 * workers },
        turns: vec![0; workers],
        queued: vec![0; workers],
        queued_at_all: 0,
        round: 0,
        broken: None,
        longest: [0; 4],
        lifo: vec![None; workers],
        lifo_run: vec![0; workers],
        with_lifo: vec![0; workers],
    }));
    let roots = if greedy { 5 } else { 1 + runtime.random.below(2 * workers) };
    for _ in 0..roots {
        let (own, root) = (Arc::clone(&world), known(&world).add(How::Spawned));
        let handle = runtime.spawn(move || live(&own, root));
        known(&world).members[root].task = Some(handle.task().clone());
    }
    let mut rounds = 0;
    loop {
        let went_on = runtime.round(|| known(&world).note(rounds));
        rounds += 1;
        let mut now = known(&world);
        now.round = rounds;
        if let Some(broken) = now.broken.take() {
            panic!("{}, wakes {wakes}, even {even}: {broken}", runtime.name);
        }
        if now.is_over() {
            break;
        }
        let parked = |member: &Member| member.state == State::Parked;
        let parked: Vec<_> = (0..now.members.len()).filter(|index| parked(&now.members[*index])).collect();
        assert!(went_on || !parked.is_empty(), "{}: queued coroutines wait for ever", runtime.name);
        assert!(rounds < 1_000_000, "{}: no end", runtime.name);
        drop(now);
        // A plain thread wakes some.
        if !parked.is_empty() && (!went_on || runtime.random.below(4) == 0) {
            unpark(&world, parked[runtime.random.below(parked.len())]);
        }
    }
    let longest = known(&world).longest;
    runtime.end();
    longest
}

/// So many programs on one worker, and fewer on more of them; or as many as `SWARD_PROGRAMS` says.
fn check(mode: impl Fn(usize) -> Mode, programs: usize) {
    let programs = std::env::var("SWARD_PROGRAMS").map_or(programs, |n| n.parse().expect("a number"));
    for workers in WORKERS {
        for (wakes, even) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut longest = [0; 4];
            for seed in 0..programs.div_ceil(workers) {
                let ran = run(workers, mode(workers), (wakes, even, false), seed as u64);
                longest = std::array::from_fn(|how| longest[how].max(ran[how]));
            }
            println!(
                "{workers} workers, {:?}, wakes {wakes}, even {even}: woken {}, yielded {}, spawned {}, children {}",
                mode(workers),
                longest[0],
                longest[1],
                longest[2],
                longest[3]
            );
        }
    }
}

#[test]
fn every_wait_for_a_turn_is_bounded_with_any_number_of_workers() {
    check(|_| Mode::Pinned, 100);
}

/// Neither a pair that wake one another nor a chain of spawns starve the others.
#[test]
fn greedy_coroutines_starve_nobody() {
    for workers in WORKERS {
        for seed in 0..5 {
            run(workers, Mode::Pinned, (true, true, true), seed);
        }
    }
}

/// As `every_wait_for_a_turn_is_bounded_with_any_number_of_workers`.
#[test]
fn the_same_if_started_coroutines_migrate() {
    check(|_| Mode::Migrating, 50);
}

#[test]
fn the_same_in_mobile_homes() {
    if crate::storage::supported().is_ok() {
        check(|workers| Mode::Homes(2 * workers), 20);
    }
}
