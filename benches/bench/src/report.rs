//! Samples become medians, spreads and ratios, as tables and as JSON.

use crate::Plan;
use crate::catalogue::Measure;
use crate::driver::{Result, Row};
use serde_json::{Value, json};

/// What several runs say together.
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
pub struct Line {
    pub peer: &'static str,
    pub summary: Summary,
    pub user: Option<f64>,
    pub kernel: Option<f64>,
    /// To the best of the others; sward's two modes are not each other's peers.
    pub to_best: Option<f64>,
    pub to_go: Option<f64>,
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
    let medians: Vec<(&str, f64)> = row
        .peers
        .iter()
        .filter_map(|(peer, result)| Some((*peer, summary(result, measure.key)?.median)))
        .collect();
    let line = |&(peer, ref result): &(&'static str, Result)| {
        let of_all = summary(result, measure.key)?;
        let ratio = |to: f64| (to > 0.0).then(|| of_all.median / to);
        let others =
            medians.iter().filter(|(other, _)| *other != peer && !(is_sward(peer) && is_sward(other)));
        let best = others.map(|(_, median)| *median).min_by(f64::total_cmp);
        let go = medians.iter().find(|(other, _)| *other == "go" && peer != "go");
        // The parts of the CPU time stand in the first table of a workload, if it is one of time.
        let with_parts = matches!(measure.key, "wall" | "cpu") && row.workload.measures[0].key == measure.key;
        let part = |key| with_parts.then(|| summary(result, key).map(|part| part.median)).flatten();
        Some(Line {
            peer,
            summary: of_all,
            user: part("user"),
            kernel: part("kernel"),
            to_best: best.and_then(ratio),
            to_go: go.and_then(|(_, median)| ratio(*median)),
        })
    };
    row.peers.iter().filter_map(line).collect()
}

/// A number with three digits and its unit.
pub fn show(value: f64, measure: Measure) -> String {
    let units: &[(f64, &str)] = match measure.key {
        "bytes" => &[(1024.0, "KiB"), (1.0, "B")],
        "sleeps" => &[(1.0, "/s")],
        _ => &[(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")],
    };
    let (scale, unit) = *units.iter().find(|(scale, _)| value >= *scale).unwrap_or(&units[units.len() - 1]);
    let scaled = value / scale;
    let digits = if scaled < 10.0 { 2 } else { usize::from(scaled < 100.0) };
    format!("{scaled:.digits$} {unit}")
}

/// Prints the tables of one workload.
pub fn print(row: &Row) {
    let workload = row.workload;
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
            "  {:16}{:>10}  {:>22}{:>11}{:>11}{:>8}{:>8}",
            "", "median", "least .. most", "user", "kernel", "× best", "× Go"
        );
        let optional = |value: Option<f64>| value.map_or_else(String::new, |value| show(value, measure));
        let ratio = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.2}"));
        for line in lines {
            println!(
                "  {:16}{:>10}  {:>22}{:>11}{:>11}{:>8}{:>8}",
                line.peer,
                show(line.summary.median, measure),
                format!("{} .. {}", show(line.summary.least, measure), show(line.summary.most, measure)),
                optional(line.user),
                optional(line.kernel),
                ratio(line.to_best),
                ratio(line.to_go),
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

/// All samples, and how they came about. Times are in nanoseconds.
pub fn json(plan: &Plan, rows: &[Row]) -> String {
    let result = |result: &Result| match result {
        Result::Samples(samples) => json!({ "samples": samples }),
        Result::Skipped(reason) => json!({ "skipped": reason }),
        Result::Failed(reason) => json!({ "failed": reason }),
    };
    let row = |row: &Row| {
        let peers: serde_json::Map<String, Value> =
            row.peers.iter().map(|(peer, what)| ((*peer).to_owned(), result(what))).collect();
        json!({ "workload": row.workload.name, "about": row.workload.about, "peers": peers })
    };
    let all = json!({
        "rounds": plan.rounds,
        "workers": plan.workers,
        "quick": plan.quick,
        "results": rows.iter().map(row).collect::<Vec<_>>(),
    });
    format!("{all:#}\n")
}
