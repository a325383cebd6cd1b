//! What the flight recorder has recorded: for a while from now on, or in the last seconds.
//!
//! The rings of the workers are read while they are written (`sched/ring.rs`), and nobody is stopped. A
//! recording of a while reads them every [`NAP`], so that it may have more events than a ring.

use super::collect::{alone, outside_of_workers_for};
use super::trace::{Recording, Trace, Track, assemble};
use crate::base::fork::PerProcess;
use crate::base::sys::report;
use crate::coroutine::WaitReason;
use crate::sched::{self, Clock, Cursor};
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How often a recording reads the rings.
const NAP: Duration = Duration::from_millis(5);
/// A trace has no more events than that: they take 32 bytes each while they are read, and more in the trace.
const MOST_EVENTS: usize = 4_000_000;
/// What is written to the file: that much of the past.
const PAST: Duration = Duration::from_secs(10);
/// After this many files, each trace takes the place of the one before.
const MOST_FILES: u32 = 16;

/// Who wants the recorder to be on.
#[derive(Default)]
struct Wanted {
    always: bool,
    recordings: usize,
}

fn wanted() -> MutexGuard<'static, Wanted> {
    static WANTED: PerProcess<Mutex<Wanted>> = PerProcess::new(Mutex::default);
    WANTED.get().lock().unwrap_or_else(PoisonError::into_inner)
}

fn change(f: impl FnOnce(&mut Wanted)) {
    let mut wanted = wanted();
    f(&mut wanted);
    sched::switch_recorder(wanted.always || wanted.recordings > 0);
}

/// Switches the flight recorder on, for all runtimes of the process: from now on each worker keeps its last
/// events in a ring. Does nothing if it is on.
///
/// `bytes` is the memory of a ring, of which each worker has one, and all other threads together; `None`
/// stands for 1 MiB, which holds 32,768 events. It is rounded down to a power of two. A worker whose ring
/// exists keeps it.
///
/// An event takes a few nanoseconds. So a program may have the recorder on all the time, and look at the last
/// seconds when something has gone wrong: [`recorded`] returns them, and they are written to a file on a dump
/// signal, a stall and a deadlock: see [the module](crate::observe#the-flight-recorder).
/// [`Builder::record`](crate::runtime::Builder::record) and the variable `SWARD_RECORD` do the same.
pub fn recorder_on(bytes: Option<usize>) {
    sched::set_recorder_bytes(bytes.unwrap_or(sched::DEFAULT_BYTES));
    change(|wanted| wanted.always = true);
}

/// Switches the flight recorder off. What it has recorded stays. The memory of a ring is freed when its
/// runtime ends.
pub fn recorder_off() {
    change(|wanted| wanted.always = false);
}

/// Records what the workers of the process do, for so long. The recorder need not be on.
///
/// Blocks the thread for that time. In a coroutine it parks instead, and is a cancellation point.
///
/// A trace has at most four million events. If there are more, the last ones are missing.
///
/// # Panics
///
/// In a coroutine, if the system has no thread for the recording.
///
/// ```
/// use std::time::Duration;
///
/// sward::run(|| {
///     let _pair = sward::spawn(|| sward::sleep(Duration::from_millis(5)));
///     let trace = sward::observe::record(Duration::from_millis(20));
///     let mut file = Vec::new();
///     trace.write_to(&mut file)?; // open it with https://ui.perfetto.dev
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub fn record(duration: Duration) -> Trace {
    record_at_most(duration, MOST_EVENTS)
}

/// As [`record`], with another limit of events.
pub(crate) fn record_at_most(duration: Duration, most: usize) -> Trace {
    let caller = Arc::new(());
    let alive = Arc::downgrade(&caller);
    // A cancellation ends the caller's frame.
    let cancelled = move || alive.strong_count() == 0;
    let trace = outside_of_workers_for(WaitReason::Record, move || record_here(duration, most, &cancelled));
    drop(caller);
    trace
}

