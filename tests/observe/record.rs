//! The flight recorder and its traces.

use crate::common::{LONG, child_command, eventually, homes_by_default, in_child, temporary_path};
use crate::find::{coroutines_stay, start};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use sward::observe::{Trace, TraceEventKind, WakeCause, record, recorded};
use sward::runtime::Builder;

const ODD_NAME: &str =
    "odd \"name\" \\ \n\u{1}\u{e9} with more than sixty-four bytes, and that is too long for it";

/// Waits of several kinds, of coroutines whose names begin with the prefix. Returns the line of the unnamed.
fn program(prefix: &str) -> u32 {
    let (to, from) = (sward::channel::bounded(0), sward::channel::bounded(0));
    let ping = start(&format!("{prefix}-ping"), move || {
        for n in 0..500 {
            to.0.send(n).expect("a receiver");
            assert_eq!(from.1.recv(), Ok(n));
        }
    });
    let pong = start(&format!("{prefix}-pong"), move || {
        for n in to.1 {
            from.0.send(n).expect("a receiver");
        }
    });
    let sleeper = start(&format!("{prefix}-sleeper"), || {
        for _ in 0..3 {
            sward::sleep(Duration::from_millis(1));
            sward::yield_now();
        }
    });
    let blocks = start(&format!("{prefix}-blocks"), || {
        sward::blocking(|| std::thread::sleep(Duration::from_millis(2))).expect("a thread");
    });
    let line = line!() + 1;
    let unnamed: Vec<_> = (0..50).map(|n| sward::spawn(move || n)).collect();
    // Several, as one may be cancelled before it parks.
    let cancelled: Vec<_> = (0..20)
        .map(|_| {
            let (started, is_started) = sward::channel::bounded(1);
            let forever = start(&format!("{prefix}-cancelled"), move || {
                started.send(()).expect("a receiver");
                sward::task::park();
            });
            is_started.recv().expect("a message");
            sward::sleep(Duration::from_millis(1));
            forever.cancel();
            forever
        })
        .collect();
    for child in unnamed {
        child.join().expect("no panic");
    }
    for child in [ping, pong, sleeper, blocks] {
        child.join().expect("no panic");
    }
    start(ODD_NAME, || ()).join().expect("no panic");
    assert!(cancelled.into_iter().all(|forever| forever.join().is_err()));
    line
}

/// Whether the coroutine's name in a trace begins so.
fn is_ours(trace: &Trace, id: sward::task::Id, prefix: &str) -> bool {
    let name = trace.coroutine(id).and_then(|coroutine| coroutine.name.as_deref());
    name.is_some_and(|name| name.starts_with(prefix))
}

/// In a child, as the size of the rings is the process's.
#[test]
fn a_trace_has_each_turn_and_what_led_to_it() {
    in_child(|| trace_of_a_program(2));
}

