//! A trace in the trace-event format, which Perfetto and speedscope open.
//!
//! One track for each worker, with a slice for each turn, poll and sleep. One for all other threads. As many
//! for blocking calls as ran at the same time. A flow leads from a wake-up to the turn that follows. A flow
//! begins in a slice, so a wake-up outside of all slices gets one of a nanosecond.

use super::json::string;
use super::trace::{Trace, TraceEvent, TraceEventKind, WakeCause};
use crate::coroutine::Id;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

/// What is written at a time.
const PIECE: usize = 64 << 10;
/// The shortest slice that has room for the beginning of a flow.
const MOMENT: Duration = Duration::from_nanos(1);

impl Trace {
    /// The trace as JSON in the trace-event format. Open it with <https://ui.perfetto.dev> or
    /// <https://speedscope.app>.
    ///
    /// ```
    /// # let runtime = sward::runtime::Builder::new().build()?;
    /// let trace = sward::observe::record(std::time::Duration::from_millis(1));
    /// assert!(trace.to_json().starts_with(r#"{"displayTimeUnit":"ns","traceEvents":["#));
    /// # drop(runtime);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn to_json(&self) -> String {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes).expect("a vector takes all that is written");
        String::from_utf8(bytes).expect("what is written is text")
    }

    /// Writes the trace as [`to_json`](Self::to_json), in pieces.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn write_to(&self, to: impl Write) -> io::Result<()> {
        let layout = Layout::of(self);
        let mut out =
            Out { to, text: String::with_capacity(2 * PIECE), empty: true, process: std::process::id() };
        out.text.push_str("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[");
        layout.write_tracks(&mut out)?;
        for slices in &layout.slices {
            for slice in slices {
                out.slice(slice)?;
            }
        }
        layout.write_instants(&mut out)?;
        let began = self.began.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let _ = write!(out.text, "],\"otherData\":{{\"lost_events\":{},", self.lost);
        let _ = write!(out.text, "\"began_unix_ms\":{}}}}}", began.as_millis());
        out.flush()
    }
}

/// A slice of a track.
struct Slice {
    track: usize,
    from: Duration,
    to: Duration,
    category: &'static str,
    name: String,
    /// The inside of an object.
    details: String,
}

/// The tracks of a trace: the workers, then the other threads, then blocking calls.
struct Layout<'a> {
    trace: &'a Trace,
    /// For each track, by their beginning.
    slices: Vec<Vec<Slice>>,
}

