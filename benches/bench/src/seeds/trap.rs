//! The blocking-call trap: what one call that keeps its thread for 100 ms does to everybody else.
//!
//! 100 others tick every 10 ms, at times fixed in advance. The figure is how late a tick is that was due
//! while the call lasted. The call waits in the kernel, as a read of a file on a slow disk or a name lookup
//! does (a sleep that the runtime does not see stands for it), or it computes.

use crate::child::Runner;
use crate::peers::sward::{self as modes, Sward};
use crate::peers::{Peer, threads::Threads};
use crate::suite::grid::{Grid, Part, Shape, Unit, missing, not_here};
use crate::suite::{Options, numbers};
use hdrhistogram::Histogram;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a call keeps its thread.
const CALL: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_millis(10);
/// From the start to the first call.
const BEFORE: Duration = Duration::from_millis(100);
/// From call to call: four calls one after another fit in between.
const BETWEEN: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Waits in the kernel.
    Wait,
    Compute,
}

/// The work of a child.
#[derive(Clone, Copy)]
struct Trap {
    kind: Kind,
    /// Calls at the same time.
    count: u32,
    others: u32,
    /// How often.
    times: u32,
}

impl Trap {
    fn begin(self, start: Instant, time: u32) -> Instant {
        start + BEFORE + BETWEEN * time
    }

    /// Ticks that count are due before this.
    fn end(self, start: Instant) -> Instant {
        self.begin(start, self.times - 1) + CALL
    }

    /// Whether a tick was due while a call should have lasted.
    fn counts(self, start: Instant, due: Instant) -> bool {
        (0..self.times).map(|time| self.begin(start, time)).any(|begin| due >= begin && due < begin + CALL)
    }

    fn call(self) {
        match self.kind {
            Kind::Wait => std::thread::sleep(CALL),
            Kind::Compute => {
                let start = Instant::now();
                while start.elapsed() < CALL {
                    std::hint::spin_loop();
                }
            }
        }
    }
}

/// One of the others.
struct Ticker {
    trap: Trap,
    start: Instant,
    due: Instant,
    /// Nanoseconds, of each tick that counts.
    late: Vec<u64>,
}

impl Ticker {
    fn new(trap: Trap, start: Instant, number: u32) -> Ticker {
        // Spread over the period.
        Ticker { trap, start, due: start + TICK * number / trap.others, late: Vec::new() }
    }

    /// Records the ticks that are due now. Returns the time until the next one; nothing after the last.
    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        while self.due <= now {
            if self.trap.counts(self.start, self.due) {
                self.late.push((now - self.due).as_nanos() as u64);
            }
            self.due += TICK;
        }
        (self.due < self.trap.end(self.start)).then(|| self.due - now)
    }
}

fn blocking_peer<P: Peer>(trap: Trap, workers: usize, call: fn(Trap)) -> Vec<u64> {
    P::run(workers, move || {
        let start = Instant::now();
        let others = (0..trap.others).map(|number| {
            P::spawn(move || {
                let mut ticker = Ticker::new(trap, start, number);
                while let Some(rest) = ticker.next() {
                    P::sleep(rest);
                }
                ticker.late
            })
        });
        let others: Vec<_> = others.collect();
        let callers = (0..trap.count).map(|_| {
            P::spawn(move || {
                for time in 0..trap.times {
                    P::sleep(trap.begin(start, time).saturating_duration_since(Instant::now()));
                    call(trap);
                }
            })
        });
        callers.collect::<Vec<_>>().into_iter().for_each(P::join);
        others.into_iter().flat_map(P::join).collect()
    })
}

/// What tokio does with the call.
#[derive(Clone, Copy)]
enum Tokio {
    InAsync,
    SpawnBlocking,
    HandOver,
}

