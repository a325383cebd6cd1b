//! The settings of a runtime, and the phases of its life.

use crate::netpoll::Backend;
use crate::stack::StackSize;
use std::time::Duration;

/// The settings of a runtime.
pub(crate) struct Config {
    /// The number of workers, without spare ones.
    pub(crate) workers: usize,
    pub(crate) stack_size: StackSize,
    pub(crate) thread_name: String,
    /// Whether started coroutines may move between workers.
    pub(crate) migrate: bool,
    /// The most mobile homes; 0 for none.
    pub(crate) homes: usize,
    /// The length of a turn from which on it counts as a stall.
    pub(crate) stall: Duration,
    /// Which calls on files use io_uring.
    pub(crate) io_uring: RingUse,
    /// The back-end of its shards, unless the system refuses it.
    pub(crate) netpoll: Backend,
    /// Whether waits are checked.
    pub(crate) checks: bool,
    /// Whether it only serves what is seen of the other runtimes. Then it is not seen itself.
    pub(crate) observer: bool,
}

#[cfg(all(test, not(loom)))]
impl Config {
    /// One worker, in default mode, with nothing switched on.
    pub(super) fn of_tests() -> Config {
        Config {
            workers: 1,
            stack_size: StackSize::DEFAULT,
            thread_name: "test".to_owned(),
            migrate: false,
            homes: 0,
            stall: Duration::from_millis(20),
            io_uring: RingUse::Nothing,
            netpoll: crate::netpoll::BACKENDS[0],
            checks: false,
            observer: false,
        }
    }
}

/// Which calls on files use io_uring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RingUse {
    /// None.
    Nothing,
    /// The calls that are faster than on the pool.
    WhatPays,
    /// Also the calls that the kernel hands to threads of its own.
    Everything,
}

/// The phases of a runtime's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// It runs coroutines.
    Running = 0,
    /// Its coroutines are cancelled. Workers leave when all have ended.
    Closing = 1,
    /// The time for that is over. Workers leave as soon as they can, and the remaining coroutines are leaked.
    Abandoned = 2,
}
