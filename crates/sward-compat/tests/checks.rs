//! Checked waits refuse a wait on a stack of the crate `stacker`. The test is here, as that crate takes long
//! to build.

use std::time::Duration;
use sward::task::JoinError;

#[test]
fn a_grown_stack_held_over_a_wait_is_refused() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).checks(true).build().expect("a runtime");
    let outcome = runtime.spawn(|| {
        stacker::grow(1 << 20, || {
            let (_sender, receiver) = sward::channel::bounded::<()>(1);
            let _ = receiver.recv_timeout(Duration::from_millis(1));
        });
    });
    let outcome = outcome.join();
    let Err(JoinError::Panicked(panic)) = outcome else { panic!("not refused: {outcome:?}") };
    let said = panic.message().expect("a text");
    assert!(said.contains(", inside stacker::grow"), "{said}");
}
