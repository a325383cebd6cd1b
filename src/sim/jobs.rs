//! Runs seeds on several threads at once, with the result that one thread would have.

use crate::base::new_thread::new_thread;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Calls `run` with the numbers below `count`, on that many threads, of which the caller's is one.
///
/// # Errors
///
/// That of the lowest number that fails, as if the numbers had been run one after the other.
///
/// # Panics
///
/// If `run` does, or if there is no thread.
pub(super) fn in_order<E: Send>(
    count: u64,
    jobs: usize,
    run: impl Fn(u64) -> Result<(), E> + Sync,
) -> Result<(), E> {
    // Each number is taken before the higher ones. So once a number has failed, all lower ones are being
    // run, and only they can change the result.
    let next = AtomicU64::new(0);
    let failed: Mutex<Option<(u64, E)>> = Mutex::new(None);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count || failed.lock().as_ref().is_some_and(|(lowest, _)| *lowest < number) {
                return;
            }
            if let Err(error) = run(number) {
                let mut lowest = failed.lock();
                if lowest.as_ref().is_none_or(|(lowest, _)| number < *lowest) {
                    *lowest = Some((number, error));
                }
            }
        }
    };
    thread::scope(|scope| {
        // Reports name the test by its thread.
        let name = thread::current().name().unwrap_or("sward-sim").to_owned();
        for _ in 1..jobs {
            let started = new_thread(name.clone()).and_then(|thread| thread.spawn_scoped(scope, work));
            started.unwrap_or_else(|error| panic!("sward::sim: no thread for a job: {error}"));
        }
        work();
    });
    failed.into_inner().map_or(Ok(()), |(_, error)| Err(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::time::Duration;

    #[test]
    fn all_numbers_are_run_once() {
        for jobs in [1, 2, 5] {
            let seen: Vec<AtomicU64> = (0..100).map(|_| AtomicU64::new(0)).collect();
            let run = |number: u64| {
                seen[number as usize].fetch_add(1, Ordering::Relaxed);
                Ok::<_, ()>(())
            };
            assert_eq!(in_order(100, jobs, run), Ok(()));
            assert!(seen.iter().all(|times| times.load(Ordering::Relaxed) == 1), "{jobs} jobs");
        }
    }

    #[test]
    fn the_lowest_failure_counts_though_a_higher_one_comes_first() {
        let (both, higher) = (Barrier::new(2), Mutex::new(false));
        let failed = in_order(1_000, 2, |number| {
            assert!(number <= 8, "what cannot change the result is run");
            match number {
                6 => {
                    both.wait();
                    while !*higher.lock() {
                        thread::sleep(Duration::from_millis(1));
                    }
                    Err(number)
                }
                7 => {
                    both.wait();
                    *higher.lock() = true;
                    Err(number)
                }
                _ => Ok(()),
            }
        });
        assert_eq!(failed, Err(6));
    }

    #[test]
    fn one_job_runs_nothing_after_a_failure() {
        let runs = AtomicU64::new(0);
        let failed = in_order(10, 1, |number| {
            runs.fetch_add(1, Ordering::Relaxed);
            if number == 3 { Err(number) } else { Ok(()) }
        });
        assert_eq!((failed, runs.into_inner()), (Err(3), 4));
    }
}
