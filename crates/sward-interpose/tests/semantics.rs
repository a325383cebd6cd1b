//! What a call does besides parking: modes, timeouts, errors, cancellation, and who is inside.

#![cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]

mod common;

use common::*;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// In `park_blocking`.
fn inside<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: the calls of these tests use nothing of the thread.
    unsafe { sward_interpose::park_blocking(f) }
}

fn is_nonblocking(file: &impl AsRawFd) -> bool {
    // SAFETY: the call takes no pointers.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) & libc::O_NONBLOCK != 0 }
}

/// Cancels what waits in such a call, and says what the call has returned.
fn cancelled<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    on_one_worker(move || {
        let outcome = Arc::new(std::sync::Mutex::new(None));
        let started = Arc::new(AtomicBool::new(false));
        let (stores, starts) = (outcome.clone(), started.clone());
        let waits = sward::spawn(move || {
            starts.store(true, Ordering::Relaxed);
            let got = inside(f);
            *stores.lock().unwrap() = Some(got);
            sward::task::checkpoint();
        });
        while !started.load(Ordering::Relaxed) {
            sward::yield_now();
        }
        until_parked(&waits.task());
        waits.cancel();
        assert!(waits.join().is_err(), "the next cancellation point unwinds");
        let got = outcome.lock().unwrap().take();
        got.expect("it returned instead of unwinding")
    })
}

