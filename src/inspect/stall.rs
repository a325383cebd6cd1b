//! The report of a stall: a coroutine that keeps its worker while others wait for that worker.
//!
//! Its stack follows from another thread, since finding the names of functions takes a while, and the
//! netpoller thread has to go on with its ticks.

use super::recorder::Past;
use super::remedy::remedy;
use super::stack::Stack;
use super::stacks::Stacks;
use super::symbols;
use super::text::Frames;
use crate::base::counted_threads::CountedThread;
use crate::base::new_thread::new_thread;
use crate::base::sys::report;
use crate::coroutine::{Id, Label, WaitReason};
use crate::sched::{self, Shared};
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

/// The stack of the thread. Finding the names of functions takes some of it.
const STACK: usize = 512 << 10;
/// The text says for how long the machine did not run the thread if that is at least this part of the turn.
const NOT_RUN_PART: u32 = 4;
/// How many suspects the text names.
const NAMED: usize = 4;

/// What a program does with a stall.
pub(crate) type OnStall = Arc<dyn Fn(&Stall) + Send + Sync>;

/// A coroutine that keeps its worker in one turn for long, while others wait for that worker.
/// [`Builder::on_stall`](crate::runtime::Builder::on_stall) gets it.
///
/// `{}` prints the report, without the stack.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stall {
    /// The coroutine.
    pub coroutine: StalledCoroutine,
    /// The number of its worker.
    pub worker: usize,
    /// How long its turn has lasted so far. Time in which the whole process was stopped does not count.
    pub lasts: Duration,
    /// For how long of that time its thread was ready to run, but the machine did not run it, as far as the
    /// system says: other threads had the processors, or a quota was used up.
    pub not_run: Duration,
    /// What it does. It is judged by the time that is left.
    pub kind: StallKind,
    /// How many coroutines are known to wait for a turn there: siblings that are ready to run, and unstarted
    /// ones. Siblings whose events were not fetched are not among them.
    pub waiting: usize,
    /// If it is blocked: some of its siblings that wait. If a lock of std or of another crate blocks it, and
    /// one of these holds that lock over its wait, then it is blocked for ever.
    pub suspects: Vec<StalledCoroutine>,
    /// Its stack at that moment, where the system can say: on Linux with glibc.
    pub stack: Option<Arc<Stack>>,
}

/// A coroutine in a [`Stall`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StalledCoroutine {
    /// Its number.
    pub id: Id,
    /// Its name.
    pub name: Option<Box<str>>,
    /// The call that has spawned it.
    pub spawned_at: &'static Location<'static>,
    /// The call in which it waits; `None` if it runs.
    pub waits_in: Option<&'static str>,
}

/// What a coroutine does that keeps its worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StallKind {
    /// It computes.
    Computes {
        /// The processor time that it has used in this turn.
        used: Duration,
    },
    /// It is blocked in the kernel.
    Blocked {
        /// In which system call, and in which function of the kernel, as far as the system says.
        place: Option<String>,
    },
    /// It is blocked by a wait in a destructor while it unwinds, where nothing can switch.
    InDestructor {
        /// The call that waits.
        call: &'static str,
    },
    /// It is blocked in the kernel, or the system does not run its thread: this system does not say which.
    Unclear,
}

impl StalledCoroutine {
    /// The coroutine with that label, which waits for that reason or runs.
    pub(crate) fn of(label: &Label<'_>, reason: WaitReason) -> StalledCoroutine {
        StalledCoroutine {
            id: label.id,
            name: label.name.map(Box::from),
            spawned_at: label.site,
            waits_in: (reason != WaitReason::None).then(|| reason.describe()),
        }
    }
}

impl fmt::Display for StalledCoroutine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = Label { id: self.id, name: self.name.as_deref(), site: self.spawned_at };
        write!(f, "{label}")?;
        self.waits_in.map_or(Ok(()), |call| write!(f, ", in {call}"))
    }
}

