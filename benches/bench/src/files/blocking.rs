//! The work as code that blocks, on threads or coroutines. The variants differ by what makes the calls: std,
//! `sward::fs`, or std inside of `sward::blocking`.

use super::data::{
    self, Aligned, CACHED, Data, PAGE, PAGES_TO_WRITE, PIECE, SMALL_FILES, TREE, WRITERS, check, check_all,
    check_small,
};
use super::{Clock, Job, Ticker, Work};
use crate::child::Sample;
use crate::peers::sward::{Mode, Sward, set_mode};
use crate::peers::{Peer, threads::Threads};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What makes the calls.
trait Calls: 'static {
    type File: FileExt + AsRawFd;

    fn open(path: &Path, flags: i32) -> io::Result<Self::File>;
    fn open_to_write(path: &Path) -> io::Result<Self::File>;
    fn sync_data(file: &Self::File) -> io::Result<()>;
    fn read(path: &Path) -> io::Result<Vec<u8>>;
    /// Opens, reads to the end, closes.
    fn open_and_read(path: &Path) -> io::Result<Vec<u8>>;
    fn metadata(path: &Path) -> io::Result<Metadata>;
    fn rename(from: &Path, to: &Path) -> io::Result<()>;
    fn create_dir(path: &Path) -> io::Result<()>;
    fn remove_dir(path: &Path) -> io::Result<()>;
    fn hard_link(original: &Path, link: &Path) -> io::Result<()>;
    fn symlink(original: &Path, link: &Path) -> io::Result<()>;
    fn remove_file(path: &Path) -> io::Result<()>;
    fn set_len(file: &Self::File, len: u64) -> io::Result<()>;
    fn list(path: &Path) -> io::Result<Vec<(PathBuf, Metadata)>>;
}

macro_rules! calls_as_in_std {
    ($name:ident, $($fs:ident)::+, $($symlink:ident)::+) => {
        struct $name;

        impl Calls for $name {
            type File = $($fs)::+::File;

            fn open(path: &Path, flags: i32) -> io::Result<Self::File> {
                $($fs)::+::OpenOptions::new().read(true).custom_flags(flags).open(path)
            }

            fn open_to_write(path: &Path) -> io::Result<Self::File> {
                $($fs)::+::OpenOptions::new().write(true).open(path)
            }

            fn sync_data(file: &Self::File) -> io::Result<()> {
                file.sync_data()
            }

            fn read(path: &Path) -> io::Result<Vec<u8>> {
                $($fs)::+::read(path)
            }

            fn open_and_read(path: &Path) -> io::Result<Vec<u8>> {
                let mut bytes = Vec::with_capacity(2 * data::SMALL);
                $($fs)::+::File::open(path)?.read_to_end(&mut bytes)?;
                Ok(bytes)
            }

            fn metadata(path: &Path) -> io::Result<Metadata> {
                $($fs)::+::metadata(path)
            }

            fn rename(from: &Path, to: &Path) -> io::Result<()> {
                $($fs)::+::rename(from, to)
            }

            fn create_dir(path: &Path) -> io::Result<()> {
                $($fs)::+::create_dir(path)
            }

            fn remove_dir(path: &Path) -> io::Result<()> {
                $($fs)::+::remove_dir(path)
            }

            fn hard_link(original: &Path, link: &Path) -> io::Result<()> {
                $($fs)::+::hard_link(original, link)
            }

            fn symlink(original: &Path, link: &Path) -> io::Result<()> {
                $($symlink)::+(original, link)
            }

            fn remove_file(path: &Path) -> io::Result<()> {
                $($fs)::+::remove_file(path)
            }

            fn set_len(file: &Self::File, len: u64) -> io::Result<()> {
                file.set_len(len)
            }

            fn list(path: &Path) -> io::Result<Vec<(PathBuf, Metadata)>> {
                let entry = |entry: io::Result<$($fs)::+::DirEntry>| {
                    let entry = entry?;
                    Ok((entry.path(), entry.metadata()?))
                };
                $($fs)::+::read_dir(path)?.map(entry).collect()
            }
        }
    };
}

calls_as_in_std!(Std, std::fs, std::os::unix::fs::symlink);
calls_as_in_std!(Parking, sward::fs, sward::fs::symlink);

/// Each call on the pool.
struct OnPool;

struct PoolFile(File);

fn pool<T: Send>(f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    sward::blocking(f).expect("the pool has a thread")
}

