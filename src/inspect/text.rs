//! A dump for people. Coroutines that do the same are one group, or each stands alone.

use super::dump::{
    CoroutineDump, CoroutineState, Dump, RuntimeDump, RuntimeMode, RuntimePhase, ThreadDump, WorkerDump,
    WorkerState,
};
use super::stack::{Stack, StackExtent};
use super::subject::{Party, Subject};
use crate::coroutine::{Id, Label, Site};
use std::collections::HashMap;
use std::fmt::{self, Formatter, Result};
use std::sync::Arc;
use std::time::Duration;

/// How many members of a group are named.
const NAMED: usize = 8;
/// How many subjects of a group's waits are shown.
const SUBJECTS: usize = 4;

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write(self, f)
    }
}

fn write(dump: &Dump, f: &mut Formatter<'_>) -> Result {
    let runtimes = dump.runtimes.len();
    let coroutines: usize = dump.runtimes.iter().map(|runtime| runtime.coroutines.len()).sum();
    write!(f, "sward: dump of process {}: ", std::process::id())?;
    write!(f, "{}, {}", counted(runtimes, "runtime"), counted(coroutines, "coroutine"))?;
    writeln!(f, " (took {:.1?})", dump.took)?;
    let known = Known::of(dump);
    for runtime in &dump.runtimes {
        write_runtime(runtime, &known, f)?;
    }
    if !dump.threads.is_empty() {
        writeln!(f, "\n{} in a wait:", counted(dump.threads.len(), "thread"))?;
    }
    for thread in &dump.threads {
        write_thread(thread, &known, f)?;
    }
    let pool = &dump.blocking;
    if pool.threads > 0 {
        let threads = counted(pool.threads, "thread");
        writeln!(
            f,
            "\nblocking pool: {threads}, {} idle, {} queued",
            pool.idle,
            counted(pool.queued, "call")
        )?;
    }
    for call in &pool.running {
        write!(f, "  call {} at {}: runs for {}", call.number, call.made_at, age(call.lasts))?;
        if let Some(caller) = call.caller {
            write!(f, ", {} waits for it", known.party(caller))?;
        }
        writeln!(f)?;
    }
    match (&dump.last_lost_panic, dump.lost_panics) {
        (Some(last), count) => {
            let panics = counted(count as usize, "panic");
            writeln!(f, "\n{panics} of coroutines that nobody has joined; the last one: {last}")
        }
        (None, _) => Ok(()),
    }
}

/// The coroutines that are shown, by number.
pub(super) struct Known<'d>(HashMap<Id, &'d CoroutineDump>);

impl<'d> Known<'d> {
    pub(super) fn of(dump: &'d Dump) -> Known<'d> {
        let all = dump.runtimes.iter().flat_map(|runtime| &runtime.coroutines);
        Known(all.map(|coroutine| (coroutine.id, coroutine)).collect())
    }

    pub(super) fn get(&self, id: Id) -> Option<&'d CoroutineDump> {
        self.0.get(&id).copied()
    }

    fn coroutine(&self, id: Id) -> String {
        let found = self.0.get(&id).map(|coroutine| label(coroutine).to_string());
        found.unwrap_or_else(|| format!("coroutine #{id}"))
    }

    fn party(&self, party: Party) -> String {
        match party {
            Party::Coroutine(id) => self.coroutine(id),
            Party::Thread(_) => party.to_string(),
        }
    }

