//! How far a long reading is, in one line of a terminal that goes away again. In a pipe there is none.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use purser_events::Seq;

/// Records between two looks at the clock.
const RECORDS_PER_LOOK: u64 = 1 << 12;

/// How long a reading takes before anything is said of it.
const SILENT_FOR: Duration = Duration::from_secs(1);

/// Time between two changes of the line.
const CHANGED_AFTER: Duration = Duration::from_millis(200);

/// Characters of the bar.
const BAR_LEN: u64 = 30;

/// Goes back to the beginning of the line and empties it.
const EMPTY_LINE: &str = "\r\x1b[K";

/// A terminal that somebody looks at.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    /// Time since some moment, which does not go back.
    pub passed: fn() -> Duration,
    /// Shows text at once.
    pub show: fn(&str),
    /// Whether the data goes to the same terminal: then it shows by itself how far things are.
    pub is_output: bool,
}

/// The line of a terminal that says how far things are; without a terminal, nothing.
#[derive(Clone, Default)]
pub(crate) struct Line(Option<Rc<Drawn>>);

struct Drawn {
    terminal: Terminal,
    /// Whether the line is there now.
    is_there: Cell<bool>,
    /// Whether it is not to come again.
    is_over: Cell<bool>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Line").field(&self.0.is_some()).finish()
    }
}

impl Line {
    pub(crate) fn of(terminal: Option<Terminal>) -> Line {
        let drawn =
            |terminal| Rc::new(Drawn { terminal, is_there: Cell::new(false), is_over: Cell::new(false) });
        Line(terminal.map(drawn))
    }

    /// Takes the line away: something else is written.
    fn clear(&self) {
        if let Some(drawn) = &self.0
            && drawn.is_there.replace(false)
        {
            (drawn.terminal.show)(EMPTY_LINE);
        }
    }

    /// Takes the line away for good: the terminal is somebody else's from here on.
    pub(crate) fn end(&self) {
        self.clear();
        if let Some(drawn) = &self.0 {
            drawn.is_over.set(true);
        }
    }

    /// A reading that begins.
    pub(crate) fn reading(&self, total: Total) -> Progress {
        let begun = self.0.as_ref().map(|drawn| (drawn.terminal.passed)()).unwrap_or_default();
        Progress { line: self.clone(), total, begun, drawn: Duration::ZERO, left: RECORDS_PER_LOOK }
    }
}

/// How much there is to read.
#[derive(Debug, Clone)]
pub(crate) enum Total {
    /// Nobody knows.
    Unknown,
    /// Records from after one to another.
    Records(Seq, Seq),
    /// Bytes: how many were read, and how many there are.
    Bytes(Rc<Cell<u64>>, u64),
}

impl Total {
    /// What is done at a record, and of how much.
    fn done(&self, seq: Seq) -> Option<(u64, u64)> {
        let (done, all) = match self {
            Total::Unknown => return None,
            Total::Records(before, last) => (seq.0.saturating_sub(before.0), last.0.saturating_sub(before.0)),
            Total::Bytes(read, all) => (read.get(), *all),
        };
        (all > 0).then_some((done.min(all), all))
    }
}

/// Counts the bytes that are read.
pub(crate) struct Counted<R> {
    pub(crate) inner: R,
    pub(crate) read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read.set(self.read.get().saturating_add(count as u64));
        Ok(count)
    }
}

/// How far one reading is. The line goes away with it.
#[derive(Debug)]
pub(crate) struct Progress {
    line: Line,
    total: Total,
    begun: Duration,
    /// When the line was changed last.
    drawn: Duration,
    /// Records until the next look at the clock.
    left: u64,
}

impl Progress {
    /// Takes notice of a record.
    pub(crate) fn note(&mut self, seq: Seq) {
        self.left -= 1;
        if self.left == 0 {
            self.left = RECORDS_PER_LOOK;
            self.look(seq);
        }
    }

