//! What this process uses, and limits on it.

use std::fs::File;
use std::time::Duration;

/// The processor time of this process.
pub fn cpu_time() -> Duration {
    // SAFETY: zeros are a valid value, and it lives until the call ends.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &raw mut usage), 0);
        usage
    };
    let part = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1_000);
    part(usage.ru_utime) + part(usage.ru_stime)
}

/// A line of Linux's `/proc/self/status` that is in KiB, in bytes.
pub fn status(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// The memory of this process that is in use, in KiB.
pub fn resident() -> u64 {
    status("VmRSS").expect("Linux") >> 10
}

/// Limits the address space of this process for good.
pub fn limit_address_space(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the limit lives until the call ends.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
}

/// Takes all descriptors that this process may still have. It tries several times: another thread of sward's
/// may have had one for a moment.
pub fn take_all_descriptors() -> Vec<File> {
    let mut files = Vec::new();
    for _ in 0..20 {
        while let Ok(file) = File::open("/dev/null") {
            files.push(file);
        }
        sward::sleep(Duration::from_millis(5));
    }
    files
}
