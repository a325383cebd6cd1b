//! The JSON of a dump, read by a parser that knows nothing of it, against the schema of the documentation.

use crate::common::{LONG, in_runtime};
use crate::find::{coroutines_stay, named, start};
use serde_json::Value;
use std::io::Read;
use std::time::Instant;
use sward::net::{TcpListener, TcpStream};
use sward::observe::dump;
use sward::task;

/// What a field may hold.
enum Kind {
    Number,
    Text,
    Bool,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    Optional(&'static Kind),
    Object(&'static [(&'static str, Kind)]),
    List(&'static Kind),
    /// An object whose fields depend on its `kind`.
    Subject,
}
use Kind::*;

const FRAME: Kind = Object(&[
    ("address", Text),
    (
        "symbols",
        List(&Object(&[("name", Optional(&Text)), ("file", Optional(&Text)), ("line", Optional(&Number))])),
    ),
]);
const STACK: Kind = Object(&[("extent", OneOf(&["whole", "cut", "no_room"])), ("frames", List(&FRAME))]);
const WAIT: Kind = Object(&[
    ("call", Text),
    ("lasts_ms", Number),
    ("ends_in_ms", Optional(&Number)),
    ("masked", Bool),
    ("subject", Optional(&Subject)),
]);
const THREAD: Kind = Object(&[
    ("number", Optional(&Number)),
    ("coroutine", Optional(&Number)),
    ("name", Optional(&Text)),
    ("wait", WAIT),
]);
const CALL: Kind = Object(&[
    ("number", Number),
    ("caller", Optional(&Object(&[("coroutine", Number)]))),
    ("made_at", Object(&[("file", Text), ("line", Number), ("column", Number)])),
    ("lasts_ms", Number),
]);
const COROUTINE: Kind = Object(&[
    ("id", Number),
    ("name", Optional(&Text)),
    ("spawned_at", Object(&[("file", Text), ("line", Number), ("column", Number)])),
    ("parent", Optional(&Number)),
    ("state", OneOf(&["running", "runnable", "parked"])),
    ("wait", Optional(&WAIT)),
    ("cancelled", Bool),
    ("worker", Optional(&Number)),
    ("stack", Optional(&Number)),
    ("stack_size", Number),
    ("complete", Bool),
]);
const WORKER: Kind = Object(&[
    ("index", Number),
    ("state", OneOf(&["asleep", "awake", "running", "left"])),
    ("coroutine", Optional(&Number)),
    ("live", Number),
    ("assigned", Number),
    ("queued", Number),
    ("since_poll_ms", Number),
    ("blocked_in", Optional(&Text)),
]);
const RUNTIME: Kind = Object(&[
    ("name", Text),
    ("phase", OneOf(&["running", "closing", "abandoned"])),
    ("mode", OneOf(&["pinned", "mobile_homes", "migrating"])),
    ("netpoll", OneOf(&["epoll", "io_uring", "kqueue", "poll"])),
    ("complete", Bool),
    ("unstarted", Number),
    ("idle_connections", Number),
    ("active_connections", Number),
    ("workers", List(&WORKER)),
    ("coroutines", List(&COROUTINE)),
]);
const DUMP: Kind = Object(&[
    ("version", Number),
    ("process", Number),
    ("time_ms", Number),
    ("took_ms", Number),
    ("runtimes", List(&RUNTIME)),
    ("stacks", List(&STACK)),
    ("threads", List(&THREAD)),
    (
        "blocking",
        Object(&[("threads", Number), ("idle", Number), ("queued", Number), ("running", List(&CALL))]),
    ),
    ("lost_panics", Number),
]);

fn check(value: &Value, kind: &Kind, place: &str) {
    let fits = match kind {
        Number => value.is_number(),
        Text => value.is_string(),
        Bool => value.is_boolean(),
        OneOf(texts) => value.as_str().is_some_and(|text| texts.contains(&text)),
        Optional(kind) => {
            if !value.is_null() {
                check(value, kind, place);
            }
            true
        }
        Object(fields) => {
            let object = value.as_object().unwrap_or_else(|| panic!("{place}: {value}"));
            for (name, kind) in *fields {
                let field = object.get(*name).unwrap_or_else(|| panic!("{place} has no {name}: {value}"));
                check(field, kind, &format!("{place}.{name}"));
            }
            let unknown = object.keys().find(|name| fields.iter().all(|(known, _)| known != name));
            assert_eq!(unknown, None, "{place}: the schema does not know it");
            true
        }
        List(kind) => {
            let items = value.as_array().unwrap_or_else(|| panic!("{place}: {value}"));
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| check(item, kind, &format!("{place}[{index}]")));
            true
        }
        Subject => value["kind"].is_string(),
    };
    assert!(fits, "{place}: {value}");
}

