//! The standard streams, which are those of children that run the test `a_child`.

use crate::common::{MOMENT, command, is_nonblocking, on_one_worker, role};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::process::{Child, Command, Stdio};
use std::thread;
use sward::task::JoinError;
use sward::time::timeout;

/// The test `a_child`, in that role.
fn child_in(role: &str) -> Command {
    command("stdio::a_child", role)
}

/// What the children do. In the parent it is nothing.
#[test]
fn a_child() {
    match role().as_deref() {
        Some("shout") => on_one_worker(shout),
        Some("much") => on_one_worker(much),
        Some("waits") => on_one_worker(waits_for_input),
        Some("exit") => on_one_worker(|| {
            write!(sward::io::stdout(), "no end of line").unwrap();
            std::process::exit(0);
        }),
        Some("return") => on_one_worker(|| write!(sward::io::stdout(), "no end of line").unwrap()),
        Some("closed") => on_one_worker(closed),
        Some(role) => panic!("no such role: {role}"),
        None => {}
    }
}

/// Writes lines back in upper case. Shows first that the worker is free while it waits for a line.
fn shout() {
    let shouting = sward::spawn(|| {
        let mut last = String::new();
        for line in sward::io::stdin().lines() {
            last = line.unwrap().to_uppercase();
            writeln!(sward::io::stdout(), "{last}").unwrap();
        }
        writeln!(sward::io::stdout(), "ended after {last}").unwrap();
    });
    sward::sleep(MOMENT);
    let shared = is_nonblocking(&sward::io::stdin()) || is_nonblocking(&sward::io::stdout());
    writeln!(sward::io::stderr(), "free, nonblocking: {shared}").unwrap();
    shouting.join().unwrap();
}

/// Writes more than a reader takes at once.
fn much() {
    let writing = sward::spawn(|| {
        let mut out = sward::io::stdout().lock();
        for _ in 0..1 << 14 {
            out.write_all(&[b'x'; 63]).unwrap();
            out.write_all(b"\n").unwrap();
        }
    });
    sward::sleep(MOMENT);
    writeln!(sward::io::stderr(), "free").unwrap();
    writing.join().unwrap();
}

/// Two waits end early, and nothing is lost.
fn waits_for_input() {
    let mut line = String::new();
    assert!(timeout(MOMENT, || sward::io::stdin().read_line(&mut line)).is_err());
    let (locks, locked) = sward::channel::bounded(1);
    let parked = sward::spawn(move || {
        let mut input = sward::io::stdin().lock();
        locks.send(()).unwrap();
        input.read_line(&mut String::new())
    });
    locked.recv().unwrap();
    sward::sleep(MOMENT);
    // A wait for the lock parks, too.
    assert!(timeout(MOMENT, || drop(sward::io::stdin().lock())).is_err());
    parked.cancel();
    assert!(matches!(parked.join(), Err(JoinError::Cancelled)));
    writeln!(sward::io::stderr(), "gave up").unwrap();
    sward::io::stdin().read_line(&mut line).unwrap();
    let mut rest = String::new();
    sward::io::stdin().read_to_string(&mut rest).unwrap();
    assert_eq!((line.as_str(), rest.as_str()), ("first\n", "second\nthird"));
}

