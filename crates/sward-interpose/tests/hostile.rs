//! Bad arguments: inside, each call returns what it returns outside.

#![cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]

mod common;

use common::*;
use libc::{c_int, c_void};
use std::fs::File;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::ptr::{null, null_mut};

/// An address where nothing is.
const NOWHERE: usize = 8;

fn nowhere<T>() -> *mut T {
    std::ptr::without_provenance_mut(NOWHERE)
}

/// A value that stays where it is.
fn kept<T>(value: T) -> *mut T {
    Box::leak(Box::new(value))
}

fn int(value: c_int) -> isize {
    value as isize
}

/// What each call returns, with its error.
fn outcomes(calls: &[(&'static str, &dyn Fn() -> isize)]) -> Vec<(&'static str, isize, i32)> {
    let outcome = |call: &dyn Fn() -> isize| {
        // SAFETY: the address of the thread's variable.
        unsafe { *libc::__errno_location() = 0 };
        let value = call();
        (value, io::Error::last_os_error().raw_os_error().unwrap_or(0))
    };
    calls
        .iter()
        .map(|(name, call)| {
            let (value, errno) = outcome(call);
            (*name, value, errno)
        })
        .collect()
}

/// Makes the calls on a plain thread and in a coroutine inside, and compares.
fn same(test: fn() -> Vec<(&'static str, isize, i32)>) {
    let outside = test();
    // SAFETY: the calls use nothing of the thread.
    let inside = on_one_worker(move || unsafe { sward_interpose::park_blocking(test) });
    assert_eq!(outside, inside);
}

#[test]
fn of_transfers() {
    same(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (gone, _) = UnixStream::pair().unwrap();
        let (datagram, other) = UnixDatagram::pair().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let (closed_reader, _) = io::pipe().unwrap();
        let (_, closed_writer) = io::pipe().unwrap();
        let folder = File::open("/").unwrap();
        // SAFETY: the call takes no pointers.
        let event = unsafe { libc::eventfd(0, 0) };
        let (s, t, g) = (ours.as_raw_fd(), theirs.as_raw_fd(), gone.as_raw_fd());
        let (d, o) = (datagram.as_raw_fd(), other.as_raw_fd());
        let (r, w) = (reader.as_raw_fd(), writer.as_raw_fd());
        let (cr, cw, f) = (closed_reader.as_raw_fd(), closed_writer.as_raw_fd(), folder.as_raw_fd());
        let mut buf = [0_u8; 4096];
        let b: *mut c_void = buf.as_mut_ptr().cast();
        let part = libc::iovec { iov_base: b, iov_len: 8 };
        let bad = libc::iovec { iov_base: nowhere(), iov_len: 8 };
        let many = [part; 1025];
        let empty = [libc::iovec { iov_base: b, iov_len: 0 }; 2];
        let header = |parts: *const libc::iovec, count: usize| {
            // SAFETY: zeros are a valid header.
            let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
            (header.msg_iov, header.msg_iovlen) = (parts.cast_mut(), count);
            header
        };
        // So that no receive waits.
        // SAFETY: the buffers are as long as said.
        unsafe {
            for fd in [t, o, w] {
                assert_eq!(libc::write(fd, b, 4096), 4096);
            }
        }
        // SAFETY: the pointers are valid, or the kernel says that they are not.
        let outcomes = unsafe {
            outcomes(&[
                ("recv bad fd", &|| libc::recv(-1, b, 8, 0)),
                ("recv far fd", &|| libc::recv(0x7fff_fff0, b, 8, 0)),
                ("recv file", &|| libc::recv(f, b, 8, 0)),
                ("recv nowhere", &|| libc::recv(s, nowhere(), 8, 0)),
                ("recv nothing", &|| libc::recv(s, b, 0, 0)),
                ("recv huge", &|| libc::recv(s, nowhere(), usize::MAX, 0)),
                ("recv errors", &|| libc::recv(s, b, 8, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)),
                ("recv gone", &|| libc::recv(g, b, 8, 0)),
                ("recvfrom nowhere", &|| libc::recvfrom(d, b, 8, libc::MSG_PEEK, nowhere(), nowhere())),
                ("recvfrom trunc", &|| {
                    libc::recvfrom(d, b, 8, libc::MSG_TRUNC | libc::MSG_PEEK, null_mut(), null_mut())
                }),
                ("recvmsg nowhere", &|| libc::recvmsg(s, nowhere(), 0)),
                ("recvmsg bad part", &|| libc::recvmsg(s, kept(header(&raw const bad, 1)), 0)),
                ("recvmsg many", &|| libc::recvmsg(s, kept(header(many.as_ptr(), 1025)), 0)),
                ("recvmsg huge", &|| libc::recvmsg(s, kept(header(many.as_ptr(), usize::MAX)), 0)),
                ("recvmsg bad parts", &|| libc::recvmsg(s, kept(header(nowhere(), 2)), 0)),
                ("send bad fd", &|| libc::send(-1, b, 8, 0)),
                ("send nowhere", &|| libc::send(s, nowhere(), 8, 0)),
                ("send nothing", &|| libc::send(s, b, 0, 0)),
                ("send huge", &|| libc::send(s, nowhere(), usize::MAX, 0)),
                ("send gone", &|| libc::send(g, b, 8, libc::MSG_NOSIGNAL)),
                ("send file", &|| libc::send(f, b, 8, 0)),
                ("sendto nowhere", &|| libc::sendto(d, b, 8, 0, nowhere(), 16)),
                ("sendto connected", &|| libc::sendto(s, b, 8, 0, b.cast(), 16)),
                ("sendmsg nowhere", &|| libc::sendmsg(s, nowhere(), 0)),
                ("sendmsg bad part", &|| libc::sendmsg(s, kept(header(&raw const bad, 1)), 0)),
                ("sendmsg many", &|| libc::sendmsg(s, kept(header(many.as_ptr(), 1025)), 0)),
                ("sendmsg nothing", &|| libc::sendmsg(s, kept(header(null(), 0)), 0)),
                ("read bad fd", &|| libc::read(-1, b, 8)),
                ("read socket nowhere", &|| libc::read(s, nowhere(), 8)),
                ("read pipe nowhere", &|| libc::read(r, nowhere(), 8)),
                ("read nothing", &|| libc::read(r, b, 0)),
                ("read nothing of a socket", &|| libc::read(s, b, 0)),
                ("read huge", &|| libc::read(r, nowhere(), usize::MAX)),
                ("read folder", &|| libc::read(f, b, 8)),
                ("read the other end", &|| libc::read(w, b, 8)),
                ("read ended", &|| libc::read(cr, b, 8)),
                ("read eventfd short", &|| libc::read(event, b, 4)),
                ("write eventfd short", &|| libc::write(event, b, 4)),
                ("write eventfd", &|| libc::write(event, [1_u64].as_ptr().cast(), 8)),
                ("read eventfd", &|| libc::read(event, b, 8)),
                ("readv nowhere", &|| libc::readv(s, nowhere(), 1)),
                ("readv pipe nowhere", &|| libc::readv(r, nowhere(), 1)),
                ("readv bad part", &|| libc::readv(r, &raw const bad, 1)),
                ("readv none", &|| libc::readv(s, &raw const part, 0)),
                ("readv less than none", &|| libc::readv(s, &raw const part, -1)),
                ("readv of nothing", &|| libc::readv(d, empty.as_ptr(), 2)),
                ("writev of nothing", &|| libc::writev(o, empty.as_ptr(), 2)),
                ("the datagram", &|| libc::recv(d, b, 8, libc::MSG_TRUNC)),
                ("no more datagrams", &|| libc::recv(d, b, 8, libc::MSG_DONTWAIT)),
                ("recv urgent", &|| libc::recv(s, b, 1, libc::MSG_OOB)),
                ("readv many", &|| libc::readv(s, many.as_ptr(), 1025)),
                ("write bad fd", &|| libc::write(-1, b, 8)),
                ("write socket nowhere", &|| libc::write(s, nowhere(), 8)),
                ("write pipe nowhere", &|| libc::write(w, nowhere(), 8)),
                ("write pipe nothing", &|| libc::write(w, b, 0)),
                ("write socket nothing", &|| libc::write(s, b, 0)),
                ("write huge", &|| libc::write(w, nowhere(), usize::MAX)),
                ("write the other end", &|| libc::write(r, b, 8)),
                ("write ended", &|| libc::write(cw, b, 8)),
                ("write folder", &|| libc::write(f, b, 8)),
                ("writev nowhere", &|| libc::writev(s, nowhere(), 1)),
                ("writev pipe nowhere", &|| libc::writev(w, nowhere(), 1)),
                ("writev bad part", &|| libc::writev(w, &raw const bad, 1)),
                ("writev none", &|| libc::writev(w, &raw const part, 0)),
                ("writev less than none", &|| libc::writev(w, &raw const part, -1)),
                ("writev many", &|| libc::writev(w, many.as_ptr(), 1025)),
                ("close bad fd", &|| int(libc::close(-1))),
                ("close far fd", &|| int(libc::close(0x7fff_fff0))),
            ])
        };
        // SAFETY: it is ours.
        unsafe { libc::close(event) };
        outcomes
    });
}

#[test]
fn of_connections() {
    same(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).unwrap();
        let datagram = UdpSocket::bind("127.0.0.1:0").unwrap();
        let folder = File::open("/").unwrap();
        // SAFETY: the call takes no pointers.
        let fresh = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) };
        let (l, s, d, f) =
            (listener.as_raw_fd(), stream.as_raw_fd(), datagram.as_raw_fd(), folder.as_raw_fd());
        let to = libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: address.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
            sin_zero: [0; 8],
        };
        let to = (&raw const to).cast::<libc::sockaddr>();
        let other = libc::sockaddr { sa_family: 77, sa_data: [0; 14] };
        // SAFETY: the pointers are valid, or the kernel says that they are not.
        let outcomes = unsafe {
            outcomes(&[
                ("accept bad fd", &|| int(libc::accept(-1, null_mut(), null_mut()))),
                ("accept stream", &|| int(libc::accept(s, null_mut(), null_mut()))),
                ("accept datagram", &|| int(libc::accept(d, null_mut(), null_mut()))),
                ("accept folder", &|| int(libc::accept(f, null_mut(), null_mut()))),
                ("accept4 flags", &|| int(libc::accept4(l, null_mut(), null_mut(), 0x4000_0001))),
                ("accept4 nowhere", &|| int(libc::accept4(l, nowhere(), nowhere(), 0))),
                ("connect bad fd", &|| int(libc::connect(-1, to, 16))),
                ("connect folder", &|| int(libc::connect(f, to, 16))),
                ("connect nowhere", &|| int(libc::connect(fresh, nowhere(), 16))),
                ("connect short", &|| int(libc::connect(fresh, to, 0))),
                ("connect long", &|| int(libc::connect(fresh, to, 4096))),
                ("connect family", &|| int(libc::connect(fresh, &raw const other, 16))),
                ("connect listener", &|| int(libc::connect(l, to, 16))),
                ("connect again", &|| int(libc::connect(s, to, 16))),
                ("connect datagram", &|| int(libc::connect(d, to, 16))),
                ("connect", &|| int(libc::connect(fresh, to, 16))),
                ("still blocking", &|| int(libc::fcntl(fresh, libc::F_GETFL) & libc::O_NONBLOCK)),
                ("getaddrinfo nothing", &|| {
                    let mut found = null_mut();
                    int(libc::getaddrinfo(null(), null(), null(), &raw mut found))
                }),
                ("getaddrinfo service", &|| {
                    let mut found = null_mut();
                    int(libc::getaddrinfo(
                        c"127.0.0.1".as_ptr(),
                        c"no such service".as_ptr(),
                        null(),
                        &raw mut found,
                    ))
                }),
                ("waitpid nobody", &|| int(libc::waitpid(0x3fff_ffff, null_mut(), 0))),
                ("waitpid options", &|| int(libc::waitpid(0x3fff_ffff, null_mut(), 0x1000))),
            ])
        };
        // SAFETY: it is ours.
        unsafe { libc::close(fresh) };
        // The number of errno after an error of names is nobody's.
        outcomes
            .into_iter()
            .map(|(name, value, errno)| {
                (name, value, if name.starts_with("getaddrinfo") { 0 } else { errno })
            })
            .collect()
    });
}

