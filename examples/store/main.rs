//! A replicated store of counters (`store.rs`): a primary, a backup and some clients, in one process, over
//! loopback.
//!
//! ```sh
//! cargo run --release --example store
//! ```
//!
//! The same code runs under `sward::sim` in `tests/sim/store.rs`, with partitions, crashes and slow links.

#[allow(dead_code, reason = "the tests use the rest")]
mod store;

use std::io;
use std::time::Instant;
use store::{Backup, Client, Primary};
use sward::net::TcpListener;

/// How many clients, and how many additions of each.
const CLIENTS: u64 = 8;
const ADDITIONS: i64 = 200;

fn main() -> io::Result<()> {
    let folder = std::env::temp_dir().join(format!("sward-store-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let outcome = sward::run(|| run(&folder.join("log")));
    std::fs::remove_dir_all(&folder)?;
    outcome
}

fn run(log: &std::path::Path) -> io::Result<()> {
    let (primary, backup) = (Primary::open(log, None)?, Backup::new(None));
    let primary_listener = TcpListener::bind("127.0.0.1:0")?;
    let backup_listener = TcpListener::bind("127.0.0.1:0")?;
    let address = primary_listener.local_addr()?.to_string();
    let backup_address = backup_listener.local_addr()?.to_string();
    println!(
        "the primary is {address}, its log {}; the backup is {backup_address}",
        primary.path().display()
    );
    let begun = Instant::now();

    let serving = sward::spawn(move || primary.serve(&primary_listener));
    let follower = backup.clone();
    let reads = sward::spawn(move || follower.serve(&backup_listener));
    let (follower, followed) = (backup.clone(), address.clone());
    let following = sward::spawn(move || follower.follow(&followed));

    sward::scope(|scope| {
        for id in 0..CLIENTS {
            let (primary, backup) = (&address, &backup_address);
            scope.spawn(move || {
                let mut client = Client::new(id, primary);
                let mut reader = Client::new(CLIENTS + id, backup);
                for _ in 0..ADDITIONS {
                    let answered = client.add("visits", 1);
                    if let Ok(read) = reader.get("visits") {
                        assert!(read >= answered, "the backup has answered {read} after {answered}");
                    }
                }
            });
        }
    });
    let total = Client::new(0, &address).get("visits")?;
    println!(
        "{total} additions by {CLIENTS} clients in {:.1?}; the backup has {}",
        begun.elapsed(),
        backup.entries()
    );
    assert_eq!(total, CLIENTS as i64 * ADDITIONS);
    [serving, reads, following].iter().for_each(|one| _ = one.cancel());
    Ok(())
}
