//! `accept` where there are no descriptors left, or the system refuses the call.

use crate::common::{child, cpu_time, in_child, is_child, take_all_descriptors, text, this_test};
use crate::system_calls::refuse;
use std::time::Duration;

/// Without free descriptors, `accept` neither spins nor fails. It goes on once there are some again.
#[test]
fn accept_backs_off_when_descriptors_run_out() {
    use sward::net::{TcpListener, TcpStream};
    if !is_child() {
        let output = child(this_test!(), &[]);
        assert!(output.status.success(), "{}", text(&output));
        assert!(text(&output).contains("backing off"), "{}", text(&output));
        return;
    }
    sward::run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
        // SAFETY: the limit lives until the call ends.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        let client = TcpStream::connect(address).expect("connected");
        let held = take_all_descriptors();
        let accepting = sward::spawn(move || listener.accept().map(drop));
        let before = cpu_time();
        sward::sleep(Duration::from_secs(1));
        assert!(!accepting.is_finished());
        assert!(cpu_time() - before < Duration::from_millis(500), "it spins");
        drop(held);
        accepting.join().expect("no panic").expect("accepted in the end");
        drop(client);
    });
}

/// Leaves the process without free descriptors until the returned value is dropped. One connection waits at
/// the listener.
fn without_descriptors() -> (sward::net::TcpListener, Box<dyn std::any::Any>) {
    let listener = sward::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    // SAFETY: the limit lives until the call ends.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    let client = std::net::TcpStream::connect(listener.local_addr().expect("its address"));
    (listener, Box::new((client.expect("connected"), take_all_descriptors())))
}

/// A listener in non-blocking mode does not wait for descriptors either.
#[test]
fn accept_without_blocking_reports_that_descriptors_ran_out() {
    in_child(|| {
        sward::run(|| {
            let (listener, _held) = without_descriptors();
            listener.set_nonblocking(true).expect("set");
            let mut errors = (0..5).map(|_| listener.accept().expect_err("no descriptor").raw_os_error());
            assert!(errors.all(|errno| errno == Some(libc::EMFILE)));
        });
    });
}

/// `close` on the listener also ends a wait for descriptors.
#[test]
fn close_ends_a_back_off() {
    in_child(|| {
        sward::run(|| {
            let (listener, _held) = without_descriptors();
            let theirs = listener.try_clone().expect("no descriptor needed");
            let accepting = sward::spawn(move || theirs.accept().map(drop));
            let theirs = listener.try_clone().expect("no descriptor needed");
            let thread = std::thread::spawn(move || theirs.accept().map(drop));
            // By now a pause of one second is under way. It began at 635 ms.
            sward::sleep(Duration::from_millis(700));
            listener.close().expect("closed");
            let error = accepting.join().expect("no panic").expect_err("closed");
            assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
            let error = thread.join().expect("no panic").expect_err("closed");
            assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
        });
    });
}

/// The report of a back-off goes to stderr, which may be closed.
#[test]
fn accept_backs_off_with_stderr_gone() {
    use std::os::fd::AsRawFd;
    if !is_child() {
        let output = child(this_test!(), &[]);
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    // SAFETY: the call takes no pointers.
    assert_eq!(unsafe { libc::dup2(writer.as_raw_fd(), 2) }, 2);
    sward::run(|| {
        let (listener, held) = without_descriptors();
        let accepting = sward::spawn(move || listener.accept().map(drop));
        sward::sleep(Duration::from_millis(50));
        drop(held);
        accepting.join().expect("no panic").expect("accepted in the end");
    });
}

/// A fault that does not concern the listener does not end a server that calls `accept()?`.
#[test]
fn a_fault_that_may_pass_does_not_end_a_server() {
    let test = this_test!();
    let passing = [libc::EPERM, libc::ENOSPC, libc::ENOMEM, libc::EPROTO, libc::EOPNOTSUPP, libc::EXDEV];
    if !is_child() {
        for errno in [&passing[..], &[libc::EINVAL, libc::ENOTSOCK]].concat() {
            let output = child(test, &[("SWARD_TEST_ERRNO", &errno.to_string())]);
            assert!(output.status.success(), "{errno}: {}", text(&output));
        }
        return;
    }
    let errno = std::env::var("SWARD_TEST_ERRNO").expect("set").parse().expect("a number");
    refuse(libc::SYS_accept4, errno);
    let test = || {
        let listener = sward::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let _client =
            sward::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let accepted = sward::time::timeout(Duration::from_millis(30), || listener.accept());
        match accepted {
            Ok(Err(error)) => assert!(!passing.contains(&errno) && error.raw_os_error() == Some(errno)),
            Ok(Ok(_)) => unreachable!("the call is refused"),
            Err(_) => assert!(passing.contains(&errno), "{errno} is the listener's"),
        }
    };
    sward::run(test);
    test();
}