fn record_here(duration: Duration, most: usize, cancelled: &dyn Fn() -> bool) -> Trace {
    struct Counted;
    impl Drop for Counted {
        fn drop(&mut self) {
            change(|wanted| wanted.recordings -= 1);
        }
    }
    change(|wanted| wanted.recordings += 1);
    let counted = Counted;
    let mut reader = Reader::begin(false, most);
    let until = reader.began.at().checked_add(duration);
    loop {
        let left = until.map_or(NAP, |until| until.saturating_duration_since(Instant::now()));
        if left.is_zero() || cancelled() {
            break;
        }
        std::thread::sleep(left.min(NAP));
        reader.read();
    }
    let trace = reader.end(duration);
    drop(counted);
    trace
}

/// What the flight recorder holds of the last seconds: events of that time, as far as they were not
/// overwritten. [`recorder_on`] switches it on; without that there are none. The events of a runtime that has
/// ended are gone.
///
/// Stops nobody. Blocks the thread for some milliseconds; in a coroutine it parks instead, and is a
/// cancellation point.
///
/// # Panics
///
/// In a coroutine, if the system has no thread for it.
///
/// ```
/// use std::time::Duration;
///
/// sward::observe::recorder_on(None);
/// sward::run(|| {
///     sward::spawn(|| 6 * 7).join()?;
///     let trace = sward::observe::recorded(Duration::from_secs(10));
///     assert!(trace.events.len() > 2);
///     Ok::<(), sward::task::JoinError>(())
/// })
/// .unwrap();
/// # sward::observe::recorder_off();
/// ```
pub fn recorded(last: Duration) -> Trace {
    recorded_at_most(last, MOST_EVENTS)
}

/// As [`recorded`], with another limit of events.
pub(crate) fn recorded_at_most(last: Duration, most: usize) -> Trace {
    outside_of_workers_for(WaitReason::Record, move || recorded_here(last, most))
}

fn recorded_here(last: Duration, most: usize) -> Trace {
    let mut reader = Reader::begin(true, most);
    if reader.start.at().elapsed() < sched::CALIBRATION {
        std::thread::sleep(sched::CALIBRATION);
    }
    reader.read();
    reader.end(last)
}

struct Reader {
    /// The first reading of the clock: of the process, so that the rate is known well.
    start: Clock,
    /// Where the span begins, unless it is to begin earlier.
    began: Clock,
    from_oldest: bool,
    tracks: Vec<Track>,
    /// How many events there may be, and how many more there were.
    most: usize,
    left_out: u64,
}

impl Reader {
    /// Begins with the oldest events, or with the next ones.
    fn begin(from_oldest: bool, most: usize) -> Reader {
        let (start, began) = (Clock::start(), Clock::now());
        let mut reader = Reader { start, began, from_oldest, tracks: Vec::new(), most, left_out: 0 };
        reader.add_tracks(from_oldest);
        reader
    }

    /// Adds the rings that it does not know.
    fn add_tracks(&mut self, from_oldest: bool) {
        for shared in sched::runtimes() {
            for (index, remote) in shared.active_remotes().iter().enumerate() {
                let Some(cursor) = Cursor::of(&remote.track, from_oldest) else { continue };
                self.add(cursor, || Some((shared.config().thread_name.clone(), index)));
            }
        }
        if let Some(cursor) = Cursor::elsewhere(from_oldest) {
            self.add(cursor, || None);
        }
    }

    fn add(&mut self, cursor: Cursor, worker: impl FnOnce() -> Option<(String, usize)>) {
        if !self.tracks.iter().any(|track| track.cursor.is_of(&cursor)) {
            self.tracks.push(Track { worker: worker(), events: Vec::new(), lost: 0, cursor });
        }
    }

