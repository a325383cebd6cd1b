//! A signal, whose handler walks the stack of the thread that it interrupts, and stores addresses.
//!
//! The signal is SIGURG, as in Go: a process ignores it by default, so that a late one does no harm, and
//! hardly any program uses it. It is sent with a value by which the handler knows it. Any other SIGURG goes
//! to the handler that was there before.
//!
//! # Why the handler is safe
//!
//! The interrupted code may hold any lock, be in the middle of an allocation, of the loader, or of the
//! unwinder.
//!
//! - The handler takes no lock and allocates nothing. It makes one system call, gettid, and writes atomics of
//!   a static that is never freed.
//! - The walk is `_Unwind_Backtrace` of libgcc. It finds the tables of frames by `_dl_find_object` of glibc,
//!   which takes no lock and may be called in a handler. glibc has it since 2.35; without it there are no
//!   samples, since the unwinder would take the loader's lock. What libgcc initializes once, and the symbols
//!   that the loader binds at the first call, are there after the walk in [`install`]. There is a lock for
//!   frames that a program registers itself (`__register_frame`, some JIT compilers): libgcc before 13 takes
//!   it if there are any, so a thread that is interrupted in that very call would hang.
//! - The interrupted function may have wrong tables. Then the unwinder reads at a wrong address. A fault of
//!   the handler ends the sample and not the process: the handler of faults asks [`recover`], which leaves
//!   this handler by `rt_sigreturn`, so the thread goes on where it was interrupted.
//! - It runs on the thread's alternate stack, if the thread has one, as workers do. So a stack that is nearly
//!   full has no less room.
//! - It reads no thread-local, `errno` included, so it does not matter whose thread pointer is set.
//! - A system call of the interrupted code is restarted (`SA_RESTART`). Sleeps, `poll` and the like are
//!   not: they end early with `EINTR`. std and this crate go on then. Foreign code that cannot stand a signal
//!   meets one here, once for each sample.
//!
//! # The states
//!
//! One sample at a time, under a lock of the threads that want one.
//!
//! | state | from | by | when |
//! |---|---|---|---|
//! | `WANTED` | `IDLE`, `TAKEN` | the asking thread | before it sends the signal |
//! | `IDLE` | `WANTED` | the asking thread | there was no answer in time |
//! | `TAKING` | `WANTED` | the handler | the static is the handler's |
//! | `TAKEN` | `TAKING` | the handler, or [`recover`] | the asking thread may read |
//!
//! The number of the thread is in the same word. So a signal that comes late, after another thread was asked,
//! takes nothing: its compare-and-swap expects its own thread.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
use aarch64 as context;
#[cfg(target_arch = "x86_64")]
use x86_64 as context;

use super::{MOST_FRAMES, Sample};
use crate::base::sys::{Probe, check, frames};
use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SIGNAL: c_int = libc::SIGURG;

const IDLE: u64 = 0;
const WANTED: u64 = 1;
const TAKING: u64 = 2;
const TAKEN: u64 = 3;
/// The bits of the state.
const STATE: u64 = 3;

/// The sample that is taken now.
struct Slot {
    /// The state, and above it the kernel's number of the thread.
    state: AtomicU64,
    /// In `TAKING`: the context of the interrupted code.
    context: AtomicPtr<c_void>,
    addresses: [AtomicUsize; MOST_FRAMES],
    len: AtomicUsize,
    cut: AtomicU32,
}

static SLOT: Slot = Slot {
    state: AtomicU64::new(IDLE),
    context: AtomicPtr::new(ptr::null_mut()),
    addresses: [const { AtomicUsize::new(0) }; MOST_FRAMES],
    len: AtomicUsize::new(0),
    cut: AtomicU32::new(0),
};

/// The word for that state of a sample of that thread.
fn word(state: u64, thread: c_int) -> u64 {
    state | u64::from(thread.cast_unsigned()) << STATE.count_ones()
}

/// The handler that was there before.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();
/// Held by the thread that takes a sample.
static TURN: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