    /// A subject, with the names of the coroutines in it.
    pub(super) fn subject(&self, subject: &Subject) -> String {
        match subject {
            Subject::Coroutine(id) => self.coroutine(*id),
            Subject::Lock { address, holder: Some(holder), .. } => {
                format!("lock {address:#x}, held by {}", self.party(*holder))
            }
            other => other.to_string(),
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn write_runtime(runtime: &RuntimeDump, known: &Known<'_>, f: &mut Formatter<'_>) -> Result {
    let homes = match runtime.mode {
        RuntimeMode::Pinned => "",
        RuntimeMode::MobileHomes => ", mobile homes",
        RuntimeMode::Migrating => ", coroutines migrate",
    };
    let phase = match runtime.phase {
        RuntimePhase::Running => "",
        RuntimePhase::Closing => ", shutting down",
        RuntimePhase::Abandoned => ", ended, with leaked coroutines",
    };
    let (workers, netpoll) = (counted(runtime.workers.len(), "worker"), runtime.netpoll);
    write!(f, "\nruntime {:?}: {workers} on {netpoll}{homes}{phase}; ", runtime.name)?;
    let count = |state| runtime.coroutines.iter().filter(|coroutine| coroutine.state == state).count();
    let states = [
        (count(CoroutineState::Running), "running"),
        (count(CoroutineState::Runnable), "runnable"),
        (count(CoroutineState::Parked), "parked"),
        (runtime.unstarted, "unstarted"),
    ];
    let states = states.into_iter().filter(|(count, _)| *count > 0);
    let states: Vec<_> = states.map(|(count, state)| format!("{count} {state}")).collect();
    writeln!(f, "coroutines: {}", if states.is_empty() { "none".to_owned() } else { states.join(", ") })?;
    if runtime.idle_connections + runtime.active_connections > 0 {
        let (idle, active) = (runtime.idle_connections, runtime.active_connections);
        writeln!(f, "  connections: {idle} idle, without coroutines; {active} active")?;
    }
    for worker in &runtime.workers {
        write_worker(worker, runtime, f)?;
    }
    if runtime.mode == RuntimeMode::Migrating && !runtime.coroutines.is_empty() {
        writeln!(f, "  (coroutines migrate, so nobody may look at their waits and stacks)")?;
    } else if !runtime.complete {
        writeln!(f, "  (a worker is in a long turn, so of the coroutines that live there less is known)")?;
    }
    if f.alternate() {
        for coroutine in &runtime.coroutines {
            writeln!(f)?;
            write_group(&[coroutine], known, f)?;
        }
        return Ok(());
    }
    for group in groups(&runtime.coroutines) {
        writeln!(f)?;
        write_group(&group, known, f)?;
    }
    Ok(())
}

fn write_worker(worker: &WorkerDump, runtime: &RuntimeDump, f: &mut Formatter<'_>) -> Result {
    write!(f, "  worker {}: ", worker.index)?;
    match worker.state {
        WorkerState::Asleep => f.write_str("asleep")?,
        WorkerState::Awake => f.write_str("awake")?,
        WorkerState::Left => f.write_str("left")?,
        WorkerState::Running(id) => {
            let found = runtime.coroutines.binary_search_by_key(&id, |coroutine| coroutine.id);
            match found {
                Ok(at) => write!(f, "runs {}", label(&runtime.coroutines[at]))?,
                Err(_) => write!(f, "runs coroutine #{id}")?,
            }
            if worker.since_poll > Duration::from_millis(20) {
                write!(f, " for {}", age(worker.since_poll))?;
            }
        }
    }
    if let Some(call) = worker.blocked_in {
        write!(f, ", blocked by {call} in a destructor while unwinding")?;
    }
    write!(f, "; {} live", worker.live)?;
    for (count, what) in [(worker.assigned, "assigned"), (worker.queued, "queued")] {
        if count > 0 {
            write!(f, ", {count} {what}")?;
        }
    }
    writeln!(f)
}

fn write_thread(thread: &ThreadDump, known: &Known<'_>, f: &mut Formatter<'_>) -> Result {
    match (thread.number, thread.coroutine) {
        (Some(number), _) => write!(f, "  thread #{number}")?,
        (None, Some(id)) => write!(f, "  the worker of coroutine #{id}")?,
        (None, None) => f.write_str("  a thread")?,
    }
    if let Some(name) = &thread.name {
        write!(f, " {name:?}")?;
    }
    let wait = &thread.wait;
    write!(f, ": blocked in {} for {}", wait.call, age(wait.lasts))?;
    if let Some(left) = wait.ends_in {
        write!(f, ", ends in {}", age(left))?;
    }
    match &wait.subject {
        Some(subject) => writeln!(f, ", waits for {}", known.subject(subject)),
        None => writeln!(f),
    }
}

/// Coroutines that do the same, the largest group first. In a group they are in the order of their numbers.
pub(super) fn groups(coroutines: &[CoroutineDump]) -> Vec<Vec<&CoroutineDump>> {
    type Key = (CoroutineState, Option<&'static str>, Site, bool, Option<*const Stack>);
    let mut groups: Vec<Vec<&CoroutineDump>> = Vec::new();
    let mut known: HashMap<Key, usize> = HashMap::new();
    for coroutine in coroutines {
        let call = coroutine.wait.as_ref().map(|wait| wait.call);
        let stack = coroutine.stack.as_ref().map(Arc::as_ptr);
        let key = (coroutine.state, call, coroutine.spawned_at, coroutine.cancelled, stack);
        let at = *known.entry(key).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[at].push(coroutine);
    }
    groups.sort_by_key(|group| (std::cmp::Reverse(group.len()), group[0].state, group[0].id));
    groups
}

fn label(coroutine: &CoroutineDump) -> Label<'_> {
    Label { id: coroutine.id, name: coroutine.name.as_deref(), site: coroutine.spawned_at }
}

/// A duration to a tenth of its unit.
fn age(duration: Duration) -> String {
    format!("{duration:.1?}")
}

fn write_group(group: &[&CoroutineDump], known: &Known<'_>, f: &mut Formatter<'_>) -> Result {
    let first = group[0];
    if group.len() == 1 {
        write!(f, "{}: ", label(first))?;
    } else {
        write!(f, "{} coroutines (spawned at {}): ", group.len(), first.spawned_at)?;
    }
    match first.state {
        CoroutineState::Running => f.write_str("running")?,
        CoroutineState::Runnable => f.write_str("runnable")?,
        CoroutineState::Parked => {}
    }
    if let Some(wait) = &first.wait {
        let waits = group.iter().filter_map(|coroutine| coroutine.wait.as_ref());
        let longest = waits.clone().map(|wait| wait.lasts).max().unwrap_or_default();
        let shortest = waits.map(|wait| wait.lasts).min().unwrap_or_default();
        write!(f, "parked in {} for {}", wait.call, age(shortest))?;
        if age(longest) != age(shortest) {
            write!(f, " to {}", age(longest))?;
        }
    }
    if first.cancelled {
        f.write_str(", cancelled")?;
    }
    if let [coroutine] = group {
        if let Some(worker) = coroutine.worker {
            write!(f, ", on worker {worker}")?;
        }
        if let Some(parent) = coroutine.parent {
            write!(f, ", child of #{parent}")?;
        }
        if let Some(wait) = &coroutine.wait {
            if let Some(left) = wait.ends_in {
                write!(f, ", ends in {}", age(left))?;
            }
            if wait.masked {
                f.write_str(", masked")?;
            }
        }
    }
    writeln!(f)?;
    write_subjects(group, known, f)?;
    if group.len() > 1 {
        write_members(group, f)?;
    }
    first.stack.as_ref().map_or(Ok(()), |stack| write_stack(stack, f))
}

/// A stack, a frame for each line.
pub(super) struct Frames<'a>(pub(super) &'a Stack);

impl fmt::Display for Frames<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write_stack(self.0, f)
    }
}