#[test]
fn a_non_blocking_descriptor_fails_with_would_block() {
    on_one_worker(|| {
        inside(|| {
            let (mut ours, _theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            assert_eq!(ours.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
            // A part is written, and not the rest.
            let written = ours.write(&vec![0; 8 << 20]).unwrap();
            assert!(written < 8 << 20);
            assert_eq!(ours.write(&[0; 1 << 20]).unwrap_err().kind(), ErrorKind::WouldBlock);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
            let (reader, writer) = io::pipe().unwrap();
            for end in [reader.as_raw_fd(), writer.as_raw_fd()] {
                // SAFETY: the call takes no pointers.
                assert_eq!(unsafe { libc::fcntl(end, libc::F_SETFL, libc::O_NONBLOCK) }, 0);
            }
            assert_eq!((&reader).read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
            assert!((&writer).write(&vec![0; 8 << 20]).unwrap() < 8 << 20);
        });
    });
}

#[test]
fn dontwait_fails_with_would_block() {
    on_one_worker(|| {
        inside(|| {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            let mut byte = 0_u8;
            // SAFETY: one byte.
            let got = unsafe { libc::recv(ours.as_raw_fd(), (&raw mut byte).cast(), 1, libc::MSG_DONTWAIT) };
            assert_eq!((got, io::Error::last_os_error().kind()), (-1, ErrorKind::WouldBlock));
        });
    });
}

#[test]
fn timeouts_of_sockets_are_obeyed() {
    beats_during(|| {
        let (mut ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        ours.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
        assert_eq!(ours.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        // What was written counts, and then there is no room for more.
        let written = ours.write(&vec![0; 8 << 20]).unwrap();
        assert!(written > 0 && written < 8 << 20);
        assert_eq!(ours.write(&[0; 1 << 20]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(!is_nonblocking(&ours));
    });
}

#[test]
fn the_mode_of_a_descriptor_stays_as_it_is() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let seen = ours.try_clone().unwrap();
    let got = waits_for(
        move || (&ours).read(&mut [0; 8]),
        move || {
            sward::yield_now();
            assert!(!is_nonblocking(&seen), "another thread may use it as a blocking one");
            (&theirs).write_all(b"abc").map(|()| theirs)
        },
    );
    assert_eq!(got.unwrap(), 3);
}

/// Two plain threads and a coroutine use one pipe, in both modes of waiting.
#[test]
fn a_blocking_thread_shares_the_descriptor() {
    let (reader, writer) = io::pipe().unwrap();
    let shared = Arc::new(reader);
    let theirs = shared.clone();
    let read = move |reader: Arc<io::PipeReader>| {
        let (mut sum, mut byte) = (0_usize, [0]);
        while (&*reader).read(&mut byte).unwrap() == 1 {
            sum += usize::from(byte[0]);
        }
        sum
    };
    let thread = std::thread::spawn(move || read(theirs));
    let writes = std::thread::spawn(move || (0..500).try_for_each(|_| (&writer).write_all(&[3])));
    let sum = on_one_worker(move || inside(|| read(shared)));
    assert_eq!(sum + thread.join().unwrap(), 1_500);
    writes.join().unwrap().unwrap();
}

#[test]
fn a_cancellation_arrives_as_an_error() {
    const CANCELED: Option<i32> = Some(libc::ECANCELED);
    let read = cancelled(|| {
        let (mut ours, _theirs) = UnixStream::pair().unwrap();
        let first = ours.read(&mut [0; 8]).unwrap_err().raw_os_error();
        // Each further call that would have to wait fails as well, and others succeed.
        let second = ours.read(&mut [0; 8]).unwrap_err().raw_os_error();
        (first, second, ours.write(b"abc").ok())
    });
    assert_eq!(read, (CANCELED, CANCELED, Some(3)));
    let polled = cancelled(|| {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut entries = [ours.as_raw_fd(), ours.as_raw_fd()].map(|fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        });
        // SAFETY: two entries.
        let outcome = unsafe { libc::poll(entries.as_mut_ptr(), 2, -1) };
        (outcome, io::Error::last_os_error().raw_os_error())
    });
    assert_eq!(polled, (-1, CANCELED));
    let accepted = cancelled(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.accept().map(drop).unwrap_err().raw_os_error()
    });
    assert_eq!(accepted, CANCELED);
    // It returns early.
    cancelled(|| std::thread::sleep(Duration::from_secs(3600)));
}

#[test]
fn a_time_limit_arrives_as_an_error() {
    on_one_worker(|| {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let mut read = || inside(|| ours.read(&mut [0; 8])).map_err(|error| error.raw_os_error());
        let limited = sward::time::timeout(Duration::from_millis(10), &mut read);
        assert_eq!(limited, Ok(Err(Some(libc::ECANCELED))));
        // The socket is as good as before.
        theirs.write_all(b"abc").unwrap();
        assert_eq!(read(), Ok(3));
    });
}

#[test]
fn a_mask_holds_a_cancellation_off() {
    let got = cancelled(|| {
        sward::task::mask(|| {
            let (mut ours, _theirs) = UnixStream::pair().unwrap();
            ours.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
            loop {
                let cancelled = sward::task::is_cancelled();
                let kind = ours.read(&mut [0; 8]).unwrap_err().kind();
                if cancelled || kind != ErrorKind::WouldBlock {
                    return kind;
                }
            }
        })
    });
    assert_eq!(got, ErrorKind::WouldBlock);
}

#[test]
fn a_shutdown_ends_the_wait() {
    let error = Arc::new(std::sync::Mutex::new(None));
    let stores = error.clone();
    on_one_worker(move || {
        let started = Arc::new(AtomicBool::new(false));
        let starts = started.clone();
        sward::spawn(move || {
            let (mut ours, _theirs) = UnixStream::pair().unwrap();
            starts.store(true, Ordering::Relaxed);
            let read = inside(|| ours.read(&mut [0; 8]));
            *stores.lock().unwrap() = read.unwrap_err().raw_os_error();
        });
        while !started.load(Ordering::Relaxed) {
            sward::yield_now();
        }
    });
    assert_eq!(*error.lock().unwrap(), Some(libc::ECANCELED));
}

#[test]
fn close_ends_the_waits_of_others() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let fd = ours.as_raw_fd();
    let got = waits_for(
        move || {
            let mut byte = 0_u8;
            // SAFETY: one byte. Closing the descriptor is what is tested.
            let got = unsafe { libc::read(fd, (&raw mut byte).cast(), 1) };
            (got, io::Error::last_os_error().raw_os_error())
        },
        move || {
            drop(ours);
            theirs
        },
    );
    assert_eq!(got, (-1, Some(libc::EBADF)));
}

/// A watcher that has waited for one file waits for the next one under its number.
#[test]
fn a_number_that_is_used_again_is_another_file() {
    on_one_worker(|| {
        let mut numbers = std::collections::HashSet::new();
        for turn in 0..50_u8 {
            let (mut ours, mut theirs) = UnixStream::pair().unwrap();
            numbers.insert(ours.as_raw_fd());
            let sends = sward::spawn(move || {
                theirs.write_all(&[turn]).unwrap();
                theirs
            });
            let mut byte = [0];
            inside(|| ours.read_exact(&mut byte)).unwrap();
            assert_eq!(byte, [turn]);
            // A duplicate keeps the file alive.
            std::mem::forget(ours.try_clone().unwrap());
            sends.join().unwrap();
        }
        assert!(numbers.len() < 50, "no number was used again");
    });
}

/// How long a real sleep of 20 ms takes in a coroutine that is cancelled. Inside it would end at once.
fn sleep_although_cancelled() -> Duration {
    sward::task::mask(|| {
        while !sward::task::is_cancelled() {
            sward::yield_now();
        }
    });
    let begun = Instant::now();
    std::thread::sleep(Duration::from_millis(20));
    begun.elapsed()
}

#[test]
fn others_are_outside() {
    on_one_worker(|| {
        let slept = Arc::new(std::sync::Mutex::new(Vec::new()));
        let sleeper = || {
            let slept = slept.clone();
            sward::spawn(move || {
                let took = sleep_although_cancelled();
                slept.lock().unwrap().push(took);
            })
        };
        let (ours, theirs) = UnixStream::pair().unwrap();
        let waits = sward::spawn(move || inside(|| (&ours).read(&mut [0; 8])));
        sward::yield_now();
        // A sibling of a coroutine that waits inside; and a child of one that is inside.
        for (number, sleeper) in [sleeper(), inside(sleeper)].into_iter().enumerate() {
            let ends = || slept.lock().unwrap().len() > number;
            // Once it has begun. A coroutine that has not is not run at all.
            sward::sleep(Duration::from_millis(1));
            while !ends() && !sleeper.is_finished() {
                sward::yield_now();
                sleeper.cancel();
            }
            let _ = sleeper.join();
        }
        let slept = slept.lock().unwrap().clone();
        assert!(slept.iter().all(|took| *took >= Duration::from_millis(20)), "{slept:?}");
        (&theirs).write_all(b"abc").unwrap();
        assert_eq!(waits.join().unwrap().unwrap(), 3);
    });
}

#[test]
fn it_nests_and_ends_with_a_panic() {
    beats_during(|| {
        let caught = catch_unwind(AssertUnwindSafe(|| inside(|| resume_unwind(Box::new(())))));
        assert!(caught.is_err());
        inside(|| std::thread::sleep(Duration::from_millis(1)));
        // Still inside of the outer one.
        std::thread::sleep(Duration::from_millis(20));
    });
    on_one_worker(|| {
        let caught = catch_unwind(AssertUnwindSafe(|| inside(|| resume_unwind(Box::new(())))));
        assert!(caught.is_err());
        // Outside again.
        std::thread::sleep(Duration::from_millis(1));
    });
}

/// sward's own calls work inside, too.
#[test]
fn native_calls_work_inside() {
    on_one_worker(|| {
        inside(|| {
            let (sender, receiver) = sward::channel::bounded(1);
            let listener = sward::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let client = sward::spawn(move || {
                let mut stream = sward::net::TcpStream::connect(address).unwrap();
                stream.write_all(b"abc").unwrap();
                sender.send(stream).unwrap();
            });
            let mut got = [0; 3];
            listener.accept().unwrap().0.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"abc");
            receiver.recv().unwrap();
            client.join().unwrap();
            sward::sleep(Duration::from_millis(1));
        });
    });
}

#[test]
fn plain_threads_make_the_real_calls() {
    inside(|| {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            theirs.write_all(b"abc").map(|()| theirs)
        });
        assert_eq!(ours.read(&mut [0; 8]).unwrap(), 3);
        thread.join().unwrap().unwrap();
    });
}

