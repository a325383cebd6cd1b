//! What a running program says about itself.
//!
//! [`dump`] says what each coroutine of the process does: which ones wait, for what, and since when. Use it
//! when a program hangs or has more coroutines than it should.
//!
//! ```
//! let runtime = sward::runtime::Builder::new().build()?;
//! println!("{}", sward::observe::dump());
//! # drop(runtime);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # On a signal
//!
//! A program that hangs cannot call a function. So let a signal make the dump: with
//! [`Builder::dump_on`](crate::runtime::Builder::dump_on), or without a change of the program by a variable:
//!
//! ```text
//! SWARD_DUMP_SIGNAL=QUIT ./server       then type Ctrl-\, or: kill -QUIT <process>
//! ```
//!
//! The dump goes to stderr, or to the file that `SWARD_DUMP_FILE` names, and the program goes on. This works
//! also while all workers are stuck.
//!
//! # Stalls
//!
//! A *stall* is a turn in which a coroutine keeps its worker for long while others wait. It is reported on
//! stderr; [`Builder::on_stall`](crate::runtime::Builder::on_stall) gets it as a [`Stall`] instead.
//!
//! # Leaks
//!
//! [`leaks`] finds coroutines that nobody will ever wake: for certain behind deadlocks, and as a suspicion
//! large groups that have waited for long in the same place.
//!
//! # In tests
//!
//! [`assert_no_leaks`] at the end of a test finds coroutines that the test has left behind. [`LeakCheck`]
//! does so for tests that share a runtime.
//!
//! # The page
//!
//! With the feature `dashboard`, which is off by default, `serve` shows all of this live, to a browser on the
//! same machine:
//!
//! ```
//! # #[cfg(feature = "dashboard")]
//! # fn main() -> std::io::Result<()> {
//! let server = sward::observe::serve("127.0.0.1:0")?;
//! println!("open http://{}/", server.local_addr());
//! # server.stop();
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "dashboard"))]
//! # fn main() {}
//! ```
//!
//! # The flight recorder
//!
//! A dump says what is. The flight recorder says what happened just before: it keeps the last events of each
//! worker, in a ring of fixed size. The events are spawns, turns with their ends, wake-ups, steals, polls,
//! timers, sleeps, used-up budgets and blocking calls. An event takes about ten nanoseconds, so a program may
//! have it on all the time ([`recorder_on`], [`Builder::record`](crate::runtime::Builder::record),
//! `SWARD_RECORD=1`). Off, it costs nothing that can be measured.
//!
//! [`record`] records for a while from now on. [`recorded`] returns the last seconds. Both return a
//! [`Trace`]: data, which [`Trace::write_to`] writes in the format that <https://ui.perfetto.dev> and
//! <https://speedscope.app> open.
//!
//! If it is on, the last ten seconds are written to a file when a signal asks for a dump, a stall or a
//! deadlock is reported: to the file that `SWARD_RECORD_FILE` names, or else beside `SWARD_DUMP_FILE` (for
//! `dump.json`: `dump.trace.json`), or else nowhere. The first trace has that name; the next ones are
//! numbered (`trace.2.json`), and later ones replace the sixteenth.
//!
//! # JSON
//!
//! [`Dump::to_json`] writes one object. Programs that read it ignore fields that they do not know. `version`
//! grows when a field changes its meaning or goes away. `null` stands for what is not known or does not
//! apply. Times are in milliseconds, with fractions; addresses are strings such as `"0x7f00"`.
//!
//! ```text
//! dump        version: 1, process, time_ms (since 1970), took_ms, runtimes: [runtime], threads: [thread],
//!             stacks: [stack], blocking, lost_panics
//! runtime     name, phase: "running" | "closing" | "abandoned",
//!             mode: "pinned" | "mobile_homes" | "migrating", netpoll: name, complete, unstarted,
//!             idle_connections, active_connections, workers: [worker], coroutines: [coroutine]
//! worker      index, state: "asleep" | "awake" | "running" | "left", coroutine: id | null, live, assigned,
//!             queued, since_poll_ms, blocked_in: call | null
//! coroutine   id, name: string | null, spawned_at: {file, line, column}, parent: id | null,
//!             state: "running" | "runnable" | "parked", wait: wait | null, cancelled, worker: index | null,
//!             stack: index in stacks | null, stack_size (bytes), complete
//! wait        call, lasts_ms, ends_in_ms: number | null, masked, subject: subject | null
//! thread      number | null, coroutine: id | null, name: string | null, wait
//! subject     {kind: "lock", address, holder: party | null, readers}
//!             | {kind: "semaphore", address, available, total, taken_by: party | null}
//!             | {kind: "channel", address, len, capacity: number | null, senders, receivers: number | null}
//!             | {kind: "count", address, missing}
//!             | {kind: "coroutine", id} | {kind: "coroutines", left: [{id}], count, all}
//!             | {kind: "child", pid} | {kind: "any", of: [subject]}
//!             | {kind: "descriptor", fd, local: address | null, peer: address | null}
//!             | {kind: "address", address}
//! party       {coroutine: id} | {thread: number}
//! stack       extent: "whole" | "cut" | "no_room", frames: [frame], from the innermost call outwards
//! frame       address, symbols: [{name, file, line}], from the innermost inlined function outwards
//! blocking    threads, idle, queued, running: [call]
//! call        number, caller: party | null, made_at: {file, line, column}, lasts_ms
//! ```
//!
//! [`Deadlock::to_json`] writes a `deadlock`, and [`Dump::to_summary_json`] a `summary`: a dump whose
//! coroutines are grouped and counted.
//!
//! ```text
//! deadlock    version: 1, members: [member], waiting_behind
//! member      coroutine: id | null (a plain thread), name: string | null,
//!             spawned_at: {file, line, column} | null, call, waits_for: text | null,
//!             subject: subject | null, stack: stack | null
//! summary     version: 1, process, time_ms, took_ms, runtimes: [those below], calls: [{call, count,
//!             longest_ms}], sites: [{file, line, column, count}], more_sites, threads: [thread],
//!             more_threads, stacks: [stack], blocking
//!   runtime   name, phase, mode, complete, unstarted, running, runnable, parked, workers: [worker, and
//!             runs: {id, name, spawned_at, stack} | null], groups: [group], more_groups, in_more_groups
//!   group     count, state, cancelled, spawned_at, call: string | null,
//!             lasts_ms: {least, most} | null, waits_for: [{subject: text, count}], more_subjects,
//!             members: [{id, name}] (the first ones), stack: index in stacks | null
//! ```
//!
//! # Spawn sites
//!
//! [`sites`] says what the coroutines of each call that spawns do and cost: processor time, the longest turn,
//! how long they wait for their turns, what they wait for, how deep their stacks are. Use it to find where
//! time and memory go. Most figures need *accounting*, which costs a little: switch it on with
//! [`Builder::accounting`](crate::runtime::Builder::accounting), `SWARD_ACCOUNTING=1`, or
//! [`set_accounting`].
//!
//! [`Sites::to_json`] writes one object, under the same rules as above:
//!
//! ```text
//! sites       version: 1, process, accounting, accounted_ms, outside_of_turns_ms, netpoller_ms,
//!             sites: [site]
//! site        spawned_at: {file, line, column}, alive, parked, runnable, started, ended, turns,
//!             processor_time_ms, longest_turn_ms, run_delay, waits: [wait], stack
//! run_delay   count, sum_ms, classes: [{below_ns, count}], from the shortest on, without empty ones
//! wait        call, ended, time_ms, present, longest_present_ms
//! stack       size, suspended, deepest, measured, suggested: bytes | null
//! ```

#[cfg(feature = "dashboard")]
mod dashboard;

#[cfg(feature = "dashboard")]
pub use dashboard::{Dashboard, Server, serve};

// Rank 10: what a user sees of `inspect`, and what is built above it.

pub use crate::base::histogram::Histogram;
pub use crate::inspect::{
    BlockingDump, CallDump, CoroutineDump, CoroutineState, Deadlock, Dump, Frame, LeakCheck, LeakSearch,
    Leaks, Member, Party, RuntimeDump, RuntimeMode, RuntimePhase, Stack, StackExtent, Stall, StallKind,
    StalledCoroutine, Subject, Symbol, ThreadDump, WaitDump, WorkerDump, WorkerState, assert_no_leaks,
    deadlocks, dump, leaks,
};
pub use crate::inspect::{SiteWait, Sites, SpawnSite, StackUse, set_accounting, sites};
pub use crate::inspect::{
    Trace, TraceCoroutine, TraceEvent, TraceEventKind, TraceWorker, WakeCause, record, recorded,
    recorder_off, recorder_on,
};
