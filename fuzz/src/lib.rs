//! What the targets share that run programs of several coroutines.

use std::sync::{Arc, LazyLock};
use sward::runtime::{Builder, Runtime};

/// Its only worker makes the order depend on the bytes alone, but for limits.
pub static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new().worker_threads(1).build().expect("a runtime"));

/// The two bytes before a program, and the program, if it is short enough to end soon.
pub fn program(data: &[u8]) -> Option<([u8; 2], &[u8])> {
    let (&head, program) = data.split_first_chunk()?;
    (program.len() <= 200).then_some((head, program))
}

/// Deals the bytes to so many coroutines, each of which acts by its own. Cancels those whose bit is set, and
/// waits until all have ended, none of them by a panic.
pub fn run_actors<F: Fn(usize, &[u8]) + Send + Sync + 'static>(
    actors: usize,
    cancelled: u8,
    program: &[u8],
    act: F,
) {
    let act = Arc::new(act);
    let handles: Vec<_> = (0..actors)
        .map(|actor| {
            let steps: Vec<u8> = program.iter().skip(actor).step_by(actors).copied().collect();
            let act = Arc::clone(&act);
            sward::spawn(move || act(actor, &steps))
        })
        .collect();
    for (actor, handle) in handles.iter().enumerate() {
        if cancelled >> actor & 1 == 1 {
            sward::yield_now();
            handle.cancel();
        }
    }
    for handle in handles {
        assert!(handle.join().map_or_else(|e| e.is_cancelled(), |()| true), "a panic");
    }
}
