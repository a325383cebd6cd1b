//! The decision tree of the books and papers, with sward's answer at each leaf.

use crate::suite::grid::{Part, Words};

/// Question, answer to it, what the sources advise, what one writes with sward.
const LEAVES: [[&str; 3]; 11] = [
    [
        "Few things to wait for (some dozens), no memory to save",
        "A thread each, blocking calls",
        "The same code as `std::thread`; sward only adds deadlines, cancellation and `select!`",
    ],
    [
        "Many sockets, pipes, terminals",
        "epoll or kqueue, edge-triggered, read until `EAGAIN`; not select or poll",
        "`sward::net`, `sward::io::Pollable`: a read parks the coroutine, and the worker waits in epoll",
    ],
    [
        "Many connections, most of them idle",
        "A state machine for each, so that an idle one is a record and not a stack",
        "`sward::net::serve`, `task::on_ready`: a coroutine only while there is something to do",
    ],
    [
        "Control flow with many steps",
        "Callbacks, `async` functions, or coroutines with stacks",
        "Coroutines with stacks: `?`, loops and destructors as in blocking code, also through foreign crates",
    ],
    [
        "Regular files",
        "Always \"ready\", so never a poller: a pool of threads, or io_uring",
        "`sward::fs`: in place what is in memory, else on the pool, or on io_uring with `SWARD_IO_URING=1`",
    ],
    [
        "Names (`getaddrinfo`)",
        "A pool of threads, or a resolver of one's own",
        "`sward::net` looks names up on the pool",
    ],
    [
        "A C library or a driver that blocks",
        "A pool of threads",
        "`sward::blocking(|| ...)`: may borrow the caller's locals",
    ],
    [
        "Long computation",
        "As many threads as processors, apart from the threads that wait",
        "`sward::blocking`; or mobile homes, which others take away from it; or `yield_now` in between",
    ],
    ["Timers", "A heap or a wheel beside the poller", "`sward::sleep`, deadlines, `time::timeout`"],
    [
        "Child processes and signals",
        "pidfd, signalfd or a pipe to oneself",
        "`sward::process`, `sward::signal`",
    ],
    [
        "The last byte and the last percent of one core count",
        "An event loop by hand, on epoll or io_uring",
        "Write the loop; the table of connections has the distance",
    ],
];

pub fn run() -> Vec<Part> {
    let columns = ["What waits", "The sources' advice", "With sward"];
    vec![Part::Words(Words {
        title: "The decision tree".into(),
        columns: columns.map(str::to_owned).into(),
        rows: LEAVES.map(|leaf| leaf.map(str::to_owned).into()).into(),
    })]
}
