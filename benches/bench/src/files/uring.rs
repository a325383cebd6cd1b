//! Calls by paths on io_uring, by one thread that keeps so many of them under way: what they would cost in a
//! ring, without a runtime.

use super::data::SMALL_FILES;
use super::{Clock, Job, Work};
use crate::child::Sample;
use crate::suite::grid::not_here;
use io_uring::{IoUring, opcode, squeue, types};
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

pub fn run(job: &Job) -> io::Result<Sample> {
    let depth = job.tasks.next_power_of_two() as u32;
    let ring: io::Result<IoUring> =
        IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(depth);
    let mut ring = ring.map_err(|e| not_here(format!("io_uring is refused: {e}")))?;
    let names: Vec<CString> =
        (0..SMALL_FILES).map(|number| path(&job.data.small(number))).collect::<io::Result<_>>()?;
    let folder = job.data.folder.join("moved");
    std::fs::create_dir_all(&folder)?;
    let others: Vec<CString> =
        (0..SMALL_FILES).map(|number| path(&folder.join(number.to_string()))).collect::<io::Result<_>>()?;
    // SAFETY: all zeros is a value of this plain C struct.
    let mut facts: Vec<libc::statx> = vec![unsafe { std::mem::zeroed() }; depth as usize];
    let here = types::Fd(libc::AT_FDCWD);
    let mut entry = |op: u64| -> squeue::Entry {
        let number = (op / if job.work == Work::Rename { 2 } else { 1 } % SMALL_FILES) as usize;
        let name = names[number].as_ptr();
        let built = match job.work {
            Work::Stat => {
                let facts = &raw mut facts[(op % u64::from(depth)) as usize];
                opcode::Statx::new(here, name, facts.cast()).mask(libc::STATX_BASIC_STATS).build()
            }
            Work::Open => opcode::OpenAt::new(here, name).flags(libc::O_RDONLY | libc::O_CLOEXEC).build(),
            _ if op.is_multiple_of(2) => {
                opcode::RenameAt::new(here, name, here, others[number].as_ptr()).build()
            }
            _ => opcode::RenameAt::new(here, others[number].as_ptr(), here, name).build(),
        };
        built.user_data(op)
    };
    // Both renamings of a file are never under way at the same time.
    let batch = |begin: u64| -> Vec<u64> {
        let ops = begin..job.ops.min(begin + job.tasks * if job.work == Work::Rename { 2 } else { 1 });
        ops.collect()
    };
    let (mut done, mut begin) = (0, 0);
    let clock = Clock::start();
    while begin < job.ops {
        let all = batch(begin);
        begin += all.len() as u64;
        let waves = if job.work == Work::Rename { 2 } else { 1 };
        for wave in 0..waves {
            let wave: Vec<u64> = all.iter().copied().filter(|op| op % waves == wave).collect();
            for &op in &wave {
                // SAFETY: names and places for results live until all completions have come.
                unsafe { ring.submission().push(&entry(op)) }.map_err(io::Error::other)?;
            }
            let mut left = wave.len();
            while left > 0 {
                ring.submit_and_wait(left)?;
                for end in ring.completion() {
                    if end.result() < 0 {
                        return Err(io::Error::from_raw_os_error(-end.result()));
                    }
                    if job.work == Work::Open {
                        // SAFETY: the descriptor is new and nobody else's.
                        unsafe { libc::close(end.result()) };
                    }
                    left -= 1;
                    done += 1;
                }
            }
        }
    }
    let sample = clock.stop(done);
    job.check_end(done)?;
    Ok(sample)
}
