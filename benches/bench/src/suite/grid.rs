//! The results: tables of figures (`Grid`), each with the ratios that matter, and tables of words. They are
//! printed, and written as JSON and as Markdown. `chart.rs` draws them.

use crate::report::three;
use serde_json::{Value, json};
use std::fmt::Write;
use std::io;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    Nanos,
    Bytes,
    Count,
    PerSecond,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Nanos => "ns",
            Unit::Bytes => "bytes",
            Unit::Count => "count",
            Unit::PerSecond => "1/s",
        }
    }

    fn named(name: &str) -> Option<Unit> {
        [Unit::Nanos, Unit::Bytes, Unit::Count, Unit::PerSecond].into_iter().find(|unit| unit.name() == name)
    }

    /// A figure with two or three digits, and its unit.
    pub fn show(self, value: f64) -> String {
        let scales: &[(f64, &str)] = match self {
            Unit::Nanos => &[(1e9, " s"), (1e6, " ms"), (1e3, " µs"), (1.0, " ns")],
            Unit::Bytes => &[(1048576.0, " MiB"), (1024.0, " KiB"), (1.0, " B")],
            Unit::Count => &[(1.0, "")],
            Unit::PerSecond => &[(1e3, " k/s"), (1.0, " /s")],
        };
        let (scale, unit) =
            *scales.iter().find(|(scale, _)| value >= *scale).unwrap_or(&scales[scales.len() - 1]);
        format!("{}{unit}", three(value / scale))
    }
}

/// One figure of one variant.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Samples(Vec<f64>),
    /// What is not installed, or not possible here.
    Skipped(String),
    Failed(String),
}

impl Cell {
    pub fn median(&self) -> Option<f64> {
        let Cell::Samples(samples) = self else { return None };
        let mut samples = samples.clone();
        samples.sort_by(f64::total_cmp);
        let (low, high) = (samples.len().checked_sub(1)? / 2, samples.len() / 2);
        Some((samples[low] + samples[high]) / 2.0)
    }

    /// Adds a sample, or becomes the reason why there is none. The first reason stays.
    pub fn add(&mut self, sample: Result<f64, Cell>) {
        match (&mut *self, sample) {
            (Cell::Samples(samples), Ok(sample)) => samples.push(sample),
            (Cell::Samples(_), Err(reason)) => *self = reason,
            (Cell::Skipped(_) | Cell::Failed(_), _) => {}
        }
    }

    fn reason(&self) -> Option<(&'static str, &str)> {
        match self {
            Cell::Samples(_) => None,
            Cell::Skipped(reason) => Some(("skipped", reason.trim())),
            Cell::Failed(reason) => Some(("FAILED", reason.trim())),
        }
    }
}

/// The error of what cannot run here, which is no failure.
pub fn not_here(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, reason.into())
}

/// The reason for a missing figure.
pub fn missing(e: &io::Error) -> Cell {
    match e.kind() {
        io::ErrorKind::Unsupported => Cell::Skipped(e.to_string()),
        _ => Cell::Failed(e.to_string()),
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    pub name: String,
    /// Not measured here: figures of a book.
    pub quoted: bool,
    pub cells: Vec<Cell>,
}

/// A ratio of two medians that the text speaks of.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    pub text: String,
    /// Variant and column.
    pub above: (String, usize),
    pub below: (String, usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// One line for each variant, over the columns.
    Lines,
    /// One row of dots for each variant, a dot for each column.
    Dots,
}

/// A table of figures: a row for each variant.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Also the name of the file of its plot.
    pub name: String,
    pub title: String,
    pub unit: Unit,
    /// What the columns are.
    pub axis: String,
    pub columns: Vec<String>,
    pub variants: Vec<Variant>,
    pub claims: Vec<Claim>,
    pub shape: Shape,
}