    /// Reads what has been recorded since the last time.
    fn read(&mut self) {
        // A ring that was made meanwhile holds nothing older.
        self.add_tracks(true);
        let mut count: usize = self.tracks.iter().map(|track| track.events.len()).sum();
        for track in &mut self.tracks {
            let before = track.events.len();
            track.lost += track.cursor.read(&mut track.events);
            let room = self.most.saturating_sub(count);
            if track.events.len() - before > room {
                self.left_out += (track.events.len() - before - room) as u64;
                track.events.truncate(before + room);
            }
            count += track.events.len() - before;
        }
    }

    fn end(mut self, span: Duration) -> Trace {
        let end = Clock::now();
        self.read();
        let mut names = Vec::new();
        {
            let _alone = alone();
            for shared in sched::runtimes() {
                sched::for_each_name(&shared, |id, name| names.push((id, name.into())));
            }
        }
        // A coroutine that has ended meanwhile has left its name.
        self.read();
        let rate = end.rate_since(self.start);
        let earliest = if self.from_oldest { self.start } else { self.began };
        let lasts = end.at().saturating_duration_since(earliest.at());
        let lasts = if self.from_oldest { lasts.min(span) } else { lasts };
        let start = end.ticks().saturating_sub((lasts.as_nanos() as f64 / rate) as u64);
        // What a ring has lost before the span does not matter.
        let lost = |track: &Track| {
            let oldest = track.events.first().and_then(|raw| raw.decode());
            if oldest.is_some_and(|event| event.at > start) { track.lost } else { 0 }
        };
        for track in &mut self.tracks {
            track.lost = lost(track);
        }
        // The names of a ring that is read from its oldest event on are not lost with that.
        let lost = self.left_out + self.tracks.iter().map(|track| track.lost).sum::<u64>();
        let began = SystemTime::now() - end.at().elapsed() - lasts;
        self.tracks.sort_by_key(|track| track.worker.is_none());
        assemble(Recording { began, lasts, start, rate, end, tracks: self.tracks, names, lost })
    }
}

/// Where the last seconds go on a signal, a stall or a deadlock.
static FILE: OnceLock<&Path> = OnceLock::new();
static WRITTEN: PerProcess<Mutex<u32>> = PerProcess::new(Mutex::default);

/// Sets the file for [`Past::write`]. It counts once in a process.
pub(crate) fn set_file(path: &'static Path) {
    let _ = FILE.set(path);
}

/// The last seconds, for the file.
pub(super) struct Past {
    path: &'static Path,
    trace: Trace,
}

impl Past {
    /// Something has gone wrong, or a signal asks: copies the last seconds, if the recorder is on and there
    /// is a file for them. Called before anything that takes long, such as finding the names of functions:
    /// the rings are overwritten meanwhile.
    pub(super) fn copy() -> Option<Past> {
        let path = FILE.get().filter(|_| wanted().always)?;
        Some(Past { path, trace: recorded_here(PAST, MOST_EVENTS) })
    }

    /// Writes the file, if there are any, and says on stderr what it is.
    pub(super) fn write(past: Option<Past>, cause: &str) {
        let Some(past) = past else { return };
        // One file after the other.
        let mut written = WRITTEN.get().lock().unwrap_or_else(PoisonError::into_inner);
        *written = (*written + 1).min(MOST_FILES);
        let path = numbered(past.path, *written);
        let write = || -> io::Result<()> { past.trace.write_to(BufWriter::new(File::create(&path)?)) };
        match write() {
            Ok(()) => {
                report(format_args!("sward: the last seconds before {cause} are in {}", path.display()))
            }
            Err(error) => {
                report(format_args!("sward: the trace cannot be written to {}: {error}", path.display()));
            }
        }
    }
}

/// `trace.json`, then `trace.2.json` and so on.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number <= 1 {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{number}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_trace_has_its_file() {
        let names = [1, 2, 16].map(|number| numbered(Path::new("/tmp/a.b/trace.json"), number));
        let want = ["/tmp/a.b/trace.json", "/tmp/a.b/trace.2.json", "/tmp/a.b/trace.16.json"];
        assert_eq!(names, want.map(PathBuf::from));
        assert_eq!(numbered(Path::new("trace"), 2), Path::new("trace.2"));
    }
}
