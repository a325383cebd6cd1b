//! Plots of tables of figures, with a logarithmic axis: lines over the columns, or dots for each variant.

use super::grid::{Grid, Shape, Unit};
use crate::plot::{Area, MARGIN, OTHERS, SWARD, TEXT, TITLE, WIDTH, sheet, write_at};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;
use std::error::Error;
use std::path::Path;

/// Colours that colour-blind readers can tell apart.
const COLORS: [RGBColor; 7] = [
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0x8a, 0x7b, 0x00),
    BLACK,
];
const FAINT: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
const TOP: i32 = 90;
const HEIGHT: i32 = 470;
const LEFT: i32 = 80;
/// Where the lines end and their names begin.
const NAMES: i32 = 530;
const LINE: i32 = 18;
const ROW: i32 = 28;
/// Where the dots begin.
const DOTS: i32 = 270;

/// A logarithmic axis of whole decades.
struct Axis {
    least: f64,
    most: f64,
    from: i32,
    to: i32,
}

impl Axis {
    fn of(grid: &Grid, from: i32, to: i32) -> Option<Axis> {
        let cells = grid.variants.iter().flat_map(|variant| &variant.cells);
        let logs = cells.filter_map(|cell| cell.median()).filter(|value| *value > 0.0).map(f64::log10);
        let (least, most) =
            logs.fold((f64::MAX, f64::MIN), |(least, most), log| (least.min(log), most.max(log)));
        let (least, most) = (least.floor(), most.ceil());
        (least <= most).then(|| Axis { least, most: most.max(least + 1.0), from, to })
    }

    fn at(&self, value: f64) -> i32 {
        // What is zero is drawn at the end of the axis.
        let part =
            (value.max(f64::MIN_POSITIVE).log10().max(self.least) - self.least) / (self.most - self.least);
        self.from + (part * f64::from(self.to - self.from)) as i32
    }

    fn decades(&self) -> impl Iterator<Item = f64> + use<> {
        (self.least as i32..=self.most as i32).map(|power| 10_f64.powi(power))
    }
}

