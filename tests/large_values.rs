//! Values of 64 KiB on the default stack of 256 KiB, in a build without optimisation: the crate must not copy
//! them again and again. Each function here has one or two of them in its frame.

mod checked;
mod common;

use common::{LONG, on_one_worker};
use std::time::Duration;
use sward::channel::{Receiver, Select, SendTimeoutError, Sender, TrySendError, bounded, oneshot, unbounded};
use sward::runtime::Builder;
use sward::task::{self, CancelToken, JoinHandle, JoinSet, Scope, ScopedJoinHandle};

const SIZE: usize = 64 << 10;

/// A large value that is dropped.
struct Large([u8; SIZE]);

impl Large {
    #[inline(never)]
    fn new() -> Large {
        Large([7; SIZE])
    }

    #[inline(never)]
    fn check(&self) {
        assert!(self.0[0] == 7 && self.0[SIZE - 1] == 7);
    }
}

impl Drop for Large {
    #[inline(never)]
    fn drop(&mut self) {
        self.check();
    }
}

/// A closure that captures a large value, and returns it.
#[inline(never)]
fn capture_and_return() -> impl FnOnce() -> Large + Send + 'static {
    let large = Large::new();
    move || {
        large.check();
        large
    }
}

/// A closure that captures a large value.
#[inline(never)]
fn capture() -> impl FnOnce() + Send + 'static {
    let large = Large::new();
    move || large.check()
}

#[inline(never)]
fn join(handle: JoinHandle<Large>) {
    match handle.join() {
        Ok(ref large) => large.check(),
        Err(error) => panic!("{error}"),
    }
}

#[inline(never)]
fn join_unrun(handle: JoinHandle<Large>) {
    handle.cancel();
    assert!(handle.join().is_err());
}

#[test]
fn coroutines_capture_and_return_large_values() {
    #[inline(never)]
    fn spawn() -> JoinHandle<Large> {
        sward::spawn(capture_and_return())
    }
    #[inline(never)]
    fn spawn_by_builder() -> JoinHandle<Large> {
        task::Builder::new().spawn(capture_and_return()).expect("a runtime")
    }
    on_one_worker(|| {
        join(spawn());
        join(spawn_by_builder());
        drop(spawn());
        join_unrun(spawn());
    });
}

#[test]
fn coroutines_of_scopes_capture_and_return_large_values() {
    #[inline(never)]
    fn spawn<'scope>(s: &'scope Scope<'scope, '_>) -> ScopedJoinHandle<'scope, Large> {
        s.spawn(capture_and_return())
    }
    #[inline(never)]
    fn join(handle: ScopedJoinHandle<'_, Large>) {
        match handle.join() {
            Ok(ref large) => large.check(),
            Err(error) => panic!("{error}"),
        }
    }
    on_one_worker(|| {
        sward::scope(|s| {
            join(spawn(s));
            drop(spawn(s));
        });
    });
}

#[test]
fn a_join_set_has_large_results() {
    #[inline(never)]
    fn spawn(set: &mut JoinSet<Large>) {
        set.spawn(capture_and_return());
    }
    #[inline(never)]
    fn join(set: &mut JoinSet<Large>) {
        match set.join_next() {
            Some(Ok(ref large)) => large.check(),
            _ => panic!("one ends"),
        }
    }
    on_one_worker(|| {
        let mut set = JoinSet::new();
        (0..3).for_each(|_| spawn(&mut set));
        join(&mut set);
    });
}

#[test]
fn scopes_have_large_values() {
    #[inline(never)]
    fn scope() {
        sward::scope(|_| Large::new()).check();
    }
    on_one_worker(scope);
}

#[test]
fn closures_that_run_in_place_capture_large_values() {
    #[inline(never)]
    fn blocking() {
        sward::blocking(capture()).expect("a thread");
    }
    #[inline(never)]
    fn timeout() {
        sward::time::timeout(LONG, capture()).expect("in time");
    }
    #[inline(never)]
    fn mask() {
        task::mask(capture());
    }
    #[inline(never)]
    fn token() {
        CancelToken::new().run(capture()).expect("not cancelled");
    }
    on_one_worker(|| {
        blocking();
        timeout();
        mask();
        token();
    });
}

#[test]
fn closures_that_run_in_place_return_large_values() {
    #[inline(never)]
    fn blocking() {
        match sward::blocking(Large::new) {
            Ok(ref large) => large.check(),
            Err(error) => panic!("{error}"),
        }
    }
    #[inline(never)]
    fn timeout() {
        match sward::time::timeout(LONG, Large::new) {
            Ok(ref large) => large.check(),
            Err(error) => panic!("{error}"),
        }
    }
    #[inline(never)]
    fn mask() {
        task::mask(Large::new).check();
    }
    #[inline(never)]
    fn token() {
        match CancelToken::new().run(Large::new) {
            Ok(ref large) => large.check(),
            Err(error) => panic!("{error}"),
        }
    }
    on_one_worker(|| {
        blocking();
        timeout();
        mask();
        token();
    });
}

#[inline(never)]
fn send(sender: &Sender<Large>) {
    assert!(sender.send(Large::new()).is_ok());
}