fn tokio_peer(trap: Trap, workers: usize, how: Tokio) -> Vec<u64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let runtime = runtime.expect("the runtime starts");
    let main = async move {
        let start = Instant::now();
        let other = |number| async move {
            let mut ticker = Ticker::new(trap, start, number);
            while let Some(rest) = ticker.next() {
                tokio::time::sleep(rest).await;
            }
            ticker.late
        };
        let others: Vec<_> = (0..trap.others).map(|number| tokio::spawn(other(number))).collect();
        let caller = || async move {
            for time in 0..trap.times {
                tokio::time::sleep(trap.begin(start, time).saturating_duration_since(Instant::now())).await;
                match how {
                    Tokio::InAsync => trap.call(),
                    Tokio::SpawnBlocking => {
                        tokio::task::spawn_blocking(move || trap.call()).await.expect("it only waits")
                    }
                    Tokio::HandOver => tokio::task::block_in_place(|| trap.call()),
                }
            }
        };
        let callers: Vec<_> = (0..trap.count).map(|_| tokio::spawn(caller())).collect();
        for caller in callers {
            caller.await.expect("it ends well");
        }
        let mut late = Vec::new();
        for other in others {
            late.extend(other.await.expect("it ends well"));
        }
        late
    };
    // Spawned, since `block_on` would run it on this thread, which is no worker.
    runtime.block_on(runtime.spawn(main)).expect("it ends well")
}

/// The variants: name in the report, and name for the child.
const VARIANTS: [(&str, &str); 11] = [
    ("a thread each", "threads"),
    ("sward: plain call", "sward"),
    ("sward: in `blocking`", "sward-blocking"),
    ("sward with homes: plain call", "sward-homes"),
    ("sward, migrating: plain call", "sward-migrating"),
    ("tokio: call in `async`", "tokio"),
    ("tokio: `spawn_blocking`", "tokio-spawn"),
    ("tokio: `block_in_place`", "tokio-in-place"),
    ("Go: plain call", "go"),
    ("Node.js: plain call", "node-sync"),
    ("Node.js: worker thread", "node-worker"),
];

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.to_owned())
}

/// `trap VARIANT wait|compute COUNT OTHERS TIMES WORKERS`: the child. It prints percentiles of the lateness.
pub fn child(arguments: &[String]) -> io::Result<()> {
    let [variant, kind, rest @ ..] = arguments else { return Err(wrong("trap wants a variant and a kind")) };
    let numbers: Vec<u32> = rest.iter().map_while(|text| text.parse().ok()).collect();
    let [count, others, times, workers] = numbers[..] else { return Err(wrong("trap wants four numbers")) };
    let kind = match kind.as_str() {
        "wait" => Kind::Wait,
        "compute" => Kind::Compute,
        _ => return Err(wrong("trap waits or computes")),
    };
    let (trap, workers) = (Trap { kind, count, others, times }, workers as usize);
    let mode = modes::mode(if variant == "sward-blocking" { "sward" } else { variant });
    mode.into_iter().for_each(modes::set_mode);
    let late = match variant.as_str() {
        "threads" => blocking_peer::<Threads>(trap, workers, Trap::call),
        "sward-blocking" => blocking_peer::<Sward>(trap, workers, |trap| {
            sward::blocking(|| trap.call()).expect("the pool has a thread");
        }),
        _ if mode.is_some() => blocking_peer::<Sward>(trap, workers, Trap::call),
        "tokio" => tokio_peer(trap, workers, Tokio::InAsync),
        "tokio-spawn" => tokio_peer(trap, workers, Tokio::SpawnBlocking),
        "tokio-in-place" => tokio_peer(trap, workers, Tokio::HandOver),
        _ => return Err(wrong(&format!("no such variant: {variant}"))),
    };
    // Each ticker has ten ticks in each call.
    let expected = u64::from(others * times) * (CALL.as_millis() / TICK.as_millis()) as u64;
    if late.len() as u64 != expected {
        return Err(io::Error::other(format!("{} ticks instead of {expected}", late.len())));
    }
    let mut histogram = Histogram::<u32>::new_with_bounds(1, 60_000_000_000, 3).expect("fine bounds");
    late.iter().for_each(|&nanos| histogram.saturating_record(nanos));
    let [p50, p99] = [0.5, 0.99].map(|quantile| histogram.value_at_quantile(quantile));
    println!("p50 {p50} p99 {p99} max {}", histogram.max());
    Ok(())
}