impl<'a> Layout<'a> {
    fn of(trace: &'a Trace) -> Layout<'a> {
        let mut slices = Vec::new();
        for worker in 0..=trace.workers.len() {
            slices.push(if worker < trace.workers.len() {
                slices_of_worker(trace, worker)
            } else {
                Vec::new()
            });
        }
        let mut layout = Layout { trace, slices };
        layout.add_wakes();
        layout.add_calls();
        layout
    }

    fn elsewhere(&self) -> usize {
        self.trace.workers.len()
    }

    fn track_of(&self, event: &TraceEvent) -> usize {
        event.worker.unwrap_or(self.elsewhere())
    }

    /// Gives each wake-up a slice that has none.
    fn add_wakes(&mut self) {
        let mut more = Vec::new();
        for event in &self.trace.events {
            let TraceEventKind::Wake { coroutine, turn: Some(_), .. } = event.what else { continue };
            let track = self.track_of(event);
            let slices = &self.slices[track];
            let before = slices.partition_point(|slice| slice.from <= event.at);
            let inside = before > 0 && event.at <= slices[before - 1].to;
            if !inside {
                // Not into the next slice.
                let next = slices.get(before).map_or(Duration::MAX, |next| next.from);
                more.push(Slice {
                    track,
                    from: event.at,
                    to: (event.at + MOMENT).min(next),
                    category: "wake",
                    name: "wake".to_owned(),
                    details: format!("\"coroutine\":{coroutine}"),
                });
            }
        }
        for slice in more {
            let slices = &mut self.slices[slice.track];
            slices.push(slice);
        }
        for slices in &mut self.slices {
            slices.sort_by_key(|slice| slice.from);
            // Threads that are no workers share a track.
            for index in 1..slices.len() {
                let next = slices[index].from;
                slices[index - 1].to = slices[index - 1].to.min(next);
            }
        }
    }

    /// Adds the blocking calls: each to the first track that is free.
    fn add_calls(&mut self) {
        let first = self.slices.len();
        let mut running: HashMap<u64, Slice> = HashMap::new();
        let mut calls = Vec::new();
        for event in &self.trace.events {
            match event.what {
                TraceEventKind::CallBegin { call, made_at, caller } => {
                    let mut details = format!("\"call\":{call}");
                    if let Some(caller) = caller {
                        let _ = write!(details, ",\"caller\":{caller}");
                    }
                    let name = format!("{}:{}", made_at.file(), made_at.line());
                    let (from, to) = (event.at, self.trace.lasts);
                    running.insert(call, Slice { track: 0, from, to, category: "blocking", name, details });
                }
                TraceEventKind::CallEnd { call } => {
                    let begun_before = || Slice {
                        track: 0,
                        from: Duration::ZERO,
                        to: event.at,
                        category: "blocking",
                        name: "blocking call".to_owned(),
                        details: format!("\"call\":{call}"),
                    };
                    let call = running.remove(&call).unwrap_or_else(begun_before);
                    calls.push(Slice { to: event.at, ..call });
                }
                _ => {}
            }
        }
        calls.extend(running.into_values());
        calls.sort_by_key(|call| call.from);
        for call in calls {
            let free = |slices: &Vec<Slice>| slices.last().is_none_or(|last| last.to <= call.from);
            let track = match self.slices[first..].iter().position(free) {
                Some(free) => first + free,
                None => {
                    self.slices.push(Vec::new());
                    self.slices.len() - 1
                }
            };
            self.slices[track].push(Slice { track, ..call });
        }
    }

    fn write_tracks(&self, out: &mut Out<impl Write>) -> io::Result<()> {
        out.metadata(None, "process_name", &format!("\"name\":\"process {}\"", out.process))?;
        for track in 0..self.slices.len() {
            let name = match self.trace.workers.get(track) {
                Some(worker) => format!("{}-{}", worker.runtime, worker.index),
                None if track == self.elsewhere() => "other threads".to_owned(),
                None => format!("blocking call {}", track - self.elsewhere()),
            };
            let mut details = "\"name\":".to_owned();
            string(&mut details, &name);
            out.metadata(Some(track), "thread_name", &details)?;
            out.metadata(Some(track), "thread_sort_index", &format!("\"sort_index\":{track}"))?;
        }
        Ok(())
    }

    /// Writes what is no slice.
    fn write_instants(&self, out: &mut Out<impl Write>) -> io::Result<()> {
        for (number, event) in self.trace.events.iter().enumerate() {
            let track = self.track_of(event);
            let about = |id: Id| {
                let mut details = format!("\"coroutine\":{id},\"of\":");
                string(&mut details, &label(self.trace, id));
                details
            };
            match event.what {
                TraceEventKind::Spawn { coroutine, .. } => {
                    out.instant(track, event.at, "spawn", &about(coroutine))?;
                }
                TraceEventKind::Steal { coroutine, from } => {
                    let what = coroutine.map_or_else(|| "\"home\":true".to_owned(), about);
                    out.instant(track, event.at, "steal", &format!("{what},\"from_worker\":{from}"))?;
                }
                TraceEventKind::BudgetYield { coroutine } => {
                    out.instant(track, event.at, "budget used up", &about(coroutine))?;
                }
                TraceEventKind::Wake { coroutine, cause, turn, .. } => {
                    let name = match cause {
                        WakeCause::Event => "wake",
                        WakeCause::Timeout => "timer",
                        WakeCause::Cancelled => "cancel",
                    };
                    if cause != WakeCause::Event {
                        out.instant(track, event.at, name, &about(coroutine))?;
                    }
                    if let Some(turn) = turn.and_then(|turn| self.trace.events.get(turn)) {
                        out.flow(number, (track, event.at), (self.track_of(turn), turn.at))?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The turns, polls and sleeps of a worker.
fn slices_of_worker(trace: &Trace, worker: usize) -> Vec<Slice> {
    let mut slices = Vec::new();
    let mut turn: Option<(Id, Duration)> = None;
    let mut first = true;
    let known_from = trace.workers[worker].known_from;
    let of_turn = |id, from, to, end: &TraceEventKind| Slice {
        track: worker,
        from,
        to,
        category: "turn",
        name: label(trace, id),
        details: details_of_turn(trace, id, end),
    };
    for event in trace.events.iter().filter(|event| event.worker == Some(worker)) {
        if let Some(id) = event.what.begins() {
            turn = Some((id, event.at));
        } else if let Some(id) = event.what.ends() {
            match turn.take() {
                Some((begun, from)) if begun == id => slices.push(of_turn(id, from, event.at, &event.what)),
                // It was in its turn when the trace began.
                None if first => slices.push(of_turn(id, known_from, event.at, &event.what)),
                _ => {}
            }
        } else {
            let (began, category, name) = match event.what {
                TraceEventKind::Sleep { began } => (began, "sleep", "asleep"),
                TraceEventKind::Poll { began, .. } => (began, "poll", "poll"),
                _ => continue,
            };
            let last = slices.last().map_or(known_from, |last: &Slice| last.to);
            let (from, name) = (began.max(last).min(event.at), name.to_owned());
            slices.push(Slice { track: worker, from, to: event.at, category, name, details: String::new() });
        }
        first = false;
    }
    // If the last events are missing, nobody knows how long it lasted.
    if let Some((id, from)) = turn.filter(|_| trace.lost == 0) {
        let still = TraceEventKind::Resume { coroutine: id };
        slices.push(of_turn(id, from, trace.lasts, &still));
    }
    slices
}

/// How a track names a coroutine: by its name, or else by the call that spawned it.
fn label(trace: &Trace, id: Id) -> String {
    let Some(coroutine) = trace.coroutine(id) else { return format!("coroutine #{id}") };
    match (&coroutine.name, coroutine.spawned_at) {
        (Some(name), _) => name.to_string(),
        (None, Some(site)) => format!("{}:{}", site.file(), site.line()),
        (None, None) => format!("coroutine #{id}"),
    }
}

fn details_of_turn(trace: &Trace, id: Id, end: &TraceEventKind) -> String {
    let mut text = format!("\"coroutine\":{id}");
    if let Some(coroutine) = trace.coroutine(id) {
        if let Some(site) = coroutine.spawned_at {
            text.push_str(",\"spawned_at\":");
            string(&mut text, &site.to_string());
        }
        if let Some(parent) = coroutine.parent {
            let _ = write!(text, ",\"parent\":{parent}");
        }
    }
    text.push_str(",\"end\":");
    match *end {
        TraceEventKind::Park { call, subject, .. } => {
            string(&mut text, &format!("parked in {call}"));
            if let Some(subject) = subject {
                let _ = write!(text, ",\"subject\":\"{subject:#x}\"");
            }
        }
        TraceEventKind::Yield { .. } => text.push_str("\"yielded\""),
        TraceEventKind::End { .. } => text.push_str("\"ended\""),
        _ => text.push_str("\"still runs\""),
    }
    text
}

/// Writes events.
struct Out<W> {
    to: W,
    text: String,
    empty: bool,
    process: u32,
}

impl<W: Write> Out<W> {
    fn flush(&mut self) -> io::Result<()> {
        self.to.write_all(self.text.as_bytes())?;
        self.text.clear();
        self.to.flush()
    }

    /// An event of that kind. `more` are further fields, with a comma before each.
    fn event(&mut self, kind: char, track: Option<usize>, name: &str, more: &str) -> io::Result<()> {
        if !std::mem::replace(&mut self.empty, false) {
            self.text.push(',');
        }
        let _ = write!(self.text, "\n{{\"ph\":\"{kind}\",\"pid\":{}", self.process);
        if let Some(track) = track {
            let _ = write!(self.text, ",\"tid\":{}", track + 1);
        }
        self.text.push_str(",\"name\":");
        string(&mut self.text, name);
        self.text.push_str(more);
        self.text.push('}');
        if self.text.len() < PIECE {
            return Ok(());
        }
        self.to.write_all(self.text.as_bytes())?;
        self.text.clear();
        Ok(())
    }

    fn metadata(&mut self, track: Option<usize>, name: &str, details: &str) -> io::Result<()> {
        self.event('M', track, name, &format!(",\"args\":{{{details}}}"))
    }

    fn slice(&mut self, slice: &Slice) -> io::Result<()> {
        let (from, took) = (Micros(slice.from), Micros(slice.to.saturating_sub(slice.from)));
        let Slice { category, details, .. } = slice;
        let more = format!(",\"cat\":\"{category}\",\"ts\":{from},\"dur\":{took},\"args\":{{{details}}}");
        self.event('X', Some(slice.track), &slice.name, &more)
    }

    fn instant(&mut self, track: usize, at: Duration, name: &str, details: &str) -> io::Result<()> {
        let more = format!(",\"cat\":\"{name}\",\"s\":\"t\",\"ts\":{},\"args\":{{{details}}}", Micros(at));
        self.event('i', Some(track), name, &more)
    }

    /// A flow from a place to another: each a track and a time.
    fn flow(&mut self, id: usize, from: (usize, Duration), to: (usize, Duration)) -> io::Result<()> {
        let more = |end, at| format!(",\"cat\":\"wake\",\"id\":{id}{end},\"ts\":{}", Micros(at));
        self.event('s', Some(from.0), "wake", &more("", from.1))?;
        self.event('f', Some(to.0), "wake", &more(",\"bp\":\"e\"", to.1))
    }
}

/// A time in microseconds, to a nanosecond.
struct Micros(Duration);

impl std::fmt::Display for Micros {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0.as_micros(), self.0.subsec_nanos() % 1000)
    }
}
