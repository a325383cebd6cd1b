//! The table of sources, in which an event's key is looked up: opens, closes and events in any order. An event
//! for a source that was closed finds nothing, also if its slot was taken again.
#![no_main]
#![allow(dead_code)] // the files have more than is fuzzed

#[path = "../../src/base"]
mod base {
    pub(crate) mod bit_set;
    pub(crate) mod slab;
}

use base::slab::{Key, Slab};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut table: Slab<usize> = Slab::new();
    let mut model: Vec<(Key, usize, bool)> = Vec::new();
    for (number, step) in data.chunks_exact(2).enumerate() {
        let chosen = (!model.is_empty()).then(|| usize::from(step[1]) % model.len());
        match (step[0] % 4, chosen) {
            (0 | 1, _) => {
                let key = table.insert(number);
                assert_eq!(Key::unpack(key.pack()).pack(), key.pack());
                assert!(model.iter().all(|one| one.0 != key), "a key was given twice");
                model.push((key, number, true));
            }
            (2, Some(chosen)) => {
                let (key, value, open) = &mut model[chosen];
                assert_eq!(table.remove(*key), open.then_some(*value));
                *open = false;
            }
            (_, Some(chosen)) => {
                let (key, value, open) = model[chosen];
                assert_eq!(table.get(Key::unpack(key.pack())).copied(), open.then_some(value));
            }
            _ => {}
        }
        assert_eq!(table.count(), model.iter().filter(|one| one.2).count());
    }
    for (key, value, open) in &model {
        assert_eq!(table.get(*key).copied(), open.then_some(*value));
    }
    let mut left: Vec<usize> = table.drain().collect();
    left.sort_unstable();
    assert!(model.iter().filter(|one| one.2).map(|one| one.1).eq(left));
});
