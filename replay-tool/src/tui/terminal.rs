//! The terminal: taken over while the journal is looked at, and given back as it was, also by a panic or a signal.

use std::collections::VecDeque;
use std::io::{self, Stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::Builder;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, raise};
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

/// How long the screen may take to end by itself once it is told to.
const GRACE: Duration = Duration::from_secs(2);

type Screen = Terminal<CrosstermBackend<Stdout>>;

/// How often it is looked whether to end.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Looks between two times that a live node is asked for more.
const LOOKS_PER_REFRESH: u32 = 5;

/// Shows a journal until it is over. A signal to end ends it as well, and takes its usual effect once the terminal is as it
/// was.
pub(super) fn show(viewer: &mut Viewer) -> io::Result<()> {
    restore_on_panic();
    let signals = Signals::watch()?;
    let taken = Taken::take()?;
    let shown = Shell::new(&signals).and_then(|mut shell| shell.run(viewer));
    drop(taken);
    signals.obey();
    shown
}

/// The terminal, and what was typed ahead.
struct Shell<'a> {
    screen: Screen,
    typed: VecDeque<Key>,
    signals: &'a Signals,
    /// Looks since a live node was asked for more.
    looks: u32,
}

impl Shell<'_> {
    fn new(signals: &Signals) -> io::Result<Shell<'_>> {
        let screen = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        Ok(Shell { screen, typed: VecDeque::new(), signals, looks: 0 })
    }

    fn run(&mut self, viewer: &mut Viewer) -> io::Result<()> {
        loop {
            self.screen.draw(|frame| viewer.draw(frame))?;
            // While keys wait, they come first: the pane is looked up once one looks at it.
            if self.typed.is_empty() && !event::poll(Duration::ZERO)? {
                self.patiently(viewer, |viewer, go_on| {
                    viewer.settle(go_on);
                    true
                });
                self.screen.draw(|frame| viewer.draw(frame))?;
            }
            let Some(key) = self.next_key(viewer)? else { continue };
            if !self.patiently(viewer, |viewer, go_on| viewer.press(key, go_on)) {
                return Ok(());
            }
        }
    }

    /// The next key; none if something else is to be shown: the terminal has another size, or there is more to see.
    fn next_key(&mut self, viewer: &mut Viewer) -> io::Result<Option<Key>> {
        if let Some(key) = self.typed.pop_front() {
            return Ok(Some(key));
        }
        loop {
            if self.signals.told().is_some() {
                return Ok(Some(Key::Interrupt));
            }
            if event::poll(LOOK_EVERY)? {
                return Ok(key(&event::read()?));
            }
            self.looks += 1;
            if self.looks >= LOOKS_PER_REFRESH {
                self.looks = 0;
                if viewer.refresh() {
                    return Ok(None);
                }
            }
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
            if self.signals.told().is_some() {
                return false;
            }
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

/// Signals that end the tool. They are held back while it has the terminal.
struct Signals {
    held: SigSet,
    /// The number of the one that came; 0 before.
    told: Arc<AtomicI32>,
    /// Goes with the screen: who waits for its end hears of it.
    _screen: Sender<()>,
}

impl Signals {
    fn watch() -> io::Result<Signals> {
        let held: SigSet =
            [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT].into_iter().collect();
        held.thread_block()?;
        let told = Arc::new(AtomicI32::new(0));
        let tells = Arc::clone(&told);
        let (screen, ended) = mpsc::channel();
        let wait = move || {
            let Ok(signal) = held.wait() else { return };
            tells.store(signal as i32, Ordering::SeqCst);
            // Whatever the screen is busy with, or hangs at: it is given back.
            if ended.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) {
                give_back();
                die(held, signal);
            }
        };
        Builder::new().name("signals".to_owned()).spawn(wait)?;
        Ok(Signals { held, told, _screen: screen })
    }

    /// The signal that came, if one did.
    fn told(&self) -> Option<Signal> {
        Signal::try_from(self.told.load(Ordering::SeqCst)).ok()
    }

    /// Lets the signal that came do what it does to any program; without one, lets those to come.
    fn obey(&self) {
        match self.told() {
            Some(signal) => die(self.held, signal),
            // They only end it.
            None => drop(self.held.thread_unblock()),
        }
    }
}

/// Ends the program by a signal.
fn die(held: SigSet, signal: Signal) {
    // One that cannot be let through leaves it to end as it would have.
    if held.thread_unblock().is_ok() {
        let _ = raise(signal);
    }
}

/// What a panic says must be readable, and the shell after it usable; a release ends there without any destructor.
fn restore_on_panic() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        give_back();
        told(panic);
    }));
}

#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;
    use std::process::{Command, Stdio};

    use super::*;

    /// Tells the process that is to panic from the one that looks on.
    const PANICS: &str = "PURSER_TEST_PANICS";

    /// A release ends at a panic without any destructor, so here too none gives the terminal back.
    #[test]
    fn a_panic_gives_the_terminal_back_and_is_readable() {
        if std::env::var_os(PANICS).is_some() {
            restore_on_panic();
            let _taken = ManuallyDrop::new(Taken::take().unwrap());
            panic!("a defect");
        }
        let name = "tui::terminal::tests::a_panic_gives_the_terminal_back_and_is_readable";
        let program = std::env::current_exe().unwrap();
        let again = format!("stty sane; '{}' --exact {name} --nocapture; stty -a", program.display());
        // It runs a command in a terminal of its own, and tells all that the terminal was told.
        let output = Command::new("script")
            .args(["-qec", &again, "/dev/null"])
            .env(PANICS, "1")
            .stdin(Stdio::null())
            .output();
        let told =
            String::from_utf8_lossy(&output.expect("`script` of util-linux is there").stdout).into_owned();
        let at = |part: &str| told.find(part).unwrap_or_else(|| panic!("{part:?} is not in {told:?}"));
        let (taken, given_back) = (at("\u{1b}[?1049h"), at("\u{1b}[?1049l"));
        assert!(taken < given_back && given_back < at("a defect"), "{told:?}");
        let modes = told.rsplit("a defect").next().unwrap_or_default();
        assert!(modes.contains(" icanon") && modes.contains(" echo "), "{modes}");
    }
}
