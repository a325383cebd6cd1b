//! Each call parks: while it waits, a sibling on the only worker goes on, and ends the wait.

#![cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]

mod common;

use common::*;
use libc::{c_int, c_void};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;

fn buffer(buf: &mut [u8]) -> (*mut c_void, usize) {
    (buf.as_mut_ptr().cast(), buf.len())
}

fn check(outcome: isize) -> io::Result<usize> {
    usize::try_from(outcome).map_err(|_| io::Error::last_os_error())
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// What a call receives that a sibling sends once the call waits.
fn receives(call: impl FnOnce(c_int) -> io::Result<usize> + Send + 'static) {
    let (ours, mut theirs) = tcp_pair();
    let got = waits_for(move || call(ours.as_raw_fd()), move || theirs.write_all(b"abc").map(|()| theirs));
    assert_eq!(got.unwrap(), 3);
}

#[test]
fn recv_parks() {
    receives(|fd| {
        let mut buf = [0; 8];
        let (at, len) = buffer(&mut buf);
        // SAFETY: the buffer is as long as said.
        let got = check(unsafe { libc::recv(fd, at, len, 0) });
        assert_eq!(&buf[..3], b"abc");
        got
    });
}

#[test]
fn recvfrom_parks() {
    receives(|fd| {
        let mut buf = [0; 8];
        let (at, len) = buffer(&mut buf);
        // SAFETY: the buffer is as long as said.
        check(unsafe { libc::recvfrom(fd, at, len, 0, std::ptr::null_mut(), std::ptr::null_mut()) })
    });
}

#[test]
fn read_parks() {
    receives(|fd| {
        let mut buf = [0; 8];
        let (at, len) = buffer(&mut buf);
        // SAFETY: the buffer is as long as said.
        check(unsafe { libc::read(fd, at, len) })
    });
}

/// Two buffers, of one byte and of eight.
fn in_parts(bufs: &mut ([u8; 1], [u8; 8])) -> [libc::iovec; 2] {
    let (first, second) = (buffer(&mut bufs.0), buffer(&mut bufs.1));
    [first, second].map(|(iov_base, iov_len)| libc::iovec { iov_base, iov_len })
}

#[test]
fn readv_parks() {
    receives(|fd| {
        let mut bufs = ([0], [0; 8]);
        let parts = in_parts(&mut bufs);
        // SAFETY: two parts.
        let got = check(unsafe { libc::readv(fd, parts.as_ptr(), 2) });
        assert_eq!((&bufs.0, &bufs.1[..2]), (b"a", &b"bc"[..]));
        got
    });
}

#[test]
fn recvmsg_parks() {
    receives(|fd| {
        let mut bufs = ([0], [0; 8]);
        let mut parts = in_parts(&mut bufs);
        // SAFETY: zeros are a valid header.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        (message.msg_iov, message.msg_iovlen) = (parts.as_mut_ptr(), 2);
        // SAFETY: two parts.
        check(unsafe { libc::recvmsg(fd, &raw mut message, 0) })
    });
}

unsafe extern "C" {
    fn __read_chk(fd: c_int, buf: *mut c_void, len: usize, size: usize) -> isize;
    fn __recv_chk(fd: c_int, buf: *mut c_void, len: usize, size: usize, flags: c_int) -> isize;
    fn __poll_chk(entries: *mut libc::pollfd, count: libc::nfds_t, timeout: c_int, size: usize) -> c_int;
}

#[test]
fn fortified_calls_park() {
    receives(|fd| {
        let mut buf = [0; 8];
        let (at, len) = buffer(&mut buf);
        // SAFETY: the buffer is as long as said.
        check(unsafe { __read_chk(fd, at, len, len) })
    });
    receives(|fd| {
        let mut buf = [0; 8];
        let (at, len) = buffer(&mut buf);
        let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, and the buffer is as long as said.
        unsafe {
            assert_eq!(__poll_chk(&raw mut entry, 1, -1, size_of::<libc::pollfd>()), 1);
            check(__recv_chk(fd, at, len, len, 0))
        }
    });
}

#[test]
fn a_peek_leaves_the_bytes() {
    receives(|fd| {
        let mut buf = [0; 8];
        let (at, len) = buffer(&mut buf);
        // SAFETY: the buffer is as long as said.
        let peeked = check(unsafe { libc::recv(fd, at, len, libc::MSG_PEEK) })?;
        // SAFETY: as above.
        assert_eq!(check(unsafe { libc::recv(fd, at, len, 0) })?, peeked);
        Ok(peeked)
    });
}

#[test]
fn waitall_waits_for_all() {
    for flags in [0, libc::MSG_PEEK] {
        let (ours, theirs) = tcp_pair();
        let got = waits_for(
            move || {
                let mut buf = [0; 6];
                let (at, len) = buffer(&mut buf);
                // SAFETY: the buffer is as long as said.
                check(unsafe { libc::recv(ours.as_raw_fd(), at, len, libc::MSG_WAITALL | flags) })
                    .map(|got| buf[..got].to_vec())
            },
            move || {
                (&theirs).write_all(b"abc").unwrap();
                sward::sleep(Duration::from_millis(5));
                (&theirs).write_all(b"def").unwrap();
                theirs
            },
        );
        assert_eq!(got.unwrap(), b"abcdef");
    }
}

#[test]
fn waitall_ends_with_the_stream() {
    for flags in [0, libc::MSG_PEEK] {
        let (ours, theirs) = tcp_pair();
        let got = waits_for(
            move || {
                let mut buf = [0; 6];
                let (at, len) = buffer(&mut buf);
                // SAFETY: the buffer is as long as said.
                check(unsafe { libc::recv(ours.as_raw_fd(), at, len, libc::MSG_WAITALL | flags) })
            },
            move || (&theirs).write_all(b"abc"),
        );
        assert_eq!(got.unwrap(), 3);
    }
}

/// More than the buffers of the kernel hold.
const MUCH: usize = 8 << 20;

/// One call writes everything, while a sibling reads it.
fn sends(call: impl FnOnce(c_int, &[u8]) -> isize + Send + 'static) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let data: Vec<u8> = (0..MUCH).map(|at| (at * 13 % 251) as u8).collect();
    let expected = data.clone();
    let sent = waits_for(
        move || check(call(ours.as_raw_fd(), &data)),
        move || {
            // In small bites, so that the writer waits again and again.
            theirs.set_nonblocking(true).unwrap();
            let mut got = Vec::new();
            let mut bite = vec![0; 1 << 18];
            while got.len() < MUCH {
                match theirs.read(&mut bite) {
                    Ok(read) => got.extend_from_slice(&bite[..read]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        sward::sleep(Duration::from_micros(100));
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(got == expected, "other bytes");
        },
    );
    assert_eq!(sent.unwrap(), MUCH);
}

#[test]
fn write_writes_all() {
    // SAFETY: the buffer is as long as said.
    sends(|fd, data| unsafe { libc::write(fd, data.as_ptr().cast(), data.len()) });
}

#[test]
fn send_sends_all() {
    // SAFETY: the buffer is as long as said.
    sends(|fd, data| unsafe { libc::send(fd, data.as_ptr().cast(), data.len(), 0) });
}

#[test]
fn sendto_sends_all() {
    // SAFETY: the buffer is as long as said.
    sends(|fd, data| unsafe { libc::sendto(fd, data.as_ptr().cast(), data.len(), 0, std::ptr::null(), 0) });
}

fn two(data: &[u8]) -> [libc::iovec; 2] {
    let (first, second) = data.split_at(data.len() / 3);
    [first, second].map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() })
}

#[test]
fn writev_and_sendmsg_send_all() {
    // SAFETY: two parts.
    sends(|fd, data| unsafe { libc::writev(fd, two(data).as_ptr(), 2) });
    sends(|fd, data| {
        let mut parts = two(data);
        // SAFETY: zeros are a valid header.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        (message.msg_iov, message.msg_iovlen) = (parts.as_mut_ptr(), 2);
        // SAFETY: two parts.
        unsafe { libc::sendmsg(fd, &raw const message, 0) }
    });
}

#[test]
fn a_pipe_parks_in_both_directions() {
    let (mut reader, writer) = io::pipe().unwrap();
    let got = waits_for(
        move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all.len())
        },
        move || {
            // Much more than a pipe holds, and the reader has to have turns.
            let write = || (&writer).write_all(&vec![7; 1 << 20]);
            // SAFETY: a write uses nothing of the thread.
            unsafe { sward_interpose::park_blocking(write) }.unwrap();
        },
    );
    assert_eq!(got.unwrap(), 1 << 20);
}

