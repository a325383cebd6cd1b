//! Child processes: what std's and tokio's own tests cover, and what is particular to parking.

mod checked;
mod common;

use common::{LONG, MOMENT, both, in_runtime, kind};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use sward::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Output, Stdio};
use sward::task::JoinError;
use sward::time::timeout;

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn cat() -> Child {
    Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("cat")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// The state of a process that is there, be it as a zombie.
fn state(pid: u32) -> Option<char> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Waits until it holds, for as long as that may take on a slow machine.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LONG, "never: {what}");
        sward::sleep(Duration::from_millis(2));
    }
}

#[test]
fn types_are_what_std_s_are() {
    fn check<T: Send + Sync + Unpin + std::fmt::Debug + UnwindSafe + RefUnwindSafe>() {}
    check::<ChildStdin>();
    check::<ChildStdout>();
    check::<ChildStderr>();
    check::<Child>();
    fn shared<T: Send + Sync + std::fmt::Debug>() {}
    shared::<Command>();
}

#[test]
fn the_status_is_told() {
    both(|| {
        assert!(Command::new("true").status().unwrap().success());
        assert_eq!(shell("exit 7").status().unwrap().code(), Some(7));
        let status = shell("kill -9 $$").status().unwrap();
        assert_eq!((status.code(), status.signal()), (None, Some(9)));
        let mut child = shell("exit 3").spawn().unwrap();
        for _ in 0..3 {
            assert_eq!(child.wait().unwrap().code(), Some(3));
        }
        assert_eq!(child.try_wait().unwrap().unwrap().code(), Some(3));
        assert_eq!(child.wait_timeout(Duration::ZERO).unwrap().unwrap().code(), Some(3));
        child.kill().unwrap();
    });
}

#[test]
fn what_cannot_be_started_is_an_error() {
    both(|| {
        assert_eq!(kind(Command::new("/nowhere/at/all").spawn()), ErrorKind::NotFound);
        assert_eq!(kind(Command::new("/nowhere/at/all").output()), ErrorKind::NotFound);
        assert_eq!(kind(Command::new("/nowhere/at/all").status()), ErrorKind::NotFound);
        assert_eq!(kind(Command::new("/").spawn()), ErrorKind::PermissionDenied);
        assert_eq!(kind(Command::new("true").current_dir("/nowhere/at/all").spawn()), ErrorKind::NotFound);
        assert_eq!(kind(Command::new("with\0zero").spawn()), ErrorKind::InvalidInput);
    });
}

#[test]
fn output_is_collected() {
    both(|| {
        let Output { status, stdout, stderr } = shell("echo out; echo err >&2; exit 2").output().unwrap();
        assert_eq!((status.code(), text(&stdout), text(&stderr)), (Some(2), "out\n", "err\n"));
        // Without being told, it reads nothing.
        assert_eq!(Command::new("cat").output().unwrap().stdout, b"");
        // What was asked for stays so, here and afterwards.
        let mut command = shell("echo out; echo err >&2");
        command.stdout(Stdio::null());
        let output = command.output().unwrap();
        assert_eq!((text(&output.stdout), text(&output.stderr)), ("", "err\n"));
        command.stderr(Stdio::null());
        assert!(command.status().unwrap().success());
        assert!(command.spawn().unwrap().stderr.is_none());
        let mut child = Command::new("echo").arg("x").stdout(Stdio::piped()).spawn().unwrap();
        assert!(child.stdin.is_none() && child.stderr.is_none());
        assert_eq!(
            child.stdout.take().map(|mut out| std::io::read_to_string(&mut out).unwrap()).unwrap(),
            "x\n"
        );
        assert_eq!(child.wait_with_output().unwrap().stdout, b"");
    });
}

