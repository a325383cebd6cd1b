//! Reads of cached data: in place, or by the pool where the file system knows no such reads. The tests hold
//! either way, except for the count of calls.

use crate::common::{Folder, in_runtime};
use std::io::{ErrorKind, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use sward::fs::{self, File};
use sward::runtime::{Metrics, metrics};

/// Bytes of which no two neighbouring stretches are equal.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n ^ n >> 8 ^ n >> 16) as u8).collect()
}

fn calls(metrics: &Metrics) -> (u64, u64) {
    let workers = &metrics.workers;
    (
        workers.iter().map(|worker| worker.file_calls_in_place).sum(),
        workers.iter().map(|worker| worker.file_calls_by_pool).sum(),
    )
}

fn metrics_now() -> Metrics {
    metrics().expect("inside of a runtime")
}

/// What std reads of the file is cached afterwards, unless the machine is short of memory.
fn cached(folder: &Folder, len: usize) -> (File, Vec<u8>) {
    let path = folder.at("file");
    std::fs::write(&path, pattern(len)).unwrap();
    let contents = std::fs::read(&path).unwrap();
    (File::open(&path).unwrap(), contents)
}

#[test]
fn all_reads_agree_with_the_contents() {
    in_runtime(|| {
        // Smaller and larger than what one read in place copies.
        for len in [0, 1, 5_000, 128 << 10, (128 << 10) + 1, 1_000_000] {
            let folder = Folder::new();
            let (mut file, contents) = cached(&folder, len);
            let mut read = vec![7];
            assert_eq!(file.read_to_end(&mut read).unwrap(), len);
            assert!(read[0] == 7 && read[1..] == contents[..], "{len}");
            assert_eq!(file.read(&mut [0; 8]).unwrap(), 0);
            file.seek(SeekFrom::Start(0)).unwrap();
            let mut read = vec![0; len];
            file.read_exact(&mut read).unwrap();
            assert!(read == contents, "{len}");
            read.fill(0);
            file.read_exact_at(&mut read, 0).unwrap();
            assert!(read == contents, "{len}");
            assert_eq!(file.read_at(&mut [0; 8], len as u64).unwrap(), 0);
            assert_eq!(file.stream_position().unwrap(), len as u64, "reads at offsets do not move it");
        }
    });
}

#[test]
fn vectored_reads_fill_their_buffers_in_order() {
    in_runtime(|| {
        let folder = Folder::new();
        let (mut file, contents) = cached(&folder, 600_000);
        let mut all = Vec::new();
        loop {
            let (mut a, mut b, mut c) = (vec![0; 10], vec![0; 200_000], vec![0; 3]);
            let mut bufs = [&mut a, &mut b, &mut c].map(|buf| IoSliceMut::new(buf));
            let mut read = file.read_vectored(&mut bufs).unwrap();
            if read == 0 {
                break;
            }
            for buf in [&a, &b, &c] {
                let here = read.min(buf.len());
                all.extend_from_slice(&buf[..here]);
                read -= here;
            }
        }
        assert!(all == contents);
        assert_eq!(file.read_vectored(&mut []).unwrap(), 0);
    });
}

#[test]
fn text_that_is_not_utf8_appends_nothing() {
    in_runtime(|| {
        let folder = Folder::new();
        fs::write(folder.at("file"), b"good\xff").unwrap();
        let mut text = String::from("before");
        let error = File::open(folder.at("file")).unwrap().read_to_string(&mut text).unwrap_err();
        assert_eq!((error.kind(), text.as_str()), (ErrorKind::InvalidData, "before"));
        fs::write(folder.at("file"), "gr\u{fc}n").unwrap();
        assert_eq!(File::open(folder.at("file")).unwrap().read_to_string(&mut text).unwrap(), 5);
        assert_eq!(text, "beforegr\u{fc}n");
    });
}