#[test]
fn of_polls_and_sleeps() {
    same(|| {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let s = ours.as_raw_fd();
        let entry = |fd: c_int, events: i16| libc::pollfd { fd, events, revents: 0 };
        let time = |tv_sec: i64, tv_nsec: i64| libc::timespec { tv_sec, tv_nsec };
        // A number that nobody uses.
        let closed = 1011;
        let set = |fds: &[c_int]| {
            let mut set = [0_u64; 64];
            fds.iter().for_each(|fd| set[*fd as usize / 64] |= 1 << (fd % 64));
            set
        };
        let select = |count: c_int, mut reads: [u64; 64], mut limit: libc::timeval| {
            // SAFETY: the set has room for 4096 descriptors.
            let answer = unsafe {
                libc::select(count, reads.as_mut_ptr().cast(), null_mut(), null_mut(), &raw mut limit)
            };
            int(answer) * 1000 + reads.iter().map(|word| word.count_ones() as isize).sum::<isize>()
        };
        let limit = |tv_sec, tv_usec| libc::timeval { tv_sec, tv_usec };
        // SAFETY: the pointers are valid, or the kernel says that they are not.
        unsafe {
            outcomes(&[
                ("poll nowhere", &|| int(libc::poll(nowhere(), 1, 10))),
                ("poll huge", &|| int(libc::poll(kept(entry(s, 0)), u64::MAX, 10))),
                ("poll many", &|| int(libc::poll(kept(entry(s, 0)), 1 << 31, 10))),
                ("poll nothing", &|| int(libc::poll(null_mut(), 0, 1))),
                ("poll closed", &|| {
                    let mut entry = entry(closed, libc::POLLIN);
                    int(libc::poll(&raw mut entry, 1, -1)) * 1000 + isize::from(entry.revents)
                }),
                ("poll ready, for ever", &|| int(libc::poll(kept(entry(s, libc::POLLOUT)), 1, c_int::MIN))),
                ("poll no events", &|| int(libc::poll(kept(entry(s, 0)), 1, 5))),
                ("poll negative fd", &|| int(libc::poll(kept(entry(-7, 1)), 1, 5))),
                ("ppoll negative time", &|| {
                    int(libc::ppoll(kept(entry(s, 1)), 1, kept(time(-1, 0)), null()))
                }),
                ("ppoll too many ns", &|| {
                    int(libc::ppoll(kept(entry(s, 1)), 1, kept(time(0, 1_000_000_000)), null()))
                }),
                ("ppoll nowhere", &|| int(libc::ppoll(nowhere(), 1, null(), null()))),
                ("select negative count", &|| select(-1, set(&[]), limit(0, 1000))),
                ("select negative time", &|| select(s + 1, set(&[s]), limit(-1, 0))),
                ("select negative us", &|| select(s + 1, set(&[s]), limit(0, -1))),
                ("select many us", &|| select(s + 1, set(&[s]), limit(0, 1000))),
                ("select nothing", &|| {
                    int(libc::select(0, null_mut(), null_mut(), null_mut(), kept(limit(0, 1000))))
                }),
                ("pselect negative time", &|| {
                    int(libc::pselect(0, null_mut(), null_mut(), null_mut(), kept(time(-1, 0)), null()))
                }),
                ("nanosleep null", &|| int(libc::nanosleep(null(), null_mut()))),
                ("nanosleep negative", &|| int(libc::nanosleep(kept(time(-1, 0)), null_mut()))),
                ("nanosleep too many ns", &|| int(libc::nanosleep(kept(time(0, 1 << 40)), null_mut()))),
                ("nanosleep nothing", &|| int(libc::nanosleep(kept(time(0, 0)), null_mut()))),
                ("clock_nanosleep no clock", &|| {
                    int(libc::clock_nanosleep(99, 0, kept(time(0, 1)), null_mut()))
                }),
                ("clock_nanosleep negative", &|| {
                    int(libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, kept(time(-1, 1)), null_mut()))
                }),
                ("clock_nanosleep past", &|| {
                    int(libc::clock_nanosleep(
                        libc::CLOCK_MONOTONIC,
                        libc::TIMER_ABSTIME,
                        kept(time(0, 1)),
                        null_mut(),
                    ))
                }),
                ("usleep nothing", &|| int(libc::usleep(0))),
                ("sleep nothing", &|| libc::sleep(0) as isize),
            ])
        }
    });
}

