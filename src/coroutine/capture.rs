//! The stacks of suspended coroutines, as addresses.
//!
//! The worker that runs a coroutine's home captures its stack between two turns. Two ways lead there:
//!
//! - The coroutine walks its own stack ([`walk`](super::walk)).
//! - The worker compares: most stacks of a program are equal to one that was walked before. A walk leaves, in
//!   a tree, where each return address is stored. If all words of a path are in the suspended stack, the
//!   stack is that one. This touches no page that the coroutine has not used, and does not run it.
//!
//! # What it costs
//!
//! On a two-core x86-64 machine, in a release build with LTO and without frame pointers:
//!
//! | | |
//! |---|---|
//! | a walk of 10 frames, of 55 | 5.5 µs, 23 µs: 0.4 to 0.5 µs for a frame, all of it in the unwinder |
//! | a comparison of 10 frames, of 55 | 0.05 µs, 0.5 µs, if the stack is in the cache |
//! | a dump of 100,000 coroutines, with about 20 different stacks, and their names | 136 ms the first time, 77 to 111 ms later; tickers on both workers are late by at most 1.7 ms, 2.0 ms without a dump |
//! | a yield | one register more to keep over the switch; the test of the resumption's word is there anyway |
//!
//! Rejected:
//!
//! - To unwind from the saved registers, on the worker's stack. This saves the switch, which costs nothing
//!   beside the walk. libgcc cannot begin there, so another unwinder is needed (`framehop`, `gimli`). That
//!   one has to know each loaded file, and where the switch of each processor saves its registers.
//! - To walk each stack: that touches a page below each coroutine's frames, so that a dump might double the
//!   memory of 100,000 coroutines.
//!
//! # What a comparison proves
//!
//! A path holds the address at which the suspended function goes on, and the return address of each frame
//! further out, each with its place. In a function whose frame has a fixed size, an address settles where the
//! next one is, so by induction two stacks with the same words in the same places have the same frames. A
//! frame of variable size could only mislead if stale words were in all places of another path; then a report
//! shows a wrong stack, and nothing else is touched.

use super::header::Header;
use super::walk::{Extent, Walk};
use crate::base::sys::{GOES_ON_AT, Probe, Sample, sample};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The most bytes of code between two places of the function that suspends.
const NEAR: usize = 1 << 16;
/// The most frames that the tree holds. Other stacks are walked each time.
const MOST_KNOWN: usize = 1 << 16;

/// A stack: return addresses from the innermost frame outwards.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) addresses: Box<[usize]>,
    pub(crate) extent: Extent,
}

impl Trace {
    /// The stack of a thread in its turn, interrupted by a signal; `None` if that was not possible in
    /// `timeout`. It does not end at the coroutine's first frame.
    pub(crate) fn of_thread(thread: Probe, timeout: Duration) -> Option<Arc<Trace>> {
        let Sample { addresses, cut } = sample(thread, timeout)?;
        let extent = if cut { Extent::Cut } else { Extent::Whole };
        Some(Arc::new(Trace { addresses: addresses.into(), extent }))
    }
}

/// One frame of a known stack.
struct Node {
    /// Where its address is stored, from its stack pointer.
    offset: isize,
    address: usize,
    /// The frames that have called it, so far.
    outer: Vec<u32>,
    /// The stack that ends with this frame.
    trace: Option<Arc<Trace>>,
}

/// Captures stacks. Equal ones are the same `Arc`, as a rule.
pub(crate) struct Capture {
    walk: Box<Walk>,
    nodes: Vec<Node>,
    /// The innermost frames.
    inner: Vec<u32>,
    /// How many stacks were walked.
    walked: usize,
}

impl Capture {
    /// One that knows no stacks.
    pub(crate) fn new() -> Capture {
        Capture { walk: Box::new(Walk::new()), nodes: Vec::new(), inner: Vec::new(), walked: 0 }
    }

    /// How many stacks were walked, since they were equal to none that was known.
    #[cfg(test)]
    fn walked(&self) -> usize {
        self.walked
    }

