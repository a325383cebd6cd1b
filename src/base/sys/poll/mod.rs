//! `poll(2)`, with as fine a timeout as the system offers.
//!
//! - `precise`: `ppoll`, whose timeout is in nanoseconds.
//! - `coarse`: `poll`, whose timeout is in milliseconds. Every Unix has it.
//!
//! Both wait until one of the descriptors has what it is asked for, a signal arrives (`Interrupted`), or the
//! timeout has passed (`None`: never), and never shorter than the timeout. They return how many descriptors
//! have an answer.

#[cfg(any(not(sward_ppoll), all(test, not(loom))))]
mod coarse;
#[cfg(sward_ppoll)]
mod precise;

#[cfg(not(sward_ppoll))]
pub(crate) use coarse::poll;
#[cfg(sward_ppoll)]
pub(crate) use precise::poll;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::io::{Write, pipe};
    use std::os::fd::AsRawFd;
    use std::time::{Duration, Instant};

    type Poll = fn(&mut [libc::pollfd], Option<Duration>) -> std::io::Result<libc::c_int>;
    const ALL: [Poll; 2] = [poll, coarse::poll];

    #[test]
    fn a_timeout_is_not_cut_short() {
        let limit = Duration::from_micros(2_300);
        for poll in ALL {
            let start = Instant::now();
            assert_eq!(poll(&mut [], Some(limit)).expect("waits"), 0);
            assert!(start.elapsed() >= limit);
        }
    }

    #[test]
    fn an_answer_ends_the_longest_wait() {
        let (reader, mut writer) = pipe().expect("a pipe");
        writer.write_all(b"x").expect("written");
        for poll in ALL {
            for timeout in [None, Some(Duration::MAX), Some(Duration::ZERO)] {
                let mut entry = [libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
                assert_eq!(poll(&mut entry, timeout).expect("waits"), 1);
                assert_eq!(entry[0].revents, libc::POLLIN);
            }
        }
    }
}
