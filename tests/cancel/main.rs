//! How waits and coroutines end before their time: by cancellations, tokens and time limits; and what
//! destructors do then. And time: sleeps, deadlines, intervals.

#[path = "../checked/mod.rs"]
mod checked;
#[path = "../common/mod.rs"]
mod common;

mod always_ready;
mod as_error;
mod coroutine;
mod destructors;
mod ended;
mod interval;
mod timeout;
mod token;
mod unwinding;
mod waits_channel;
mod waits_io;
mod waits_sync;
mod waits_task;
