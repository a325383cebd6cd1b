//! `io::poll`.

use crate::common::{
    LONG, MOMENT, SHORT, both, eventually, in_child, in_runtime, listen, one_worker, take_all_descriptors,
    waiting,
};
use std::io::{ErrorKind, Read, Write, pipe};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};
use sward::io::{PollFd, poll};
use sward::task::{Interruption, cancel_as_error};
use sward::time::timeout;

fn raw(fd: RawFd, events: i16) -> PollFd<'static> {
    // SAFETY: the tests' descriptors are open or negative, or are asked for only to be refused.
    unsafe { PollFd::from_raw(fd, events) }
}

fn is_nonblocking(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: the call takes no pointers.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) & libc::O_NONBLOCK != 0 }
}

#[test]
fn the_first_of_several_ends_the_wait() {
    both(|| {
        let (silent, _kept) = pipe().unwrap();
        let (reader, mut writer) = pipe().unwrap();
        let later = std::thread::spawn(move || {
            std::thread::sleep(MOMENT);
            writer.write_all(b"x").unwrap();
            writer
        });
        let mut all = [
            PollFd::new(silent.as_fd(), PollFd::IN),
            raw(-1, PollFd::IN),
            PollFd::new(reader.as_fd(), PollFd::IN),
            PollFd::new(reader.as_fd(), PollFd::IN | PollFd::PRI),
        ];
        assert_eq!(poll(&mut all, None).unwrap(), 2);
        assert_eq!(all.map(|one| one.revents()), [0, 0, PollFd::IN, PollFd::IN]);
        assert!(!is_nonblocking(reader.as_fd()) && !is_nonblocking(silent.as_fd()));
        drop(later.join().unwrap());
    });
}

#[test]
fn the_answers_are_those_of_the_system() {
    both(|| {
        let file = std::fs::File::open("/proc/self/exe").or_else(|_| std::fs::File::open("/bin/sh")).unwrap();
        let mut one = [PollFd::new(file.as_fd(), PollFd::IN | PollFd::OUT)];
        assert_eq!(poll(&mut one, None).unwrap(), 1);
        assert_eq!(one[0].revents(), PollFd::IN | PollFd::OUT);
        // Nothing that it reports, so only the time ends the wait.
        one[0].set_events(0);
        assert_eq!(poll(&mut one, Some(SHORT)).unwrap(), 0);
        let mut closed = [raw(1 << 20, PollFd::IN)];
        assert_eq!(poll(&mut closed, None).unwrap(), 1);
        assert_eq!(closed[0].revents(), PollFd::NVAL);
        let (reader, writer) = pipe().unwrap();
        drop(writer);
        let mut hung_up = [PollFd::new(reader.as_fd(), 0)];
        assert_eq!(poll(&mut hung_up, None).unwrap(), 1);
        assert_eq!(hung_up[0].revents(), PollFd::HUP);
    });
}

#[test]
fn a_hang_up_ends_a_wait_for_nothing() {
    both(|| {
        let (reader, writer) = pipe().unwrap();
        let later = std::thread::spawn(move || {
            std::thread::sleep(MOMENT);
            drop(writer);
        });
        let mut one = [PollFd::new(reader.as_fd(), 0)];
        assert_eq!(poll(&mut one, None).unwrap(), 1);
        assert_eq!(one[0].revents(), PollFd::HUP);
        later.join().unwrap();
    });
}

#[test]
fn a_write_waits_for_room() {
    both(|| {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        while (&ours).write(&[7; 1 << 16]).is_ok() {}
        ours.set_nonblocking(false).unwrap();
        let mut one = [PollFd::new(ours.as_fd(), PollFd::OUT)];
        assert_eq!(poll(&mut one, Some(SHORT)).unwrap(), 0);
        let reads = std::thread::spawn(move || {
            std::thread::sleep(MOMENT);
            theirs.set_nonblocking(true).unwrap();
            let mut buffer = vec![0; 1 << 16];
            while theirs.read(&mut buffer).is_ok() {}
            theirs
        });
        assert_eq!(poll(&mut one, None).unwrap(), 1);
        assert_eq!(one[0].revents(), PollFd::OUT);
        assert!(!is_nonblocking(ours.as_fd()));
        drop(reads.join().unwrap());
    });
}

