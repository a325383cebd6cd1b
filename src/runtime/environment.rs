//! The environment variables that a runtime reads.

use super::homes::Homes;
use crate::inspect::{WANT_SIGNAL, parse_signal};
use crate::netpoll::{BACKENDS, Backend};
use crate::sched::RingUse;
use crate::stack::{StackOverride, StackSize};
use once_cell::sync::OnceCell;
use std::io;
use std::path::PathBuf;

const MAX_WORKERS: usize = 1024;

/// The settings that the environment makes.
pub(super) struct Defaults {
    pub(super) workers: usize,
    pub(super) stack_size: StackSize,
    pub(super) checks: bool,
    /// Which calls on files use io_uring.
    pub(super) io_uring: RingUse,
    /// The back-end of the netpoller.
    pub(super) netpoll: Backend,
    pub(super) homes: Homes,
    pub(super) deadlocks: DeadlockWatch,
    pub(super) accounting: bool,
    /// Whether stalls are reported on stderr.
    pub(super) stall_reports: bool,
    /// The signal that makes a dump.
    pub(super) dump_signal: Option<i32>,
    /// Where such a dump goes, instead of stderr.
    pub(super) dump_file: Option<PathBuf>,
    /// Whether the flight recorder is on, and the memory of its rings, if that is said.
    pub(super) record: Option<Option<usize>>,
    /// Where what it has recorded goes.
    pub(super) record_file: Option<PathBuf>,
}

impl Defaults {
    /// Reads the environment, once in a process.
    pub(super) fn get() -> io::Result<&'static Defaults> {
        static DEFAULTS: OnceCell<Defaults> = OnceCell::new();
        DEFAULTS.get_or_try_init(|| {
            let workers = match variable("SWARD_WORKERS", parse_workers, WANT_WORKERS)? {
                None => std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS),
                Some(workers) => workers,
            };
            let stack_size = variable("SWARD_STACK_SIZE", parse_stack_size, WANT_SIZE)?.unwrap_or_default();
            let guard_size = variable("SWARD_GUARD_SIZE", parse_guard_size, WANT_GUARD)?.unwrap_or_default();
            let stack_size = StackSize::DEFAULT.with(stack_size).with(guard_size);
            let checks = variable("SWARD_CHECK", parse_switch, WANT_SWITCH)?.unwrap_or(false);
            let io_uring = match variable("SWARD_IO_URING", parse_switch, WANT_SWITCH)? {
                None => RingUse::WhatPays,
                Some(true) => RingUse::Everything,
                Some(false) => RingUse::Nothing,
            };
            let want = BACKENDS.iter().map(|backend| backend.name()).collect::<Vec<_>>().join(" or ");
            let netpoll = variable("SWARD_NETPOLL", parse_backend, &want)?.unwrap_or(BACKENDS[0]);
            let homes = variable("SWARD_HOMES", Homes::parse, WANT_HOMES)?.unwrap_or_default();
            let deadlocks = variable("SWARD_DEADLOCKS", parse_deadlocks, WANT_DEADLOCKS)?;
            let deadlocks = deadlocks.unwrap_or(DeadlockWatch::Reports);
            let accounting = variable("SWARD_ACCOUNTING", parse_switch, WANT_SWITCH)?.unwrap_or(false);
            let stall_reports = variable("SWARD_STALL_REPORTS", parse_switch, WANT_SWITCH)?.unwrap_or(true);
            let dump_signal = variable("SWARD_DUMP_SIGNAL", parse_signal, WANT_SIGNAL)?;
            let dump_file = path("SWARD_DUMP_FILE");
            let record = variable("SWARD_RECORD", parse_record, WANT_RECORD)?.flatten();
            let beside = || dump_file.as_ref().map(|path| path.with_extension("trace.json"));
            let record_file = path("SWARD_RECORD_FILE").or_else(beside);
            Ok(Defaults {
                workers,
                stack_size,
                checks,
                io_uring,
                netpoll,
                homes,
                deadlocks,
                accounting,
                stall_reports,
                dump_signal,
                dump_file,
                record,
                record_file,
            })
        })
    }
}

/// What the environment says about deadlocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeadlockWatch {
    Off,
    Reports,
    /// The process aborts after a report.
    Aborts,
}

