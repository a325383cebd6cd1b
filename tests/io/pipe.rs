//! Pipes.

use crate::common::{MOMENT, both, in_runtime, is_nonblocking, pattern};
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use sward::io::{PipeReader, PipeWriter, pipe};
use sward::task::JoinError;
use sward::time::timeout;

#[test]
fn ends_have_the_auto_traits_of_std() {
    fn check<T: Send + Sync + Unpin + std::fmt::Debug + UnwindSafe + RefUnwindSafe>() {}
    check::<PipeReader>();
    check::<PipeWriter>();
}

#[test]
fn a_reader_waits_for_a_writer() {
    both(|| {
        let (mut reader, mut writer) = pipe().unwrap();
        let parked = sward::spawn(move || io::read_to_string(&mut reader));
        sward::sleep(MOMENT);
        writer.write_all(b"hello").unwrap();
        assert_eq!(writer.write_vectored(&[IoSlice::new(b", "), IoSlice::new(b"world")]).unwrap(), 7);
        writer.flush().unwrap();
        drop(writer);
        assert_eq!(parked.join().unwrap().unwrap(), "hello, world");
    });
}

#[test]
fn a_writer_waits_for_a_reader() {
    both(|| {
        const TOTAL: usize = 1 << 20;
        let (reader, mut writer) = pipe().unwrap();
        let parked = sward::spawn(move || writer.write_all(&pattern(TOTAL)));
        sward::sleep(MOMENT);
        let mut all = Vec::new();
        (&reader).read_to_end(&mut all).unwrap();
        assert!(all == pattern(TOTAL));
        parked.join().unwrap().unwrap();
        let (mut first, mut second) = ([0; 1], [0; 2]);
        let bufs = &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        assert_eq!((&reader).read_vectored(bufs).unwrap(), 0);
    });
}

#[test]
fn plain_threads_block() {
    let (mut reader, writer) = pipe().unwrap();
    let thread = thread::spawn(move || io::read_to_string(&mut reader));
    thread::sleep(MOMENT);
    in_runtime(move || (&writer).write_all(b"from a coroutine")).unwrap();
    assert_eq!(thread.join().unwrap().unwrap(), "from a coroutine");
}

#[test]
fn a_lost_reader_is_an_error() {
    both(|| {
        let (reader, writer) = pipe().unwrap();
        let parked = sward::spawn(move || {
            loop {
                if let Err(error) = (&writer).write(&[0; 1 << 16]) {
                    break error.kind();
                }
            }
        });
        sward::sleep(MOMENT);
        drop(reader);
        assert_eq!(parked.join().unwrap(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn the_end_comes_when_all_clones_are_gone() {
    both(|| {
        let (reader, writer) = pipe().unwrap();
        let (other, mut clone) = (reader.try_clone().unwrap(), writer.try_clone().unwrap());
        drop(writer);
        clone.write_all(b"ab").unwrap();
        let mut byte = [0];
        (&reader).read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"a");
        (&other).read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"b");
        let parked = sward::spawn(move || (&other).read(&mut [0]));
        sward::sleep(MOMENT);
        drop(clone);
        assert_eq!(parked.join().unwrap().unwrap(), 0);
    });
}

#[test]
fn a_wait_ends_by_cancelling_and_by_a_limit_and_loses_nothing() {
    in_runtime(|| {
        let (reader, mut writer) = pipe().unwrap();
        let reader = Arc::new(reader);
        let reading = reader.clone();
        let parked = sward::spawn(move || (&*reading).read(&mut [0; 8]));
        sward::sleep(MOMENT);
        parked.cancel();
        assert!(matches!(parked.join(), Err(JoinError::Cancelled)));
        assert!(timeout(MOMENT, || (&*reader).read(&mut [0; 8])).is_err());
        writer.write_all(b"kept").unwrap();
        let mut buf = [0; 4];
        (&*reader).read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"kept");
        assert!(timeout(MOMENT, || while writer.write(&[0; 1 << 16]).is_ok() {}).is_err());
    });
    let (mut reader, _writer) = pipe().unwrap();
    assert!(timeout(MOMENT, || reader.read(&mut [0; 8])).is_err());
}

#[test]
fn ends_come_from_std_and_go_there() {
    both(|| {
        let (reader, writer) = io::pipe().unwrap();
        let (mut reader, mut writer) = (PipeReader::from(reader), PipeWriter::from(writer));
        writer.write_all(b"one").unwrap();
        let mut buf = [0; 3];
        reader.read_exact(&mut buf).unwrap();
        assert!(is_nonblocking(&reader) && is_nonblocking(&writer));

        let mut writer: io::PipeWriter = writer.into_std().unwrap();
        let mut reader = io::PipeReader::try_from(reader).unwrap();
        assert!(!is_nonblocking(&reader) && !is_nonblocking(&writer));
        writer.write_all(b"two").unwrap();
        reader.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"two");

        let (reader, writer) = (OwnedFd::from(reader), writer.into_raw_fd());
        // SAFETY: the descriptor was just given up by its owner.
        let (mut reader, mut writer) = (PipeReader::from(reader), unsafe { PipeWriter::from_raw_fd(writer) });
        writer.write_all(b"end").unwrap();
        reader.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"end");
        assert_eq!(reader.as_fd().as_raw_fd(), reader.as_raw_fd());
    });
}

/// A clone that is converted gets a duplicate of the descriptor.
#[test]
fn a_converted_clone_is_a_duplicate() {
    both(|| {
        let (mut reader, writer) = pipe().unwrap();
        let duplicate = OwnedFd::from(writer.try_clone().unwrap());
        assert_ne!(duplicate.as_raw_fd(), writer.as_raw_fd());
        drop(writer);
        File::from(duplicate).write_all(b"x").unwrap();
        assert_eq!(io::read_to_string(&mut reader).unwrap(), "x");
    });
}

/// A child gets a blocking end, whatever was done with it before.
#[test]
fn a_child_writes_to_an_end() {
    both(|| {
        let (mut reader, mut writer) = pipe().unwrap();
        writer.write_all(b"before ").unwrap();
        let mut child = Command::new("sh")
            .args(["-c", "head -c 300000 /dev/zero; echo after >&2"])
            .stderr(writer.try_clone().unwrap())
            .stdout(writer)
            .spawn()
            .unwrap();
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert!(sward::blocking(|| child.wait()).unwrap().unwrap().success());
        assert!(all.starts_with(b"before ") && all.ends_with(b"after\n"));
        assert_eq!(all.len(), 7 + 300_000 + 6);
    });
}

#[test]
fn empty_transfers_do_not_wait() {
    both(|| {
        let (mut reader, mut writer) = pipe().unwrap();
        assert_eq!(writer.write(&[]).unwrap(), 0);
        writer.write_all(b"x").unwrap();
        assert_eq!(reader.read(&mut []).unwrap(), 0);
    });
}