impl FileExt for PoolFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        pool(|| self.0.read_at(buf, offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        pool(|| self.0.write_at(buf, offset))
    }
}

impl AsRawFd for PoolFile {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

impl Calls for OnPool {
    type File = PoolFile;

    fn open(path: &Path, flags: i32) -> io::Result<PoolFile> {
        pool(|| Std::open(path, flags)).map(PoolFile)
    }

    fn open_to_write(path: &Path) -> io::Result<PoolFile> {
        pool(|| Std::open_to_write(path)).map(PoolFile)
    }

    fn sync_data(file: &PoolFile) -> io::Result<()> {
        pool(|| file.0.sync_data())
    }

    fn read(path: &Path) -> io::Result<Vec<u8>> {
        pool(|| Std::read(path))
    }

    fn open_and_read(path: &Path) -> io::Result<Vec<u8>> {
        let (mut file, mut bytes) = (pool(|| File::open(path))?, Vec::with_capacity(2 * data::SMALL));
        pool(|| file.read_to_end(&mut bytes))?;
        Ok(bytes)
    }

    fn metadata(path: &Path) -> io::Result<Metadata> {
        pool(|| std::fs::metadata(path))
    }

    fn rename(from: &Path, to: &Path) -> io::Result<()> {
        pool(|| std::fs::rename(from, to))
    }

    fn create_dir(path: &Path) -> io::Result<()> {
        pool(|| std::fs::create_dir(path))
    }

    fn remove_dir(path: &Path) -> io::Result<()> {
        pool(|| std::fs::remove_dir(path))
    }

    fn hard_link(original: &Path, link: &Path) -> io::Result<()> {
        pool(|| std::fs::hard_link(original, link))
    }

    fn symlink(original: &Path, link: &Path) -> io::Result<()> {
        pool(|| std::os::unix::fs::symlink(original, link))
    }

    fn remove_file(path: &Path) -> io::Result<()> {
        pool(|| std::fs::remove_file(path))
    }

    fn set_len(file: &PoolFile, len: u64) -> io::Result<()> {
        pool(|| file.0.set_len(len))
    }

