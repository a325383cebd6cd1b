//! `Command`: what a child is started with.

use crate::common::{both, in_runtime, kind};
use crate::tools::{cat, shell, utf8};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;
use sward::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};

#[test]
fn types_have_the_auto_traits_of_std() {
    fn check<T: Send + Sync + Unpin + std::fmt::Debug + UnwindSafe + RefUnwindSafe>() {}
    check::<ChildStdin>();
    check::<ChildStdout>();
    check::<ChildStderr>();
    check::<Child>();
    fn shared<T: Send + Sync + std::fmt::Debug>() {}
    shared::<Command>();
}

#[test]
fn a_program_that_cannot_be_started_is_an_error() {
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
fn the_child_has_the_settings_of_the_command() {
    both(|| {
        let out = |command: &mut Command| utf8(&command.output().unwrap().stdout).trim_end().to_owned();
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

/// A child inherits neither the signal mask of the worker's thread nor its processors.
#[test]
fn the_child_inherits_no_mask_and_no_processors() {
    let of = |text: &str| -> Vec<String> {
        let wanted = ["SigBlk:", "SigIgn:", "Cpus_allowed:"];
        let lines = text.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name)));
        lines.map(str::to_owned).collect()
    };
    let std = std::process::Command::new("cat").arg("/proc/self/status").output().unwrap();
    let expected = of(utf8(&std.stdout));
    assert_eq!(expected.len(), 3);
    both(|| {
        let ours = Command::new("cat").arg("/proc/self/status").output().unwrap();
        assert_eq!(of(utf8(&ours.stdout)), expected);
    });
}

/// The sockets, pollers and pipes of the runtime are closed on `exec`.
#[test]
fn the_child_inherits_no_descriptors() {
    in_runtime(|| {
        let _pipe = sward::io::pipe().unwrap();
        let _socket = sward::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut other = cat();
        // A wait first, for the descriptor that it opens.
        assert!(other.wait_timeout(Duration::ZERO).unwrap().is_none() || other.try_wait().unwrap().is_some());
        let output = Command::new("ls").arg("/proc/self/fd").output().unwrap();
        let fds: BTreeSet<&str> = utf8(&output.stdout).lines().collect();
        // Three streams, and the folder that is read. The test harness may have leaked descriptors of its
        // own.
        let own = std::process::Command::new("ls").arg("/proc/self/fd").output().unwrap();
        assert_eq!(fds, utf8(&own.stdout).lines().collect());
    });
}
