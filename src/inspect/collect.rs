//! How a dump is made: what the scheduler has captured, as the data of [`dump`](super::dump).

use super::dump::{
    BlockingDump, CallDump, CoroutineDump, CoroutineState, Dump, RuntimeDump, RuntimeMode, RuntimePhase,
    ThreadDump, WaitDump, WorkerDump, WorkerState,
};
use super::stacks::Stacks;
use super::subject::{Party, Subject};
use crate::base::counted_threads::CountedThread;
use crate::base::fork::{self, PerProcess};
use crate::base::new_thread::new_thread;
use crate::blocking::{running_calls, usage};
use crate::coroutine::{Event, Holder, SubjectRef, WaitReason, last_lost_panic, lost_panics};
use crate::descriptor::{Dormancy, dormancy};
use crate::sched::{
    self, BlockedThread, Cancel, Captured, CapturedRuntime, CapturedWorker, Detail, Phase, Shared, Woken,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant, SystemTime};

/// Collects what each coroutine of the process does: those of all runtimes.
///
/// It stops nobody. Each worker copies what it knows of its coroutines between two turns, for half a
/// millisecond at a time. If a worker stays in one turn, less is known of its coroutines, and the dump takes
/// a fifth of a second longer. A coroutine that starts meanwhile may be missing.
///
/// Blocks the thread. In a coroutine it parks instead, and is a cancellation point. Two dumps at the same
/// time come one after the other.
///
/// In a child that was forked while a runtime was alive, it ends the process with a message, as all of sward
/// does: see [`runtime`](crate::runtime#forking).
///
/// # Panics
///
/// In a coroutine, if the system has no thread for the dump.
///
/// ```
/// use std::time::Duration;
/// use sward::observe::{CoroutineState, dump};
///
/// sward::run(|| {
///     let minute = Duration::from_secs(60);
///     let sleeper = sward::task::Builder::new().name("sleeper").spawn(move || sward::sleep(minute))?;
///     let parked = loop {
///         let dump = dump();
///         let mut all = dump.runtimes.iter().flat_map(|runtime| &runtime.coroutines);
///         let found = all.find(|coroutine| coroutine.name.as_deref() == Some("sleeper"));
///         match found {
///             Some(found) if found.state == CoroutineState::Parked => break found.clone(),
///             _ => sward::yield_now(),
///         }
///     };
///     assert_eq!(parked.wait.expect("it waits").call, "sleep");
///     sleeper.cancel();
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub fn dump() -> Dump {
    outside_of_workers(collect)
}

/// Calls the function on a thread that is no worker, as a worker has to capture its coroutines meanwhile. In
/// a coroutine, parks until another thread has called it.
pub(super) fn outside_of_workers<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    outside_of_workers_for(WaitReason::Dump, f)
}

/// As [`outside_of_workers`], with a wait reason of its own.
pub(super) fn outside_of_workers_for<T: Send + 'static>(
    reason: WaitReason,
    f: impl FnOnce() -> T + Send + 'static,
) -> T {
    fork::check();
    if !sched::may_switch() {
        return f();
    }
    let place = Arc::new((Event::new(), Mutex::new(None)));
    let its = Arc::clone(&place);
    let collect = move || {
        let _own = CountedThread::begin();
        *its.1.lock().unwrap_or_else(PoisonError::into_inner) = Some(f());
        sched::set_for_good(&its.0);
    };
    if let Err(error) = new_thread("sward-dump").and_then(|thread| thread.spawn(collect)) {
        panic!("sward: no thread for a dump: {error}");
    }
    while !place.0.is_set() {
        if sched::wait_for_event(&place.0, reason.into(), None, Cancel::Obey) == Woken::Cancelled {
            sched::unwind_cancelled();
        }
    }
    let made = place.1.lock().unwrap_or_else(PoisonError::into_inner).take();
    made.expect("stored before the event was set")
}

/// While the result lives, no other thread captures.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: PerProcess<Mutex<()>> = PerProcess::new(Mutex::default);
    ONE_AT_A_TIME.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the dump on this thread.
pub(super) fn collect() -> Dump {
    let _alone = alone();
    let (time, began) = (SystemTime::now(), Instant::now());
    let capture = |shared: &Arc<Shared>| (sched::capture(shared, Detail::Stacks), dormancy(shared));
    let captured: Vec<_> = sched::runtimes().iter().map(capture).collect();
    let mut threads = Vec::new();
    sched::for_each_blocked_thread(|blocked| threads.push(ThreadDump::of(blocked)));
    let blocking = BlockingDump::now();
    // This takes long at first.
    let coroutines = captured.iter().flat_map(|(runtime, _)| &runtime.coroutines);
    let stacks = Stacks::of(coroutines.filter_map(|coroutine| coroutine.trace.as_ref()));
    let of = |(runtime, dormancy)| RuntimeDump::of(runtime, dormancy, &stacks);
    let runtimes = captured.into_iter().map(of).collect();
    let (lost_panics, last_lost_panic) = (lost_panics(), last_lost_panic());
    Dump { time, took: began.elapsed(), runtimes, threads, blocking, lost_panics, last_lost_panic }
}

