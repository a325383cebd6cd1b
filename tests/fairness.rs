//! No coroutine starves: the bounds of `src/sched/run_queues.rs`, in turns; and how long-lived coroutines
//! spread over the workers.

mod checked;
mod common;

use common::{SetOnDrop, homes_by_default, without_spare_workers as with_workers};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sward::runtime::{Builder, Homes};
use sward::task::Task;
use sward::{spawn, yield_now};

/// Turns in a row in which a coroutine that was just woken may go first (`LIFO_RUN`), and the turn before
/// them.
const WITH_LIFO: u64 = 17;
/// After this number of turns the oldest child of a first turn starts.
const OLDEST_TURN: u64 = 61;

#[test]
fn yield_now_returns_after_everything_runnable_has_had_a_turn() {
    with_workers(1).run(|| {
        for _ in 0..3 {
            // In the first round these are the children of a first turn, later those of an old coroutine.
            let ran = Arc::new(AtomicUsize::new(0));
            for _ in 0..100 {
                let ran = Arc::clone(&ran);
                spawn(move || ran.fetch_add(1, Ordering::Relaxed));
            }
            yield_now();
            assert_eq!(ran.load(Ordering::Relaxed), 100);
        }
    });
}

#[test]
fn coroutines_start_beside_yielding_ones() {
    with_workers(1).run(|| {
        const PER_TURN: u64 = 8;
        let (turns, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let yielders: Vec<_> = (0..2)
            .map(|_| {
                let (turns, stop) = (Arc::clone(&turns), Arc::clone(&stop));
                spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        turns.fetch_add(1, Ordering::Relaxed);
                        yield_now();
                    }
                })
            })
            .collect();
        let longest = Arc::new(AtomicU64::new(0));
        for _ in 0..200 {
            for _ in 0..PER_TURN {
                let (turns, longest) = (Arc::clone(&turns), Arc::clone(&longest));
                let spawned = turns.load(Ordering::Relaxed);
                spawn(move || {
                    let now = turns.fetch_add(1, Ordering::Relaxed);
                    longest.fetch_max(now - spawned, Ordering::Relaxed);
                });
            }
            turns.fetch_add(1, Ordering::Relaxed);
            yield_now();
        }
        stop.store(true, Ordering::Relaxed);
        yielders.into_iter().for_each(|yielder| yielder.join().expect("no panic"));
        let longest = longest.load(Ordering::Relaxed);
        assert!(longest <= 2 * (PER_TURN + 3), "one has waited for {longest} turns");
    });
}

