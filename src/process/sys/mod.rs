//! What differs between systems: a descriptor that is readable once a child has ended.

#[cfg(all(any(target_os = "linux", target_os = "android"), not(sward_portable)))]
mod linux;
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(sward_portable))))]
mod other;

#[cfg(all(any(target_os = "linux", target_os = "android"), not(sward_portable)))]
pub(super) use linux::open_pidfd;
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(sward_portable))))]
pub(super) use other::open_pidfd;