#[test]
fn errors_and_errno_are_the_real_ones() {
    on_one_worker(|| {
        inside(|| {
            let errno = || io::Error::last_os_error().raw_os_error().unwrap();
            // SAFETY: the calls fail, or have the buffers that they say.
            unsafe {
                let mut byte = 0_u8;
                let at = (&raw mut byte).cast::<libc::c_void>();
                assert_eq!((libc::read(-1, at, 1), errno()), (-1, libc::EBADF));
                assert_eq!((libc::recv(-1, at, 1, 0), errno()), (-1, libc::EBADF));
                assert_eq!((libc::send(0x7fff_ffff, at, 1, 0), errno()), (-1, libc::EBADF));
                let file = std::fs::File::open("/proc/self/exe").unwrap();
                assert_eq!((libc::recv(file.as_raw_fd(), at, 1, 0), errno()), (-1, libc::ENOTSOCK));
                assert_eq!(libc::read(file.as_raw_fd(), at, 1), 1);
                assert_eq!(libc::read(file.as_raw_fd(), at, 0), 0);
                // A success leaves errno alone.
                *libc::__errno_location() = libc::EDOM;
                let (ours, theirs) = UnixStream::pair().unwrap();
                assert_eq!(libc::write(theirs.as_raw_fd(), at, 1), 1);
                assert_eq!(libc::read(ours.as_raw_fd(), at, 1), 1);
                *libc::__errno_location() = libc::EDOM;
                let waits = sward::spawn(move || (&theirs).write_all(b"x").map(|()| theirs));
                assert_eq!(libc::read(ours.as_raw_fd(), at, 1), 1);
                assert_eq!(errno(), libc::EDOM);
                waits.join().unwrap().unwrap();
            }
        });
    });
}