#[test]
fn the_child_is_as_it_was_asked_for() {
    both(|| {
        let out = |command: &mut Command| text(&command.output().unwrap().stdout).trim_end().to_owned();
        let mut command = shell("echo $A $B $C");
        command.env("A", "1").envs([("B", "2"), ("C", "3")]).env_remove("B");
        assert_eq!(out(&mut command), "1 3");
        assert_eq!(command.get_program(), "sh");
        assert_eq!(command.get_args().count(), 2);
        assert_eq!(command.get_envs().count(), 3);
        assert_eq!(command.get_current_dir(), None);
        let mut bare = Command::new("/usr/bin/env");
        assert_eq!(out(bare.env("A", "1").env_clear().env("B", "2")), "B=2");
        assert_eq!(out(shell("pwd").current_dir("/")), "/");
        assert_eq!(out(Command::new("sh").arg("-c").arg("echo $0").arg0("other")), "other");
        let mut grouped = shell("read line").stdin(Stdio::piped()).process_group(0).spawn().unwrap();
        let pid = grouped.id() as libc::pid_t;
        // SAFETY: the call takes no pointers.
        assert_eq!(unsafe { libc::getpgid(pid) }, pid);
        grouped.wait().unwrap();
        let mut masked = shell("umask");
        // SAFETY: the call may be made after `fork`.
        unsafe {
            masked.pre_exec(|| {
                libc::umask(0o027);
                Ok(())
            })
        };
        assert_eq!(out(&mut masked), "0027");
        let mut from_std = Command::from(std::process::Command::new("echo"));
        from_std.as_std_mut().arg("from std");
        assert_eq!(out(&mut from_std), "from std");
        assert!(format!("{from_std:?}").contains("from std"));
        assert_eq!(from_std.as_std().get_program(), "echo");
    });
}

/// Neither the mask of a worker's thread nor its processors, whichever thread it is.
#[test]
fn the_child_inherits_nothing_odd() {
    let of = |text: &str| -> Vec<String> {
        let wanted = ["SigBlk:", "SigIgn:", "Cpus_allowed:"];
        let lines = text.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name)));
        lines.map(str::to_owned).collect()
    };
    let std = std::process::Command::new("cat").arg("/proc/self/status").output().unwrap();
    let expected = of(text(&std.stdout));
    assert_eq!(expected.len(), 3);
    both(|| {
        let ours = Command::new("cat").arg("/proc/self/status").output().unwrap();
        assert_eq!(of(text(&ours.stdout)), expected);
    });
}

/// Sockets, pollers and pipes of the runtime close on `exec`.
#[test]
fn the_child_inherits_no_descriptors() {
    in_runtime(|| {
        let _pipe = sward::io::pipe().unwrap();
        let _socket = sward::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut other = cat();
        // A wait, for the descriptor that it opens.
        assert!(other.wait_timeout(Duration::ZERO).unwrap().is_none() || other.try_wait().unwrap().is_some());
        let output = Command::new("ls").arg("/proc/self/fd").output().unwrap();
        let fds: BTreeSet<&str> = text(&output.stdout).lines().collect();
        // Three streams, and the folder that is read. The test's harness may have leaked its own.
        let own = std::process::Command::new("ls").arg("/proc/self/fd").output().unwrap();
        assert_eq!(fds, text(&own.stdout).lines().collect());
    });
}

#[test]
fn a_conversation() {
    both(|| {
        let mut child = cat();
        let (mut input, mut output) =
            (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        for i in 0..50 {
            writeln!(input, "line {i}").unwrap();
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            assert_eq!(line, format!("line {i}\n"));
        }
        drop(input);
        assert_eq!(output.read(&mut [0]).unwrap(), 0);
        assert!(child.wait().unwrap().success());
    });
}

/// More than the pipes hold: whoever wrote all first and read then would never end.
#[test]
fn a_mebibyte_through_cat() {
    both(|| {
        let all: Vec<u8> = (0..1 << 20).map(|i| (i % 251) as u8).collect();
        let mut child = cat();
        let mut input = child.stdin.take().unwrap();
        let sent = all.clone();
        let writer = sward::spawn(move || input.write_all(&sent));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success() && output.stdout == all);
    });
}

#[test]
fn a_mebibyte_on_both_streams() {
    both(|| {
        for script in [
            "head -c 1048576 /dev/zero >&2; head -c 1048576 /dev/zero",
            "head -c 1048576 /dev/zero; head -c 1048576 /dev/zero >&2",
        ] {
            let output = shell(script).output().unwrap();
            assert!(output.status.success());
            assert_eq!((output.stdout.len(), output.stderr.len()), (1 << 20, 1 << 20));
        }
        let mut command = shell("head -c 1048576 /dev/zero >&2");
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        assert_eq!(child.wait_with_output().unwrap().stderr.len(), 1 << 20);
    });
}

