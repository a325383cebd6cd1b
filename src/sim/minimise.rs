//! Makes a schedule that fails smaller: fewer places where it differs from the default schedule, in which
//! nothing is preempted and the oldest coroutine runs first.
//!
//! It is the delta debugging of Zeller and Hildebrandt ("Simplifying and isolating failure-inducing input",
//! 2002) over the decisions: halves, quarters, and so on down to single ones are given up, as long as the run
//! still fails in the same way. What is left is recorded anew from the run that has failed, since what
//! follows a decision that is given up comes at other places.

use super::run::Outcome;
use super::strategy::Decided;
use std::time::{Duration, Instant};

/// How many runs a search may take.
const RUNS: usize = 500;
/// How long it may take.
const TIME: Duration = Duration::from_secs(3);

/// The smallest run that was found to fail as the given one does; `None` if the recorded schedule does not
/// even lead to its failure.
pub(super) fn minimise(failed: &Outcome, run: impl Fn(Vec<Decided>) -> Outcome) -> Option<Outcome> {
    let failure = failed.failure.as_ref()?;
    let (mut runs, began) = (0, Instant::now());
    let mut attempt = |decisions: Vec<Decided>| {
        runs += 1;
        if runs > RUNS || began.elapsed() > TIME {
            return Err(());
        }
        let outcome = run(decisions);
        // Each run that is stuck leaves a thread behind.
        if outcome.stuck {
            return Err(());
        }
        Ok(outcome.failure.as_ref().is_some_and(|other| other.is_like(failure)).then_some(outcome))
    };
    // None at all, which many failures need, or all that were recorded.
    let mut smallest = match attempt(Vec::new()) {
        Ok(Some(outcome)) => return Some(outcome),
        _ => attempt(failed.decisions.clone()).ok()??,
    };
    let mut parts = 2;
    loop {
        let chosen = chosen(&smallest.decisions);
        if chosen.is_empty() {
            break;
        }
        let size = chosen.len().div_ceil(parts);
        let mut smaller = None;
        for part in chosen.chunks(size) {
            let mut decisions = smallest.decisions.clone();
            part.iter().for_each(|&place| decisions[place] = Decided::Default);
            match attempt(decisions) {
                Ok(Some(outcome)) if self::chosen(&outcome.decisions).len() < chosen.len() => {
                    smaller = Some(outcome);
                    break;
                }
                Ok(_) => {}
                Err(()) => return Some(smallest),
            }
        }
        match smaller {
            Some(outcome) => {
                smallest = outcome;
                parts = parts.saturating_sub(1).max(2);
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(chosen.len()),
        }
    }
    Some(smallest)
}

/// The places of the decisions that are not the default ones.
fn chosen(decisions: &[Decided]) -> Vec<usize> {
    (0..decisions.len()).filter(|&place| decisions[place] != Decided::Default).collect()
}