/// Without a descriptor for the wait, the worker stays free nevertheless.
#[test]
fn a_wait_needs_no_free_descriptor() {
    if std::env::var_os("OUT_OF_DESCRIPTORS").is_none() {
        // In a process of its own: others need descriptors.
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_wait_needs_no_free_descriptor"])
            .env("OUT_OF_DESCRIPTORS", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let (ours, theirs) = UnixStream::pair().unwrap();
    let got = waits_for(
        move || {
            let mut taken = Vec::new();
            let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
            // SAFETY: a limit; then descriptors that are new, and nobody else's.
            unsafe {
                assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
                loop {
                    match libc::dup(ours.as_raw_fd()) {
                        -1 => break,
                        fd => taken.push(OwnedFd::from_raw_fd(fd)),
                    }
                }
            }
            (&ours).read(&mut [0; 8])
        },
        move || (&theirs).write_all(b"abc").map(|()| theirs),
    );
    assert_eq!(got.unwrap(), 3);
}

/// Small requests and answers over std's sockets, by many at once.
#[test]
fn a_hundred_coroutines_on_two_workers() {
    on_workers(2, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = sward::spawn(move || {
            inside(|| {
                for _ in 0..100 {
                    let (mut stream, _) = listener.accept().unwrap();
                    sward::spawn(move || {
                        inside(|| {
                            let mut request = [0; 64];
                            while let Ok(got @ 1..) = stream.read(&mut request) {
                                stream.write_all(&request[..got]).unwrap();
                            }
                        });
                    });
                }
            });
        });
        let clients: Vec<_> = (0..100_u8)
            .map(|number| {
                sward::spawn(move || {
                    inside(|| {
                        let mut stream = TcpStream::connect(address).unwrap();
                        for turn in 0..20 {
                            let (request, mut answer) = ([number, turn], [0; 2]);
                            stream.write_all(&request).unwrap();
                            stream.read_exact(&mut answer).unwrap();
                            assert_eq!(request, answer);
                            std::thread::sleep(Duration::from_micros(100));
                        }
                    });
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        server.join().unwrap();
    });
}

/// The kernel stops at the size of the process's table, so a count may be larger than the set.
#[test]
fn select_writes_nothing_behind_the_set() {
    #[repr(C)]
    struct Memory {
        set: [AtomicU64; 16],
        behind: [AtomicU64; 512],
    }
    static MEMORY: Memory =
        Memory { set: [const { AtomicU64::new(0) }; 16], behind: [const { AtomicU64::new(0) }; 512] };
    let (ours, theirs) = UnixStream::pair().unwrap();
    let answer = waits_for(
        move || {
            let fd = ours.as_raw_fd();
            MEMORY.set[fd as usize / 64].store(1 << (fd % 64), Ordering::Relaxed);
            let null = std::ptr::null_mut();
            // SAFETY: the memory is larger than the count says.
            unsafe {
                libc::select(32_768, (&raw const MEMORY).cast_mut().cast(), null, null, std::ptr::null_mut())
            }
        },
        move || {
            sward::sleep(Duration::from_millis(2));
            MEMORY.behind[0].store(7, Ordering::Relaxed);
            (&theirs).write_all(b"abc").map(|()| theirs)
        },
    );
    assert_eq!((answer, MEMORY.behind[0].load(Ordering::Relaxed)), (1, 7));
}

/// A call that never has to wait lets others go first now and then, and meets a cancellation.
#[test]
fn calls_that_need_not_wait_starve_nobody() {
    on_one_worker(|| {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(socket.local_addr().unwrap()).unwrap();
        let started = Arc::new(AtomicBool::new(false));
        let starts = started.clone();
        let ended = Arc::new(std::sync::Mutex::new(None));
        let ends = ended.clone();
        let sends = sward::spawn(move || {
            let error = inside(|| {
                starts.store(true, Ordering::Relaxed);
                (0..2_000_000).find_map(|_| socket.send(b"abc").err())
            });
            *ends.lock().unwrap() = Some(error.and_then(|error| error.raw_os_error()));
        });
        while !started.load(Ordering::Relaxed) {
            sward::yield_now();
        }
        sends.cancel();
        let _ = sends.join();
        assert_eq!(*ended.lock().unwrap(), Some(Some(libc::ECANCELED)));
    });
}

#[test]
fn a_cancelled_sleeper_starves_nobody() {
    let slept = on_one_worker(|| {
        let (stop, started) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (stops, starts) = (stop.clone(), started.clone());
        let turns = Arc::new(std::sync::Mutex::new(0));
        let counts = turns.clone();
        let sleeper = sward::spawn(move || {
            inside(|| {
                starts.store(true, Ordering::Relaxed);
                for turn in 0..100_000 {
                    if stops.load(Ordering::Relaxed) {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                    *counts.lock().unwrap() = turn;
                }
            });
        });
        while !started.load(Ordering::Relaxed) {
            sward::yield_now();
        }
        sleeper.cancel();
        sward::yield_now();
        stop.store(true, Ordering::Relaxed);
        let _ = sleeper.join();
        *turns.lock().unwrap()
    });
    assert!(slept < 99_999, "nobody else had a turn");
}

#[test]
fn dup2_ends_the_waits_for_what_it_closes() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (other, its_peer) = UnixStream::pair().unwrap();
    let fd = ours.as_raw_fd();
    let got = waits_for(
        move || {
            let mut byte = 0_u8;
            // SAFETY: one byte. Replacing the descriptor is what is tested.
            let got = unsafe { libc::read(fd, (&raw mut byte).cast(), 1) };
            (got, io::Error::last_os_error().raw_os_error())
        },
        move || {
            // SAFETY: both are ours.
            assert_eq!(unsafe { libc::dup2(other.as_raw_fd(), ours.as_raw_fd()) }, ours.as_raw_fd());
            // Otherwise a call that has not waited yet would wait for the new file.
            drop(its_peer);
            (ours, other, theirs)
        },
    );
    assert_eq!(got, (-1, Some(libc::EBADF)));
}

/// A terminal makes its writer wait until all is written.
#[test]
fn a_write_to_a_terminal_leaves_the_worker_free() {
    let (mut master, mut slave): (libc::c_int, libc::c_int) = (0, 0);
    let null = std::ptr::null_mut();
    // SAFETY: two places for descriptors; the rest is optional.
    if unsafe { libc::openpty(&raw mut master, &raw mut slave, null, null.cast(), null.cast()) } != 0 {
        eprintln!("skipped: this system has no terminals");
        return;
    }
    // SAFETY: they are new, and nobody else's.
    let (master, slave) = unsafe { (std::fs::File::from_raw_fd(master), std::fs::File::from_raw_fd(slave)) };
    const LEN: usize = 256 << 10;
    let written = waits_for(
        move || (&slave).write(&vec![b'x'; LEN]).map(|written| (written, slave)),
        move || {
            let (mut got, mut buf) = (0, vec![0; 4096]);
            while got < LEN {
                got += inside(|| (&master).read(&mut buf)).unwrap();
            }
            master
        },
    );
    assert_eq!(written.unwrap().0, LEN);
}

/// Descriptors that arrive with a later part of a message are not lost.
#[test]
fn waitall_keeps_what_comes_along() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let received = waits_for(
        move || {
            let (mut buf, mut control) = ([0_u8; 6], [0_u64; 8]);
            let mut part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: 6 };
            // SAFETY: zeros are a valid header, and all is as large as said.
            unsafe {
                let mut message: libc::msghdr = std::mem::zeroed();
                (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
                (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), 64);
                let got = libc::recvmsg(ours.as_raw_fd(), &raw mut message, libc::MSG_WAITALL);
                let first = libc::CMSG_FIRSTHDR(&raw const message);
                let fd =
                    (!first.is_null()).then(|| libc::CMSG_DATA(first).cast::<libc::c_int>().read_unaligned());
                (got, fd.map(|fd| OwnedFd::from_raw_fd(fd)).is_some())
            }
        },
        move || {
            (&theirs).write_all(b"abc").unwrap();
            sward::sleep(Duration::from_millis(2));
            let mut control = [0_u64; 8];
            let mut part = libc::iovec { iov_base: b"def".as_ptr().cast_mut().cast(), iov_len: 3 };
            // SAFETY: as above.
            unsafe {
                let mut message: libc::msghdr = std::mem::zeroed();
                (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
                message.msg_control = control.as_mut_ptr().cast();
                message.msg_controllen = libc::CMSG_SPACE(4) as usize;
                let first = libc::CMSG_FIRSTHDR(&raw const message);
                ((*first).cmsg_level, (*first).cmsg_type) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
                (*first).cmsg_len = libc::CMSG_LEN(4) as usize;
                libc::CMSG_DATA(first).cast::<libc::c_int>().write_unaligned(theirs.as_raw_fd());
                assert_eq!(libc::sendmsg(theirs.as_raw_fd(), &raw const message, 0), 3);
            }
            theirs
        },
    );
    assert_eq!(received, (6, true));
}

/// The watcher of a wait that ended by data, and that `close` has then closed, is no more used.
#[test]
fn a_wait_that_close_meets_at_its_end_spoils_no_later_one() {
    on_one_worker(|| {
        for _ in 0..200 {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            // At the end of its stream.
            let (ended, _) = UnixStream::pair().unwrap();
            let fd = ours.as_raw_fd();
            let closes = std::thread::spawn(move || {
                theirs.write_all(b"x").unwrap();
                // It closes what was there, and the number stays this test's.
                // SAFETY: both are open: `fd` is closed after the join.
                assert_eq!(unsafe { libc::dup2(ended.as_raw_fd(), fd) }, fd);
            });
            let mut byte = 0_u8;
            // The byte, the end of the other file, or `EBADF`: whichever is first.
            // SAFETY: one byte.
            let _ = inside(|| unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, 0) });
            closes.join().unwrap();
            drop(ours);

            let (mut waits, mut writes) = UnixStream::pair().unwrap();
            let sibling = sward::spawn(move || writes.write_all(b"y").map(|()| writes));
            assert_eq!(inside(|| waits.read(&mut [0])).unwrap(), 1);
            sibling.join().unwrap().unwrap();
        }
    });
}

/// `println!` holds a lock of std that a thread may take twice. If its write parked, a sibling would find the
/// buffer borrowed. The test runs itself in a child whose standard output is a short pipe.
#[test]
fn the_standard_output_is_not_lent_to_a_sibling() {
    const NAME: &str = "the_standard_output_is_not_lent_to_a_sibling";
    const LINES: usize = 500;
    if std::env::var_os("INTERPOSE_CHILD").is_some() {
        // SAFETY: the call takes no pointers. If the pipe stays long, less is tested.
        unsafe { libc::fcntl(1, libc::F_SETPIPE_SZ, 4096) };
        on_one_worker(|| {
            let print = |who: &'static str| {
                for _ in 0..LINES {
                    println!("{who} {}", "x".repeat(100));
                    sward::yield_now();
                }
            };
            let waits = sward::spawn(move || inside(|| print("inside")));
            let sibling = sward::spawn(move || print("outside"));
            waits.join().unwrap();
            sibling.join().unwrap();
        });
        return;
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", NAME, "--nocapture"])
        .env("INTERPOSE_CHILD", "1")
        .stdout(std::process::Stdio::piped());
    let child = child.spawn().unwrap();
    // So that the pipe is full when the reader comes.
    std::thread::sleep(Duration::from_millis(50));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for who in ["inside", "outside"] {
        // The harness may have begun the line of the first one.
        let lines = text.lines().filter(|line| line.ends_with(&format!("{who} {}", "x".repeat(100))));
        // "outside" ends with "inside" nowhere.
        assert_eq!(lines.count(), LINES, "{who}");
    }
}

/// A plain thread may take the connection that a coroutine was about to accept. The other coroutines that
/// accept must not wait in a lock for that one.
#[test]
fn coroutines_accept_beside_threads() {
    const ACCEPTED: usize = 100;
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    let (stop, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let accepts = {
        let (listener, stop, ended) = (listener.clone(), stop.clone(), ended.clone());
        move || {
            loop {
                let (mut stream, _) = listener.accept().unwrap();
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                stream.write_all(b"x").unwrap();
            }
            ended.fetch_add(1, Ordering::Relaxed);
        }
    };
    let threads: Vec<_> = (0..2).map(|_| std::thread::spawn(accepts.clone())).collect();
    let client = std::thread::spawn(move || {
        for _ in 0..ACCEPTED {
            let mut byte = [0];
            TcpStream::connect(address).unwrap().read_exact(&mut byte).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        while ended.load(Ordering::Relaxed) < 6 {
            drop(TcpStream::connect(address));
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    on_workers(2, move || {
        let all: Vec<_> = (0..4)
            .map(|_| {
                let accepts = accepts.clone();
                sward::spawn(move || inside(accepts))
            })
            .collect();
        all.into_iter().for_each(|one| one.join().unwrap());
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    client.join().unwrap();
}

/// A wait in the initializer of a thread-local is refused by a panic. It must not unwind out of the C
/// library's function, which would abort: the call fails, and `park_blocking` panics at its end.
#[test]
fn a_refused_wait_fails_and_panics_at_the_end() {
    static FAILED: AtomicU64 = AtomicU64::new(0);
    thread_local!(static SLOW: u64 = {
        let (mut ours, _theirs) = UnixStream::pair().unwrap();
        // Only ends a hang, if the wait is not refused.
        ours.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let error = ours.read(&mut [0]).unwrap_err();
        error.raw_os_error().unwrap() as u64
    });
    let runtime = sward::runtime::Builder::new().worker_threads(1).checks(true).build().unwrap();
    let outcome =
        runtime.spawn(|| inside(|| FAILED.store(SLOW.with(|error| *error), Ordering::Relaxed))).join();
    let Err(sward::task::JoinError::Panicked(panic)) = outcome else { panic!("not refused: {outcome:?}") };
    let said = panic.message().unwrap();
    assert!(said.contains("inside the initializer of a thread_local!"), "{said}");
    assert_eq!(FAILED.load(Ordering::Relaxed), libc::ECANCELED as u64);
}
