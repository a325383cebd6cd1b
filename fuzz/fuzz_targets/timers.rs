//! The heap of a worker's timers, against a list that is searched from end to end.
#![no_main]
#![allow(dead_code)] // the files have more than is fuzzed

#[path = "../../src/base"]
mod base {
    pub(crate) mod bit_set;
    pub(crate) mod slab;
}
#[path = "../../src/sched/timers.rs"]
mod timers;

use libfuzzer_sys::fuzz_target;
use std::time::{Duration, Instant};
use timers::Timers;

fuzz_target!(|data: &[u8]| {
    let start = Instant::now();
    let at = |n: u8| start + Duration::from_millis(u64::from(n));
    let mut timers = Timers::new();
    // Deadline, number, key, whether it is live. Ended timers stay: their keys must find nothing.
    let mut model: Vec<(Instant, usize, base::slab::Key, bool)> = Vec::new();
    for (number, step) in data.chunks_exact(2).enumerate() {
        let live = |model: &Vec<(Instant, usize, base::slab::Key, bool)>| {
            model.iter().filter(|timer| timer.3).map(|timer| timer.0).min()
        };
        match step[0] % 4 {
            0 | 1 => {
                let key = timers.insert(at(step[1]), number);
                assert!(model.iter().all(|timer| !timer.3 || timer.2 != key), "two timers have one key");
                model.push((at(step[1]), number, key, true));
            }
            2 if !model.is_empty() => {
                let chosen = usize::from(step[1]) % model.len();
                let (_, number, key, alive) = &mut model[chosen];
                assert_eq!(timers.cancel(*key), alive.then_some(*number));
                *alive = false;
            }
            2 => {}
            _ => {
                let first = live(&model);
                match timers.pop_due(at(step[1])) {
                    Some(number) => {
                        let timer = model.iter_mut().find(|timer| timer.1 == number).expect("one of ours");
                        assert!(timer.3 && Some(timer.0) == first && timer.0 <= at(step[1]));
                        timer.3 = false;
                    }
                    None => assert!(first.is_none_or(|first| first > at(step[1]))),
                }
            }
        }
        assert_eq!(timers.next(), live(&model));
        assert_eq!(timers.len(), model.iter().filter(|timer| timer.3).count());
    }
    let mut last = None;
    while let Some(number) = timers.pop() {
        let timer = model.iter_mut().find(|timer| timer.1 == number).expect("one of ours");
        assert!(timer.3 && last <= Some(timer.0));
        (timer.3, last) = (false, Some(timer.0));
    }
    assert!(model.iter().all(|timer| !timer.3));
});
