//! `sward-bench files`: what reads, writes, small files and directories cost by each way that sward has,
//! beside plain threads, tokio and fio's io_uring engine, and whether a worker is blocked meanwhile.
//! `docs/PERFORMANCE.md` has the results.
//!
//! `data.rs` makes the files, with contents that can be checked. Each sample is a new process: `blocking.rs`
//! for code that blocks, `tokio.rs` for tokio, `fio.rs` for fio.

mod blocking;
mod data;
mod fio;
mod tokio;
mod uring;

use crate::child::{Runner, Sample};
use crate::suite::grid::{Grid, Part, Shape, Unit, missing, not_here};
use crate::suite::{Options, Suite, Wanted};
use crate::sys::Usage;
use data::Data;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The command.
pub const FILES: Suite = Suite {
    name: "files",
    about: "Files by each way that sward has, beside threads, tokio and fio. The files are in TMPDIR, which should
be on a disk.",
    parts: &["cached", "uncached", "sync", "small", "walk", "paths", "names", "ticker"],
    measure,
};

/// What is done again and again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    /// Reads 64 KiB that are in memory, one piece after the other.
    Cached,
    /// Reads a random page past the page cache (`O_DIRECT`).
    Direct,
    /// Reads a random page that is not in the page cache (`POSIX_FADV_DONTNEED` before, no reading ahead).
    Buffered,
    /// Overwrites a page, and has it written to the disk.
    Sync,
    /// Reads a small file by its path, in one call.
    ReadPath,
    /// Opens a small file, reads it to its end, closes it.
    OpenRead,
    /// Asks for the metadata of a small file.
    Stat,
    /// Opens a small file and closes it.
    Open,
    /// Gives a small file another name, or its own one back.
    Rename,
    /// Creates a directory, or removes it again.
    Folder,
    /// Gives a small file a second name, or removes that.
    Link,
    /// Creates a symbolic link, or removes it.
    Symlink,
    /// Makes a file longer or shorter.
    Resize,
    /// Lists a directory, with the metadata of its entries, and those below it.
    Walk,
}

const WORKS: [(Work, &str); 14] = [
    (Work::Cached, "cached"),
    (Work::Direct, "direct"),
    (Work::Buffered, "buffered"),
    (Work::Sync, "sync"),
    (Work::ReadPath, "read-path"),
    (Work::OpenRead, "open-read"),
    (Work::Stat, "stat"),
    (Work::Open, "open"),
    (Work::Rename, "rename"),
    (Work::Folder, "folder"),
    (Work::Link, "link"),
    (Work::Symlink, "symlink"),
    (Work::Resize, "resize"),
    (Work::Walk, "walk"),
];

impl Work {
    fn name(self) -> &'static str {
        WORKS.iter().find(|(work, _)| *work == self).expect("all are listed").1
    }
}

/// What a child does.
#[derive(Clone)]
pub struct Job {
    work: Work,
    /// How many do it at the same time.
    tasks: u64,
    /// How often, in all.
    ops: u64,
    /// Whether another one ticks beside them.
    ticks: bool,
    data: Data,
}

/// From tick to tick.
const TICK: Duration = Duration::from_millis(1);

/// The one that ticks: it should wake up at times that are fixed in advance.
struct Ticker {
    due: Instant,
    /// Nanoseconds, of each tick.
    late: Vec<f64>,
}

impl Ticker {
    fn new() -> Ticker {
        Ticker { due: Instant::now() + TICK, late: Vec::new() }
    }

    /// The time until the next tick. Called after each.
    fn next(&mut self) -> Duration {
        let now = Instant::now();
        if now >= self.due {
            self.late.push((now - self.due).as_nanos() as f64);
            self.due = now;
        }
        self.due += TICK;
        self.due - now
    }

    fn add_to(mut self, sample: &mut Sample) {
        self.late.sort_by(f64::total_cmp);
        let Some(last) = self.late.len().checked_sub(1) else { return };
        sample.insert("late99".into(), self.late[last * 99 / 100]);
        sample.insert("late".into(), self.late[last]);
    }
}

/// Time and processor time so far, and the sample that results.
struct Clock {
    start: Instant,
    usage: Usage,
}

impl Clock {
    fn start() -> Clock {
        Clock { usage: Usage::now(), start: Instant::now() }
    }

