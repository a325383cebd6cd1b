//! Tests that run themselves again in a child process: what they do there concerns a whole process, such as a
//! limit, a signal or its end.

use std::process::{Command, Output};

/// The environment variable that says to a child that it is one, and what it does.
const ROLE: &str = "SWARD_TEST_ROLE";

/// What this process does as a child.
pub fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

pub fn is_child() -> bool {
    role().is_some()
}

/// The name of the test that a path inside of its function belongs to.
pub fn own_name(path: &'static str) -> &'static str {
    let path = path.split("::{{closure}}").next().expect("a first part");
    path.split_once("::").expect("the name of the program").1
}

/// The name by which the harness knows the test in whose function this stands.
macro_rules! this_test {
    () => {{
        let closure = || ();
        $crate::common::own_name(std::any::type_name_of_val(&closure))
    }};
}
pub(crate) use this_test;

/// A command that runs that test of this program, and nothing else, as a child in that role. The harness
/// captures what the test prints.
pub fn captured_command(test: &str, role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test's own program"));
    command.args([test, "--exact", "--test-threads=1"]).env(ROLE, role).env("RUST_BACKTRACE", "0");
    command
}

/// The same, and the harness captures nothing.
pub fn command(test: &str, role: &str) -> Command {
    let mut command = captured_command(test, role);
    command.arg("--nocapture");
    command
}

/// Runs that test as a child with more environment variables.
pub fn child(test: &str, environment: &[(&str, &str)]) -> Output {
    let output = command(test, test).envs(environment.iter().copied()).output().expect("a child");
    assert!(text(&output).contains("running 1 test"), "there is no test {test}");
    output
}

/// In the child runs the closure. Elsewhere returns a command that runs the test that the closure stands in
/// as a child. The harness captures what the test prints.
pub fn child_command<F: FnOnce()>(f: F) -> Option<Command> {
    if is_child() {
        f();
        return None;
    }
    let test = own_name(std::any::type_name::<F>());
    Some(captured_command(test, test))
}

/// In the child runs the closure. Elsewhere runs the test that the closure stands in as a child, which must
/// succeed, and returns what it has said.
pub fn in_child<F: FnOnce()>(f: F) -> Option<String> {
    let mut command = child_command(f)?;
    // An arena that malloc makes for a thread would count in what some of these tests measure.
    let output = command.arg("--nocapture").env("MALLOC_ARENA_MAX", "1").output().expect("a child");
    let said = text(&output);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    Some(said)
}

/// What a child has said on stdout, and then on stderr.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
