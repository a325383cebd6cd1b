//! One thread for each connection, a coroutine for each connection, an event loop: memory, context switches,
//! throughput and latency of an echo server, and what idle connections cost.

use crate::child::{Runner, Sample};
use crate::suite::grid::{Cell, Grid, Part, Unit, missing, not_here};
use crate::suite::{Options, numbers};
use crate::sys;
use std::io;

const COUNTS: [usize; 3] = [100, 1_000, 10_000];
/// At most so many idle connections: a server that keeps its clients for a while has that many.
const IDLE: usize = 50_000;
/// Descriptors that a server or a client needs besides its connections.
const SPARE_DESCRIPTORS: u64 = 64;

/// The peers, and their names in the report.
const SERVERS: [(&str, &str); 6] = [
    ("threads", "a thread each"),
    ("sward", "sward, a coroutine each"),
    ("sward-serve", "sward, `net::serve`"),
    ("go", "Go, a goroutine each"),
    ("tokio", "tokio, a task each"),
    ("raw", "an event loop by hand"),
];
const THREADS: &str = SERVERS[0].1;
const SWARD: &str = SERVERS[1].1;
const SERVE: &str = SERVERS[2].1;
const GO: &str = SERVERS[3].1;
const TOKIO: &str = SERVERS[4].1;
const LOOP: &str = SERVERS[5].1;

/// The figures that a sample has, by key.
const BUSY: [(&str, &str, &str, Unit); 6] = [
    ("seeds-rate", "Throughput: echoes of 64 bytes", "rate", Unit::PerSecond),
    ("seeds-cpu", "Processor time of the server for each echo", "cpu", Unit::Nanos),
    ("seeds-p99", "Latency, p99", "p99", Unit::Nanos),
    ("seeds-switches", "Context switches of the server for each echo", "switches", Unit::Count),
    ("seeds-memory", "Memory of the process for each connection, page tables included", "bytes", Unit::Bytes),
    ("seeds-stacks", "Kernel stacks for each connection", "stacks", Unit::Bytes),
];
const RESTING: [(&str, &str); 2] = [("memory of the process", "bytes"), ("kernel stacks", "stacks")];

fn figure(sample: &io::Result<Sample>, key: &str) -> Result<f64, Cell> {
    match sample {
        Err(e) => Err(missing(e)),
        Ok(sample) if key == "rate" => Ok(1e9 / sample["wall"]),
        Ok(sample) => sample.get(key).copied().ok_or_else(|| Cell::Failed(format!("there is no {key}"))),
    }
}

/// That the kernel has no thread left for so many connections is no failure of the program.
fn too_many_threads(peer: &str, connections: usize, e: io::Error) -> io::Error {
    if peer != "threads" || connections <= 1_000 {
        return e;
    }
    let limit = sys::max_map_count();
    if 4 * connections as u64 > limit {
        let limit = numbers(limit);
        return not_here(format!(
            "a thread has four mappings (stack, signal stack, their guards), and vm.max_map_count is {limit}"
        ));
    }
    not_here(format!("no thread for each: {e}"))
}

/// The ratios that the text speaks of, by key.
fn pairs(key: &str) -> &'static [(&'static str, &'static str)] {
    match key {
        "rate" => &[(SWARD, THREADS), (LOOP, SWARD), (LOOP, SERVE)],
        "switches" => &[(THREADS, SWARD)],
        "bytes" => &[(THREADS, SWARD), (SWARD, GO), (SWARD, SERVE)],
        "stacks" => &[],
        _ => &[(THREADS, SWARD), (SWARD, LOOP), (SERVE, LOOP), (SWARD, GO), (SWARD, TOKIO)],
    }
}

pub fn run(options: &Options, runner: &Runner, no_go: Option<&str>) -> io::Result<Vec<Part>> {
    let most = options.descriptors.saturating_sub(SPARE_DESCRIPTORS) as usize;
    let (counts, idle) =
        if options.quick { (&COUNTS[..1], most.min(200)) } else { (&COUNTS[..], most.min(IDLE)) };
    let counts: Vec<usize> = counts.iter().map(|&count| count.min(most)).collect();
    let columns: Vec<String> = counts.iter().map(|&count| numbers(count as u64)).collect();
    let names = SERVERS.map(|(_, name)| name);
    let busy = |(file, title, _, unit): (&str, &str, &str, Unit)| {
        Grid::new(file, title, unit, "connections", &columns, &names)
    };
    let mut grids = BUSY.map(busy);
    let title = format!("One of {} idle connections", numbers(idle as u64));
    let resting = RESTING.map(|(column, _)| column.to_owned());
    let mut idles = Grid::new("seeds-idle", &title, Unit::Bytes, "server", &resting, &names);
    idles.shape = crate::suite::grid::Shape::Dots;
    for round in 0..options.rounds {
        for column in 0..=counts.len() {
            for turn in 0..SERVERS.len() {
                let server = (round + turn) % SERVERS.len();
                let (peer, name) = SERVERS[server];
                let (connections, active) = counts.get(column).map_or((idle, 0), |&count| (count, count));
                options.progress(&format!("{connections} connections: {name}"));
                let sample = match no_go.filter(|_| peer == "go") {
                    Some(reason) => Err(not_here(reason)),
                    None => runner
                        .connections(peer, connections, active)
                        .map_err(|e| too_many_threads(peer, connections, e)),
                };
                if column < counts.len() {
                    for (grid, (_, _, key, _)) in grids.iter_mut().zip(BUSY) {
                        grid.cell(server, column).add(figure(&sample, key));
                    }
                } else {
                    for (at, (_, key)) in RESTING.into_iter().enumerate() {
                        idles.cell(server, at).add(figure(&sample, key));
                    }
                }
            }
        }
    }
    for (column, count) in columns.iter().enumerate().filter(|(column, _)| *column + 2 >= columns.len()) {
        for (grid, (_, _, key, _)) in grids.iter_mut().zip(BUSY) {
            for &(above, below) in pairs(key) {
                grid.claim(
                    &format!("{above} to {below}, {count} connections"),
                    (above, column),
                    (below, column),
                );
            }
        }
    }
    idles.claim(&format!("{SWARD} to {SERVE}"), (SWARD, 0), (SERVE, 0));
    idles.claim(&format!("{THREADS} to {SWARD}"), (THREADS, 0), (SWARD, 0));
    let grids = grids.into_iter().chain([idles]);
    Ok(grids.map(Part::Figures).collect())
}
