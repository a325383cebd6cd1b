//! A dump as JSON. The module's documentation has the schema.

use super::deadlock::{Deadlock, Member};
use super::dump::{
    BlockingDump, CoroutineDump, CoroutineState, Dump, RuntimeDump, RuntimeMode, RuntimePhase, ThreadDump,
    WaitDump, WorkerDump, WorkerState,
};
use super::stack::{Frame, Stack, StackExtent, Symbol};
use super::subject::{Party, Subject};
use std::collections::HashMap;
use std::fmt::{Display, Write};
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Grows when a field changes its meaning or goes away. New fields do not count.
const VERSION: u32 = 1;

impl Dump {
    /// The dump as JSON, on one line. The schema is that of [`observe`](crate::observe#json).
    ///
    /// ```
    /// let runtime = sward::runtime::Builder::new().build()?;
    /// let json = sward::observe::dump().to_json();
    /// assert!(json.starts_with(r#"{"version":1,"#));
    /// # drop(runtime);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn to_json(&self) -> String {
        write(self)
    }
}

impl Deadlock {
    /// The deadlock as JSON, on one line. The schema is that of [`observe`](crate::observe#json).
    pub fn to_json(&self) -> String {
        let mut text = String::new();
        object(&mut text, |object| {
            object.value("version", VERSION);
            object.array("members", &self.members, write_member);
            object.value("waiting_behind", self.waiting_behind);
        });
        text
    }
}

fn write_member(object: &mut Object<'_>, member: &Member) {
    object.optional("coroutine", member.id);
    write_name(object, member.name.as_deref());
    match member.spawned_at {
        Some(site) => object.object("spawned_at", |object| write_place(object, site)),
        None => object.value("spawned_at", "null"),
    }
    object.string("call", member.call);
    match &member.subject {
        Some(subject) => {
            object.string("waits_for", &subject.to_string());
            object.object("subject", |object| write_subject(object, subject));
        }
        None => {
            object.value("waits_for", "null");
            object.value("subject", "null");
        }
    }
    match &member.stack {
        Some(stack) => object.object("stack", |object| write_stack(object, stack)),
        None => object.value("stack", "null"),
    }
}

fn write(dump: &Dump) -> String {
    let mut text = String::new();
    object(&mut text, |object| {
        write_head(object, dump);
        let stacks = Stacks::of(dump);
        let write_coroutine =
            |object: &mut Object<'_>, coroutine: &_| write_coroutine(object, coroutine, &stacks);
        object.array("runtimes", &dump.runtimes, |object, runtime| {
            write_runtime(object, runtime, write_coroutine);
        });
        object.array("threads", &dump.threads, write_thread);
        object.array("stacks", &stacks.all, |object, stack| write_stack(object, stack));
        object.object("blocking", |object| write_blocking(object, &dump.blocking));
        object.value("lost_panics", dump.lost_panics);
    });
    text
}

/// When the dump was made, and of what.
pub(super) fn write_head(object: &mut Object<'_>, dump: &Dump) {
    object.value("version", VERSION);
    object.value("process", std::process::id());
    object.milliseconds("time_ms", dump.time.duration_since(UNIX_EPOCH).unwrap_or_default());
    object.milliseconds("took_ms", dump.took);
}

/// The stacks of a dump, each one once.
#[derive(Default)]
struct Stacks<'a> {
    all: Vec<&'a Stack>,
    index: HashMap<*const Stack, usize>,
}

