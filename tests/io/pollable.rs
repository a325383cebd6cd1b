//! `Pollable`: pipes, `eventfd`, `inotify`, a terminal, std's sockets.

use crate::common::{LONG, MOMENT, both, in_runtime, is_nonblocking, kind, pattern};
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use sward::io::Pollable;

fn pipe() -> (Pollable<PipeReader>, Pollable<PipeWriter>) {
    let (reader, writer) = io::pipe().expect("a pipe");
    (Pollable::new(reader).expect("a reader"), Pollable::new(writer).expect("a writer"))
}

/// The file of a descriptor that a call has just returned.
fn fresh(fd: libc::c_int) -> File {
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: a new descriptor without another owner.
    File::from(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A counter. With `SEMAPHORE`, each read takes 1.
fn eventfd(flags: libc::c_int) -> File {
    // SAFETY: the call takes no pointers.
    fresh(unsafe { libc::eventfd(0, flags | libc::EFD_CLOEXEC) })
}

#[test]
fn it_has_the_auto_traits_of_its_content() {
    fn check<T: Send + Sync + Unpin + std::fmt::Debug + UnwindSafe + RefUnwindSafe>() {}
    check::<Pollable<PipeReader>>();
    check::<Pollable<UnixStream>>();
}

#[test]
fn a_reader_waits_for_a_writer() {
    both(|| {
        let (mut reader, mut writer) = pipe();
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
        let (reader, mut writer) = pipe();
        let parked = sward::spawn(move || writer.write_all(&pattern(TOTAL)));
        sward::sleep(MOMENT);
        let mut all = Vec::new();
        (&reader).read_to_end(&mut all).unwrap();
        assert!(all == pattern(TOTAL));
        parked.join().unwrap().unwrap();
        let (mut first, mut second) = ([0; 1], [0; 2]);
        let got = (&reader).read_vectored(&mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)]);
        assert_eq!(got.unwrap(), 0);
    });
}

