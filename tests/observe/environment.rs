//! Dumps on a signal, by a variable or a line, and what a forked child may do.

use crate::common::{LONG, child, command, in_child, is_child, temporary_path, text, this_test};
use crate::find::{start, until_parked};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use sward::runtime::Builder;

/// Starts that test as a child, and returns when it has written "ready" to stderr. The closure reads on until
/// all of these parts have been written.
fn start_child(test: &str, environment: &[(&str, &str)]) -> (Child, impl FnMut(&[&str]) -> String + use<>) {
    let mut command = command(test, test);
    let mut child = command
        .envs(environment.iter().copied())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("a child");
    let (sender, receiver) = channel();
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut seen = String::new();
    let mut until = move |parts: &[&str]| {
        while !parts.iter().all(|part| seen.contains(part)) {
            let line = receiver.recv_timeout(Duration::from_secs(120));
            seen.push_str(&line.unwrap_or_else(|_| panic!("no {parts:?} in:\n{seen}")));
            seen.push('\n');
        }
        std::mem::take(&mut seen)
    };
    until(&["ready"]);
    (child, until)
}

fn send(child: &Child, signal: i32) {
    // SAFETY: the call takes no pointers; the number is still the child's, as no call has waited for it.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, signal) }, 0);
}

/// All workers compute, so only a thread of its own can make the dump.
fn hang_all_workers() {
    sward::run(|| {
        drop(start("sibling", || sward::sleep(LONG)));
        until_parked("sibling", "sleep");
        let hogs = Arc::new(AtomicUsize::new(0));
        for _ in 0..2 {
            let hogs = hogs.clone();
            drop(start("hog", move || {
                hogs.fetch_add(1, Ordering::Relaxed);
                loop {
                    std::hint::spin_loop();
                }
            }));
        }
        std::thread::spawn(move || {
            while hogs.load(Ordering::Relaxed) < 2 {
                std::thread::sleep(Duration::from_millis(1));
            }
            eprintln!("ready");
        });
        // Perhaps this coroutine never runs again.
        sward::sleep(LONG);
    });
}

#[test]
fn a_signal_makes_a_dump_while_all_workers_are_stuck_and_the_program_goes_on() {
    if is_child() {
        return hang_all_workers();
    }
    let environment = [("SWARD_DUMP_SIGNAL", "QUIT"), ("SWARD_WORKERS", "2"), ("SWARD_CHECK", "0")];
    let (mut child, mut until) = start_child(this_test!(), &environment);
    for _ in 0..2 {
        send(&child, libc::SIGQUIT);
        until(&["sward: dump of process", "\"sibling\"", "parked in sleep", "\"hog\"", ": running"]);
    }
    assert!(child.try_wait().expect("a child").is_none(), "it goes on");
    child.kill().expect("killed");
    child.wait().expect("reaped");
}

#[test]
fn a_builder_names_a_signal_and_a_variable_the_file() {
    if is_child() {
        let runtime = Builder::new().worker_threads(2).dump_on(libc::SIGUSR1).build().expect("a runtime");
        return runtime.run(|| {
            drop(start("waits", || sward::sleep(LONG)));
            until_parked("waits", "sleep");
            eprintln!("ready");
            sward::sleep(LONG);
        });
    }
    for ending in ["txt", "json"] {
        let path = temporary_path().with_extension(ending);
        let file = path.to_str().expect("UTF-8");
        let (mut child, _until) = start_child(this_test!(), &[("SWARD_DUMP_FILE", file)]);
        send(&child, libc::SIGUSR1);
        let begin = Instant::now();
        let mut text = String::new();
        while !text.ends_with('\n') {
            assert!(begin.elapsed() < Duration::from_secs(120), "no dump: {text}");
            std::thread::sleep(Duration::from_millis(5));
            text = std::fs::read_to_string(&path).unwrap_or_default();
        }
        if ending == "json" {
            let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(value["process"], child.id());
        } else {
            assert!(text.contains("\"waits\"") && text.contains("parked in sleep"), "{text}");
        }
        child.kill().expect("killed");
        child.wait().expect("reaped");
        std::fs::remove_file(&path).expect("removed");
    }
}

/// The program's own handler is still called.
#[test]
fn a_handler_that_was_there_before_is_called() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static CALLED: AtomicU32 = AtomicU32::new(0);
    extern "C" fn count(_: i32) {
        CALLED.fetch_add(1, Ordering::Relaxed);
    }
    let _ = in_child(|| {
        let handler: extern "C" fn(i32) = count;
        // SAFETY: the handler changes an atomic.
        unsafe { libc::signal(libc::SIGUSR2, handler as libc::sighandler_t) };
        let runtime = Builder::new().dump_on(libc::SIGUSR2).build().expect("a runtime");
        for number in 1..=3 {
            // SAFETY: the call takes no pointers.
            unsafe { libc::raise(libc::SIGUSR2) };
            assert_eq!(CALLED.load(Ordering::Relaxed), number);
        }
        drop(runtime);
    });
}

#[test]
fn wrong_signals_are_errors() {
    for signal in [libc::SIGKILL, libc::SIGSEGV, 0, -1, 1000] {
        let error = Builder::new().worker_threads(1).dump_on(signal).build().expect_err("refused");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
    if is_child() {
        let error = Builder::new().build().expect_err("nonsense");
        println!("error: {error}");
        return;
    }
    for value in ["quit", "KILL", "0", "999", "QUIT,INT"] {
        let output = child(this_test!(), &[("SWARD_DUMP_SIGNAL", value)]);
        let said = text(&output);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("environment variable SWARD_DUMP_SIGNAL=") && said.contains(value), "{said}");
        assert!(said.contains("want HUP, INT, QUIT"), "{said}");
    }
}

#[test]
fn a_dump_in_a_forked_child_is_refused() {
    let said = in_child(|| {
        let runtime = Builder::new().worker_threads(1).build().expect("a runtime");
        // SAFETY: the child makes a dump, which ends it, or exits.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            drop(sward::observe::dump());
            // SAFETY: the call takes no pointers.
            unsafe { libc::_exit(0) };
        }
        let mut status = 0;
        // SAFETY: the place for the status lives until the call ends.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert!(libc::WIFSIGNALED(status), "{status}");
        drop(runtime);
    });
    if let Some(said) = said {
        assert!(said.contains("forked while a runtime was alive"), "{said}");
    }
}

#[test]
fn a_daemon_starts_its_own_dumps() {
    let _ = in_child(|| {
        drop(Builder::new().worker_threads(1).dump_on(libc::SIGUSR1).build().expect("a runtime"));
        // SAFETY: no runtime lives, so the child may start one.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let runtime = Builder::new().worker_threads(1).dump_on(libc::SIGUSR1).build().expect("a runtime");
            let shown = sward::observe::dump().runtimes.len();
            drop(runtime);
            // SAFETY: the call takes no pointers.
            unsafe { libc::_exit(i32::from(shown != 1)) };
        }
        let mut status = 0;
        // SAFETY: the place for the status lives until the call ends.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status}");
    });
}
