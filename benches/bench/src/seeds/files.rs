//! Regular files are always "ready": what each way of waiting says about a file whose data is not in memory,
//! beside a pipe that is empty; and which calls say the truth.

use super::ring::Ring;
use crate::suite::Options;
use crate::suite::grid::{Grid, Part, Unit, Words, missing, not_here};
use crate::sys::{Epoll, errno};
use io_uring::{opcode, types};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Instant;

/// The size of the file, and of a read. Reads are far apart, so that reading ahead does not hide the disk.
const SIZE: usize = 32 << 20;
const READ: usize = 4096;
const APART: usize = 1 << 20;

/// A file that is removed in the end. Its descriptor is non-blocking, which changes nothing.
struct Scratch {
    path: PathBuf,
    file: File,
}

impl Scratch {
    fn new() -> io::Result<Scratch> {
        let path = std::env::temp_dir().join(format!("sward-bench-{}", std::process::id()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).custom_flags(libc::O_NONBLOCK);
        let mut scratch = Scratch { file: options.open(&path)?, path };
        scratch.file.write_all(&vec![7; SIZE])?;
        scratch.file.sync_all()?;
        // SAFETY: the call takes no pointers. No reading ahead.
        unsafe { libc::posix_fadvise(scratch.file.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM) };
        Ok(scratch)
    }

    /// Drops the data from memory.
    fn forget(&self) {
        // SAFETY: the call takes no pointers.
        unsafe { libc::posix_fadvise(self.file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }

    /// Reads; with `RWF_NOWAIT` only what is in memory.
    fn read(&self, offset: usize, flags: libc::c_int) -> io::Result<usize> {
        let mut buffer = [0_u8; READ];
        let part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: READ };
        // SAFETY: the buffer lives until the call ends and is as long as it says.
        let n =
            unsafe { libc::preadv2(self.file.as_raw_fd(), &raw const part, 1, offset as libc::off_t, flags) };
        if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn select(fd: &impl AsRawFd) -> String {
    let fd = fd.as_raw_fd();
    if fd as usize >= libc::FD_SETSIZE {
        return "does not fit".into();
    }
    let mut now = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let none = std::ptr::null_mut();
    // SAFETY: all zeros is the empty set; set and time live until the call ends; the number is below
    // FD_SETSIZE.
    let n = unsafe {
        let mut set: libc::fd_set = std::mem::zeroed();
        libc::FD_SET(fd, &raw mut set);
        libc::select(fd + 1, &raw mut set, none, none, &raw mut now)
    };
    said(n)
}

fn poll(fd: &impl AsRawFd) -> String {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: the entry lives until the call ends.
    said(unsafe { libc::poll(&raw mut entry, 1, 0) })
}

fn said(result: libc::c_int) -> String {
    match result {
        0 => "not ready".into(),
        1 => "ready".into(),
        _ => error(&errno()),
    }
}

fn error(e: &io::Error) -> String {
    let name = match e.raw_os_error() {
        Some(libc::EPERM) => "EPERM",
        Some(libc::EAGAIN) => "EAGAIN",
        Some(libc::EOPNOTSUPP) => "EOPNOTSUPP",
        Some(libc::ECANCELED) => "ECANCELED",
        _ => return e.to_string(),
    };
    format!("refused: {name}")
}

fn epoll(fd: &impl AsFd) -> io::Result<String> {
    let mut epoll = Epoll::new()?;
    if let Err(e) = epoll.add(fd, 0) {
        return Ok(error(&e));
    }
    Ok(if epoll.wait(Some(std::time::Duration::ZERO)).next().is_some() { "ready" } else { "not ready" }
        .into())
}

/// Polls, and asks the kernel to end the poll if it waits.
fn ring_poll(ring: &mut Ring, fd: &impl AsRawFd) -> io::Result<String> {
    let poll = opcode::PollAdd::new(types::Fd(fd.as_raw_fd()), libc::POLLIN as u32).build().user_data(1);
    let cancel = opcode::AsyncCancel::new(1).build().user_data(2);
    // SAFETY: the operation points to nothing.
    unsafe { ring.push(&poll) }?;
    ring.submit()?;
    // SAFETY: the same.
    unsafe { ring.push(&cancel) }?;
    let done = [ring.wait()?, ring.wait()?];
    let result = done.iter().find(|done| done.0 == 1).map_or(0, |done| done.1);
    Ok(match -result {
        libc::ECANCELED => "not ready".into(),
        n if n > 0 => error(&io::Error::from_raw_os_error(n)),
        _ => "ready".into(),
    })
}

/// Nanoseconds until the call that submits the read has returned, and until the data is there.
fn ring_read(ring: &mut Ring, scratch: &Scratch, offset: usize) -> io::Result<(f64, f64)> {
    let mut buffer = vec![0_u8; READ];
    let fd = types::Fd(scratch.file.as_raw_fd());
    let read = opcode::Read::new(fd, buffer.as_mut_ptr(), READ as u32).offset(offset as u64).build();
    let start = Instant::now();
    // SAFETY: the buffer lives until the completion below.
    unsafe { ring.push(&read) }?;
    ring.submit()?;
    let submitted = start.elapsed().as_nanos() as f64;
    let (_, n, _) = ring.wait()?;
    let done = start.elapsed().as_nanos() as f64;
    if n != READ as i32 || buffer.iter().any(|&byte| byte != 7) {
        return Err(io::Error::other(format!("io_uring has read {n} bytes")));
    }
    Ok((submitted, done))
}

const SUBMIT: &str = "io_uring: the call that submits returns";
const DONE: &str = "io_uring: the data is there";
const PLAIN: &str = "`read` returns";

pub fn run(options: &Options) -> io::Result<Vec<Part>> {
    let scratch = Scratch::new()?;
    let (pipe, _writer) = io::pipe()?;
    let pipe = OwnedFd::from(pipe);
    let mut ring = Ring::new(8);
    let mut ring_says = |fd: &OwnedFd| match &mut ring {
        Ok(ring) => ring_poll(ring, fd),
        Err(e) => Ok(format!("not here: {e}")),
    };
    scratch.forget();
    let file = scratch.file.as_fd().try_clone_to_owned()?;
    let at_once = match scratch.read(SIZE / 2, libc::RWF_NOWAIT) {
        Ok(n) => format!("{n} bytes: the data is in memory"),
        Err(e) => format!("{}: it would wait", error(&e)),
    };
    let mut words = Words {
        title: "Is it readable? An empty pipe, and a regular file whose data is not in memory".into(),
        columns: ["asked by", "empty pipe", "regular file"].map(str::to_owned).into(),
        rows: Vec::new(),
    };
    let mut row =
        |asked: &str, pipe: String, file: String| words.rows.push(vec![asked.to_owned(), pipe, file]);
    row("select", select(&pipe), select(&file));
    row("poll", poll(&pipe), poll(&file));
    row("epoll", epoll(&pipe)?, epoll(&file)?);
    row("io_uring poll", ring_says(&pipe)?, ring_says(&file)?);
    row("read with `RWF_NOWAIT`", "refused: EAGAIN".into(), at_once);
    // The claim itself is a property of Linux, whatever the machine.
    let of_file: Vec<&str> = words.rows[..3].iter().map(|row| row[2].as_str()).collect();
    if of_file != ["ready", "ready", "refused: EPERM"] {
        return Err(io::Error::other(format!("select, poll and epoll said of a regular file: {of_file:?}")));
    }

    let columns = ["in memory", "on the disk"].map(str::to_owned);
    let title = "Time to read 4 KiB of a regular file, by a descriptor with `O_NONBLOCK`";
    let names = [PLAIN, SUBMIT, DONE];
    let mut grid = Grid::new("seeds-files", title, Unit::Nanos, "what took how long", &columns, &names);
    grid.shape = crate::suite::grid::Shape::Dots;
    options.progress("files");
    let rounds = if options.quick { 3 } else { 31 };
    for round in 0..rounds {
        // Each read has a page of its own, so none finds another's data in memory.
        let offset = (round * APART) % SIZE;
        scratch.forget();
        for column in [1, 0] {
            let start = Instant::now();
            scratch.read(offset, 0)?;
            grid.cell(0, column).add(Ok(start.elapsed().as_nanos() as f64));
        }
        scratch.forget();
        for column in [1, 0] {
            let times = match &mut ring {
                Ok(ring) => ring_read(ring, &scratch, offset).map_err(|e| missing(&e)),
                Err(e) => Err(missing(&not_here(format!("io_uring is refused: {e}")))),
            };
            grid.cell(1, column).add(times.clone().map(|times| times.0));
            grid.cell(2, column).add(times.map(|times| times.1));
        }
    }
    grid.claim("`read` of a \"ready\" file, from the disk to from memory", (PLAIN, 1), (PLAIN, 0));
    grid.claim("from the disk: `read` to the call that submits to io_uring", (PLAIN, 1), (SUBMIT, 1));
    Ok(vec![Part::Words(words), Part::Figures(grid)])
}
