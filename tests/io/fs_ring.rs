//! Calls that the kernel makes while the coroutine is parked. Each test holds with the ring and without, and
//! with one whose submissions fail (`--cfg sward_ring_faults`). The last one runs them again with the ring
//! for all calls that it knows, and without.

use crate::common::{Folder, LONG, Random, in_runtime, text, two_workers};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use sward::fs::{self, File, OpenOptions};
use sward::runtime::{IoUring, metrics};

const BLOCK: usize = 4096;
const BLOCKS: usize = 256;

/// Byte `at` of the block with that number.
fn byte(block: usize, at: usize) -> u8 {
    (block.wrapping_mul(31) ^ at ^ at >> 8) as u8 | 1
}

/// A file of blocks, with a descriptor of it that reads the disk if the file system allows that.
fn blocks(folder: &Folder) -> File {
    let path = folder.at("blocks");
    let contents: Vec<u8> = (0..BLOCKS).flat_map(|block| (0..BLOCK).map(move |at| byte(block, at))).collect();
    std::fs::write(&path, contents).unwrap();
    std::fs::File::open(&path).unwrap().sync_all().unwrap();
    open_uncached(&path)
}

fn open_uncached(path: &Path) -> File {
    let direct = OpenOptions::new().read(true).custom_flags(direct()).open(path);
    direct.or_else(|_| File::open(path)).unwrap()
}

#[cfg(target_os = "linux")]
fn direct() -> i32 {
    libc::O_DIRECT
}

#[cfg(not(target_os = "linux"))]
fn direct() -> i32 {
    0
}

/// The system may forget what it has cached of the file.
#[cfg(target_os = "linux")]
fn forget_cached(file: &File) {
    // SAFETY: the call takes no pointers.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
}

#[cfg(not(target_os = "linux"))]
fn forget_cached(file: &File) {
    let _ = file.as_raw_fd();
}

#[repr(align(4096))]
struct Buffer([u8; BLOCK]);

#[test]
fn reads_at_offsets_return_what_is_there() {
    in_runtime(|| {
        let folder = Folder::new();
        let file = Arc::new(blocks(&folder));
        let readers: Vec<_> = (0..16)
            .map(|seed| {
                let file = Arc::clone(&file);
                sward::spawn(move || {
                    let mut random = Random(seed + 1);
                    for _ in 0..50 {
                        let block = random.below(BLOCKS as u64) as usize;
                        let mut buffer = Buffer([0; BLOCK]);
                        file.read_exact_at(&mut buffer.0, (block * BLOCK) as u64).unwrap();
                        assert!((0..BLOCK).all(|at| buffer.0[at] == byte(block, at)), "block {block}");
                    }
                })
            })
            .collect();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert_eq!(file.read_at(&mut Buffer([0; BLOCK]).0, (BLOCKS * BLOCK) as u64).unwrap(), 0);
    });
}

