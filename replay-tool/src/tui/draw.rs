//! Draws what is shown. Whatever the terminal's size, nothing is drawn outside of it.

use purser_events::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Wrap};

use super::density::Slice;
use super::state::{Pane, Prompt, Row, State};
use crate::notable::Notable;
use crate::render;

/// Columns from which on the pane stands beside the list.
const WIDE: u16 = 100;

/// Rows from which on there is a pane below the list.
const HIGH: u16 = 16;

/// Rows of the time line.
const TIME_LINE_ROWS: u16 = 3;

/// How much there was, the least first.
const BARS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

const HELP: &str = "\
j k ↓ ↑        next record, one back         1 2 3 Tab   record, why, world
space b        a page on, a page back        J K d u     scroll the pane
g G            first record, last record     c Enter     what led to the record
h l ← →        through time, by a column     Backspace   back from a jump
H L            by ten columns                :           go to a number or a time
x X            next failure, one back        / n N       search a pattern, next, back
v V            next violation, one back      f F         filter by a condition, clear
q Ctrl-C       end                           Esc         stop what takes long

A time is written as for --since, a condition as for --where, a pattern as for --grep.
On the time line, x is a failure, ! a violation, ^ the record that is looked at.";

/// Where the parts of the screen are.
struct Parts {
    title: Rect,
    time_line: Rect,
    list: Rect,
    pane: Rect,
    status: Rect,
}

impl Parts {
    fn of(area: Rect) -> Parts {
        let time_line = if area.height > TIME_LINE_ROWS + 4 { TIME_LINE_ROWS } else { 0 };
        let rows = [
            Constraint::Length(1),
            Constraint::Length(time_line),
            Constraint::Min(0),
            Constraint::Length(u16::from(area.height > 2)),
        ];
        let [title, time_line, middle, status] = Layout::vertical(rows).areas(area);
        let half = [Constraint::Percentage(50), Constraint::Percentage(50)];
        let [list, pane] = match (area.width >= WIDE, area.height >= HIGH) {
            (true, _) => Layout::horizontal(half).areas(middle),
            (false, true) => Layout::vertical(half).areas(middle),
            (false, false) => [middle, Rect::default()],
        };
        Parts { title, time_line, list, pane, status }
    }
}

/// Rows of the list and columns of the time line that a screen of this size has room for.
pub(super) fn room(area: Rect) -> (usize, usize) {
    let parts = Parts::of(area);
    (usize::from(parts.list.height), usize::from(parts.time_line.width))
}

/// Draws a state.
pub(super) fn draw(state: &State, frame: &mut Frame<'_>) {
    let parts = Parts::of(frame.area());
    frame.render_widget(Paragraph::new(title(state)).style(bold()), parts.title);
    frame
        .render_widget(Paragraph::new(time_line(state, usize::from(parts.time_line.width))), parts.time_line);
    frame.render_widget(Paragraph::new(list(state, usize::from(parts.list.height))), parts.list);
    if parts.pane.height > 0 {
        pane(state, parts.pane, frame);
    }
    frame.render_widget(Paragraph::new(status(state)), parts.status);
    if state.is_help {
        help(frame);
    }
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn coloured(notable: Option<Notable>) -> Style {
    match notable {
        Some(Notable::Failure) => Style::new().fg(Color::Red),
        Some(Notable::Violation) => Style::new().fg(Color::Yellow),
        None => Style::new(),
    }
}

fn title(state: &State) -> String {
    let place = match state.row() {
        Some(row) => format!("record {} of {}  {}", row.seq, state.last, row.time),
        None => "no record".to_owned(),
    };
    format!("{place}  {}", state.title)
}

/// Three rows: how many records there were, what is looked for, and where one is.
fn time_line(state: &State, columns: usize) -> Vec<Line<'static>> {
    let slices = state.density.columns(columns);
    let most = slices.iter().map(|slice| slice.records).max().unwrap_or_default();
    let bars = slices.iter().map(|slice| Span::raw(bar(slice.records, most))).collect::<Vec<_>>();
    let at = state.row().map(|row| state.density.column(row.time, columns));
    let marks = slices.iter().map(mark).collect::<Vec<_>>();
    let (first, last) = state.density.span();
    let under = under(first, last, at, columns);
    vec![Line::from(bars), Line::from(marks), Line::from(under)]
}

/// Grows with the number of digits, or a busy moment would hide all others.
fn bar(records: u64, most: u64) -> &'static str {
    let steps = |count: u64| u64::from(count.saturating_add(1).ilog2());
    let top = steps(most).max(1);
    let height = (steps(records) * (BARS.len() as u64 - 1)).div_ceil(top);
    if records == 0 {
        " "
    } else {
        usize::try_from(height).ok().and_then(|at| BARS.get(at)).unwrap_or(&"█")
    }
}

