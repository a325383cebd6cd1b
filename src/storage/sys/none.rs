//! No storages here. The probe refuses, so the rest is never called.

use std::sync::atomic::{AtomicU32, AtomicUsize};

const NEVER: &str = "the probe has refused";

pub(crate) fn check() -> Result<(), &'static str> {
    Err("only Linux with glibc, on x86-64 and AArch64, lets a program set its thread pointer, and not under \
         ThreadSanitizer")
}

pub(crate) fn thread_pointer() -> usize {
    unreachable!("{NEVER}")
}

pub(crate) unsafe fn call_on(_: usize, _: unsafe extern "C" fn(*mut ()), _: *mut ()) {
    unreachable!("{NEVER}")
}

pub(crate) fn guards() -> [usize; 2] {
    unreachable!("{NEVER}")
}

pub(crate) fn swap_errno(_: i32) -> i32 {
    unreachable!("{NEVER}")
}

pub(crate) fn futex_wait(_: &AtomicU32, _: u32) {
    unreachable!("{NEVER}")
}

pub(crate) fn futex_wake(_: &AtomicU32) {
    unreachable!("{NEVER}")
}

pub(crate) fn publish_and_wait(_: &AtomicU32, _: u32) -> u32 {
    unreachable!("{NEVER}")
}

pub(crate) fn thread_id() -> i32 {
    unreachable!("{NEVER}")
}

pub(crate) fn block_signals() -> u64 {
    unreachable!("{NEVER}")
}

pub(crate) fn restore_signals(_: u64) {
    unreachable!("{NEVER}")
}

pub(crate) fn leave_rseq() -> Result<(), &'static str> {
    unreachable!("{NEVER}")
}

pub(crate) fn occupy_rseq() -> Result<(), libc::c_int> {
    unreachable!("{NEVER}")
}

#[cfg_attr(not(test), allow(dead_code))] // Only tests ask.
pub(crate) fn no_rseq() -> Result<(), &'static str> {
    unreachable!("{NEVER}")
}

pub(crate) fn leave_rseq_of(_: usize) {
    unreachable!("{NEVER}")
}

pub(crate) fn wrap_setxid(
    _: unsafe extern "C" fn(libc::c_int, *mut libc::c_void, *mut libc::c_void),
    _: &AtomicUsize,
) -> bool {
    unreachable!("{NEVER}")
}

pub(crate) unsafe fn has_signalled_itself(_: *mut libc::c_void) -> bool {
    unreachable!("{NEVER}")
}

pub(crate) fn users() -> [u32; 3] {
    unreachable!("{NEVER}")
}

pub(crate) fn group() -> [u32; 3] {
    unreachable!("{NEVER}")
}

pub(crate) fn groups(_: &mut [u32]) -> Option<usize> {
    unreachable!("{NEVER}")
}

pub(crate) fn set_users(_: [u32; 3]) -> bool {
    unreachable!("{NEVER}")
}

pub(crate) fn set_group(_: [u32; 3]) -> bool {
    unreachable!("{NEVER}")
}

pub(crate) fn set_groups(_: &[u32]) -> bool {
    unreachable!("{NEVER}")
}

pub(crate) fn map(_: usize) -> Option<*mut libc::c_void> {
    unreachable!("{NEVER}")
}

pub(crate) fn unmap(_: *mut libc::c_void, _: usize) {
    unreachable!("{NEVER}")
}
