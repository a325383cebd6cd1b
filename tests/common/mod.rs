//! What several tests use, by topic.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    unreachable_pub,
    reason = "each test program uses a part of it"
)]

mod child;
mod drops;
mod ends;
mod futures;
mod memory;
mod net;
mod random;
mod runtime;
mod temp;
mod wait;

pub use child::{captured_command, child, child_command, command, in_child, is_child, own_name, role, text};
pub use drops::{CountOnDrop, SetOnDrop, SleepOnDrop};
pub use ends::{assert_cancelled, fails, message_of};
pub use futures::{Counts, complete, poll, poll_with, waker_that};
pub use memory::{cpu_time, limit_address_space, resident, status, take_all_descriptors};
pub use net::{
    fill_queue, is_nonblocking, kind, listen, pair, pattern, reset_on_drop, set_option, uninterrupted,
};
pub use random::Random;
pub use runtime::{
    both, everywhere, homes_by_default, in_runtime, mixed, on_one_worker, one_worker, one_worker_and_home,
    turns, two_workers, with_workers, without_spare_workers,
};
pub use temp::{Folder, temporary_path};
pub use wait::{LONG, MOMENT, SHORT, eventually, settle, soon, until, waiting};

pub(crate) use child::this_test;
