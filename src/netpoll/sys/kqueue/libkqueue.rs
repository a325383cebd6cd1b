//! The declarations of libkqueue, an emulation of kqueue on Linux.
#![allow(non_camel_case_types)]

use libc::{c_int, c_void, timespec};

/// An entry of a change list or an event list.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct kevent {
    pub(super) ident: usize,
    pub(super) filter: i16,
    pub(super) flags: u16,
    pub(super) fflags: u32,
    pub(super) data: isize,
    pub(super) udata: *mut c_void,
}

pub(super) const EVFILT_READ: i16 = -1;
pub(super) const EVFILT_WRITE: i16 = -2;
pub(super) const EVFILT_USER: i16 = -11;
pub(super) const EV_ADD: u16 = 0x0001;
pub(super) const EV_DELETE: u16 = 0x0002;
pub(super) const EV_CLEAR: u16 = 0x0020;
pub(super) const EV_RECEIPT: u16 = 0x0040;
pub(super) const EV_ERROR: u16 = 0x4000;
pub(super) const EV_EOF: u16 = 0x8000;
pub(super) const NOTE_TRIGGER: u32 = 0x0100_0000;

/// It has no filter of out-of-band data.
pub(super) const OUT_OF_BAND: Option<(i32, u32)> = None;

#[link(name = "kqueue")]
unsafe extern "C" {
    pub(super) fn kqueue() -> c_int;
    pub(super) fn kevent(
        queue: c_int,
        changes: *const kevent,
        count: c_int,
        events: *mut kevent,
        room: c_int,
        timeout: *const timespec,
    ) -> c_int;
}
