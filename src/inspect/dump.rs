//! The facts of a dump, as data.

use super::stack::Stack;
use super::subject::{Party, Subject};
use crate::coroutine::Id;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What each coroutine of the process does, at one moment or shortly after it.
///
/// `{}` prints it for people: coroutines that do the same are one group with a count, the largest group
/// first. `{:#}` prints each coroutine. [`to_json`](Dump::to_json) is for programs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dump {
    /// When the dump began.
    pub time: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// The runtimes of the process, in the order in which they started.
    pub runtimes: Vec<RuntimeDump>,
    /// The threads that a wait of sward blocks: plain threads, and workers whose coroutine waits in a
    /// destructor while it unwinds.
    pub threads: Vec<ThreadDump>,
    /// The pool for [`blocking`](crate::blocking()) calls.
    pub blocking: BlockingDump,
    /// How many coroutines have panicked, and nobody has joined them to hear of it.
    pub lost_panics: u64,
    /// The last of these, in the words of reports.
    pub last_lost_panic: Option<Box<str>>,
}

/// One runtime.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RuntimeDump {
    /// The name of its threads.
    pub name: String,
    /// What it does.
    pub phase: RuntimePhase,
    /// Where its started coroutines live.
    pub mode: RuntimeMode,
    /// The interface of the kernel by which its workers wait: see
    /// [`Metrics::netpoll`](crate::runtime::Metrics::netpoll).
    pub netpoll: &'static str,
    /// Its workers that have a thread.
    pub workers: Vec<WorkerDump>,
    /// Its coroutines that have started and not ended, by their number.
    pub coroutines: Vec<CoroutineDump>,
    /// How many coroutines wait for their first turn: in its queues for all workers, and assigned to or
    /// queued at its workers. They have no stack yet, and are not among `coroutines`. With mobile homes the
    /// queues also hold homes, and in migrating mode started coroutines: then it is a little too large.
    pub unstarted: usize,
    /// How many connections of [`net::serve`](crate::net::serve()), and records of
    /// [`task::on_ready`](crate::task::on_ready()), wait. They have no coroutines.
    pub idle_connections: usize,
    /// How many of them have a coroutine.
    pub active_connections: usize,
    /// Whether all of its coroutines are complete: see [`CoroutineDump::complete`].
    pub complete: bool,
}

/// What a runtime does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuntimePhase {
    /// It runs coroutines.
    Running,
    /// It shuts down: its coroutines are cancelled.
    Closing,
    /// It has ended. What is left has not unwound in time, and is leaked.
    Abandoned,
}

/// Where the started coroutines of a runtime live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuntimeMode {
    /// Each on one worker.
    Pinned,
    /// Each in a [mobile home](crate::runtime::Builder::homes).
    MobileHomes,
    /// Each moves [between workers](crate::runtime::Builder::migrate_started). A dump then knows of no waits
    /// but their kind, and no stacks.
    Migrating,
}

/// One worker.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerDump {
    /// Its number.
    pub index: usize,
    /// What it does.
    pub state: WorkerState,
    /// How many coroutines live on it. They are started, and may run only there.
    pub live: usize,
    /// How many unstarted coroutines are assigned to it.
    pub assigned: usize,
    /// How many items its deques hold, which other workers may take.
    pub queued: usize,
    /// How long it has not asked the kernel for events. A worker that runs coroutines does so every
    /// millisecond or two, unless it is in a long turn.
    pub since_poll: Duration,
    /// The call that blocks its thread in a destructor, while the coroutine unwinds.
    pub blocked_in: Option<&'static str>,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerState {
    /// It has nothing to run.
    Asleep,
    /// It is between two turns of coroutines.
    Awake,
    /// It runs that coroutine.
    Running(Id),
    /// Its thread runs no coroutine any more.
    Left,
}

/// One coroutine that has started.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CoroutineDump {
    /// Its number.
    pub id: Id,
    /// Its name.
    pub name: Option<Box<str>>,
    /// The call that has spawned it.
    pub spawned_at: &'static Location<'static>,
    /// The coroutine that has spawned it; `None` if a plain thread did, or nothing is known.
    pub parent: Option<Id>,
    /// Whether it waits or runs.
    pub state: CoroutineState,
    /// Its present wait.
    pub wait: Option<WaitDump>,
    /// Whether its cancellation was requested.
    pub cancelled: bool,
    /// The worker that it lives on; `None` if any worker may run it, with its home or alone.
    pub worker: Option<usize>,
    /// Its stack, if it is known. Equal stacks are the same `Arc`.
    pub stack: Option<Arc<Stack>>,
    /// The address space of its stack, in bytes.
    pub stack_size: usize,
    /// Whether its worker has looked at it. If the worker is stuck in a turn, or the coroutine may migrate,
    /// less is known: of its wait neither subject nor deadline.
    pub complete: bool,
}

/// Whether a coroutine waits or runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CoroutineState {
    /// It has its turn.
    Running,
    /// It waits for its turn.
    Runnable,
    /// It waits for something else.
    Parked,
}

/// A wait.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitDump {
    /// The call that waits, such as `"Mutex::lock"`.
    pub call: &'static str,
    /// How long it has waited, to a few milliseconds.
    pub lasts: Duration,
    /// In which time it ends at the latest.
    pub ends_in: Option<Duration>,
    /// What it waits for.
    pub subject: Option<Subject>,
    /// Whether a cancellation does not end it.
    pub masked: bool,
}

/// A thread that waits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ThreadDump {
    /// The number by which [`Party::Thread`](super::Party::Thread) names a plain thread.
    pub number: Option<u64>,
    /// The coroutine that blocks the thread, a worker's.
    pub coroutine: Option<Id>,
    /// Its name.
    pub name: Option<Box<str>>,
    /// Its wait.
    pub wait: WaitDump,
}

/// A call that a thread of the blocking pool makes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallDump {
    /// Its number in the pool.
    pub number: u64,
    /// Who waits for it; `None` if nobody does.
    pub caller: Option<Party>,
    /// Where it was made.
    pub made_at: &'static Location<'static>,
    /// How long it has run.
    pub lasts: Duration,
}

/// The pool for [`blocking`](crate::blocking()) calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockingDump {
    /// Its threads.
    pub threads: usize,
    /// Threads that have nothing to do.
    pub idle: usize,
    /// Calls that wait for a thread.
    pub queued: usize,
    /// The calls that run.
    pub running: Vec<CallDump>,
}