#[inline(never)]
fn try_send(sender: &Sender<Large>) {
    assert!(sender.try_send(Large::new()).is_ok());
}

#[inline(never)]
fn send_timeout(sender: &Sender<Large>) {
    assert!(sender.send_timeout(Large::new(), LONG).is_ok());
}

#[inline(never)]
fn select_send(sender: &Sender<Large>) {
    let mut arm = sender.arm(Large::new());
    let mut select = Select::new();
    select.send(&mut arm);
    assert_eq!(select.wait(), 0);
}

#[inline(never)]
fn recv(receiver: &Receiver<Large>) {
    receiver.recv().as_ref().expect("a message").check();
}

#[inline(never)]
fn try_recv(receiver: &Receiver<Large>) {
    receiver.try_recv().as_ref().expect("a message").check();
}

#[inline(never)]
fn recv_timeout(receiver: &Receiver<Large>) {
    receiver.recv_timeout(LONG).as_ref().expect("a message").check();
}

#[inline(never)]
fn next(receiver: &Receiver<Large>) {
    receiver.iter().next().as_ref().expect("a message").check();
}

#[inline(never)]
fn select_recv(receiver: &Receiver<Large>) {
    let mut arm = receiver.arm();
    let mut select = Select::new();
    select.recv(&mut arm);
    assert_eq!(select.wait(), 0);
    arm.finish().as_ref().expect("a message").check();
}

const SENDS: [fn(&Sender<Large>); 3] = [send, send_timeout, select_send];
const RECEIVES: [fn(&Receiver<Large>); 4] = [recv, recv_timeout, next, select_recv];

#[test]
fn channels_queue_large_messages() {
    on_one_worker(|| {
        for (sender, receiver) in [bounded(2), unbounded()] {
            for send in SENDS.into_iter().chain([try_send as fn(&_)]) {
                for recv in RECEIVES.into_iter().chain([try_recv as fn(&_)]) {
                    send(&sender);
                    recv(&receiver);
                }
            }
            send(&sender);
        }
    });
}

#[test]
fn large_messages_meet_waiters() {
    on_one_worker(|| {
        for send in SENDS {
            for recv in RECEIVES {
                for sender_first in [true, false] {
                    let (sender, receiver) = bounded(0);
                    let (sends, receives) = (move || send(&sender), move || recv(&receiver));
                    let [first, second] = if sender_first {
                        let first = sward::spawn(sends);
                        sward::yield_now();
                        [first, sward::spawn(receives)]
                    } else {
                        let first = sward::spawn(receives);
                        sward::yield_now();
                        [first, sward::spawn(sends)]
                    };
                    first.join().expect("no panic");
                    second.join().expect("no panic");
                }
            }
        }
    });
}

#[test]
fn large_messages_come_back_that_cannot_be_sent() {
    #[inline(never)]
    fn full(sender: &Sender<Large>) {
        match Box::new(sender.try_send(Large::new())).as_ref() {
            Err(TrySendError::Full(large)) => large.check(),
            _ => panic!("there is no room"),
        }
    }
    #[inline(never)]
    fn late(sender: &Sender<Large>) {
        match Box::new(sender.send_timeout(Large::new(), Duration::from_millis(1))).as_ref() {
            Err(SendTimeoutError::Timeout(large)) => large.check(),
            _ => panic!("there is no room"),
        }
    }
    #[inline(never)]
    fn closed(sender: &Sender<Large>) {
        match Box::new(sender.send(Large::new())).as_ref() {
            Err(error) => error.0.check(),
            Ok(()) => panic!("there is no receiver"),
        }
    }
    // The error is in the frame of the caller as well.
    let size = 512 << 10;
    Builder::new().worker_threads(1).stack_size(size).build().expect("a runtime").run(|| {
        let (sender, receiver) = bounded(0);
        full(&sender);
        late(&sender);
        drop(receiver);
        closed(&sender);
    });
}

#[test]
fn a_oneshot_has_a_large_message() {
    #[inline(never)]
    fn send(sender: oneshot::Sender<Large>) {
        assert!(sender.send(Large::new()).is_ok());
    }
    #[inline(never)]
    fn recv(receiver: &oneshot::Receiver<Large>) {
        receiver.recv().as_ref().expect("a message").check();
    }
    on_one_worker(|| {
        let (sender, receiver) = oneshot::channel();
        send(sender);
        recv(&receiver);
    });
}

#[test]
fn select_takes_large_messages() {
    #[inline(never)]
    fn recv(receiver: &Receiver<Large>) {
        sward::select! {
            recv(receiver) -> large => large.as_ref().expect("a message").check(),
        }
    }
    #[inline(never)]
    fn send(sender: &Sender<Large>) {
        sward::select! {
            send(sender, Large::new()) -> sent => assert!(sent.is_ok()),
        }
    }
    // Without optimisation, moves of the macro are in the frame of the caller.
    let size = 1 << 20;
    Builder::new().worker_threads(1).stack_size(size).build().expect("a runtime").run(|| {
        let (sender, receiver) = unbounded();
        send(&sender);
        recv(&receiver);
    });
}
