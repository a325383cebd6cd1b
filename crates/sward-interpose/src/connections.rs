//! Making connections: `accept`, `connect`, names.

use crate::errno::{errno, fail, set_errno};
use crate::real;
use crate::scope::{Scope, mark_thread};
use crate::watch::{Blocking, Interest, Naps, Waited, is_nonblocking, is_ready, option, wait};
use libc::{c_int, pid_t};
use std::sync::{Mutex, TryLockError};
use sward::task::catch_cancel;

const LOCKS: usize = 64;

/// `accept` has no flag that keeps it from blocking, so it is called when a connection has arrived.
/// Coroutines that accept from one listener take turns in this, and so none of them blocks since another was
/// faster.
static TURNS: [Mutex<()>; LOCKS] = [const { Mutex::new(()) }; LOCKS];

/// `accept(2)` and `accept4(2)`, which `call` makes.
pub(crate) fn accept(scope: &Scope, fd: c_int, call: impl Fn() -> c_int) -> c_int {
    // For what is no listener, the call fails at once.
    if option(fd, libc::SO_ACCEPTCONN) != Some(1) {
        return call();
    }
    Blocking::to_read(scope, fd).retry(|| {
        // The holder may be blocked after all, by an accept of another thread that was faster.
        let turn = match TURNS[fd as usize % LOCKS].try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
            Err(TryLockError::WouldBlock) => return fail(libc::EAGAIN),
        };
        let _turn = turn;
        if is_nonblocking(fd) || is_ready(fd, libc::POLLIN) { call() } else { fail(libc::EAGAIN) }
    })
}

/// `connect(2)`, which `call` makes. The socket is non-blocking for the moment in which the call begins.
pub(crate) fn connect(scope: &Scope, fd: c_int, call: impl Fn() -> c_int) -> c_int {
    // SAFETY: the call takes no pointers.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags < 0 || flags & libc::O_NONBLOCK != 0 {
        return call();
    }
    let begin = || {
        // SAFETY: as above, twice.
        unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) };
        let error = if call() == 0 { 0 } else { errno() };
        // SAFETY: as above, twice. Others may have set other flags meanwhile.
        unsafe { libc::fcntl(fd, libc::F_SETFL, libc::fcntl(fd, libc::F_GETFL) & !libc::O_NONBLOCK) };
        error
    };
    let mut blocking = Blocking::to_write(scope, fd);
    let mut begun = false;
    loop {
        let waited = match begin() {
            // The second call is what ends the connecting in the kernel, and reports its error.
            0 => return 0,
            libc::EISCONN if begun => return 0,
            libc::EINPROGRESS | libc::EALREADY => blocking.wait(),
            // The queue of a Unix listener is full. The kernel does not report when it has room.
            libc::EAGAIN if is_unix(fd) => match blocking.nap() {
                Ok(()) => continue,
                Err(error) => return fail(error),
            },
            error => return fail(error),
        };
        begun = true;
        match waited {
            Ok(()) => {}
            // As the kernel does when the socket's limit has passed.
            Err(libc::EAGAIN) => return fail(libc::EINPROGRESS),
            Err(error) => return fail(error),
        }
    }
}

fn is_unix(fd: c_int) -> bool {
    option(fd, libc::SO_DOMAIN) == Some(libc::AF_UNIX)
}

/// A call that another thread makes while its owner waits.
struct Lent<T>(T);

// SAFETY: it holds the pointers of the call, and their owner does nothing until the call has returned.
unsafe impl<T> Sync for Lent<T> {}

impl<T> Lent<T> {
    fn get(&self) -> &T {
        &self.0
    }
}

/// Makes the call on a thread of the pool, for calls that make their system calls inside of the C library, or
/// cannot be made in parts. `errno` is that of the call. An error number if the call was not made.
pub(crate) fn on_pool<R: Send>(call: impl Fn() -> R) -> Result<R, c_int> {
    let call = Lent(call);
    let outcome = catch_cancel(|| {
        sward::blocking(|| {
            let result = call.get()();
            (result, errno())
        })
    });
    mark_thread();
    match outcome {
        Ok(Ok((result, error))) => {
            set_errno(error);
            Ok(result)
        }
        // There is no thread.
        Ok(Err(_)) => Err(libc::EAGAIN),
        // Cancelled before a thread has taken it.
        Err(_) => Err(libc::ECANCELED),
    }
}

/// `getaddrinfo(3)`, which `call` makes.
pub(crate) fn resolve(scope: &Scope, call: impl Fn() -> c_int) -> c_int {
    let error = match scope.guard(|| on_pool(call)) {
        Some(Ok(result)) => return result,
        Some(Err(error)) => error,
        None => libc::ECANCELED,
    };
    set_errno(error);
    if error == libc::EAGAIN { libc::EAI_AGAIN } else { libc::EAI_SYSTEM }
}

/// `waitpid(2)` of one child, which `call` makes with these options more.
pub(crate) fn wait_for_child(scope: &Scope, child: pid_t, call: impl Fn(c_int) -> pid_t) -> pid_t {
    let mut pidfd = None;
    let mut naps = Naps::new(None);
    let outcome = loop {
        let outcome = call(libc::WNOHANG);
        if outcome != 0 {
            break outcome;
        }
        // SAFETY: the call takes no pointers.
        let fd =
            *pidfd.get_or_insert_with(|| unsafe { libc::syscall(libc::SYS_pidfd_open, child, 0) as c_int });
        let interest = Interest { fd, events: libc::EPOLLIN as u32 };
        let waited = if fd < 0 { naps.nap() } else { wait(scope, &[interest], None) };
        if let Waited::Failed(error) = waited {
            break fail(error);
        }
    };
    let error = errno();
    if let Some(fd) = pidfd.filter(|fd| *fd >= 0) {
        // SAFETY: it is ours.
        unsafe { real::close(fd) };
    }
    set_errno(error);
    outcome
}