    fn look(&mut self, seq: Seq) {
        let Some(drawn) = &self.line.0 else { return };
        let now = (drawn.terminal.passed)();
        let is_due =
            SILENT_FOR <= now.saturating_sub(self.begun) && CHANGED_AFTER <= now.saturating_sub(self.drawn);
        if is_due && !drawn.is_over.get() {
            self.drawn = now;
            drawn.is_there.set(true);
            (drawn.terminal.show)(&format!("{EMPTY_LINE}{}", told(seq, &self.total)));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.line.clear();
    }
}

/// The line's text.
fn told(seq: Seq, total: &Total) -> String {
    let Some((done, all)) = total.done(seq) else { return format!("record {seq}") };
    let part = |of: u64| u64::try_from(u128::from(done) * u128::from(of) / u128::from(all)).unwrap_or(of);
    let full = usize::try_from(part(BAR_LEN)).unwrap_or_default();
    let empty = usize::try_from(BAR_LEN).unwrap_or_default().saturating_sub(full);
    format!("[{}{}] {:>3} %  record {seq}", "#".repeat(full), " ".repeat(empty), part(100))
}

/// A writer before which the line goes away.
pub(crate) struct Cleared<'a> {
    pub(crate) inner: &'a mut dyn Write,
    pub(crate) line: Line,
    /// Whether what is written is the data.
    pub(crate) is_output: bool,
}

impl Write for Cleared<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.clear();
        if let Some(drawn) = &self.line.0
            && self.is_output
            && drawn.terminal.is_output
        {
            drawn.is_over.set(true);
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        static NOW: Cell<u64> = const { Cell::new(0) };
        static SHOWN: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
    }

    fn terminal(is_output: bool) -> Option<Terminal> {
        let passed = || Duration::from_millis(NOW.get());
        let show = |text: &str| SHOWN.with_borrow_mut(|shown| shown.push_str(text));
        Some(Terminal { passed, show, is_output })
    }

    /// Reads as many records as lead to one look at the clock, at a moment.
    fn reads(progress: &mut Progress, at_ms: u64) -> String {
        NOW.set(at_ms);
        (0..RECORDS_PER_LOOK).for_each(|_| progress.note(Seq(7)));
        SHOWN.take()
    }

    #[test]
    fn the_line_comes_after_a_second_and_goes_again() {
        let line = Line::of(terminal(false));
        let mut progress = line.reading(Total::Unknown);
        assert_eq!(reads(&mut progress, 999), "");
        assert_eq!(reads(&mut progress, 1_000), "\r\x1b[Krecord 7");
        assert_eq!(reads(&mut progress, 1_100), "", "not again so soon");
        let mut notes = Vec::new();
        let mut cleared = Cleared { inner: &mut notes, line: line.clone(), is_output: true };
        cleared.write_all(b"x").unwrap();
        assert_eq!(SHOWN.take(), EMPTY_LINE, "what is written is not written behind it");
        assert_eq!(reads(&mut progress, 1_300), "\r\x1b[Krecord 7");
        drop(progress);
        assert_eq!(SHOWN.take(), EMPTY_LINE);
    }

    #[test]
    fn data_on_the_same_terminal_says_enough() {
        let line = Line::of(terminal(true));
        let mut progress = line.reading(Total::Unknown);
        let mut cleared = Cleared { inner: &mut Vec::new(), line: line.clone(), is_output: true };
        cleared.write_all(b"x").unwrap();
        assert_eq!(reads(&mut progress, 5_000), "");
    }

    #[test]
    fn the_line_says_how_far_it_is() {
        let upto = |last| Total::Records(Seq(100), Seq(last));
        assert_eq!(told(Seq(4096), &Total::Unknown), "record 4096");
        assert_eq!(told(Seq(150), &upto(200)).matches('#').count(), 15);
        assert!(told(Seq(150), &upto(300)).ends_with("]  25 %  record 150"));
        assert!(told(Seq(301), &upto(300)).contains("100 %"), "the journal grew meanwhile");
        assert_eq!(told(Seq(100), &upto(100)), "record 100");
        let half = Total::Bytes(Rc::new(Cell::new(5)), 10);
        assert!(told(Seq(1), &half).contains(" 50 %"));
    }
}
