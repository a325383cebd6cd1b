//! The two queues of a worker from which other workers steal.

use super::runnable::Runnable;
use crossbeam_deque::Worker as Deque;

/// The worker's ends of the two queues that other workers steal from.
pub(super) struct Deques {
    pub(super) oldest_first: Deque<Runnable>,
    pub(super) newest_first: Deque<Runnable>,
}

impl Deques {
    pub(super) fn new() -> Deques {
        Deques { oldest_first: Deque::new_fifo(), newest_first: Deque::new_lifo() }
    }
}