#[test]
fn a_lost_reader_is_an_error() {
    both(|| {
        let (reader, writer) = pipe();
        let parked = sward::spawn(move || {
            loop {
                if let Err(error) = (&writer).write(&[0; 1 << 16]) {
                    writer.writable().unwrap();
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
fn counters_wake_one_waiter_for_each_count() {
    const WAITERS: u64 = 4;
    const ROUNDS: u64 = 25;
    in_runtime(|| {
        let counter = Arc::new(Pollable::new(eventfd(libc::EFD_SEMAPHORE)).unwrap());
        let take = |counter: Arc<Pollable<File>>| {
            let mut one = [0; 8];
            (&*counter).read_exact(&mut one).map(|()| u64::from_ne_bytes(one))
        };
        let waiters: Vec<_> = (0..WAITERS)
            .map(|_| {
                let counter = counter.clone();
                sward::spawn(move || (0..ROUNDS).map(|_| take(counter.clone()).unwrap()).sum::<u64>())
            })
            .collect();
        let counter_of_thread = counter.clone();
        let thread =
            thread::spawn(move || (0..ROUNDS).map(|_| take(counter_of_thread.clone()).unwrap()).sum::<u64>());
        for _ in 0..(WAITERS + 1) * ROUNDS {
            counter.write_with(|mut file| file.write(&1u64.to_ne_bytes())).unwrap();
            sward::yield_now();
        }
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), ROUNDS);
        }
        assert_eq!(thread.join().unwrap(), ROUNDS);
    });
}

#[test]
fn readiness_is_the_present_state() {
    both(|| {
        let counter = Pollable::new(eventfd(0)).unwrap();
        for _ in 0..3 {
            assert_eq!(kind(counter.readable_timeout(Duration::from_millis(1))), ErrorKind::TimedOut);
            assert_eq!(kind(counter.readable_timeout(Duration::ZERO)), ErrorKind::TimedOut);
            counter.writable().unwrap();
            counter.writable_timeout(LONG).unwrap();
            (&counter).write_all(&7u64.to_ne_bytes()).unwrap();
            // It stays readable until it is read.
            for _ in 0..3 {
                counter.readable().unwrap();
                counter.readable_timeout(LONG).unwrap();
            }
            let mut seven = [0; 8];
            (&counter).read_exact(&mut seven).unwrap();
            assert_eq!(u64::from_ne_bytes(seven), 7);
        }
        // Full: one less than the most it can count.
        (&counter).write_all(&(u64::MAX - 1).to_ne_bytes()).unwrap();
        assert_eq!(kind(counter.writable_timeout(Duration::from_millis(1))), ErrorKind::TimedOut);
    });
}

#[test]
fn all_waiters_for_readiness_get_it() {
    in_runtime(|| {
        let counter = Arc::new(Pollable::new(eventfd(0)).unwrap());
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                let counter = counter.clone();
                sward::spawn(move || counter.readable())
            })
            .collect();
        let (clone, other) = (counter.clone(), counter.clone());
        let threads = [thread::spawn(move || clone.readable()), thread::spawn(move || other.readable())];
        sward::sleep(MOMENT);
        (&*counter).write_all(&1u64.to_ne_bytes()).unwrap();
        for waiter in waiters {
            waiter.join().unwrap().unwrap();
        }
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
    });
}

#[test]
fn a_watched_folder_reports_its_files() {
    both(|| {
        let folder = std::env::temp_dir().join(format!("sward-inotify-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        // SAFETY: the call takes no pointers.
        let watch = Pollable::new(fresh(unsafe { libc::inotify_init1(libc::IN_CLOEXEC) })).unwrap();
        let path = std::ffi::CString::new(folder.to_str().unwrap()).unwrap();
        // SAFETY: the path ends in a zero and lives until the call ends.
        let added = unsafe { libc::inotify_add_watch(watch.as_raw_fd(), path.as_ptr(), libc::IN_CREATE) };
        assert!(added >= 0);
        let parked = sward::spawn(move || {
            let mut event = [0; 512];
            (&watch).read(&mut event).map(|len| event[..len].to_vec())
        });
        sward::sleep(MOMENT);
        std::fs::write(folder.join("here"), "").unwrap();
        let event = parked.join().unwrap().unwrap();
        assert!(event.windows(4).any(|part| part == b"here"));
        std::fs::remove_dir_all(&folder).unwrap();
    });
}

#[test]
fn a_terminal_is_read_line_by_line() {
    both(|| {
        let (mut master, mut slave) = (-1, -1);
        let none = std::ptr::null_mut();
        // SAFETY: there is room for two descriptors; the other arguments may be null.
        let made = unsafe { libc::openpty(&raw mut master, &raw mut slave, none, none.cast(), none.cast()) };
        if made != 0 {
            eprintln!("skipped: no terminal here: {}", io::Error::last_os_error());
            return;
        }
        let (mut master, mut slave) = (fresh(master), Pollable::new(fresh(slave)).unwrap());
        let parked = sward::spawn(move || {
            let mut line = [0; 16];
            slave.read(&mut line).map(|len| line[..len].to_vec())
        });
        sward::sleep(MOMENT);
        master.write_all(b"half").unwrap();
        sward::sleep(MOMENT);
        master.write_all(b" a line\n").unwrap();
        assert_eq!(parked.join().unwrap().unwrap(), b"half a line\n");
    });
}

#[test]
fn a_socket_of_std_is_waited_for() {
    both(|| {
        let (one, two) = UnixStream::pair().unwrap();
        let (mut one, mut two) = (Pollable::new(one).unwrap(), Pollable::new(two).unwrap());
        let echo = sward::spawn(move || {
            let mut buf = [0; 5];
            two.read_exact(&mut buf)?;
            two.write_all(&buf)
        });
        one.write_all(b"hello").unwrap();
        let mut back = [0; 5];
        one.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
        echo.join().unwrap().unwrap();
        assert_eq!(one.get_mut().read(&mut back).unwrap(), 0);
        assert_eq!(one.as_fd().as_raw_fd(), one.get_ref().as_raw_fd());
        assert!(format!("{one:?}").contains("Pollable(UnixStream"));
    });
}

#[test]
fn what_cannot_be_waited_for_is_refused() {
    both(|| {
        let path = std::env::current_exe().unwrap();
        assert_eq!(kind(Pollable::new(File::open(&path).unwrap())), ErrorKind::InvalidInput);
        let folder = File::open(path.parent().unwrap()).unwrap();
        assert_eq!(kind(Pollable::new(folder)), ErrorKind::InvalidInput);
    });
}

/// Only an attempt shows it for this one. A plain thread need not try, as it always finds it ready.
#[test]
#[cfg_attr(sward_poll, ignore = "poll(2) calls such a device ready and refuses none")]
fn a_device_that_cannot_be_waited_for_is_refused() {
    in_runtime(|| {
        if sward::runtime::metrics().is_some_and(|metrics| metrics.netpoll == "io_uring") {
            println!("skipped: io_uring calls such a device ready and refuses none");
            return;
        }
        let null = Pollable::new(File::open("/dev/null").unwrap()).unwrap();
        null.readable().unwrap();
        let wait = null.read_with(|_| Err::<(), _>(ErrorKind::WouldBlock.into()));
        assert_eq!(kind(wait), ErrorKind::PermissionDenied);
    });
}

#[test]
fn the_mode_is_restored() {
    let (one, _two) = UnixStream::pair().unwrap();
    let other = one.try_clone().unwrap();
    for was in [false, true] {
        one.set_nonblocking(was).unwrap();
        let pollable = Pollable::new(&one).unwrap();
        assert!(is_nonblocking(&other));
        let _: &UnixStream = pollable.into_inner();
        assert_eq!(is_nonblocking(&other), was);
        drop(Pollable::new(&one).unwrap());
        assert_eq!(is_nonblocking(&other), was);
    }
}

#[test]
fn timeouts_are_kept_and_end_calls() {
    both(|| {
        let (mut reader, mut writer) = pipe();
        assert_eq!((reader.read_timeout().unwrap(), writer.write_timeout().unwrap()), (None, None));
        assert_eq!(kind(reader.set_read_timeout(Some(Duration::ZERO))), ErrorKind::InvalidInput);
        assert_eq!(kind(writer.set_write_timeout(Some(Duration::ZERO))), ErrorKind::InvalidInput);
        let limit = Duration::from_millis(30);
        reader.set_read_timeout(Some(limit)).unwrap();
        writer.set_write_timeout(Some(limit)).unwrap();
        let start = Instant::now();
        assert_eq!(kind(reader.read(&mut [0])), ErrorKind::WouldBlock);
        assert!(start.elapsed() >= limit);
        while writer.write(&[0; 1 << 16]).is_ok() {}
        assert_eq!(kind(writer.write(&[0; 1 << 16])), ErrorKind::WouldBlock);
        assert_eq!(kind(writer.writable_timeout(Duration::from_millis(1))), ErrorKind::TimedOut);
        reader.set_read_timeout(Some(LONG)).unwrap();
        assert!(reader.read(&mut [0; 1 << 16]).unwrap() > 0);
        writer.writable().unwrap();
    });
}

/// An `eventfd` cannot be shut down. The thread that blocks on it wakes nevertheless.
#[test]
fn close_wakes_all_waiters() {
    in_runtime(|| {
        let counter = Arc::new(Pollable::new(eventfd(0)).unwrap());
        let (one, two, three, four) = (counter.clone(), counter.clone(), counter.clone(), counter.clone());
        let parked = sward::spawn(move || (&*one).read(&mut [0; 8]));
        let waiting = sward::spawn(move || two.readable());
        let blocked = thread::spawn(move || (&*three).read(&mut [0; 8]));
        let blocked_too = thread::spawn(move || four.readable_timeout(LONG));
        sward::sleep(MOMENT);
        counter.close().unwrap();
        assert_eq!(kind(parked.join().unwrap()), ErrorKind::NotConnected);
        assert_eq!(kind(waiting.join().unwrap()), ErrorKind::NotConnected);
        assert_eq!(kind(blocked.join().unwrap()), ErrorKind::NotConnected);
        assert_eq!(kind(blocked_too.join().unwrap()), ErrorKind::NotConnected);
        let late = counter.clone();
        assert_eq!(kind(thread::spawn(move || late.readable()).join().unwrap()), ErrorKind::NotConnected);
        assert_eq!(kind(counter.write_with(|mut file| file.write(&[0; 8]))), ErrorKind::NotConnected);
        counter.close().unwrap();
        // The object inside is not affected.
        counter.get_ref().write_all(&1u64.to_ne_bytes()).unwrap();
    });
}

#[test]
fn a_cancelled_reader_loses_nothing() {
    in_runtime(|| {
        let (reader, mut writer) = pipe();
        let reader = Arc::new(reader);
        for wait in [true, false] {
            let reading = reader.clone();
            let parked =
                sward::spawn(
                    move || {
                        if wait { reading.readable() } else { (&*reading).read(&mut [0; 8]).map(drop) }
                    },
                );
            sward::sleep(MOMENT);
            parked.cancel();
            assert!(parked.join().is_err());
        }
        writer.write_all(b"kept").unwrap();
        let mut buf = [0; 4];
        (&*reader).read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"kept");
        let filling = sward::spawn(move || while writer.write(&[0; 1 << 16]).is_ok() {});
        sward::sleep(MOMENT);
        filling.cancel();
        assert!(filling.join().is_err());
    });
}

/// Readiness that a closure consumed and did not use is still there for others.
#[test]
fn a_closure_may_panic() {
    both(|| {
        let (reader, mut writer) = pipe();
        let reader = Arc::new(reader);
        let reading = reader.clone();
        let parked = sward::spawn(move || (&*reading).read(&mut [0; 8]));
        sward::sleep(MOMENT);
        let (go, gone) = std::sync::mpsc::channel();
        let panicking = reader.clone();
        let panicker = sward::spawn(move || {
            catch_unwind(|| {
                panicking.read_with(|_| -> io::Result<()> {
                    go.send(()).unwrap();
                    std::panic::resume_unwind(Box::new("on purpose"))
                })
            })
            .is_err()
        });
        writer.write_all(b"x").unwrap();
        assert!(panicker.join().unwrap());
        assert_eq!(parked.join().unwrap().unwrap(), 1);
        gone.recv().unwrap();
    });
}

#[test]
fn errors_of_the_closure_go_through() {
    both(|| {
        let (reader, mut writer) = pipe();
        for expected in [ErrorKind::Interrupted, ErrorKind::InvalidData] {
            assert_eq!(kind(reader.read_with(|_| Err::<(), _>(expected.into()))), expected);
        }
        writer.write_all(b"x").unwrap();
        let mut calls = 0;
        let value = reader.read_with(|mut reader| {
            calls += 1;
            reader.read(&mut [0; 8]).map(|len| (len, "whatever"))
        });
        assert_eq!((value.unwrap(), calls), ((1, "whatever"), 1));
    });
}

/// If `Read` for `&Pollable<T>` had the condition `Read` for `&T`, the compiler would recurse for ever here.
#[test]
fn a_bound_on_references_is_solved() {
    fn read<T>(stream: &T) -> usize
    where
        for<'a> &'a T: Read,
    {
        let mut stream = stream;
        stream.read(&mut [0; 8]).unwrap()
    }
    both(|| {
        let (reader, mut writer) = pipe();
        writer.write_all(b"one").unwrap();
        assert_eq!(read(&reader), 3);
        let (one, two) = UnixStream::pair().unwrap();
        drop(one);
        assert_eq!(read(&two), 0);
    });
}

/// A socket whose error queue is never emptied: `poll` reports `POLLERR`, and `recv` would block.
fn in_error() -> std::net::UdpSocket {
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    crate::common::set_option(&socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1 as libc::c_int);
    socket.connect(closed).unwrap();
    socket.send(b"x").unwrap();
    // The error itself is reported once, and the queue keeps its copy.
    assert_eq!(kind(socket.recv(&mut [0])), ErrorKind::ConnectionRefused);
    let mut entry = libc::pollfd { fd: socket.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one entry, which lives until the call ends.
    assert_eq!(unsafe { libc::poll(&raw mut entry, 1, -1) }, 1);
    assert_eq!(entry.revents, libc::POLLERR);
    socket
}

/// The maximum number of attempts of a call that waits for so long, however often it is woken: two dozen
/// until the back-off is at its maximum, and then one in each 10 ms.
fn most_tries(waited: Duration) -> u128 {
    24 + waited.as_millis() / 10
}

#[test]
fn an_error_that_lasts_neither_hides_the_time_limit_nor_spins() {
    both(|| {
        let limit = Duration::from_millis(100);
        let socket = Pollable::new(in_error()).unwrap();
        let mut tries = 0;
        let mut receive = || {
            socket.read_with(|socket| {
                tries += 1;
                socket.recv(&mut [0])
            })
        };
        let start = Instant::now();
        socket.set_read_timeout(Some(limit)).unwrap();
        assert_eq!(kind(receive()), ErrorKind::WouldBlock);
        socket.set_read_timeout(None).unwrap();
        assert!(sward::time::timeout(limit, receive).is_err());
        assert!(start.elapsed() >= 2 * limit);
        assert!(tries <= 2 * most_tries(start.elapsed()), "{tries} tries in {:?}", start.elapsed());
    });
}

/// A receive in a destructor while its thread or its coroutine unwinds.
#[test]
fn an_error_that_lasts_ends_in_the_time_limit_while_unwinding() {
    struct Receives(Pollable<std::net::UdpSocket>, std::sync::mpsc::Sender<bool>);
    impl Drop for Receives {
        fn drop(&mut self) {
            let _ = self.1.send(self.0.read_with(|socket| socket.recv(&mut [0])).is_err());
        }
    }
    both(|| {
        let socket = Pollable::new(in_error()).unwrap();
        socket.set_read_timeout(Some(MOMENT)).unwrap();
        let (sender, told) = std::sync::mpsc::channel();
        let receives = Receives(socket, sender);
        let outcome = catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _receives = receives;
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(outcome.is_err());
        assert!(told.recv().unwrap());
    });
}

/// Data that arrives during the back-off is received.
#[test]
fn an_error_that_lasts_does_not_hide_data() {
    both(|| {
        let socket = Pollable::new(in_error()).unwrap();
        let peer = socket.read_with(|socket| socket.peer_addr()).unwrap();
        let to = socket.read_with(|socket| socket.local_addr()).unwrap();
        let sender = thread::spawn(move || {
            thread::sleep(MOMENT);
            std::net::UdpSocket::bind(peer).unwrap().send_to(b"data", to).unwrap()
        });
        let mut buffer = [0; 8];
        let count = socket.read_with(|socket| socket.recv(&mut buffer)).unwrap();
        assert_eq!(&buffer[..count], b"data");
        sender.join().unwrap();
    });
}
