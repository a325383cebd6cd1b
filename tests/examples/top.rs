//! `top`, on an example that serves the dashboard.

use crate::programs::example_path;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn top_shows_the_groups_of_another_program() {
    let (Some(program), Some(top)) = (example_path("spawn_100k"), example_path("top")) else { return };
    let mut observed = Command::new(program)
        .args(["--count", "1234", "--observe", "127.0.0.1:0"])
        .env("SWARD_CHECK", "0")
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(observed.stderr.take().expect("piped")).lines();
    let mut line = || lines.next().expect("a line").expect("text");
    let url = line().rsplit(' ').next().expect("a URL").to_owned();
    assert_eq!(line(), "1234 are parked");
    let shown = Command::new(&top).args([&url, "--once"]).output().expect("it runs");
    let sorted = Command::new(&top).args([&url, "--once", "--sort", "site"]).output().expect("it runs");
    observed.kill().expect("killed");
    observed.wait().expect("ended");
    let gone = Command::new(&top).args([&url, "--once"]).output().expect("it runs");

    let text = String::from_utf8(shown.stdout).expect("UTF-8");
    assert!(shown.status.success() && sorted.status.success(), "{text}");
    let has = |parts: &[&str]| text.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(has(&["1,234", "park", "examples/spawn_100k.rs:"]), "{text}");
    assert!(has(&["sward 0"]) && has(&["coroutines: 1,235"]), "{text}");
    assert!(!text.contains('\u{1b}'), "escape sequences without a terminal: {text:?}");
    assert!(!gone.status.success() && !gone.stderr.is_empty());
}
