//! What a queue is asked for and what it reports, as values.
//!
//! A descriptor is registered once for each filter, edge-triggered (`EV_CLEAR`).

use crate::netpoll::event::{Key, PollEvent};
use std::io;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// `EVFILT_READ`.
    Read,
    /// `EVFILT_WRITE`.
    Write,
    /// `EVFILT_EXCEPT` with `NOTE_OOB`, on systems that have it: out-of-band ("urgent") data.
    OutOfBand,
    /// `EVFILT_USER`, on systems that have it: the wake-up.
    User,
}

/// What a change does to a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Add,
    Delete,
    /// Makes a `User` event happen.
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
pub(super) struct QueueEvent {
    pub(super) filter: Filter,
    pub(super) data: u64,
    /// `EV_EOF`: that direction has ended, or the connection is gone.
    pub(super) end: bool,
    /// With `EV_ERROR`, the errno; zero in the receipt of a change that was made.
    pub(super) error: Option<i32>,
}

/// The changes that add or delete a descriptor in both directions. `out_of_band` says whether the system has
/// that filter.
pub(super) fn changes(
    action: Action,
    fd: usize,
    key: Key,
    out_of_band: bool,
) -> impl Iterator<Item = Change> {
    [Filter::Read, Filter::Write]
        .into_iter()
        .chain(out_of_band.then_some(Filter::OutOfBand))
        .map(move |filter| Change { ident: fd, filter, action, data: key.pack() })
}

/// What the receipts of adding a descriptor say: an event to report at once, if one of the directions cannot
/// be watched.
///
/// # Errors
///
/// Neither direction can be watched, or memory is short. Some filters may have been added all the same.
pub(super) fn verdict(key: Key, receipts: &[QueueEvent]) -> io::Result<Option<PollEvent>> {
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
        // A pipe whose other end is closed, or a file of one direction. The call itself returns the error.
        (read, write) => Ok(Some(PollEvent {
            key,
            readable: read.is_some(),
            writable: write.is_some(),
            read_sticky: read.is_some(),
            write_sticky: write.is_some(),
        })),
    }
}

/// The readiness that an event reports; `None` for the wake-up. On a system without the filter for
/// out-of-band data each event may hide some, before which a read stops short.
pub(super) fn translate(event: &QueueEvent, out_of_band: bool) -> Option<PollEvent> {
    let last = event.end || event.error.is_some();
    let (readable, writable) = match event.filter {
        Filter::Read | Filter::OutOfBand => (true, false),
        Filter::Write => (false, true),
        Filter::User => return None,
    };
    Some(PollEvent {
        key: Key::unpack(event.data),
        readable,
        writable,
        read_sticky: readable && (last || event.filter == Filter::OutOfBand || !out_of_band),
        write_sticky: writable && last,
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::netpoll::sys::contract::KEY;

    const EVENT: QueueEvent =
        QueueEvent { filter: Filter::Read, data: 0x9_0000_0005, end: false, error: None };

    fn receipt(filter: Filter, errno: i32) -> QueueEvent {
        QueueEvent { filter, error: Some(errno), ..EVENT }
    }

    #[test]
    fn both_directions_are_watched_with_the_key() {
        let list: Vec<_> = changes(Action::Add, 7, KEY, false).collect();
        assert_eq!(
            list.iter().map(|change| change.filter).collect::<Vec<_>>(),
            [Filter::Read, Filter::Write]
        );
        assert!(list.iter().all(|change| change.ident == 7 && Key::unpack(change.data) == KEY));
        assert!(list.iter().all(|change| change.action == Action::Add));
        let all: Vec<_> = changes(Action::Delete, 7, KEY, true).collect();
        assert_eq!(all.len(), 3);
        assert_eq!(all[2].filter, Filter::OutOfBand);
    }

    #[test]
    fn an_event_reports_its_own_direction() {
        let read = translate(&EVENT, true).expect("a readiness");
        assert_eq!(read.key, KEY);
        assert!(read.readable && !read.writable && !read.read_sticky && !read.write_sticky);
        let write = translate(&QueueEvent { filter: Filter::Write, ..EVENT }, true).expect("a readiness");
        assert!(write.writable && !write.readable && !write.read_sticky && !write.write_sticky);
    }

    #[test]
    fn ends_and_errors_are_sticky() {
        for last in [QueueEvent { end: true, ..EVENT }, QueueEvent { error: Some(libc::EIO), ..EVENT }] {
            let read = translate(&last, true).expect("a readiness");
            assert!(read.read_sticky && !read.writable && !read.write_sticky);
            let write = translate(&QueueEvent { filter: Filter::Write, ..last }, true).expect("a readiness");
            assert!(write.write_sticky && !write.readable && !write.read_sticky);
        }
    }

    #[test]
    fn a_short_read_proves_nothing_where_out_of_band_data_is_not_reported() {
        assert!(translate(&EVENT, false).expect("a readiness").read_sticky);
        let out_of_band = QueueEvent { filter: Filter::OutOfBand, ..EVENT };
        assert!(translate(&out_of_band, true).expect("a readiness").read_sticky);
        let write = QueueEvent { filter: Filter::Write, ..EVENT };
        assert!(!translate(&write, false).expect("a readiness").write_sticky);
    }

    #[test]
    fn the_wake_up_is_no_readiness() {
        let wakeup = QueueEvent { filter: Filter::User, ..EVENT };
        assert!(translate(&wakeup, true).is_none());
        let trigger = Change { ident: 0, filter: Filter::User, action: Action::Trigger, data: 0 };
        assert_eq!((trigger.filter, trigger.action), (Filter::User, Action::Trigger));
    }

    #[test]
    fn receipts_of_zero_are_good_ones() {
        let receipts = [receipt(Filter::Read, 0), receipt(Filter::Write, 0), receipt(Filter::OutOfBand, 22)];
        assert!(verdict(KEY, &receipts).expect("watched").is_none());
        assert!(verdict(KEY, &[]).expect("watched").is_none());
    }

    #[test]
    fn a_direction_that_cannot_be_watched_is_ready_at_once() {
        let receipts = [receipt(Filter::Read, 0), receipt(Filter::Write, libc::EPIPE)];
        let event = verdict(KEY, &receipts).expect("watched").expect("reported at once");
        assert!(event.writable && event.write_sticky && !event.readable && event.key == KEY);
        let receipts = [receipt(Filter::Read, libc::EINVAL), receipt(Filter::Write, 0)];
        let event = verdict(KEY, &receipts).expect("watched").expect("reported at once");
        assert!(event.readable && event.read_sticky && !event.writable);
    }

    #[test]
    fn a_descriptor_that_cannot_be_watched_is_an_error() {
        let both = [receipt(Filter::Read, libc::EBADF), receipt(Filter::Write, libc::EBADF)];
        assert_eq!(verdict(KEY, &both).unwrap_err().raw_os_error(), Some(libc::EBADF));
        let memory = [receipt(Filter::Read, 0), receipt(Filter::Write, libc::ENOMEM)];
        assert_eq!(verdict(KEY, &memory).unwrap_err().raw_os_error(), Some(libc::ENOMEM));
    }
}
