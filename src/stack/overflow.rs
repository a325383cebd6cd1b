//! The report of a stack overflow: a signal handler that knows a guard when it sees one.
//!
//! The handler runs on an alternate stack, since the coroutine's is used up. It allocates nothing,
//! takes no lock, and calls only what a signal handler may. A fault that is not in one of our guards
//! goes to the handler that was there before, which is std's as a rule, and so does a signal that a process
//! has sent. Where there was none the process ends as it would have without this one.

use super::region;
use super::sys::was_sent;
use crate::base::sys::{check, page_size};
use once_cell::sync::OnceCell;
use std::fmt::{self, Write};
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

const SIGNALS: [libc::c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];
/// What the handlers may use of an alternate stack. A frame of a signal with all of the processor's
/// registers in it takes some KiB; std's handler and those of other libraries come on top.
const ALTERNATE: usize = 64 << 10;

/// What was there before, for each of the signals.
static PREVIOUS: [AtomicPtr<libc::sigaction>; 2] = [const { AtomicPtr::new(ptr::null_mut()) }; 2];

/// Who is running, as a function of type `fn(&mut Message)`; null for nobody to ask.
static DESCRIBE: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// A line of text in a fixed buffer. What does not fit is cut off.
pub(crate) struct Message {
    text: [u8; 512],
    len: usize,
}

impl Message {
    const fn new() -> Self {
        Message { text: [0; 512], len: 0 }
    }

    fn print(&self) {
        // SAFETY: the buffer holds `len` bytes. Nothing is to be done if nobody reads them.
        unsafe { libc::write(libc::STDERR_FILENO, self.text.as_ptr().cast(), self.len) };
    }
}

impl fmt::Write for Message {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = self.text.len() - self.len;
        let bytes = &s.as_bytes()[..s.len().min(room)];
        self.text[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }
}

/// Says how to name the coroutine that runs on the present thread. The function is called in a signal
/// handler.
pub(crate) fn set_describe(describe: fn(&mut Message)) {
    DESCRIBE.store(describe as *mut (), Ordering::Release);
}

/// Installs the handler, once in a process.
///
/// # Errors
///
/// The system's.
pub(crate) fn install() -> io::Result<()> {
    static DONE: OnceCell<()> = OnceCell::new();
    DONE.get_or_try_init(|| {
        for (signal, previous) in SIGNALS.into_iter().zip(&PREVIOUS) {
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_fault;
            // SAFETY: an all-zero sigaction is a valid one; its fields are set below.
            let mut action: libc::sigaction = unsafe { mem::zeroed() };
            action.sa_sigaction = handler as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            // SAFETY: as above.
            let mut before: libc::sigaction = unsafe { mem::zeroed() };
            // SAFETY: both point to what lives until the calls end.
            check(unsafe { libc::sigaction(signal, ptr::null(), &raw mut before) })?;
            previous.store(Box::leak(Box::new(before)), Ordering::Release);
            // SAFETY: the handler is fit to be one, as this file's head says.
            check(unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) })?;
        }
        Ok(())
    })
    .copied()
}

extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel gives a valid pointer; any bytes are an address.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // What a process has sent names the sender where a fault has its address.
    let sent = was_sent(code);
    match region::guard_at(address) {
        Some(bytes) if !sent => report_and_abort(bytes),
        _ => pass_on(signal, sent, info, context),
    }
}

fn report_and_abort(bytes: usize) -> ! {
    let mut message = Message::new();
    let _ = message.write_str("\nsward: ");
    let before = message.len;
    let describe = DESCRIBE.load(Ordering::Acquire);
    if !describe.is_null() {
        // SAFETY: only `set_describe` stores here, a function of this very type.
        let describe = unsafe { mem::transmute::<*mut (), fn(&mut Message)>(describe) };
        describe(&mut message);
    }
    if message.len == before {
        let _ = message.write_str("a coroutine");
    }
    let _ = writeln!(
        message,
        " has overflowed its stack of {} KiB; runtime::Builder::stack_size or SWARD_STACK_SIZE gives all \
         coroutines more, task::Builder::stack_size a single one",
        bytes >> 10
    );
    message.print();
    // SAFETY: may be called in a signal handler; ends the process even if SIGABRT is handled.
    unsafe {
        libc::signal(libc::SIGABRT, libc::SIG_DFL);
        libc::abort();
    }
}

