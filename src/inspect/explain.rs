//! Why a simulation cannot go on, in words.

use super::deadlock::{Waiter, deadlocks_among};
use super::subject::Subject;
use crate::coroutine::Label;
use crate::sched::Captured;
use std::fmt::Write;

/// What each of the coroutines waits for, and the deadlocks among them.
pub(crate) fn explain(captured: Vec<Captured>) -> String {
    let mut text = String::new();
    for one in &captured {
        let label = Label { id: one.id, name: one.name.as_deref(), site: one.site };
        let _ = write!(text, "\n  {label} waits in {}", one.reason.describe());
        if let Some(subject) = Subject::of(one.facts.clone(), one.subject) {
            let _ = write!(text, " for {subject}");
        }
    }
    let waiters: Vec<Waiter> = captured.into_iter().filter_map(Waiter::of).collect();
    for deadlock in deadlocks_among(&waiters) {
        let _ = write!(text, "\n{deadlock}");
    }
    text
}
