//! What differs between systems: transfers that do not block although the open file is blocking.

#[cfg(all(target_os = "linux", target_env = "gnu", not(sward_portable)))]
mod linux;
#[cfg(not(all(target_os = "linux", target_env = "gnu", not(sward_portable))))]
mod other;

#[cfg(all(target_os = "linux", target_env = "gnu", not(sward_portable)))]
pub(super) use linux::{read_nowait, write_nowait};
#[cfg(not(all(target_os = "linux", target_env = "gnu", not(sward_portable))))]
pub(super) use other::{read_nowait, write_nowait};