fn trace_of_a_program(workers: usize) {
    let builder = Builder::new().worker_threads(workers).thread_name("traced").record(8 << 20);
    let runtime = builder.build().expect("a runtime");
    let line = runtime.run(|| program("traced"));
    let trace = recorded(Duration::from_secs(60));
    assert!(trace.workers.iter().any(|worker| worker.runtime == "traced"));
    assert!(trace.events.is_sorted_by_key(|event| event.at));
    assert!(trace.events.iter().all(|event| event.at <= trace.lasts));

    // Turns and their ends, in the order of a coroutine's life.
    let mut turns: HashMap<_, (Vec<usize>, Vec<TraceEventKind>)> = HashMap::new();
    let mut led_to = HashSet::new();
    let mut causes = HashSet::new();
    for (index, event) in trace.events.iter().enumerate() {
        match event.what {
            TraceEventKind::Start { coroutine } | TraceEventKind::Resume { coroutine } => {
                turns.entry(coroutine).or_default().0.push(index);
            }
            TraceEventKind::Park { coroutine, .. }
            | TraceEventKind::Yield { coroutine }
            | TraceEventKind::End { coroutine } => turns.entry(coroutine).or_default().1.push(event.what),
            TraceEventKind::Wake { coroutine, turn: Some(turn), cause, .. } => {
                assert!(matches!(trace.events[turn].what,
                    TraceEventKind::Resume { coroutine: resumed } if resumed == coroutine));
                assert!(trace.events[turn].at >= event.at);
                assert!(led_to.insert(turn), "two wake-ups lead to one turn");
                if is_ours(&trace, coroutine, "traced") {
                    causes.insert(format!("{cause:?}"));
                }
            }
            _ => {}
        }
    }
    let causes_wanted = [WakeCause::Event, WakeCause::Timeout, WakeCause::Cancelled];
    assert!(causes_wanted.iter().all(|cause| causes.contains(&format!("{cause:?}"))), "{causes:?}");
    let mut seen = HashSet::new();
    for (id, (begins, ends)) in turns.iter().filter(|(id, _)| is_ours(&trace, **id, "traced")) {
        let about = trace.coroutine(*id).expect("it is named");
        seen.insert(about.name.as_deref().expect("it is named"));
        assert_eq!(about.spawned_at.expect("it was spawned").file(), file!());
        assert_eq!(begins.len(), ends.len(), "{about:?}");
        assert!(matches!(trace.events[begins[0]].what, TraceEventKind::Start { .. }));
        assert!(matches!(ends.last(), Some(TraceEventKind::End { .. })));
        for (end, next) in ends.iter().zip(&begins[1..]) {
            let parked = matches!(end, TraceEventKind::Park { .. });
            assert_eq!(led_to.contains(next), parked, "{about:?}: after {end:?}");
        }
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
    let sleeps = turns.values().flat_map(|(_, ends)| ends);
    assert!(
        sleeps.clone().any(|end| matches!(end, TraceEventKind::Park { call: "sleep", subject: None, .. }))
    );
    // Whether the sender or the receiver comes first is up to the workers.
    assert!(
        sleeps
            .clone()
            .any(|end| matches!(end, TraceEventKind::Park { call: "send" | "recv", subject: Some(_), .. }))
    );

    let json = check(&trace.to_json());
    let names: HashSet<&str> = json.turns.iter().map(|turn| turn["name"].as_str().expect("text")).collect();
    assert!(names.contains("traced-ping") && names.contains("traced-sleeper"));
    assert!(names.contains(format!("{}:{line}", file!()).as_str()), "{names:?}");
    let odd = names.iter().find(|name| name.starts_with("odd")).expect("its name");
    assert!(ODD_NAME.starts_with(odd) && odd.len() == 64, "{odd:?}");
    // Perhaps one worker has run them all.
    assert!(json.tracks.iter().any(|name| name.starts_with("traced-")), "{:?}", json.tracks);
    assert!(json.tracks.iter().any(|name| name == "blocking call 1"), "{:?}", json.tracks);
}

#[test]
fn a_recording_of_a_while_has_more_than_a_ring() {
    in_child(|| recording_of_a_while(Duration::from_millis(300)));
}

fn recording_of_a_while(span: Duration) {
    let runtime =
        Builder::new().worker_threads(1).thread_name("recorded").record(0).build().expect("a runtime");
    let trace = runtime.run(|| {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let ticker = {
            let stop = stop.clone();
            start("recorded-ticker", move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    // No more than a few in 5 ms, which the smallest ring holds.
                    sward::sleep(Duration::from_micros(500));
                }
            })
        };
        let since = Instant::now();
        let trace = loop {
            let began = Instant::now();
            let trace = record(span);
            assert!(began.elapsed() >= span && trace.lasts >= span);
            // On a busy machine the ticker may get few turns.
            if trace.events.len() > 1000 || since.elapsed() > Duration::from_secs(60) {
                break trace;
            }
        };
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        ticker.join().expect("no panic");
        trace
    });
    // Of the worker, and of spare workers, which there may be on a busy machine.
    let ours = |worker: usize| trace.workers[worker].runtime == "recorded";
    let count = trace.events.iter().filter(|event| event.worker.is_some_and(ours)).count();
    assert!(count > 256, "{count} events");
    assert!(trace.coroutines.iter().any(|coroutine| coroutine.name.as_deref() == Some("recorded-ticker")));
    check(&trace.to_json());
}

/// A recording parks its coroutine, and ends with it.
#[test]
fn a_recording_is_cancelled() {
    sward::run(|| {
        let recorder = sward::spawn(|| record(Duration::from_secs(3600)).lost);
        sward::sleep(Duration::from_millis(20));
        recorder.cancel();
        assert!(recorder.join().is_err());
    });
}

#[test]
fn the_last_seconds_before_a_deadlock_are_in_a_file() {
    // No deadlock is found among coroutines that migrate.
    if !coroutines_stay() {
        return;
    }
    let path = temporary_path();
    let Some(mut child) = child_command(|| {
        let runtime = Builder::new().worker_threads(1).build().expect("a runtime");
        runtime.run(|| {
            let lock = sward::sync::Mutex::new(());
            let _held = lock.lock();
            drop(lock.lock());
        });
    }) else {
        return;
    };
    let child =
        child.env("SWARD_RECORD", "1").env("SWARD_RECORD_FILE", &path).env("SWARD_DEADLOCKS", "abort");
    let output = child.output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the last seconds before the deadlock are in"), "{said}");
    let written = std::fs::read_to_string(&path).expect("a file");
    std::fs::remove_file(&path).expect("a file");
    let checked = check(&written);
    assert!(checked.turns.iter().any(|turn| turn["args"]["end"] == "parked in Mutex::lock"), "{written}");
}