#[test]
fn an_eventfd_parks() {
    // SAFETY: the call takes no pointers, and its result is nobody else's.
    let ours = unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC)) };
    let theirs = ours.try_clone().unwrap();
    let got = waits_for(
        move || {
            let mut value = 0_u64;
            // SAFETY: eight bytes.
            let got = check(unsafe { libc::read(ours.as_raw_fd(), (&raw mut value).cast(), 8) });
            got.map(|got| (got, value))
        },
        // SAFETY: eight bytes.
        move || unsafe { libc::write(theirs.as_raw_fd(), (&raw const FIVE).cast(), 8) },
    );
    assert_eq!(got.unwrap(), (8, 5));
}

static FIVE: u64 = 5;

#[test]
fn a_terminal_parks() {
    let (mut master, mut slave): (c_int, c_int) = (0, 0);
    let null = std::ptr::null_mut();
    // SAFETY: two places for descriptors; the rest is optional.
    let opened = unsafe { libc::openpty(&raw mut master, &raw mut slave, null, null.cast(), null.cast()) };
    if opened != 0 {
        eprintln!("skipped: this system has no terminals");
        return;
    }
    // SAFETY: they are new, and nobody else's.
    let (master, slave) = unsafe { (std::fs::File::from_raw_fd(master), std::fs::File::from_raw_fd(slave)) };
    let got = waits_for(
        move || {
            let mut line = [0; 16];
            (&slave).read(&mut line).map(|got| line[..got].to_vec())
        },
        move || (&master).write_all(b"line\n").map(|()| master),
    );
    assert_eq!(got.unwrap(), b"line\n");
}