/// The stack of that thread of this process; `None` if the thread has not answered in time, since it blocks
/// the signal or the system does not run it, if the thread has ended, or if this system cannot do it safely.
///
/// This sleeps on the calling thread until there is an answer.
pub(crate) fn sample(thread: Probe, timeout: Duration) -> Option<Sample> {
    let _turn = TURN.lock();
    if !install() || SLOT.state.load(Ordering::Acquire) & STATE == TAKING {
        return None;
    }
    let wanted = word(WANTED, thread.number());
    SLOT.len.store(0, Ordering::Relaxed);
    SLOT.cut.store(0, Ordering::Relaxed);
    // Release: the handler that takes the sample finds these.
    SLOT.state.store(wanted, Ordering::Release);
    if !send(thread.number()) || !wait(Instant::now() + timeout) {
        // Unless the handler has begun just now; then it ends soon.
        let late = SLOT.state.compare_exchange(wanted, IDLE, Ordering::Relaxed, Ordering::Relaxed).is_err();
        if !late || !wait(Instant::now() + Duration::from_secs(1)) {
            return None;
        }
    }
    let len = SLOT.len.load(Ordering::Relaxed);
    let addresses = SLOT.addresses.iter().take(len).map(|at| at.load(Ordering::Relaxed)).collect();
    Some(Sample { addresses, cut: SLOT.cut.load(Ordering::Relaxed) != 0 })
}

/// Waits for the end of the sample.
fn wait(deadline: Instant) -> bool {
    let mut pause = Duration::from_micros(10);
    // Acquire: what the handler has stored.
    while SLOT.state.load(Ordering::Acquire) & STATE != TAKEN {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(1));
    }
    true
}

/// Sends the signal; false if there is no such thread.
fn send(thread: c_int) -> bool {
    /// `siginfo_t` of a signal with a value.
    #[repr(C)]
    struct Info {
        signal: c_int,
        errno: c_int,
        code: c_int,
        padding: c_int,
        process: libc::pid_t,
        user: libc::uid_t,
        value: usize,
        rest: [u64; 12],
    }
    const { assert!(size_of::<Info>() == size_of::<libc::siginfo_t>()) };
    let process = std::process::id().cast_signed();
    let info = Info {
        signal: SIGNAL,
        errno: 0,
        code: libc::SI_QUEUE,
        padding: 0,
        process,
        // SAFETY: it has no conditions.
        user: unsafe { libc::getuid() },
        value: ptr::from_ref(&SLOT).addr(),
        rest: [0; 12],
    };
    // SAFETY: the pointer is to a whole `siginfo_t`.
    let sent =
        unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, thread, SIGNAL, &raw const info) };
    sent == 0
}

/// Installs the handler, once for the process; false if this system cannot take samples.
fn install() -> bool {
    static DONE: OnceLock<bool> = OnceLock::new();
    *DONE.get_or_init(|| {
        // SAFETY: the name ends with a zero.
        let lock_free = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_dl_find_object".as_ptr()) };
        if lock_free.is_null() {
            return false;
        }
        frames::walk(&mut |_| true);
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_signal;
        // SAFETY: an all-zero sigaction is a valid one; its fields are set below.
        let (mut action, mut before): (libc::sigaction, libc::sigaction) = unsafe { mem::zeroed() };
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        // SAFETY: both pointers are to variables that live until the calls end.
        if check(unsafe { libc::sigaction(SIGNAL, ptr::null(), &raw mut before) }).is_err() {
            return false;
        }
        // Before the handler can look for it.
        let _ = PREVIOUS.set(before);
        // SAFETY: the handler does only what a signal handler may, as the head of this file says.
        check(unsafe { libc::sigaction(SIGNAL, &raw const action, ptr::null_mut()) }).is_ok()
    })
}

extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, interrupted: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid pointer, and any bytes are a value.
    let (code, value) = unsafe { ((*info).si_code, (*info).si_value().sival_ptr) };
    if code != libc::SI_QUEUE || value.addr() != ptr::from_ref(&SLOT).addr() {
        return pass_on(signal, info, interrupted);
    }
    let [wanted, taking, taken] = [WANTED, TAKING, TAKEN].map(|state| word(state, this_thread()));
    // Acquire: what `sample` has set. A late signal of an earlier sample of this thread may take this one.
    if SLOT.state.compare_exchange(wanted, taking, Ordering::Acquire, Ordering::Relaxed).is_ok() {
        SLOT.context.store(interrupted, Ordering::Relaxed);
        // SAFETY: the kernel passes the context of the code that it has interrupted.
        walk(unsafe { context::program_counter(interrupted) });
        // Release: pairs with the acquire in `wait`.
        SLOT.state.store(taken, Ordering::Release);
    }
}

/// Stores the frames from the interrupted one outwards.
fn walk(interrupted_at: usize) {
    store(0, interrupted_at.wrapping_add(1));
    let mut len = 0;
    frames::walk(&mut |frame| {
        if len == 0 {
            // Frames of the handler come first.
            len += usize::from(frame.address == interrupted_at);
            return true;
        }
        if len == MOST_FRAMES {
            SLOT.cut.store(1, Ordering::Relaxed);
            return false;
        }
        store(len, frame.address);
        len += 1;
        frame.address != 0
    });
}

