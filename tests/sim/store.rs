//! The example store (`examples/store`) in simulations with partitions, crashes and slow links: its
//! promises hold, and each rule of its protocol that is left out is found, and found again from its seed.

#[path = "../../examples/store/store.rs"]
#[allow(dead_code, reason = "the example uses the rest")]
mod example;

use example::{Backup, Bug, Client, Primary};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;
use sward::net::TcpListener;
use sward::sim::{Check, Failed, Link, Passed, Sim};

/// What the clients know of a counter.
#[derive(Default)]
struct Known {
    /// The sum of all additions that were begun.
    begun: AtomicI64,
    /// The largest value that was answered or read.
    answered: AtomicI64,
}

impl Known {
    fn add(&self, client: &mut Client) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let value = client.add("a", 1);
        self.sees(value);
        self.answered.fetch_max(value, Ordering::SeqCst);
    }

    /// Reads, and checks that no addition is missing that was answered before.
    fn read(&self, client: &mut Client) {
        let before = self.answered.load(Ordering::SeqCst);
        if let Ok(value) = client.get("a") {
            assert!(value >= before, "a read finds {value} after an answer of {before}");
            self.sees(value);
        }
    }

    fn sees(&self, value: i64) {
        let begun = self.begun.load(Ordering::SeqCst);
        assert!(value <= begun, "{value} of {begun} additions");
    }
}

/// One run: a primary, a backup, two clients, and what goes wrong between them.
fn run(sim: &Sim, bug: Option<Bug>) {
    let sim = *sim;
    let latency = Duration::from_millis(1 + sim.random() % 60);
    sim.links(Link::new().latency(Duration::from_micros(100), latency).loss(0.01).reset(0.005));
    let backup = Backup::new(bug);
    sim.host("primary", move || {
        let primary = Primary::open(Path::new("/log"), bug).expect("a disk");
        let listener = TcpListener::bind("0.0.0.0:80").expect("bound");
        primary.serve(&listener);
    });
    let node = Arc::clone(&backup);
    sim.host("backup", move || {
        let listener = TcpListener::bind("0.0.0.0:81").expect("bound");
        let follower = Arc::clone(&node);
        sward::spawn(move || follower.follow("primary:80"));
        node.serve(&listener);
    });
    let known = Arc::new(Known::default());
    let working = Arc::new(AtomicUsize::new(2));
    for number in 1..=2u64 {
        let (known, working) = (Arc::clone(&known), Arc::clone(&working));
        sim.host(&format!("client {number}"), move || {
            let mut client = Client::new(number, "primary:80");
            let mut reader = Client::new(10 + number, "backup:81");
            for _ in 0..4 {
                known.add(&mut client);
                for _ in 0..3 {
                    known.read(&mut reader);
                    sward::sleep(Duration::from_millis(sim.random() % 40));
                }
            }
            working.fetch_sub(1, Ordering::SeqCst);
        });
    }
    for _ in 0..2 {
        sward::sleep(Duration::from_millis(sim.random() % 400));
        match sim.random() % 4 {
            0 => sim.partition("primary", "backup"),
            1 => sim.partition("primary", "client 1"),
            _ => sim.restart("primary"),
        }
        sward::sleep(Duration::from_millis(sim.random() % 800));
        sim.heal_all();
    }
    while working.load(Ordering::SeqCst) > 0 {
        sward::sleep(Duration::from_millis(100));
    }
    // Each addition was applied once, and in the end the backup has them all.
    let mut client = Client::new(20, "primary:80");
    let total = loop {
        match client.get("a") {
            Ok(total) => break total,
            // A link has reset the connection.
            Err(_) => sward::sleep(Duration::from_millis(100)),
        }
    };
    assert_eq!(total, 8, "additions at the primary");
    for _ in 0..600 {
        if backup.value("a") == total && backup.entries() == 8 {
            return;
        }
        sward::sleep(Duration::from_millis(100));
    }
    panic!("the backup has {} of {total} additions, {} entries", backup.value("a"), backup.entries());
}

fn check(runs: u64, bug: Option<Bug>) -> Result<Passed, Box<Failed>> {
    Check::new().runs(runs).step_limit(200_000).leaks_fail(false).try_run(move |sim| run(sim, bug))
}

#[test]
fn the_store_keeps_its_promises() {
    if let Err(failed) = check(30, None) {
        panic!("{failed}");
    }
}

/// What a check finds: a promise that is broken.
const STALE: &str = "a read finds";
const TWICE: &str = " additions";
const LOST: &str = "additions at the primary";
const BACKUP: &str = "the backup has";
const NO_LOG: &str = "a disk: Kind(InvalidData)";

/// The bug is found by one of these, and the seed alone finds it again.
fn finds(bug: Bug, by: &[&str]) {
    let failed = check(1000, Some(bug)).expect_err("it is found");
    assert!(by.iter().any(|text| failed.what().contains(text)), "{bug:?} is found by {failed}");
    eprintln!("{bug:?}: seed {}: {}", failed.seed(), failed.what().lines().next().unwrap_or_default());
    let again = Check::new().runs(1).seed(failed.seed()).step_limit(200_000).leaks_fail(false);
    let again = again.try_run(move |sim| run(sim, Some(bug))).expect_err("it is found again");
    assert_eq!(again.what(), failed.what());
}

macro_rules! bugs {
    ($($name:ident: $bug:ident, $by:expr;)*) => {$(
        #[test]
        fn $name() {
            finds(Bug::$bug, &$by);
        }
    )*};
}

bugs! {
    an_answer_before_the_backup_has_the_addition: AnswersBeforeBackup, [STALE];
    a_lease_that_is_forgotten_with_its_connection: ForgetsLease, [STALE];
    reads_without_a_lease: ReadsWithoutLease, [STALE];
    a_lease_that_is_counted_from_its_grant: LeaseFromGrant, [STALE];
    a_request_that_is_applied_twice: AppliesTwice, [TWICE];
    requests_that_are_forgotten_by_a_restart: ForgetsRequests, [TWICE];
    a_restart_that_does_not_wait_for_the_lease: RestartsAtOnce, [STALE];
    an_entry_that_is_skipped: SkipsAnEntry, [STALE, BACKUP];
    entries_that_the_backup_applies_twice: BackupAppliesTwice, [TWICE, BACKUP];
    an_answer_before_the_log_is_written: AnswersBeforeLog, [LOST];
    a_log_that_is_never_synced: NeverSyncs, [LOST, STALE, NO_LOG];
}
