//! Shared by several examples: the command line, the descriptor limit, `/proc`, an accept loop, HTTP/1.1.
#![allow(dead_code, unreachable_pub)] // each example uses its part

pub mod http1;
pub mod server;
pub mod site;

use std::fs;
use std::io;
use std::process::exit;

/// The command line. An example takes the arguments that it knows; `end` refuses the rest.
pub struct Arguments {
    left: Vec<String>,
    usage: &'static str,
}

impl Arguments {
    /// The arguments of this process. With `--help` it prints the usage and ends the process.
    pub fn new(usage: &'static str) -> Arguments {
        let left: Vec<String> = std::env::args().skip(1).collect();
        if left.iter().any(|argument| argument == "--help" || argument == "-h") {
            println!("{usage}");
            exit(0);
        }
        Arguments { left, usage }
    }

    /// Takes `flag` and the number behind it, or returns `default`.
    pub fn number(&mut self, flag: &str, default: u64) -> u64 {
        let Some(at) = self.left.iter().position(|argument| argument == flag) else { return default };
        let mut taken = self.left.drain(at..self.left.len().min(at + 2)).skip(1);
        let text = taken.next().unwrap_or_default();
        drop(taken);
        text.parse().unwrap_or_else(|_| self.refuse(&format!("{flag} wants a number, not {text:?}")))
    }

    /// Takes `flag` and the text behind it, if it is there.
    pub fn text(&mut self, flag: &str) -> Option<String> {
        let at = self.left.iter().position(|argument| argument == flag)?;
        let mut taken = self.left.drain(at..self.left.len().min(at + 2)).skip(1);
        let text = taken.next();
        drop(taken);
        Some(text.unwrap_or_else(|| self.refuse(&format!("{flag} wants a value"))))
    }

    /// Takes `--observe ADDR`, serves the dashboard there, and prints its address on stderr. It serves until
    /// the process ends.
    pub fn observe(&mut self) -> bool {
        let Some(address) = self.text("--observe") else { return false };
        match sward::observe::serve(&*address) {
            Ok(server) => eprintln!("observe: http://{}/", server.local_addr()),
            Err(error) => fail(&format!("--observe {address}: {error}")),
        }
        true
    }

    /// Takes a flag without a value; whether it is there.
    pub fn flag(&mut self, flag: &str) -> bool {
        let at = self.left.iter().position(|argument| argument == flag);
        at.map(|at| self.left.remove(at)).is_some()
    }

    /// Takes the first argument, if it is no flag.
    pub fn word(&mut self) -> Option<String> {
        let is_word = self.left.first().is_some_and(|argument| !argument.starts_with('-'));
        is_word.then(|| self.left.remove(0))
    }

    /// Takes the first argument as a port, or returns `default`.
    pub fn port(&mut self, default: u16) -> u16 {
        let Some(text) = self.word() else { return default };
        text.parse().unwrap_or_else(|_| self.refuse(&format!("not a port: {text:?}")))
    }

    /// Refuses the arguments that were not taken.
    pub fn end(&self) {
        if let Some(argument) = self.left.first() {
            self.refuse(&format!("unknown argument: {argument:?}"));
        }
    }

    /// Prints what is wrong and the usage, and ends the process.
    pub fn refuse(&self, wrong: &str) -> ! {
        fail(&format!("{wrong}\nusage: {}", self.usage))
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
    // The name in parentheses may contain blanks; the fields behind it do not.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    // SAFETY: the call takes no pointers.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    let seconds = |n: usize| fields.get(n)?.parse::<f64>().ok().map(|time| time / ticks);
    Some((seconds(11)?, seconds(12)?))
}
