//! The example with programs that hang: what sward says of each names the right coroutine and line.

use crate::find::coroutines_stay;
use crate::programs::example_path;
use std::process::Command;

const SOURCE: &str = include_str!("../../examples/stuck.rs");

/// Whether frames have names.
const NAMED: bool = cfg!(feature = "symbols");
/// Whether the stack of a running coroutine is known as well.
const SAMPLED: bool = NAMED
    && cfg!(all(
        target_os = "linux",
        target_env = "gnu",
        any(target_arch = "aarch64", target_arch = "x86_64")
    ));

/// Where the coroutine with that name is spawned, as dumps write it.
fn spawned(name: &str) -> String {
    let line = SOURCE.lines().position(|line| line.contains(&format!("start({name}")));
    format!("(spawned at examples/stuck.rs:{}:", line.unwrap_or_else(|| panic!("no {name}")) + 1)
}

/// The dump of that illness.
fn dump_of(illness: &str, more: &[&str]) -> Option<String> {
    let mut command = Command::new(example_path("stuck")?);
    command
        .arg(illness)
        .args(more)
        .env("SWARD_WORKERS", "2")
        .env("SWARD_CHECK", "0")
        .env("SWARD_DEADLOCKS", "1")
        .env_remove("SWARD_DUMP_SIGNAL");
    let output = command.output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Some(text)
}

/// Asserts that a line of the dump has all of these parts.
fn assert_line(text: &str, parts: &[&str]) {
    assert!(
        text.lines().any(|line| parts.iter().all(|part| line.contains(part))),
        "no {parts:?} in:\n{text}"
    );
}

#[test]
fn a_deadlock_shows_both_waits() {
    let Some(text) = dump_of("deadlock", &[]) else { return };
    for (name, other) in [("\"payer\"", "\"auditor\""), ("\"auditor\"", "\"payer\"")] {
        assert_line(&text, &["coroutine #", name, &spawned(name), "parked in Mutex::lock for"]);
        assert_line(&text, &["waits for lock", "held by", other, &spawned(other)]);
    }
    if NAMED {
        assert_line(&text, &["stuck::deadlock", "at examples/stuck.rs:"]);
    }
}

#[test]
fn a_leak_is_the_largest_group() {
    let Some(text) = dump_of("leak", &[]) else { return };
    let group = text
        .lines()
        .find(|line| line.contains("coroutine #") || line.contains(" coroutines ("))
        .expect("one");
    assert!(
        group.starts_with("100 coroutines ") || !coroutines_stay() || group.contains("coroutines"),
        "{text}"
    );
    assert_line(&text, &[&spawned("&format!(\"listener"), "parked in recv for"]);
    let Some(full) = dump_of("leak", &["--full"]) else { return };
    for number in 0..100 {
        assert_line(&full, &[&format!("\"listener {number}\""), "parked in recv for"]);
    }
}

#[test]
fn a_sleep_of_std_is_seen_in_the_worker_that_it_keeps() {
    let Some(text) = dump_of("sleep", &[]) else { return };
    assert_line(&text, &["worker ", "runs coroutine #", "\"sleeper\"", &spawned("\"sleeper\"")]);
    assert_line(&text, &["\"sleeper\"", "running"]);
    if SAMPLED {
        assert_line(&text, &["std::thread::", "sleep"]);
    }
    let Some(full) = dump_of("sleep", &["--full"]) else { return };
    for number in 0..10 {
        assert_line(&full, &[&format!("\"sibling {number}\""), &spawned("&format!(\"sibling")]);
    }
}

#[test]
fn a_mutex_of_std_over_a_wait_shows_who_holds_and_who_blocks() {
    let Some(text) = dump_of("mutex", &[]) else { return };
    assert_line(&text, &["\"refresher\"", &spawned("\"refresher\""), "parked in sleep for"]);
    assert_line(&text, &["worker ", "runs coroutine #", "\"reader\"", &spawned("\"reader\"")]);
}

#[test]
fn a_loop_is_seen_in_the_worker_that_it_keeps() {
    let loops = ["stuck::endless_loop", "at examples/stuck.rs:"];
    // A sample that meets the last instruction of a function which the loop calls does not show the loop: the
    // compiler writes no unwind tables for the ends of functions.
    for attempt in 1.. {
        let Some(text) = dump_of("loop", &[]) else { return };
        assert_line(&text, &["worker ", "runs coroutine #", "\"spinner\"", &spawned("\"spinner\"")]);
        let shown = text.lines().any(|line| loops.iter().all(|part| line.contains(part)));
        if !SAMPLED || shown {
            break;
        }
        assert!(attempt < 10, "no {loops:?} in:\n{text}");
    }
}

#[test]
fn a_slow_consumer_shows_the_queue_before_it() {
    let Some(text) = dump_of("slow", &[]) else { return };
    assert_line(&text, &["coroutines", &spawned("&format!(\"producer"), "parked in send for"]);
    assert_line(&text, &["\"consumer\"", &spawned("\"consumer\"")]);
}

#[test]
fn the_example_writes_json() {
    let Some(text) = dump_of("deadlock", &["--json"]) else { return };
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(value["version"], 1);
}
