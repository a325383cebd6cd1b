//! Which coroutines are inside of `park_blocking`.
//!
//! Every override asks this first, also on plain threads, in signal handlers and in a forked child. So the
//! answer takes no lock and allocates nothing.
//!
//! A *node* belongs to one coroutine while that coroutine is inside. Nodes hang in lists, one for each hash
//! of a coroutine's number. A node is never freed: a list only grows at its head, up to the largest number of
//! coroutines that were inside at a time, and a node without an owner is used again. So a reader may follow
//! a list at any time.
//!
//! Invariant: only the owner writes `owner` of its node, and only the owner uses the cells. The state follows
//! the coroutine: it is found by the coroutine's number, on whatever thread it runs.

use crate::errno::{errno, fail, set_errno};
use crate::watch::is_nonblocking;
use libc::c_int;
use std::any::Any;
use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use sward::task::{catch_cancel, mask};

const LISTS: usize = 256;
const FREE: u64 = 0;
/// After how many calls that need not wait a coroutine lets others have a turn.
const BUDGET: u32 = 64;

/// How many coroutines are inside now. While there is none, an override costs this one load.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

static NODES: [AtomicPtr<Node>; LISTS] = [const { AtomicPtr::new(ptr::null_mut()) }; LISTS];

thread_local! {
    /// Whether a coroutine was ever inside on this thread. On others an override asks no further, and so
    /// touches nothing of the runtime there.
    static USED: Cell<bool> = const { Cell::new(false) };
}

pub(crate) struct Node {
    owner: AtomicU64,
    next: *const Node,
    /// How many calls of `park_blocking` are open.
    depth: Cell<usize>,
    /// Whether an override runs. What it calls is not overridden.
    busy: Cell<bool>,
    /// How many overrides have run since the coroutine last let others have a turn.
    calls: Cell<u32>,
    /// A panic that has come out of a wait. It must not unwind through frames of C.
    panic: Cell<Option<Box<dyn Any + Send>>>,
    /// The process. A forked child has a copy of the node, but no runtime.
    process: Cell<u32>,
}

// SAFETY: `owner` is atomic and `next` never changes. Only the owner uses the cells, and `owner` passes a
// node on with release and acquire.
unsafe impl Sync for Node {}

/// An `Id` hashes as its number.
#[derive(Default)]
struct Number(u64);

impl Hasher for Number {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = (self.0 << 8) | u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The number of the coroutine that runs here. Never `FREE`.
fn coroutine() -> Option<u64> {
    // On a plain thread, and in the scheduler, `current` would make a handle of the thread.
    if !sward::in_coroutine() {
        return None;
    }
    let id = sward::task::current().id()?;
    let mut number = Number::default();
    id.hash(&mut number);
    Some(number.finish())
}

#[inline(never)]
fn used() -> bool {
    USED.try_with(Cell::get).unwrap_or(false)
}

/// Notes that the calling coroutine is inside on this thread. In a runtime whose coroutines migrate, it is
/// called again after each wait.
#[inline(never)]
pub(crate) fn mark_thread() {
    let _ = USED.try_with(|used| used.set(true));
}

fn find(owner: u64) -> Option<&'static Node> {
    let mut at = NODES[owner as usize % LISTS].load(Ordering::Acquire).cast_const();
    // SAFETY: nodes are never freed.
    while let Some(node) = unsafe { at.as_ref() } {
        if node.owner.load(Ordering::Acquire) == owner {
            return Some(node);
        }
        at = node.next;
    }
    None
}

/// A node for that owner, which has none.
fn take(owner: u64) -> &'static Node {
    let list = &NODES[owner as usize % LISTS];
    let mut at = list.load(Ordering::Acquire).cast_const();
    // SAFETY: nodes are never freed.
    while let Some(node) = unsafe { at.as_ref() } {
        let free = node.owner.load(Ordering::Relaxed) == FREE;
        if free && node.owner.compare_exchange(FREE, owner, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            return node;
        }
        at = node.next;
    }
    let node = Box::into_raw(Box::new(Node {
        owner: AtomicU64::new(owner),
        next: ptr::null(),
        depth: Cell::new(0),
        busy: Cell::new(false),
        calls: Cell::new(0),
        panic: Cell::new(None),
        process: Cell::new(0),
    }));
    let mut head = list.load(Ordering::Relaxed);
    loop {
        // SAFETY: nobody else knows the node until it is the head.
        unsafe { (*node).next = head };
        match list.compare_exchange_weak(head, node, Ordering::AcqRel, Ordering::Relaxed) {
            // SAFETY: it is never freed.
            Ok(_) => return unsafe { &*node },
            Err(now) => head = now,
        }
    }
}