fn pass_on(signal: libc::c_int, sent: bool, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let place = usize::from(signal == SIGNALS[1]);
    let previous = PREVIOUS[place].load(Ordering::Acquire);
    // SAFETY: stored before the handler was installed, and never freed.
    let previous = unsafe { &*previous };
    match previous.sa_sigaction {
        libc::SIG_IGN if sent => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // A fault comes again with its instruction, and then ends the process. What was sent has to be
            // raised again; it is pending until this handler returns.
            // SAFETY: both may be called in a signal handler.
            unsafe {
                libc::signal(signal, libc::SIG_DFL);
                if sent {
                    libc::raise(signal);
                }
            }
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: SA_SIGINFO says that the handler is of this type.
            let handler = unsafe { mem::transmute::<libc::sighandler_t, Handler>(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without SA_SIGINFO the handler is of this type.
            let handler =
                unsafe { mem::transmute::<libc::sighandler_t, extern "C" fn(libc::c_int)>(handler) };
            handler(signal);
        }
    }
}

/// A thread's alternate signal stack, with a guard. Goes with the value.
pub(crate) struct AltStack {
    memory: *mut libc::c_void,
    previous: libc::stack_t,
    thread_bound: PhantomData<*mut ()>,
}

impl AltStack {
    /// Gives the calling thread one.
    ///
    /// # Errors
    ///
    /// The system's; then the thread keeps what it has.
    pub(crate) fn install() -> io::Result<AltStack> {
        let bytes = page_size() + ALTERNATE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh mapping at a place of the kernel's choice.
        let memory =
            unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mut previous = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        // SAFETY: all of our own mapping, which stays until the value's drop takes it out of use.
        match unsafe { put_to_use(memory, &mut previous) } {
            Ok(()) => Ok(AltStack { memory, previous, thread_bound: PhantomData }),
            Err(e) => {
                // SAFETY: our own mapping, which nobody uses.
                unsafe { libc::munmap(memory, bytes) };
                Err(e)
            }
        }
    }
}

/// Makes the memory the thread's alternate signal stack, all but one page of guard at its low end, and
/// tells the one before.
///
/// # Safety
///
/// The memory is a page and `ALTERNATE` bytes of a mapping of the caller's, and stays while it is in use.
/// After an error it is not.
unsafe fn put_to_use(memory: *mut libc::c_void, previous: &mut libc::stack_t) -> io::Result<()> {
    // SAFETY: the first page of the caller's mapping.
    check(unsafe { libc::mprotect(memory, page_size(), libc::PROT_NONE) })?;
    let stack =
        libc::stack_t { ss_sp: memory.wrapping_byte_add(page_size()), ss_flags: 0, ss_size: ALTERNATE };
    // SAFETY: the memory stays, as the caller says; both places live until the call ends.
    check(unsafe { libc::sigaltstack(&raw const stack, previous) }).map(drop)
}

impl Drop for AltStack {
    fn drop(&mut self) {
        // SAFETY: the thread goes back to what it had before; then nobody uses the mapping.
        unsafe {
            libc::sigaltstack(&raw const self.previous, ptr::null_mut());
            libc::munmap(self.memory, page_size() + ALTERNATE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_off_at_its_end() {
        let mut message = Message::new();
        for _ in 0..100 {
            message.write_str("0123456789").expect("never fails");
        }
        assert_eq!(message.len, 512);
        assert_eq!(&message.text[..10], b"0123456789");
    }
}