impl Stall {
    /// Whether it is blocked in a call by which threads wait for each other.
    fn may_wait_for_lock(&self) -> bool {
        match &self.kind {
            StallKind::Blocked { place: Some(place) } => place.contains("futex"),
            StallKind::Blocked { place: None } | StallKind::Unclear => true,
            _ => false,
        }
    }
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stall { coroutine, worker, lasts, not_run, .. } = self;
        write!(f, "{coroutine} has kept worker {worker} for {} ms without a wait", lasts.as_millis())?;
        if *not_run >= *lasts / NOT_RUN_PART {
            write!(
                f,
                " (for {} ms of which it was ready to run, but the machine did not run it)",
                not_run.as_millis()
            )?;
        }
        f.write_str(", and ")?;
        match self.waiting {
            0 => f.write_str("others are waiting for that worker: ")?,
            1 => f.write_str("1 other is waiting for that worker: ")?,
            waiting => write!(f, "{waiting} others are waiting for that worker: ")?,
        }
        match &self.kind {
            StallKind::Computes { used } => write!(
                f,
                "it computes ({} ms of processor time); call sward::yield_now now and then, or hand the work to \
                 sward::blocking",
                used.as_millis()
            ),
            StallKind::Blocked { place } => {
                f.write_str("it is blocked in the kernel")?;
                place.as_ref().map_or(Ok(()), |place| write!(f, " ({place})"))?;
                write!(f, "; {}", remedy(place.as_deref()))
            }
            StallKind::InDestructor { call } => write!(
                f,
                "it is blocked by a wait in a destructor while unwinding ({call}), where nothing can switch"
            ),
            StallKind::Unclear => {
                f.write_str("it is blocked in the kernel, or the system does not run its thread")
            }
        }?;
        if self.suspects.is_empty() || !self.may_wait_for_lock() {
            return Ok(());
        }
        f.write_str(
            "; if it waits for a lock that a coroutine of the same worker holds over a wait, that is one of",
        )?;
        for suspect in self.suspects.iter().take(NAMED) {
            write!(f, "\n  {suspect}")?;
        }
        if self.suspects.len() > NAMED { f.write_str("\n  ...") } else { Ok(()) }
    }
}

/// Reports a stall in that turn of a worker: to `on_stall`, which is called by another thread once the stack
/// is known, or else on stderr, at once and then with the stack. No stack is known if the turn ends before,
/// or if the system cannot say.
pub(crate) fn report_stall(shared: &Arc<Shared>, mut stall: Stall, turn: u64, on_stall: Option<OnStall>) {
    if on_stall.is_none() {
        report(format_args!("sward: {stall}"));
    }
    let shared = Arc::clone(shared);
    let body = move || {
        // Code of the program may wake anybody, so it does not run on a counted thread.
        let counted = CountedThread::begin();
        let sampled = sched::sample_turn(&shared, stall.worker, turn);
        // The runtime may end meanwhile.
        drop(shared);
        let past = Past::copy();
        stall.stack = sampled
            .filter(|(id, _)| *id == stall.coroutine.id)
            .and_then(|(_, trace)| Stacks::of([&trace].into_iter()).get(&trace));
        // A stall is rare, so the program does not keep the tables for the next one.
        symbols::forget();
        match (on_stall, &stall.stack) {
            (Some(on_stall), _) => {
                drop(counted);
                on_stall(&stall);
            }
            (None, Some(stack)) => {
                let (id, frames) = (stall.coroutine.id, Frames(stack).to_string());
                report(format_args!("sward: coroutine #{id} was here:\n{}", frames.trim_end()));
            }
            (None, None) => {}
        }
        Past::write(past, "the stall");
    };
    // Without the thread there is the first line of the report.
    let _ = new_thread("sward-report").and_then(|thread| thread.stack_size(STACK).spawn(body));
}