    fn stop(self, ops: u64) -> Sample {
        let wall = self.start.elapsed().as_nanos() as f64;
        let usage = Usage::now().since(self.usage);
        let each = |nanos: f64| nanos / ops as f64;
        Sample::from([("wall".to_owned(), each(wall)), ("cpu".to_owned(), each(usage.user + usage.kernel))])
    }
}

/// The variants: name in the report, name for the child, and `SWARD_IO_URING`.
const VARIANTS: [(&str, &str, &str); 9] = [
    (THREADS, "threads", "0"),
    (PLAIN, "sward-plain", "0"),
    (BLOCKING, "sward-blocking", "0"),
    (POOL, "sward", "0"),
    (RING, "sward", "1"),
    (TOKIO, "tokio", "0"),
    (TOKIO_BLOCKING, "tokio-blocking", "0"),
    (FIO, "fio", "0"),
    (URING, "uring", "0"),
];
const THREADS: &str = "threads: plain calls";
const PLAIN: &str = "sward: std's calls";
const BLOCKING: &str = "sward: each call in `blocking`";
const POOL: &str = "sward::fs, without the ring";
const RING: &str = "sward::fs, with the ring";
const TOKIO: &str = "tokio::fs";
const TOKIO_BLOCKING: &str = "tokio: `spawn_blocking`";
const FIO: &str = "fio: io_uring";
const URING: &str = "io_uring, without a runtime";

/// Why a variant does not do that work.
fn skips(variant: &str, job: &Job) -> Option<&'static str> {
    match (variant, job.work) {
        ("fio", _) if job.ticks => Some("it has no other tasks"),
        ("fio", Work::Direct | Work::Buffered) => None,
        ("fio", _) => Some("only random reads are compared with it"),
        ("uring", Work::Stat | Work::Open | Work::Rename) => None,
        ("uring", _) => Some("only calls by paths are compared with it"),
        // Its worst gap is the question there.
        ("sward-plain", _) if !job.ticks => Some("it blocks its worker; `ticker` shows that"),
        ("tokio", Work::Direct) => Some("it reads into buffers of its own, which are not aligned"),
        ("tokio-blocking", work)
            if !matches!(work, Work::Cached | Work::Direct | Work::Buffered | Work::Sync) =>
        {
            Some("tokio::fs does just that for a path")
        }
        _ => None,
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.to_owned())
}

/// `read-files VARIANT WORK TASKS OPS TICKS FOLDER WORKERS`: the child. It prints time and processor time for
/// each operation, and how late the ticks were.
pub fn child(arguments: &[String]) -> io::Result<()> {
    let [variant, work, tasks, ops, ticks, folder, workers] = arguments else {
        return Err(wrong("read-files wants seven arguments"));
    };
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong("not a number"));
    let work = WORKS.iter().find(|(_, name)| name == work).ok_or_else(|| wrong("no such work"))?.0;
    let data = Data::at(PathBuf::from(folder))?;
    let job = Job { work, tasks: number(tasks)?, ops: number(ops)?, ticks: number(ticks)? > 0, data };
    let workers = number(workers)? as usize;
    job.data.prepare(work)?;
    let sample = match variant.as_str() {
        "uring" => uring::run(&job)?,
        "tokio" => tokio::run(job, workers, false)?,
        "tokio-blocking" => tokio::run(job, workers, true)?,
        _ => blocking::run(variant, job, workers).ok_or_else(|| wrong("no such variant"))??,
    };
    let pairs: Vec<String> = sample.iter().map(|(key, value)| format!("{key} {value}")).collect();
    println!("{}", pairs.join(" "));
    Ok(())
}

