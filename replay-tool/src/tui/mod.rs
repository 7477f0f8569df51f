//! `tui`: a journal on a terminal. One goes through its records and through its time, and sees what each record says, what
//! led to it and what was true after it.
//!
//! [`Viewer`] is all of it but the terminal: a key goes in, a screen comes out. It reads the journal once, keeps little of
//! it, and looks the rest up from the nearest place that it knows.

mod atlas;
mod density;
mod desk;
mod draw;
mod state;
mod terminal;
mod world;

use std::sync::Arc;

use purser_events::{Seq, Timestamp};
use ratatui::Frame;

use self::desk::{Desk, GoOn, Search, Wanted};
pub use self::state::Key;
use self::state::{Pane, Rows, State, Wish, on_key};
use crate::audit::Journal;
use crate::cli::TuiArgs;
use crate::failure::{Exit, Failure};
use crate::notable::Notable;
use crate::progress::Line;
use crate::source::Place;
use crate::{Console, Surroundings, render};

/// Rows and columns that there is room for before the first screen is drawn.
const ROOM: (usize, usize) = (24, 80);

pub(crate) fn run(
    args: &TuiArgs,
    place: Place,
    surroundings: &Surroundings,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let terminal = surroundings.terminal.filter(|terminal| terminal.is_output);
    let terminal = terminal.ok_or(Failure::NoTerminal)?;
    // Nothing is on the terminal yet: how far the first reading is can be said there.
    let line = Line::of(Some(crate::Terminal { is_output: false, ..terminal }));
    let desk = Desk::new(place.telling(line.clone()))?;
    line.end();
    let mut viewer = Viewer::of(desk, (surroundings.now)())?;
    if let Some(at) = args.at {
        viewer.state.wish = Some(Wish::GoTo(at));
        viewer.fulfil(&mut |_| true);
    }
    terminal::show(&mut viewer).map_err(Failure::Output)?;
    match &viewer.state.damage {
        Some(damage) => {
            console.note(format_args!("the journal was shown up to record {}: {damage}", viewer.state.last));
            Ok(Exit::Integrity)
        }
        None => Ok(Exit::Ok),
    }
}

/// A journal that is looked through.
pub struct Viewer {
    desk: Desk,
    now: Timestamp,
    state: State,
    /// Whether a live node did not answer when it was asked last.
    is_unreachable: bool,
}

impl Viewer {
    /// Reads a journal through; `now` is the time from which words such as `yesterday` are seen.
    ///
    /// # Errors
    /// It cannot be read, or is not a journal that this release knows. One that is damaged is shown up to the damage.
    pub fn open(journal: Journal, now: Timestamp) -> Result<Viewer, Failure> {
        Viewer::of(Desk::new(journal.into_place())?, now)
    }

    fn of(desk: Desk, now: Timestamp) -> Result<Viewer, Failure> {
        let atlas = &desk.atlas;
        let state = State {
            title: desk.words(),
            first: atlas.first,
            last: atlas.last,
            density: Arc::clone(&atlas.density),
            notables: desk.notables(),
            damage: atlas.damage.clone(),
            rows: Arc::default(),
            selected: 0,
            covers: (atlas.first, atlas.first),
            top: 0,
            room: ROOM,
            pane: Pane::Record,
            content: None,
            scroll: 0,
            prompt: None,
            filter: None,
            searched: None,
            message: None,
            is_help: false,
            trail: Vec::new(),
            wish: Some(Wish::Rows { near: atlas.first, back: false }),
            is_over: false,
        };
        let mut viewer = Viewer { desk, now, state, is_unreachable: false };
        viewer.fulfil(&mut |_| true);
        viewer.state.message = None;
        Ok(viewer)
    }

    /// Takes a key; false once it is over. What takes long asks `go_on` now and then, with the record that it is at.
    pub fn press(&mut self, key: Key, go_on: &mut dyn FnMut(Seq) -> bool) -> bool {
        self.state = on_key(&self.state, key);
        self.fulfil(go_on);
        !self.state.is_over
    }

    /// Looks up what the pane is to show, unless that is there.
    pub fn settle(&mut self, go_on: &mut dyn FnMut(Seq) -> bool) {
        let Some(seq) = self.state.row().map(|row| row.seq) else { return };
        if self.state.lines().is_none() {
            match self.desk.content(self.state.pane, seq, go_on) {
                Ok(content) => self.state.content = Some(content),
                Err(failure) => self.state.message = Some(told(&failure)),
            }
        }
    }

    /// Takes in what a live node has recorded since, and says whether that changes what is shown. Who looks at the last
    /// record goes on to the new one.
    pub fn refresh(&mut self) -> bool {
        let was = self.state.last;
        let is_at_end = self.state.covers.1 >= was && self.state.selected + 1 >= self.state.rows.len();
        let read = self.desk.read_on();
        let was_unreachable = std::mem::replace(&mut self.is_unreachable, read.is_err());
        if matches!(read, Ok(false)) && !was_unreachable {
            return false;
        }
        let atlas = &self.desk.atlas;
        (self.state.last, self.state.density) = (atlas.last, Arc::clone(&atlas.density));
        (self.state.notables, self.state.damage) = (self.desk.notables(), atlas.damage.clone());
        let message = self.state.message.take().filter(|_| !was_unreachable);
        if is_at_end && was < self.state.last {
            self.state.wish = Some(Wish::Rows { near: self.state.last, back: true });
            self.fulfil(&mut |_| true);
        }
        self.state.message = read.err().as_ref().map(told).or(message);
        true
    }

