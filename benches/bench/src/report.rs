//! From samples to medians, spreads and ratios; the printed tables, and the files.

use crate::Plan;
use crate::catalogue::Measure;
use crate::driver::{Result, Row};
use crate::{bounds, json, markdown, plot};
use std::io;

/// The summary of several runs.
#[derive(Clone, Copy)]
pub struct Summary {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Summary {
    fn of(mut values: Vec<f64>) -> Option<Summary> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Summary { median: (low + high) / 2.0, least, most })
    }
}

/// One peer in one table.
#[derive(Clone, Copy)]
pub struct Line {
    pub peer: &'static str,
    pub summary: Summary,
    pub user: Option<f64>,
    pub kernel: Option<f64>,
}

/// The ratio of two peers' medians, if both took part.
pub fn ratio(lines: &[Line], peer: &str, to: &str) -> Option<f64> {
    let median = |name| lines.iter().find(|line| line.peer == name).map(|line| line.summary.median);
    let to = median(to)?;
    median(peer).filter(|_| to > 0.0).map(|median| median / to)
}

/// The ratio to the best of the others; sward's modes are not each other's peers.
pub fn to_best(lines: &[Line], peer: &str) -> Option<f64> {
    let others = lines.iter().filter(|other| other.peer != peer && !(is_sward(peer) && is_sward(other.peer)));
    let best = others.min_by(|a, b| a.summary.median.total_cmp(&b.summary.median))?;
    ratio(lines, peer, best.peer)
}

fn is_sward(peer: &str) -> bool {
    peer.starts_with("sward")
}

/// The table of one measure.
pub fn table(row: &Row, measure: Measure) -> Vec<Line> {
    let summary = |result: &Result, key: &str| match result {
        Result::Samples(samples) => Summary::of(samples.iter().filter_map(|s| s.get(key).copied()).collect()),
        _ => None,
    };
    let line = |&(peer, ref result): &(&'static str, Result)| {
        let of_all = summary(result, measure.key)?;
        // User and kernel time stand in the first table of a workload, if that is a table of times.
        let with_parts = matches!(measure.key, "wall" | "cpu") && row.workload.measures[0].key == measure.key;
        let part = |key| with_parts.then(|| summary(result, key).map(|part| part.median)).flatten();
        Some(Line { peer, summary: of_all, user: part("user"), kernel: part("kernel") })
    };
    row.peers.iter().filter_map(line).collect()
}

/// A number with three digits, or with all digits before the point.
pub fn three(value: f64) -> String {
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$}")
}

/// A number with three digits and its unit.
pub fn show(value: f64, measure: Measure) -> String {
    let units: &[(f64, &str)] = match measure.key {
        "bytes" => &[(1024.0, "KiB"), (1.0, "B")],
        "sleeps" => &[(1.0, "/s")],
        "backlog" => &[(1.0, "")],
        _ => &[(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")],
    };
    let (scale, unit) = *units.iter().find(|(scale, _)| value >= *scale).unwrap_or(&units[units.len() - 1]);
    format!("{} {unit}", three(value / scale))
}

/// Prints the tables of one workload.
pub fn print(row: &Row) {
    let workload = &row.workload;
    if row.peers.iter().all(|(_, result)| !matches!(result, Result::Samples(_))) {
        println!("{}: {}", workload.name, workload.about);
    }
    for &measure in workload.measures {
        let lines = table(row, measure);
        if lines.is_empty() {
            continue;
        }
        println!("{}: {} · {}", workload.name, workload.about, measure.title);
        println!(
            "  {:16}{:>10}  {:>22}{:>11}{:>11}{:>8}{:>8}{:>10}",
            "", "median", "least .. most", "user", "kernel", "× best", "× Go", "× pinned"
        );
        let optional = |value: Option<f64>| value.map_or_else(String::new, |value| show(value, measure));
        let times = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.2}"));
        for line in &lines {
            let to_pinned = is_sward(line.peer) && line.peer != "sward";
            let pinned = if to_pinned { ratio(&lines, line.peer, "sward") } else { None };
            let go = if line.peer == "go" { None } else { ratio(&lines, line.peer, "go") };
            println!(
                "  {:16}{:>10}  {:>22}{:>11}{:>11}{:>8}{:>8}{:>10}",
                line.peer,
                show(line.summary.median, measure),
                format!("{} .. {}", show(line.summary.least, measure), show(line.summary.most, measure)),
                optional(line.user),
                optional(line.kernel),
                times(to_best(&lines, line.peer)),
                times(go),
                times(pinned),
            );
        }
    }
    for (peer, result) in &row.peers {
        match result {
            Result::Skipped(reason) => println!("  {peer:16}skipped: {reason}"),
            Result::Failed(reason) => println!("  {peer:16}FAILED: {reason}"),
            Result::Samples(_) => {}
        }
    }
    println!();
}

/// Writes the files of the plan, and compares with its bounds.
pub fn write(plan: &Plan, rows: &[Row]) -> io::Result<()> {
    if let Some(file) = &plan.json {
        std::fs::write(file, json::write(rows))?;
    }
    if let Some(folder) = &plan.svg {
        plot::write(folder, rows)?;
    }
    if let Some(file) = &plan.markdown {
        std::fs::write(file, markdown::write(rows))?;
    }
    if plan.bounds.is_empty() { Ok(()) } else { bounds::hold(&plan.bounds, rows) }
}

/// Makes the reports of earlier runs again.
pub fn again(plan: &Plan) -> io::Result<()> {
    let rows = json::read(plan)?;
    let mut setting = None;
    for row in &rows {
        if setting.replace(row.setting) != Some(row.setting) {
            println!("{}\n", row.setting);
        }
        print(row);
    }
    write(plan, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::rows;

    #[test]
    fn ratios_are_those_of_medians() {
        let rows = rows(
            r#"{ "rounds": 2, "workers": 2, "quick": false, "results": [{ "workload": "spawn", "peers": {
                "sward": { "samples": [{ "wall": 90 }, { "wall": 110 }] },
                "sward-migrating": { "samples": [{ "wall": 50 }] },
                "go": { "samples": [{ "wall": 400 }, { "wall": 100 }, { "wall": 200 }] },
                "tokio": { "samples": [{ "wall": 0 }] },
                "may": { "skipped": "why" } } }] }"#,
        );
        let lines = table(&rows[0], rows[0].workload.measures[0]);
        assert_eq!(ratio(&lines, "sward", "go"), Some(0.5));
        assert_eq!(ratio(&lines, "go", "sward"), Some(2.0));
        assert_eq!(ratio(&lines, "sward", "may"), None);
        // A ratio to zero does not exist, and the second best is not marked as best.
        assert_eq!(ratio(&lines, "sward", "tokio"), None);
        assert_eq!(to_best(&lines, "sward"), None);
        // sward's other mode takes less, but is no peer.
        assert_eq!(to_best(&lines[..3], "sward"), Some(0.5));
        assert_eq!(to_best(&lines[..3], "go"), Some(4.0));
    }

    #[test]
    fn three_digits() {
        assert_eq!([0.126, 1.0, 12.34, 123.4].map(three), ["0.13", "1.00", "12.3", "123"]);
    }
}
