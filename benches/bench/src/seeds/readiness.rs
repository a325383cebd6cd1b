//! The cost of one readiness notification, with more and more descriptors that are watched and stay silent.
//!
//! The method is that of *The Linux Programming Interface*, table 63-9: N pipes are watched; each operation
//! writes one byte to a pipe chosen at random, waits for readiness, finds the descriptor and reads the byte.
//! The figure is processor time, as in the book. The row `write and read` does the same without waiting, so
//! its figure is the part that no way of waiting can save.

use super::ring::Ring;
use crate::suite::grid::{Cell, Grid, Part, Unit, Variant, missing, not_here};
use crate::suite::{Options, numbers};
use crate::sys::{Epoll, Usage, errno};
use io_uring::{cqueue, opcode, types};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use sward::runtime::{Builder, Homes};

const COUNTS: [usize; 4] = [10, 100, 1_000, 10_000];
const SWARD: &str = "sward: N coroutines in `read`";
const BARE: &str = "write and read, no wait";
const WAYS: [&str; 8] = [
    BARE,
    "select",
    "poll",
    "epoll, level-triggered",
    "epoll, edge-triggered",
    "io_uring poll, one-shot",
    "io_uring poll, multishot",
    SWARD,
];

/// Table 63-9, in seconds for 100,000 operations, on a machine of its time.
const BOOK: [(&str, [f64; 4]); 3] = [
    ("book: select", [0.73, 3.0, 35.0, 930.0]),
    ("book: poll", [0.61, 2.9, 35.0, 990.0]),
    ("book: epoll", [0.41, 0.42, 0.53, 0.66]),
];

/// The pipes: the ends that are read have the lowest numbers, since `select` is limited by the number.
struct Pipes {
    readers: Vec<OwnedFd>,
    writers: Vec<OwnedFd>,
}

impl Pipes {
    fn open(count: usize) -> io::Result<Pipes> {
        let mut pipes = Pipes { readers: Vec::new(), writers: Vec::new() };
        for _ in 0..count {
            let mut ends = [0; 2];
            // SAFETY: there is room for two descriptors.
            if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: both descriptors are new and nobody else's.
            let (reader, writer) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
            let above = (count + 64) as libc::c_int;
            // SAFETY: the call takes no pointers.
            let moved = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above) };
            if moved < 0 {
                return Err(io::Error::last_os_error());
            }
            pipes.readers.push(reader);
            // SAFETY: the descriptor is new and nobody else's.
            pipes.writers.push(unsafe { OwnedFd::from_raw_fd(moved) });
        }
        // A pipe takes memory from the kernel at its first byte.
        for number in 0..count {
            pipes.write(number)?;
            pipes.read(number)?;
        }
        Ok(pipes)
    }

    fn write(&self, number: usize) -> io::Result<()> {
        // SAFETY: one byte is there.
        match unsafe { libc::write(self.writers[number].as_raw_fd(), [1_u8].as_ptr().cast(), 1) } {
            1 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn read(&self, number: usize) -> io::Result<()> {
        let mut byte = [0_u8];
        // SAFETY: there is room for one byte.
        match unsafe { libc::read(self.readers[number].as_raw_fd(), byte.as_mut_ptr().cast(), 1) } {
            1 => Ok(()),
            _ => Err(io::Error::other(format!("what was reported as readable is not: {}", errno()))),
        }
    }
}

/// A way of waiting: it returns the number of a readable pipe.
type Wait<'a> = Box<dyn FnMut() -> io::Result<usize> + 'a>;

fn selecting(pipes: &Pipes) -> io::Result<Wait<'_>> {
    let highest = pipes.readers.iter().map(|fd| fd.as_raw_fd()).max().unwrap_or(0);
    if highest as usize >= libc::FD_SETSIZE {
        let reason =
            "a descriptor's number does not fit into an `fd_set`: FD_SETSIZE is 1,024, fixed in libc";
        return Err(not_here(reason));
    }
    // SAFETY: all zeros is the empty set.
    let mut all: libc::fd_set = unsafe { std::mem::zeroed() };
    for fd in &pipes.readers {
        // SAFETY: the number is below FD_SETSIZE.
        unsafe { libc::FD_SET(fd.as_raw_fd(), &raw mut all) };
    }
    Ok(Box::new(move || {
        // The call overwrites its set, so each one begins with a copy.
        let mut set = all;
        let none = std::ptr::null_mut();
        // SAFETY: the set lives until the call ends, and the other sets are absent.
        if unsafe { libc::select(highest + 1, &raw mut set, none, none, std::ptr::null_mut()) } < 1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the numbers are below FD_SETSIZE.
        let found =
            pipes.readers.iter().position(|fd| unsafe { libc::FD_ISSET(fd.as_raw_fd(), &raw const set) });
        found.ok_or_else(|| io::Error::other("nothing is readable"))
    }))
}