/// With one worker, whoever blocked would block everything.
#[test]
fn waiting_parks() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().unwrap();
    runtime.run(|| {
        let mut child = cat();
        let (input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let waiting = sward::spawn(move || child.wait().unwrap());
        let reading = sward::spawn(move || output.read(&mut [0; 8]).unwrap());
        sward::sleep(MOMENT);
        assert!(!waiting.is_finished() && !reading.is_finished());
        drop(input);
        assert_eq!(reading.join().unwrap(), 0);
        assert!(waiting.join().unwrap().success());
    });
}

#[test]
fn closed_input_ends_a_wait() {
    both(|| {
        // `wait` closes it by itself.
        let mut child = cat();
        assert!(child.try_wait().unwrap().is_none());
        assert!(child.stdin.is_some());
        assert!(child.wait().unwrap().success());
        assert!(child.stdin.is_none());
        // So does the one with a limit, and whoever collects the output.
        assert!(cat().wait_timeout(LONG).unwrap().unwrap().success());
        assert!(cat().wait_with_output().unwrap().stdout.is_empty());
    });
}

#[test]
fn a_lost_reader_is_an_error() {
    both(|| {
        let mut child = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        assert!(child.wait().unwrap().success());
        // A child that another test has just forked has the reading end, too, until it runs its program.
        let start = Instant::now();
        let error = loop {
            match input.write_all(b"x") {
                Ok(()) => assert!(start.elapsed() < LONG, "somebody reads"),
                Err(error) => break error,
            }
            sward::sleep(Duration::from_millis(1));
        };
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_limited_wait_leaves_the_child() {
    both(|| {
        let mut child = cat();
        let mut input = child.stdin.take();
        for _ in 0..3 {
            assert!(child.wait_timeout(Duration::from_millis(2)).unwrap().is_none());
            assert!(timeout(Duration::from_millis(2), || child.wait()).is_err());
        }
        assert!(child.wait_timeout(Duration::ZERO).unwrap().is_none());
        input.as_mut().unwrap().write_all(b"still there").unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(output.stdout, b"still there");
    });
}

#[test]
fn a_cancelled_wait_leaves_the_child() {
    in_runtime(|| {
        let mut child = cat();
        let input = child.stdin.take();
        sward::scope(|s| {
            let waiting = s.spawn(|| child.wait());
            sward::sleep(MOMENT);
            waiting.cancel();
            assert!(matches!(waiting.join(), Err(JoinError::Cancelled)));
        });
        drop(input);
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn cancelled_reads_and_writes_lose_nothing() {
    both(|| {
        let mut child = cat();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        assert!(timeout(Duration::from_millis(2), || output.read(&mut [0; 8])).is_err());
        input.write_all(b"kept").unwrap();
        let mut kept = [0; 4];
        output.read_exact(&mut kept).unwrap();
        assert_eq!(&kept, b"kept");
        // Nobody reads: both pipes fill.
        assert!(timeout(MOMENT, || while input.write(&[0; 1 << 16]).is_ok() {}).is_err());
        drop(input);
        assert!(child.wait_timeout(Duration::from_millis(1)).unwrap().is_none());
        drop(output);
        assert!(!child.wait().unwrap().success());
    });
}

#[test]
fn a_killed_child_ends() {
    both(|| {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        let parked = sward::spawn(|| {
            let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
            let pid = child.id();
            sward::spawn(move || {
                sward::sleep(MOMENT);
                // SAFETY: the call takes no pointers. The process was not waited for.
                unsafe { libc::kill(pid as libc::pid_t, libc::SIGTERM) }
            });
            child.wait().unwrap()
        });
        assert_eq!(parked.join().unwrap().signal(), Some(libc::SIGTERM));
    });
}

/// The tests that drop children, one at a time: the drops of one would reap the children of another.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_dropped_child_is_killed_if_that_was_asked_for() {
    let _alone = alone();
    both(|| {
        let child = Command::new("sleep").arg("1000").kill_on_drop(true).spawn().unwrap();
        let pid = child.id();
        assert!(state(pid).is_some());
        drop(child);
        // Killed and reaped, without any other call.
        eventually("it is gone", || state(pid).is_none());
        // So it is when what waits for it is cancelled.
        let waiting = sward::spawn(|| Command::new("sleep").arg("1000").kill_on_drop(true).output());
        sward::sleep(MOMENT);
        waiting.cancel();
        assert!(matches!(waiting.join(), Err(JoinError::Cancelled)));
    });
}

#[test]
fn a_dropped_child_goes_on_and_is_reaped() {
    let _alone = alone();
    both(|| {
        let mut child = cat();
        let (pid, mut input, mut output) =
            (child.id(), child.stdin.take().unwrap(), child.stdout.take().unwrap());
        drop(child);
        input.write_all(b"alive").unwrap();
        output.read_exact(&mut [0; 5]).unwrap();
        drop(input);
        eventually("it is reaped, although nothing else happens", || state(pid).is_none());
        // One that has ended is reaped by the drop itself.
        let mut child = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        assert_eq!(child.stdout.take().unwrap().read(&mut [0]).unwrap(), 0);
        eventually("it has ended", || state(pid) == Some('Z'));
        drop(child);
        assert_eq!(state(pid), None);
    });
}

/// Children that nobody waits for any more: their zombies stayed until another child was started or dropped.
#[test]
fn a_child_whose_wait_timed_out_leaves_no_zombie() {
    let _alone = alone();
    both(|| {
        let pids: Vec<u32> = (0..20)
            .map(|_| {
                let mut child = Command::new("sleep").arg("0.2").spawn().unwrap();
                assert!(timeout(Duration::from_millis(1), || child.wait()).is_err());
                child.id()
            })
            .collect();
        eventually("all are reaped", || pids.iter().all(|&pid| state(pid).is_none()));
        // The thread that did it has left, and so have its descriptors; the next one starts another.
        eventually("nothing is left of it", || !thread_names().iter().any(|name| name == "sward-reaper"));
        let child = Command::new("sleep").arg("0.1").spawn().unwrap();
        let pid = child.id();
        drop(child);
        eventually("it is reaped", || state(pid).is_none());
    });
}

fn thread_names() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    tasks.filter_map(name).map(|name| name.trim_end().to_owned()).collect()
}

#[test]
fn a_hundred_at_once() {
    in_runtime(|| {
        let all: Vec<_> = (0..100)
            .map(|i| {
                sward::spawn(move || {
                    let mut child = cat();
                    let mut input = child.stdin.take().unwrap();
                    write!(input, "{i}").unwrap();
                    drop(input);
                    text(&child.wait_with_output().unwrap().stdout).parse::<usize>().unwrap()
                })
            })
            .collect();
        for (i, handle) in all.into_iter().enumerate() {
            assert_eq!(handle.join().unwrap(), i);
        }
    });
}

/// A child outlives the runtime in which it was started, and is waited for in another.
#[test]
fn from_runtime_to_runtime() {
    let mut child = in_runtime(|| {
        let mut child = cat();
        let input = child.stdin.take();
        assert!(child.wait_timeout(Duration::from_millis(2)).unwrap().is_none());
        child.stdin = input;
        child
    });
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    in_runtime(|| {
        input.write_all(b"x").unwrap();
        output.read_exact(&mut [0]).unwrap();
    });
    drop(input);
    assert!(in_runtime(|| child.wait()).unwrap().success());
}

#[test]
fn streams_come_from_std_and_go_there() {
    both(|| {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = ChildStdin::from(child.stdin.take().unwrap());
        let mut output = ChildStdout::from(child.stdout.take().unwrap());
        input.write_all(b"one").unwrap();
        let mut buf = [0; 3];
        output.read_exact(&mut buf).unwrap();
        assert_eq!(output.as_fd().as_raw_fd(), output.as_raw_fd());

        let mut input = input.into_std().unwrap();
        input.write_all(b"two").unwrap();
        std::process::ChildStdout::try_from(output).unwrap().read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"two");
        // SAFETY: the descriptor was just given up by its owner.
        drop(unsafe { OwnedFd::from_raw_fd(ChildStdin::from(input).into_raw_fd()) });
        sward::blocking(|| child.wait()).unwrap().unwrap();
    });
}

/// One child's output is another's input; neither is read here.
#[test]
fn a_pipeline_of_children() {
    both(|| {
        let mut first = Command::new("echo").arg("b\na").stdout(Stdio::piped()).spawn().unwrap();
        let output = Command::new("sort").stdin(first.stdout.take().unwrap()).output().unwrap();
        assert_eq!(text(&output.stdout), "a\nb\n");
        assert!(first.wait().unwrap().success());
        let (mut reader, writer) = sward::io::pipe().unwrap();
        let mut second = shell("echo one; echo two >&2");
        second.stdout(writer.try_clone().unwrap()).stderr(writer);
        assert!(second.status().unwrap().success());
        drop(second);
        assert_eq!(std::io::read_to_string(&mut reader).unwrap(), "one\ntwo\n");
    });
}
