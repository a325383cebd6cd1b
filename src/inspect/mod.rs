//! What a running program says about itself: the public module `observe` re-exports it.
//!
//! Rank 6: it reads the layers below and changes none of them. Only `runtime`, which starts it,
//! `observe` and `sim` import it.
//!
//! - `subject`: what a wait is for. `stack`: the frames of a coroutine. `symbols`: their names. `stacks`:
//!   those of a dump. `dump`: the facts, as data. `collect`: how they are collected.
//! - `text`, `json`, `summary`: how a dump is written. `signal`: a dump on a signal.
//! - `recorder`: what the flight recorder has recorded, for a while or in the last seconds. `trace`: that as
//!   data. `trace_json`: how it is written.
//! - `stall`: the report of a stall, with the stack. `remedy`: what helps a coroutine that is blocked.
//! - `leak_check`: what a test leaves behind. `leaks`: coroutines that nobody will wake.
//! - `sites`: what the coroutines of each spawn site do and cost.
//! - `graph`, `deadlock`: who waits for whom. `explain`: why a simulation cannot go on. `global`: whether all
//!   wait for ever. `watch`: the thread that looks for deadlocks.

mod collect;
mod deadlock;
mod dump;
#[cfg(sward_sim)]
mod explain;
mod global;
mod graph;
mod json;
mod leak_check;
mod leaks;
mod recorder;
mod remedy;
mod signal;
mod sites;
mod stack;
mod stacks;
mod stall;
mod subject;
mod summary;
mod symbols;
mod text;
mod trace;
mod trace_json;
mod watch;

pub use collect::dump;
pub use deadlock::{Deadlock, Member, deadlocks};
pub use dump::{
    BlockingDump, CallDump, CoroutineDump, CoroutineState, Dump, RuntimeDump, RuntimeMode, RuntimePhase,
    ThreadDump, WaitDump, WorkerDump, WorkerState,
};
#[cfg(sward_sim)]
pub(crate) use explain::explain;
pub use leak_check::{LeakCheck, assert_no_leaks};
pub use leaks::{LeakSearch, Leaks, leaks};
pub(crate) use recorder::set_file as set_trace_file;
pub use recorder::{record, recorded, recorder_off, recorder_on};
#[cfg(feature = "dashboard")]
pub(crate) use recorder::{record_at_most, recorded_at_most};
pub(crate) use signal::{WANT_SIGNAL, dump_on, parse_signal};
pub use sites::{SiteWait, Sites, SpawnSite, StackUse, set_accounting, sites};
pub use stack::{Frame, Stack, StackExtent, Symbol};
pub(crate) use stall::{OnStall, report_stall};
pub use stall::{Stall, StallKind, StalledCoroutine};
pub use subject::{Party, Subject};
pub use trace::{Trace, TraceCoroutine, TraceEvent, TraceEventKind, TraceWorker, WakeCause};
pub(crate) use watch::{count as deadlocks_reported, start as watch_deadlocks};
