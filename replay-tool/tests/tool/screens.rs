//! What `tui` shows, without a terminal: keys go in, screens come out.

use std::path::Path;

use purser_events::Timestamp;
use purser_replay::Exit;
use purser_replay::audit::Journal;
use purser_replay::tui::{Key, Viewer};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use crate::answers::Lived;
use crate::support::{Fixture, START, Told, golden, tool};
use crate::watched;

/// A viewer with a screen of some size.
pub(crate) struct Shown {
    viewer: Viewer,
    terminal: Terminal<TestBackend>,
}

impl Shown {
    pub(crate) fn of(journal: Journal, width: u16, height: u16) -> Shown {
        let viewer = Viewer::open(journal, Timestamp(START + 3_600_000_000)).unwrap();
        let terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let mut shown = Shown { viewer, terminal };
        // The first one says how much room there is.
        shown.screen();
        shown
    }

    fn folder(lived: &Lived, width: u16, height: u16) -> Shown {
        Shown::of(Journal::folder(lived.path("journal")), width, height)
    }

    pub(crate) fn press(&mut self, keys: &str) -> bool {
        let mut goes_on = true;
        for char in keys.chars() {
            let key = match char {
                '\n' => Key::Enter,
                '\t' => Key::Tab,
                '\u{1b}' => Key::Esc,
                '\u{8}' => Key::Backspace,
                char => Key::Char(char),
            };
            goes_on = self.viewer.press(key, &mut |_| true);
        }
        goes_on
    }

    pub(crate) fn screen(&mut self) -> String {
        self.viewer.settle(&mut |_| true);
        self.terminal.draw(|frame| self.viewer.draw(frame)).unwrap();
        let buffer = self.terminal.backend().buffer();
        let row = |row: &[ratatui::buffer::Cell]| {
            row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned()
        };
        buffer.content.chunks(usize::from(buffer.area.width.max(1))).map(row).collect::<Vec<_>>().join("\n")
    }

    /// The record that is looked at.
    fn record(&mut self) -> u64 {
        let screen = self.screen();
        let word = screen.split_whitespace().nth(1).unwrap_or_default().to_owned();
        word.parse().unwrap_or_else(|_| panic!("{screen}"))
    }

    fn status(&mut self) -> String {
        self.screen().lines().last().unwrap_or_default().to_owned()
    }
}

#[track_caller]
fn golden_screen(name: &str, shown: &mut Shown, lived: &Lived) {
    let folder = lived.path("journal");
    let out = shown.screen().replace(&folder, "FOLDER") + "\n";
    // How long a folder's name is depends on the machine: it stands at the end of a line.
    golden(name, &Told { exit: Exit::Ok, out, notes: String::new() });
}

#[test]
fn screens_are_as_on_file() {
    let lived = watched::lived();
    let mut shown = Shown::folder(&lived, 140, 30);
    golden_screen("tui-record.txt", &mut shown, &lived);
    shown.press("x2");
    golden_screen("tui-why.txt", &mut shown, &lived);
    shown.press("v3");
    golden_screen("tui-world.txt", &mut shown, &lived);
    shown.press("?");
    golden_screen("tui-help.txt", &mut shown, &lived);
    let mut small = Shown::folder(&lived, 80, 24);
    small.press("G\t\t");
    golden_screen("tui-small.txt", &mut small, &lived);
}

#[test]
fn keys_lead_where_they_say() {
    let lived = watched::lived();
    let mut shown = Shown::folder(&lived, 120, 30);
    let last = lived.steps.len() as u64;
    let mut goes = |keys: &str, to: u64| {
        shown.press(keys);
        assert_eq!(shown.record(), to, "{keys}: {}", shown.status());
    };
    goes("jjk", 2);
    goes("G", last);
    goes("g", 1);
    goes(":12\n", 12);
    goes(":2026-03-01T12:00:04Z\n", 5);
    goes("V", 5);
    goes("v", 11);
    goes("vv", 13);
    goes("v", 20);
    goes("x", 23);
    goes("X", 18);
    goes("/unresponsive\n", 18);
    goes("N", 17);
    goes("n", 17);
    goes("c", 16);
    goes("\u{8}", 17);
    goes("N", 17);
    goes("f@type ~ \"^pod\" and @seq < 22\n", 9);
    goes("G", 9);
    goes("k", 8);
    goes("g", 2);
    goes("F", 2);
    goes("k", 1);
    goes("k", 1);
    goes("q", 1);
}