/// One column of a table: its name, the work, how many do it, how often.
type Column = (&'static str, Work, u64, u64);

/// One part of the report: what is in a table, and which ratios matter: two variants and the column.
struct Table {
    part: &'static str,
    title: &'static str,
    columns: &'static [Column],
    ticks: bool,
    claims: &'static [(&'static str, &'static str, usize)],
}

const TABLES: [Table; 8] = [
    Table {
        part: "cached",
        title: "64 KiB that are in memory: {} for each read",
        columns: &[("1 reader", Work::Cached, 1, 60_000), ("64 readers", Work::Cached, 64, 60_000)],
        ticks: false,
        claims: &[(POOL, THREADS, 0), (POOL, THREADS, 1), (TOKIO, POOL, 0), (TOKIO, POOL, 1)],
    },
    Table {
        part: "uncached",
        title: "Random 4 KiB from the disk: {} for each read, all readers together",
        columns: &[
            ("O_DIRECT, 1", Work::Direct, 1, 4_000),
            ("O_DIRECT, 64", Work::Direct, 64, 40_000),
            ("page cache, 1", Work::Buffered, 1, 4_000),
            ("page cache, 64", Work::Buffered, 64, 40_000),
        ],
        ticks: false,
        claims: &[
            (FIO, RING, 1),
            (FIO, RING, 3),
            (POOL, RING, 0),
            (POOL, RING, 1),
            (POOL, RING, 2),
            (POOL, RING, 3),
            (TOKIO_BLOCKING, RING, 1),
            (TOKIO, RING, 3),
        ],
    },
    Table {
        part: "sync",
        title: "Overwrite 4 KiB and `fdatasync`: {} for each, all writers together",
        columns: &[("1 writer", Work::Sync, 1, 400), ("16 writers", Work::Sync, 16, 1_600)],
        ticks: false,
        claims: &[(POOL, THREADS, 0), (POOL, THREADS, 1), (POOL, RING, 0), (POOL, RING, 1), (TOKIO, POOL, 1)],
    },
    Table {
        part: "small",
        title: "Files of 2 KiB that are in memory: {} for each file",
        columns: &[
            ("read, 1", Work::ReadPath, 1, 20_000),
            ("read, 64", Work::ReadPath, 64, 40_000),
            ("open, read, close, 1", Work::OpenRead, 1, 20_000),
            ("open, read, close, 64", Work::OpenRead, 64, 40_000),
        ],
        ticks: false,
        claims: &[
            (POOL, THREADS, 0),
            (POOL, THREADS, 1),
            (TOKIO, POOL, 1),
            (POOL, THREADS, 3),
            (TOKIO, POOL, 3),
            (POOL, RING, 2),
            (POOL, RING, 3),
        ],
    },
    Table {
        part: "walk",
        title: "Directories with the metadata of each entry: {} for each entry",
        columns: &[("1 walker", Work::Walk, 1, 10), ("16 walkers", Work::Walk, 16, 32)],
        ticks: false,
        claims: &[
            (POOL, THREADS, 0),
            (POOL, THREADS, 1),
            (TOKIO, POOL, 0),
            (TOKIO, POOL, 1),
            (POOL, RING, 0),
        ],
    },
    Table {
        part: "paths",
        title: "Calls by paths that are in memory: {} for each",
        columns: &[
            ("metadata, 1", Work::Stat, 1, 40_000),
            ("metadata, 16", Work::Stat, 16, 40_000),
            ("open and close, 1", Work::Open, 1, 40_000),
            ("open and close, 16", Work::Open, 16, 40_000),
            ("rename, 1", Work::Rename, 1, 10_000),
            ("rename, 16", Work::Rename, 16, 20_000),
        ],
        ticks: false,
        claims: &[
            (POOL, THREADS, 0),
            (POOL, THREADS, 2),
            (BLOCKING, URING, 0),
            (BLOCKING, URING, 1),
            (BLOCKING, URING, 2),
            (BLOCKING, URING, 3),
            (BLOCKING, URING, 4),
            (BLOCKING, URING, 5),
            (TOKIO, POOL, 0),
            (TOKIO, POOL, 2),
        ],
    },
    Table {
        part: "names",
        title: "Calls that change a directory, or the length of a file: {} for each",
        columns: &[
            ("rename, 1", Work::Rename, 1, 10_000),
            ("rename, 64", Work::Rename, 64, 20_000),
            ("create and remove a directory, 1", Work::Folder, 1, 4_000),
            ("create and remove a directory, 64", Work::Folder, 64, 8_000),
            ("hard link and remove, 1", Work::Link, 1, 10_000),
            ("hard link and remove, 64", Work::Link, 64, 20_000),
            ("symbolic link and remove, 1", Work::Symlink, 1, 10_000),
            ("symbolic link and remove, 64", Work::Symlink, 64, 20_000),
            ("set the length, 1", Work::Resize, 1, 10_000),
            ("set the length, 64", Work::Resize, 64, 20_000),
        ],
        ticks: false,
        claims: &[
            (POOL, RING, 0),
            (POOL, RING, 1),
            (POOL, RING, 2),
            (POOL, RING, 3),
            (POOL, RING, 4),
            (POOL, RING, 5),
            (POOL, RING, 6),
            (POOL, RING, 7),
            (POOL, RING, 8),
            (POOL, RING, 9),
            (TOKIO, RING, 0),
            (TOKIO, RING, 1),
        ],
    },
    Table {
        part: "ticker",
        title: "One ticks each millisecond beside them: its worst delay",
        columns: &[
            ("64 read memory", Work::Cached, 64, 60_000),
            ("64 read the disk", Work::Direct, 64, 20_000),
            ("16 write and sync", Work::Sync, 16, 1_600),
        ],
        ticks: true,
        claims: &[(PLAIN, RING, 1), (PLAIN, RING, 2), (TOKIO_BLOCKING, RING, 1)],
    },
];

fn measure(options: &Options, wanted: &Wanted) -> io::Result<Vec<Part>> {
    options.progress("makes the files");
    let data = Data::make(options.quick)?;
    let result = measure_on(options, wanted, &data);
    data.remove();
    result
}

fn measure_on(options: &Options, wanted: &Wanted, data: &Data) -> io::Result<Vec<Part>> {
    let this = std::env::current_exe()?;
    let runner = Runner { this, go: None, workers: options.workers, quick: options.quick };
    let no_fio = fio::missing();
    let names = VARIANTS.map(|(name, ..)| name);
    let mut parts = Vec::new();
    for table in TABLES.iter().filter(|table| wanted.has(table.part)) {
        let columns: Vec<String> = table.columns.iter().map(|column| column.0.to_owned()).collect();
        let grid = |what: &str, suffix: &str| {
            let (name, title) = (format!("files-{}{suffix}", table.part), table.title.replace("{}", what));
            let mut grid = Grid::new(&name, &title, Unit::Nanos, "by", &columns, &names);
            grid.shape = Shape::Dots;
            grid
        };
        let mut grids = match table.ticks {
            true => vec![("late", grid("", "")), ("late99", grid("", "-p99"))],
            false => vec![("wall", grid("time", "")), ("cpu", grid("processor time", "-cpu"))],
        };
        if table.ticks {
            grids[1].1.title = grids[1].1.title.replace("its worst delay", "its delay, p99");
        }
        for round in 0..options.rounds {
            for (column, &(name, work, tasks, ops)) in table.columns.iter().enumerate() {
                let ops = if options.quick { (ops / 20).max(tasks) } else { ops };
                let job = Job { work, tasks, ops, ticks: table.ticks, data: data.clone() };
                for turn in 0..VARIANTS.len() {
                    let variant = (round + turn) % VARIANTS.len();
                    let (label, peer, ring) = VARIANTS[variant];
                    options.progress(&format!("{}, {name}: {label}", table.part));
                    let sample = match (skips(peer, &job), &no_fio) {
                        (Some(reason), _) => Err(not_here(reason)),
                        (None, Some(reason)) if peer == "fio" => Err(not_here(reason.as_str())),
                        (None, _) if peer == "fio" => fio::sample(&job),
                        (None, _) => sample(&runner, peer, ring, &job),
                    };
                    for (key, grid) in &mut grids {
                        let figure = sample.as_ref().map_err(missing).map(|sample| sample[*key]);
                        grid.cell(variant, column).add(figure);
                    }
                }
            }
        }
        for (_, grid) in &mut grids {
            for &(above, below, column) in table.claims {
                let text = format!("{above}, to {below}: {}", columns[column]);
                grid.claim(&text, (above, column), (below, column));
            }
        }
        parts.extend(grids.into_iter().map(|(_, grid)| Part::Figures(grid)));
    }
    Ok(parts)
}

fn sample(runner: &Runner, peer: &str, ring: &str, job: &Job) -> io::Result<Sample> {
    let numbers = [job.tasks, job.ops, u64::from(job.ticks)].map(|n| n.to_string());
    let folder = job.data.folder.to_str().ok_or_else(|| wrong("the folder's name is no text"))?;
    let words = [&[job.work.name().to_owned()], &numbers[..], &[folder.to_owned()]].concat();
    let mut command = runner.command(peer, "read-files", &words);
    command.env("SWARD_IO_URING", ring);
    runner.once(command)
}