/// Libraries that are loaded dynamically find the overrides, too.
#[test]
fn all_symbols_are_exported() {
    let names = [
        c"recv",
        c"recvfrom",
        c"recvmsg",
        c"send",
        c"sendto",
        c"sendmsg",
        c"read",
        c"readv",
        c"write",
        c"writev",
        c"accept",
        c"accept4",
        c"connect",
        c"poll",
        c"ppoll",
        c"select",
        c"pselect",
        c"nanosleep",
        c"clock_nanosleep",
        c"usleep",
        c"sleep",
        c"waitpid",
        c"close",
        c"getaddrinfo",
        c"dup2",
        c"dup3",
        c"__read_chk",
        c"__recv_chk",
        c"__recvfrom_chk",
        c"__poll_chk",
        c"__ppoll_chk",
    ];
    for name in names {
        // SAFETY: the name ends with a zero, and `Dl_info` is plain data.
        let (ours, next) = unsafe {
            (libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()), libc::dlsym(libc::RTLD_NEXT, name.as_ptr()))
        };
        assert!(!ours.is_null() && !next.is_null() && ours != next, "{name:?}");
    }
}

/// A descriptor beyond what an `fd_set` of the C library holds.
#[test]
fn of_a_select_beyond_1024() {
    const FAR: c_int = 1500;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit outlives the calls.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max.min(4096);
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
    if limit.rlim_cur <= FAR as u64 {
        eprintln!("skipped: a process may have {} descriptors here", limit.rlim_cur);
        return;
    }
    let (ours, theirs) = UnixStream::pair().unwrap();
    let answer = waits_for(
        move || {
            let mut set = [0_u64; 32];
            set[FAR as usize / 64] = 1 << (FAR % 64);
            // SAFETY: the set has room for 2048 descriptors, and the number was free.
            unsafe {
                assert_eq!(libc::dup2(ours.as_raw_fd(), FAR), FAR);
                let at = set.as_mut_ptr().cast();
                let answer = libc::select(FAR + 1, at, null_mut(), null_mut(), null_mut());
                libc::close(FAR);
                (answer, set[FAR as usize / 64] >> (FAR % 64) & 1)
            }
        },
        move || io::Write::write_all(&mut &theirs, b"abc").map(|()| theirs),
    );
    assert_eq!(answer, (1, 1));
}
