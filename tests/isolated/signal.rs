//! Signals, raised by the test itself.

use crate::common::{LONG, in_child};
use std::io::ErrorKind;
use std::time::Duration;
use sward::channel::after;
use sward::signal::{SignalKind, ctrl_c, signal};

fn raise(kind: SignalKind) {
    // SAFETY: the call takes no pointers; the signal has a handler.
    assert_eq!(unsafe { libc::raise(kind.as_raw()) }, 0);
}

#[test]
fn what_cannot_be_waited_for_is_an_error() {
    in_child(|| {
        for number in [libc::SIGKILL, libc::SIGSEGV, 0, -1, 10_000] {
            let error = signal(SignalKind::from_raw(number)).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::InvalidInput), "{number}: {error}");
        }
    });
}

#[test]
fn each_stream_gets_each_arrival() {
    in_child(|| {
        let kind = SignalKind::USER_DEFINED1;
        let (one, other) = (signal(kind).unwrap(), signal(kind).unwrap());
        drop(signal(kind).unwrap());
        raise(kind);
        assert!(one.recv_timeout(LONG));
        other.recv();
        assert!(!one.try_recv() && one.kind() == kind);
        // Several signals before a receive may arrive as one.
        raise(kind);
        raise(kind);
        assert!(one.recv_timeout(LONG));
    });
}

#[test]
fn a_coroutine_waits_while_the_others_run() {
    in_child(|| {
        let runtime = sward::runtime::Builder::new().worker_threads(1).build().unwrap();
        runtime.run(|| {
            let signals = signal(SignalKind::USER_DEFINED2).unwrap();
            let waiting = sward::spawn(move || {
                sward::select! {
                    recv(signals) -> _ => true,
                    recv(after(LONG)) -> _ => false,
                }
            });
            sward::yield_now();
            assert!(!waiting.is_finished());
            raise(SignalKind::USER_DEFINED2);
            assert!(waiting.join().unwrap());
            let waiting = sward::spawn(ctrl_c);
            sward::sleep(Duration::from_millis(5));
            // It may not have begun to wait, so the signal is raised again until it has.
            while !waiting.is_finished() {
                let own = signal(SignalKind::INTERRUPT).unwrap();
                raise(SignalKind::INTERRUPT);
                own.recv();
                sward::sleep(Duration::from_millis(1));
            }
            waiting.join().unwrap().unwrap();
        });
    });
}

/// Between `fork` and `exec` a child has the handlers of its parent, and the pipe that they write to.
#[test]
fn a_signal_for_a_forked_child_is_not_heard_by_its_parent() {
    in_child(|| {
        let (theirs, ours) = (SignalKind::WINDOW_CHANGE, SignalKind::ALARM);
        let (not_heard, heard) = (signal(theirs).unwrap(), signal(ours).unwrap());
        let mut command = sward::process::Command::new("true");
        // SAFETY: the call may be made after `fork`.
        unsafe {
            command.pre_exec(move || {
                assert_eq!(libc::raise(theirs.as_raw()), 0);
                Ok(())
            })
        };
        assert!(command.status().unwrap().success());
        // Signals come through the same pipe, in order.
        raise(ours);
        assert!(heard.recv_timeout(LONG));
        assert!(!not_heard.try_recv());
        raise(theirs);
        assert!(not_heard.recv_timeout(LONG));
    });
}