fn mark(slice: &Slice) -> Span<'static> {
    let (text, notable) = match (slice.violations, slice.failures) {
        (0, 0) => (" ", None),
        (0, _) => ("x", Some(Notable::Failure)),
        (_, _) => ("!", Some(Notable::Violation)),
    };
    Span::styled(text, coloured(notable))
}

/// The first and the last time, with the place of the record between them.
fn under(first: Timestamp, last: Timestamp, at: Option<usize>, columns: usize) -> String {
    let (first, last) = (seconds(first), seconds(last));
    let mut line: Vec<char> = vec![' '; columns];
    if columns > first.len() + last.len() + 4 {
        line.splice(..first.len(), first.chars());
        line.splice(columns - last.len().., last.chars());
    }
    if let Some(place) = at.and_then(|at| line.get_mut(at)) {
        *place = '^';
    }
    line.into_iter().collect()
}

fn seconds(time: Timestamp) -> String {
    let text = time.to_string();
    text.split_once('.').map_or_else(|| text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

fn list(state: &State, rows: usize) -> Vec<Line<'static>> {
    let shown = state.rows.iter().enumerate().skip(state.top).take(rows);
    let width = state.last.to_string().len();
    let line = |(number, row): (usize, &Row)| {
        let style = coloured(row.notable);
        let is_selected = number == state.selected;
        Line::styled(
            text(row, width),
            if is_selected { style.add_modifier(Modifier::REVERSED) } else { style },
        )
    };
    let lines: Vec<Line<'_>> = shown.map(line).collect();
    if lines.is_empty() { vec![Line::raw("no record is shown")] } else { lines }
}

fn text(row: &Row, width: usize) -> String {
    let mark = match row.notable {
        Some(Notable::Failure) => 'x',
        Some(Notable::Violation) => '!',
        None => ' ',
    };
    let time = row.time.to_string();
    let time = time.split_once('T').map_or(time.as_str(), |(_, time)| time.get(..12).unwrap_or(time));
    format!("{mark}{:>width$} {time} {} {}", row.seq.to_string(), row.kind, row.text)
}

fn pane(state: &State, area: Rect, frame: &mut Frame<'_>) {
    let name = |pane: Pane, name: &'static str| {
        let style = if state.pane == pane { bold().add_modifier(Modifier::REVERSED) } else { Style::new() };
        Span::styled(name, style)
    };
    let names =
        [name(Pane::Record, " 1 record "), name(Pane::Why, " 2 why "), name(Pane::World, " 3 world ")];
    let is_beside = frame.area().width >= WIDE;
    let borders = if is_beside { Borders::TOP | Borders::LEFT } else { Borders::TOP };
    let block = Block::new().borders(borders).title(Line::from_iter(names));
    let lines = match state.lines() {
        Some(content) => {
            content.lines.iter().skip(state.scroll).take(usize::from(area.height)).cloned().collect()
        }
        None => Vec::new(),
    };
    let lines: Vec<Line<'_>> = lines.into_iter().map(Line::raw).collect();
    let paragraph = Paragraph::new(lines).block(block).wrap(Wrap { trim: false });
    frame.render_widget(paragraph, area);
}

fn status(state: &State) -> Line<'static> {
    if let Some((prompt, text)) = &state.prompt {
        let asked = match prompt {
            Prompt::GoTo => "go to record or time: ",
            Prompt::Search => "search pattern: ",
            Prompt::Filter => "filter by condition: ",
        };
        let reason = state.message.as_deref().map_or_else(String::new, |reason| format!("  ({reason})"));
        return Line::raw(format!("{asked}{}_{reason}", render::safe(text)));
    }
    if let Some(message) = &state.message {
        return Line::styled(message.clone(), bold());
    }
    let more = if state.notables.is_cut { " or more" } else { "" };
    let mut parts = vec![
        format!("{} failures{more}", state.notables.failures),
        format!("{} violations{more}", state.notables.violations),
    ];
    parts.extend(state.filter.as_ref().map(|filter| format!("filter {}", render::safe(&filter.text))));
    parts.extend(state.searched.as_ref().map(|searched| format!("search {}", render::safe(&searched.text))));
    parts.extend(state.damage.as_ref().map(|damage| format!("DAMAGED: {damage}")));
    parts.push("? keys, q end".to_owned());
    Line::raw(parts.join("  "))
}

fn help(frame: &mut Frame<'_>) {
    let area = frame.area();
    let rows = u16::try_from(HELP.lines().count()).unwrap_or(u16::MAX).saturating_add(2);
    let width = HELP.lines().map(|line| line.chars().count()).max().unwrap_or_default();
    let width = u16::try_from(width).unwrap_or(u16::MAX).saturating_add(2).min(area.width);
    let height = rows.min(area.height);
    let at =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, at);
    frame.render_widget(Paragraph::new(HELP).block(Block::bordered().title("keys")), at);
}
