//! Coroutines that wait for ever: deadlocks, leaks, and the check for leaks at the end of a test.
//!
//! No runtime here watches for deadlocks, as its reports may abort the process. A watch looks at all
//! coroutines of the process, also at those of other tests. So these tests have a program of their own.

#[path = "../checked/mod.rs"]
mod checked;
#[path = "../common/mod.rs"]
mod common;

// Nobody may look at the waits of coroutines that migrate, so no deadlock is found among them.
#[cfg(not(sward_migrate))]
mod deadlocks;
mod leak_check;
// Nor are the limits of their waits known.
#[cfg(not(sward_migrate))]
mod patterns;