#[test]
fn datagrams_park() {
    let (ours, theirs) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let (to, from) = (ours.local_addr().unwrap(), theirs.local_addr().unwrap());
    let got = waits_for(move || ours.recv_from(&mut [0; 8]), move || theirs.send_to(b"abc", to));
    assert_eq!(got.unwrap(), (3, from));
    // A full queue parks the sender.
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let sent = waits_for(
        move || (0..2_000).try_for_each(|_| ours.send(b"abc").map(drop)),
        move || {
            let mut left = 2_000;
            theirs.set_nonblocking(true).unwrap();
            while left > 0 {
                match theirs.recv(&mut [0; 8]) {
                    Ok(_) => left -= 1,
                    Err(_) => sward::sleep(Duration::from_micros(100)),
                }
            }
        },
    );
    sent.unwrap();
}

#[test]
fn accept_parks_and_connect_does() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = waits_for(move || listener.accept(), move || TcpStream::connect(address).unwrap());
    accepted.unwrap();
}

/// A Unix listener whose queue is full keeps a connect waiting.
#[test]
fn connect_waits_for_room_in_the_queue() {
    let path = std::env::temp_dir().join(format!("sward-interpose-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    // SAFETY: the call takes no pointers.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let first = UnixStream::connect(&path).unwrap();
    let there = path.clone();
    let connected = waits_for(
        move || UnixStream::connect(there).map(drop),
        move || (listener.accept().unwrap(), listener),
    );
    connected.unwrap();
    drop(first);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_refused_connection_is_an_error() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // SAFETY: a connect uses nothing of the thread.
    let outcome =
        on_one_worker(move || unsafe { sward_interpose::park_blocking(|| TcpStream::connect(gone)) });
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn poll_parks() {
    receives(|fd| {
        let mut entries = [libc::pollfd { fd: -1, events: 0, revents: 7 }; 3];
        (entries[1].fd, entries[1].events) = (fd, libc::POLLIN);
        // The same one again, for something else.
        (entries[2].fd, entries[2].events) = (fd, libc::POLLPRI);
        // SAFETY: three entries.
        assert_eq!(unsafe { libc::poll(entries.as_mut_ptr(), 3, -1) }, 1);
        assert_eq!(entries.map(|entry| entry.revents), [0, libc::POLLIN, 0]);
        Ok(3)
    });
}

#[test]
fn ppoll_parks() {
    receives(|fd| {
        let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let limit = libc::timespec { tv_sec: 3600, tv_nsec: 0 };
        // SAFETY: one entry, and no mask.
        assert_eq!(unsafe { libc::ppoll(&raw mut entry, 1, &raw const limit, std::ptr::null()) }, 1);
        Ok(3)
    });
}

#[test]
fn select_parks() {
    receives(|fd| {
        // SAFETY: the set is as large as descriptors go here.
        unsafe {
            let mut set: libc::fd_set = std::mem::zeroed();
            libc::FD_SET(fd, &raw mut set);
            let mut limit = libc::timeval { tv_sec: 3600, tv_usec: 0 };
            let null = std::ptr::null_mut();
            assert_eq!(libc::select(fd + 1, &raw mut set, null, null, &raw mut limit), 1);
            assert!(libc::FD_ISSET(fd, &raw const set));
            assert!(limit.tv_sec < 3600, "the time that is left, not {}", limit.tv_sec);
            assert_eq!(
                libc::pselect(fd + 1, &raw mut set, null, null, std::ptr::null(), std::ptr::null()),
                1
            );
        }
        Ok(3)
    });
}

#[test]
fn polls_end_with_their_time() {
    beats_during(|| {
        let (ours, _theirs) = tcp_pair();
        let fd = ours.as_raw_fd();
        let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 7 };
        // SAFETY: one entry, or none; the sets are as large as said.
        unsafe {
            assert_eq!(libc::poll(&raw mut entry, 1, 20), 0);
            assert_eq!(entry.revents, 0);
            assert_eq!(libc::poll(std::ptr::null_mut(), 0, 20), 0);
            let mut set: libc::fd_set = std::mem::zeroed();
            libc::FD_SET(fd, &raw mut set);
            let mut limit = libc::timeval { tv_sec: 0, tv_usec: 20_000 };
            let null = std::ptr::null_mut();
            assert_eq!(libc::select(fd + 1, &raw mut set, null, null, &raw mut limit), 0);
            assert!(!libc::FD_ISSET(fd, &raw const set));
            assert_eq!((limit.tv_sec, limit.tv_usec), (0, 0));
        }
    });
}

#[test]
fn sleeps_park() {
    let short = libc::timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    beats_during(|| std::thread::sleep(Duration::from_millis(20)));
    beats_during(move || {
        // SAFETY: a valid time, and nobody wants to know what is left.
        assert_eq!(unsafe { libc::nanosleep(&raw const short, std::ptr::null_mut()) }, 0);
    });
    beats_during(move || {
        let null = std::ptr::null_mut();
        // SAFETY: as above.
        assert_eq!(unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &raw const short, null) }, 0);
    });
    beats_during(|| {
        let mut until = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: as above.
        unsafe {
            libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut until);
            until.tv_nsec += 20_000_000;
            if until.tv_nsec >= 1_000_000_000 {
                (until.tv_sec, until.tv_nsec) = (until.tv_sec + 1, until.tv_nsec - 1_000_000_000);
            }
            let (flag, null) = (libc::TIMER_ABSTIME, std::ptr::null_mut());
            assert_eq!(libc::clock_nanosleep(libc::CLOCK_REALTIME, flag, &raw const until, null), 0);
        }
    });
    // SAFETY: the calls take no pointers.
    beats_during(|| assert_eq!(unsafe { libc::usleep(20_000) }, 0));
    // SAFETY: as above.
    beats_during(|| assert_eq!(unsafe { libc::sleep(1) }, 0));
}

#[test]
fn names_are_resolved_elsewhere() {
    use std::net::ToSocketAddrs;
    // SAFETY: a resolution uses nothing of the thread.
    let found = on_one_worker(|| unsafe {
        sward_interpose::park_blocking(|| ("localhost", 80).to_socket_addrs().map(|mut found| found.next()))
    });
    assert_eq!(found.unwrap().unwrap().port(), 80);
}

#[test]
fn children_are_awaited() {
    use std::process::Command;
    beats_during(|| {
        let output = Command::new("sh").args(["-c", "sleep 0.05; echo done; exit 3"]).output().unwrap();
        assert_eq!((output.stdout, output.status.code()), (b"done\n".to_vec(), Some(3)));
    });
    beats_during(|| {
        let status = Command::new("sh").args(["-c", "sleep 0.05; exit 4"]).status().unwrap();
        assert_eq!(status.code(), Some(4));
    });
}