fn closed() {
    // SAFETY: this process uses the stream afterwards only as a closed one.
    unsafe { libc::close(0) };
    assert_eq!(sward::io::stdin().read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(sward::io::stdin().read_line(&mut String::new()).unwrap(), 0);
}

fn piped(role: &str) -> Child {
    child_in(role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a child")
}

/// Reads lines until one contains the text.
fn until(reader: &mut impl BufRead, what: &str) -> String {
    loop {
        let mut line = String::new();
        let count = reader.read_line(&mut line).unwrap_or(0);
        assert_ne!(count, 0, "the end, and no {what:?}");
        if line.contains(what) {
            return line;
        }
    }
}

fn succeeds(mut child: Child) {
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(child.wait().unwrap().success(), "{errors}");
}

#[test]
fn as_pipes() {
    let mut child = piped("shout");
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    assert!(until(&mut errors, "free").contains("nonblocking: false"));
    let (mut input, mut output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    for word in ["one", "two"] {
        writeln!(input, "{word}").unwrap();
        until(&mut output, &word.to_uppercase());
    }
    write!(input, "half a ").unwrap();
    thread::sleep(MOMENT);
    write!(input, "line").unwrap();
    drop(input);
    until(&mut output, "ended after HALF A LINE");
    assert!(child.wait().unwrap().success());
}

#[test]
fn as_files() {
    let path = std::env::temp_dir().join(format!("sward-stdio-{}", std::process::id()));
    let open = || File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    let mut input = open();
    input.write_all(&b"line\n".repeat(10_000)).unwrap();
    input.rewind().unwrap();
    std::fs::remove_file(&path).unwrap();
    let mut output = open();
    let mut child = child_in("shout")
        .stdin(input)
        .stdout(output.try_clone().unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(child.wait().unwrap().success(), "{errors}");
    output.rewind().unwrap();
    let text = io::read_to_string(output).unwrap();
    assert_eq!(text.matches("LINE\n").count(), 10_001);
    assert!(text.contains("ended after LINE"));
}

fn terminal() -> Option<(File, File)> {
    let (mut master, mut slave) = (-1, -1);
    let none = std::ptr::null_mut();
    // SAFETY: there is room for two descriptors; the other arguments may be null.
    let made = unsafe { libc::openpty(&raw mut master, &raw mut slave, none, none.cast(), none.cast()) };
    if made != 0 {
        eprintln!("skipped: no terminal here: {}", io::Error::last_os_error());
        return None;
    }
    for fd in [master, slave] {
        // SAFETY: the call takes no pointers.
        assert_eq!(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }, 0);
    }
    // SAFETY: new descriptors without another owner.
    Some(unsafe { (OwnedFd::from_raw_fd(master).into(), OwnedFd::from_raw_fd(slave).into()) })
}

#[test]
fn as_a_terminal() {
    let Some((mut master, slave)) = terminal() else { return };
    let mut child = child_in("shout")
        .stdin(slave.try_clone().unwrap())
        .stdout(slave)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    assert!(until(&mut errors, "free").contains("nonblocking: false"));
    let mut output = BufReader::new(master.try_clone().unwrap());
    for word in ["one", "two"] {
        writeln!(master, "{word}").unwrap();
        until(&mut output, &word.to_uppercase());
    }
    master.write_all(b"half\n\x04").unwrap();
    until(&mut output, "ended after HALF");
    // Reads what the child still prints, so that it can end.
    let drain = thread::spawn(move || drop(output.read_to_end(&mut Vec::new())));
    assert!(child.wait().unwrap().success());
    drain.join().unwrap();
}

#[test]
fn a_worker_does_not_block_on_a_missing_reader() {
    let mut child = piped("much");
    until(&mut BufReader::new(child.stderr.take().unwrap()), "free");
    let mut all = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut all).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(all.iter().filter(|&&byte| byte == b'x').count(), 63 << 14);

    let Some((master, slave)) = terminal() else { return };
    let mut child = child_in("much").stdout(slave).stderr(Stdio::piped()).spawn().unwrap();
    until(&mut BufReader::new(child.stderr.take().unwrap()), "free");
    let mut all = Vec::new();
    // A terminal without another side is an error, not the end.
    let _ = (&master).read_to_end(&mut all);
    assert!(child.wait().unwrap().success());
    assert_eq!(all.iter().filter(|&&byte| byte == b'x').count(), 63 << 14);
}

#[test]
fn a_wait_for_input_ends_by_cancelling_and_by_a_limit() {
    let mut child = piped("waits");
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    until(&mut errors, "gave up");
    child.stdin.take().unwrap().write_all(b"first\nsecond\nthird").unwrap();
    let mut rest = String::new();
    errors.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
}

#[test]
fn the_end_of_the_process_flushes() {
    for role in ["exit", "return"] {
        let output = child_in(role).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("no end of line"), "{role}: {text}");
    }
}

#[test]
fn closed_input_is_at_its_end() {
    succeeds(piped("closed"));
}

/// Of this process.
#[test]
fn handles_have_the_auto_traits_of_std() {
    fn check<T: Send + Sync + Unpin + std::fmt::Debug + UnwindSafe + RefUnwindSafe>() {}
    check::<sward::io::Stdin>();
    check::<sward::io::Stdout>();
    check::<sward::io::Stderr>();
    assert_eq!(sward::io::stdin().as_raw_fd(), 0);
    assert_eq!(sward::io::stdout().as_fd().as_raw_fd(), 1);
    assert_eq!(sward::io::stderr().lock().as_raw_fd(), 2);
    let null = File::open("/dev/null").unwrap();
    let child = child_in("shout").stdin(null).stdout(Stdio::piped()).output().unwrap();
    assert!(child.status.success());
    assert_eq!(sward::io::stdin().is_terminal(), io::IsTerminal::is_terminal(&io::stdin()));
}
