//! The report of a coroutine that keeps its worker says where it is.

use crate::common::child_command;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};
use sward::runtime::Builder;

/// Whether the stack of a running coroutine is known, with names.
const SAMPLED: bool = cfg!(feature = "symbols")
    && cfg!(all(
        target_os = "linux",
        target_env = "gnu",
        any(target_arch = "aarch64", target_arch = "x86_64")
    ));

/// The child ends after that time, if it is not killed.
const LIMIT: Duration = Duration::from_secs(60);

#[inline(never)]
fn computes_for_long() {
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        black_box(());
    }
}

#[test]
fn a_stall_is_reported_with_the_stack_of_the_moment() {
    let Some(mut child) = child_command(|| {
        let builder = Builder::new().worker_threads(1).stall_threshold(Duration::from_millis(5));
        builder.build().expect("a runtime").run(|| {
            // Pinned, as a spare worker would run it in migrating mode.
            let sibling = sward::task::Builder::new().pinned(true);
            let start = Instant::now();
            let sibling = sibling.spawn(move || {
                while start.elapsed() < LIMIT {
                    sward::yield_now();
                }
            });
            let spinner = sward::task::Builder::new().name("spinner").spawn(computes_for_long);
            drop((spinner.expect("spawned").join(), sibling));
        });
    }) else {
        return;
    };
    // Pinned homes: all coroutines are siblings.
    let child =
        child.env("SWARD_HOMES", "off").arg("--nocapture").stderr(Stdio::piped()).stdout(Stdio::null());
    let mut child = child.spawn().expect("a child");
    let mut said = String::new();
    for line in BufReader::new(child.stderr.take().expect("piped")).lines() {
        let line = line.expect("text");
        said.push_str(&line);
        said.push('\n');
        let is_last = if SAMPLED { "computes_for_long" } else { "has kept worker 0" };
        if line.contains(is_last) {
            break;
        }
    }
    // It would compute for a minute.
    child.kill().expect("it runs");
    child.wait().expect("it has ended");
    assert!(said.contains("\"spinner\"") && said.contains("has kept worker 0 for "), "{said}");
    assert!(!SAMPLED || said.contains("stalls::computes_for_long"), "{said}");
}
