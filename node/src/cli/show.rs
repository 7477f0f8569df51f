//! How answers are printed: columns, ages, colours.

use std::io::{self, IsTerminal, Write};

use purser_actors::port::Clock;
use purser_events::Timestamp;
use serde::Serialize;

use super::arguments::Output;
use super::failure::Failure;
use crate::adapter::clock::SystemClock;

/// Prints a line; a reader that has enough ends the verb without a complaint.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Prints a line with a name and a value.
pub(super) fn field(name: &str, value: &str) -> Result<(), Failure> {
    line(&format!("{:<16} {value}", format!("{name}:")))
}

/// Prints a value as JSON or YAML; false if another output is wanted.
pub(super) fn structured(value: &impl Serialize, output: Output) -> Result<bool, Failure> {
    let text = match output {
        Output::Json => serde_json::to_string_pretty(value).map_err(|error| error.to_string()),
        Output::Yaml => serde_saphyr::to_string(value).map_err(|error| error.to_string()),
        Output::Table | Output::Wide | Output::Name => return Ok(false),
    };
    line(text.map_err(Failure::Senseless)?.trim_end())?;
    Ok(true)
}

/// Rows below headings, in columns.
#[derive(Debug)]
pub(super) struct Table {
    widths: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(headings: &[&str]) -> Table {
        let mut table = Table { widths: vec![0; headings.len()], rows: Vec::new() };
        table.row(headings.iter().map(|heading| (*heading).to_owned()).collect());
        table
    }

    /// A table of one column, without a heading.
    pub(super) fn without_headings() -> Table {
        Table { widths: vec![0], rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = (*width).max(cell.chars().count());
        }
        self.rows.push(cells);
    }

    /// Prints what has been added since the last time.
    pub(super) fn print(&mut self) -> Result<(), Failure> {
        for row in std::mem::take(&mut self.rows) {
            line(&self.render(&row))?;
        }
        Ok(())
    }

    fn render(&self, row: &[String]) -> String {
        let mut text = String::new();
        for (index, (cell, width)) in row.iter().zip(&self.widths).enumerate() {
            text.push_str(&coloured(cell));
            if index + 1 < row.len() {
                let padding = width.saturating_sub(cell.chars().count()) + 3;
                text.extend(std::iter::repeat_n(' ', padding));
            }
        }
        text.trim_end().to_owned()
    }
}

/// A word of state in its colour, on a terminal whose user wants colours.
pub(super) fn coloured(word: &str) -> String {
    let colour = match word {
        "Running" | "Ready" | "Up" | "Healthy" => 32,
        "Pending" | "Provisioning" | "Stopping" | "Terminating" | "ContainerCreating" | "Degraded"
        | "Probation" | "Cordoned" => 33,
        "Failed" | "CrashLoopBackOff" | "CreateBackOff" | "Error" | "OOMKilled" | "StartError" | "Lost"
        | "Down" | "RuntimeMissing" | "Preempted" | "Evicted" | "Faulty" | "Unresponsive" => 31,
        _ => return word.to_owned(),
    };
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted && io::stdout().is_terminal() {
        format!("\u{1b}[{colour}m{word}\u{1b}[0m")
    } else {
        word.to_owned()
    }
}

/// How long ago something was, in kubectl's manner.
pub(super) fn age(since: Timestamp) -> String {
    age_of(SystemClock.now().ms_since(since) / 1_000)
}

/// A time in kubectl's manner.
pub(super) fn age_of(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let ages: Vec<String> = [0, 119, 120, 7_199, 7_200, 172_800].into_iter().map(age_of).collect();
        assert_eq!(ages, ["0s", "119s", "2m", "119m", "2h", "2d"]);
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(vec!["a-long-name".into(), "x".into()]);
        let lines: Vec<String> = table.rows.iter().map(|row| table.render(row)).collect();
        assert_eq!(lines, ["NAME          STATE", "a-long-name   x"]);
    }
}
