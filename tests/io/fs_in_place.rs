//! Files that are opened, and asked for their metadata, in place; or by the pool where that would wait. The
//! tests hold either way, except for the counts of calls.

use crate::common::{Folder, in_runtime};
use std::ffi::OsStr;
use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use sward::fs::{self, File};
use sward::runtime::metrics;

/// Calls so far: in place, and by the pool.
fn calls() -> (u64, u64) {
    let workers = metrics().expect("inside of a runtime").workers;
    (
        workers.iter().map(|worker| worker.file_calls_in_place).sum(),
        workers.iter().map(|worker| worker.file_calls_by_pool).sum(),
    )
}

/// A folder with one of each kind, and paths to them and to nothing.
fn all_kinds(folder: &Folder) -> Vec<PathBuf> {
    let at = |name: &str| folder.at(name);
    std::fs::write(at("file"), "text").unwrap();
    std::fs::create_dir(at("directory")).unwrap();
    for (target, link) in
        [("file", "link"), ("missing", "broken"), ("loop", "loop"), ("directory", "to-directory")]
    {
        std::os::unix::fs::symlink(at(target), at(link)).unwrap();
    }
    let fifo = std::ffi::CString::new(at("fifo").as_os_str().as_bytes()).unwrap();
    // SAFETY: the path is valid.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    let names =
        ["file", "directory", "link", "broken", "loop", "to-directory", "fifo", "missing", "file/below"];
    let mut paths: Vec<PathBuf> = names.into_iter().map(at).collect();
    paths.push(at("file").join(""));
    // Not /proc: it has as many links as there are processes.
    paths.extend(["/dev/null", "/proc/self/stat", "/sys", ""].map(PathBuf::from));
    paths.push(Path::new(OsStr::from_bytes(b"a\0b")).to_owned());
    paths.push(at(&"long".repeat(2_000)));
    paths
}

fn kind(error: std::io::Error) -> (ErrorKind, Option<i32>) {
    (error.kind(), error.raw_os_error())
}

#[test]
fn metadata_is_that_of_std() {
    in_runtime(|| {
        let folder = Folder::new();
        let all = |of: std::fs::Metadata| {
            (of.dev(), of.ino(), of.mode(), of.nlink(), of.uid(), of.size(), of.mtime())
        };
        for path in all_kinds(&folder) {
            // Once more when it is cached.
            for _ in 0..2 {
                let std = std::fs::metadata(&path).map(all).map_err(kind);
                assert_eq!(fs::metadata(&path).map(all).map_err(kind), std, "{path:?}");
                let std = std::fs::symlink_metadata(&path).map(all).map_err(kind);
                assert_eq!(fs::symlink_metadata(&path).map(all).map_err(kind), std, "{path:?}");
                let std = std::fs::exists(&path).map_err(kind);
                assert_eq!(fs::exists(&path).map_err(kind), std, "{path:?}");
            }
        }
    });
}

#[test]
fn files_are_opened_as_by_std() {
    in_runtime(|| {
        let folder = Folder::new();
        // Both would wait at a FIFO.
        for path in all_kinds(&folder).into_iter().filter(|path| !path.ends_with("fifo")) {
            for flags in [0, libc::O_NOFOLLOW, libc::O_DIRECTORY] {
                let std = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(&path);
                let ours = File::options().read(true).custom_flags(flags).open(&path);
                let facts = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino(), metadata.mode());
                let std_facts = std.and_then(|file| file.metadata()).map(facts).map_err(kind);
                let our_facts = ours.and_then(|file| file.metadata()).map(facts).map_err(kind);
                assert_eq!(our_facts, std_facts, "{path:?} {flags}");
            }
            let std = std::fs::read(&path).map_err(kind);
            let ours = fs::read(&path).map_err(kind);
            // The file of the process changes from read to read.
            if path.starts_with("/proc") {
                assert_eq!(ours.is_ok(), std.is_ok());
            } else {
                assert_eq!(ours, std, "{path:?}");
                let std = std::fs::read_to_string(&path).map_err(kind);
                assert_eq!(fs::read_to_string(&path).map_err(kind), std, "{path:?}");
            }
        }
        assert!(fs::metadata(folder.at("fifo")).unwrap().file_type().is_fifo());
    });
}

