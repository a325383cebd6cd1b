//! What `seeds` and `files` have in common: a command line, parts that are measured one after the other, and
//! their reports. The parts fill tables (`grid.rs`), which are printed, written and drawn (`chart.rs`).

mod chart;
pub mod grid;

use crate::sys;
use grid::Part;
use indicatif::{ProgressBar, ProgressStyle};
use std::io;
use std::path::PathBuf;
use std::process::exit;

/// A command with parts.
pub struct Suite {
    pub name: &'static str,
    /// What comes after the name in its help.
    pub about: &'static str,
    pub parts: &'static [&'static str],
    pub measure: fn(&Options, &Wanted) -> io::Result<Vec<Part>>,
}

/// The parts that the command line names.
pub struct Wanted(Vec<String>);

impl Wanted {
    pub fn has(&self, part: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|named| named == part)
    }
}

/// The settings of a run.
pub struct Options {
    pub rounds: usize,
    pub workers: usize,
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

impl Suite {
    fn help(&self) -> String {
        format!(
            "sward-bench {} [PART...] [--rounds N] [--workers N] [--quick] [--from FILE]
            [--json FILE] [--svg DIR] [--markdown FILE]
  PART       {} (all)
  --rounds   runs of each variant, in turns (3)
  --workers  threads that run coroutines (as many as there are processors)
  --quick    small sizes, one round: whether it works, not how fast it is
  --from     runs nothing: the reports of what --json wrote
  --json     all samples, into this file
  --svg      a plot of each table of figures, into this folder
  --markdown the tables with the ratios that matter, into this file
{}",
            self.name,
            self.parts.join(", "),
            self.about,
        )
    }

    fn usage(&self, message: &str) -> ! {
        eprintln!("{message}\n\n{}", self.help());
        exit(2)
    }

    /// Runs the parts that the command line names, and writes the reports.
    pub fn run(&self, arguments: &[String]) -> io::Result<()> {
        let mut options = Options {
            rounds: 0,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            quick: false,
            descriptors: sys::raise_descriptor_limit(),
            bar: ProgressBar::new_spinner(),
        };
        let (mut from, mut json, mut svg, mut markdown) = (None, None, None, None);
        let mut wanted = Wanted(Vec::new());
        let mut arguments = arguments.iter().map(String::as_str);
        while let Some(argument) = arguments.next() {
            let mut value =
                || arguments.next().unwrap_or_else(|| self.usage(&format!("{argument} wants a value")));
            let number = |text: &str| match text.parse() {
                Ok(number) if number > 0 => number,
                _ => self.usage(&format!("{argument} wants a number above zero, not {text:?}")),
            };
            match argument {
                "--help" | "-h" => {
                    println!("{}", self.help());
                    return Ok(());
                }
                "--rounds" => options.rounds = number(value()),
                "--workers" => options.workers = number(value()),
                "--quick" => options.quick = true,
                "--from" => from = Some(PathBuf::from(value())),
                "--json" => json = Some(PathBuf::from(value())),
                "--svg" => svg = Some(PathBuf::from(value())),
                "--markdown" => markdown = Some(PathBuf::from(value())),
                _ if self.parts.contains(&argument) => wanted.0.push(argument.to_owned()),
                _ => self.usage(&format!("no such part or option: {argument}")),
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
                let style = ProgressStyle::with_template("{spinner} {msg}");
                options.bar.set_style(style.expect("it is fine"));
                let parts = (self.measure)(&options, &wanted)?;
                (setting(&options), parts)
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
}

/// The line that says how the figures were measured.
fn setting(options: &Options) -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let some = |count: usize, of: &str| format!("{count} {of}{}", if count == 1 { "" } else { "s" });
    let quick = if options.quick { "; quick: the figures mean nothing" } else { "" };
    format!(
        "{}, {}, Linux {}; medians of {}{quick}",
        some(processors, "processor"),
        some(options.workers, "worker"),
        sys::kernel(),
        some(options.rounds, "round"),
    )
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