/// A call of the blocking pool that lasts until this is dropped.
struct CallsUntilDropped(std::sync::Arc<std::sync::atomic::AtomicBool>);

impl CallsUntilDropped {
    fn start() -> CallsUntilDropped {
        let end = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let its = end.clone();
        drop(sward::spawn(move || {
            sward::blocking(|| {
                while !its.load(std::sync::atomic::Ordering::Relaxed) {
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
            })
        }));
        while dump().blocking.running.is_empty() {
            sward::yield_now();
        }
        CallsUntilDropped(end)
    }
}

impl Drop for CallsUntilDropped {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn a_dump_is_json_of_its_schema() {
    in_runtime(|| {
        let odd = "json: \"quoted\" \\ and\nbroken \u{1f600}";
        let (lock, _end) = (std::sync::Arc::new(sward::sync::Mutex::new(())), CallsUntilDropped::start());
        let held = lock.lock().expect("no panic");
        let its = lock.clone();
        let thread = std::thread::Builder::new().name("json: thread".to_owned());
        let thread = thread.spawn(move || drop(its.lock())).expect("a thread");
        while !dump().threads.iter().any(|thread| thread.name.as_deref() == Some("json: thread")) {
            sward::yield_now();
        }
        let sleeper = start(odd, || sward::sleep(LONG));
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let mut stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let reader = start("json: reader", move || drop(stream.read(&mut [0])));
        let joiner = start("json: joiner", || drop(sward::spawn(|| sward::sleep(LONG)).join()));
        while [odd, "json: reader", "json: joiner"]
            .iter()
            .any(|name| named(&dump(), name).is_none_or(|coroutine| coroutine.wait.is_none()))
        {
            sward::yield_now();
        }
        let dump = dump();
        let json = dump.to_json();
        assert!(!json.contains('\n'), "it is one line");
        let value: Value = serde_json::from_str(&json).expect("JSON");
        check(&value, &DUMP, "dump");
        assert_eq!(value["version"], 1);
        assert_eq!(value["process"], std::process::id());
        let runtimes = value["runtimes"].as_array().expect("a list");
        let coroutines: Vec<&Value> =
            runtimes.iter().flat_map(|runtime| runtime["coroutines"].as_array().expect("a list")).collect();
        let find =
            |name: &str| *coroutines.iter().find(|coroutine| coroutine["name"] == name).expect("shown");
        let shown = find(odd);
        assert_eq!((&shown["state"], &shown["wait"]["call"]), (&"parked".into(), &"sleep".into()));
        assert_eq!(shown["spawned_at"]["file"], file!());
        let stacks = value["stacks"].as_array().expect("a list");
        for coroutine in &coroutines {
            if let Some(index) = coroutine["stack"].as_u64() {
                assert!(!stacks[index as usize]["frames"].as_array().expect("a list").is_empty());
            }
        }
        let calls = value["blocking"]["running"].as_array().expect("a list");
        assert!(calls.iter().any(|call| call["made_at"]["file"] == file!()), "{calls:?}");
        let threads = value["threads"].as_array().expect("a list");
        let waits = threads.iter().find(|thread| thread["name"] == "json: thread").expect("it waits");
        assert_eq!(waits["wait"]["call"], "Mutex::lock");
        let me = task::current().id().expect("a coroutine").to_string();
        assert_eq!(waits["wait"]["subject"]["holder"]["coroutine"].to_string(), me);
        let text = dump.to_string();
        assert!(text.contains("\"json: thread\""), "{text}");
        assert!(text.contains("held by coroutine #"), "{text}");
        for coroutine in [sleeper, reader, joiner] {
            coroutine.cancel();
        }
        drop(held);
        thread.join().expect("no panic");
    });
}

/// What the program itself reads from the data is what it writes.
#[test]
fn the_wait_of_the_dumping_coroutine_itself_is_shown() {
    in_runtime(|| {
        let shows = |json: &str| {
            json.contains("\"name\":\"json: caller\"") && json.contains("\"call\":\"observe::dump\"")
        };
        let caller = start("json: caller", move || {
            let began = Instant::now();
            loop {
                let json = dump().to_json();
                // No worker captures coroutines that migrate, so the dump may be faster than the caller's
                // park.
                if coroutines_stay() || shows(&json) || began.elapsed() > LONG {
                    return json;
                }
            }
        });
        let json = caller.join().expect("no panic");
        assert!(shows(&json), "{json}");
    });
}