const WANT_DEADLOCKS: &str = "1, 0, or abort";
const WANT_RECORD: &str = "1, 0, or bytes, or a number with K, M or G";
const WANT_WORKERS: &str = "a number from 1 to 1024";
const WANT_SWITCH: &str = "1 or 0";
const WANT_HOMES: &str = "auto, off, or a number from 1 to 65536";
const WANT_SIZE: &str = "bytes, or a number with K, M or G, up to 1G";
const WANT_GUARD: &str = "bytes, or a number with K or M, up to 64M";

/// A path in an environment variable. An empty one counts as unset.
fn path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The value of an environment variable. An empty one counts as unset.
fn variable<T>(name: &str, parse: fn(&str) -> Option<T>, want: &str) -> io::Result<Option<T>> {
    let Some(text) = std::env::var_os(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.to_str().and_then(parse) {
        Some(value) => Ok(Some(value)),
        None => {
            let message = format!("environment variable {name}={text:?}: want {want}");
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        }
    }
}

fn parse_workers(text: &str) -> Option<usize> {
    text.trim().parse().ok().filter(|&n| check_workers(n).is_ok())
}

fn parse_switch(text: &str) -> Option<bool> {
    match text.trim() {
        "1" => Some(true),
        "0" => Some(false),
        _ => None,
    }
}

/// Whether the flight recorder is on, and the memory of its rings, if that is said.
fn parse_record(text: &str) -> Option<Option<Option<usize>>> {
    match text.trim() {
        "1" => Some(Some(None)),
        "0" => Some(None),
        bytes => Some(Some(Some(parse_bytes(bytes)?))),
    }
}

/// A back-end that this system has.
fn parse_backend(text: &str) -> Option<Backend> {
    BACKENDS.iter().copied().find(|backend| backend.name() == text.trim())
}

fn parse_deadlocks(text: &str) -> Option<DeadlockWatch> {
    match text.trim() {
        "1" => Some(DeadlockWatch::Reports),
        "0" => Some(DeadlockWatch::Off),
        "abort" => Some(DeadlockWatch::Aborts),
        _ => None,
    }
}

fn parse_stack_size(text: &str) -> Option<StackOverride> {
    StackOverride::new(Some(parse_bytes(text)?), None).ok()
}

fn parse_guard_size(text: &str) -> Option<StackOverride> {
    StackOverride::new(None, Some(parse_bytes(text)?)).ok()
}

fn parse_bytes(text: &str) -> Option<usize> {
    let text = text.trim();
    let (digits, unit) = match text.as_bytes().last()?.to_ascii_uppercase() {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits.trim_end().parse::<usize>().ok()?.checked_mul(unit)
}

/// The number of workers, if a runtime may have that many.
pub(super) fn check_workers(n: usize) -> io::Result<usize> {
    if (1..=MAX_WORKERS).contains(&n) {
        Ok(n)
    } else {
        let text = format!("a runtime has from 1 to {MAX_WORKERS} worker threads, not {n}");
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        let bytes = |text| parse_stack_size(text).map(|wish| StackSize::DEFAULT.with(wish).bytes());
        for (text, size) in
            [("65536", 64 << 10), (" 64k ", 64 << 10), ("2M", 2 << 20), ("3 m", 4 << 20), ("1G", 1 << 30)]
        {
            assert_eq!(bytes(text), Some(size), "{text:?}");
        }
        for text in ["", " ", "k", "-1", "0", "2G", "1T", "1.5M", "99999999999999999M", "64k\u{e9}"] {
            assert_eq!(bytes(text), None, "{text:?}");
        }
    }

    #[test]
    fn numbers_of_workers_are_read() {
        assert_eq!(parse_workers(" 3 "), Some(3));
        assert_eq!(parse_workers("1024"), Some(MAX_WORKERS));
        for text in ["", "0", "1025", "abc", "-1"] {
            assert_eq!(parse_workers(text), None, "{text:?}");
        }
    }

    #[test]
    fn worker_counts_are_checked() {
        assert!(check_workers(0).is_err());
        assert!(check_workers(MAX_WORKERS + 1).is_err());
        assert_eq!(check_workers(3).expect("fine"), 3);
    }
}