/// The last seconds are copied before anything that takes long. Here that is the program's own `on_stall`,
/// during which the rings are overwritten.
#[test]
fn the_last_seconds_before_a_stall_are_copied_at_once() {
    const FILE: &str = "SWARD_RECORD_FILE";
    // A spare worker would run the siblings.
    if !coroutines_stay() || homes_by_default() {
        return;
    }
    let path = temporary_path();
    let Some(mut child) = child_command(|| {
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        let (overwritten, is_overwritten) = std::sync::mpsc::channel::<()>();
        let waits = std::sync::Mutex::new(is_overwritten);
        let builder = Builder::new().worker_threads(1).record(4 << 10);
        let builder = builder.stall_threshold(Duration::from_millis(20)).on_stall(move |stall| {
            if stall.coroutine.name.as_deref() != Some("computes") {
                return;
            }
            ends.store(true, Ordering::Relaxed);
            // Of a second stall the sender may be gone.
            let _ = waits.lock().expect("no panic").recv();
        });
        builder.build().expect("a runtime").run(|| {
            let before = sward::task::Builder::new().name("before-the-stall");
            before.spawn(sward::yield_now).expect("spawned").join().expect("no panic");
            let began = Instant::now();
            while !over.load(Ordering::Relaxed) {
                sward::spawn(|| ());
                let computes = sward::task::Builder::new().name("computes").spawn({
                    let over = over.clone();
                    move || {
                        let since = Instant::now();
                        while !over.load(Ordering::Relaxed) && since.elapsed() < Duration::from_secs(60) {
                            std::hint::spin_loop();
                        }
                    }
                });
                // One of the two waits behind it, whichever end of the queue is the first.
                sward::spawn(|| ());
                computes.expect("spawned").join().expect("no panic");
                assert!(began.elapsed() < LONG, "no stall is reported");
            }
            for _ in 0..1_000 {
                sward::yield_now();
            }
        });
        drop(overwritten);
        let path = std::env::var_os(FILE).expect("the parent has set it");
        let is_whole = || std::fs::read(&path).is_ok_and(|all| serde_json::from_slice::<Value>(&all).is_ok());
        eventually("the file", is_whole);
    }) else {
        return;
    };
    let output = child.env(FILE, &path).output().expect("a child");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let written = std::fs::read_to_string(&path).expect("a file");
    std::fs::remove_file(&path).expect("a file");
    check(&written);
    assert!(written.contains("before-the-stall"), "{written}");
}

/// What a trace says.
struct Checked {
    turns: Vec<Value>,
    tracks: Vec<String>,
}

/// Checks that a trace is as the documentation of the trace-event format wants it: fields, flows with both
/// ends inside of slices, and no slices of a track that overlap.
fn check(text: &str) -> Checked {
    let json: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(json["displayTimeUnit"], "ns");
    let process = json["traceEvents"][0]["pid"].as_u64().expect("a number");
    let mut slices: HashMap<u64, Vec<(u64, u64)>> = HashMap::new();
    let mut flows: HashMap<u64, [Option<(u64, u64)>; 2]> = HashMap::new();
    let mut checked = Checked { turns: Vec::new(), tracks: Vec::new() };
    let mut begins = HashSet::new();
    for event in json["traceEvents"].as_array().expect("an array") {
        let time = |key: &str| {
            let time = event[key].as_f64().unwrap_or_else(|| panic!("no {key} in {event}"));
            (time * 1000.0).round() as u64
        };
        assert_eq!(event["pid"], process);
        let name = event["name"].as_str().expect("a name");
        let kind = event["ph"].as_str().expect("a kind");
        let track = if name == "process_name" { 0 } else { event["tid"].as_u64().expect("a track") };
        match kind {
            "M" => {
                if name == "thread_name" {
                    checked.tracks.push(event["args"]["name"].as_str().expect("a name").to_owned());
                }
            }
            "X" => {
                slices.entry(track).or_default().push((time("ts"), time("ts") + time("dur")));
                if event["cat"] == "turn" {
                    assert!(
                        event["args"]["coroutine"].is_u64() && event["args"]["end"].is_string(),
                        "{event}"
                    );
                    begins.insert((track, time("ts")));
                    checked.turns.push(event.clone());
                }
            }
            "i" => assert!(event["s"] == "t" && event["ts"].is_number(), "{event}"),
            "s" | "f" => {
                let ends = flows.entry(event["id"].as_u64().expect("a number")).or_default();
                let end = &mut ends[usize::from(kind == "f")];
                assert!(end.replace((track, time("ts"))).is_none(), "{event}");
                assert!(kind == "s" || event["bp"] == "e", "{event}");
            }
            _ => panic!("{event}"),
        }
    }
    for slices in slices.values_mut() {
        slices.sort_unstable();
        for pair in slices.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "{pair:?} overlap");
        }
    }
    for ends in flows.values() {
        let [Some(from), Some(to)] = *ends else { panic!("a flow with one end") };
        assert!(from.1 <= to.1);
        assert!(begins.contains(&to), "a flow ends where no turn begins");
        let inside = |(track, at)| slices[&track].iter().any(|(begin, end)| *begin <= at && at <= *end);
        assert!(inside(from), "a flow begins outside of all slices");
    }
    checked
}
