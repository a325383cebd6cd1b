//! What the report of a stall adds: where the coroutine is that keeps its worker.

use super::recorder::write_past;
use super::stacks::Stacks;
use super::text::Frames;
use crate::base::counted_threads::CountedThread;
use crate::base::sys::report;
use crate::sched::{self, Shared};
use std::sync::Arc;
use std::thread;

/// The stack of the thread. Finding the names of functions takes some of it.
const STACK: usize = 512 << 10;

/// Reports the stack of the coroutine that is in that turn of a worker. Another thread does so, since finding
/// the names of functions takes a while. Nothing is reported if the turn ends before, or the system cannot
/// say.
pub(crate) fn report_stack_of_turn(shared: &Arc<Shared>, worker: usize, turn: u64) {
    let shared = Arc::clone(shared);
    let thread = thread::Builder::new().name("sward-report".to_owned()).stack_size(STACK);
    // Without the thread there is the first line of the report.
    let _ = thread.spawn(move || {
        let _own = CountedThread::begin();
        let sampled = sched::sample_turn(&shared, worker, turn);
        // The runtime may end meanwhile.
        drop(shared);
        if let Some((id, trace)) = sampled
            && let Some(stack) = Stacks::of([&trace].into_iter()).get(&trace)
        {
            let frames = Frames(&stack).to_string();
            report(format_args!("sward: coroutine #{id} was here:\n{}", frames.trim_end()));
        }
        write_past("the stall");
    });
}
