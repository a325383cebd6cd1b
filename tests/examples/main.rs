//! The examples as processes of their own, driven over plain sockets by clients that know nothing of
//! coroutines.

#[path = "../checked/mod.rs"]
mod checked;
#[path = "../common/mod.rs"]
mod common;
#[path = "../programs/mod.rs"]
mod programs;

mod http;
mod pipeline;
mod proxy;
mod redis;
mod top;
