//! libc's blocking calls, made in a coroutine of [sward](https://docs.rs/sward), park it.
//!
//! A database driver or a C library that owns its sockets blocks its thread, and so the worker with all
//! coroutines that live there. Inside of [`park_blocking`] it parks instead. Nothing else changes: neither
//! the library, nor the mode of its descriptors, nor any other coroutine or thread.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{TcpListener, TcpStream};
//!
//! sward::run(|| {
//!     let listener = TcpListener::bind("127.0.0.1:0")?;
//!     let address = listener.local_addr()?;
//!     // SAFETY: std's sockets keep nothing in the thread, and no lock is held in here.
//!     let server = sward::spawn(move || unsafe {
//!         sward_interpose::park_blocking(|| {
//!             let (mut stream, _) = listener.accept()?;
//!             std::io::copy(&mut stream.try_clone()?, &mut stream)
//!         })
//!     });
//!     // SAFETY: as above.
//!     let echo = unsafe {
//!         sward_interpose::park_blocking(|| {
//!             let mut stream = TcpStream::connect(address)?;
//!             stream.write_all(b"hello")?;
//!             stream.shutdown(std::net::Shutdown::Write)?;
//!             let mut echo = String::new();
//!             stream.read_to_string(&mut echo).map(|_| echo)
//!         })
//!     };
//!     assert_eq!(echo?, "hello");
//!     server.join().unwrap()?;
//!     Ok::<(), std::io::Error>(())
//! })
//! # .unwrap();
//! ```
//!
//! Use [`sward::blocking()`] unless you have a reason not to: it needs no `unsafe`, and works with
//! everything. It takes a thread for each call. This crate takes none, and costs about as much processor
//! time as threads do ([below](#what-it-costs)).
//!
//! # What parks
//!
//! | calls | remarks |
//! |---|---|
//! | `recv`, `recvfrom`, `recvmsg`, `send`, `sendto`, `sendmsg` | with all flags; `SO_RCVTIMEO` and `SO_SNDTIMEO` are obeyed, `SO_RCVLOWAT` is not |
//! | `read`, `readv`, `write`, `writev` | on sockets, pipes, terminals, eventfds; a write returns once all is written |
//! | `accept`, `accept4`, `connect` | |
//! | `poll`, `ppoll`, `select`, `pselect` | without a signal mask |
//! | `nanosleep`, `clock_nanosleep`, `usleep`, `sleep` | |
//! | `getaddrinfo` | on the pool of [`sward::blocking()`] |
//! | `waitpid` | of one child, for its end |
//! | `close`, `dup2`, `dup3`, `close_range` | do not park; they end the waits of coroutines for what they close, with `EBADF` |
//!
//! The names that glibc gives to some of them for `_FORTIFY_SOURCE` are included, such as `__read_chk`.
//!
//! What still blocks:
//!
//! - files, disks, and the opening of a FIFO;
//! - the standard streams, descriptors 0 to 2: std holds a lock while it uses them, which siblings may want;
//! - futexes, and so all locks and condition variables of std, of others and of pthreads;
//! - `epoll_wait` and io_uring; `flock` and locks of `fcntl`; message queues; `sigwait` and `pause`;
//! - `sendfile` and `splice`, which [`std::io::copy`] uses between a pipe or a file and a socket; `recvmmsg`
//!   and `sendmmsg`;
//! - `wait`, `waitid`, `wait4`, and `waitpid` of any child;
//! - what glibc calls by itself, as in `fread`, `system`, `pclose` and `gethostbyname`, and its other names
//!   for the same calls (`__read`, `__poll`); system calls by `syscall`;
//! - libraries that are loaded with `RTLD_DEEPBIND`; and everything if this crate is part of a library that
//!   is itself loaded by `dlopen`.
//!
//! # How it works
//!
//! This crate defines the functions above, so the linker prefers them to the C library's, for the whole
//! program and the libraries that it loads. Each asks first whether its caller is a coroutine inside of
//! [`park_blocking`]. If not, it is the C library's function.
//!
//! Inside, a call is made such that it does not block (`MSG_DONTWAIT`, `RWF_NOWAIT`; or `poll` first, where
//! neither is known). If it would block, the coroutine waits for an epoll instance of this crate to which the
//! descriptor is added. So `O_NONBLOCK` is left alone, which other threads and processes may share. The
//! exception is `connect`, which sets it for the moment in which the connection is begun: a second `connect`
//! of another thread at that moment would not wait. A descriptor that
//! is non-blocking already behaves as always: `EAGAIN`.
//!
//! - Each coroutine that waits takes two descriptors for the time of its wait. If there are none, it asks the
//!   kernel again every few milliseconds.
//! - `poll` and then a call: with terminals, with pipes on kernels before 6.4, and with `accept`. If another
//!   thread or process is faster in between, the call blocks the worker. Coroutines that accept from one
//!   listener do not do this to one another.
//! - Once in 64 calls that need not wait, the coroutine lets others have a turn.
//! - A write to a terminal is made on the pool of [`sward::blocking()`].
//! - `write` on a `SOCK_SEQPACKET` does not mark the end of a record, which matters to SCTP.
//! - A panic of the runtime in a wait ([`Builder::checks`](sward::runtime::Builder::checks) may cause one)
//!   ends the call with `ECANCELED`, and goes on when `park_blocking` returns.
//! - A signal does not end a wait, so nothing fails with `EINTR`.
//! - A forked child has no runtime, and so no call parks there. [`std::process::Command`] may be used inside.
//! - A coroutine that is spawned inside is outside.
//!
//! # Cancellation
//!
//! A cancellation, a limit of [`sward::time::timeout()`] and the shutdown do not unwind out of these calls,
//! since there may be frames of C. The call fails with `ECANCELED`, and so does each further one that would
//! have to wait, and one in 64 of the others. What the library makes of it is its error. The next
//! cancellation point outside unwinds as usual. It is `ECANCELED` for time limits as well: libraries take
//! `ETIMEDOUT` for a state of the peer, and try again.
//!
//! The sleeping calls return as if the time had passed, since their callers try again after any error. A
//! `getaddrinfo` that runs is awaited.
//!
//! [`sward::task::mask`] holds all of this off, inside as outside.
//!
//! # What it costs
//!
//! Outside of `park_blocking`, an overridden call takes one load more while no coroutine is inside.
//! Otherwise, on threads on which a coroutine was ever inside, it looks up whether its own coroutine is: that
//! takes a reference to the coroutine and a look into a short list. sward's own calls go through the
//! overrides, too: its descriptors are non-blocking, so they never park.
//!
//! Processor time of a round trip of 64 bytes over loopback, both ends included, with 64 connections at once:
//! 1.0 with sward's own sockets, 1.8 with std's in `park_blocking`, 1.4 to 1.6 with std's on a thread for
//! each end. The difference is in system calls: each wait asks for the mode and the timeout of the socket,
//! and arms and empties the epoll instance. `cargo run --release -p sward-interpose --example round_trip`
//! runs the three in turn.
//!
//! # Platforms
//!
//! Linux with glibc on 64-bit processors. Elsewhere `park_blocking` only calls its closure, which then
//! blocks: [`PARKS`] is false. With glibc a static build (`-C target-feature=+crt-static`) is refused: the C
//! library would call its own functions.

