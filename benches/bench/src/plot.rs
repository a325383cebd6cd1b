//! Bar plots. One for each table, with medians and a line from the least to the most; and two overviews, with
//! ratios to sward.

use crate::catalogue::Measure;
use crate::driver::{Row, usual_setting};
use crate::report::{Line, ratio, show, table, three};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::error::Error;
use std::io;
use std::path::Path;

pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

// The back-end makes each font smaller by a quarter: 16 is 13 pixels.
pub const TEXT: i32 = 16;
pub const TITLE: i32 = 20;
pub const SWARD: RGBColor = RGBColor(0x1b, 0x7f, 0x5c);
pub const OTHERS: RGBColor = RGBColor(0x9a, 0xa5, 0xb1);

pub fn write(folder: &Path, rows: &[Row]) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let wrong = |e: Box<dyn Error>| io::Error::other(e.to_string());
    for row in rows {
        for &measure in row.workload.measures {
            let lines = table(row, measure);
            let file = folder.join(format!("{}-{}.svg", row.workload.name, measure.key));
            if !lines.is_empty() {
                draw(&file, row, &lines, measure).map_err(wrong)?;
            }
        }
    }
    for overview in &OVERVIEWS {
        overview.draw(folder, rows).map_err(wrong)?;
    }
    Ok(())
}

/// A white background, so that it can be read on dark pages.
pub fn sheet(file: &Path, height: i32) -> Result<Area<'_>, Box<dyn Error>> {
    let area = SVGBackend::new(file, (WIDTH as u32, height as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    Ok(area)
}

/// Writes a text with its left end, middle or right end at a point, vertically centred.
pub fn write_at(
    area: &Area,
    text: String,
    size: i32,
    from: HPos,
    at: (i32, i32),
) -> Result<(), Box<dyn Error>> {
    let style = ("sans-serif", size).into_text_style(area).pos(Pos::new(from, VPos::Center));
    Ok(area.draw(&Text::new(text, at, style))?)
}

pub const WIDTH: i32 = 760;
pub const MARGIN: i32 = 10;

// ---- One table -------------------------------------------------------------------------------------

const ROW: i32 = 34;
const HEAD: i32 = 64;
/// Where the bars begin, and the room behind them for their figures.
const NAMES: i32 = 150;
const FIGURES: i32 = 90;

fn draw(file: &Path, row: &Row, lines: &[Line], measure: Measure) -> Result<(), Box<dyn Error>> {
    let area = sheet(file, HEAD + ROW * lines.len() as i32)?;
    let title = format!("{}: {}", row.workload.name, measure.title);
    write_at(&area, title, TITLE, HPos::Left, (MARGIN, 20))?;
    write_at(&area, row.setting.to_string(), TEXT, HPos::Left, (MARGIN, 44))?;
    let longest = lines.iter().map(|line| line.summary.most).fold(f64::MIN_POSITIVE, f64::max);
    let at = |value: f64| NAMES + (value / longest * f64::from(WIDTH - NAMES - FIGURES)) as i32;
    for (n, line) in lines.iter().enumerate() {
        let top = HEAD + ROW * n as i32;
        let middle = top + ROW / 2 - 4;
        let color = if line.peer.starts_with("sward") { SWARD } else { OTHERS };
        let bar = [(NAMES, top), (at(line.summary.median), top + ROW - 8)];
        area.draw(&Rectangle::new(bar, color.filled()))?;
        area.draw(&PathElement::new(
            [(at(line.summary.least), middle), (at(line.summary.most), middle)],
            BLACK,
        ))?;
        write_at(&area, line.peer.to_owned(), TEXT, HPos::Left, (MARGIN, middle))?;
        let figure = show(line.summary.median, measure);
        write_at(&area, figure, TEXT, HPos::Left, (at(line.summary.most) + 8, middle))?;
    }
    area.present()?;
    Ok(())
}

// ---- Over all --------------------------------------------------------------------------------------

/// An overview: the ratios of some workloads, each by its first measure.
struct Overview {
    file: &'static str,
    title: &'static str,
    peers: &'static [&'static str],
    /// The names of the workloads, and their labels in the plot.
    workloads: &'static [(&'static str, &'static str)],
}

const OVERVIEWS: [Overview; 2] = [
    Overview {
        file: "overview-compute.svg",
        title: "Time, sward = 1: shorter is better",
        peers: &["sward", "go", "tokio", "may"],
        workloads: &[
            ("spawn", "spawn, run, exit, join"),
            ("yield-100", "100 yield"),
            ("pingpong", "rendezvous channels"),
            ("chan-1-1", "channel, one to one"),
            ("mutex", "100 share a mutex"),
            ("skynet", "skynet: 1,000,000 leaves"),
            ("fib", "fork-join fib"),
            ("timers", "receive with a timeout"),
        ],
    },
    Overview {
        file: "overview-servers.svg",
        title: "Server CPU per request, sward = 1: shorter is better",
        peers: &["sward", "go", "tokio", "may", "raw"],
        workloads: &[
            ("echo-64", "echo, 64 connections"),
            ("echo-1k", "echo, 1,000 connections"),
            ("http-64", "HTTP, 64 connections"),
            ("http-1k", "HTTP, 1,000 connections"),
            ("churn", "connect, request, close"),
            ("deadline", "echo with deadlines"),
            ("skew", "echo, 100 of 1,000 busy"),
        ],
    },
];