/// A stream that has ended is readable for good, and has no urgent data. The wait for that neither ends nor
/// spins.
#[test]
fn a_lasting_state_that_was_not_asked_for_does_not_spin() {
    both(|| {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let mut one = [PollFd::new(ours.as_fd(), PollFd::PRI)];
        assert_eq!(poll(&mut one, Some(MOMENT)).unwrap(), 0);
    });
}

/// No descriptor is left for the duplicates that a wait makes.
#[test]
fn it_waits_although_descriptors_are_exhausted() {
    let said = in_child(|| {
        let limit = libc::rlimit { rlim_cur: 128, rlim_max: 128 };
        // SAFETY: the limit lives until the call ends.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        let runtime = one_worker();
        let (reader, mut writer) = pipe().unwrap();
        let held = take_all_descriptors();
        assert!(!held.is_empty());
        let polls = waiting(&runtime, move || {
            let mut entries = [PollFd::new(reader.as_fd(), PollFd::IN)];
            assert_eq!(poll(&mut entries, Some(SHORT)).unwrap(), 0);
            (poll(&mut entries, None).unwrap(), entries[0].revents())
        });
        runtime.run(|| sward::sleep(MOMENT));
        writer.write_all(b"x").unwrap();
        assert_eq!(polls.join().unwrap(), (1, PollFd::IN));
        drop(held);
    });
    if let Some(said) = said {
        assert!(!said.contains("panicked"), "{said}");
    }
}

/// The only news is urgent data, which not all back-ends report.
#[test]
fn priority_data_ends_a_wait() {
    let (listener, address) = listen();
    let client = std::net::TcpStream::connect(address).unwrap();
    let server = listener.accept().unwrap().0;
    let runtime = one_worker();
    let polls = waiting(&runtime, move || {
        let mut entries = [PollFd::new(server.as_fd(), PollFd::PRI)];
        (poll(&mut entries, None).unwrap(), entries[0].revents())
    });
    // SAFETY: the buffer lives until the call ends.
    let sent = unsafe { libc::send(client.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
    assert_eq!(sent, 1);
    assert_eq!(polls.join().unwrap(), (1, PollFd::PRI));
}

#[test]
fn without_descriptors_it_sleeps() {
    both(|| {
        let start = Instant::now();
        assert_eq!(poll(&mut [], Some(SHORT)).unwrap(), 0);
        assert!(start.elapsed() >= SHORT);
        assert_eq!(poll(&mut [], Some(Duration::ZERO)).unwrap(), 0);
    });
}

/// What ends the wait closes the duplicates: the reader of a pipe is gone for its writer.
#[test]
fn a_cancelled_poll_leaves_nothing() {
    let runtime = one_worker();
    for errors in [false, true] {
        let (reader, mut writer) = pipe().unwrap();
        let polls = waiting(&runtime, move || {
            let poll = || poll(&mut [PollFd::new(reader.as_fd(), PollFd::IN)], None);
            if errors { cancel_as_error(poll) } else { poll() }
        });
        polls.cancel();
        match polls.join() {
            Ok(Err(error)) if errors => {
                assert_eq!(error.kind(), ErrorKind::Other);
                assert_eq!(error.downcast::<Interruption>().unwrap(), Interruption::Cancelled);
            }
            Err(error) if !errors => assert!(error.is_cancelled()),
            other => panic!("{other:?}"),
        }
        // A child process that another test starts has the reader, too, until it runs its program.
        let gone = || writer.write_all(b"x").is_err_and(|error| error.kind() == ErrorKind::BrokenPipe);
        eventually("the reader is gone", gone);
    }
}

#[test]
fn a_time_limit_ends_it() {
    both(|| {
        let (reader, _writer) = pipe().unwrap();
        let mut one = [PollFd::new(reader.as_fd(), PollFd::IN)];
        assert!(timeout(SHORT, || poll(&mut one, Some(LONG))).is_err());
        let error = timeout(SHORT, || cancel_as_error(|| poll(&mut one, Some(LONG)))).unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn many_wait_for_one_descriptor() {
    in_runtime(|| {
        let (reader, mut writer) = pipe().unwrap();
        sward::scope(|s| {
            for _ in 0..50 {
                s.spawn(|| {
                    let mut one = [PollFd::new(reader.as_fd(), PollFd::IN)];
                    assert_eq!(poll(&mut one, None).unwrap(), 1);
                });
            }
            sward::sleep(MOMENT);
            writer.write_all(b"x").unwrap();
        });
    });
}
