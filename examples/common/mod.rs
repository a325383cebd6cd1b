//! What several examples need: numbers from the command line, the descriptor limit, `/proc`.
#![allow(dead_code, unreachable_pub)] // each example uses its part

use std::fs;
use std::io;
use std::process::exit;

/// The number that follows `flag` on the command line, or `default`. Ends the process with a message
/// if it is none.
pub fn number(arguments: &[String], flag: &str, default: u64) -> u64 {
    let Some(at) = arguments.iter().position(|argument| argument == flag) else { return default };
    let text = arguments.get(at + 1).map_or("", String::as_str);
    text.parse().unwrap_or_else(|_| fail(&format!("{flag} wants a number, not {text:?}")))
}

/// The first argument as a port, or `default`.
pub fn port(arguments: &[String], default: u16) -> u16 {
    match arguments.first().filter(|argument| !argument.starts_with("--")) {
        None => default,
        Some(text) => text.parse().unwrap_or_else(|_| fail(&format!("not a port: {text:?}"))),
    }
}

/// Ends the process with a message.
pub fn fail(message: &str) -> ! {
    eprintln!("{message}");
    exit(2)
}

/// Raises the soft limit of open files to the hard one, and returns it.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the place for the limit lives until the call ends.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

/// A line of `/proc/PID/status` as a number, such as `VmRSS` in KiB or `Threads`.
pub fn status(pid: u32, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// User and kernel time of a process in seconds.
pub fn cpu_seconds(pid: u32) -> Option<(f64, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold blanks; what follows it does not.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    // SAFETY: the call takes no pointers.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    let seconds = |n: usize| fields.get(n)?.parse::<f64>().ok().map(|time| time / ticks);
    Some((seconds(11)?, seconds(12)?))
}