impl<'a> Stacks<'a> {
    fn of(dump: &'a Dump) -> Stacks<'a> {
        let mut stacks = Stacks::default();
        let coroutines = dump.runtimes.iter().flat_map(|runtime| &runtime.coroutines);
        for stack in coroutines.filter_map(|coroutine| coroutine.stack.as_ref()) {
            stacks.index.entry(Arc::as_ptr(stack)).or_insert_with(|| {
                stacks.all.push(stack);
                stacks.all.len() - 1
            });
        }
        stacks
    }
}

pub(super) fn write_stack(object: &mut Object<'_>, stack: &Stack) {
    let extent = match stack.extent {
        StackExtent::Whole => "whole",
        StackExtent::Cut => "cut",
        StackExtent::NoRoom => "no_room",
    };
    object.string("extent", extent);
    object.array("frames", &stack.frames, write_frame);
}

fn write_frame(object: &mut Object<'_>, frame: &Frame) {
    object.string("address", &format!("{:#x}", frame.address));
    object.array("symbols", &frame.symbols, write_symbol);
}

fn write_symbol(object: &mut Object<'_>, symbol: &Symbol) {
    for (key, text) in [("name", &symbol.name), ("file", &symbol.file)] {
        match text {
            Some(text) => object.string(key, text),
            None => object.value(key, "null"),
        }
    }
    object.optional("line", symbol.line);
}

fn write_runtime(
    object: &mut Object<'_>,
    runtime: &RuntimeDump,
    write_coroutine: impl Fn(&mut Object<'_>, &CoroutineDump),
) {
    write_runtime_head(object, runtime);
    object.array("workers", &runtime.workers, write_worker);
    object.array("coroutines", &runtime.coroutines, write_coroutine);
}

/// A runtime without what it consists of.
pub(super) fn write_runtime_head(object: &mut Object<'_>, runtime: &RuntimeDump) {
    object.string("name", &runtime.name);
    let phase = match runtime.phase {
        RuntimePhase::Running => "running",
        RuntimePhase::Closing => "closing",
        RuntimePhase::Abandoned => "abandoned",
    };
    object.string("phase", phase);
    let mode = match runtime.mode {
        RuntimeMode::Pinned => "pinned",
        RuntimeMode::MobileHomes => "mobile_homes",
        RuntimeMode::Migrating => "migrating",
    };
    object.string("mode", mode);
    object.string("netpoll", runtime.netpoll);
    object.value("complete", runtime.complete);
    object.value("unstarted", runtime.unstarted);
    object.value("idle_connections", runtime.idle_connections);
    object.value("active_connections", runtime.active_connections);
}

pub(super) fn write_worker(object: &mut Object<'_>, worker: &WorkerDump) {
    object.value("index", worker.index);
    let (state, running) = match worker.state {
        WorkerState::Asleep => ("asleep", None),
        WorkerState::Awake => ("awake", None),
        WorkerState::Running(id) => ("running", Some(id)),
        WorkerState::Left => ("left", None),
    };
    object.string("state", state);
    object.optional("coroutine", running);
    object.value("live", worker.live);
    object.value("assigned", worker.assigned);
    object.value("queued", worker.queued);
    object.milliseconds("since_poll_ms", worker.since_poll);
    match worker.blocked_in {
        Some(call) => object.string("blocked_in", call),
        None => object.value("blocked_in", "null"),
    }
}

fn write_coroutine(object: &mut Object<'_>, coroutine: &CoroutineDump, stacks: &Stacks<'_>) {
    object.value("id", coroutine.id);
    write_name(object, coroutine.name.as_deref());
    object.object("spawned_at", |object| write_place(object, coroutine.spawned_at));
    object.optional("parent", coroutine.parent);
    object.string("state", state_name(coroutine.state));
    match &coroutine.wait {
        Some(wait) => object.object("wait", |object| write_wait(object, wait)),
        None => object.value("wait", "null"),
    }
    object.value("cancelled", coroutine.cancelled);
    object.optional("worker", coroutine.worker);
    let stack = coroutine.stack.as_ref().and_then(|stack| stacks.index.get(&Arc::as_ptr(stack)));
    object.optional("stack", stack);
    object.value("stack_size", coroutine.stack_size);
    object.value("complete", coroutine.complete);
}

pub(super) fn state_name(state: CoroutineState) -> &'static str {
    match state {
        CoroutineState::Running => "running",
        CoroutineState::Runnable => "runnable",
        CoroutineState::Parked => "parked",
    }
}

fn write_wait(object: &mut Object<'_>, wait: &WaitDump) {
    object.string("call", wait.call);
    object.milliseconds("lasts_ms", wait.lasts);
    match wait.ends_in {
        Some(left) => object.milliseconds("ends_in_ms", left),
        None => object.value("ends_in_ms", "null"),
    }
    object.value("masked", wait.masked);
    match &wait.subject {
        Some(subject) => object.object("subject", |object| write_subject(object, subject)),
        None => object.value("subject", "null"),
    }
}

fn write_subject(object: &mut Object<'_>, subject: &Subject) {
    match subject {
        Subject::Coroutine(id) => {
            object.string("kind", "coroutine");
            object.value("id", id);
        }
        Subject::Descriptor { fd, local, peer } => {
            object.string("kind", "descriptor");
            object.value("fd", fd);
            for (name, address) in [("local", local), ("peer", peer)] {
                match address {
                    Some(address) => object.string(name, &address.to_string()),
                    None => object.value(name, "null"),
                }
            }
        }
        Subject::Lock { address, holder, readers } => {
            object.string("kind", "lock");
            object.address(*address);
            write_party(object, "holder", *holder);
            object.value("readers", readers);
        }
        Subject::Semaphore { address, available, total, taken_by } => {
            object.string("kind", "semaphore");
            object.address(*address);
            object.value("available", available);
            object.value("total", total);
            write_party(object, "taken_by", *taken_by);
        }
        Subject::Channel { address, len, capacity, senders, receivers } => {
            object.string("kind", "channel");
            object.address(*address);
            object.value("len", len);
            object.optional("capacity", *capacity);
            object.value("senders", senders);
            object.optional("receivers", *receivers);
        }
        Subject::Count { address, missing } => {
            object.string("kind", "count");
            object.address(*address);
            object.value("missing", missing);
        }
        Subject::Coroutines { left, count, all } => {
            object.string("kind", "coroutines");
            object.array("left", left, |object, id| object.value("id", id));
            object.value("count", count);
            object.value("all", all);
        }
        Subject::Child { pid } => {
            object.string("kind", "child");
            object.value("pid", pid);
        }
        Subject::Any(all) => {
            object.string("kind", "any");
            object.array("of", all, write_subject);
        }
        Subject::Address(address) => {
            object.string("kind", "address");
            object.address(*address);
        }
    }
}

fn write_party(object: &mut Object<'_>, key: &str, party: Option<Party>) {
    match party {
        Some(Party::Coroutine(id)) => object.object(key, |object| object.value("coroutine", id)),
        Some(Party::Thread(number)) => object.object(key, |object| object.value("thread", number)),
        None => object.value(key, "null"),
    }
}

pub(super) fn write_thread(object: &mut Object<'_>, thread: &ThreadDump) {
    object.optional("number", thread.number);
    object.optional("coroutine", thread.coroutine);
    write_name(object, thread.name.as_deref());
    object.object("wait", |object| write_wait(object, &thread.wait));
}

pub(super) fn write_blocking(object: &mut Object<'_>, pool: &BlockingDump) {
    object.value("threads", pool.threads);
    object.value("idle", pool.idle);
    object.value("queued", pool.queued);
    object.array("running", &pool.running, |object, call| {
        object.value("number", call.number);
        write_party(object, "caller", call.caller);
        object.object("made_at", |object| write_place(object, call.made_at));
        object.milliseconds("lasts_ms", call.lasts);
    });
}

pub(super) fn write_name(object: &mut Object<'_>, name: Option<&str>) {
    match name {
        Some(name) => object.string("name", name),
        None => object.value("name", "null"),
    }
}

pub(super) fn write_place(object: &mut Object<'_>, place: &Location<'_>) {
    object.string("file", place.file());
    object.value("line", place.line());
    object.value("column", place.column());
}

// The syntax.

/// The inside of an object.
pub(super) struct Object<'a> {
    text: &'a mut String,
    empty: bool,
}