#[test]
fn it_goes_through_time_to_every_column_and_back() {
    let lived = Lived::new(5, 200);
    let mut shown = Shown::folder(&lived, 90, 30);
    let last = lived.steps.len() as u64;
    let mut seen = vec![1];
    while *seen.last().unwrap() < last {
        assert!(seen.len() < 200, "{seen:?}");
        shown.press("l");
        seen.push(shown.record());
    }
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "a key leads on: {seen:?}");
    assert!(seen.len() > 30, "{seen:?}");
    let mut back = vec![last];
    while *back.last().unwrap() > 1 {
        assert!(back.len() < 200, "{back:?}");
        shown.press("h");
        back.push(shown.record());
    }
    assert!(back.windows(2).all(|pair| pair[0] > pair[1]), "{back:?}");
    shown.press("LLLLLLLLLL");
    assert_eq!(shown.record(), last);
}

#[test]
fn the_world_and_the_chain_are_those_of_the_other_verbs() {
    let lived = Lived::new(3, 200);
    let folder = lived.path("journal");
    let export = lived.path("export");
    assert_eq!(lived.tool(&["export", &export]).exit, Exit::Ok);
    for journal in [Journal::folder(&folder), Journal::export(&export)] {
        let mut shown = Shown::of(journal, 300, 200);
        for seq in [1, lived.steps.len() / 3, lived.steps.len() / 2, lived.steps.len()] {
            shown.press(&format!(":{seq}\n2"));
            let screen = shown.screen();
            let why = lived.tool(&["why", &seq.to_string()]).out;
            for line in why.lines().filter(|line| !line.contains("in the start of record")) {
                assert!(screen.contains(line), "{seq}: {line}\n{screen}");
            }
            shown.press("3");
            let screen = shown.screen();
            let state = lived.tool(&["state", "--at", &seq.to_string()]).out;
            let pods: Vec<&str> = state.lines().filter(|line| line.contains(" restarts, ")).collect();
            assert!(screen.contains(&format!("│pods {}", pods.len())), "{seq}: {state}\n{screen}");
            for pod in pods {
                let words: Vec<&str> = pod.split_whitespace().collect();
                let line = format!("  {}  {}  {}", words[0], words[1], words[2]);
                assert!(screen.contains(&line), "{seq}: {line}\n{screen}");
            }
        }
    }
}

#[test]
fn no_size_and_no_key_makes_it_fall() {
    let lived = Lived::new(7, 60);
    let sizes = [(1, 1), (2, 3), (10, 2), (20, 8), (40, 12), (79, 15), (100, 3), (400, 120)];
    let keys = "jkG gbhlHLcJKdu123xXvVnN?q:7\n/web\n/(\n\u{1b}f@seq > 5\nf((\n\u{1b}F\t\t\n\u{8}\u{8}";
    for (width, height) in sizes {
        let mut shown = Shown::folder(&lived, width, height);
        for char in keys.chars() {
            shown.press(&char.to_string());
            shown.screen();
        }
    }
    let fixture = Fixture::new();
    let mut shown = Shown::of(Journal::export(fixture.path("export")), 60, 20);
    shown.press(":2\n");
    let screen = shown.screen();
    assert!(screen.chars().all(|char| char == '\n' || !char.is_control()), "{screen}");
}

#[test]
fn what_makes_no_sense_is_told_and_can_be_mended() {
    let lived = Lived::new(7, 60);
    let mut shown = Shown::folder(&lived, 120, 30);
    shown.press(":love\n");
    assert!(shown.status().contains("go to record or time: love_") && shown.status().contains("expected"));
    shown.press("\u{8}\u{8}\u{8}\u{8}3\n");
    assert_eq!(shown.record(), 3);
    shown.press("f@seq >\n");
    assert!(shown.status().starts_with("filter by condition: @seq >_  ("), "{}", shown.status());
    shown.press("\u{1b}v");
    assert!(shown.status().contains("there is no violation after this record"), "{}", shown.status());
    shown.press("f@seq > 1000000\n");
    assert!(shown.status().contains("F clears the filter"), "{}", shown.status());
    shown.press("Fz");
    assert!(shown.status().contains("? shows the keys"), "{}", shown.status());
}

#[test]
fn a_damaged_journal_is_shown_up_to_the_damage() {
    let fixture = Fixture::new();
    let path = fixture.path("export");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.len() * 2 / 3;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut shown = Shown::of(Journal::export(Path::new(&path)), 120, 30);
    shown.press("G");
    assert!(shown.record() > 3 && shown.record() < 11);
    assert!(shown.status().contains("DAMAGED: "), "{}", shown.status());
}

#[test]
fn a_pipe_gets_no_screen() {
    let fixture = Fixture::new();
    let told = fixture.tool(&["tui"]);
    assert_eq!(told.exit, Exit::Usage);
    assert!(told.notes.contains("must go to a terminal"), "{}", told.notes);
    assert_eq!(tool(&["tui", "--export", "/nonexistent/file"]).exit, Exit::Usage);
}
