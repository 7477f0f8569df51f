//! Charts of a report, as SVG inside the page: bars over time, and steps of an amount.

use std::fmt::Write as _;

use purser_events::Timestamp;

use super::page::escaped;
use super::{Bar, POINTS, Range, Use};

/// Width of what is drawn; names stand left of it.
const WIDTH: usize = 800;

/// Room for names.
const LEFT: usize = 200;

/// Height of a row of bars.
const ROW: usize = 18;

/// Height of a chart of an amount.
const HEIGHT: usize = 90;

/// Longest name that fits, in characters.
const NAME_LEN_MAX: usize = 28;

/// Bars in rows, one below the other, with a line of times. `class` says of a bar which style it has.
pub(crate) fn rows(id: &str, range: Range, rows: &[(String, Vec<Bar>)], class: fn(&Bar) -> String) -> String {
    let height = rows.len() * ROW + 24;
    let total = LEFT + WIDTH;
    let mut svg = format!("<svg id=\"{id}\" role=\"img\" viewBox=\"0 0 {total} {height}\">");
    for (number, (name, bars)) in rows.iter().enumerate() {
        let y = number * ROW;
        let shown: String = name.chars().take(NAME_LEN_MAX).collect();
        let (name, shown) = (escaped(name), escaped(&shown));
        let _ = write!(svg, "<text x=\"0\" y=\"{}\">{shown}<title>{name}</title></text>", y + 13);
        for bar in bars {
            let to = bar.to.unwrap_or(range.last.0);
            let (from_x, to_x) = (x(range, bar.from), x(range, to));
            // What lasted for a moment is seen as well.
            let width = to_x.saturating_sub(from_x).max(10);
            let class = escaped(&class(bar));
            let what = escaped(&bar.what);
            let (from, to) = (Timestamp(bar.from), Timestamp(to));
            let _ = write!(
                svg,
                "<rect class=\"bar {class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"13\"><title>{what}: {from} to \
                 {to}</title></rect>",
                tenths(from_x + LEFT * 10),
                y + 2,
                tenths(width),
            );
        }
    }
    axis(&mut svg, range, rows.len() * ROW);
    svg.push_str("</svg>");
    svg
}

/// An amount over time, below what there is of it.
pub(crate) fn steps(id: &str, range: Range, of: &Use, show: &dyn Fn(u64) -> String) -> String {
    let most = of.capacity.iter().chain(&of.allocated).copied().max().unwrap_or(0).max(1);
    let total = LEFT + WIDTH;
    let mut svg = format!("<svg id=\"{id}\" role=\"img\" viewBox=\"0 0 {total} {}\">", HEIGHT + 24);
    let _ = write!(
        svg,
        "<text x=\"0\" y=\"13\">{}</text><text x=\"0\" y=\"{HEIGHT}\">0</text>",
        escaped(&show(most))
    );
    for (class, series) in [("capacity", &of.capacity), ("allocated", &of.allocated)] {
        let mut path = String::new();
        let last = series.last().copied().unwrap_or(0);
        for point in 0..POINTS {
            let value = series.get(point).copied().unwrap_or(last);
            let y = level(value, most);
            let (from, to) = (LEFT + point * WIDTH / POINTS, LEFT + (point + 1) * WIDTH / POINTS);
            let letter = if point == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{from} {y}L{to} {y}");
        }
        if class == "allocated" {
            let _ = write!(path, "L{total} {HEIGHT}L{LEFT} {HEIGHT}Z");
        }
        let _ = write!(svg, "<path class=\"{class}\" d=\"{path}\"/>");
    }
    axis(&mut svg, range, HEIGHT);
    svg.push_str("</svg>");
    svg
}

fn axis(svg: &mut String, range: Range, y: usize) {
    let total = LEFT + WIDTH;
    let _ = write!(
        svg,
        "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{y}\" x2=\"{total}\" y2=\"{y}\"/><text x=\"{LEFT}\" y=\"{0}\">{1}</text>\
         <text class=\"end\" x=\"{total}\" y=\"{0}\">{2}</text>",
        y + 16,
        brief(range.first),
        brief(range.last),
    );
}

/// A time to the second.
fn brief(time: Timestamp) -> String {
    let text = time.to_string();
    text.split('.').next().unwrap_or_default().replace('T', " ")
}

/// Where a moment is drawn, in tenths.
fn x(range: Range, time: i64) -> usize {
    let len = (i128::from(range.last.0) - i128::from(range.first.0)).max(1);
    let at = (i128::from(time) - i128::from(range.first.0)).clamp(0, len);
    usize::try_from(at * (WIDTH as i128 * 10) / len).unwrap_or_default()
}

/// Where an amount is drawn.
fn level(value: u64, most: u64) -> usize {
    let up = u128::from(value) * (HEIGHT as u128 - 8) / u128::from(most);
    HEIGHT - usize::try_from(up).unwrap_or_default()
}

fn tenths(value: usize) -> String {
    format!("{}.{}", value / 10, value % 10)
}
