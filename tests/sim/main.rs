//! `sward::sim`: programs with planted bugs, each found and replayed; programs without, in which nothing is
//! found.

#![cfg(target_os = "linux")]

#[path = "../checked/mod.rs"]
mod checked;

mod bugs;
mod disk;
mod hosts;
mod network;
mod pools;
mod sound;
mod store;
mod time;
