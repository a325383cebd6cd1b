//! What a running program says about itself.

#[path = "../checked/mod.rs"]
mod checked;
#[path = "../common/mod.rs"]
mod common;

mod deadlocks;