    /// The stack of a suspended coroutine.
    ///
    /// # Safety
    ///
    /// The caller is the worker that runs the coroutine's home, between two turns, or owns the coroutine.
    pub(crate) unsafe fn stack_of(&mut self, header: &Header) -> Arc<Trace> {
        let none = |extent| Arc::new(Trace { addresses: Box::default(), extent });
        // SAFETY: as the caller says.
        let Some((high, first)) = (unsafe { header.suspended_at() }) else {
            return none(Extent::NotStarted);
        };
        let low = high.wrapping_sub(header.stack_size().usable());
        if !(low..high).contains(&first) {
            return none(Extent::NoRoom);
        }
        let stack = Suspended { low, high, first };
        if let Some(trace) = self.known(stack) {
            return trace;
        }
        // Before the walk, which stores other words there.
        let goes_on = stack.goes_on();
        (self.walk.low, self.walk.high, self.walk.first) = (low, high, first);
        self.walked += 1;
        // SAFETY: as the caller says.
        if !unsafe { header.walk(&mut self.walk) } {
            return none(Extent::NotStarted);
        }
        let addresses = self.walk.found().iter().map(|found| found.address).collect();
        let trace = Arc::new(Trace { addresses, extent: self.walk.extent });
        if let Some(links) = self.walk.links(stack, &goes_on) {
            self.learn(&links, &trace);
        }
        trace
    }

    /// The known stack that is equal to this one.
    fn known(&self, stack: Suspended) -> Option<Arc<Trace>> {
        let mut among = &self.inner;
        loop {
            let same = |at: &&u32| {
                let node = &self.nodes[**at as usize];
                stack.word(node.offset) == Some(node.address)
            };
            let node = &self.nodes[*among.iter().find(same)? as usize];
            if let Some(trace) = &node.trace {
                return Some(Arc::clone(trace));
            }
            among = &node.outer;
        }
    }

    /// Adds a path to the tree.
    fn learn(&mut self, links: &[Link], trace: &Arc<Trace>) {
        if self.nodes.len() + links.len() > MOST_KNOWN {
            return;
        }
        let mut parent: Option<usize> = None;
        for Link { offset, address } in links {
            let siblings = parent.map_or(&self.inner, |parent| &self.nodes[parent].outer);
            let same = |at: &&u32| {
                let node = &self.nodes[**at as usize];
                (node.offset, node.address) == (*offset, *address)
            };
            parent = Some(match siblings.iter().find(same) {
                Some(at) => *at as usize,
                None => {
                    let new = self.nodes.len();
                    self.nodes.push(Node {
                        offset: *offset,
                        address: *address,
                        outer: Vec::new(),
                        trace: None,
                    });
                    match parent {
                        Some(parent) => self.nodes[parent].outer.push(new as u32),
                        None => self.inner.push(new as u32),
                    }
                    new
                }
            });
        }
        if let Some(last) = parent {
            self.nodes[last].trace = Some(Arc::clone(trace));
        }
    }
}

/// Where an address is stored in a suspended stack, from its stack pointer.
#[derive(Clone, Copy)]
struct Link {
    offset: isize,
    address: usize,
}

impl Walk {
    /// Where the addresses are stored that make out the stack; `None` if one of them is not found. `goes_on`
    /// was read before the walk.
    fn links(&self, stack: Suspended, goes_on: &[Option<Link>]) -> Option<Vec<Link>> {
        let (innermost, _) = self.found().split_first()?;
        // The innermost address is the call of the walk, in the function that suspends. So it must be near to
        // the one at which that function goes on. It differs from what a coroutine has there that was walked
        // before.
        let near = |link: &&Link| link.address.abs_diff(innermost.address) <= NEAR;
        let goes_on = goes_on.iter().flatten().find(near).filter(|_| innermost.pointer == stack.first)?;
        let mut links = vec![*goes_on];
        for pair in self.found().windows(2) {
            // Each function's return address is in the frame that it has called.
            let [inner, outer] = pair else { unreachable!("windows of two") };
            links.push(stack.find(outer.address, inner.pointer, outer.pointer)?);
        }
        Some(links)
    }
}

/// The used part of a suspended stack.
#[derive(Clone, Copy)]
struct Suspended {
    low: usize,
    high: usize,
    first: usize,
}

impl Suspended {
    /// The word there.
    fn word(self, offset: isize) -> Option<usize> {
        let at = self.first.checked_add_signed(offset)?;
        let fits = at >= self.low && at.checked_add(size_of::<usize>())? <= self.high;
        if !fits || !at.is_multiple_of(align_of::<usize>()) {
            return None;
        }
        // SAFETY: inside of the coroutine's stack, which is readable down to its guard. Another thread may
        // write to a node of a wait list that is there, so this is an atomic load. Such a word is no return
        // address, and any value will do.
        Some(unsafe { AtomicUsize::from_ptr(ptr::with_exposed_provenance_mut(at)) }.load(Ordering::Relaxed))
    }

