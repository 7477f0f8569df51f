//! Rows that are shown one by one, as lines or as one JSON array, and not kept.

use serde_json::Value;

use crate::cli::Output;
use crate::failure::Failure;
use crate::{Console, render};

/// What was shown so far.
pub(crate) struct Rows {
    output: Output,
    shown: u64,
}

impl Rows {
    /// Nothing yet.
    pub(crate) fn new(output: Output) -> Rows {
        Rows { output, shown: 0 }
    }

    /// Whether programs read them.
    pub(crate) fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// Whether none was shown.
    pub(crate) fn is_empty(&self) -> bool {
        self.shown == 0
    }

    /// Shows the next row.
    pub(crate) fn show(
        &mut self,
        line: &str,
        value: &Value,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        self.shown += 1;
        match self.output {
            Output::Text => console.line(format_args!("{line}")),
            Output::Json => {
                let before = if self.shown == 1 { "[\n" } else { ",\n" };
                write!(console.out, "{before}{}", render::compact(value)).map_err(Failure::Output)
            }
        }
    }

    /// Ends them.
    pub(crate) fn end(&self, console: &mut Console<'_>) -> Result<(), Failure> {
        match (self.output, self.shown) {
            (Output::Text, _) => Ok(()),
            (Output::Json, 0) => console.line(format_args!("[]")),
            (Output::Json, _) => console.line(format_args!("\n]")),
        }
    }
}