/// Spawns coroutines that compute for some time and yield. Returns the number of their turns, and the flag
/// that stops them.
fn yielding_hogs(count: u64, turn: Duration) -> (Arc<AtomicU64>, Arc<AtomicBool>) {
    let (turns, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    for _ in 0..count {
        let (turns, stop) = (Arc::clone(&turns), Arc::clone(&stop));
        let hog = move || {
            while !stop.load(Ordering::Relaxed) {
                turns.fetch_add(1, Ordering::Relaxed);
                let start = Instant::now();
                while start.elapsed() < turn {
                    std::hint::spin_loop();
                }
                yield_now();
            }
        };
        // Siblings of such a coroutine wait for its turns.
        drop(sward::task::Builder::new().isolated(true).spawn(hog).expect("spawned"));
    }
    (turns, stop)
}

/// Long enough for a tick of the netpoller thread.
const LONG_TURN: Duration = Duration::from_millis(5);

/// What plain threads spawn starts beside coroutines that yield, also if there is a tick after each turn.
#[test]
fn coroutines_from_plain_threads_start_beside_long_yielding_ones() {
    const HOGS: u64 = 10;
    for turn in [Duration::from_micros(1_500), LONG_TURN] {
        let runtime = with_workers(1);
        let (turns, stop) = runtime.run(|| yielding_hogs(HOGS, turn));
        while turns.load(Ordering::Relaxed) < HOGS {
            std::thread::sleep(turn);
        }
        let mut waited = Vec::new();
        for _ in 0..20 {
            let before = turns.load(Ordering::Relaxed);
            let now = Arc::clone(&turns);
            let started = runtime.spawn(move || now.load(Ordering::Relaxed));
            waited.push(started.join().expect("no panic") - before);
        }
        stop.store(true, Ordering::Relaxed);
        waited.sort_unstable();
        assert!(waited[10] <= HOGS / 2, "started after {waited:?} turns of others");
    }
}

/// A woken coroutine does not wait for all coroutines that have yielded and compute for long.
#[test]
fn woken_coroutines_run_before_long_yielding_ones() {
    const HOGS: u64 = 20;
    with_workers(1).run(|| {
        let (turns, stop) = yielding_hogs(HOGS, LONG_TURN);
        // The wake-up comes from the timers, between two turns.
        let mut waited: Vec<_> = (0..20)
            .map(|_| {
                let before = turns.load(Ordering::Relaxed);
                sward::sleep(Duration::from_millis(1));
                turns.load(Ordering::Relaxed) - before
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        waited.sort();
        // The median, as the system may not run the netpoller thread for a while.
        assert!(waited[10] <= HOGS / 2, "woken after {waited:?} turns of others");
    });
}

/// Children of a woken coroutine start before coroutines that yield and compute for long.
#[test]
fn spawned_coroutines_start_before_long_yielding_ones() {
    const HOGS: u64 = 20;
    with_workers(1).run(|| {
        let (turns, stop) = yielding_hogs(HOGS, LONG_TURN);
        // All have had their first turn by then.
        while turns.load(Ordering::Relaxed) < HOGS {
            yield_now();
        }
        let mut waited = Vec::new();
        for _ in 0..20 {
            sward::sleep(Duration::from_millis(1));
            let (before, now) = (turns.load(Ordering::Relaxed), Arc::clone(&turns));
            let started = spawn(move || now.load(Ordering::Relaxed)).join().expect("no panic");
            waited.push(started - before);
        }
        stop.store(true, Ordering::Relaxed);
        waited.sort_unstable();
        // One round of four serves a yielded coroutine, whatever it has spawned. A mobile home counts as one
        // that has yielded after a tick of the netpoller thread, which the system may not run for a while.
        let most = if homes_by_default() { waited[10] } else { waited[19] };
        assert!(most <= 1, "turns of others until it started: {waited:?}");
    });
}

/// Spawns its successor, so that each round spawns something.
fn spawn_for_ever(turns: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    turns.fetch_add(1, Ordering::Relaxed);
    if !stop.load(Ordering::Relaxed) {
        spawn(move || spawn_for_ever(turns, stop));
    }
}

/// A round that has put off its yielded coroutines serves many of them, if their turns are short, and not
/// only one. The median is asserted, and the best of several tries, since a tick may come between any two
/// turns.
#[test]
fn short_yielding_coroutines_do_not_wait_for_a_round_each() {
    const SPAWNERS: u64 = 10;
    const YIELDERS: u64 = 40;
    let median = || {
        with_workers(1).run(|| {
            let (turns, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
            for _ in 0..SPAWNERS {
                let (turns, stop) = (Arc::clone(&turns), Arc::clone(&stop));
                spawn(move || spawn_for_ever(turns, stop));
            }
            let yielders: Vec<_> = (0..YIELDERS)
                .map(|_| {
                    let turns = Arc::clone(&turns);
                    spawn(move || {
                        let wait = || {
                            let before = turns.fetch_add(1, Ordering::Relaxed);
                            yield_now();
                            turns.load(Ordering::Relaxed) - before
                        };
                        (0..20).map(|_| wait()).collect::<Vec<_>>()
                    })
                })
                .collect();
            let mut waits: Vec<_> = yielders.into_iter().flat_map(|y| y.join().unwrap()).collect();
            stop.store(true, Ordering::Relaxed);
            waits.sort_unstable();
            waits[waits.len() / 2]
        })
    };
    let best = (0..5).map(|_| median()).min().expect("five");
    // One yielded coroutine for three rounds of spawners would be 40 times 30.
    assert!(best < 500, "{best} turns");
}

/// The maximum number of unstarted coroutines, while one coroutine spawns many and yields now and then.
fn backlog(workers: usize) -> usize {
    with_workers(workers).run(|| {
        let (started, mut most) = (Arc::new(AtomicUsize::new(0)), 0);
        for spawned in 1..=100_000 {
            let count = Arc::clone(&started);
            spawn(move || count.fetch_add(1, Ordering::Relaxed));
            if spawned % 128 == 0 {
                let started = started.load(Ordering::Relaxed);
                most = most.max(spawned - started);
                yield_now();
            }
        }
        most
    })
}

#[test]
fn the_backlog_of_a_spawner_that_yields_is_bounded() {
    let most = backlog(1);
    assert!(most <= 2 * 128, "{most}");
    // Coroutines that the other worker has stolen wait while the system does not run its thread.
    assert!(backlog(2) <= 20 * 128);
}

/// A client floods a server with connections, so the accept loop is always ready.
#[test]
fn an_accept_loop_does_not_outrun_its_connections() {
    const CONNECTIONS: usize = 600;
    with_workers(1).run(|| {
        let listener = sward::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        // All connections are in the queue of the listener before the first one is accepted.
        let clients = std::thread::spawn(move || {
            let connect = |_| std::net::TcpStream::connect(address).expect("connected");
            let mut clients: Vec<_> = (0..CONNECTIONS).map(connect).collect();
            for client in &mut clients {
                client.write_all(b"x").expect("sent");
            }
            clients
        });
        let clients = sward::blocking(|| clients.join().expect("no panic")).expect("a thread");
        let (started, mut most) = (Arc::new(AtomicUsize::new(0)), 0);
        for accepted in 1..=CONNECTIONS {
            let (mut stream, _) = listener.accept().expect("a connection");
            let count = Arc::clone(&started);
            spawn(move || {
                count.fetch_add(1, Ordering::Relaxed);
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a byte");
                stream.write_all(&byte).expect("sent");
            });
            most = most.max(accepted - started.load(Ordering::Relaxed));
        }
        // The budget of a turn is 128 calls.
        assert!(most <= 3 * 128, "{most} connections were accepted and not started");
        sward::blocking(move || {
            for mut client in clients {
                client.read_exact(&mut [0]).expect("an answer");
            }
        })
        .expect("a thread");
    });
}

/// Established connections that are always ready, and coroutines that yield, do not starve new clients. The
/// test counts turns.
#[test]
fn a_flood_does_not_keep_new_clients_out() {
    with_workers(1).run(|| {
        const FLOOD: usize = 100;
        let (turns, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        for index in 0..FLOOD {
            let (turns, stop) = (Arc::clone(&turns), Arc::clone(&stop));
            let (mut ours, mut theirs) = sward::net::UnixStream::pair().expect("a pair");
            spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    turns.fetch_add(1, Ordering::Relaxed);
                    ours.write_all(b"x").expect("sent");
                    theirs.read_exact(&mut [0]).expect("a byte");
                    if index % 2 == 0 {
                        yield_now();
                    }
                }
            });
        }
        let listener = sward::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        let accepting = {
            let turns = Arc::clone(&turns);
            spawn(move || {
                let mut longest = 0;
                for _ in 0..50 {
                    let (mut stream, _) = listener.accept().expect("a connection");
                    let (accepted, turns) = (turns.load(Ordering::Relaxed), Arc::clone(&turns));
                    let waited = spawn(move || {
                        let waited = turns.load(Ordering::Relaxed) - accepted;
                        stream.write_all(b"x").expect("sent");
                        waited
                    });
                    longest = longest.max(waited.join().expect("no panic"));
                }
                longest
            })
        };
        let client = std::thread::spawn(move || {
            for _ in 0..50 {
                let mut client = std::net::TcpStream::connect(address).expect("connected");
                client.read_exact(&mut [0]).expect("an answer");
            }
        });
        let longest = accepting.join().expect("no panic");
        stop.store(true, Ordering::Relaxed);
        sward::blocking(|| client.join().expect("no panic")).expect("a thread");
        // A coroutine makes up to 128 iterations in a turn, its budget. Half of the coroutines yield in each
        // iteration.
        assert!(longest <= 4 * 128 * FLOOD as u64, "a new client has waited for {longest} loops of others");
    });
}

/// Coroutines that plain threads spawn or wake run beside coroutines that yield.
#[test]
fn coroutines_from_plain_threads_are_served() {
    let runtime = with_workers(1);
    let (turns, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    const YIELDERS: u64 = 10;
    let woken_at = Arc::new(AtomicU64::new(0));
    let sleeper = {
        let (turns, stop, woken_at) = (Arc::clone(&turns), Arc::clone(&stop), Arc::clone(&woken_at));
        runtime.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                sward::task::park();
                woken_at.store(turns.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        })
    };
    for _ in 0..YIELDERS {
        let (turns, stop) = (Arc::clone(&turns), Arc::clone(&stop));
        runtime.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                turns.fetch_add(1, Ordering::Relaxed);
                yield_now();
            }
        });
    }
    let (mut spawned, mut woken) = (u64::MAX, u64::MAX);
    // The system may preempt this thread between its measurement and its call, so the best of many counts.
    for _ in 0..200 {
        let before = turns.load(Ordering::Relaxed);
        let now = Arc::clone(&turns);
        let started = runtime.spawn(move || now.load(Ordering::Relaxed)).join().expect("no panic");
        spawned = spawned.min(started - before);
        let before = turns.load(Ordering::Relaxed);
        woken_at.store(0, Ordering::Relaxed);
        sleeper.task().unpark();
        while woken_at.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        woken = woken.min(woken_at.load(Ordering::Relaxed).saturating_sub(before));
    }
    stop.store(true, Ordering::Relaxed);
    sleeper.task().unpark();
    let bound = 4 * (YIELDERS + 2);
    assert!(spawned <= bound && woken <= bound, "spawned: {spawned} turns, woken: {woken} turns");
}

