//! The same on tokio: by `tokio::fs`, or by std's calls in `spawn_blocking`.

use super::data::{
    self, Aligned, CACHED, PAGE, PAGES_TO_WRITE, PIECE, SMALL_FILES, TREE, WRITERS, check, check_small,
};
use super::{Clock, Job, Ticker, Work};
use crate::child::Sample;
use std::io::{self, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::fs;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::task::spawn_blocking;

async fn blocking<T: Send + 'static>(f: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(f).await.expect("it ends well")
}

/// The share of one of them, by `tokio::fs`. Returns how many operations it has done.
async fn share(job: &Job, task: u64) -> io::Result<u64> {
    let data = &job.data;
    let mut count = 0;
    let ops = (task..job.ops).step_by(job.tasks as usize);
    match job.work {
        Work::Cached => {
            let (mut file, mut bytes) = (fs::File::open(data.large()).await?, vec![0; PIECE]);
            let pages = (PIECE / PAGE) as u64;
            let mut page = task * CACHED / job.tasks / pages * pages;
            file.seek(SeekFrom::Start(page * PAGE as u64)).await?;
            for _ in ops {
                if page == CACHED {
                    page = 0;
                    file.rewind().await?;
                }
                file.read_exact(&mut bytes).await?;
                check(&bytes, page)?;
                page += pages;
                count += 1;
            }
        }
        Work::Direct | Work::Buffered => {
            let (mut file, mut bytes) = (fs::File::open(data.large()).await?, vec![0; PAGE]);
            data::reads_at_random(&file);
            file.set_max_buf_size(PAGE);
            for op in ops {
                let page = data.random_page(op);
                file.seek(SeekFrom::Start(page * PAGE as u64)).await?;
                file.read_exact(&mut bytes).await?;
                check(&bytes, page)?;
                count += 1;
            }
        }
        Work::Sync => {
            let path = data.to_write(task % WRITERS);
            let mut file = fs::File::options().write(true).open(path).await?;
            for op in ops {
                let page = op / job.tasks % PAGES_TO_WRITE;
                file.seek(SeekFrom::Start(page * PAGE as u64)).await?;
                file.write_all(&data::page(page)).await?;
                file.sync_data().await?;
                count += 1;
            }
        }
        Work::ReadPath | Work::OpenRead => {
            for op in ops {
                let path = data.small(op % SMALL_FILES);
                let bytes = if job.work == Work::ReadPath {
                    fs::read(&path).await?
                } else {
                    let mut bytes = Vec::with_capacity(2 * data::SMALL);
                    fs::File::open(&path).await?.read_to_end(&mut bytes).await?;
                    bytes
                };
                check_small(&bytes, op % SMALL_FILES)?;
                count += 1;
            }
        }
        Work::Stat => {
            for op in ops {
                if fs::metadata(data.small(op % SMALL_FILES)).await?.len() != data::SMALL as u64 {
                    return Err(io::Error::other("a small file has another length"));
                }
                count += 1;
            }
        }
        Work::Open => {
            for op in ops {
                drop(fs::File::open(data.small(op % SMALL_FILES)).await?);
                count += 1;
            }
        }
        Work::Rename | Work::Folder | Work::Link | Work::Symlink => {
            for number in (task..job.ops / 2).step_by(job.tasks as usize) {
                let op = 2 * number;
                let (file, other) = (data.small(number % SMALL_FILES), data.other_name(op));
                match job.work {
                    Work::Folder => {
                        fs::create_dir(&other).await?;
                        fs::remove_dir(other).await?;
                    }
                    Work::Link => {
                        fs::hard_link(file, &other).await?;
                        fs::remove_file(other).await?;
                    }
                    Work::Symlink => {
                        fs::symlink(file, &other).await?;
                        fs::remove_file(other).await?;
                    }
                    _ => {
                        for op in [op, op + 1] {
                            let (from, to) = data.names(op);
                            fs::rename(from, to).await?;
                        }
                    }
                }
                count += 2;
            }
        }
        Work::Resize => {
            let file = fs::File::options().write(true).open(data.resized(task)).await?;
            for op in ops {
                file.set_len(op % 64 * 100).await?;
                count += 1;
            }
        }
        Work::Walk => {
            for op in ops {
                count += walk(data.tree(op % TREE[0])).await?;
            }
        }
    }
    Ok(count)
}

/// The entries below a directory.
async fn walk(path: PathBuf) -> io::Result<u64> {
    let (mut count, mut rest) = (0, vec![path]);
    while let Some(path) = rest.pop() {
        let mut entries = fs::read_dir(path).await?;
        while let Some(entry) = entries.next_entry().await? {
            count += 1;
            if entry.metadata().await?.is_dir() {
                rest.push(entry.path());
            }
        }
    }
    Ok(count)
}

/// As `share`, by std's calls in `spawn_blocking`.
async fn share_by_blocking(job: &Job, task: u64) -> io::Result<u64> {
    let data = &job.data;
    let mut count = 0;
    let ops = (task..job.ops).step_by(job.tasks as usize);
    match job.work {
        Work::Cached | Work::Direct | Work::Buffered => {
            let (path, direct) = (data.large(), job.work == Work::Direct);
            let open = move || if direct { data::open_direct(&path) } else { std::fs::File::open(&path) };
            let file = Arc::new(blocking(open).await?);
            data::reads_at_random(&file);
            let len = if job.work == Work::Cached { PIECE } else { PAGE };
            let pages = (len / PAGE) as u64;
            let first = task * CACHED / job.tasks / pages;
            let mut bytes = Aligned::new(len);
            for op in ops {
                let page = match job.work {
                    Work::Cached => (first + count) * pages % CACHED,
                    _ => data.random_page(op),
                };
                let file = Arc::clone(&file);
                bytes = blocking(move || {
                    file.read_exact_at(bytes.bytes(), page * PAGE as u64)?;
                    Ok(bytes)
                })
                .await?;
                check(bytes.bytes(), page)?;
                count += 1;
            }
        }
        Work::Sync => {
            let path = data.to_write(task % WRITERS);
            let file = Arc::new(blocking(|| std::fs::File::options().write(true).open(path)).await?);
            for op in ops {
                let (page, file) = (op / job.tasks % PAGES_TO_WRITE, Arc::clone(&file));
                blocking(move || {
                    file.write_all_at(&data::page(page), page * PAGE as u64)?;
                    file.sync_data()
                })
                .await?;
                count += 1;
            }
        }
        _ => return Err(io::Error::other("that is what tokio::fs does")),
    }
    Ok(count)
}

pub fn run(job: Job, workers: usize, by_blocking: bool) -> io::Result<Sample> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    let main = async move {
        let job = Arc::new(job);
        let stop = Arc::new(AtomicBool::new(false));
        let ticker = job.ticks.then(|| {
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                let mut ticker = Ticker::new();
                loop {
                    tokio::time::sleep(ticker.next()).await;
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
            tokio::spawn(async move {
                if by_blocking { share_by_blocking(&job, task).await } else { share(&job, task).await }
            })
        };
        let tasks: Vec<_> = (0..job.tasks).map(share).collect();
        let mut done = 0;
        for task in tasks {
            done += task.await.expect("it ends well")?;
        }
        let mut sample = clock.stop(done);
        stop.store(true, Ordering::Relaxed);
        if let Some(ticker) = ticker {
            ticker.await.expect("it ends well").add_to(&mut sample);
        }
        job.check_end(done)?;
        Ok(sample)
    };
    // Spawned, since `block_on` would run it on this thread, which is no worker.
    runtime.block_on(runtime.spawn(main)).expect("it ends well")
}
