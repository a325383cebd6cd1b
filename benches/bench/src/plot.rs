//! A bar plot for each table: the medians, with a line from the least to the most.

use crate::catalogue::Measure;
use crate::driver::Row;
use crate::report::{Line, show, table};
use plotters::prelude::*;
use std::io;
use std::path::Path;

const WIDTH: u32 = 720;
const ROW: u32 = 34;
const HEAD: u32 = 46;
/// Where the bars begin, and how much room their figures have behind them.
const NAMES: i32 = 140;
const FIGURES: i32 = 130;
const SWARD: RGBColor = RGBColor(0x1b, 0x7f, 0x5c);
const OTHERS: RGBColor = RGBColor(0x9a, 0xa5, 0xb1);

pub fn write(folder: &Path, rows: &[Row]) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for row in rows {
        for &measure in row.workload.measures {
            let lines = table(row, measure);
            let file = folder.join(format!("{}-{}.svg", row.workload.name, measure.key));
            let title = format!("{}: {}", row.workload.name, measure.title);
            if !lines.is_empty() {
                draw(&file, &title, &lines, measure).map_err(|e| io::Error::other(e.to_string()))?;
            }
        }
    }
    Ok(())
}

fn draw(
    file: &Path,
    title: &str,
    lines: &[Line],
    measure: Measure,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(file, (WIDTH, HEAD + ROW * lines.len() as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let text = ("sans-serif", 14).into_font();
    area.draw(&Text::new(title, (10, 14), ("sans-serif", 17)))?;
    let longest = lines.iter().map(|line| line.summary.most).fold(f64::MIN_POSITIVE, f64::max);
    let at = |value: f64| NAMES + (value / longest * f64::from(WIDTH as i32 - NAMES - FIGURES)) as i32;
    for (n, line) in lines.iter().enumerate() {
        let top = (HEAD + ROW * n as u32) as i32;
        let middle = top + ROW as i32 / 2 - 4;
        let color = if line.peer.starts_with("sward") { SWARD } else { OTHERS };
        let bar = [(NAMES, top), (at(line.summary.median), top + ROW as i32 - 8)];
        area.draw(&Rectangle::new(bar, color.filled()))?;
        area.draw(&PathElement::new(
            [(at(line.summary.least), middle), (at(line.summary.most), middle)],
            BLACK,
        ))?;
        area.draw(&Text::new(line.peer, (10, middle - 7), text.clone()))?;
        let figure = show(line.summary.median, measure);
        area.draw(&Text::new(figure, (at(line.summary.most) + 8, middle - 7), text.clone()))?;
    }
    area.present()?;
    Ok(())
}
