//! A file of bounds: what mobile homes may cost against pinned mode, and how they must stand against Go.
//!
//! A line is `WORKLOAD MEASURE BOUND AGAINST`; what follows `#` is a comment. `AGAINST` is:
//!
//! - a peer: the ratio of the medians of `sward-homes` and of that peer is at most the bound;
//! - a peer with `+`: the difference of the medians is at most the bound;
//! - `-`: the median is at most the bound.
//!
//! Times are in nanoseconds, memory in bytes. The report has a column for each of sward's modes, but only
//! `sward-homes` is held against the bounds.

use crate::catalogue::{self, Measure, PEERS};
use crate::driver::{Result, Row};
use crate::report::{Line, show, table, three};
use std::io;
use std::path::Path;

/// sward's modes. The second is held against the bounds.
const MODES: [&str; 3] = ["sward", "sward-homes", "sward-migrating"];
const HELD: usize = 1;

#[derive(Debug, PartialEq)]
enum Against {
    RatioTo(&'static str),
    MoreThan(&'static str),
    Nothing,
}

#[derive(Debug)]
pub struct Bound {
    pub workload: &'static str,
    measure: Measure,
    most: f64,
    against: Against,
}

/// The bounds of a file.
pub fn read(file: &Path) -> io::Result<Vec<Bound>> {
    let text = std::fs::read_to_string(file)?;
    parse(&text).map_err(|e| io::Error::other(format!("{}: {e}", file.display())))
}

fn parse(text: &str) -> std::result::Result<Vec<Bound>, String> {
    let known = catalogue::workloads(u64::MAX);
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let bound = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, key, most, against] = words[..] else { return None };
        let workload = known.iter().find(|workload| workload.name == name)?;
        let peer = |name: &str| PEERS.into_iter().find(|peer| *peer == name);
        let against = match against.strip_suffix('+') {
            _ if against == "-" => Against::Nothing,
            Some(name) => Against::MoreThan(peer(name)?),
            None => Against::RatioTo(peer(against)?),
        };
        let measure = *workload.measures.iter().find(|measure| measure.key == key)?;
        Some(Bound { workload: workload.name, measure, most: most.parse().ok()?, against })
    };
    let bound = |line: &str| bound(line).ok_or_else(|| format!("not a bound: {line}"));
    lines.filter(|line| !line.is_empty()).map(bound).collect()
}

impl Bound {
    /// What the bound limits, of one peer.
    fn figure(&self, lines: &[Line], peer: &str) -> Option<f64> {
        let median = |name| lines.iter().find(|line| line.peer == name).map(|line| line.summary.median);
        let of_peer = median(peer)?;
        match self.against {
            Against::RatioTo(other) => median(other).filter(|of| *of > 0.0).map(|of| of_peer / of),
            Against::MoreThan(other) => median(other).map(|of| of_peer - of),
            Against::Nothing => Some(of_peer),
        }
    }

    fn show(&self, figure: f64) -> String {
        match self.against {
            Against::RatioTo(_) => three(figure),
            Against::MoreThan(_) if figure < 0.0 => format!("-{}", show(-figure, self.measure)),
            Against::MoreThan(_) | Against::Nothing => show(figure, self.measure),
        }
    }

    fn what(&self) -> String {
        match self.against {
            Against::RatioTo(peer) => format!("{} / {peer}", self.measure.title),
            Against::MoreThan(peer) => format!("{} - {peer}", self.measure.title),
            Against::Nothing => self.measure.title.to_owned(),
        }
    }
}

/// Prints how sward's modes stand. The error names the workloads in which `sward-homes` is above a bound.
pub fn hold(bounds: &[Bound], rows: &[Row]) -> io::Result<()> {
    println!("The bounds of mobile homes");
    let [pinned, homes, migrating] = MODES.map(|mode| mode.strip_prefix("sward-").unwrap_or("pinned"));
    println!("  {:16}{:44}{:>10}{pinned:>11}{homes:>11}{migrating:>11}", "", "", "at most");
    let mut missed = Vec::new();
    for bound in bounds {
        let Some(row) = rows.iter().find(|row| row.workload.name == bound.workload) else { continue };
        let lines = table(row, bound.measure);
        let figures = MODES.map(|mode| bound.figure(&lines, mode));
        let text = figures.map(|figure| figure.map_or_else(|| "-".to_owned(), |figure| bound.show(figure)));
        let ran =
            |(peer, result): &(&str, Result)| *peer == MODES[HELD] && !matches!(result, Result::Skipped(_));
        let above = match figures[HELD] {
            Some(figure) => figure > bound.most,
            None => row.peers.iter().any(ran),
        };
        println!(
            "  {:16}{:44}{:>10}{:>11}{:>11}{:>11}{}",
            bound.workload,
            bound.what(),
            bound.show(bound.most),
            text[0],
            text[1],
            text[2],
            if above { "  missed" } else { "" },
        );
        if above && !missed.contains(&bound.workload) {
            missed.push(bound.workload);
        }
    }
    println!();
    if missed.is_empty() {
        return Ok(());
    }
    Err(io::Error::other(format!("above a bound: {}", missed.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::rows;

    #[test]
    fn ratios_differences_and_plain_figures_are_bounded() {
        let rows = rows(
            r#"{ "rounds": 1, "workers": 2, "quick": false, "results": [
                { "workload": "hog-1", "peers": {
                    "sward": { "samples": [{ "p99": 900, "p50": 5 }] },
                    "sward-homes": { "samples": [{ "p99": 30, "p50": 5 }] },
                    "go": { "samples": [{ "p99": 20, "p50": 4 }] } } },
                { "workload": "parked-100k", "peers": {
                    "sward": { "samples": [{ "bytes": 4000 }] },
                    "sward-homes": { "samples": [{ "bytes": 4017 }] } } },
                { "workload": "spawn", "peers": { "sward-homes": { "skipped": "why" } } },
                { "workload": "fib", "peers": { "sward-homes": { "failed": "it fell" } } }
            ] }"#,
        );
        let missed =
            |text: &str| hold(&parse(text).expect("it is as written"), &rows).err().map(|e| e.to_string());
        assert_eq!(missed("hog-1 p99 1.5 go\nhog-1 p50 5 -\nparked-100k bytes 17 sward+"), None);
        assert_eq!(missed("hog-1 p99 1.4 go # Go").as_deref(), Some("above a bound: hog-1"));
        assert_eq!(missed("\n# more\nhog-1 p50 4 -").as_deref(), Some("above a bound: hog-1"));
        assert_eq!(missed("parked-100k bytes 16 sward+").as_deref(), Some("above a bound: parked-100k"));
        // What did not run is not missed, but what failed is.
        assert_eq!(missed("spawn wall 1 sward\nmutex wall 1 sward"), None);
        assert_eq!(missed("fib wall 1 sward").as_deref(), Some("above a bound: fib"));
    }

    #[test]
    fn a_line_that_is_no_bound_is_named() {
        for line in
            ["spam wall 1 go", "spawn p99 1 go", "spawn wall x go", "spawn wall 1 spam", "spawn wall 1"]
        {
            assert_eq!(parse(line).err(), Some(format!("not a bound: {line}")));
        }
    }
}
