//! What a queue is asked for and what it tells, as values.
//!
//! A descriptor has a registration for each filter, and each is edge-triggered (`EV_CLEAR`).

use crate::netpoll::event::{Key, PollEvent};
use std::io;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// `EVFILT_READ`.
    Read,
    /// `EVFILT_WRITE`.
    Write,
    /// `EVFILT_EXCEPT` with `NOTE_OOB`, where there is one: urgent data.
    Urgent,
    /// `EVFILT_USER`, where there is one: the bell.
    User,
}

/// What the queue is to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Watch,
    Leave,
    /// Makes a `User` event come about.
    Trigger,
}

/// One entry of a change list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) ident: usize,
    pub(super) filter: Filter,
    pub(super) action: Action,
    /// What comes back with each event.
    pub(super) data: u64,
}

/// One entry of an event list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) filter: Filter,
    pub(super) data: u64,
    /// `EV_EOF`: there is an end in that direction, or the connection is gone.
    pub(super) end: bool,
    /// With `EV_ERROR`, the errno; zero in the receipt of a change that was made.
    pub(super) error: Option<i32>,
}

/// The changes that watch or leave a descriptor in both directions. `urgent` says whether the system has
/// that filter.
pub(super) fn changes(action: Action, fd: usize, key: Key, urgent: bool) -> impl Iterator<Item = Change> {
    [Filter::Read, Filter::Write]
        .into_iter()
        .chain(urgent.then_some(Filter::Urgent))
        .map(move |filter| Change { ident: fd, filter, action, data: key.pack() })
}

/// What came of watching a descriptor, from the receipts of its changes: the readiness to tell at once, if
/// one of the directions cannot be watched.
///
/// # Errors
///
/// Neither direction can be watched, or there is no memory. Some filters may be registered all the same.
pub(super) fn verdict(key: Key, receipts: &[Told]) -> io::Result<Option<PollEvent>> {
    let failure = |filter| {
        let receipt = receipts.iter().find(|receipt| receipt.filter == filter)?;
        receipt.error.filter(|&errno| errno != 0)
    };
    let (read, write) = (failure(Filter::Read), failure(Filter::Write));
    match (read, write) {
        (None, None) => Ok(None),
        (Some(errno), Some(_)) => Err(io::Error::from_raw_os_error(errno)),
        (Some(errno), None) | (None, Some(errno)) if errno == libc::ENOMEM => {
            Err(io::Error::from_raw_os_error(errno))
        }
        // A pipe whose other end is closed, or a file of one direction: the call itself tells.
        (read, write) => Ok(Some(PollEvent {
            key,
            readable: read.is_some(),
            writable: write.is_some(),
            read_for_good: read.is_some(),
            write_for_good: write.is_some(),
        })),
    }
}

/// The readiness that an event tells; `None` for the bell. Without a filter for urgent data any event may
/// hide some, before which a read stops short.
pub(super) fn translate(told: &Told, urgent: bool) -> Option<PollEvent> {
    let last = told.end || told.error.is_some();
    let (readable, writable) = match told.filter {
        Filter::Read | Filter::Urgent => (true, false),
        Filter::Write => (false, true),
        Filter::User => return None,
    };
    Some(PollEvent {
        key: Key::unpack(told.data),
        readable,
        writable,
        read_for_good: readable && (last || told.filter == Filter::Urgent || !urgent),
        write_for_good: writable && last,
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::netpoll::sys::contract::KEY;

    const EVENT: Told = Told { filter: Filter::Read, data: 0x9_0000_0005, end: false, error: None };

    fn receipt(filter: Filter, errno: i32) -> Told {
        Told { filter, error: Some(errno), ..EVENT }
    }

    #[test]
    fn both_directions_are_watched_with_the_key() {
        let list: Vec<_> = changes(Action::Watch, 7, KEY, false).collect();
        assert_eq!(
            list.iter().map(|change| change.filter).collect::<Vec<_>>(),
            [Filter::Read, Filter::Write]
        );
        assert!(list.iter().all(|change| change.ident == 7 && Key::unpack(change.data) == KEY));
        assert!(list.iter().all(|change| change.action == Action::Watch));
        let urgent: Vec<_> = changes(Action::Leave, 7, KEY, true).collect();
        assert_eq!(urgent.len(), 3);
        assert_eq!(urgent[2].filter, Filter::Urgent);
    }

    #[test]
    fn an_event_tells_its_own_direction() {
        let read = translate(&EVENT, true).expect("a readiness");
        assert_eq!(read.key, KEY);
        assert!(read.readable && !read.writable && !read.read_for_good && !read.write_for_good);
        let write = translate(&Told { filter: Filter::Write, ..EVENT }, true).expect("a readiness");
        assert!(write.writable && !write.readable && !write.read_for_good && !write.write_for_good);
    }

    #[test]
    fn ends_and_errors_are_for_good() {
        for last in [Told { end: true, ..EVENT }, Told { error: Some(libc::EIO), ..EVENT }] {
            let read = translate(&last, true).expect("a readiness");
            assert!(read.read_for_good && !read.writable && !read.write_for_good);
            let write = translate(&Told { filter: Filter::Write, ..last }, true).expect("a readiness");
            assert!(write.write_for_good && !write.readable && !write.read_for_good);
        }
    }

    #[test]
    fn a_short_read_proves_nothing_where_urgent_data_is_not_told() {
        assert!(translate(&EVENT, false).expect("a readiness").read_for_good);
        let urgent = Told { filter: Filter::Urgent, ..EVENT };
        assert!(translate(&urgent, true).expect("a readiness").read_for_good);
        let write = Told { filter: Filter::Write, ..EVENT };
        assert!(!translate(&write, false).expect("a readiness").write_for_good);
    }

    #[test]
    fn the_bell_is_no_readiness() {
        let bell = Told { filter: Filter::User, ..EVENT };
        assert!(translate(&bell, true).is_none());
        let ring = Change { ident: 0, filter: Filter::User, action: Action::Trigger, data: 0 };
        assert_eq!((ring.filter, ring.action), (Filter::User, Action::Trigger));
    }

    #[test]
    fn receipts_of_zero_are_good_ones() {
        let receipts = [receipt(Filter::Read, 0), receipt(Filter::Write, 0), receipt(Filter::Urgent, 22)];
        assert!(verdict(KEY, &receipts).expect("watched").is_none());
        assert!(verdict(KEY, &[]).expect("watched").is_none());
    }

    #[test]
    fn a_direction_that_cannot_be_watched_is_ready_at_once() {
        let receipts = [receipt(Filter::Read, 0), receipt(Filter::Write, libc::EPIPE)];
        let told = verdict(KEY, &receipts).expect("watched").expect("told at once");
        assert!(told.writable && told.write_for_good && !told.readable && told.key == KEY);
        let receipts = [receipt(Filter::Read, libc::EINVAL), receipt(Filter::Write, 0)];
        let told = verdict(KEY, &receipts).expect("watched").expect("told at once");
        assert!(told.readable && told.read_for_good && !told.writable);
    }

    #[test]
    fn a_descriptor_that_cannot_be_watched_is_an_error() {
        let both = [receipt(Filter::Read, libc::EBADF), receipt(Filter::Write, libc::EBADF)];
        assert_eq!(verdict(KEY, &both).unwrap_err().raw_os_error(), Some(libc::EBADF));
        let memory = [receipt(Filter::Read, 0), receipt(Filter::Write, libc::ENOMEM)];
        assert_eq!(verdict(KEY, &memory).unwrap_err().raw_os_error(), Some(libc::ENOMEM));
    }
}
