//! Linux: `openat2` with `RESOLVE_CACHED` (5.12), and `statx` of what that has found.

use crate::base::sys::{calls, check, retry};
use crate::fs::cached::{Found, Handle};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `struct open_how`, whose constants libc does not have for all C libraries.
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

const RESOLVE_CACHED: u64 = 0x20;

fn openat2(path: &CStr, flags: libc::c_int) -> std::io::Result<OwnedFd> {
    let how = OpenHow { flags: (flags | libc::O_CLOEXEC) as u64, mode: 0, resolve: RESOLVE_CACHED };
    // SAFETY: path and structure are valid, and the call only reads them.
    let fd = check(calls::newer(|| unsafe {
        libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path.as_ptr(), &raw const how, size_of::<OpenHow>())
            as libc::c_int
    }))?;
    // SAFETY: a fresh descriptor, with no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// As the contract in `mod.rs` says.
pub(crate) fn find_cached(path: &Path, follows_links: bool) -> Found {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return Found::No };
    let flags = libc::O_PATH | if follows_links { 0 } else { libc::O_NOFOLLOW };
    match openat2(&path, flags) {
        Ok(fd) => match facts(fd.as_raw_fd()) {
            Some(facts) => Found::Here(Handle {
                mount: facts.mount(),
                device: facts.device(),
                inode: facts.inode,
                is_file: facts.is_file(),
                fd,
            }),
            None => Found::No,
        },
        // The directory in which nothing has that name was in memory.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
            Found::Missing(error)
        }
        // EAGAIN: the path is not in memory. The pool's call has the other errors, too.
        Err(_) => Found::No,
    }
}

/// As the contract in `mod.rs` says.
pub(crate) fn open_cached(path: &Path, flags: libc::c_int, handle: &Handle) -> Option<File> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    // Another process may hold a lease on the file, or may have put a FIFO in its place: then this does not
    // wait.
    let file = openat2(&path, libc::O_RDONLY | libc::O_NONBLOCK | flags).ok()?;
    let facts = facts(file.as_raw_fd())?;
    if facts.device() != handle.device || facts.inode != handle.inode {
        return None;
    }
    // SAFETY: the calls take no pointers.
    let mode = retry(|| unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) }).ok()?;
    // SAFETY: as above.
    retry(|| unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, mode & !libc::O_NONBLOCK) }).ok()?;
    Some(file.into())
}

/// `struct statx`, of which this reads a few fields.
#[repr(C)]
#[derive(Default)]
struct Facts {
    mask: u32,
    block_size: u32,
    attributes: u64,
    links: u32,
    owners: [u32; 2],
    mode: u16,
    reserved: u16,
    inode: u64,
    sizes: [u64; 3],
    times: [u64; 8],
    device_of_special_file: [u32; 2],
    device_major: u32,
    device_minor: u32,
    mount: u64,
    rest: [u64; 13],
}

const _: () = assert!(size_of::<Facts>() == 256 && std::mem::offset_of!(Facts, device_major) == 136);
const _: () = assert!(std::mem::offset_of!(Facts, mount) == 144);

const AT_EMPTY_PATH: libc::c_int = 0x1000;
/// The kernel does not ask the file system whether this is still so.
const AT_STATX_DONT_SYNC: libc::c_int = 0x4000;
/// Type and inode.
const STATX_MASK: libc::c_uint = 0x1 | 0x100;
/// The number of the mount, which is never used again (Linux 6.8).
const STATX_MNT_ID_UNIQUE: libc::c_uint = 0x4000;
/// In `Handle::mount`: it is such a number, and no device's.
const OF_MOUNT: u64 = 1 << 61;

impl Facts {
    fn device(&self) -> u64 {
        u64::from(self.device_major) << 32 | u64::from(self.device_minor)
    }

    fn mount(&self) -> Option<u64> {
        if self.mask & STATX_MNT_ID_UNIQUE != 0 {
            return Some(self.mount & (OF_MOUNT - 1) | OF_MOUNT);
        }
        // File systems without a device have such numbers one after the other.
        (self.device_major != 0).then(|| self.device())
    }

    fn is_file(&self) -> bool {
        u32::from(self.mode) & libc::S_IFMT == libc::S_IFREG
    }
}

fn facts(fd: libc::c_int) -> Option<Facts> {
    let mut facts = Facts::default();
    // SAFETY: the path is empty, and the structure has room for what the call writes.
    let done = check(calls::newer(|| unsafe {
        libc::syscall(
            libc::SYS_statx,
            fd,
            c"".as_ptr(),
            AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
            STATX_MASK | STATX_MNT_ID_UNIQUE,
            &raw mut facts,
        ) as libc::c_int
    }));
    (done.is_ok() && facts.mask & STATX_MASK == STATX_MASK).then_some(facts)
}

/// ext2 to ext4, XFS, btrfs, F2FS, tmpfs, ramfs.
const LOCAL: [i64; 6] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994, 0x8584_58f6];

/// As the contract in `mod.rs` says.
pub(crate) fn is_local(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: all zeros is a value of this type, and the call fills it.
    let mut about = unsafe { std::mem::zeroed::<libc::statfs>() };
    // SAFETY: as above.
    let done = retry(|| unsafe { libc::fstatfs(fd.as_raw_fd(), &raw mut about) });
    done.is_ok() && LOCAL.iter().any(|kind| *kind as u32 == about.f_type as u32)
}
