//! What helps a coroutine that is blocked in the kernel, by the system call in which it is.
//!
//! Rank 6, pure.

/// Calls, by the name that `/proc` leads to, and what helps.
const REMEDIES: &[(&[&str], &str)] = &[
    (
        &["nanosleep", "clock_nanosleep"],
        "it sleeps: call sward::sleep instead, or make the call in sward::blocking or in \
         sward_interpose::park_blocking",
    ),
    (
        &[
            "recvfrom", "recvmsg", "recvmmsg", "sendto", "sendmsg", "sendmmsg", "connect", "accept",
            "accept4", "poll", "ppoll", "select", "pselect6",
        ],
        "it waits for a socket or a pipe that is not sward's, as drivers of databases, resolvers and libraries in \
         C do: make the call in sward::blocking or in sward_interpose::park_blocking",
    ),
    (
        &["read", "readv", "write", "writev"],
        "it reads or writes: use sward's sockets, pipes and files instead, or make the call in sward::blocking; \
         sward_interpose::park_blocking helps as well, unless it is a file",
    ),
    (
        &["pread64", "pwrite64", "openat", "close", "fsync", "fdatasync", "flock"],
        "it uses a file: call sward::fs instead, or make the call in sward::blocking",
    ),
    (
        &["wait4", "waitid"],
        "it waits for a child: use sward::process instead, or make the call in sward::blocking",
    ),
    (
        &["epoll_wait", "epoll_pwait", "epoll_pwait2"],
        "it runs an event loop of its own: run a future of tokio in sward_compat::block_on, and anything else in \
         sward::blocking",
    ),
];

/// What helps in that system call, which may be followed by a comma and the kernel's function. Where the call
/// says nothing, a question.
pub(super) fn remedy(place: Option<&str>) -> &'static str {
    let call = place.map(|place| place.split_once(',').map_or(place, |(call, _)| call));
    REMEDIES.iter().find(|(calls, _)| call.is_some_and(|call| calls.contains(&call))).map_or(
        "does it use a lock, a channel, a sleep or a file of std instead of sward's?",
        |(_, remedy)| remedy,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_its_remedy_whatever_the_kernels_function() {
        assert!(remedy(Some("recvfrom, sk_wait_data")).contains("sward_interpose::park_blocking"));
        assert_eq!(remedy(Some("recvfrom")), remedy(Some("poll")));
        assert!(remedy(Some("nanosleep, hrtimer_nanosleep")).contains("sward::sleep"));
        // For files there are threads only.
        assert!(!remedy(Some("fsync")).contains("park_blocking"));
    }

    #[test]
    fn other_calls_are_a_question() {
        for place in [Some("futex, futex_wait_queue"), Some("system call 4000"), None] {
            assert!(remedy(place).contains("a lock"), "{place:?}");
        }
    }
}