/// One step of a coroutine in a random program.
#[derive(Clone, Debug)]
enum Step {
    Yield,
    Park,
    Unpark(usize),
    Spawn(Vec<Step>),
    Repeat(usize, Vec<Step>),
}

fn steps(wakes: bool) -> impl Strategy<Value = Vec<Step>> {
    let weight = if wakes { 1 } else { 0 };
    let leaf = prop_oneof![
        3 => Just(Step::Yield),
        2 * weight => Just(Step::Park),
        3 * weight => (0..12usize).prop_map(Step::Unpark),
    ];
    let step = leaf.prop_recursive(3, 24, 4, |inner| {
        let inner = prop::collection::vec(inner, 1..4);
        prop_oneof![
            2 => inner.clone().prop_map(Step::Spawn),
            1 => (1..20usize, inner).prop_map(|(times, steps)| Step::Repeat(times, steps)),
        ]
    });
    prop::collection::vec(step, 1..6)
}

/// Keeps the programs small, as repeated steps spawn, too.
const MOST_COROUTINES: usize = 60;

/// What the test knows about one coroutine.
struct Member {
    task: Option<Task>,
    state: State,
    first_turn: bool,
    /// Whether the next park returns at once.
    token: bool,
}

impl Member {
    fn new(task: Option<Task>, first_turn: bool) -> Member {
        Member { task, state: State::Running, first_turn, token: false }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Running,
    Parked,
    Ended,
    /// In a queue since that turn, with the maximum number of coroutines that were queued since then.
    Queued {
        since: u64,
        most: u64,
        how: Queued,
    },
}

/// How a coroutine came to be queued.
#[derive(Clone, Copy, PartialEq)]
enum Queued {
    Woken,
    Yielded,
    Spawned,
    ChildOfFirstTurn,
}

#[derive(Default)]
struct World {
    /// Whether coroutines wake one another.
    wakes: bool,
    /// Whether coroutines live in mobile homes.
    homes: bool,
    turns: u64,
    queued: u64,
    members: Vec<Member>,
    broken: Option<String>,
}

impl World {
    fn queue(&mut self, index: usize, how: Queued) {
        self.queued += 1;
        self.members[index].state = State::Queued { since: self.turns, most: self.queued, how };
        for member in &mut self.members {
            if let State::Queued { most, .. } = &mut member.state {
                *most = self.queued.max(*most);
            }
        }
    }

