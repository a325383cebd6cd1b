//! What concerns a whole process: limits, signals, forks, its end, its default runtime, its memory. Most
//! tests run themselves again in a child process, where they are alone.

#[path = "../checked/mod.rs"]
mod checked;
#[path = "../common/mod.rs"]
mod common;
#[path = "../programs/mod.rs"]
mod programs;

mod accept;
mod blocking;
mod debuggers;
mod default_runtime;
mod environment;
mod fork;
mod interference;
mod life;
mod memory;
mod overflow;
mod peers;
mod reports;
mod retained;
mod sanitizers;
#[cfg(feature = "signal")]
mod signal;
mod stacks;
mod system_calls;
mod thread_exit;
mod versions;