fn polling(pipes: &Pipes) -> Wait<'_> {
    let entry = |fd: &OwnedFd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut all: Vec<libc::pollfd> = pipes.readers.iter().map(entry).collect();
    Box::new(move || {
        // SAFETY: the array lives until the call ends and has that many entries.
        if unsafe { libc::poll(all.as_mut_ptr(), all.len() as libc::nfds_t, -1) } < 1 {
            return Err(io::Error::last_os_error());
        }
        let found = all.iter().position(|entry| entry.revents != 0);
        found.ok_or_else(|| io::Error::other("nothing is readable"))
    })
}

fn epolling(pipes: &Pipes, events: libc::c_int) -> io::Result<Wait<'_>> {
    let mut epoll = Epoll::new()?;
    for (number, fd) in pipes.readers.iter().enumerate() {
        epoll.watch(fd.as_fd(), number, events)?;
    }
    Ok(Box::new(move || epoll.wait(None).next().ok_or_else(|| io::Error::other("nothing is readable"))))
}

fn ringing(pipes: &Pipes, multishot: bool) -> io::Result<Wait<'_>> {
    let mut ring = Ring::new(256).map_err(|e| not_here(format!("io_uring is refused: {e}")))?;
    let operation = move |number: usize| {
        let fd = types::Fd(pipes.readers[number].as_raw_fd());
        opcode::PollAdd::new(fd, libc::POLLIN as u32).multi(multishot).build().user_data(number as u64)
    };
    for number in 0..pipes.readers.len() {
        // SAFETY: the operation points to nothing.
        unsafe { ring.push(&operation(number)) }?;
    }
    ring.submit()?;
    Ok(Box::new(move || {
        let (number, result, flags) = ring.wait()?;
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        if !cqueue::more(flags) {
            // Goes to the kernel together with the next wait.
            // SAFETY: the operation points to nothing.
            unsafe { ring.push(&operation(number as usize)) }?;
        }
        Ok(number as usize)
    }))
}

/// Random enough to defeat the caches and the branch predictor.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % below
    }
}

/// Processor time of the process for each operation, in nanoseconds.
fn spent(since: Usage, operations: u64) -> f64 {
    let used = Usage::now().since(since);
    (used.user + used.kernel) / operations as f64
}

fn measure(pipes: &Pipes, way: &str, operations: u64) -> io::Result<f64> {
    let mut wait: Option<Wait> = match way {
        BARE => None,
        "select" => Some(selecting(pipes)?),
        "poll" => Some(polling(pipes)),
        "epoll, level-triggered" => Some(epolling(pipes, libc::EPOLLIN)?),
        "epoll, edge-triggered" => Some(epolling(pipes, libc::EPOLLIN | libc::EPOLLET)?),
        "io_uring poll, one-shot" => Some(ringing(pipes, false)?),
        "io_uring poll, multishot" => Some(ringing(pipes, true)?),
        _ => unreachable!("sward has pipes of its own"),
    };
    let mut dice = Dice(7);
    let mut run = |operations: u64| {
        for _ in 0..operations {
            let written = dice.roll(pipes.readers.len());
            pipes.write(written)?;
            let ready = wait.as_mut().map_or(Ok(written), |wait| wait())?;
            if ready != written {
                return Err(io::Error::other("another pipe than the one written to is readable"));
            }
            pipes.read(ready)?;
        }
        Ok(())
    };
    run(operations / 10 + 1)?;
    let start = Usage::now();
    run(operations)?;
    Ok(spent(start, operations))
}