    /// A turn begins. Checks how long the coroutine has waited for it.
    fn begin(&mut self, index: usize) {
        let State::Queued { since, most, how } = self.members[index].state else {
            panic!("a coroutine runs that was not queued");
        };
        let waited = self.turns - since;
        self.turns += 1;
        self.queued -= 1;
        self.members[index].state = State::Running;
        let each = if self.wakes { WITH_LIFO } else { 1 };
        // In homes: first the slices of other homes, of two rounds each, then those of its own home.
        let two_rounds = 2 * each * (most + 1) * if self.homes { 2 } else { 1 };
        let bound = match how {
            Queued::Woken | Queued::Spawned => two_rounds,
            // Four rounds for each coroutine that has yielded before, if ticks come that often.
            Queued::Yielded => 4 * two_rounds * (most + 1),
            Queued::ChildOfFirstTurn => OLDEST_TURN * (most + 1),
        };
        if waited > bound {
            self.broken = Some(format!("waited for {waited} turns, bound {bound}, queued at most {most}"));
        }
    }
}

type Shared = Arc<Mutex<World>>;

fn start(world: &Shared, spawner: usize, steps: Vec<Step>) {
    let index = {
        let mut world = world.lock().unwrap();
        let index = world.members.len();
        if index >= MOST_COROUTINES {
            return;
        }
        world.members.push(Member::new(None, true));
        let in_first_turn = world.members[spawner].first_turn;
        world.queue(index, if in_first_turn { Queued::ChildOfFirstTurn } else { Queued::Spawned });
        index
    };
    let own = Arc::clone(world);
    let handle = spawn(move || {
        own.lock().unwrap().begin(index);
        run(&own, index, &steps);
        own.lock().unwrap().members[index].state = State::Ended;
    });
    world.lock().unwrap().members[index].task = Some(handle.task().clone());
}

fn suspend(world: &Shared, index: usize, park: bool) {
    {
        let mut world = world.lock().unwrap();
        if park && std::mem::take(&mut world.members[index].token) {
            drop(world);
            sward::task::park();
            return;
        }
        world.members[index].first_turn = false;
        if park {
            world.members[index].state = State::Parked;
        } else {
            world.queue(index, Queued::Yielded);
        }
    }
    if park {
        sward::task::park();
    } else {
        yield_now();
    }
    world.lock().unwrap().begin(index);
}

fn unpark(world: &Shared, index: usize) {
    let task = {
        let mut world = world.lock().unwrap();
        match world.members.get(index).map(|member| member.state) {
            None | Some(State::Ended) => return,
            Some(State::Parked) => {
                world.queue(index, Queued::Woken);
            }
            // A second token before it runs is the same token.
            Some(State::Queued { how: Queued::Woken, .. }) => {}
            Some(_) => world.members[index].token = true,
        }
        world.members[index].task.clone()
    };
    task.expect("known since it was spawned").unpark();
}

fn run(world: &Shared, index: usize, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Yield => suspend(world, index, false),
            Step::Park => suspend(world, index, true),
            Step::Unpark(other) => unpark(world, *other),
            Step::Spawn(steps) => start(world, index, steps.clone()),
            Step::Repeat(times, steps) => (0..*times).for_each(|_| run(world, index, steps)),
        }
    }
}

