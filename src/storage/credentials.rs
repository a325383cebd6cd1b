//! A lender takes over the user and the groups of the worker that is inside; why, is said in
//! [`setxid`](super::setxid).
//!
//! Both sides run amid a signal handler or next to a user of the lender's block. So they make raw system
//! calls only, and their memory is a fresh mapping.
//!
//! The lender can always take them over: it had the same credentials before the one call that changed the
//! worker's, and needs no other permission than that call.

use super::sys;

/// The kernel's limit for the groups of a process.
const MOST_GROUPS: usize = 65_536;

/// The credentials of a thread, and room for another one's groups.
#[repr(C)]
pub(super) struct Credentials {
    /// Real, effective, saved.
    users: [u32; 3],
    /// The same of the group.
    group: [u32; 3],
    groups: Groups,
    found: Groups,
}

#[repr(C)]
struct Groups {
    count: usize,
    list: [u32; MOST_GROUPS],
}

impl Groups {
    fn read(&mut self) -> bool {
        let count = sys::groups(&mut self.list);
        self.count = count.unwrap_or(0);
        count.is_some()
    }

    fn all(&self) -> &[u32] {
        &self.list[..self.count]
    }
}

impl Credentials {
    /// The calling thread's, in memory that [`free`](Credentials::free) frees.
    pub(super) fn of_this_thread() -> *mut Credentials {
        let Some(memory) = sys::map(size_of::<Credentials>()) else { std::process::abort() };
        // SAFETY: a mapping of that size, which is zeroed; any bits are numbers.
        let credentials = unsafe { &mut *memory.cast::<Credentials>() };
        (credentials.users, credentials.group) = (sys::users(), sys::group());
        if !credentials.groups.read() {
            std::process::abort();
        }
        credentials
    }

    /// Frees the memory.
    ///
    /// # Safety
    ///
    /// The pointer comes from `of_this_thread`, and is not used any more.
    pub(super) unsafe fn free(this: *mut Credentials) {
        sys::unmap(this.cast(), size_of::<Credentials>());
    }

    /// Makes them the calling thread's. Touches no thread-local, unless it aborts: glibc does the same if its
    /// threads' answers differ.
    ///
    /// # Safety
    ///
    /// The pointer comes from `of_this_thread`, and no other thread uses it.
    pub(super) unsafe fn adopt(this: *mut Credentials) {
        // SAFETY: as the caller says.
        let Credentials { users, group, groups, found } = unsafe { &mut *this };
        // The groups first: the others may take away the permission to change them.
        let done = found.read()
            && (found.all() == groups.all() || sys::set_groups(groups.all()))
            && (sys::group() == *group || sys::set_group(*group))
            && (sys::users() == *users || sys::set_users(*users));
        if !done {
            std::process::abort();
        }
    }
}
