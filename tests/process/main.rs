//! Child processes: what std's and tokio's own tests cover, and what is particular to parking.

#[path = "../checked/mod.rs"]
mod checked;
#[path = "../common/mod.rs"]
mod common;

mod command;
mod streams;
mod tools;
mod wait;
