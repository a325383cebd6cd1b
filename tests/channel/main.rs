//! Channels and `select!`: what crossbeam-channel's suite and Go's `chan_test.go` cover, in coroutines, on
//! plain threads, and between the two.

#[path = "../checked/mod.rs"]
mod checked;
#[path = "../common/mod.rs"]
mod common;

mod broadcast;
mod compile_errors;
mod futures;
mod model;
mod mpmc;
mod oneshot;
mod select;
mod select_fairness;
mod select_meetings;
mod select_syntax;
mod select_topics;
mod wakers;
mod watch;
