//! Panics that nobody hears of are counted, and a dump names the last one.

use crate::common::{eventually, in_child};
use sward::observe::dump;
use sward::runtime::metrics;
use sward::task;

/// A child, since the count is of the process.
#[test]
fn panics_of_coroutines_that_nobody_joins_are_counted() {
    in_child(|| {
        sward::run(|| {
            let lost = || metrics().expect("inside").lost_panics;
            let start =
                |name: &str| task::Builder::new().name(name).spawn(|| panic!("on purpose")).expect("spawned");
            assert!(start("heard of").join().is_err());
            assert_eq!((lost(), dump().lost_panics), (0, 0));
            drop(start("detached"));
            eventually("it is counted", || lost() == 1);
            let late = start("dropped late");
            eventually("it ends", || late.is_finished());
            drop(late);
            assert_eq!(lost(), 2);
            let dump = dump();
            let last = dump.last_lost_panic.clone().expect("one");
            let parts = ["\"dropped late\" (spawned at ", "lost_panics.rs:"];
            assert!(parts.iter().all(|part| last.contains(part)), "{last}");
            assert!(
                dump.to_string().contains("2 panics of coroutines that nobody has joined; the last one: ")
            );
            assert!(dump.to_json().contains("\"lost_panics\":2"), "{}", dump.to_json());
        });
    });
}
