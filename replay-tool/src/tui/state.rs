//! What the screen shows and what a key makes of it: pure, so that it can be tested without a terminal or a journal.
//!
//! What a key asks of the journal becomes a [`Wish`]; whoever holds the journal fulfils it.

use std::sync::Arc;

use purser_events::{Seq, StreamId, Timestamp};

use super::density::Density;
use crate::cli::Moment;
use crate::expr::RecordExpr;
use crate::notable::Notable;
use crate::pattern::Pattern;

/// Longest text that can be typed, in characters.
const TYPED_LEN_MAX: usize = 1_024;

/// Places that one can go back to.
const TRAIL_LEN_MAX: usize = 256;

/// Columns that are passed at once with a capital letter.
const FAR_COLUMNS: i64 = 10;

/// A key, as far as the screen knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// Ctrl with C.
    Interrupt,
    /// Return.
    Enter,
    /// Escape.
    Esc,
    /// The tabulator.
    Tab,
    /// Deletes a character.
    Backspace,
    /// An arrow.
    Up,
    /// An arrow.
    Down,
    /// An arrow.
    Left,
    /// An arrow.
    Right,
    /// A page back.
    PageUp,
    /// A page on.
    PageDown,
    /// To the first.
    Home,
    /// To the last.
    End,
}

/// A record in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) seq: Seq,
    pub(super) time: Timestamp,
    pub(super) kind: String,
    pub(super) stream: StreamId,
    pub(super) text: String,
    pub(super) notable: Option<Notable>,
}

/// Rows that were looked up.
pub(super) struct Rows {
    pub(super) rows: Arc<Vec<Row>>,
    /// Which of them was meant.
    pub(super) selected: usize,
    /// The first record that was looked at.
    pub(super) from: Seq,
    /// The last one.
    pub(super) to: Seq,
}

/// What is shown beside the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    /// The record.
    Record,
    /// What led to it.
    Why,
    /// What was true after it.
    World,
}

/// What a pane shows of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) pane: Pane,
    pub(super) seq: Seq,
    pub(super) lines: Arc<Vec<String>>,
}

/// A condition by which the list is filtered.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    pub(super) text: String,
    pub(super) expr: RecordExpr,
}

/// A pattern that is searched for.
#[derive(Debug, Clone)]
pub(super) struct Searched {
    pub(super) text: String,
    pub(super) pattern: Pattern,
}

/// How many records there are to jump to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Notables {
    pub(super) failures: usize,
    pub(super) violations: usize,
    /// Whether there are more than are known.
    pub(super) is_cut: bool,
}

/// What is typed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prompt {
    GoTo,
    Search,
    Filter,
}

/// What a key asks of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// The list around a record, and that record or the next that is in the list.
    Rows { near: Seq, back: bool },
    /// The first record of another column of the time line.
    Scrub { columns: i64 },
    /// The next record of a kind.
    Notable { notable: Notable, back: bool },
    /// The next record that has the pattern.
    Search { back: bool },
    /// The record of a moment.
    GoTo(Moment),
    /// What led to the record.
    Cause,
}

/// All that the screen shows.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// What is read.
    pub(super) title: String,
    pub(super) first: Seq,
    pub(super) last: Seq,
    pub(super) density: Arc<Density>,
    pub(super) notables: Notables,
    /// Why the journal could not be read to its end.
    pub(super) damage: Option<String>,
    pub(super) rows: Arc<Vec<Row>>,
    pub(super) selected: usize,
    /// The records that the rows are of.
    pub(super) covers: (Seq, Seq),
    /// The row at the top of the list.
    pub(super) top: usize,
    /// Rows of the list, and columns of the time line, that there is room for.
    pub(super) room: (usize, usize),
    pub(super) pane: Pane,
    pub(super) content: Option<Content>,
    /// Lines of the pane above what is shown.
    pub(super) scroll: usize,
    pub(super) prompt: Option<(Prompt, String)>,
    pub(super) filter: Option<Filter>,
    pub(super) searched: Option<Searched>,
    pub(super) message: Option<String>,
    pub(super) is_help: bool,
    /// Where one was before the jumps, the last last.
    pub(super) trail: Vec<Seq>,
    pub(super) wish: Option<Wish>,
    pub(super) is_over: bool,
}

impl State {
    /// The record that is looked at, if there is one.
    pub(super) fn row(&self) -> Option<&Row> {
        self.rows.get(self.selected)
    }

    /// Its number; that of the first record if there is none.
    pub(super) fn seq(&self) -> Seq {
        self.row().map_or(self.first, |row| row.seq)
    }

