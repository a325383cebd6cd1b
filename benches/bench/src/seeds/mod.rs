//! `sward-bench seeds`: measures on this machine what books and papers claim about waiting. sward rests on
//! these claims. `docs/WHY.md` has the results.
//!
//! Four measured parts (`readiness.rs`, `connections.rs`, `trap.rs`, `files.rs`) and the decision tree
//! (`tree.rs`).

mod connections;
mod files;
mod readiness;
mod ring;
mod trap;
mod tree;

use crate::child::{Runner, build_go};
use crate::suite::grid::Part;
use crate::suite::{Options, Suite, Wanted};
use std::io;

pub use trap::child as trap_child;

/// The command.
pub const SEEDS: Suite = Suite {
    name: "seeds",
    about: "What books and papers claim about waiting, measured.",
    parts: &["readiness", "connections", "trap", "files", "tree"],
    measure,
};

fn measure(options: &Options, wanted: &Wanted) -> io::Result<Vec<Part>> {
    let this = std::env::current_exe()?;
    let wants_go = wanted.has("connections") || wanted.has("trap");
    let go = if wants_go { build_go(&this) } else { Err("not asked for".into()) };
    let no_go = go.as_ref().err().cloned();
    let runner = Runner { this, go: go.ok(), workers: options.workers, quick: options.quick };
    let mut parts = Vec::new();
    if wanted.has("readiness") {
        parts.extend(readiness::run(options)?);
    }
    if wanted.has("connections") {
        parts.extend(connections::run(options, &runner, no_go.as_deref())?);
    }
    if wanted.has("trap") {
        parts.extend(trap::run(options, &runner, no_go.as_deref())?);
    }
    if wanted.has("files") {
        parts.extend(files::run(options)?);
    }
    if wanted.has("tree") {
        parts.extend(tree::run());
    }
    Ok(parts)
}
