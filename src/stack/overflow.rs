//! The report of a stack overflow: a signal handler that recognises the guards of stacks.
//!
//! The handler runs on an alternate stack, since the coroutine's is used up. It allocates nothing, takes no
//! lock, and calls only functions that a signal handler may call. A fault that is not in one of our guards
//! goes to the previous handler, which is usually std's, and so does a signal that a process has sent. If
//! there was no previous handler, the process ends as it would have without this one.

use super::region;
use super::sys::was_sent;
use crate::base::sys::{calls, check, page_size, recover};
use once_cell::sync::OnceCell;
use std::fmt::{self, Write};
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

const SIGNALS: [libc::c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];
/// The bytes of an alternate stack for handlers. The frame of a signal, with all of the processor's
/// registers, takes some KiB. The handlers of std and of other libraries need more on top.
const ALTERNATE: usize = 64 << 10;

/// The previous handlers, for each of the signals.
static PREVIOUS: [AtomicPtr<libc::sigaction>; 2] = [const { AtomicPtr::new(ptr::null_mut()) }; 2];

/// A function of type `fn(&mut Message)` that names the running coroutine; null before `set_describe`.
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
        // SAFETY: the buffer holds `len` bytes. An error has nowhere to be reported.
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

/// Sets the function that names the coroutine of the calling thread. It is called in a signal handler.
pub(crate) fn set_describe(describe: fn(&mut Message)) {
    DESCRIBE.store(describe as *mut (), Ordering::Release);
}

/// Installs the handler, once for the process.
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
            // SAFETY: both pointers are to variables that live until the calls end.
            check(unsafe { libc::sigaction(signal, ptr::null(), &raw mut before) })?;
            previous.store(Box::leak(Box::new(before)), Ordering::Release);
            // SAFETY: the handler does only what a signal handler may, as the head of this file says.
            check(unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) })?;
        }
        Ok(())
    })
    .copied()
}

extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    if recover(context) {
        return;
    }
    // SAFETY: with SA_SIGINFO the kernel passes a valid pointer, and any bytes are an address.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // A signal that a process has sent has the sender in the field that is the address of a fault.
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
        // SAFETY: only `set_describe` stores here, and only functions of this type.
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
    let index = usize::from(signal == SIGNALS[1]);
    let previous = PREVIOUS[index].load(Ordering::Acquire);
    // SAFETY: stored before the handler was installed, and never freed.
    let previous = unsafe { &*previous };
    match previous.sa_sigaction {
        libc::SIG_IGN if sent => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // A fault happens again with its instruction, and then ends the process. A signal that was sent
            // has to be raised again; it is pending until this handler returns.
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

/// A thread's alternate signal stack, with a guard. Dropping it restores the previous one.
pub(crate) struct AltStack {
    memory: *mut libc::c_void,
    previous: libc::stack_t,
    thread_bound: PhantomData<*mut ()>,
}

impl AltStack {
    /// Makes one for the calling thread.
    ///
    /// # Errors
    ///
    /// The system's. The thread then keeps the one that it has.
    pub(crate) fn install() -> io::Result<AltStack> {
        let bytes = page_size() + ALTERNATE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let memory =
            unsafe { calls::mmap(ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mut previous = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        // SAFETY: the whole of our own mapping, which stays until the value's drop ends its use.
        match unsafe { set_alternate_stack(memory, &mut previous) } {
            Ok(()) => Ok(AltStack { memory, previous, thread_bound: PhantomData }),
            Err(e) => {
                // SAFETY: our own mapping, which is not in use.
                unsafe { libc::munmap(memory, bytes) };
                Err(e)
            }
        }
    }
}

/// Makes the memory the thread's alternate signal stack, except one page of guard at its low end. Stores the
/// previous stack in `previous`.
///
/// # Safety
///
/// The memory is a page and `ALTERNATE` bytes of the caller's mapping, and stays while it is in use. After an
/// error it is not in use.
unsafe fn set_alternate_stack(memory: *mut libc::c_void, previous: &mut libc::stack_t) -> io::Result<()> {
    // SAFETY: the first page of the caller's mapping.
    check(unsafe { calls::mprotect(memory, page_size(), libc::PROT_NONE) })?;
    let stack =
        libc::stack_t { ss_sp: memory.wrapping_byte_add(page_size()), ss_flags: 0, ss_size: ALTERNATE };
    // SAFETY: the memory stays, as the caller says; both variables live until the call ends.
    check(unsafe { libc::sigaltstack(&raw const stack, previous) }).map(drop)
}

impl Drop for AltStack {
    fn drop(&mut self) {
        // SAFETY: the thread gets its previous stack back; after that the mapping is not in use.
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