/// A power of ten, without digits behind the point.
fn round(grid: &Grid, value: f64) -> String {
    if grid.unit == Unit::Bytes {
        return if value >= 1e6 {
            format!("{} MB", value / 1e6)
        } else if value >= 1e3 {
            format!("{} kB", value / 1e3)
        } else {
            format!("{value} B")
        };
    }
    let text = grid.unit.show(value);
    match text.split_once('.') {
        Some((whole, rest)) if value >= 1.0 => {
            format!("{whole}{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        _ => text,
    }
}

/// Draws the table into a file of its name; nothing if it has no figures.
pub fn draw(folder: &Path, grid: &Grid, setting: &str) -> Result<(), Box<dyn Error>> {
    let file = folder.join(format!("{}.svg", grid.name));
    match grid.shape {
        Shape::Lines => lines(&file, grid, setting),
        Shape::Dots => dots(&file, grid, setting),
    }
}

fn heads(area: &Area, grid: &Grid, setting: &str) -> Result<(), Box<dyn Error>> {
    write_at(area, plain(&grid.title), TITLE, HPos::Left, (MARGIN, 20))?;
    write_at(area, format!("logarithmic scale; {setting}"), TEXT, HPos::Left, (MARGIN, 44))
}

fn lines(file: &Path, grid: &Grid, setting: &str) -> Result<(), Box<dyn Error>> {
    let Some(axis) = Axis::of(grid, HEIGHT - 50, TOP) else { return Ok(()) };
    let area = sheet(file, HEIGHT)?;
    heads(&area, grid, setting)?;
    for value in axis.decades() {
        area.draw(&PathElement::new([(LEFT, axis.at(value)), (NAMES - 10, axis.at(value))], FAINT))?;
        write_at(&area, round(grid, value), TEXT, HPos::Right, (LEFT - 8, axis.at(value)))?;
    }
    let last = (grid.columns.len() - 1).max(1) as i32;
    let across = |column: usize| LEFT + 20 + column as i32 * (NAMES - 40 - LEFT - 20) / last;
    for (column, name) in grid.columns.iter().enumerate() {
        write_at(&area, name.clone(), TEXT, HPos::Center, (across(column), HEIGHT - 34))?;
    }
    let middle = (LEFT + NAMES) / 2;
    write_at(&area, grid.axis.clone(), TEXT, HPos::Center, (middle, HEIGHT - 14))?;
    let mut names: Vec<(i32, String, RGBColor)> = Vec::new();
    let mut colors = COLORS.iter().cycle();
    for variant in &grid.variants {
        let color = match variant {
            _ if variant.name.starts_with("sward") => SWARD,
            _ if variant.quoted => OTHERS,
            _ => *colors.next().expect("it is a cycle"),
        };
        let points: Vec<(i32, i32)> = variant
            .cells
            .iter()
            .enumerate()
            .filter_map(|(column, cell)| Some((across(column), axis.at(cell.median()?))))
            .collect();
        let Some(&(_, end)) = points.last() else { continue };
        let width = if variant.quoted { 1 } else { 2 };
        area.draw(&PathElement::new(points.clone(), color.stroke_width(width)))?;
        for point in points {
            area.draw(&Circle::new(point, 3, color.filled()))?;
        }
        names.push((end, variant.name.clone(), color));
    }
    // Names stand at the ends of their lines, and move down if they would cover one another; up, if the last
    // would leave the sheet.
    names.sort_by_key(|name| name.0);
    let mut free = TOP;
    for name in &mut names {
        name.0 = name.0.max(free);
        free = name.0 + LINE;
    }
    let mut limit = HEIGHT - 20;
    for name in names.iter_mut().rev() {
        name.0 = name.0.min(limit);
        limit = name.0 - LINE;
    }
    for (at, name, color) in names {
        area.draw(&Circle::new((NAMES, at), 4, color.filled()))?;
        write_at(&area, plain(&name), TEXT, HPos::Left, (NAMES + 10, at))?;
    }
    area.present()?;
    Ok(())
}

/// Without the marks of Markdown.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

fn dots(file: &Path, grid: &Grid, setting: &str) -> Result<(), Box<dyn Error>> {
    let Some(axis) = Axis::of(grid, DOTS, WIDTH - 60) else { return Ok(()) };
    let bottom = TOP + 34 + ROW * grid.variants.len() as i32;
    let area = sheet(file, bottom + MARGIN)?;
    heads(&area, grid, setting)?;
    for (column, name) in grid.columns.iter().enumerate() {
        let left = DOTS + 120 * column as i32;
        area.draw(&Circle::new((left, 68), 5, COLORS[column % COLORS.len()].filled()))?;
        write_at(&area, name.clone(), TEXT, HPos::Left, (left + 10, 68))?;
    }
    for value in axis.decades() {
        area.draw(&PathElement::new([(axis.at(value), TOP + 16), (axis.at(value), bottom)], FAINT))?;
        write_at(&area, round(grid, value), TEXT, HPos::Center, (axis.at(value), TOP + 6))?;
    }
    for (n, variant) in grid.variants.iter().enumerate() {
        let middle = TOP + 34 + ROW * n as i32;
        let color = if variant.name.starts_with("sward") { SWARD } else { BLACK };
        let style = ("sans-serif", TEXT).into_text_style(&area).color(&color);
        let at = style.pos(plotters::style::text_anchor::Pos::new(
            HPos::Right,
            plotters::style::text_anchor::VPos::Center,
        ));
        area.draw(&Text::new(plain(&variant.name), (DOTS - 14, middle), at))?;
        area.draw(&PathElement::new([(DOTS, middle), (WIDTH - 60, middle)], FAINT))?;
        for (column, cell) in variant.cells.iter().enumerate() {
            let Some(value) = cell.median() else { continue };
            area.draw(&Circle::new((axis.at(value), middle), 5, COLORS[column % COLORS.len()].filled()))?;
        }
    }
    area.present()?;
    Ok(())
}
