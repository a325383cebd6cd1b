//! The end of a runtime, as the public documentation of [`runtime`](crate::runtime#shutdown) describes it.
//!
//! ```text
//!  phase        entered when                what the workers do
//!  Running      it starts                   run coroutines
//!  Closing      the runtime is dropped      cancel all that lives on them, and leave when nothing is alive,
//!                                           queued, or counted as assigned anywhere
//!  Abandoned    the timeout has passed      leave when they have nothing to run; the rest is leaked
//! ```
//!
//! The thread that drops the runtime waits for the workers, stops the netpoller thread, retires the shards,
//! so that waits on their sources fail, and ends the unstarted coroutines that are left in queues. A thread
//! that pushes an unstarted coroutine after that ends it itself (`Shared::discard_if_closed`): it pushes
//! and then reads `closed`, while the shutdown sets `closed` and then drains the queues, so one of the two
//! sees it. The timers of futures are ended in the same way (`sched/future_timer.rs`).

use crate::base::fork;
use crate::base::new_thread::new_thread;
use crate::base::sys::report;
use crate::coroutine::{Batch, Label, WaitReason};
use crate::sched::{AbortOnPanic, Phase, Remote, Shared, is_worker_of};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a shutdown waits for coroutines to unwind.
pub(super) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long abandoned workers have to leave.
const GRACE: Duration = Duration::from_millis(200);
/// The time between two checks whether they have left.
const GRACE_STEP: Duration = Duration::from_millis(5);
/// How many leaked coroutines the report names.
const MAX_NAMED_LEAKS: usize = 10;
/// How many of a runtime's threads are not workers.
const NETPOLLER: usize = 1;

/// Shuts a runtime down. Blocks the thread, unless it is one of the runtime's own workers: then another
/// thread waits for the end.
pub(super) fn shut_down(shared: &Arc<Shared>, timeout: Duration) {
    // A forked child has none of the threads.
    if fork::forked() || shared.phase() != Phase::Running {
        return;
    }
    let now = Instant::now();
    let deadline = now.checked_add(timeout).unwrap_or(now + Duration::from_secs(1 << 30));
    shared.enter(Phase::Closing);
    if !is_worker_of(shared) {
        return wait_for_end(shared, timeout, deadline);
    }
    let name = format!("{}-shutdown", shared.config().thread_name);
    let shared = Arc::clone(shared);
    let helper = move || {
        let _bomb = AbortOnPanic;
        wait_for_end(&shared, timeout, deadline);
    };
    // If the system has no thread for it, the workers leave all the same, and the netpoller thread sleeps on.
    let _ = new_thread(name).and_then(|thread| thread.spawn(helper));
}

/// Waits until the threads of a runtime have ended, or for so long, and ends what is left of it.
pub(super) fn wait_for_end(shared: &Arc<Shared>, timeout: Duration, deadline: Instant) {
    let quiet = shared.threads.wait_for(NETPOLLER, deadline);
    if !quiet {
        report_leaks(shared, timeout);
        shared.enter(Phase::Abandoned);
        wait_for_abandoned(shared);
    }
    if shared.homes().any(|home| home.live() != 0) {
        // Leaked coroutines refer to the runtime for ever.
        std::mem::forget(Arc::clone(shared));
    }
    // Code in a home may have made a worker's thread use memory of the home's thread-locals, such as a signal
    // stack. So these stay if a worker does.
    let workers_ended = quiet || shared.threads.wait_for(NETPOLLER, Instant::now());
    shared.netpoller.stop();
    if workers_ended {
        shared.threads.adopt(shared.mobile.end());
    }
    if quiet {
        shared.threads.wait_for(0, Instant::now() + GRACE);
    }
    shared.threads.join_finished();
    let mut batch = Batch::new();
    for remote in &shared.remotes {
        remote.shard.retire(&mut batch);
    }
    batch.wake();
    shared.closed.store(true, Ordering::SeqCst);
    shared.discard_unstarted();
    let mut batch = Batch::new();
    shared.end_future_timers(&mut batch);
    batch.wake();
    // This is the end of the runtime, unless a thread is left that holds it as well.
    drop(shared.threads.alive.lock().take());
}

/// Gives the workers time to leave, except for a worker that stays inside of one turn.
fn wait_for_abandoned(shared: &Shared) {
    let deadline = Instant::now() + GRACE;
    let turns = || shared.active_remotes().iter().map(|remote| remote.running.turns());
    let mut before: Vec<_> = turns().collect();
    while !shared.threads.wait_for(NETPOLLER, Instant::now() + GRACE_STEP) && Instant::now() < deadline {
        let stays =
            |remote: &Remote, before| remote.running.id().is_some() && remote.running.turns() == before;
        let mut remotes = shared.active_remotes().iter().zip(before);
        if remotes.all(|(remote, before)| remote.left.load(Ordering::Acquire) || stays(remote, before)) {
            return;
        }
        before = turns().collect();
    }
}

fn report_leaks(shared: &Shared, timeout: Duration) {
    let mut lines = String::new();
    let mut count = 0;
    let mut leak = |label: Label<'_>, reason: WaitReason| {
        count += 1;
        if count <= MAX_NAMED_LEAKS {
            let _ = write!(lines, "\n  {label}, in {}", reason.describe());
        }
    };
    for home in shared.homes() {
        home.for_each_listed(|header| {
            // SAFETY: listed coroutines are alive.
            let header = unsafe { header.as_ref() };
            leak(header.label(), header.reason());
        });
    }
    for remote in shared.active_remotes() {
        if let Some(id) = remote.running.id()
            && remote.running_home().has_first_turn()
            && let Some(site) = remote.running.first_site_of(id)
        {
            leak(Label { id, name: None, site }, WaitReason::None);
        }
    }
    if count > MAX_NAMED_LEAKS {
        let _ = write!(lines, "\n  and {} more", count - MAX_NAMED_LEAKS);
    }
    let what = if count == 1 {
        "1 coroutine has not unwound".to_owned()
    } else {
        format!("{count} coroutines have not unwound")
    };
    let are = if count == 1 { "is" } else { "are" };
    report(format_args!("sward: shutdown: {what} within {timeout:?} and {are} leaked:{lines}"));
}
