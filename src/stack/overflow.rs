//! The report of a stack overflow: a signal handler that knows a guard when it sees one.
//!
//! The handler runs on an alternate stack, since the coroutine's is used up. It allocates nothing,
//! takes no lock, and calls only what a signal handler may. A fault that is not in one of our guards
//! goes to the handler that was there before, which is std's as a rule.

use super::region;
use crate::base::sys::check;
use once_cell::sync::OnceCell;
use std::fmt::{self, Write};
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

const SIGNALS: [libc::c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];
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
    // SAFETY: the kernel gives a valid pointer for a fault.
    let address = unsafe { (*info).si_addr() } as usize;
    match region::guard_at(address) {
        Some(bytes) => report_and_abort(bytes),
        None => pass_on(signal, info, context),
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

fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let place = usize::from(signal == SIGNALS[1]);
    let previous = PREVIOUS[place].load(Ordering::Acquire);
    // SAFETY: stored before the handler was installed, and never freed.
    let previous = unsafe { &*previous };
    match previous.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // The instruction is executed again, and the signal then ends the process.
            // SAFETY: may be called in a signal handler.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
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
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh mapping at a place of the kernel's choice.
        let memory = unsafe {
            libc::mmap(ptr::null_mut(), ALTERNATE, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let none = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        let mut this = AltStack { memory, previous: none, thread_bound: PhantomData };
        // SAFETY: the first page of our own mapping.
        check(unsafe { libc::mprotect(memory, super::TOP, libc::PROT_NONE) })?;
        let usable = ALTERNATE - super::TOP;
        let stack =
            libc::stack_t { ss_sp: memory.wrapping_byte_add(super::TOP), ss_flags: 0, ss_size: usable };
        // SAFETY: the memory stays until the drop, which takes it out of use first.
        check(unsafe { libc::sigaltstack(&raw const stack, &raw mut this.previous) })?;
        Ok(this)
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        // SAFETY: the thread goes back to what it had before; then nobody uses the mapping.
        unsafe {
            libc::sigaltstack(&raw const self.previous, ptr::null_mut());
            libc::munmap(self.memory, ALTERNATE);
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
