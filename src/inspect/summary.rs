//! A dump as JSON whose size does not grow with the number of coroutines: for pages and terminals.

use super::dump::{CoroutineDump, CoroutineState, Dump, RuntimeDump, WorkerDump, WorkerState};
use super::json::{self, Object};
use super::stack::Stack;
use super::text::{Known, groups};
use crate::coroutine::{Id, Site};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

/// How many members of a group are named.
const NAMED: usize = 8;
/// How many subjects of a group's waits are listed.
const SUBJECTS: usize = 4;
/// How many threads are listed.
const THREADS: usize = 100;

impl Dump {
    /// A summary as JSON, on one line: coroutines that do the same are one group, as `{}` prints them. The
    /// `most` largest groups of each runtime and the `most` largest spawn sites are listed, and the others
    /// counted. So a summary of 100,000 coroutines is small where [`to_json`](Dump::to_json) makes tens of
    /// megabytes. The schema is that of [`observe`](crate::observe#json).
    ///
    /// ```
    /// let runtime = sward::runtime::Builder::new().build()?;
    /// let json = sward::observe::dump().to_summary_json(100);
    /// assert!(json.starts_with(r#"{"version":1,"#));
    /// # drop(runtime);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn to_summary_json(&self, most: usize) -> String {
        write(self, most)
    }
}

fn write(dump: &Dump, most: usize) -> String {
    let known = Known::of(dump);
    let runtimes: Vec<_> = dump.runtimes.iter().map(|runtime| Grouped::of(runtime, most)).collect();
    let mut stacks = Stacks::default();
    for grouped in &runtimes {
        grouped.groups.iter().for_each(|group| stacks.add(group[0]));
        grouped.running(&known).for_each(|coroutine| stacks.add(coroutine));
    }
    let mut text = String::new();
    json::object(&mut text, |object| {
        json::write_head(object, dump);
        object.array("runtimes", &runtimes, |object, runtime| runtime.write(object, &known, &stacks));
        write_calls(object, dump);
        write_sites(object, dump, most);
        let shown = &dump.threads[..dump.threads.len().min(THREADS)];
        object.array("threads", shown, json::write_thread);
        object.value("more_threads", dump.threads.len() - shown.len());
        object.array("stacks", &stacks.all, |object, stack| json::write_stack(object, stack));
        object.object("blocking", |object| json::write_blocking(object, &dump.blocking));
    });
    text
}

/// The stacks that are shown, each one once.
#[derive(Default)]
struct Stacks<'d> {
    all: Vec<&'d Stack>,
    index: HashMap<*const Stack, usize>,
}

impl<'d> Stacks<'d> {
    fn add(&mut self, coroutine: &'d CoroutineDump) {
        let Some(stack) = &coroutine.stack else { return };
        self.index.entry(Arc::as_ptr(stack)).or_insert_with(|| {
            self.all.push(stack);
            self.all.len() - 1
        });
    }

    fn index_of(&self, coroutine: &CoroutineDump) -> Option<usize> {
        self.index.get(&Arc::as_ptr(coroutine.stack.as_ref()?)).copied()
    }
}

/// A runtime with its largest groups.
struct Grouped<'d> {
    runtime: &'d RuntimeDump,
    groups: Vec<Vec<&'d CoroutineDump>>,
    more_groups: usize,
    in_more_groups: usize,
}

impl<'d> Grouped<'d> {
    fn of(runtime: &'d RuntimeDump, most: usize) -> Grouped<'d> {
        let mut groups = groups(&runtime.coroutines);
        let more = groups.split_off(groups.len().min(most));
        let in_more_groups = more.iter().map(Vec::len).sum();
        Grouped { runtime, groups, more_groups: more.len(), in_more_groups }
    }

    /// What the workers run.
    fn running<'a>(&'a self, known: &'a Known<'d>) -> impl Iterator<Item = &'d CoroutineDump> + 'a {
        self.runtime.workers.iter().filter_map(|worker| known.get(running(worker)?))
    }

    fn write(&self, object: &mut Object<'_>, known: &Known<'d>, stacks: &Stacks<'d>) {
        json::write_runtime_head(object, self.runtime);
        write_states(object, &self.runtime.coroutines);
        object.array("workers", &self.runtime.workers, |object, worker| {
            json::write_worker(object, worker);
            match running(worker).and_then(|id| known.get(id)) {
                Some(coroutine) => object.object("runs", |object| {
                    write_member(object, coroutine);
                    object.object("spawned_at", |object| json::write_place(object, coroutine.spawned_at));
                    object.optional("stack", stacks.index_of(coroutine));
                }),
                None => object.value("runs", "null"),
            }
        });
        object.array("groups", &self.groups, |object, group| write_group(object, group, known, stacks));
        object.value("more_groups", self.more_groups);
        object.value("in_more_groups", self.in_more_groups);
    }
}