/// The same on sward: each pipe has a coroutine that is blocked in `read`, and wakes the one that writes.
fn measure_sward(count: usize, operations: u64) -> io::Result<f64> {
    use std::io::{Read, Write};
    let runtime = Builder::new().worker_threads(1).homes(Homes::Off).build()?;
    runtime.run(move || {
        let main = sward::task::current();
        let received = Arc::new(AtomicU64::new(0));
        let mut writers = Vec::new();
        let mut readers = Vec::new();
        for number in 0..count {
            if number % 64 == 0 {
                // Lets the readers block, and the monitor see that this goes on.
                sward::yield_now();
            }
            let (mut reader, writer) = sward::io::pipe()?;
            let (main, received) = (main.clone(), Arc::clone(&received));
            writers.push(writer);
            readers.push(sward::spawn(move || {
                let mut byte = [0];
                while reader.read(&mut byte).is_ok_and(|n| n == 1) {
                    received.fetch_add(1, Ordering::Release);
                    main.unpark();
                }
            }));
        }
        let mut dice = Dice(7);
        let mut sent = 0;
        let mut run = |operations: u64, all: bool| {
            for operation in 0..operations {
                let number = if all { operation as usize } else { dice.roll(count) };
                writers[number].write_all(&[1])?;
                sent += 1;
                while received.load(Ordering::Acquire) < sent {
                    sward::task::park();
                }
            }
            Ok::<(), io::Error>(())
        };
        // A pipe takes memory from the kernel at its first byte, and its coroutine touches its stack.
        run(count as u64, true)?;
        run(operations / 10 + 1, false)?;
        let start = Usage::now();
        run(operations, false)?;
        let spent = spent(start, operations);
        drop(writers);
        for reader in readers {
            reader.join().map_err(|e| io::Error::other(format!("a reader: {e:?}")))?;
        }
        Ok(spent)
    })
}

/// As many operations as take some ten milliseconds.
fn operations(way: &str, count: usize, quick: bool) -> u64 {
    let all = match way {
        "select" | "poll" => (4_000_000 / count as u64).clamp(400, 40_000),
        _ => 40_000,
    };
    if quick { all / 20 } else { all }
}

pub fn run(options: &Options) -> io::Result<Vec<Part>> {
    // Two descriptors for each pipe, and room for the numbers in between.
    let most = (options.descriptors.saturating_sub(256) / 2) as usize;
    let counts = if options.quick { &COUNTS[..2] } else { &COUNTS[..] };
    let columns: Vec<String> = counts.iter().map(|&count| numbers(count.min(most) as u64)).collect();
    let title = "Processor time for one event: write a byte, wait for readiness, read it";
    let mut grid = Grid::new("seeds-readiness", title, Unit::Nanos, "descriptors watched", &columns, &WAYS);
    for round in 0..options.rounds {
        for (column, &count) in counts.iter().enumerate() {
            let count = count.min(most);
            let pipes = Pipes::open(count)?;
            let ways = WAYS.len() - 1;
            for turn in 0..ways {
                let way = (round + turn) % ways;
                options.progress(&format!("{} descriptors: {}", columns[column], WAYS[way]));
                let sample = measure(&pipes, WAYS[way], operations(WAYS[way], count, options.quick));
                grid.cell(way, column).add(sample.map_err(|e| missing(&e)));
            }
            drop(pipes);
            options.progress(&format!("{} descriptors: sward", columns[column]));
            let sample = measure_sward(count, operations(SWARD, count, options.quick));
            grid.cell(ways, column).add(sample.map_err(|e| missing(&e)));
        }
    }
    for (name, seconds) in BOOK {
        let cell = |seconds: &f64| Cell::Samples(vec![seconds / 100_000.0 * 1e9]);
        let cells = seconds.iter().take(counts.len()).map(cell).collect();
        grid.variants.push(Variant { name: name.to_owned(), quoted: true, cells });
    }
    let last = counts.len() - 1;
    let at = format!("{} descriptors", columns[last]);
    for way in
        ["poll", "epoll, edge-triggered", "io_uring poll, multishot", SWARD, "book: poll", "book: epoll"]
    {
        grid.claim(&format!("{way}, {at} to {}", columns[0]), (way, last), (way, 0));
    }
    for way in
        ["poll", "epoll, level-triggered", "io_uring poll, one-shot", "io_uring poll, multishot", SWARD]
    {
        grid.claim(
            &format!("{way} to epoll, edge-triggered, {at}"),
            (way, last),
            ("epoll, edge-triggered", last),
        );
    }
    grid.claim(&format!("book: poll to epoll, {at}"), ("book: poll", last), ("book: epoll", last));
    grid.claim(
        &format!("poll to epoll, edge-triggered, {} descriptors", columns[0]),
        ("poll", 0),
        ("epoll, edge-triggered", 0),
    );
    Ok(vec![Part::Figures(grid)])
}
