//! `interval`.

use crate::common::{LONG, SHORT, both};
use crate::timeout::elapses;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use sward::time::{MissedTickBehavior, interval, interval_at, sleep, timeout};

#[test]
fn an_interval_ticks_at_its_times() {
    both(|| {
        let start = Instant::now() + SHORT;
        let mut ticks = interval_at(start, SHORT);
        assert_eq!((ticks.period(), ticks.missed_tick_behavior()), (SHORT, MissedTickBehavior::Burst));
        for i in 0..5 {
            let due = ticks.tick();
            assert!(Instant::now() >= due);
            assert_eq!(due, start + i * SHORT);
        }
    });
}

#[test]
fn the_first_tick_of_interval_is_at_once() {
    both(|| {
        let before = Instant::now();
        let mut ticks = interval(LONG);
        let first = timeout(LONG, || ticks.tick()).unwrap();
        assert!(before <= first && first <= Instant::now());
        elapses(|| ticks.tick());
    });
}

/// The times of the missed ticks, and then of the next ones. Only lower bounds depend on the clock.
#[test]
fn missed_ticks() {
    both(|| {
        let period = Duration::from_millis(20);
        for missed in [MissedTickBehavior::Burst, MissedTickBehavior::Delay, MissedTickBehavior::Skip] {
            let start = Instant::now();
            let mut ticks = interval_at(start, period);
            ticks.set_missed_tick_behavior(missed);
            sleep(2 * period + period / 2);
            assert_eq!(ticks.tick(), start);
            let taken = Instant::now();
            let next = ticks.tick();
            match missed {
                MissedTickBehavior::Burst => assert_eq!(next, start + period),
                MissedTickBehavior::Delay => {
                    assert!(next >= start + 3 * period + period / 2 && next <= taken + period);
                }
                MissedTickBehavior::Skip => {
                    assert_eq!((next - start).as_nanos() % period.as_nanos(), 0);
                    assert!(next >= start + 3 * period && next <= taken + period);
                }
            }
        }
    });
}

#[test]
fn an_interval_is_set_anew() {
    both(|| {
        let mut ticks = interval(LONG);
        ticks.tick();
        let before = Instant::now();
        ticks.reset_immediately();
        let first = ticks.tick();
        assert!(before <= first && first <= Instant::now());
        let before = Instant::now();
        ticks.reset_after(SHORT);
        assert!(ticks.tick() >= before + SHORT);
        let at = Instant::now() + SHORT;
        ticks.reset_at(at);
        assert_eq!(ticks.tick(), at);
        ticks.reset();
        elapses(|| ticks.tick());
        let mut short = interval_at(Instant::now() + LONG, SHORT);
        let before = Instant::now();
        short.reset();
        assert!(short.tick() >= before + SHORT);
        let again = short.tick();
        assert!(again >= before + 2 * SHORT);
    });
}

#[test]
fn periods_beyond_the_clock_tick_once() {
    both(|| {
        let mut ticks = interval(Duration::MAX);
        ticks.tick();
        elapses(|| ticks.tick());
        ticks.reset();
        elapses(|| ticks.tick());
        ticks.reset_after(Duration::MAX);
        elapses(|| ticks.tick());
        ticks.reset_immediately();
        ticks.tick();
    });
}

#[test]
#[should_panic(expected = "`period` must be non-zero")]
fn a_zero_period_is_refused() {
    let _ = interval(Duration::ZERO);
}

/// An interval that is far behind does not wait, and still yields to others now and then.
#[test]
fn catching_up_yields_to_others() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    runtime.run(|| {
        let seen = Arc::new(AtomicBool::new(false));
        let theirs = seen.clone();
        drop(sward::spawn(move || theirs.store(true, Ordering::Release)));
        let mut ticks = interval_at(Instant::now(), Duration::from_nanos(1));
        while !seen.load(Ordering::Acquire) {
            ticks.tick();
        }
    });
}