    /// The state with what was looked up: the record that was meant is looked at.
    pub(super) fn with_rows(&self, found: &Rows) -> State {
        let mut state = self.clone();
        state.rows = Arc::clone(&found.rows);
        state.covers = (found.from, found.to);
        state.top = found.selected.saturating_sub(self.room.0 / 2);
        state.look_at(found.selected);
        state
    }

    /// The state with another room: rows of the list, and columns of the time line.
    pub(super) fn with_room(&self, rows: usize, columns: usize) -> State {
        let mut state = State { room: (rows, columns), ..self.clone() };
        state.look_at(self.selected);
        state
    }

    /// The lines that the pane shows, if they are of the record that is looked at.
    pub(super) fn lines(&self) -> Option<&Content> {
        let seq = self.row().map(|row| row.seq);
        self.content.as_ref().filter(|content| content.pane == self.pane && Some(content.seq) == seq)
    }

    fn look_at(&mut self, selected: usize) {
        let last = self.rows.len().saturating_sub(1);
        let is_other = self.selected != selected;
        self.selected = selected.min(last);
        let rows = self.room.0.max(1);
        self.top = self.top.clamp((self.selected + 1).saturating_sub(rows), self.selected);
        if is_other {
            self.scroll = 0;
        }
    }

    /// To a row so far away; what is not among the rows is wished for.
    fn go_by(&mut self, rows: i64) {
        let len = i64::try_from(self.rows.len()).unwrap_or(i64::MAX);
        let at = i64::try_from(self.selected).unwrap_or(i64::MAX).saturating_add(rows);
        let (from, to) = self.covers;
        if at < 0 && self.first < from {
            let near = if self.selected == 0 { Seq(from.0 - 1) } else { self.first_row().unwrap_or(from) };
            self.wish = Some(Wish::Rows { near, back: true });
        } else if at >= len && to < self.last {
            let near =
                if self.selected + 1 == self.rows.len() { to.next() } else { self.last_row().unwrap_or(to) };
            self.wish = Some(Wish::Rows { near, back: false });
        } else {
            let at = at.clamp(0, (len - 1).max(0));
            self.look_at(usize::try_from(at).unwrap_or_default());
        }
    }

    /// The rows that are there, with another one that is meant.
    pub(super) fn rows_at(&self, selected: usize) -> Rows {
        Rows { rows: Arc::clone(&self.rows), selected, from: self.covers.0, to: self.covers.1 }
    }

    fn first_row(&self) -> Option<Seq> {
        self.rows.first().map(|row| row.seq)
    }

    fn last_row(&self) -> Option<Seq> {
        self.rows.last().map(|row| row.seq)
    }

    /// Remembers where one was.
    fn leave(&mut self) {
        let seq = self.seq();
        if self.trail.last() != Some(&seq) {
            if self.trail.len() == TRAIL_LEN_MAX {
                self.trail.remove(0);
            }
            self.trail.push(seq);
        }
    }

    fn jump(&mut self, wish: Wish) {
        self.leave();
        self.wish = Some(wish);
    }
}

/// What a key makes of what is shown.
pub(super) fn on_key(state: &State, key: Key) -> State {
    let mut next = State { message: None, wish: None, ..state.clone() };
    match (key, &state.prompt) {
        (Key::Interrupt, _) => next.is_over = true,
        (key, Some((prompt, text))) => typed(&mut next, *prompt, text, key),
        (_, None) if state.is_help => next.is_help = false,
        (Key::Char(char), None) => letter(&mut next, char),
        (key, None) => moved(&mut next, key),
    }
    next
}

fn moved(next: &mut State, key: Key) {
    let page = i64::try_from(next.room.0.max(1)).unwrap_or(i64::MAX);
    match key {
        Key::Up => next.go_by(-1),
        Key::Down => next.go_by(1),
        Key::PageUp => next.go_by(-page),
        Key::PageDown => next.go_by(page),
        Key::Home => next.jump(Wish::Rows { near: next.first, back: false }),
        Key::End => next.jump(Wish::Rows { near: next.last, back: true }),
        Key::Left => next.wish = Some(Wish::Scrub { columns: -1 }),
        Key::Right => next.wish = Some(Wish::Scrub { columns: 1 }),
        Key::Tab => next.pane = next_pane(next.pane),
        Key::Enter => next.jump(Wish::Cause),
        Key::Backspace => go_back(next),
        Key::Esc => next.searched = None,
        Key::Char(_) | Key::Interrupt => {}
    }
    if key == Key::Tab {
        next.scroll = 0;
    }
}

fn next_pane(pane: Pane) -> Pane {
    match pane {
        Pane::Record => Pane::Why,
        Pane::Why => Pane::World,
        Pane::World => Pane::Record,
    }
}