/// Runs a program to its end on this worker. An error says which wait was longer than its bound.
fn check(program: Vec<Vec<Step>>, wakes: bool, homes: bool) -> Result<u64, String> {
    let world = Shared::new(Mutex::new(World { wakes, homes, ..World::default() }));
    world.lock().unwrap().members.push(Member::new(Some(sward::task::current()), false));
    for steps in program {
        start(&world, 0, steps);
    }
    loop {
        let parked: Vec<usize> = {
            let world = world.lock().unwrap();
            let live = |member: &Member| member.state != State::Ended;
            if !world.members[1..].iter().any(live) {
                break;
            }
            let parked = |index: &usize| world.members[*index].state == State::Parked;
            (1..world.members.len()).filter(parked).collect()
        };
        parked.into_iter().for_each(|index| unpark(&world, index));
        suspend(&world, 0, false);
    }
    let world = world.lock().unwrap();
    world.broken.clone().map_or(Ok(world.turns), Err)
}

/// Runs random programs on one worker: one part in `parts` of `SWARD_PROGRAMS`.
fn check_programs(wakes: bool, homes: Homes, parts: u32) {
    let programs = std::env::var("SWARD_PROGRAMS").ok().map_or(1_000, |n| n.parse().expect("a number"));
    let programs = programs / parts;
    let config = Config { cases: programs, failure_persistence: None, ..Config::default() };
    // No spare worker is added.
    let builder = Builder::new().worker_threads(1).homes(homes).stall_threshold(Duration::from_secs(3_600));
    let turns = builder.build().expect("a runtime").run(move || {
        let homes = sward::runtime::metrics().is_some_and(|metrics| metrics.homes.is_some());
        let turns = Cell::new(0);
        let program = prop::collection::vec(steps(wakes), 1..5);
        let outcome = TestRunner::new(config).run(&program, |program| {
            turns.set(turns.get() + check(program, wakes, homes).map_err(TestCaseError::fail)?);
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{error}"));
        turns.get()
    });
    assert!(turns > u64::from(programs), "the programs ran");
}

/// Coroutines yield, park, wake one another and spawn.
#[test]
fn every_wait_for_a_turn_is_bounded() {
    check_programs(true, Homes::Off, 1);
}

/// Coroutines yield and spawn.
#[test]
fn without_wakes_a_wait_lasts_two_rounds() {
    check_programs(false, Homes::Off, 1);
}

/// In one mobile home, in a few full ones, and in one home each.
#[test]
fn in_mobile_homes_every_wait_for_a_turn_is_bounded() {
    for homes in [Homes::Count(1), Homes::Count(3), Homes::Count(100)] {
        for wakes in [false, true] {
            check_programs(wakes, homes, 6);
        }
    }
}

/// The number of waiting coroutines that live on each worker, after `count` were spawned in a row.
fn spread(count: usize) -> Vec<usize> {
    let runtime = with_workers(2);
    runtime.run(|| {
        let parked = Arc::new(AtomicUsize::new(0));
        for _ in 0..count {
            let parked = Arc::clone(&parked);
            spawn(move || {
                parked.fetch_add(1, Ordering::Relaxed);
                sward::sleep(Duration::from_secs(3_600));
            });
        }
        let start = Instant::now();
        while parked.load(Ordering::Relaxed) < count && start.elapsed() < Duration::from_secs(120) {
            sward::sleep(Duration::from_millis(1));
        }
        let mut live: Vec<_> =
            sward::runtime::metrics().expect("inside").workers.iter().map(|worker| worker.live).collect();
        // The coroutine that asks lives on a worker, too.
        let here = live.iter().max().copied().unwrap_or(0);
        if let Some(most) = live.iter_mut().find(|live| **live == here) {
            *most -= 1;
        }
        live
    })
}

#[test]
fn long_lived_coroutines_spread_from_the_first_few_on() {
    for count in [4, 10, 30, 1_000] {
        let slack = (count * 15 / 200).max(1);
        // While the system does not run the thread of one worker, the other one gets its share. So the best
        // of several counts.
        let tries: Vec<_> = (0..5).map(|_| spread(count)).collect();
        let even = |live: &Vec<usize>| live.iter().all(|live| live.abs_diff(count / 2) <= slack);
        assert!(tries.iter().any(even), "{count} spawned in a row live as {tries:?}");
    }
}

/// A child of a first turn that is there when a round begins runs in that round, although a newer one comes
/// in each round. It does not have to wait for the turn that starts the oldest.
#[test]
fn a_newer_child_of_a_first_turn_does_not_displace_an_older_one() {
    with_workers(1).run(|| {
        let (rounds, longest) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        for round in 0..200 {
            let (rounds, longest) = (Arc::clone(&rounds), Arc::clone(&longest));
            rounds.store(round, Ordering::Relaxed);
            spawn(move || {
                spawn(move || longest.fetch_max(rounds.load(Ordering::Relaxed) - round, Ordering::Relaxed))
            });
            yield_now();
        }
        let longest = longest.load(Ordering::Relaxed);
        assert!(longest <= 3, "a child has waited for {longest} rounds");
    });
}

/// Migrating coroutines that yield do not starve beside a pinned one whose turns are long and that yields as
/// well.
#[test]
fn a_pinned_yielder_leaves_turns_to_migrating_ones() {
    // SAFETY: nothing here keeps state of its thread over a wait.
    let builder = unsafe { Builder::new().worker_threads(1).migrate_started() };
    builder.build().expect("a runtime").run(|| {
        let (turns, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (pinned_turns, pinned_stop) = (Arc::clone(&turns), Arc::clone(&stop));
        let pinned = sward::task::Builder::new().pinned(true).spawn(move || {
            while !pinned_stop.load(Ordering::Relaxed) && pinned_turns.fetch_add(1, Ordering::Relaxed) < 1_000
            {
                let start = Instant::now();
                while start.elapsed() < Duration::from_millis(3) {
                    std::hint::spin_loop();
                }
                yield_now();
            }
        });
        const YIELDS: u64 = 20;
        (0..YIELDS).for_each(|_| yield_now());
        let turns = turns.load(Ordering::Relaxed);
        stop.store(true, Ordering::Relaxed);
        pinned.expect("a runtime").join().expect("no panic");
        assert!(turns <= 3 * YIELDS, "{turns} turns of the pinned one for {YIELDS} yields");
    });
}

/// A coroutine that is taken back from a worker in a long turn is not assigned to that worker again, also
/// while the turn is shorter than half of the stall threshold.
#[test]
fn coroutines_taken_back_from_a_busy_worker_start_elsewhere() {
    let builder = Builder::new().worker_threads(2).stall_threshold(Duration::from_secs(120));
    builder.build().expect("a runtime").run(|| {
        let here = std::thread::current().id();
        let parked = Arc::new(AtomicUsize::new(0));
        let stay = move |thread| if thread == here { 3_600_000 } else { 1 };
        for _ in 0..40 {
            let parked = Arc::clone(&parked);
            spawn(move || {
                sward::sleep(Duration::from_millis(20));
                parked.fetch_add(1, Ordering::Relaxed);
                sward::sleep(Duration::from_millis(stay(std::thread::current().id())));
            });
        }
        let wait_for = |done: &dyn Fn() -> bool| {
            let start = Instant::now();
            while !done() && start.elapsed() < Duration::from_secs(120) {
                sward::sleep(Duration::from_millis(1));
            }
            done()
        };
        assert!(wait_for(&|| parked.load(Ordering::Relaxed) == 40));
        sward::sleep(Duration::from_millis(20));
        // The other worker has nothing now. Its first coroutine keeps it busy.
        let (busy, release) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (theirs, until) = (Arc::clone(&busy), Arc::clone(&release));
        let _release = SetOnDrop(release);
        let hog = spawn(move || {
            theirs.store(std::thread::current().id() != here, Ordering::Relaxed);
            while theirs.load(Ordering::Relaxed) && !until.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        assert!(wait_for(&|| busy.load(Ordering::Relaxed) || hog.is_finished()));
        let started = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&started);
        spawn(move || theirs.store(true, Ordering::Relaxed));
        assert!(wait_for(&|| started.load(Ordering::Relaxed)), "it waits for a worker that is busy");
    });
}