fn node() -> Result<PathBuf, String> {
    let found = Command::new("node").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match found {
        Ok(status) if status.success() => Ok(Path::new(env!("CARGO_MANIFEST_DIR")).join("node/trap.js")),
        _ => Err("Node.js is not installed".into()),
    }
}

pub fn run(options: &Options, runner: &Runner, no_go: Option<&str>) -> io::Result<Vec<Part>> {
    let cases: &[(Kind, u32, &str)] = &[
        (Kind::Wait, 1, "one waits"),
        (Kind::Wait, 4, "four wait"),
        (Kind::Compute, 1, "one computes"),
        (Kind::Compute, 4, "four compute"),
    ];
    let (others, times) = if options.quick { (20, 1) } else { (100, 3) };
    let columns: Vec<String> = cases.iter().map(|(.., name)| (*name).to_owned()).collect();
    let names = VARIANTS.map(|(name, _)| name);
    let title = |what: &str| {
        format!("How late {} others tick while calls keep their threads for 100 ms, {what}", numbers(others))
    };
    let grid = |file, what| {
        let mut grid = Grid::new(file, &title(what), Unit::Nanos, "calls at once", &columns, &names);
        grid.shape = Shape::Dots;
        grid
    };
    let (mut p99, mut p50) = (grid("seeds-trap", "p99"), grid("seeds-trap-p50", "median"));
    let no_node = node().err();
    let no_homes = ::sward::runtime::homes_supported().err().map(|reason| reason.to_string());
    for round in 0..options.rounds {
        for (column, &(kind, count, name)) in cases.iter().enumerate() {
            // Quick: one of each kind is enough to see that it works.
            if options.quick && count > 1 {
                for variant in 0..VARIANTS.len() {
                    let reason = || missing(&not_here("not in the quick run"));
                    p99.cell(variant, column).add(Err(reason()));
                    p50.cell(variant, column).add(Err(reason()));
                }
                continue;
            }
            for turn in 0..VARIANTS.len() {
                let variant = (round + turn) % VARIANTS.len();
                let (label, peer) = VARIANTS[variant];
                options.progress(&format!("{name}: {label}"));
                let reason = match peer {
                    "go" => no_go,
                    "sward-homes" => no_homes.as_deref(),
                    _ if peer.starts_with("node") => no_node.as_deref(),
                    _ => None,
                };
                let kind = if kind == Kind::Wait { "wait" } else { "compute" };
                let numbers = [count, others as u32, times].map(|n| n.to_string());
                let words = [&[kind.to_owned()], &numbers[..]].concat();
                let sample = match (reason, node()) {
                    (Some(reason), _) => Err(not_here(reason)),
                    (None, Ok(script)) if peer.starts_with("node") => {
                        let mut command = Command::new("node");
                        command.arg(script).arg(peer).args(&words);
                        runner.once(command)
                    }
                    _ => runner.once(runner.command(peer, "trap", &words)),
                };
                let figure = |key: &str| sample.as_ref().map(|sample| sample[key]).map_err(missing);
                p99.cell(variant, column).add(figure("p99"));
                p50.cell(variant, column).add(figure("p50"));
            }
        }
    }
    for (column, name) in columns.iter().enumerate() {
        for (above, below) in [
            ("sward: plain call", "sward: in `blocking`"),
            ("tokio: call in `async`", "tokio: `spawn_blocking`"),
            ("sward: plain call", "sward with homes: plain call"),
            ("sward with homes: plain call", "Go: plain call"),
        ] {
            p99.claim(&format!("{above}, to {below}: {name}"), (above, column), (below, column));
        }
    }
    Ok(vec![Part::Figures(p99), Part::Figures(p50)])
}