impl Grid {
    pub fn new(
        name: &str,
        title: &str,
        unit: Unit,
        axis: &str,
        columns: &[String],
        variants: &[&str],
    ) -> Grid {
        let variant = |name: &&str| Variant {
            name: (*name).to_owned(),
            quoted: false,
            cells: vec![Cell::Samples(Vec::new()); columns.len()],
        };
        Grid {
            name: name.to_owned(),
            title: title.to_owned(),
            unit,
            axis: axis.to_owned(),
            columns: columns.to_vec(),
            variants: variants.iter().map(variant).collect(),
            claims: Vec::new(),
            shape: Shape::Lines,
        }
    }

    pub fn cell(&mut self, variant: usize, column: usize) -> &mut Cell {
        &mut self.variants[variant].cells[column]
    }

    pub fn claim(&mut self, text: &str, above: (&str, usize), below: (&str, usize)) {
        self.claims.push(Claim {
            text: text.to_owned(),
            above: (above.0.to_owned(), above.1),
            below: (below.0.to_owned(), below.1),
        });
    }

    fn median(&self, (variant, column): &(String, usize)) -> Option<f64> {
        self.variants.iter().find(|known| known.name == *variant)?.cells.get(*column)?.median()
    }

    /// The claims that this run has the figures for.
    pub fn ratios(&self) -> Vec<(&str, f64)> {
        let ratio = |claim: &Claim| Some(self.median(&claim.above)? / self.median(&claim.below)?);
        let ratios = self.claims.iter().filter_map(|claim| Some((claim.text.as_str(), ratio(claim)?)));
        ratios.filter(|(_, ratio)| ratio.is_finite()).collect()
    }

    pub fn failed(&self) -> bool {
        self.variants.iter().flat_map(|variant| &variant.cells).any(|cell| matches!(cell, Cell::Failed(_)))
    }

    /// Each reason for a missing figure once, with the variants and columns that it is about.
    fn reasons(&self) -> Vec<String> {
        let mut reasons: Vec<((&str, &str), Vec<String>)> = Vec::new();
        for variant in &self.variants {
            for (cell, column) in variant.cells.iter().zip(&self.columns) {
                let Some(reason) = cell.reason() else { continue };
                let at = format!("{} ({column})", variant.name);
                match reasons.iter_mut().find(|(known, _)| *known == reason) {
                    Some((_, all)) => all.push(at),
                    None => reasons.push((reason, vec![at])),
                }
            }
        }
        let line = |((how, reason), whose): ((&str, &str), Vec<String>)| {
            format!("{how}: {}: {reason}", whose.join(", "))
        };
        reasons.into_iter().map(line).collect()
    }

    fn words(&self) -> Vec<Vec<String>> {
        let show = |cell: &Cell| cell.median().map_or_else(|| "-".to_owned(), |value| self.unit.show(value));
        let row = |variant: &Variant| {
            let mut row = vec![variant.name.clone()];
            row.extend(variant.cells.iter().map(show));
            row
        };
        self.variants.iter().map(row).collect()
    }

    fn json(&self) -> Value {
        let cell = |cell: &Cell| match cell {
            Cell::Samples(samples) => json!({ "samples": samples }),
            Cell::Skipped(reason) => json!({ "skipped": reason }),
            Cell::Failed(reason) => json!({ "failed": reason }),
        };
        let variant = |variant: &Variant| {
            json!({
                "name": variant.name,
                "quoted": variant.quoted,
                "cells": variant.cells.iter().map(cell).collect::<Vec<_>>(),
            })
        };
        let claim = |claim: &Claim| json!({ "text": claim.text, "above": claim.above, "below": claim.below });
        json!({
            "name": self.name,
            "title": self.title,
            "unit": self.unit.name(),
            "axis": self.axis,
            "columns": self.columns,
            "variants": self.variants.iter().map(variant).collect::<Vec<_>>(),
            "claims": self.claims.iter().map(claim).collect::<Vec<_>>(),
            "dots": self.shape == Shape::Dots,
        })
    }