#[cfg(all(target_os = "linux", target_env = "gnu", target_feature = "crt-static"))]
compile_error!("sward-interpose needs a dynamic C library: a static one would call its own functions");

#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod connections;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod errno;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod polling;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod real;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod scope;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod symbols;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod transfer;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod watch;

#[cfg(not(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64")))]
mod scope {
    pub(crate) fn inside<R>(f: impl FnOnce() -> R) -> R {
        f()
    }
}

/// Whether blocking calls park on this platform.
pub const PARKS: bool = cfg!(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"));

/// Runs the closure, in which libc's blocking calls park the calling coroutine instead of blocking its
/// thread. The [crate's documentation](crate) says which calls, and how. On a plain thread it only calls the
/// closure. It may be nested. It does not park by itself.
///
/// # Panics
///
/// If the closure panics.
///
/// # Safety
///
/// Code that was written for threads expects that nothing else runs on its thread during a blocking call.
/// Here the siblings of the coroutine run meanwhile. The caller makes sure that the code in the closure, with
/// all that it calls, keeps to these rules:
///
/// - *No blocking call in the initializer of a thread-local*: a sibling that uses the variable meanwhile
///   would begin a second initialization.
/// - *No nested use of state of the thread over a blocking call*: code that sets a thread-local, blocks, and
///   relies on it afterwards, or that restores it in the reverse order (`scoped_tls`, tokio's `enter`, a
///   C library's "current handle"). State that belongs to a handle or a connection is fine, and so is
///   `errno`.
/// - *No pointer to a thread-local buffer over a blocking call*, such as the result of `strerror`, if
///   siblings may call that function.
/// - *No blocking call, and no `close`, in a signal handler* that interrupts the coroutine: `close` may wake
///   coroutines.
/// - *In a runtime with [`migrate_started`](sward::runtime::Builder::migrate_started) the coroutine is
///   [pinned](sward::task::Builder::pinned)*: C code may keep the address of `errno`, or of any other
///   thread-local, over a call.
///
/// What is safe and yet a mistake:
///
/// - A lock of std, of parking_lot or of a C library that is held over a blocking call. A sibling that wants
///   it blocks the worker, and the holder never goes on: a deadlock. So does the wait for a connection in the
///   pools of `r2d2` and `mysql` when all are taken: let no more coroutines in than there are connections,
///   with a [`Semaphore`](sward::sync::Semaphore).
/// - `block_on` of tokio: its driver waits in `epoll_wait`, which blocks the worker, and its thread-local
///   "entered" flag makes a sibling's `block_on` panic. Use `sward_compat::block_on`.
///
/// ```
/// use std::time::Duration;
///
/// sward::run(|| {
///     let sleeps = || std::thread::sleep(Duration::from_millis(1));
///     // SAFETY: the sleep uses nothing of the thread.
///     unsafe { sward_interpose::park_blocking(sleeps) }
/// });
/// ```
pub unsafe fn park_blocking<R>(f: impl FnOnce() -> R) -> R {
    scope::inside(f)
}
