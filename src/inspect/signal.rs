//! A dump on a signal: to stderr or a file, and the program goes on.
//!
//! The handler writes a byte to a pipe, which a thread of its own reads. That thread makes the dump, so it
//! works also while all workers are stuck. It starts with the first runtime that asks for it.
//!
//! The handler does only what a handler may do: it reads atomics, calls `getpid` and `write`, and then the
//! handler that was there before. It leaves `errno` as it is: it writes only if the thread has read all that
//! was written before, so there is room in the pipe, and the write does not fail. In a forked child, which
//! has the parent's handlers and pipe, after `vfork` even its memory, it only calls the handler before: the
//! parent does not dump because of a signal to its child.

use super::collect::collect;
use super::dump::Dump;
use super::recorder::Past;
use crate::base::counted_threads::CountedThread;
use crate::base::fork::PerProcess;
use crate::base::new_thread::new_thread;
use crate::base::sys::{check, report};
use libc::c_int;
use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Signals that have names here.
const NAMES: &[(&str, c_int)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("WINCH", libc::SIGWINCH),
];

/// What [`parse_signal`] accepts.
pub(crate) const WANT_SIGNAL: &str = "HUP, INT, QUIT, USR1, USR2, ALRM, TERM, WINCH, or a signal's number";

/// Signals that cannot be handled, or that say that the program cannot go on.
const REFUSED: &[c_int] = &[
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGTRAP,
];

/// One more than the highest number of a signal.
const SIGNALS: usize = 128;

/// The signal of that name, with or without `SIG`, or number.
pub(crate) fn parse_signal(text: &str) -> Option<c_int> {
    let text = text.trim();
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let named = NAMES.iter().find(|(known, _)| *known == name).map(|(_, signal)| *signal);
    named.or_else(|| text.parse().ok()).filter(|signal| may_be_handled(*signal))
}

fn may_be_handled(signal: c_int) -> bool {
    (1..SIGNALS as c_int).contains(&signal) && !REFUSED.contains(&signal)
}

/// The writing end of the pipe, for the handlers. It is never closed.
static PIPE: AtomicI32 = AtomicI32::new(-1);
/// The process whose thread reads the pipe; zero before the first one.
static OWNER: AtomicI32 = AtomicI32::new(0);
/// Whether there is a byte in the pipe.
static PENDING: AtomicBool = AtomicBool::new(false);
/// The handlers that were there before, for each signal; null without ours.
static PREVIOUS: [AtomicPtr<libc::sigaction>; SIGNALS] = [const { AtomicPtr::new(ptr::null_mut()) }; SIGNALS];
/// Whether the process has its thread. Its lock is held while one of these changes.
static STARTED: PerProcess<Mutex<bool>> = PerProcess::new(Mutex::default);

/// From now on, the signal makes a dump, to that file or to stderr. `file` counts at the first call in a
/// process.
///
/// # Errors
///
/// `InvalidInput` if the signal cannot be handled. Otherwise the system's: no thread, no descriptors.
pub(crate) fn dump_on(signal: c_int, file: Option<&'static Path>) -> io::Result<()> {
    if !may_be_handled(signal) {
        let text = format!("signal {signal} cannot be used for dumps");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut started = STARTED.get().lock().unwrap_or_else(PoisonError::into_inner);
    if !*started {
        start(file)?;
        *started = true;
    }
    let previous = &PREVIOUS[signal as usize];
    // A forked child inherits the handlers, and so does this list.
    if previous.load(Ordering::Relaxed).is_null() {
        install(signal, previous)?;
    }
    Ok(())
}

fn own_pid() -> libc::pid_t {
    // SAFETY: the call takes no pointers.
    unsafe { libc::getpid() }
}

/// Starts the thread.
fn start(file: Option<&'static Path>) -> io::Result<()> {
    let (write, read) = UnixStream::pair()?;
    new_thread("sward-dump")?.spawn(move || {
        let _own = CountedThread::begin();
        dump_for_each(read, file);
    })?;
    PENDING.store(false, Ordering::Relaxed);
    PIPE.store(write.as_raw_fd(), Ordering::Relaxed);
    let _ = write.into_raw_fd();
    // Pairs with the load in the handler: a handler that finds this process here finds its pipe as well.
    OWNER.store(own_pid(), Ordering::Release);
    Ok(())
}

/// Installs the handler of a signal.
fn install(signal: c_int, previous: &AtomicPtr<libc::sigaction>) -> io::Result<()> {
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_signal;
    // SAFETY: an all-zero sigaction is a valid one; its fields are set below.
    let (mut action, mut before): (libc::sigaction, libc::sigaction) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    action.sa_sigaction = handler as libc::sighandler_t;
    // A coroutine's stack may have no room for a handler.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: both pointers are null or to variables that live until the call ends.
    check(unsafe { libc::sigaction(signal, ptr::null(), &raw mut before) })?;
    previous.store(Box::leak(Box::new(before)), Ordering::Release);
    // SAFETY: the handler does only what handlers may do: see the head of the file.
    if let Err(error) = check(unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) }) {
        previous.store(ptr::null_mut(), Ordering::Relaxed);
        return Err(error);
    }
    Ok(())
}

extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    if OWNER.load(Ordering::Acquire) == own_pid() && !PENDING.swap(true, Ordering::AcqRel) {
        let byte = 1_u8;
        // SAFETY: the byte lives until the call ends.
        unsafe { libc::write(PIPE.load(Ordering::Relaxed), (&raw const byte).cast(), 1) };
    }
    let Some(previous) = PREVIOUS.get(signal as usize) else { return };
    // SAFETY: null, or an action that is never freed.
    let Some(previous) = (unsafe { previous.load(Ordering::Acquire).as_ref() }) else { return };
    match previous.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {}
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: an action with this flag has a handler of this type.
            let handler = unsafe {
                mem::transmute::<libc::sighandler_t, extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void)>(
                    handler,
                )
            };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: an action without that flag has a handler of this type.
            let handler = unsafe { mem::transmute::<libc::sighandler_t, extern "C" fn(c_int)>(handler) };
            handler(signal);
        }
    }
}

/// The thread's life.
fn dump_for_each(mut pipe: UnixStream, file: Option<&Path>) {
    let mut byte = [0];
    loop {
        match pipe.read(&mut byte) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        }
        // A signal that arrives from here on makes one more dump. Read-modify-writes on both sides: one that
        // has found the mark, and so writes no byte, comes before this, and the dump shows what came before
        // it.
        PENDING.swap(false, Ordering::AcqRel);
        // First, since the dump takes longer, and makes events of its own.
        Past::write(Past::copy(), "the signal");
        write(&collect(), file);
    }
}

/// Writes a dump where it belongs.
fn write(dump: &Dump, file: Option<&Path>) {
    let Some(path) = file else { return write_to_stderr(&dump.to_string()) };
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    let text = if is_json { format!("{}\n", dump.to_json()) } else { format!("{dump}\n") };
    let opened = OpenOptions::new().append(true).create(true).open(path);
    if let Err(error) = opened.and_then(|mut file| file.write_all(text.as_bytes())) {
        report(format_args!("sward: the dump cannot be written to {}: {error}", path.display()));
        write_to_stderr(&dump.to_string());
    }
}

/// Not by `eprint!`: a coroutine may hold its lock and hang.
fn write_to_stderr(text: &str) {
    // SAFETY: it is not closed here; if it is closed, the writes fail.
    let mut stderr = ManuallyDrop::new(unsafe { File::from_raw_fd(libc::STDERR_FILENO) });
    let mut left = text.as_bytes();
    while !left.is_empty() {
        match stderr.write(left) {
            Ok(0) => return,
            Ok(count) => left = &left[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another process may have set the mode of the terminal.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["QUIT", " SIGQUIT ", "3"] {
            assert_eq!(parse_signal(text), Some(libc::SIGQUIT), "{text:?}");
        }
        for text in ["", "quit", "SIG", "KILL", "9", "SEGV", "11", "0", "-3", "128", "SIGSIGQUIT"] {
            assert_eq!(parse_signal(text), None, "{text:?}");
        }
    }
}