    fn of_json(value: &Value) -> Option<Grid> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let all = |value: &Value| value.as_array().cloned();
        let cell = |value: &Value| match (value.get("skipped"), value.get("failed")) {
            (Some(reason), _) => text(reason).map(Cell::Skipped),
            (_, Some(reason)) => text(reason).map(Cell::Failed),
            (None, None) => {
                Some(Cell::Samples(all(&value["samples"])?.iter().filter_map(Value::as_f64).collect()))
            }
        };
        let variant = |value: &Value| {
            Some(Variant {
                name: text(&value["name"])?,
                quoted: value["quoted"] == true,
                cells: all(&value["cells"])?.iter().map(cell).collect::<Option<_>>()?,
            })
        };
        let place = |value: &Value| Some((text(&value[0])?, value[1].as_u64()? as usize));
        let claim = |value: &Value| {
            Some(Claim {
                text: text(&value["text"])?,
                above: place(&value["above"])?,
                below: place(&value["below"])?,
            })
        };
        Some(Grid {
            name: text(&value["name"])?,
            title: text(&value["title"])?,
            unit: Unit::named(value["unit"].as_str()?)?,
            axis: text(&value["axis"])?,
            columns: all(&value["columns"])?.iter().map(text).collect::<Option<_>>()?,
            variants: all(&value["variants"])?.iter().map(variant).collect::<Option<_>>()?,
            claims: all(&value["claims"])?.iter().map(claim).collect::<Option<_>>()?,
            shape: if value["dots"] == true { Shape::Dots } else { Shape::Lines },
        })
    }
}

/// A table of words.
#[derive(Clone, Debug, PartialEq)]
pub struct Words {
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Words {
    fn json(&self) -> Value {
        json!({ "title": self.title, "columns": self.columns, "rows": self.rows })
    }

    fn of_json(value: &Value) -> Option<Words> {
        let texts = |value: &Value| -> Option<Vec<String>> {
            value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
        };
        let rows: Option<_> = value["rows"].as_array()?.iter().map(texts).collect();
        Some(Words {
            title: texts(&json!([value["title"]]))?.remove(0),
            columns: texts(&value["columns"])?,
            rows: rows?,
        })
    }
}

/// A result, in the order of the report.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Figures(Grid),
    Words(Words),
}

/// Pads each column to its widest word. Figures end at the same column, words begin there.
fn aligned(rows: &[Vec<String>], figures: bool) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |n: usize| rows.iter().filter_map(|row| row.get(n)).map(|word| word.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|n| width(n).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let words = row.iter().zip(&widths).enumerate();
        let line: Vec<String> = words
            .map(
                |(n, (word, &width))| {
                    if n == 0 || !figures { format!("{word:width$}") } else { format!("{word:>width$}") }
                },
            )
            .collect();
        let _ = writeln!(text, "  {}", line.join("  ").trim_end());
    }
    text
}

/// The widest table of words that is printed as one.
const WIDE: usize = 100;

pub fn print(part: &Part) {
    match part {
        Part::Figures(grid) => {
            println!("{} ({})", grid.title, grid.axis);
            let mut rows =
                vec![[String::new()].into_iter().chain(grid.columns.iter().cloned()).collect::<Vec<_>>()];
            rows.extend(grid.words());
            print!("{}", aligned(&rows, true));
            for (text, ratio) in grid.ratios() {
                println!("  {text}: {} times", three(ratio));
            }
            grid.reasons().iter().for_each(|line| println!("  {line}"));
        }
        Part::Words(words) => {
            println!("{}", words.title);
            let mut rows = vec![words.columns.clone()];
            rows.extend(words.rows.iter().cloned());
            let text = aligned(&rows, false);
            if text.lines().all(|line| line.chars().count() <= WIDE) {
                print!("{text}");
            } else {
                for row in &words.rows {
                    println!("  {}", row[0]);
                    row.iter()
                        .zip(&words.columns)
                        .skip(1)
                        .for_each(|(word, head)| println!("    {head}: {word}"));
                }
            }
        }
    }
    println!();
}