fn letter(next: &mut State, char: char) {
    let half = (next.room.0 / 2).max(1);
    match char {
        'q' => next.is_over = true,
        '?' => next.is_help = true,
        'k' => moved(next, Key::Up),
        'j' => moved(next, Key::Down),
        'b' => moved(next, Key::PageUp),
        ' ' => moved(next, Key::PageDown),
        'g' => moved(next, Key::Home),
        'G' => moved(next, Key::End),
        'h' => moved(next, Key::Left),
        'l' => moved(next, Key::Right),
        'c' => moved(next, Key::Enter),
        'H' => next.wish = Some(Wish::Scrub { columns: -FAR_COLUMNS }),
        'L' => next.wish = Some(Wish::Scrub { columns: FAR_COLUMNS }),
        'J' => next.scroll += 1,
        'K' => next.scroll = next.scroll.saturating_sub(1),
        'd' => next.scroll += half,
        'u' => next.scroll = next.scroll.saturating_sub(half),
        '1' => next.pane = Pane::Record,
        '2' => next.pane = Pane::Why,
        '3' => next.pane = Pane::World,
        'x' => next.jump(Wish::Notable { notable: Notable::Failure, back: false }),
        'X' => next.jump(Wish::Notable { notable: Notable::Failure, back: true }),
        'v' => next.jump(Wish::Notable { notable: Notable::Violation, back: false }),
        'V' => next.jump(Wish::Notable { notable: Notable::Violation, back: true }),
        'n' => search_on(next, false),
        'N' => search_on(next, true),
        ':' => next.prompt = Some((Prompt::GoTo, String::new())),
        '/' => next.prompt = Some((Prompt::Search, String::new())),
        'f' => {
            let text = next.filter.as_ref().map(|filter| filter.text.clone());
            next.prompt = Some((Prompt::Filter, text.unwrap_or_default()));
        }
        'F' => set_filter(next, None),
        _ => next.message = Some("? shows the keys".to_owned()),
    }
    // What is above the end of the pane can be seen, and no more.
    let len = next.lines().map_or(0, |content| content.lines.len());
    next.scroll = if matches!(char, '1'..='3') { 0 } else { next.scroll.min(len.saturating_sub(1)) };
}

fn search_on(next: &mut State, back: bool) {
    if next.searched.is_some() {
        next.jump(Wish::Search { back });
    } else {
        next.message = Some("nothing was searched for: / asks for a pattern".to_owned());
    }
}

fn go_back(next: &mut State) {
    match next.trail.pop() {
        Some(near) => next.wish = Some(Wish::Rows { near, back: false }),
        None => next.message = Some("there was no jump to go back from".to_owned()),
    }
}

fn set_filter(next: &mut State, filter: Option<Filter>) {
    let near = if next.rows.is_empty() { next.trail.pop().unwrap_or(next.first) } else { next.seq() };
    next.filter = filter;
    // Backspace leads to where one was, if the filter has nothing of it.
    next.jump(Wish::Rows { near, back: false });
    (next.rows, next.selected) = (Arc::default(), 0);
}

fn typed(next: &mut State, prompt: Prompt, text: &str, key: Key) {
    let mut text = text.to_owned();
    match key {
        Key::Esc => {
            next.prompt = None;
            return;
        }
        Key::Enter => {
            match entered(next, prompt, &text) {
                Ok(()) => next.prompt = None,
                Err(reason) => next.message = Some(reason),
            }
            return;
        }
        Key::Backspace => drop(text.pop()),
        Key::Char(char) if text.chars().count() < TYPED_LEN_MAX && !char.is_control() => text.push(char),
        _ => {}
    }
    next.prompt = Some((prompt, text));
}

/// What was typed takes effect, or is told why it makes no sense.
fn entered(next: &mut State, prompt: Prompt, text: &str) -> Result<(), String> {
    let text = text.trim();
    let is_empty = text.is_empty();
    match prompt {
        Prompt::GoTo if is_empty => {}
        Prompt::GoTo => {
            let moment: Moment = text.parse().map_err(|error| format!("{error}"))?;
            next.jump(Wish::GoTo(moment));
        }
        Prompt::Search if is_empty => next.searched = None,
        Prompt::Search => {
            let pattern = text.parse().map_err(|error| one_line(&format!("{error}")))?;
            next.searched = Some(Searched { text: text.to_owned(), pattern });
            next.jump(Wish::Search { back: false });
        }
        Prompt::Filter if is_empty => set_filter(next, None),
        Prompt::Filter => {
            let expr = text.parse().map_err(|error| one_line(&format!("{error}")))?;
            set_filter(next, Some(Filter { text: text.to_owned(), expr }));
        }
    }
    Ok(())
}

/// The last line of a message: what is wrong stands there.
fn one_line(text: &str) -> String {
    crate::render::safe(text.lines().last().unwrap_or_default())
}
