//! The terminal: taken over while the journal is looked at, and given back as it was, also by a panic.

use std::collections::VecDeque;
use std::io::{self, Stdout};
use std::time::Duration;

use purser_events::Seq;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use super::{Key, Viewer};

/// Keys that are kept while something takes long.
const TYPED_AHEAD_MAX: usize = 64;

type Screen = Terminal<CrosstermBackend<Stdout>>;

/// Shows a journal until it is over.
pub(super) fn show(viewer: &mut Viewer) -> io::Result<()> {
    restore_on_panic();
    let _taken = Taken::take()?;
    let mut shell =
        Shell { screen: Terminal::new(CrosstermBackend::new(io::stdout()))?, typed: VecDeque::new() };
    loop {
        shell.screen.draw(|frame| viewer.draw(frame))?;
        // While keys wait, they come first: the pane is looked up once one looks at it.
        if shell.typed.is_empty() && !event::poll(Duration::ZERO)? {
            shell.patiently(viewer, |viewer, go_on| {
                viewer.settle(go_on);
                true
            });
            shell.screen.draw(|frame| viewer.draw(frame))?;
        }
        let Some(key) = shell.next_key()? else { continue };
        if !shell.patiently(viewer, |viewer, go_on| viewer.press(key, go_on)) {
            return Ok(());
        }
    }
}

/// The terminal, and what was typed ahead.
struct Shell {
    screen: Screen,
    typed: VecDeque<Key>,
}

impl Shell {
    /// The next key; none if the terminal said something else, as that it has another size.
    fn next_key(&mut self) -> io::Result<Option<Key>> {
        match self.typed.pop_front() {
            Some(key) => Ok(Some(key)),
            None => Ok(key(&event::read()?)),
        }
    }

    /// Does what may take long: each time that it is asked whether to go on, Esc and Ctrl-C say no. Other keys wait.
    fn patiently(
        &mut self,
        viewer: &mut Viewer,
        does: impl FnOnce(&mut Viewer, &mut dyn FnMut(Seq) -> bool) -> bool,
    ) -> bool {
        let mut picture = viewer.waiting();
        does(viewer, &mut |seq| {
            // That nothing can be drawn is noticed by the next whole screen.
            let _ = self.screen.draw(|frame| picture.draw(frame, seq));
            while event::poll(Duration::ZERO).unwrap_or(false) {
                match event::read().map(|event| key(&event)) {
                    Ok(Some(Key::Esc | Key::Interrupt)) => return false,
                    Ok(Some(key)) if self.typed.len() < TYPED_AHEAD_MAX => self.typed.push_back(key),
                    Ok(Some(_) | None) => {}
                    Err(_) => return false,
                }
            }
            true
        })
    }
}

/// What a terminal says, as the screen knows it; what it does not know is nothing.
fn key(event: &Event) -> Option<Key> {
    let Event::Key(KeyEvent { code, modifiers, kind, .. }) = event else { return None };
    if *kind == KeyEventKind::Release {
        return None;
    }
    let with_control = modifiers.contains(KeyModifiers::CONTROL);
    Some(match code {
        KeyCode::Char('c') if with_control => Key::Interrupt,
        KeyCode::Char(_) if with_control || modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Char(char) => Key::Char(*char),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Esc,
        KeyCode::Tab => Key::Tab,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        _ => return None,
    })
}

/// The terminal, while it is taken over.
struct Taken;

impl Taken {
    fn take() -> io::Result<Taken> {
        enable_raw_mode()?;
        // From here on it is given back whatever happens.
        let taken = Taken;
        execute!(io::stdout(), EnterAlternateScreen)?;
        Ok(taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    // A terminal that is gone needs nothing.
    let _ = execute!(io::stdout(), LeaveAlternateScreen, ratatui::crossterm::cursor::Show);
    let _ = disable_raw_mode();
}

/// What a panic says must be readable, and the shell after it usable; a release ends there without any destructor.
fn restore_on_panic() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        give_back();
        told(panic);
    }));
}