impl BlockingDump {
    fn now() -> BlockingDump {
        let (now, pool) = (Instant::now(), usage());
        let running = running_calls().into_iter().map(|(number, call)| CallDump {
            number,
            caller: call.caller.map(Party::from),
            made_at: call.site,
            lasts: now.saturating_duration_since(call.since),
        });
        let running = running.collect();
        BlockingDump { threads: pool.threads, idle: pool.idle, queued: pool.queued, running }
    }
}

impl RuntimeDump {
    fn of(captured: CapturedRuntime, dormancy: Dormancy, stacks: &Stacks) -> RuntimeDump {
        let now = captured.at;
        let of = |coroutine| CoroutineDump::of(coroutine, now, stacks);
        let mut coroutines: Vec<_> = captured.coroutines.into_iter().map(of).collect();
        coroutines.sort_by_key(|coroutine| coroutine.id);
        let workers: Vec<_> = captured.workers.iter().map(WorkerDump::of).collect();
        let at_workers: usize = workers.iter().map(|worker| worker.assigned + worker.queued).sum();
        RuntimeDump {
            name: captured.name,
            phase: match captured.phase {
                Phase::Running => RuntimePhase::Running,
                Phase::Closing => RuntimePhase::Closing,
                Phase::Abandoned => RuntimePhase::Abandoned,
            },
            mode: match (captured.migrate, captured.mobile_homes) {
                (true, _) => RuntimeMode::Migrating,
                (false, true) => RuntimeMode::MobileHomes,
                (false, false) => RuntimeMode::Pinned,
            },
            netpoll: captured.netpoll,
            unstarted: captured.injected + at_workers,
            idle_connections: dormancy.idle,
            active_connections: dormancy.records - dormancy.idle,
            complete: coroutines.iter().all(|coroutine| coroutine.complete),
            workers,
            coroutines,
        }
    }
}

impl WorkerDump {
    fn of(captured: &CapturedWorker) -> WorkerDump {
        let blocked_in = captured.blocked_in;
        WorkerDump {
            index: captured.index,
            state: match captured.state {
                sched::WorkerState::Asleep => WorkerState::Asleep,
                sched::WorkerState::Awake => WorkerState::Awake,
                sched::WorkerState::Running(id) => WorkerState::Running(id),
                sched::WorkerState::Left => WorkerState::Left,
            },
            live: captured.live,
            assigned: captured.assigned,
            queued: captured.queued,
            since_poll: captured.since_poll,
            blocked_in: (blocked_in != WaitReason::None).then(|| blocked_in.describe()),
        }
    }
}

impl CoroutineDump {
    fn of(captured: Captured, now: Instant, stacks: &Stacks) -> CoroutineDump {
        let wait = (captured.state == sched::State::Parked).then(|| WaitDump {
            call: captured.reason.describe(),
            lasts: captured.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
            ends_in: captured.deadline.map(|at| at.saturating_duration_since(now)),
            subject: Subject::of(captured.facts, captured.subject),
            masked: captured.masked,
        });
        CoroutineDump {
            id: captured.id,
            name: captured.name,
            spawned_at: captured.site,
            parent: captured.parent,
            state: match captured.state {
                sched::State::Parked => CoroutineState::Parked,
                sched::State::Runnable => CoroutineState::Runnable,
                sched::State::Running => CoroutineState::Running,
            },
            wait,
            cancelled: captured.cancelled,
            worker: captured.worker,
            stack: captured.trace.and_then(|trace| stacks.get(&trace)),
            stack_size: captured.stack_size,
            complete: captured.by_worker,
        }
    }
}

impl ThreadDump {
    fn of(blocked: &BlockedThread<'_>) -> ThreadDump {
        let now = Instant::now();
        let (number, coroutine) = match blocked.who {
            Holder::Thread(number) => (Some(number), None),
            Holder::Coroutine(id) => (None, Some(id)),
        };
        let wait = WaitDump {
            call: blocked.reason.describe(),
            lasts: now.saturating_duration_since(blocked.since),
            ends_in: blocked.deadline.map(|at| at.saturating_duration_since(now)),
            subject: Subject::of(
                blocked.subject.map(SubjectRef::facts),
                blocked.subject.map(SubjectRef::address),
            ),
            masked: true,
        };
        ThreadDump {
            number,
            coroutine,
            name: blocked.thread.as_ref().and_then(Thread::name).map(Box::from),
            wait,
        }
    }
}
