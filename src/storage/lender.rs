//! The lender's thread, and the storage that it lends from its publication to its end.

use super::credentials::Credentials;
use super::loan::{COPY, END, FAILED, Loan, STARTING, loans};
use super::sys;
use crate::base::counted_threads::CountedThread;
use crate::base::new_thread::new_thread;
use crate::base::sys::report;
use std::io;
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

/// The bytes of a lender's stack. It is used at the end only, by the destructors of thread-locals; pages that
/// are not used cost address space and no memory.
const STACK: usize = 256 << 10;

/// How often this process has been forked off, counted from its oldest ancestor.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// What the lender does.
fn serve(loan: &Loan, at_end: fn()) {
    let _own = CountedThread::begin();
    let mask = sys::block_signals();
    if sys::leave_rseq().is_err() {
        loan.set_state(FAILED);
        return;
    }
    loan.publish_pointer();
    while loan.lend() == COPY {
        // A worker is inside and waits: no thread-local, no `errno`, no allocation here.
        // SAFETY: the worker keeps the credentials until it sees the next state.
        unsafe { Credentials::adopt(loan.credentials()) };
    }
    loan.withdraw();
    at_end();
    sys::restore_signals(mask);
}

/// Thread-local storage, lent by a thread that does nothing else.
///
/// Dropping it without [`end`](Storage::end) leaves the lender for ever.
// What `enter` reads comes first, and the niche of an `Option` with it.
#[repr(C)]
pub(crate) struct Storage {
    /// The loan's pointer.
    pointer: NonZeroUsize,
    /// The value of `FORKS` when the lender was started.
    forks: u32,
    loan: &'static Loan,
    /// Not dropped but by `end`: a forked child must not detach a thread that it does not have.
    lender: ManuallyDrop<JoinHandle<()>>,
}

impl Storage {
    /// Starts a lender whose thread has that name and calls `at_end` at its end. This process can have
    /// storages, or is about to find out.
    pub(super) fn start(name: String, at_end: fn()) -> io::Result<Storage> {
        let loan = Loan::take();
        let lender =
            new_thread(name).and_then(|thread| thread.stack_size(STACK).spawn(move || serve(loan, at_end)));
        let lender = lender.inspect_err(|_| loan.release())?;
        if loan.wait_while(STARTING) == FAILED {
            let _ = lender.join();
            loan.release();
            return Err(io::Error::other("a thread's rseq area cannot be unregistered"));
        }
        Ok(Storage {
            pointer: NonZeroUsize::new(loan.pointer()).expect("a block is not at address zero"),
            forks: FORKS.load(Ordering::Relaxed),
            loan,
            lender: ManuallyDrop::new(lender),
        })
    }

    /// Runs the function inside. It does not panic; a panic that leaves it aborts. `again` saves the access
    /// to a cache line of the loan.
    ///
    /// # Safety
    ///
    /// No other thread is inside this storage, and the last thread that was has synchronized with this one.
    /// The calling thread is inside no storage. If `again`, it is the thread that was inside last.
    #[inline]
    pub(crate) unsafe fn enter(&self, again: bool, mut f: &mut dyn FnMut()) {
        self.check_process();
        if !again {
            // In the order of this thread's instructions, the store is before the pointer changes: a signal
            // handler that finds this thread inside finds the own pointer as well.
            self.loan.set_own_pointer();
        }
        // SAFETY: the pointer is the lender's, whose block exists until `end` and, as the caller says, is
        // used by no other thread. `run` gets what it expects.
        unsafe { sys::call_on(self.pointer.get(), run, (&raw mut f).cast()) };
        self.check_process();
    }

    /// Runs the function on the calling thread's own block, and then is inside again. It does not panic; a
    /// panic that leaves it aborts.
    ///
    /// In a forked child, where the own block is not in use any more, it runs inside.
    ///
    /// # Safety
    ///
    /// The calling thread is inside this storage.
    pub(crate) unsafe fn outside(&self, mut f: &mut dyn FnMut()) {
        if self.forks != FORKS.load(Ordering::Relaxed) {
            return f();
        }
        // SAFETY: `enter` has stored the own pointer. Nothing else uses that block while the thread is
        // inside. `run` gets what it expects.
        unsafe { sys::call_on(self.loan.own_pointer(), run, (&raw mut f).cast()) };
    }

    /// Lets the lender return, which runs the destructors of the storage's thread-locals on it.
    ///
    /// In a forked child the lender does not exist; the handle is then another thread's, and no destructor
    /// runs.
    pub(crate) fn end(self) -> JoinHandle<()> {
        if self.forks != FORKS.load(Ordering::Relaxed) {
            return thread::spawn(|| ());
        }
        let lender = ManuallyDrop::into_inner(self.lender);
        self.loan.set_state(END);
        lender
    }

    /// The lender's thread.
    pub(super) fn thread(&self) -> &JoinHandle<()> {
        &self.lender
    }

    /// Aborts in a child that was forked since the lender was started.
    #[inline]
    fn check_process(&self) {
        if self.forks != FORKS.load(Ordering::Relaxed) {
            refuse();
        }
    }
}

/// Calls what `enter` has been given. A panic cannot leave it, because it is an `extern "C"` function.
unsafe extern "C" fn run(f: *mut ()) {
    // SAFETY: a pointer to `enter`'s variable, which lives until this function returns.
    let f = unsafe { &mut *f.cast::<&mut dyn FnMut()>() };
    f();
}

#[cold]
fn refuse() -> ! {
    report(format_args!(
        "sward: a child that was forked in a coroutine may only exec or exit: \
         it has no thread but the one that forked"
    ));
    std::process::abort();
}

/// In a forked child, where only the forking thread exists: no loan has a lender any more. If the thread was
/// inside, the lender's block is its own for good.
pub(super) extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    let pointer = sys::thread_pointer();
    for loan in loans() {
        if loan.forget() == pointer {
            // The kernel keeps writing to the rseq area of the worker's block, which the C library
            // considers as free.
            sys::leave_rseq_of(loan.own_pointer());
        }
    }
}
