//! Whether this process can have storages: the facts that they rely on, and a self-test.
//!
//! Probed once, at the first question. The order matters: each step relies on the ones before it.
//!
//! 1. What [`sys`] knows about the processor, the kernel and the C library.
//! 2. A thread starts and can leave its rseq area. Since it is the first, glibc's handler for signal 33 is
//!    installed now.
//! 3. That handler can be wrapped.
//! 4. Two threads enter a storage one after the other. Each finds what the storage has to hold, and its own
//!    thread-locals afterwards.
//!
//! Sanitizers are no reason to refuse: to them a lender is a thread, and a worker inside is that thread. One
//! limit: AddressSanitizer takes the frames of functions from memory of the thread if it looks for uses after
//! return (`detect_stack_use_after_return`, on by default). A lender that handles signal 33 then takes one
//! beside the worker inside, and a false report is possible in programs that call `setuid` and its kin.

use super::lender::{self, Storage};
use super::{setxid, sys};
use crate::base::local::thread_locals;
use crate::base::new_thread::new_thread;
use once_cell::sync::OnceCell;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::unix::thread::JoinHandleExt;
use std::sync::Mutex;
use std::thread::{self, ThreadId};

/// Why this process cannot have storages.
#[derive(Debug)]
pub(crate) struct Unsupported(String);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unsupported {}

/// Whether this process can have storages.
pub(crate) fn supported() -> Result<(), &'static Unsupported> {
    static RESULT: OnceCell<Result<(), Unsupported>> = OnceCell::new();
    RESULT.get_or_init(|| probe().map_err(Unsupported)).as_ref().copied()
}

impl Storage {
    /// Starts a lender whose thread has that name. It calls `at_end` after the end of the storage, before the
    /// destructors of its thread-locals run.
    ///
    /// # Errors
    ///
    /// The system's, if it has no more threads; an [`Unsupported`] if this process cannot have storages.
    ///
    /// # Panics
    ///
    /// If the name contains a null byte.
    pub(crate) fn lend(name: String, at_end: fn()) -> io::Result<Storage> {
        supported().map_err(io::Error::other)?;
        Storage::start(name, at_end)
    }
}

fn probe() -> Result<(), String> {
    sys::check()?;
    let first = new_thread("sward-probe").and_then(|thread| thread.spawn(sys::leave_rseq));
    let first = first.map_err(|e| format!("no thread for the probe: {e}"))?;
    first.join().map_err(|_| "the probe's thread panicked")??;
    if !setxid::wrap() {
        return Err("the C library's handler for signal 33 cannot be wrapped".into());
    }
    // SAFETY: the function uses atomics and raw system calls, which is allowed in a forked child.
    if unsafe { libc::pthread_atfork(None, None, Some(lender::in_child)) } != 0 {
        return Err("no function can be registered for forked children".into());
    }
    self_test()
}

thread_locals! {
    static MARK: Cell<u32> = Cell::new(0);
    fn mark(value: u32) -> u32 = |mark| mark.replace(value), destroyed: 0;
}

/// What a thread finds in its storage.
#[derive(Clone, Copy, PartialEq)]
struct Finding {
    pointer: usize,
    guards: [usize; 2],
    pthread: libc::pthread_t,
    thread: ThreadId,
    errno: i32,
    mark: u32,
}

impl Finding {
    /// Takes the thread's mark and `errno`, and leaves others.
    fn replace(errno: i32, mark: u32) -> Finding {
        // SAFETY: the call has no conditions.
        let pthread = unsafe { libc::pthread_self() };
        Finding {
            pointer: sys::thread_pointer(),
            guards: sys::guards(),
            pthread,
            thread: thread::current().id(),
            errno: sys::swap_errno(errno),
            mark: self::mark(mark),
        }
    }
}

fn self_test() -> Result<(), String> {
    let storage = Storage::start("sward-probe".into(), || ()).map_err(|e| format!("no lender: {e}"))?;
    let carried = Mutex::new(Vec::new());
    let results: [_; 2] = std::array::from_fn(|turn| {
        // The second begins when the first has ended, so they exclude one another and synchronize.
        let visit = || visit(&storage, turn as u32, &carried);
        thread::scope(|scope| {
            let visitor = new_thread("sward-probe").and_then(|thread| thread.spawn_scoped(scope, visit));
            visitor
                .map_err(|e| format!("no thread for the self-test: {e}"))?
                .join()
                .map_err(|_| "the self-test panicked".to_owned())?
        })
    });
    let ended = storage.end().join();
    results.into_iter().collect::<Result<(), _>>()?;
    ended.map_err(|_| "the self-test's lender panicked".to_owned())
}

/// One turn of the self-test.
fn visit(storage: &Storage, turn: u32, carried: &Mutex<Vec<u8>>) -> Result<(), String> {
    const BYTES: usize = 40;
    let (lender, pthread) =
        (storage.thread().thread().id(), storage.thread().as_pthread_t() as libc::pthread_t);
    let before = Finding::replace(70, 700);
    let mut inside = None;
    // SAFETY: the two turns are one after the other, each on a thread of its own.
    unsafe {
        storage.enter(false, &mut || {
            // What one turn allocates, the other frees.
            *carried.lock().expect("no turn panics") = vec![turn as u8; BYTES];
            inside = Some(Finding::replace(10 + turn as i32, 100 + turn));
        });
    }
    let after = Finding::replace(0, 0);
    let inside = inside.ok_or("nothing ran inside")?;
    let own = Finding { errno: 70, mark: 700, ..before };
    let facts = [
        (after == own, "a thread's own storage is not what it was before"),
        (inside.pointer != own.pointer, "the thread pointer did not change"),
        (inside.guards == own.guards, "threads differ in what protects their stacks"),
        (inside.pthread == pthread, "the C library takes the thread for another one"),
        (inside.thread == lender, "std takes the thread for another one"),
        (turn == 0 || (inside.errno, inside.mark) == (10, 100), "thread-locals are not where they were left"),
        (turn == 1 || inside.mark == 0, "a new storage is not new"),
    ];
    match facts.iter().find(|(good, _)| !good) {
        None => Ok(()),
        Some((_, fault)) => Err(format!("the self-test failed: {fault}")),
    }
}
