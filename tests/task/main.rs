//! Coroutines: how they start, park, end and wait for each other; scopes, sets, task locals and futures.

#[path = "../checked/mod.rs"]
mod checked;
#[path = "../common/mod.rs"]
mod common;

mod cancel;
mod future;
mod join_set;
mod local;
mod metrics;
mod on_ready;
mod park;
mod scope;
mod shutdown;
mod spawn;
mod try_scope;
mod waits_as_futures;