#[test]
fn writes_at_offsets_reach_the_file() {
    in_runtime(|| {
        let folder = Folder::new();
        let path = folder.at("file");
        let file = Arc::new(File::options().read(true).write(true).create(true).open(&path).unwrap());
        let writers: Vec<_> = (0..16)
            .map(|writer| {
                let file = Arc::clone(&file);
                sward::spawn(move || {
                    for piece in 0..8 {
                        let number = piece * 16 + writer;
                        let text = vec![number as u8; 1000];
                        file.write_all_at(&text, number as u64 * 1000).unwrap();
                    }
                    file.sync_data().unwrap();
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        file.sync_all().unwrap();
        forget_cached(&file);
        let read = fs::read(&path).unwrap();
        assert!(read.len() == 128_000 && read.iter().enumerate().all(|(at, &is)| is == (at / 1000) as u8));
        let mut read = vec![0; 128_000];
        forget_cached(&file);
        file.read_exact_at(&mut read, 0).unwrap();
        assert!(read.iter().enumerate().all(|(at, &is)| is == (at / 1000) as u8));
    });
}

#[test]
fn errors_are_those_of_the_system_calls() {
    in_runtime(|| {
        let folder = Folder::new();
        let file = File::create(folder.at("file")).unwrap();
        assert_eq!(file.read_at(&mut [0], 0).unwrap_err().raw_os_error(), Some(libc::EBADF));
        let read_only = File::open(folder.at("file")).unwrap();
        assert_eq!(read_only.write_at(b"x", 0).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert!(read_only.write_at(b"x", u64::MAX).is_err());
        assert_eq!(read_only.read_at(&mut [0], u64::MAX).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        let null = std::fs::File::options().write(true).open("/dev/null").unwrap();
        let synced = null.sync_all().map_err(|error| error.raw_os_error());
        let null = File::from(null);
        assert_eq!(null.sync_all().map_err(|error| error.raw_os_error()), synced);
        assert_eq!(null.write_at(b"xy", 7).unwrap(), 2);
    });
}

/// A socket has no offsets: a call at one fails, and does not read what the socket has.
#[test]
fn what_has_no_offsets_is_not_read_at_one() {
    in_runtime(|| {
        let (socket, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut file = File::from(std::fs::File::from(OwnedFd::from(socket)));
        other.write_all(b"text").unwrap();
        let mut four = [0; 4];
        assert_eq!(file.read_at(&mut four, 0).unwrap_err().raw_os_error(), Some(libc::ESPIPE));
        assert_eq!(file.write_at(&four, 0).unwrap_err().raw_os_error(), Some(libc::ESPIPE));
        file.read_exact(&mut four).unwrap();
        assert_eq!(&four, b"text");
    });
}

/// An event descriptor can be "sought", which moves nothing.
#[cfg(target_os = "linux")]
#[test]
fn what_has_offsets_in_name_only_is_not_read_at_one() {
    in_runtime(|| {
        // SAFETY: the call takes no pointers, and the descriptor is fresh.
        let event = unsafe { OwnedFd::from_raw_fd(libc::eventfd(3, libc::EFD_CLOEXEC)) };
        let mut file = File::from(std::fs::File::from(event));
        let mut eight = [0; 8];
        assert_eq!(file.read_at(&mut eight, 0).unwrap_err().raw_os_error(), Some(libc::ESPIPE));
        assert_eq!(file.write_at(&eight, 0).unwrap_err().raw_os_error(), Some(libc::ESPIPE));
        file.read_exact(&mut eight).unwrap();
        assert_eq!(u64::from_ne_bytes(eight), 3);
    });
}

/// The kernel might make such calls itself, and wait for another program or a server.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_is_on_no_local_disk_does_not_use_the_ring() {
    in_runtime(|| {
        let file = File::open("/proc/self/stat").unwrap();
        let adopted = File::from(std::fs::File::open("/proc/self/stat").unwrap());
        for file in [file, adopted] {
            assert!(file.read_at(&mut [0; 64], 0).unwrap() > 0);
            file.sync_all().unwrap_err();
        }
        let workers = metrics().expect("inside of a runtime").workers;
        assert!(workers.iter().all(|worker| worker.io_uring == IoUring::Unused));
    });
}

/// Coroutines read into buffers on their stacks, and others cancel them at any time. Once a read has ended,
/// by whatever cause, nothing writes to its buffer any more.
#[test]
fn no_byte_is_written_after_the_end_of_a_cancelled_read() {
    const READERS: u64 = 24;
    const ROUNDS: u64 = 40;
    let folder = Folder::new();
    let (file, interrupted, read) = (&blocks(&folder), &AtomicUsize::new(0), &AtomicUsize::new(0));
    let by_ring = two_workers().run(|| {
        sward::scope(|s| {
            for seed in 0..READERS {
                s.spawn(move || {
                    let mut random = Random(seed + 1);
                    for _ in 0..ROUNDS {
                        storm_round(file, &mut random, interrupted, read);
                    }
                });
            }
        });
        by_ring()
    });
    let (interrupted, read) = (interrupted.load(Ordering::Relaxed), read.load(Ordering::Relaxed));
    assert_eq!(interrupted + read, (READERS * ROUNDS) as usize);
    assert!(interrupted > 0, "no read was cancelled");
    assert!(by_ring > 0 || !ring_is_used(&folder), "no read was the ring's");
}

/// How many calls were made by rings in the caller's runtime.
fn by_ring() -> u64 {
    metrics().expect("inside of a runtime").workers.iter().map(|worker| worker.file_calls_by_ring).sum()
}

/// Whether reads of the disk use a ring here, as far as a test can know.
fn ring_is_used(folder: &Folder) -> bool {
    let direct = OpenOptions::new().read(true).custom_flags(direct()).open(folder.at("blocks")).is_ok();
    let works = in_runtime(|| {
        open_uncached(&folder.at("blocks")).read_exact_at(&mut Buffer([0; BLOCK]).0, 0).unwrap();
        metrics().expect("inside of a runtime").workers.iter().any(|worker| worker.io_uring == IoUring::Works)
    });
    // Under these faults the kernel seems to have no rings now and then.
    direct && works && !cfg!(sward_ring_faults) && std::env::var_os("SWARD_FAULTS").is_none()
}

fn storm_round(file: &File, random: &mut Random, interrupted: &AtomicUsize, read: &AtomicUsize) {
    let (block, delay, by_limit) = (random.below(BLOCKS as u64) as usize, random.below(200), random.below(2));
    let attempt = || {
        let mut buffer = Buffer([0; BLOCK]);
        let offset = (block * BLOCK) as u64;
        let done = sward::task::catch_cancel(|| file.read_exact_at(&mut buffer.0, offset));
        match &done {
            Ok(done) => {
                done.as_ref().unwrap();
                assert!((0..BLOCK).all(|at| buffer.0[at] == byte(block, at)), "block {block}");
            }
            // What was read before the end of the call stays.
            Err(_) => assert!((0..BLOCK).all(|at| [0, byte(block, at)].contains(&buffer.0[at]))),
        }
        // No byte of the file is zero.
        buffer.0.fill(0);
        for _ in 0..3 {
            let _ = sward::task::catch_cancel(|| std::hint::black_box(&buffer));
            std::thread::yield_now();
        }
        assert!(buffer.0.iter().all(|&byte| byte == 0), "a write after the end of the call");
        done.is_ok()
    };
    let done = if by_limit == 1 {
        sward::time::timeout(Duration::from_micros(delay), attempt).unwrap_or(false)
    } else {
        sward::scope(|s| {
            let reader = s.spawn(attempt);
            for _ in 0..delay / 20 {
                sward::yield_now();
            }
            reader.cancel();
            reader.join().unwrap_or(false)
        })
    };
    if done { read } else { interrupted }.fetch_add(1, Ordering::Relaxed);
}

/// A runtime ends while its coroutines read.
#[test]
fn a_shutdown_amid_reads_waits_for_them() {
    for _ in 0..5 {
        let folder = Folder::new();
        let file = Arc::new(blocks(&folder));
        let runtime = two_workers();
        runtime.run(|| {
            for reader in 0..32 {
                let file = Arc::clone(&file);
                sward::spawn(move || {
                    loop {
                        let mut buffer = Buffer([0; BLOCK]);
                        file.read_exact_at(&mut buffer.0, (reader * BLOCK) as u64).unwrap();
                        assert!(buffer.0[7] == byte(reader, 7));
                    }
                });
            }
            for _ in 0..10 {
                sward::yield_now();
            }
        });
        runtime.shutdown_timeout(LONG);
        assert_eq!(Arc::strong_count(&file), 1, "a coroutine was leaked");
    }
}

/// A worker computes, and does not enter the kernel, while a write of its coroutine waits to be submitted.
#[test]
fn a_write_is_begun_while_its_worker_computes() {
    if cfg!(sward_ring_faults) {
        println!("skipped: a call that the ring refuses is the pool's after the turn");
        return;
    }
    let folder = Folder::new();
    let path = &folder.at("blocks");
    drop(blocks(&folder));
    let file = OpenOptions::new().write(true).custom_flags(direct()).open(path);
    let file = &file.or_else(|_| OpenOptions::new().write(true).open(path)).unwrap();
    sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime").run(|| {
        for round in 0..20 {
            let (begins, written) = (&AtomicBool::new(false), &AtomicBool::new(false));
            let byte = round as u8 + 1;
            std::thread::scope(|threads| {
                threads.spawn(move || {
                    let deadline = std::time::Instant::now() + LONG;
                    while std::fs::read(path).unwrap()[0] != byte && std::time::Instant::now() < deadline {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    written.store(true, Ordering::Relaxed);
                });
                sward::scope(|s| {
                    s.spawn(move || {
                        begins.store(true, Ordering::Relaxed);
                        file.write_all_at(&Buffer([byte; BLOCK]).0, 0).unwrap();
                    });
                    while !begins.load(Ordering::Relaxed) {
                        sward::yield_now();
                    }
                    while !written.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                    assert_eq!(std::fs::read(path).unwrap()[0], byte, "nobody has begun the write");
                });
            });
        }
    });
}

#[test]
fn what_a_scope_lends_is_read_into() {
    in_runtime(|| {
        let folder = Folder::new();
        let file = &blocks(&folder);
        let mut buffers: Vec<_> = (0..300).map(|_| Box::new(Buffer([0; BLOCK]))).collect();
        sward::scope(|s| {
            for (block, buffer) in buffers.iter_mut().enumerate() {
                let block = block % BLOCKS;
                s.spawn(move || file.read_exact_at(&mut buffer.0, (block * BLOCK) as u64).unwrap());
            }
        });
        for (block, buffer) in buffers.iter().enumerate() {
            assert!((0..BLOCK).all(|at| buffer.0[at] == byte(block % BLOCKS, at)), "block {block}");
        }
    });
}

/// What a call does that changes names, and whatever it returns, is what std's does.
#[test]
fn names_change_as_std_changes_them() {
    type Call = fn(&Path, &Path) -> std::io::Result<()>;
    const CALLS: [(Call, Call); 8] = [
        (|a, b| fs::rename(a, b), |a, b| std::fs::rename(a, b)),
        (|a, b| fs::hard_link(a, b), |a, b| std::fs::hard_link(a, b)),
        (
            |a, b| fs::symlink(a.file_name().unwrap(), b),
            |a, b| std::os::unix::fs::symlink(a.file_name().unwrap(), b),
        ),
        (|a, _| fs::create_dir(a), |a, _| std::fs::create_dir(a)),
        (
            |a, b| fs::create_dir(a.join(b.file_name().unwrap())),
            |a, b| std::fs::create_dir(a.join(b.file_name().unwrap())),
        ),
        (|a, _| fs::remove_dir(a), |a, _| std::fs::remove_dir(a)),
        (|a, _| fs::remove_file(a), |a, _| std::fs::remove_file(a)),
        (|a, _| File::create_new(a)?.set_len(7), |a, _| std::fs::File::create_new(a)?.set_len(7)),
    ];
    /// Each name with the kind, the length or the target of what has it.
    fn contents(folder: &Folder) -> Vec<String> {
        let entry = |entry: std::io::Result<std::fs::DirEntry>| {
            let entry = entry.unwrap();
            let (metadata, target) = (entry.metadata().unwrap(), std::fs::read_link(entry.path()).ok());
            let (len, links) = (metadata.is_file().then_some(metadata.len()), metadata.nlink());
            format!("{:?} {:?} {len:?} {links} {target:?}", entry.file_name(), metadata.file_type())
        };
        let mut all: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(entry).collect();
        all.sort();
        all
    }
    in_runtime(|| {
        let (ours, stds) = (Folder::new(), Folder::new());
        let mut random = Random(9);
        for step in 0..600 {
            let (our_call, std_call) = CALLS[random.below(CALLS.len() as u64) as usize];
            let mut name = || ["a", "b", "c", "d", "e\0"][random.below(41) as usize / 10];
            let (a, b) = (name(), name());
            let done = our_call(&ours.at(a), &ours.at(b)).map_err(|e| (e.kind(), e.raw_os_error()));
            let wanted = std_call(&stds.at(a), &stds.at(b)).map_err(|e| (e.kind(), e.raw_os_error()));
            assert_eq!(done, wanted, "step {step}: {a} {b}");
            assert_eq!(contents(&ours), contents(&stds), "step {step}: {a} {b}");
        }
        let file = File::create(ours.at("length")).unwrap();
        for len in [10, 0, 5_000] {
            file.set_len(len).unwrap();
            assert_eq!(file.metadata().unwrap().len(), len);
        }
        assert!(file.set_len(u64::MAX).is_err());
        let read_only = File::open(ours.at("length")).unwrap();
        assert_eq!(read_only.set_len(1).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    });
}

/// A call that was cancelled has not happened, and one that was not, has.
#[test]
fn a_cancelled_rename_has_not_happened() {
    const RENAMERS: usize = 16;
    const ROUNDS: u64 = 60;
    let (folder, interrupted) = (&Folder::new(), &AtomicUsize::new(0));
    two_workers().run(|| {
        sward::scope(|s| {
            for number in 0..RENAMERS {
                s.spawn(move || {
                    let mut random = Random(number as u64 + 1);
                    let mut names = [format!("{number}"), format!("{number}-other")].map(|n| folder.at(&n));
                    std::fs::write(&names[0], b"").unwrap();
                    for round in 0..ROUNDS {
                        let rename = || {
                            let [from, to] = &names;
                            sward::task::catch_cancel(|| fs::rename(from, to).unwrap()).is_ok()
                        };
                        // The first call is cancelled before it begins, the others at any time or never.
                        let done = if round == 0 {
                            after_its_cancelling(rename)
                        } else {
                            let limit = Duration::from_micros(random.below(100));
                            sward::time::timeout(limit, rename).unwrap_or(false)
                        };
                        if done {
                            names.reverse();
                        } else {
                            interrupted.fetch_add(1, Ordering::Relaxed);
                        }
                        assert!(names[0].exists() && !names[1].exists(), "done: {done}");
                    }
                });
            }
        });
    });
    assert!(interrupted.load(Ordering::Relaxed) >= RENAMERS, "a rename was made although it was cancelled");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), RENAMERS);
}

/// Makes the call in a coroutine that has been cancelled already.
fn after_its_cancelling(call: impl FnOnce() -> bool + Send) -> bool {
    sward::scope(|s| {
        let caller = s.spawn(|| {
            sward::task::mask(|| {
                while !sward::task::is_cancelled() {
                    sward::yield_now();
                }
            });
            call()
        });
        caller.cancel();
        caller.join().unwrap_or(false)
    })
}

/// The metrics say by which way the calls were made.
#[test]
fn the_metrics_say_how_calls_were_made() {
    in_runtime(|| {
        let folder = Folder::new();
        let file = File::create(folder.at("file")).unwrap();
        for _ in 0..100 {
            file.write_all_at(b"text", 0).unwrap();
        }
        let workers = metrics().expect("inside of a runtime").workers;
        let by_ring: u64 = workers.iter().map(|worker| worker.file_calls_by_ring).sum();
        let by_pool: u64 = workers.iter().map(|worker| worker.file_calls_by_pool).sum();
        assert!(by_ring + by_pool >= 100, "{by_ring} and {by_pool}");
        let used = workers.iter().any(|worker| worker.io_uring != IoUring::Unused);
        assert!(by_ring == 0 || used, "{by_ring}");
        fs::rename(folder.at("file"), folder.at("other")).unwrap();
        file.set_len(1).unwrap();
        // Neither these nor writes use it unless that is asked for.
        if std::env::var("SWARD_IO_URING").as_deref() != Ok("1") {
            assert!(by_ring == 0 && !used, "{by_ring}");
        }
    });
}

/// Reads that wait for the disk are the ring's by default, if the system has one.
#[test]
fn reads_from_the_disk_use_the_ring() {
    in_runtime(|| {
        let folder = Folder::new();
        let file = blocks(&folder);
        let mut buffer = Buffer([0; BLOCK]);
        file.read_exact_at(&mut buffer.0, 0).unwrap();
        let workers = metrics().expect("inside of a runtime").workers;
        let by_ring: u64 = workers.iter().map(|worker| worker.file_calls_by_ring).sum();
        let works = workers.iter().any(|worker| worker.io_uring == IoUring::Works);
        let off = std::env::var("SWARD_IO_URING").as_deref() == Ok("0");
        // A kernel that may not use its cache has to read the disk.
        let direct = OpenOptions::new().read(true).custom_flags(direct()).open(folder.at("blocks")).is_ok();
        if cfg!(sward_ring_faults) || !direct {
            return;
        }
        assert_eq!(by_ring > 0, works, "a ring that works is used");
        assert!(!(off && works));
    });
}

/// The environment is read once in a process.
#[test]
fn all_of_this_with_the_ring_and_without() {
    for (value, also) in [("1", "fs::"), ("0", "fs_ring::")] {
        let mut command = Command::new(std::env::current_exe().expect("the test's own program"));
        command.args(["fs_ring::", also, "--skip", "all_of_this", "--test-threads=2"]);
        let output = command.env("SWARD_IO_URING", value).output().expect("a child");
        assert!(output.status.success(), "SWARD_IO_URING={value}: {}", text(&output));
    }
}