    fn list(path: &Path) -> io::Result<Vec<(PathBuf, Metadata)>> {
        let entries = pool(|| std::fs::read_dir(path)?.collect::<io::Result<Vec<_>>>())?;
        entries.into_iter().map(|entry| Ok((entry.path(), pool(|| entry.metadata())?))).collect()
    }
}

/// The share of one of them. Returns how many operations it has done.
fn share<C: Calls>(job: &Job, task: u64) -> io::Result<u64> {
    let (data, ops) = (&job.data, (task..job.ops).step_by(job.tasks as usize));
    match job.work {
        Work::Cached => {
            let (file, mut bytes) = (C::open(&data.large(), 0)?, vec![0; PIECE]);
            let pages = (PIECE / PAGE) as u64;
            let first = task * CACHED / job.tasks / pages;
            let count = ops.map(|_| ()).count() as u64;
            for n in 0..count {
                let page = (first + n) * pages % CACHED;
                file.read_exact_at(&mut bytes, page * PAGE as u64)?;
                check(&bytes, page)?;
            }
            Ok(count)
        }
        Work::Direct | Work::Buffered => {
            let flags = if job.work == Work::Direct { libc::O_DIRECT } else { 0 };
            let (file, mut page) = (C::open(&data.large(), flags)?, Aligned::new(PAGE));
            data::reads_at_random(&file);
            ops.map(|op| {
                let number = data.random_page(op);
                file.read_exact_at(page.bytes(), number * PAGE as u64)?;
                check(page.bytes(), number)?;
                Ok(1)
            })
            .sum()
        }
        Work::Sync => {
            let file = C::open_to_write(&data.to_write(task % WRITERS))?;
            ops.map(|op| {
                let number = op / job.tasks % PAGES_TO_WRITE;
                file.write_all_at(&data::page(number), number * PAGE as u64)?;
                C::sync_data(&file)?;
                Ok(1)
            })
            .sum()
        }
        Work::ReadPath | Work::OpenRead => ops
            .map(|op| {
                let path = data.small(op % SMALL_FILES);
                let bytes = if job.work == Work::ReadPath { C::read(&path) } else { C::open_and_read(&path) };
                check_small(&bytes?, op % SMALL_FILES)?;
                Ok(1)
            })
            .sum(),
        Work::Stat => ops
            .map(|op| match C::metadata(&data.small(op % SMALL_FILES))?.len() {
                len if len == data::SMALL as u64 => Ok(1),
                len => Err(io::Error::other(format!("a small file has {len} bytes"))),
            })
            .sum(),
        Work::Open => ops.map(|op| C::open(&data.small(op % SMALL_FILES), 0).map(|_| 1)).sum(),
        // The change of a name and the one that undoes it are one task's.
        Work::Rename | Work::Folder | Work::Link | Work::Symlink => (task..job.ops / 2)
            .step_by(job.tasks as usize)
            .map(|file| change_and_undo::<C>(data, job.work, 2 * file))
            .sum(),
        Work::Resize => {
            let file = C::open_to_write(&data.resized(task))?;
            ops.map(|op| C::set_len(&file, op % 64 * 100).map(|()| 1)).sum()
        }
        Work::Walk => ops.map(|op| walk::<C>(&data.tree(op % TREE[0]))).sum(),
    }
}

fn change_and_undo<C: Calls>(data: &Data, work: Work, op: u64) -> io::Result<u64> {
    let (file, other) = (data.small(op / 2 % SMALL_FILES), data.other_name(op));
    match work {
        Work::Folder => C::create_dir(&other).and_then(|()| C::remove_dir(&other)),
        Work::Link => C::hard_link(&file, &other).and_then(|()| C::remove_file(&other)),
        Work::Symlink => C::symlink(&file, &other).and_then(|()| C::remove_file(&other)),
        _ => [op, op + 1].into_iter().try_for_each(|op| {
            let (from, to) = data.names(op);
            C::rename(&from, &to)
        }),
    }?;
    Ok(2)
}

/// The entries below a directory.
fn walk<C: Calls>(path: &Path) -> io::Result<u64> {
    let mut count = 0;
    for (path, metadata) in C::list(path)? {
        count += 1;
        if metadata.is_dir() {
            count += walk::<C>(&path)?;
        }
    }
    Ok(count)
}

fn all<P: Peer, C: Calls>(job: Job, workers: usize) -> io::Result<Sample> {
    P::run(workers, move || {
        let job = Arc::new(job);
        let stop = Arc::new(AtomicBool::new(false));
        let ticker = job.ticks.then(|| {
            let stop = Arc::clone(&stop);
            P::spawn(move || {
                let mut ticker = Ticker::new();
                loop {
                    P::sleep(ticker.next());
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
                ticker.next();
                ticker
            })
        });
        let clock = Clock::start();
        let share = |task| {
            let job = Arc::clone(&job);
            P::spawn(move || share::<C>(&job, task))
        };
        let tasks: Vec<_> = (0..job.tasks).map(share).collect();
        let done = tasks.into_iter().map(P::join).sum::<io::Result<u64>>()?;
        let mut sample = clock.stop(done);
        stop.store(true, Ordering::Relaxed);
        if let Some(ticker) = ticker {
            P::join(ticker).add_to(&mut sample);
        }
        job.check_end(done)?;
        // All bytes of a mebibyte, by the same way.
        let mut bytes = Aligned::new(1 << 20);
        C::open(&job.data.large(), 0)?.read_exact_at(bytes.bytes(), 0)?;
        check_all(bytes.bytes(), 0)?;
        Ok(sample)
    })
}

impl Job {
    /// Fails if not all was done, or what was written is not there.
    pub fn check_end(&self, done: u64) -> io::Result<()> {
        let each = if self.work == Work::Walk { TREE[1] * (1 + TREE[2]) } else { 1 };
        if done != self.ops * each {
            return Err(io::Error::other(format!("{done} operations instead of {}", self.ops * each)));
        }
        if self.work == Work::Sync {
            let written = (self.ops / self.tasks).min(PAGES_TO_WRITE) as usize * PAGE;
            for writer in 0..self.tasks {
                let mut bytes = vec![0; written];
                File::open(self.data.to_write(writer))?.read_exact_at(&mut bytes, 0)?;
                check_all(&bytes, 0)?;
            }
        }
        Ok(())
    }
}

/// `None` if there is no such variant.
pub fn run(variant: &str, job: Job, workers: usize) -> Option<io::Result<Sample>> {
    if variant != "threads" {
        set_mode(Mode::Pinned);
    }
    Some(match variant {
        "threads" => all::<Threads, Std>(job, workers),
        "sward-plain" => all::<Sward, Std>(job, workers),
        "sward-blocking" => all::<Sward, OnPool>(job, workers),
        "sward" => all::<Sward, Parking>(job, workers),
        _ => return None,
    })
}
