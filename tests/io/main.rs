//! Pipes, the standard streams, copying, other descriptors, and files: what std's and tokio's own tests
//! cover, and what is particular to parking.

#[path = "../checked/mod.rs"]
mod checked;
#[path = "../common/mod.rs"]
mod common;

mod copy;
mod fs;
mod fs_cached;
mod fs_fifo;
mod fs_in_place;
mod fs_lock;
mod fs_ring;
mod pipe;
mod poll;
mod pollable;
mod stdio;