/// Runs the closure inside. On a plain thread it only runs it.
pub(crate) fn inside<R>(f: impl FnOnce() -> R) -> R {
    struct Leave(&'static Node);

    impl Drop for Leave {
        fn drop(&mut self) {
            let depth = self.0.depth.get() - 1;
            self.0.depth.set(depth);
            if depth == 0 {
                self.0.calls.set(0);
                drop(self.0.panic.take());
                self.0.owner.store(FREE, Ordering::Release);
                INSIDE.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    let Some(owner) = coroutine() else { return f() };
    let node = match find(owner) {
        Some(node) => node,
        None => {
            let node = take(owner);
            node.process.set(std::process::id());
            INSIDE.fetch_add(1, Ordering::Relaxed);
            node
        }
    };
    node.depth.set(node.depth.get() + 1);
    let _leave = Leave(node);
    mark_thread();
    let value = f();
    if let Some(panic) = node.panic.take() {
        resume_unwind(panic);
    }
    value
}

/// An override that runs for a coroutine inside. Until it is dropped, the calls below it are not overridden.
pub(crate) struct Scope(&'static Node);

impl Drop for Scope {
    fn drop(&mut self) {
        self.0.busy.set(false);
    }
}

impl Scope {
    /// Runs what the override does. As with the real calls, `errno` changes only if it returns -1. A panic
    /// ends the call with `ECANCELED`; [`inside`] goes on with it.
    pub(crate) fn call<R: PartialEq + From<i8>>(self, f: impl FnOnce(&Scope) -> R) -> R {
        let before = errno();
        let outcome = self.guard(|| f(&self)).unwrap_or_else(|| fail(libc::ECANCELED));
        if outcome != R::from(-1) {
            set_errno(before);
        }
        outcome
    }

    /// As `call`, for an operation on a descriptor, or on several. Once in [`BUDGET`] calls the coroutine
    /// first lets others have a turn. A cancellation or a time limit then ends the call with `ECANCELED`,
    /// before it has transferred anything.
    pub(crate) fn call_on<R>(self, fd: Option<c_int>, f: impl FnOnce(&Scope) -> R) -> R
    where
        R: PartialEq + From<i8>,
    {
        self.call(|scope| if scope.goes_on(fd) { f(scope) } else { fail(libc::ECANCELED) })
    }

    fn goes_on(&self, fd: Option<c_int>) -> bool {
        let calls = self.0.calls.get() + 1;
        if calls < BUDGET {
            self.0.calls.set(calls);
            return true;
        }
        if fd.is_some_and(|fd| !may_yield(fd)) {
            return true;
        }
        self.0.calls.set(0);
        let goes_on = catch_cancel(sward::yield_now).is_ok();
        if !goes_on {
            // A caller that tries again must not starve others.
            mask(sward::yield_now);
        }
        mark_thread();
        goes_on
    }

    /// Runs the closure; `None` if it panics.
    pub(crate) fn guard<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        catch_unwind(AssertUnwindSafe(f)).map_err(|panic| self.0.panic.set(Some(panic))).ok()
    }

    pub(crate) fn process(&self) -> u32 {
        self.0.process.get()
    }
}

/// Whether a call on that descriptor may yield. A file and a standard stream may be used with a lock held. A
/// non-blocking pipe or eventfd may be the runtime's own, by which it wakes a worker.
fn may_yield(fd: c_int) -> bool {
    // SAFETY: `stat` is plain data, and the buffer is one.
    let (outcome, stat) = unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        (libc::fstat(fd, &raw mut stat), stat)
    };
    match stat.st_mode & libc::S_IFMT {
        _ if outcome != 0 || (0..=2).contains(&fd) => false,
        libc::S_IFSOCK => true,
        libc::S_IFIFO | 0 => !is_nonblocking(fd),
        _ => false,
    }
}

/// The scope of an override that the calling coroutine has entered. `None` where the real call is due: on
/// plain threads, outside of `park_blocking`, inside of another override, in a forked child, which has no
/// runtime, and in destructors while the coroutine unwinds, where nothing can switch.
#[inline]
pub(crate) fn scope() -> Option<Scope> {
    if INSIDE.load(Ordering::Relaxed) == 0 { None } else { scope_of_coroutine() }
}

#[inline(never)]
fn scope_of_coroutine() -> Option<Scope> {
    if !used() {
        return None;
    }
    let node = find(coroutine()?)?;
    let forked = || node.process.get() != std::process::id();
    if node.busy.get() || std::thread::panicking() || forked() {
        return None;
    }
    node.busy.set(true);
    Some(Scope(node))
}
