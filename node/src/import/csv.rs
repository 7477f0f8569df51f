//! Comma-separated values as RFC 4180 has them: lines of cells, of which some are in quotes.

use std::iter::Peekable;
use std::str::Chars;

/// A line of cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The line of the text on which it begins, from 1.
    pub(super) line: usize,
    /// Its cells; those without quotes lack the blanks around them.
    pub(super) cells: Vec<String>,
}

/// Where a text is no table, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CsvError {
    /// Line of the text, from 1.
    pub(super) line: usize,
    /// What is wrong there.
    pub(super) message: &'static str,
}

/// The lines of a table one after the other; empty ones are left out.
pub(super) struct Records<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
}

impl<'a> Records<'a> {
    pub(super) fn new(text: &'a str) -> Records<'a> {
        Records { chars: text.chars().peekable(), line: 1 }
    }

    fn record(&mut self) -> Result<Record, CsvError> {
        let line = self.line;
        let mut cells = Vec::new();
        loop {
            let cell = if self.chars.next_if_eq(&'"').is_some() { self.quoted()? } else { self.plain()? };
            cells.push(cell);
            match self.next() {
                Some(',') => {}
                Some('\n') | None => return Ok(Record { line, cells }),
                Some(_) => return Err(self.wrong("there is text behind a closing quote")),
            }
        }
    }

    /// The rest of a cell that began with a quote, up to what is behind the closing one.
    fn quoted(&mut self) -> Result<String, CsvError> {
        let opened = self.line;
        let mut cell = String::new();
        loop {
            match self.next() {
                Some('"') if self.chars.next_if_eq(&'"').is_some() => cell.push('"'),
                Some('"') => {
                    self.chars.next_if_eq(&'\r');
                    return Ok(cell);
                }
                Some(other) => cell.push(other),
                None => return Err(CsvError { line: opened, message: "a quote is not closed" }),
            }
        }
    }

    fn plain(&mut self) -> Result<String, CsvError> {
        let mut cell = String::new();
        while let Some(next) = self.chars.next_if(|next| !matches!(next, ',' | '\n')) {
            if next == '"' {
                return Err(self.wrong("a quote must begin its cell, and one inside it must be doubled"));
            }
            cell.push(next);
        }
        Ok(cell.trim().to_owned())
    }

    fn next(&mut self) -> Option<char> {
        let next = self.chars.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn wrong(&self, message: &'static str) -> CsvError {
        CsvError { line: self.line, message }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, CsvError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.chars.peek()?;
            match self.record() {
                Ok(record) if record.cells.iter().all(String::is_empty) => {}
                found => return Some(found),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;

    fn cells(text: &str) -> Vec<Vec<String>> {
        Records::new(text).map(|record| record.expect("it is a table").cells).collect()
    }

    #[test]
    fn cells_are_read_with_and_without_quotes() {
        let text = "a, b ,\"c\"\r\n\r\n\"x, \"\"y\"\"\n z\",,\"\"\r\nlast,,";
        assert_eq!(cells(text), [vec!["a", "b", "c"], vec!["x, \"y\"\n z", "", ""], vec!["last", "", ""]]);
        let lines: Vec<usize> =
            Records::new(text).map(|record| record.expect("it is a table").line).collect();
        assert_eq!(lines, [1, 3, 5]);
        assert_eq!(cells("\n , \n"), Vec::<Vec<String>>::new());
    }

    #[test]
    fn what_is_no_table_is_refused_at_its_line() {
        for (text, line) in [("a\nb,\"c\n\n", 2), ("a\n\"b\" c", 2), ("a\nb\"c\"\n", 2), ("\"a\"\"", 1)] {
            let error = Records::new(text).find_map(Result::err).expect("it is refused");
            assert_eq!(error.line, line, "{text:?}: {}", error.message);
        }
    }

    proptest! {
        #[test]
        fn every_table_is_read_back(
            rows in prop::collection::vec(prop::collection::vec("[a-z,\"\n\r é]{1,6}", 1..4), 0..5),
        ) {
            let cell = |cell: &String| format!("\"{}\"", cell.replace('"', "\"\""));
            let line = |row: &Vec<String>| row.iter().map(cell).collect::<Vec<_>>().join(",");
            let text = rows.iter().map(line).collect::<Vec<_>>().join("\r\n");
            assert_eq!(cells(&text), rows);
        }

        #[test]
        fn no_text_makes_the_reader_fail_badly(text in any::<String>()) {
            let _ = Records::new(&text).collect::<Vec<_>>();
        }
    }
}