    /// The words that may be the address at which the function goes on that has suspended.
    fn goes_on(self) -> [Option<Link>; GOES_ON_AT.len()] {
        GOES_ON_AT.map(|below| {
            let offset = -below.cast_signed();
            Some(Link { offset, address: self.word(offset)? })
        })
    }

    /// Where that return address is stored, between these two stack pointers.
    fn find(self, address: usize, from: usize, to: usize) -> Option<Link> {
        // From the outer end: on x86 it is the word just below the outer stack pointer.
        let places = (from.next_multiple_of(size_of::<usize>())..to).step_by(size_of::<usize>()).rev();
        let mut offsets = places.map(|at| at.wrapping_sub(self.first).cast_signed());
        offsets.find(|offset| self.word(*offset) == Some(address)).map(|offset| Link { offset, address })
    }
}

#[cfg(all(test, not(loom), not(target_arch = "arm")))]
mod tests {
    use super::*;
    use crate::base::sys::{MOST_FRAMES as MOST, stack_pointer};
    use crate::coroutine::switch::{Step, Suspend};
    use crate::coroutine::waiter::Waiter;
    use crate::coroutine::walk::ROOM;
    use crate::coroutine::{Id, Schedule, Settings, new};
    use crate::stack::Pool;
    use std::hint::black_box;
    use std::ptr::NonNull;

    struct Nowhere;

    impl Schedule for Nowhere {
        unsafe fn schedule(_: NonNull<Waiter>) {
            unreachable!("nothing wakes it");
        }
    }

    /// A way for a coroutine of the tests to suspend.
    #[derive(Clone, Copy)]
    struct Me(NonNull<Header>);

    // SAFETY: it is used on this thread only.
    unsafe impl Send for Me {}
    // SAFETY: as above.
    unsafe impl Sync for Me {}

    impl Me {
        #[inline(always)]
        fn leave(self) {
            // SAFETY: the coroutine itself calls it.
            unsafe { Header::suspend(self.0.as_ref(), Suspend::Yield) };
        }
    }

    /// Runs a coroutine up to its first suspension, calls `f`, and runs it to its end.
    fn with<R>(
        body: impl Fn(Me) + Send + Sync + 'static,
        f: impl FnOnce(&Header, &mut dyn FnMut() -> Step) -> R,
    ) -> R {
        let settings = Settings::of_tests(Id(1));
        let me = std::sync::Arc::new(std::sync::OnceLock::new());
        let own = std::sync::Arc::clone(&me);
        // SAFETY: nothing is borrowed.
        let (header, handle) = unsafe {
            new::<_, (), Nowhere>(move || body(*own.get().expect("set before the start")), settings)
        };
        assert!(me.set(Me(header)).is_ok());
        let mut pool = Pool::new();
        // SAFETY: the coroutine is this function's until the end, and its state is as these calls want it.
        unsafe {
            Header::start(header, pool.take(header.as_ref().stack_size()).expect("a stack"));
            let mut ended = false;
            let mut resume = || {
                let step = header.as_ref().resume();
                ended |= matches!(step, Step::Finished);
                step
            };
            assert!(matches!(resume(), Step::Suspended(_)));
            let result = f(header.as_ref(), &mut resume);
            while !ended {
                ended = matches!(header.as_ref().resume(), Step::Finished);
            }
            pool.put(header.as_ref().take_stack());
            Header::release(header);
            drop(handle);
            result
        }
    }

    #[inline(never)]
    fn deep(levels: usize, me: Me) {
        if levels > 0 {
            deep(levels - 1, me);
        } else {
            me.leave();
        }
        black_box(&levels);
    }

    fn stack(capture: &mut Capture, header: &Header) -> Arc<Trace> {
        // SAFETY: the coroutine is suspended, and this thread's.
        unsafe { capture.stack_of(header) }
    }

    #[test]
    fn each_call_is_a_frame_and_a_walk_changes_nothing() {
        let mut capture = Capture::new();
        let lens = [2, 12, 12].map(|levels| {
            with(
                move |me| deep(levels, me),
                |header, resume| {
                    let first = stack(&mut capture, header);
                    assert_eq!(first.extent, Extent::Whole);
                    assert_eq!(*stack(&mut capture, header), *first);
                    assert!(matches!(resume(), Step::Finished));
                    first.addresses.len()
                },
            )
        });
        assert_eq!(lens[1], lens[0] + 10);
    }