/// On a system that can, most of many reads of the same bytes are made in place.
#[cfg(target_os = "linux")]
#[test]
fn reads_of_cached_data_do_not_use_the_pool() {
    const READS: u64 = 1_000;
    in_runtime(|| {
        let folder = Folder::new();
        let (file, contents) = cached(&folder, 64 << 10);
        let mut buf = vec![0; 64 << 10];
        let before = calls(&metrics_now());
        for _ in 0..READS {
            let read = file.read_at(&mut buf, 0).unwrap();
            assert!(buf[..read] == contents[..read] && read > 0);
        }
        let after = calls(&metrics_now());
        let (in_place, by_pool) = (after.0 - before.0, after.1 - before.1);
        // Each read is counted once. A file system that knows no such reads says so at the first one.
        assert!(in_place + by_pool >= READS, "{in_place} and {by_pool}");
        assert!(in_place >= READS / 2 || in_place == 0, "{in_place} and {by_pool}");
    });
}

/// A file that bypasses the cache is never read in place: the worker would wait for the disk.
#[cfg(target_os = "linux")]
#[test]
fn reads_that_bypass_the_cache_use_the_pool() {
    use std::os::unix::fs::OpenOptionsExt;
    in_runtime(|| {
        let folder = Folder::new();
        drop(cached(&folder, 8 << 10));
        let direct = File::options().read(true).custom_flags(libc::O_DIRECT).open(folder.at("file"));
        // Some file systems refuse the flag.
        let Ok(file) = direct else { return };
        let mut memory = vec![0; 8 << 10];
        let aligned = memory.as_ptr().align_offset(4 << 10);
        let before = calls(&metrics_now());
        let _ = file.read_at(&mut memory[aligned..][..4 << 10], 0);
        assert_eq!(calls(&metrics_now()).0, before.0);
    });
}

/// A coroutine that reads cached data all the time lets others go first, and is cancelled.
#[test]
fn a_reader_of_cached_data_lets_others_go_first() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    runtime.run(|| {
        let folder = Folder::new();
        let (file, _) = cached(&folder, 4_096);
        let reader = sward::spawn(move || {
            loop {
                let mut buf = [0; 4_096];
                let _ = file.read_at(&mut buf, 0).unwrap();
            }
        });
        for _ in 0..10 {
            sward::yield_now();
        }
        reader.cancel();
        assert!(reader.join().unwrap_err().is_cancelled());
    });
}

/// As std, and in place or not: the errors of a file that cannot be read.
#[test]
fn errors_are_those_of_std() {
    in_runtime(|| {
        let folder = Folder::new();
        let mut file = File::create(folder.at("file")).unwrap();
        file.write_all(b"x").unwrap();
        assert_eq!(file.read(&mut [0]).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(file.read_at(&mut [0], 0).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(file.read_to_end(&mut Vec::new()).unwrap_err().raw_os_error(), Some(libc::EBADF));
        let mut folder = File::open(folder.path()).unwrap();
        assert_eq!(folder.read(&mut [0]).unwrap_err().raw_os_error(), Some(libc::EISDIR));
    });
}

/// With no room for a byte, and of files that cannot be read, the answer is that of std.
#[test]
fn empty_reads_are_those_of_std() {
    in_runtime(|| {
        let folder = Folder::new();
        let (path, only_written) = (folder.at("file"), folder.at("written"));
        std::fs::write(&path, "text").unwrap();
        let writable = || std::fs::OpenOptions::new().append(true).create(true).open(&only_written).unwrap();
        let open = || {
            let folder = std::fs::File::open(path.parent().expect("the folder")).unwrap();
            [folder, std::fs::File::open(&path).unwrap(), writable()]
        };
        for (mut theirs, ours) in open().into_iter().zip(open()) {
            let mut ours = File::from(ours);
            let code = |read: std::io::Result<usize>| read.map_err(|error| error.raw_os_error());
            for len in [0, 1] {
                assert_eq!(code(ours.read(&mut [0][..len])), code(theirs.read(&mut [0][..len])));
                assert_eq!(code(ours.read_at(&mut [0][..len], 0)), code(theirs.read_at(&mut [0][..len], 0)));
                let (mut one, mut other) = ([0], [0]);
                let vectored = theirs.read_vectored(&mut [IoSliceMut::new(&mut one[..len])]);
                assert_eq!(
                    code(ours.read_vectored(&mut [IoSliceMut::new(&mut other[..len])])),
                    code(vectored)
                );
            }
            assert_eq!(code(ours.read_vectored(&mut [])), code(theirs.read_vectored(&mut [])));
        }
    });
}
