//! Values of 64 KiB on the default stack of 256 KiB, in a build without optimisation: the crate may not copy them
//! again and again. Each function here has one or two of them in its frame.

use std::time::Duration;
use sward::runtime::Builder;
use sward::task::{self, CancelToken, JoinHandle, JoinSet, Scope, ScopedJoinHandle};

const SIZE: usize = 64 << 10;
const LONG: Duration = Duration::from_secs(600);

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

/// A closure that has one, and gives it back.
#[inline(never)]
fn both() -> impl FnOnce() -> Large + Send + 'static {
    let large = Large::new();
    move || {
        large.check();
        large
    }
}

/// A closure that has one.
#[inline(never)]
fn capture() -> impl FnOnce() + Send + 'static {
    let large = Large::new();
    move || large.check()
}

fn in_coroutine(test: impl FnOnce() + Send) {
    Builder::new().worker_threads(1).build().expect("a runtime").run(test);
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
        sward::spawn(both())
    }
    #[inline(never)]
    fn spawn_by_builder() -> JoinHandle<Large> {
        task::Builder::new().spawn(both()).expect("a runtime")
    }
    in_coroutine(|| {
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
        s.spawn(both())
    }
    #[inline(never)]
    fn join(handle: ScopedJoinHandle<'_, Large>) {
        match handle.join() {
            Ok(ref large) => large.check(),
            Err(error) => panic!("{error}"),
        }
    }
    in_coroutine(|| {
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
        set.spawn(both());
    }
    #[inline(never)]
    fn join(set: &mut JoinSet<Large>) {
        match set.join_next() {
            Some(Ok(ref large)) => large.check(),
            _ => panic!("one ends"),
        }
    }
    in_coroutine(|| {
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
    in_coroutine(scope);
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
    in_coroutine(|| {
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
    in_coroutine(|| {
        blocking();
        timeout();
        mask();
        token();
    });
}
