//! Forked children.

use crate::common::{child, is_child, text, this_test};
use std::time::Duration;

/// A forked child that uses the runtime is stopped.
#[test]
fn a_forked_child_is_refused() {
    if !is_child() {
        let output = child(this_test!(), &[]);
        assert!(output.status.success(), "{}", text(&output));
        assert!(text(&output).contains("may only exec"), "{}", text(&output));
        return;
    }
    sward::spawn(|| ()).join().expect("the runtime runs");
    // SAFETY: the child only calls into the runtime, which this tests, and ends.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            drop(sward::spawn(|| ()));
            libc::_exit(0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGABRT);
    }
}

/// A program becomes a daemon between two runs, and so does its child. It has used everything that has
/// threads.
#[test]
fn a_child_forked_after_the_last_runtime_has_its_own() {
    if !is_child() {
        let output = child(this_test!(), &[]);
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    let work = || {
        let connected = sward::run(|| {
            let orphan = sward::process::Command::new("sleep").arg("0.05").spawn().expect("a child");
            drop(orphan);
            let calls: Vec<_> = (0..20).map(|_| sward::spawn(|| sward::fs::metadata("Cargo.toml"))).collect();
            assert!(calls.into_iter().all(|call| call.join().expect("no panic").is_ok()));
            let listener = sward::net::TcpListener::bind(("localhost", 0)).expect("a listener");
            let address = listener.local_addr().expect("bound");
            let client = sward::spawn(move || sward::net::TcpStream::connect(address).expect("connected"));
            let server = listener.accept().expect("accepted");
            sward::sleep(Duration::from_millis(1));
            (client.join().expect("no panic"), server)
        });
        drop(connected);
        hear_a_signal();
    };
    // SAFETY: no runtime is alive. What the child does is the test.
    unsafe {
        libc::alarm(60);
        work();
        for generation in 0..3 {
            let pid = libc::fork();
            if pid == 0 {
                libc::alarm(60);
                work();
                continue;
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "generation {generation}");
            if generation == 0 {
                work();
                return;
            }
            libc::_exit(0);
        }
        libc::_exit(0);
    }
}

#[cfg(feature = "signal")]
fn hear_a_signal() {
    use sward::signal::{SignalKind, signal};
    let signals = signal(SignalKind::USER_DEFINED1).expect("a stream");
    // SAFETY: the call takes no pointers; the signal has a handler.
    assert_eq!(unsafe { libc::raise(libc::SIGUSR1) }, 0);
    assert!(signals.recv_timeout(Duration::from_secs(120)));
}

#[cfg(not(feature = "signal"))]
fn hear_a_signal() {}

/// A forked child that drops what it has inherited does not change the parent's pollers, and does not wait
/// for threads that exist only in the parent.
#[test]
fn drops_in_a_forked_child_do_not_affect_the_parent() {
    use std::io::{Read, Write};
    if !is_child() {
        let output = child(this_test!(), &[]);
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    let (mut ours, theirs) = runtime.run(|| {
        let listener = sward::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        let mut theirs = std::net::TcpStream::connect(address).expect("connected");
        let (mut ours, _) = listener.accept().expect("accepted");
        // Makes the source join the shard of the worker.
        let reader = sward::spawn(move || ours.read_exact(&mut [0]).map(|()| ours));
        sward::sleep(Duration::from_millis(20));
        theirs.write_all(b"x").expect("written");
        (reader.join().expect("no panic").expect("read"), theirs)
    });
    // SAFETY: the child drops what it has, which this tests, and ends.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::alarm(60);
            drop(ours);
            drop(runtime);
            libc::_exit(0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        assert!(libc::WIFEXITED(status), "the child waits for what it does not have");
    }
    runtime.run(|| {
        ours.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
        let reader = sward::spawn(move || ours.read_exact(&mut [0]));
        sward::sleep(Duration::from_millis(20));
        (&theirs).write_all(b"y").expect("written");
        reader.join().expect("no panic").expect("the parent's socket is watched no more");
    });
}
