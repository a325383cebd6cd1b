//! Restartable sequences (rseq): an area in each thread's block, which glibc registers with the kernel. The
//! kernel writes the number of the processor to it, on which the registered kernel thread runs.
//!
//! In a lender's block that number would be the processor of the lender, not of the worker that is inside. So
//! the lender leaves: the kernel writes to the block no more, and the area says that there is no
//! registration. `sched_getcpu` and allocators that use rseq then take their other way. A worker's own area
//! stays registered: the kernel writes to the worker's own block while the worker is inside another.
//!
//! A kernel thread has one area at most, and a worker's is never in a lender's block. Otherwise the kernel
//! would write the worker's processor there while another worker is inside, and go on after the block's end.
//! glibc registers no area if it is older than 2.35, or if a tunable says so; a library may then register one
//! of its own when it is first used, which may be inside. So the worker [occupies](occupy_rseq) its
//! registration first, and the library's fails, as it may on any thread.

use super::arch::{RSEQ_SIGNATURE, syscall};
use super::thread_pointer;
use std::cell::UnsafeCell;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicIsize, Ordering};

/// The flag of the system call that ends a registration.
const UNREGISTER: usize = 1;
/// What an area's `cpu_id` says after a registration has failed: -2, "do not try again".
const REGISTRATION_FAILED: u32 = -2_i32 as u32;
/// The length of the first version, and of every area that glibc registers unless the kernel asks for more.
const LENGTH: usize = 32;
/// No area is longer.
const MOST: usize = 1024;

/// The start of an area.
#[repr(C)]
struct Area {
    cpu_id_start: u32,
    cpu_id: u32,
}

fn variable<T: Copy>(name: &CStr) -> Option<T> {
    // SAFETY: the name ends with a null byte. The variables that are asked for are constants of that type.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()).cast::<T>().as_ref().copied() }
}

/// The offset of a thread's area from its thread pointer; 0 before the first `leave_rseq`, and if glibc
/// registers no areas.
static OFFSET: AtomicIsize = AtomicIsize::new(0);

/// Asks glibc for it. The size is 0 if glibc registers no areas.
fn offset() -> Option<isize> {
    variable::<u32>(c"__rseq_size").filter(|size| *size != 0).and_then(|_| variable(c"__rseq_offset"))
}

fn rseq(area: usize, length: usize, flags: usize) -> isize {
    // SAFETY: the kernel checks the address. What is registered is an area of glibc's, or one that ends its
    // registration before its own end.
    unsafe { syscall(libc::SYS_rseq, [area, length, flags, RSEQ_SIGNATURE as usize, 0, 0]) }
}

/// Ends the registration of an area; the length has to be the one that glibc has registered it with.
fn unregister(area: usize) -> bool {
    (LENGTH..=MOST).step_by(4).any(|length| rseq(area, length, UNREGISTER) == 0)
}

/// Ends the registration of the calling thread's area.
pub(crate) fn leave_rseq() -> Result<(), &'static str> {
    if let Some(offset) = offset() {
        OFFSET.store(offset, Ordering::Relaxed);
        let address = thread_pointer().wrapping_add_signed(offset);
        let area = ptr::with_exposed_provenance_mut::<Area>(address);
        // SAFETY: glibc's area of this thread. The kernel writes to it while the thread runs, so the read is
        // volatile. A negative number says that the area is not registered: so it is in a thread that was
        // started inside of a storage, since glibc does in a new thread as it did in its starter.
        let registered = unsafe { (&raw const (*area).cpu_id).read_volatile() }.cast_signed() >= 0;
        if registered && !unregister(address) {
            return Err("the C library's rseq area cannot be unregistered");
        }
        // SAFETY: as above; the kernel does not write to it any more.
        unsafe { (*area).cpu_id = REGISTRATION_FAILED };
    }
    no_rseq()
}

/// Whether the calling kernel thread has registered no area. A library may have one of its own in its
/// thread-locals, if the C library has none.
pub(crate) fn no_rseq() -> Result<(), &'static str> {
    match occupy_rseq() {
        Err(libc::EBUSY | libc::EINVAL) => Err("a library has registered an rseq area of its own"),
        // The value ends the registration. Or the kernel has no rseq, or a sandbox forbids it.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The registration of an area that is used for nothing. Dropping it ends the registration; that must happen
/// on the thread that made it.
pub(crate) struct Registered(Box<Unused>, PhantomData<*const ()>);

#[repr(C, align(32))]
struct Unused(UnsafeCell<[u32; 8]>);

/// Registers an area for the calling kernel thread, unless it has one.
///
/// # Errors
///
/// The number of the kernel's error.
pub(crate) fn occupy_rseq() -> Result<Registered, libc::c_int> {
    let area = Box::new(Unused(UnsafeCell::new([0; 8])));
    match rseq(area.0.get().expose_provenance(), LENGTH, 0) {
        0 => Ok(Registered(area, PhantomData)),
        error => Err(-error as libc::c_int),
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // The area must not end while the kernel writes to it.
        let ended = rseq(self.0.0.get().expose_provenance(), LENGTH, UNREGISTER);
        assert_eq!(ended, 0, "this thread has registered it");
    }
}

/// Ends the registration of the calling kernel thread, whose area is in the block with that thread pointer. A
/// forked child may call it.
pub(crate) fn leave_rseq_of(pointer: usize) {
    match OFFSET.load(Ordering::Relaxed) {
        0 => {}
        offset => _ = unregister(pointer.wrapping_add_signed(offset)),
    }
}