    /// Draws what is shown.
    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let (rows, columns) = draw::room(frame.area());
        if self.state.room != (rows, columns) {
            self.state = self.state.with_room(rows, columns);
        }
        draw::draw(&self.state, frame);
    }

    /// What is shown while something takes long.
    fn waiting(&self) -> Waiting {
        Waiting { state: self.state.clone() }
    }

    fn fulfil(&mut self, go_on: GoOn<'_>) {
        let Some(wish) = self.state.wish.take() else { return };
        if let Err(failure) = self.try_fulfil(wish, go_on) {
            self.state.message = Some(told(&failure));
        }
    }

    fn try_fulfil(&mut self, wish: Wish, go_on: GoOn<'_>) -> Result<(), Failure> {
        let seq = self.state.seq();
        match wish {
            Wish::Rows { near, back } => self.go(near, back, go_on),
            Wish::GoTo(moment) => {
                let near = self.desk.at(moment, self.now)?;
                self.go(near, false, go_on)
            }
            Wish::Scrub { columns } => {
                let near = self.scrubbed(seq, columns)?;
                self.go(near, columns < 0, go_on)
            }
            Wish::Notable { notable, back } => match self.desk.notable(seq, notable, back) {
                Some(near) => self.go(near, back, go_on),
                None => {
                    self.nowhere(notable_word(notable), back);
                    Ok(())
                }
            },
            Wish::Cause => match self.desk.cause(seq)? {
                Some(cause) if cause < self.state.first => {
                    self.stay(format!("record {cause}, which led to it, is not in this journal"));
                    Ok(())
                }
                Some(cause) => self.go(cause, true, go_on),
                None => {
                    self.stay("no record led to it: why says who asked".to_owned());
                    Ok(())
                }
            },
            Wish::Search { back } => self.search(seq, back, go_on),
        }
    }

    /// The record that so many columns of the time line away begins.
    fn scrubbed(&self, seq: Seq, columns: i64) -> Result<Seq, Failure> {
        let (density, count) = (&self.state.density, self.state.room.1.max(1));
        let Some(row) = self.state.row() else { return Ok(seq) };
        let at = i64::try_from(density.column(row.time, count)).unwrap_or(i64::MAX);
        let to = at.saturating_add(columns).max(0);
        let to = usize::try_from(to).unwrap_or(usize::MAX);
        if to >= count {
            return Ok(self.state.last);
        }
        let begin = density.begin(to, count);
        let found = self.desk.later_than(Timestamp(begin.0.saturating_sub(1)))?;
        // However long nothing happened, a key goes somewhere.
        Ok(if columns > 0 { found.max(seq.next()) } else { found.min(Seq(seq.0.saturating_sub(1))) })
    }

    fn search(&mut self, seq: Seq, back: bool, go_on: GoOn<'_>) -> Result<(), Failure> {
        let state = &self.state;
        let pattern = state.searched.as_ref().map(|searched| &searched.pattern);
        let wanted = Wanted { filter: state.filter.as_ref(), pattern };
        let from = if back { Seq(seq.0.saturating_sub(1)) } else { seq.next() };
        match self.desk.find(from, back, wanted, &mut *go_on)? {
            Search::At(near) => self.go(near, back, go_on)?,
            Search::Nowhere => self.nowhere("match", back),
            Search::Stopped => self.stay("stopped".to_owned()),
        }
        Ok(())
    }

    /// Looks at a record, or at the next one that is in the list.
    fn go(&mut self, near: Seq, back: bool, go_on: GoOn<'_>) -> Result<(), Failure> {
        let state = &self.state;
        let at = state.rows.binary_search_by_key(&near, |row| row.seq);
        let found: Rows = match at {
            Ok(at) => state.rows_at(at),
            Err(_) => {
                let wanted = Wanted { filter: state.filter.as_ref(), pattern: None };
                let found = match self.desk.rows(near, back, wanted, &mut *go_on)? {
                    Some(found) => Some(found),
                    None => self.desk.rows(near, !back, wanted, go_on)?,
                };
                let Some(found) = found else {
                    self.stay("no record is in the list: F clears the filter".to_owned());
                    return Ok(());
                };
                found
            }
        };
        self.state = self.state.with_rows(&found);
        let seq = self.state.seq();
        if seq != near && self.state.filter.is_some() {
            self.state.message =
                Some(format!("record {near} is not in the list: the filter has record {seq}"));
        }
        Ok(())
    }

    fn nowhere(&mut self, what: &str, back: bool) {
        let side = if back { "before" } else { "after" };
        self.stay(format!("there is no {what} {side} this record"));
    }

    /// There was no jump after all.
    fn stay(&mut self, message: String) {
        self.state.trail.pop();
        self.state.message = Some(message);
    }
}

/// A screen that stays as it is, but for how far things are.
struct Waiting {
    state: State,
}

impl Waiting {
    fn draw(&mut self, frame: &mut Frame<'_>, seq: Seq) {
        self.state.message = Some(format!("at record {seq} of {}  Esc stops", self.state.last));
        draw::draw(&self.state, frame);
    }
}

fn notable_word(notable: Notable) -> &'static str {
    match notable {
        Notable::Violation => "violation",
        Notable::Failure => "failure",
    }
}

fn told(failure: &Failure) -> String {
    render::safe(&failure.told())
}
