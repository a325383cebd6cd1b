//! What a running program says about itself: dumps of programs that hang, which stop nobody.

#[path = "../checked/mod.rs"]
mod checked;
#[path = "../common/mod.rs"]
mod common;
#[path = "../programs/mod.rs"]
mod programs;

mod find;

mod dashboard;
mod environment;
mod json;
mod lost_panics;
mod many;
mod reasons;
mod record;
mod sites;
mod stalls;
mod stuck;
mod workers;