fn running(worker: &WorkerDump) -> Option<Id> {
    match worker.state {
        WorkerState::Running(id) => Some(id),
        _ => None,
    }
}

fn write_states(object: &mut Object<'_>, coroutines: &[CoroutineDump]) {
    for state in [CoroutineState::Running, CoroutineState::Runnable, CoroutineState::Parked] {
        let count = coroutines.iter().filter(|coroutine| coroutine.state == state).count();
        object.value(json::state_name(state), count);
    }
}

fn write_member(object: &mut Object<'_>, coroutine: &CoroutineDump) {
    object.value("id", coroutine.id);
    json::write_name(object, coroutine.name.as_deref());
}

fn write_group(object: &mut Object<'_>, group: &[&CoroutineDump], known: &Known<'_>, stacks: &Stacks<'_>) {
    let first = group[0];
    object.value("count", group.len());
    object.string("state", json::state_name(first.state));
    object.value("cancelled", first.cancelled);
    object.object("spawned_at", |object| json::write_place(object, first.spawned_at));
    let waits = group.iter().filter_map(|coroutine| coroutine.wait.as_ref());
    let lasts = waits.clone().map(|wait| wait.lasts);
    match (&first.wait, lasts.clone().min(), lasts.max()) {
        (Some(wait), Some(least), Some(most)) => {
            object.string("call", wait.call);
            object.object("lasts_ms", |object| {
                object.milliseconds("least", least);
                object.milliseconds("most", most);
            });
        }
        _ => {
            object.value("call", "null");
            object.value("lasts_ms", "null");
        }
    }
    let mut subjects: HashMap<String, usize> = HashMap::new();
    for subject in waits.filter_map(|wait| wait.subject.as_ref()) {
        *subjects.entry(known.subject(subject)).or_default() += 1;
    }
    let mut subjects: Vec<_> = subjects.into_iter().collect();
    subjects.sort_by(|a, b| (Reverse(a.1), &a.0).cmp(&(Reverse(b.1), &b.0)));
    let shown = &subjects[..subjects.len().min(SUBJECTS)];
    object.array("waits_for", shown, |object, (subject, count)| {
        object.string("subject", subject);
        object.value("count", count);
    });
    object.value("more_subjects", subjects.len() - shown.len());
    let members = &group[..group.len().min(NAMED)];
    object.array("members", members, |object, coroutine| write_member(object, coroutine));
    object.optional("stack", stacks.index_of(first));
}

/// How many coroutines wait in each call.
fn write_calls(object: &mut Object<'_>, dump: &Dump) {
    let mut calls: HashMap<&str, (usize, std::time::Duration)> = HashMap::new();
    let coroutines = dump.runtimes.iter().flat_map(|runtime| &runtime.coroutines);
    for wait in coroutines.filter_map(|coroutine| coroutine.wait.as_ref()) {
        let (count, longest) = calls.entry(wait.call).or_default();
        *count += 1;
        *longest = wait.lasts.max(*longest);
    }
    let mut calls: Vec<_> = calls.into_iter().collect();
    calls.sort_by_key(|(call, (count, _))| (Reverse(*count), *call));
    object.array("calls", &calls, |object, (call, (count, longest))| {
        object.string("call", call);
        object.value("count", count);
        object.milliseconds("longest_ms", *longest);
    });
}

/// How many coroutines each place in the program has spawned that have not ended.
fn write_sites(object: &mut Object<'_>, dump: &Dump, most: usize) {
    let mut sites: HashMap<Site, usize> = HashMap::new();
    for coroutine in dump.runtimes.iter().flat_map(|runtime| &runtime.coroutines) {
        *sites.entry(coroutine.spawned_at).or_default() += 1;
    }
    let mut sites: Vec<_> = sites.into_iter().collect();
    sites.sort_by_key(|(site, count)| (Reverse(*count), site.file(), site.line(), site.column()));
    let shown = &sites[..sites.len().min(most)];
    object.array("sites", shown, |object, (site, count)| {
        json::write_place(object, site);
        object.value("count", count);
    });
    object.value("more_sites", sites.len() - shown.len());
}