/// The descriptor is as std's: it blocks, is closed by exec, and only reads.
#[test]
fn the_descriptor_of_a_file_is_as_usual() {
    in_runtime(|| {
        let folder = Folder::new();
        std::fs::write(folder.at("file"), "text").unwrap();
        let flags = |fd: i32| {
            // SAFETY: the calls take no pointers.
            unsafe { (libc::fcntl(fd, libc::F_GETFL), libc::fcntl(fd, libc::F_GETFD)) }
        };
        let std = std::fs::File::open(folder.at("file")).unwrap();
        for _ in 0..3 {
            let ours = File::open(folder.at("file")).unwrap();
            assert_eq!(flags(ours.as_raw_fd()), flags(std.as_raw_fd()));
        }
        // No descriptor is left over from the handles.
        let before = std::fs::read_dir("/dev/fd").map(Iterator::count).unwrap_or(0);
        for _ in 0..200 {
            drop(File::open(folder.at("file")).unwrap());
            fs::metadata(folder.at("file")).unwrap();
            assert!(File::open(folder.at("missing")).is_err());
        }
        let after = std::fs::read_dir("/dev/fd").map(Iterator::count).unwrap_or(0);
        assert!(after < before + 100, "{before}, then {after}");
    });
}

/// What is cached needs no thread of the pool, where the system and the file system can say so.
#[test]
fn what_is_cached_takes_no_thread() {
    in_runtime(|| {
        let folder = Folder::new();
        let path = folder.at("file");
        std::fs::write(&path, "text").unwrap();
        let all = || {
            assert_eq!(fs::read(&path).unwrap(), b"text");
            assert_eq!(fs::metadata(&path).unwrap().len(), 4);
            assert!(!fs::exists(folder.at("missing")).unwrap());
            let mut text = String::new();
            let mut file = File::open(&path).unwrap();
            assert_eq!(file.metadata().unwrap().len(), 4);
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "text");
        };
        // The device, the directory and the name that is missing become known.
        all();
        // A kernel before 5.12, or a file system that is not on a local disk, has only reads in place.
        let before = calls().0;
        fs::metadata(&path).unwrap();
        if calls().0 == before {
            println!("skipped: no paths in place here");
            return;
        }
        let before = calls();
        (0..100).for_each(|_| all());
        let (in_place, by_pool) = (calls().0 - before.0, calls().1 - before.1);
        // The machine may be short of memory.
        assert!(in_place > 100 && by_pool < 100, "{in_place} in place, {by_pool} by the pool");
    });
}

/// An entry stays the file that was listed, whatever takes its name.
#[test]
fn entries_have_the_metadata_of_what_was_listed() {
    in_runtime(|| {
        let folder = Folder::new();
        std::fs::create_dir(folder.at("directory")).unwrap();
        for n in 0..150 {
            std::fs::write(folder.at("directory").join(n.to_string()), "x".repeat(n)).unwrap();
        }
        let entries: Vec<_> = fs::read_dir(folder.at("directory")).unwrap().map(Result::unwrap).collect();
        assert_eq!(entries.len(), 150);
        for entry in &entries {
            let len = entry.file_name().to_str().unwrap().parse::<u64>().unwrap();
            let metadata = entry.metadata().unwrap();
            assert!(metadata.len() == len && metadata.ino() == entry.ino());
            assert!(entry.file_type().unwrap().is_file());
        }
        // The directory has another name, and another one has its name.
        std::fs::rename(folder.at("directory"), folder.at("moved")).unwrap();
        std::fs::create_dir(folder.at("directory")).unwrap();
        std::fs::write(folder.at("directory").join("7"), "another").unwrap();
        let seven = entries.iter().find(|entry| entry.file_name() == "7").unwrap();
        // std's entries stay with the directory on some systems, and name it by its path on others.
        if let Ok(metadata) = seven.metadata() {
            let of_path = std::fs::metadata(folder.at("directory").join("7")).unwrap();
            assert!(metadata.ino() == seven.ino() || metadata.ino() == of_path.ino());
            assert!(cfg!(not(target_os = "linux")) || metadata.ino() == seven.ino());
        }
    });
}

/// One that reads cached data lets others go first after about half a megabyte.
#[test]
fn large_reads_use_up_the_budget_sooner() {
    let folder = Folder::new();
    std::fs::write(folder.at("file"), vec![1; 64 << 10]).unwrap();
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    runtime.run(|| {
        let file = &File::open(folder.at("file")).unwrap();
        let (reads, stop) = (&AtomicU64::new(0), &AtomicBool::new(false));
        sward::scope(|s| {
            s.spawn(move || {
                use std::os::unix::fs::FileExt;
                let mut buffer = vec![0; 64 << 10];
                while !stop.load(Ordering::Relaxed) {
                    file.read_exact_at(&mut buffer, 0).unwrap();
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
            let (mut last, mut most) = (0, 0);
            for _ in 0..200 {
                sward::yield_now();
                let now = reads.load(Ordering::Relaxed);
                most = most.max(now - last);
                last = now;
            }
            stop.store(true, Ordering::Relaxed);
            assert!(last > 0 && most <= 20, "{most} reads in a row, {last} in all");
        });
    });
}