    /// Linux maps a large new stack below all that is mapped. So here the thread's stack is below the
    /// coroutine's, and everywhere else in these tests it is above, mostly.
    #[test]
    fn a_walk_ends_at_the_base_also_above_the_threads_stack() {
        let trace = || with(|me| deep(5, me), |header, _| stack(&mut Capture::new(), header));
        let here = trace();
        let thread = std::thread::Builder::new().stack_size(256 << 20).spawn(trace).expect("a thread");
        let there = thread.join().expect("no panic");
        assert_eq!((there.addresses.len(), there.extent), (here.addresses.len(), here.extent));
        assert!(here.addresses.len() > 5 && !there.addresses.contains(&0), "{there:?}");
    }

    #[test]
    fn equal_stacks_are_walked_once() {
        let mut capture = Capture::new();
        let mut last = None;
        for _ in 0..100 {
            let trace = with(|me| deep(5, me), |header, _| stack(&mut capture, header));
            assert!(last.is_none_or(|last| last == trace));
            last = Some(trace);
        }
        // Others walk each, or in builds without optimization.
        if cfg!(target_arch = "x86_64") {
            assert_eq!(capture.walked(), 1);
        }
    }

    #[test]
    fn two_places_of_one_function_are_two_stacks() {
        let mut capture = Capture::new();
        let mut places = || {
            with(
                |me| {
                    me.leave();
                    me.leave();
                },
                |header, resume| {
                    let first = stack(&mut capture, header);
                    resume();
                    (first, stack(&mut capture, header))
                },
            )
        };
        let (first, second) = places();
        assert_ne!(first, second);
        assert_eq!((first, second), places());
    }

    #[test]
    fn a_deep_stack_is_cut() {
        let mut capture = Capture::new();
        let trace = with(|me| deep(MOST + 50, me), |header, _| stack(&mut capture, header));
        assert_eq!((trace.addresses.len(), trace.extent), (MOST, Extent::Cut));
        let whole = with(|me| deep(MOST - 50, me), |header, _| stack(&mut capture, header));
        assert_eq!(whole.extent, Extent::Whole);
    }

    #[test]
    fn a_stack_that_is_nearly_full_is_not_walked() {
        #[inline(never)]
        fn fill(left: usize, me: Me) {
            let block = black_box([0_u8; 1024]);
            // SAFETY: the caller is the coroutine.
            let used = unsafe { me.0.as_ref().stack_base() }.addr() - stack_pointer();
            // SAFETY: as above.
            if unsafe { me.0.as_ref() }.stack_size().usable() - used > left {
                fill(left, me);
            } else {
                me.leave();
            }
            black_box(&block);
        }
        let mut capture = Capture::new();
        for (left, walked) in [(ROOM - 3000, false), (ROOM + 3000, true)] {
            let trace = with(move |me| fill(left, me), |header, _| stack(&mut capture, header));
            assert_eq!(trace.extent != Extent::NoRoom, walked, "{left}");
        }
    }

    /// The price of a walk and of a comparison, for a build with optimizations:
    /// `cargo test --release --lib price_of_a_capture -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    fn price_of_a_capture() {
        for levels in [5, 50] {
            with(
                move |me| deep(levels, me),
                |header, _| {
                    let frames = stack(&mut Capture::new(), header).addresses.len();
                    let rounds = 20_000;
                    let mut capture = Capture::new();
                    let begin = std::time::Instant::now();
                    for _ in 0..rounds {
                        capture.inner.clear();
                        capture.nodes.clear();
                        black_box(stack(&mut capture, header));
                    }
                    let walk = begin.elapsed() / rounds;
                    assert_eq!(capture.walked(), rounds as usize);
                    println!("{frames} frames: walked in {walk:?}");
                },
            );
            with(
                move |me| deep(levels, me),
                |header, resume| {
                    let mut capture = Capture::new();
                    let trace = stack(&mut capture, header);
                    let rounds = 100_000;
                    let begin = std::time::Instant::now();
                    for _ in 0..rounds {
                        black_box(stack(&mut capture, header));
                    }
                    let each = begin.elapsed() / rounds;
                    println!(
                        "{} frames, as known: {each:?}, walked {}",
                        trace.addresses.len(),
                        capture.walked()
                    );
                    let _ = resume;
                },
            );
        }
    }
}