/// A peer's name in the legend, and its colour, which colour-blind readers can tell apart.
fn legend(peer: &str) -> (&str, RGBColor) {
    match peer {
        "sward" => ("sward", SWARD),
        "go" => ("Go", RGBColor(0x56, 0xb4, 0xe9)),
        "tokio" => ("tokio", RGBColor(0xe6, 0x9f, 0x00)),
        "may" => ("may", RGBColor(0xcc, 0x79, 0xa7)),
        "raw" => ("raw epoll loop", OTHERS),
        _ => (peer, OTHERS),
    }
}

/// The axis ends here. A longer bar is drawn torn, with its length as a figure.
const LONGEST: f64 = 5.0;
const BAR: i32 = 17;
const GAP: i32 = 16;
const TOP: i32 = 118;
const LABELS: i32 = 200;
const BEHIND: i32 = 60;

impl Overview {
    fn draw(&self, folder: &Path, rows: &[Row]) -> Result<(), Box<dyn Error>> {
        let group = |&(name, label): &(&str, &'static str)| {
            let row = rows.iter().find(|row| row.workload.name == name)?;
            let lines = table(row, row.workload.measures[0]);
            let bar = |&peer: &&'static str| Some((peer, ratio(&lines, peer, "sward")?));
            let bars: Vec<(&str, f64)> = self.peers.iter().filter_map(bar).collect();
            (!bars.is_empty()).then_some((label, row.setting, bars))
        };
        let groups: Vec<_> = self.workloads.iter().filter_map(group).collect();
        let Some(usual) = usual_setting(rows).filter(|_| !groups.is_empty()) else { return Ok(()) };
        let bars: usize = groups.iter().map(|(.., bars)| bars.len()).sum();
        let bottom = TOP + BAR * bars as i32 + GAP * groups.len() as i32;
        let file = folder.join(self.file);
        let area = sheet(&file, bottom + MARGIN)?;
        write_at(&area, self.title.to_owned(), TITLE, HPos::Left, (MARGIN, 20))?;
        write_at(&area, usual.to_string(), TEXT, HPos::Left, (MARGIN, 44))?;

        let there = |peer: &&&str| groups.iter().any(|(.., bars)| bars.iter().any(|bar| bar.0 == **peer));
        for (n, peer) in self.peers.iter().filter(there).enumerate() {
            let left = LABELS + 100 * n as i32;
            let (name, color) = legend(peer);
            area.draw(&Rectangle::new([(left, 62), (left + 14, 76)], color.filled()))?;
            write_at(&area, name.to_owned(), TEXT, HPos::Left, (left + 20, 69))?;
        }

        let at = |value: f64| LABELS + (value / LONGEST * f64::from(WIDTH - LABELS - BEHIND)) as i32;
        for n in 0..=LONGEST as i32 {
            let x = at(f64::from(n));
            area.draw(&PathElement::new([(x, TOP - 8), (x, bottom)], RGBColor(0xdd, 0xdd, 0xdd)))?;
            write_at(&area, n.to_string(), TEXT, HPos::Center, (x, TOP - 18))?;
        }
        let mut figures = Vec::new();
        let mut top = TOP;
        for (label, setting, bars) in groups {
            let middle = top + BAR * bars.len() as i32 / 2;
            let differs = setting != usual;
            let up = if differs { TEXT / 2 } else { 0 };
            write_at(&area, label.to_owned(), TEXT, HPos::Right, (LABELS - 10, middle - up))?;
            if differs {
                write_at(&area, setting.to_string(), TEXT, HPos::Right, (LABELS - 10, middle + up))?;
            }
            for (peer, ratio) in bars {
                let end = at(ratio.min(LONGEST));
                let color = legend(peer).1;
                area.draw(&Rectangle::new([(LABELS, top), (end, top + BAR - 2)], color.filled()))?;
                if ratio > LONGEST {
                    let tear = [(end - 16, top + BAR), (end - 8, top - 2)];
                    area.draw(&PathElement::new(tear, WHITE.stroke_width(4)))?;
                }
                // A figure that would cover the line at one is put behind it.
                let end = if end < at(1.0) && end + 44 > at(1.0) { at(1.0) } else { end };
                figures.push((three(ratio), end + 4, top));
                top += BAR;
            }
            top += GAP;
        }
        area.draw(&PathElement::new([(at(1.0), TOP - 8), (at(1.0), bottom)], BLACK))?;
        // The figures last, on white, as grid lines through them make them hard to read.
        for (figure, left, top) in figures {
            let behind = [(left, top), (left + 9 * figure.len() as i32, top + BAR - 2)];
            area.draw(&Rectangle::new(behind, WHITE.filled()))?;
            write_at(&area, figure, TEXT, HPos::Left, (left + 2, top + BAR / 2 - 1))?;
        }
        area.present()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overviews_name_workloads_of_the_catalogue() {
        let known = crate::catalogue::workloads(u64::MAX);
        for (name, _) in OVERVIEWS.iter().flat_map(|overview| overview.workloads) {
            assert!(known.iter().any(|workload| workload.name == *name), "{name}");
        }
    }
}