fn write_stack(stack: &Stack, f: &mut Formatter<'_>) -> Result {
    for frame in &stack.frames {
        for line in frame.to_string().lines() {
            writeln!(f, "      {line}")?;
        }
    }
    match stack.extent {
        StackExtent::Whole => Ok(()),
        StackExtent::Cut => writeln!(f, "      ..."),
        StackExtent::NoRoom => writeln!(f, "      (too little of the stack is left to walk it)"),
    }
}

/// What the members of a group wait for.
fn write_subjects(group: &[&CoroutineDump], known: &Known<'_>, f: &mut Formatter<'_>) -> Result {
    let mut subjects: Vec<(String, usize)> = Vec::new();
    let mut at: HashMap<String, usize> = HashMap::new();
    for subject in group.iter().filter_map(|coroutine| coroutine.wait.as_ref()?.subject.as_ref()) {
        let text = known.subject(subject);
        let at = *at.entry(text).or_insert_with_key(|text| {
            subjects.push((text.clone(), 0));
            subjects.len() - 1
        });
        subjects[at].1 += 1;
    }
    subjects.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (subject, count) in subjects.iter().take(SUBJECTS) {
        write!(f, "    waits for {subject}")?;
        if group.len() > 1 {
            write!(f, " ({count} of them)")?;
        }
        writeln!(f)?;
    }
    if subjects.len() > SUBJECTS {
        writeln!(f, "    and for {} others", subjects.len() - SUBJECTS)?;
    }
    Ok(())
}

fn write_members(group: &[&CoroutineDump], f: &mut Formatter<'_>) -> Result {
    f.write_str("    ")?;
    for (index, coroutine) in group.iter().take(NAMED).enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}#{}", coroutine.id)?;
        if let Some(name) = &coroutine.name {
            write!(f, " {name:?}")?;
        }
    }
    if group.len() > NAMED {
        write!(f, " and {} more", group.len() - NAMED)?;
    }
    writeln!(f)
}

/// Some of a dump's coroutines, in groups.
pub(super) struct Chosen<'d> {
    pub(super) dump: &'d Dump,
    pub(super) coroutines: &'d [CoroutineDump],
    /// How many groups are shown.
    pub(super) groups: usize,
}

impl fmt::Display for Chosen<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let known = Known::of(self.dump);
        let groups = groups(self.coroutines);
        for group in groups.iter().take(self.groups) {
            write_group(group, &known, f)?;
        }
        let left: usize = groups.iter().skip(self.groups).map(Vec::len).sum();
        if left > 0 { writeln!(f, "and {}", counted(left, "other coroutine")) } else { Ok(()) }
    }
}

impl fmt::Display for CoroutineDump {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write_group(&[self], &Known(HashMap::new()), f)
    }
}
