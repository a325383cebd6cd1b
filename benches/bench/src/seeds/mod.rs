//! `sward-bench seeds`: measures on this machine what books and papers claim about waiting. sward rests on
//! these claims. `docs/WHY.md` has the results.
//!
//! Four measured parts (`readiness.rs`, `connections.rs`, `trap.rs`, `files.rs`) and the decision tree
//! (`tree.rs`) fill tables (`grid.rs`), which are printed, written and drawn (`chart.rs`).

mod chart;
mod connections;
mod files;
mod grid;
mod readiness;
mod ring;
mod trap;
mod tree;

use crate::child::{Runner, build_go};
use crate::sys;
use grid::Part;
use indicatif::{ProgressBar, ProgressStyle};
use std::io;
use std::path::PathBuf;
use std::process::exit;

pub use trap::child as trap_child;

const PARTS: [&str; 5] = ["readiness", "connections", "trap", "files", "tree"];

const HELP: &str = "sward-bench seeds [PART...] [--rounds N] [--workers N] [--quick] [--from FILE]
                  [--json FILE] [--svg DIR] [--markdown FILE]
  PART       readiness, connections, trap, files, tree (all)
  --rounds   runs of each variant, in turns (3)
  --workers  threads that run coroutines (as many as there are processors)
  --quick    small sizes, one round: whether it works, not how fast it is
  --from     runs nothing: the reports of what --json wrote
  --json     all samples, into this file
  --svg      a plot of each table of figures, into this folder
  --markdown the tables with the ratios that matter, into this file";

/// The settings of a run.
pub struct Options {
    pub rounds: usize,
    pub quick: bool,
    /// The most descriptors of a process.
    pub descriptors: u64,
    bar: ProgressBar,
}

impl Options {
    /// Says what is measured now.
    pub fn progress(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        self.bar.tick();
    }
}

/// A whole number with commas.
pub fn numbers(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn usage(message: &str) -> ! {
    eprintln!("{message}\n\n{HELP}");
    exit(2)
}

/// Runs the parts that the command line names, and writes the reports.
pub fn run(arguments: &[String]) -> io::Result<()> {
    let mut options = Options {
        rounds: 0,
        quick: false,
        descriptors: sys::raise_descriptor_limit(),
        bar: ProgressBar::new_spinner(),
    };
    let mut workers = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut from, mut json, mut svg, mut markdown) = (None, None, None, None);
    let mut named: Vec<&str> = Vec::new();
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| usage(&format!("{argument} wants a value")));
        let number = |text: &str| match text.parse() {
            Ok(number) if number > 0 => number,
            _ => usage(&format!("{argument} wants a number above zero, not {text:?}")),
        };
        match argument {
            "--help" | "-h" => {
                println!("{HELP}");
                return Ok(());
            }
            "--rounds" => options.rounds = number(value()),
            "--workers" => workers = number(value()),
            "--quick" => options.quick = true,
            "--from" => from = Some(PathBuf::from(value())),
            "--json" => json = Some(PathBuf::from(value())),
            "--svg" => svg = Some(PathBuf::from(value())),
            "--markdown" => markdown = Some(PathBuf::from(value())),
            _ if PARTS.contains(&argument) => named.push(argument),
            _ => usage(&format!("no such part or option: {argument}")),
        }
    }
    if options.rounds == 0 {
        options.rounds = if options.quick { 1 } else { 3 };
    }
    let (setting, parts) = match from {
        Some(file) => {
            let text = std::fs::read_to_string(&file)?;
            grid::of_json(&text).map_err(|e| io::Error::other(format!("{}: {e}", file.display())))?
        }
        None => {
            let wanted = |part: &str| named.is_empty() || named.contains(&part);
            measure(&options, workers, wanted)?
        }
    };
    options.bar.finish_and_clear();
    println!("{setting}\n");
    parts.iter().for_each(grid::print);
    if let Some(file) = json {
        std::fs::write(file, grid::to_json(&setting, &parts))?;
    }
    if let Some(folder) = svg {
        std::fs::create_dir_all(&folder)?;
        for part in &parts {
            if let Part::Figures(grid) = part {
                chart::draw(&folder, grid, &setting).map_err(|e| io::Error::other(e.to_string()))?;
            }
        }
    }
    if let Some(file) = markdown {
        std::fs::write(file, grid::to_markdown(&setting, &parts))?;
    }
    let failed = |part: &Part| matches!(part, Part::Figures(grid) if grid.failed());
    if parts.iter().any(failed) { Err(io::Error::other("a variant has failed")) } else { Ok(()) }
}

fn measure(
    options: &Options,
    workers: usize,
    wanted: impl Fn(&str) -> bool,
) -> io::Result<(String, Vec<Part>)> {
    options.bar.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("it is fine"));
    let this = std::env::current_exe()?;
    let go =
        if wanted("connections") || wanted("trap") { build_go(&this) } else { Err("not asked for".into()) };
    let no_go = go.as_ref().err().cloned();
    let runner = Runner { this, go: go.ok(), workers, quick: options.quick };
    let mut parts = Vec::new();
    if wanted("readiness") {
        parts.extend(readiness::run(options)?);
    }
    if wanted("connections") {
        parts.extend(connections::run(options, &runner, no_go.as_deref())?);
    }
    if wanted("trap") {
        parts.extend(trap::run(options, &runner, no_go.as_deref())?);
    }
    if wanted("files") {
        parts.extend(files::run(options)?);
    }
    if wanted("tree") {
        parts.extend(tree::run());
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let some = |count: usize, of: &str| format!("{count} {of}{}", if count == 1 { "" } else { "s" });
    let quick = if options.quick { "; quick: the figures mean nothing" } else { "" };
    let setting = format!(
        "{}, {}, Linux {}; medians of {}{quick}",
        some(processors, "processor"),
        some(workers, "worker"),
        sys::kernel(),
        some(options.rounds, "round"),
    );
    Ok((setting, parts))
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn thousands_have_commas() {
        assert_eq!(
            [7, 999, 1_000, 19_936, 1_000_000].map(numbers),
            ["7", "999", "1,000", "19,936", "1,000,000"]
        );
    }
}