/// Writes an object with what `fill` puts into it.
pub(super) fn object(text: &mut String, fill: impl FnOnce(&mut Object<'_>)) {
    text.push('{');
    fill(&mut Object { text, empty: true });
    text.push('}');
}

impl Object<'_> {
    fn key(&mut self, key: &str) -> &mut String {
        if !std::mem::replace(&mut self.empty, false) {
            self.text.push(',');
        }
        string(self.text, key);
        self.text.push(':');
        self.text
    }

    /// A number, `true`, `false` or `null`.
    pub(super) fn value(&mut self, key: &str, value: impl Display) {
        let _ = write!(self.key(key), "{value}");
    }

    pub(super) fn optional(&mut self, key: &str, value: Option<impl Display>) {
        match value {
            Some(value) => self.value(key, value),
            None => self.value(key, "null"),
        }
    }

    pub(super) fn string(&mut self, key: &str, value: &str) {
        string(self.key(key), value);
    }

    fn address(&mut self, address: usize) {
        self.string("address", &format!("{address:#x}"));
    }

    /// To a microsecond.
    pub(super) fn milliseconds(&mut self, key: &str, duration: Duration) {
        self.value(key, format_args!("{}.{:03}", duration.as_millis(), duration.subsec_micros() % 1000));
    }

    pub(super) fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) {
        object(self.key(key), fill);
    }

    pub(super) fn array<T>(&mut self, key: &str, items: &[T], fill: impl Fn(&mut Object<'_>, &T)) {
        let text = self.key(key);
        text.push('[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            object(text, |object| fill(object, item));
        }
        text.push(']');
    }
}

/// Writes a string, with quotes.
pub(super) fn string(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            c if c < ' ' => _ = write!(text, "\\u{:04x}", u32::from(c)),
            c => text.push(c),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_reserves_is_escaped() {
        let mut text = String::new();
        object(&mut text, |object| {
            object.string("a\"", "b\\c\n\u{1}\u{e9}");
            object.value("n", 1);
            object.optional("o", None::<u32>);
            object.milliseconds("ms", Duration::from_nanos(1_002_003_999));
            object.array("l", &[1, 2], |object, item| object.value("i", item));
        });
        assert_eq!(
            text,
            "{\"a\\\"\":\"b\\\\c\\u000a\\u0001\u{e9}\",\"n\":1,\"o\":null,\"ms\":1002.003,\
             \"l\":[{\"i\":1},{\"i\":2}]}"
        );
    }
}