/// All results as JSON, with the line that says how they were measured.
pub fn to_json(setting: &str, parts: &[Part]) -> String {
    let part = |part: &Part| match part {
        Part::Figures(grid) => json!({ "figures": grid.json() }),
        Part::Words(words) => json!({ "words": words.json() }),
    };
    format!("{:#}\n", json!({ "setting": setting, "parts": parts.iter().map(part).collect::<Vec<_>>() }))
}

pub fn of_json(text: &str) -> Result<(String, Vec<Part>), String> {
    let all: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let part = |value: &Value| match value.get("figures") {
        Some(grid) => Grid::of_json(grid).map(Part::Figures),
        None => Words::of_json(&value["words"]).map(Part::Words),
    };
    let parts: Option<Vec<Part>> = all["parts"].as_array().and_then(|parts| parts.iter().map(part).collect());
    let setting = all["setting"].as_str().map(str::to_owned);
    setting.zip(parts).ok_or_else(|| "it is no result of `seeds` or `files`".to_owned())
}

/// Tables for a document.
pub fn to_markdown(setting: &str, parts: &[Part]) -> String {
    let mut text = format!("{setting}\n");
    let row = |words: &[String]| {
        let words: Vec<String> = words.iter().map(|word| word.replace('|', "\\|")).collect();
        format!("| {} |\n", words.join(" | "))
    };
    for part in parts {
        match part {
            Part::Figures(grid) => {
                let _ = write!(text, "\n### {}\n\n", grid.title);
                let head: Vec<String> =
                    [grid.axis.clone()].into_iter().chain(grid.columns.iter().cloned()).collect();
                text += &row(&head);
                text += &format!("|---|{}\n", "--:|".repeat(grid.columns.len()));
                grid.words().iter().for_each(|words| text += &row(words));
                let (ratios, reasons) = (grid.ratios(), grid.reasons());
                if !ratios.is_empty() || !reasons.is_empty() {
                    text.push('\n');
                }
                for (what, ratio) in ratios {
                    let _ = writeln!(text, "- {what}: **{} times**", three(ratio));
                }
                for line in reasons {
                    let _ = writeln!(text, "- {line}");
                }
            }
            Part::Words(words) => {
                let _ = write!(text, "\n### {}\n\n", words.title);
                text += &row(&words.columns);
                text += &format!("|{}\n", "---|".repeat(words.columns.len()));
                words.rows.iter().for_each(|words| text += &row(words));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        let columns = ["10".to_owned(), "100".to_owned()];
        let mut grid =
            Grid::new("cost", "The cost", Unit::Nanos, "descriptors", &columns, &["poll", "epoll"]);
        for sample in [30.0, 10.0, 20.0] {
            grid.cell(0, 0).add(Ok(sample));
        }
        grid.cell(0, 1).add(Ok(4e3));
        grid.cell(1, 0).add(Ok(10.0));
        grid.cell(1, 1).add(Ok(10.0));
        grid.cell(1, 1).add(Err(missing(&not_here("too slow"))));
        grid.claim("poll, 100 to 10", ("poll", 1), ("poll", 0));
        grid.claim("epoll, 100 to 10", ("epoll", 1), ("epoll", 0));
        grid
    }

    #[test]
    fn a_table_has_medians_ratios_and_reasons() {
        let text = to_markdown("Quiet.", &[Part::Figures(grid())]);
        assert!(
            text.contains("| descriptors | 10 | 100 |\n|---|--:|--:|\n| poll | 20.0 ns | 4.00 µs |\n"),
            "{text}"
        );
        assert!(text.contains("\n- poll, 100 to 10: **200 times**\n"), "{text}");
        // A ratio without its figures is left out.
        assert!(text.ends_with("times**\n- skipped: epoll (100): too slow\n"), "{text}");
    }

    #[test]
    fn what_is_written_is_read() {
        let words = Words { title: "a".into(), columns: vec!["b".into()], rows: vec![vec!["c".into()]] };
        let parts = vec![Part::Figures(grid()), Part::Words(words)];
        assert_eq!(of_json(&to_json("so", &parts)), Ok(("so".to_owned(), parts)));
        assert!(of_json("{}").is_err());
    }
}
