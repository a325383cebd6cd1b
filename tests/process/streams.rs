//! The standard streams of children.

use crate::common::{LONG, MOMENT, both, pattern};
use crate::tools::{cat, shell, utf8};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::{Duration, Instant};
use sward::process::{ChildStdin, ChildStdout, Command, Output, Stdio};
use sward::time::timeout;

#[test]
fn output_is_collected() {
    both(|| {
        let Output { status, stdout, stderr } = shell("echo out; echo err >&2; exit 2").output().unwrap();
        assert_eq!((status.code(), utf8(&stdout), utf8(&stderr)), (Some(2), "out\n", "err\n"));
        // By default, a child has no input.
        assert_eq!(Command::new("cat").output().unwrap().stdout, b"");
        // Settings of the command stay, here and for later children.
        let mut command = shell("echo out; echo err >&2");
        command.stdout(Stdio::null());
        let output = command.output().unwrap();
        assert_eq!((utf8(&output.stdout), utf8(&output.stderr)), ("", "err\n"));
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

/// More than the pipes hold, so a test that wrote everything before it read would be a deadlock.
#[test]
fn a_mebibyte_through_cat() {
    both(|| {
        let all = pattern(1 << 20);
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

#[test]
fn closed_input_ends_a_wait() {
    both(|| {
        // `wait` closes it by itself.
        let mut child = cat();
        assert!(child.try_wait().unwrap().is_none());
        assert!(child.stdin.is_some());
        assert!(child.wait().unwrap().success());
        assert!(child.stdin.is_none());
        // So do the wait with a limit, and the call that collects the output.
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
        // A child that another test has just forked also has the reading end, until it runs its program.
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
fn cancelled_reads_and_writes_lose_nothing() {
    both(|| {
        let mut child = cat();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        assert!(timeout(Duration::from_millis(2), || output.read(&mut [0; 8])).is_err());
        input.write_all(b"kept").unwrap();
        let mut kept = [0; 4];
        output.read_exact(&mut kept).unwrap();
        assert_eq!(&kept, b"kept");
        // The test does not read, so both pipes fill up.
        assert!(timeout(MOMENT, || while input.write(&[0; 1 << 16]).is_ok() {}).is_err());
        drop(input);
        assert!(child.wait_timeout(Duration::from_millis(1)).unwrap().is_none());
        drop(output);
        assert!(!child.wait().unwrap().success());
    });
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
        // SAFETY: its owner has just released the descriptor.
        drop(unsafe { OwnedFd::from_raw_fd(ChildStdin::from(input).into_raw_fd()) });
        sward::blocking(|| child.wait()).unwrap().unwrap();
    });
}

/// The output of one child is the input of another. This process reads neither.
#[test]
fn a_pipeline_of_children() {
    both(|| {
        let mut first = Command::new("echo").arg("b\na").stdout(Stdio::piped()).spawn().unwrap();
        let output = Command::new("sort").stdin(first.stdout.take().unwrap()).output().unwrap();
        assert_eq!(utf8(&output.stdout), "a\nb\n");
        assert!(first.wait().unwrap().success());
        let (mut reader, writer) = sward::io::pipe().unwrap();
        let mut second = shell("echo one; echo two >&2");
        second.stdout(writer.try_clone().unwrap()).stderr(writer);
        assert!(second.status().unwrap().success());
        drop(second);
        assert_eq!(std::io::read_to_string(&mut reader).unwrap(), "one\ntwo\n");
    });
}