fn store(at: usize, address: usize) {
    if let Some(slot) = SLOT.addresses.get(at) {
        slot.store(address, Ordering::Relaxed);
        SLOT.len.store(at + 1, Ordering::Relaxed);
    }
}

fn this_thread() -> c_int {
    // SAFETY: the call takes no pointers, and never fails. Its result is a thread's number.
    (unsafe { libc::syscall(libc::SYS_gettid) }) as c_int
}

/// For the handler of faults: whether the fault is one of the walk. Then that handler returns at once, and
/// the thread goes on where the signal has interrupted it. `fault` is the context of the fault.
pub(crate) fn recover(fault: *mut c_void) -> bool {
    // Not even a system call where no sample is taken.
    let found = SLOT.state.load(Ordering::Relaxed);
    if found & STATE != TAKING || found != word(TAKING, this_thread()) {
        return false;
    }
    // Before the state changes, from when on the slot is another sample's.
    let interrupted = SLOT.context.load(Ordering::Relaxed);
    SLOT.cut.store(1, Ordering::Relaxed);
    SLOT.state.store(word(TAKEN, this_thread()), Ordering::Release);
    // SAFETY: both are contexts of the kernel's, on this thread; the handler between them has no destructors.
    unsafe { context::leave(fault, interrupted) };
    true
}

fn pass_on(signal: c_int, info: *mut libc::siginfo_t, interrupted: *mut c_void) {
    let Some(previous) = PREVIOUS.get() else { return };
    match previous.sa_sigaction {
        // By default, too, nothing happens.
        libc::SIG_IGN | libc::SIG_DFL => {}
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
            // SAFETY: SA_SIGINFO says that the handler is of this type.
            let handler = unsafe { mem::transmute::<libc::sighandler_t, Handler>(handler) };
            handler(signal, info, interrupted);
        }
        handler => {
            // SAFETY: without SA_SIGINFO it is of this type.
            let handler = unsafe { mem::transmute::<libc::sighandler_t, extern "C" fn(c_int)>(handler) };
            handler(signal);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The signal of a sample that was given up arrives when another thread is asked.
    #[test]
    fn a_late_signal_does_not_answer_for_another_thread() {
        let _turn = TURN.lock();
        assert!(install() && send(this_thread()), "this system takes samples");
        // No thread has that number.
        let other = c_int::MAX;
        for (asked, found) in [(other, WANTED), (this_thread(), TAKEN)] {
            SLOT.state.store(word(WANTED, asked), Ordering::Relaxed);
            // A thread that signals itself handles the signal before this returns.
            assert!(send(this_thread()));
            assert_eq!(SLOT.state.load(Ordering::Relaxed), word(found, asked));
        }
        SLOT.state.store(IDLE, Ordering::Relaxed);
    }

    /// A sample of this thread whose walk faults.
    #[test]
    fn a_fault_ends_the_sample_only() {
        extern "C" fn on_fault(_: c_int, _: *mut libc::siginfo_t, fault: *mut c_void) {
            if !recover(fault) {
                std::process::abort();
            }
        }
        extern "C" fn faulty(_: c_int, _: *mut libc::siginfo_t, interrupted: *mut c_void) {
            SLOT.context.store(interrupted, Ordering::Relaxed);
            SLOT.state.store(word(TAKING, this_thread()), Ordering::Relaxed);
            // SAFETY: none: this is the fault that the test is about.
            unsafe { ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
            std::process::abort();
        }
        let _turn = TURN.lock();
        // SAFETY: the handlers live as long as the process, and the former ones are restored below.
        unsafe {
            let set = |signal, handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void)| {
                let (mut action, mut before): (libc::sigaction, libc::sigaction) = mem::zeroed();
                action.sa_sigaction = handler as *const () as libc::sighandler_t;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                assert_eq!(libc::sigaction(signal, &raw const action, &raw mut before), 0);
                before
            };
            let faults = set(libc::SIGSEGV, on_fault);
            let signals = set(libc::SIGUSR2, faulty);
            for _ in 0..3 {
                SLOT.state.store(word(WANTED, this_thread()), Ordering::Relaxed);
                libc::raise(libc::SIGUSR2);
                assert_eq!(SLOT.state.load(Ordering::Relaxed), word(TAKEN, this_thread()));
            }
            libc::sigaction(libc::SIGSEGV, &raw const faults, ptr::null_mut());
            libc::sigaction(libc::SIGUSR2, &raw const signals, ptr::null_mut());
        }
    }
}
