//! The simulated clock.

use std::time::{Duration, Instant};
use sward::sim::{self, Check};
use sward::{sleep, spawn};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[test]
fn a_year_among_a_thousand_coroutines_is_soon_over() {
    let began = Instant::now();
    Check::new().runs(1).run(|sim| {
        let sleepers: Vec<_> = (0..1000)
            .map(|i| {
                spawn(move || {
                    for _ in 0..12 {
                        sleep(YEAR / 12 + Duration::from_secs(i));
                    }
                })
            })
            .collect();
        sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
        assert!(sim.now() >= YEAR);
    });
    println!("{:?}", began.elapsed());
}

#[test]
fn the_clock_stands_almost_still_while_coroutines_run() {
    sim::check(|sim| {
        let before = sim.now();
        (0..10)
            .map(|_| spawn(sward::yield_now))
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|one| one.join().unwrap());
        assert!(sim.now() - before < Duration::from_millis(1));
        let before = sim.now();
        sleep(Duration::from_millis(5));
        let slept = sim.now() - before;
        assert!(slept >= Duration::from_millis(5) && slept < Duration::from_millis(6), "{slept:?}");
    });
}

/// Nothing happens at the end of time.
#[test]
fn a_sleep_that_never_ends_is_a_deadlock() {
    let failed = Check::new().runs(1).try_run(|_| sward::sleep(Duration::MAX)).expect_err("it never ends");
    assert!(failed.what().contains("deadlock") && failed.what().contains("waits in sleep"), "{failed}");
}
