//! `sward::sim`: programs with planted bugs, each found and replayed; programs without, in which nothing is
//! found.

// Simulations need the seam of system calls, which the epoll back-end has.
#![cfg(sward_sim)]

#[path = "../checked/mod.rs"]
mod checked;
#[path = "../common/mod.rs"]
mod common;

mod bugs;
mod checks;
mod destructors;
mod disk;
mod history;
mod hosts;
mod linear;
mod network;
mod pools;
mod sound;
mod store;
mod time;
