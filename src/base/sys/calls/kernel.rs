//! The kernel's calls.

#[cfg(all(any(target_os = "linux", target_os = "android"), target_pointer_width = "64"))]
pub(crate) use super::direct::{recv, send};
#[cfg(not(all(any(target_os = "linux", target_os = "android"), target_pointer_width = "64")))]
pub(crate) use libc::{recv, send};

#[cfg(sward_backend = "epoll")]
pub(crate) use super::epoll::{epoll_create1, epoll_ctl, epoll_pwait2, epoll_wait, eventfd};
#[cfg(sward_ppoll)]
pub(crate) use libc::ppoll;
#[cfg(not(target_vendor = "apple"))]
pub(crate) use libc::{accept4, socket, socketpair};
pub(crate) use libc::{
    bind, connect, getpeername, getsockname, getsockopt, listen, read, readv, recvfrom, recvmsg, sendmsg,
    sendto, setsockopt, shutdown, write, writev,
};
pub(crate) use libc::{madvise, mmap, mprotect};
