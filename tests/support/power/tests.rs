//! The model itself: what a disk keeps and what it may lose, call by call.

use std::path::{Path, PathBuf};

use super::{Disk, Image, Loss, Step, Trace};
use crate::random::Random;

/// Text as strace writes it.
fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
}

/// A trace in short: `{p:NAME}` is a path in the folder `/w`, `{d:N:NAME}` a descriptor on it, `{s:TEXT}` a string.
fn trace(lines: &[&str]) -> Trace {
    let mut text = String::new();
    for line in lines {
        let mut rest = *line;
        let thread = if rest.starts_with(|c: char| c.is_ascii_digit()) { "" } else { "7 " };
        text.push_str(thread);
        while let Some((before, after)) = rest.split_once('{') {
            let (inner, after) = after.split_once('}').unwrap();
            let word = match inner.split(':').collect::<Vec<_>>()[..] {
                ["p", name] => format!("\"{}\"", hex(&format!("/w{name}"))),
                ["d", number, name] => format!("{number}<{}>", hex(&format!("/w{name}"))),
                ["s", bytes] => format!("\"{}\"", hex(bytes)),
                _ => panic!("{inner} is no short form"),
            };
            text.push_str(before);
            text.push_str(&word);
            rest = after;
        }
        text.push_str(rest);
        text.push('\n');
    }
    Trace::parse(&text).unwrap()
}

/// A disk that has lived through all steps but the last few.
fn disk_before(lines: &[&str], last: usize) -> Result<Disk, String> {
    let trace = trace(lines);
    let mut disk = Disk::new(Path::new("/w"));
    for step in &trace.steps[..trace.steps.len() - last] {
        disk.step(&trace, *step).map_err(|refusal| refusal.to_string())?;
    }
    Ok(disk)
}

fn disk(lines: &[&str]) -> Disk {
    disk_before(lines, 0).unwrap()
}

fn text(image: &Image, path: &str) -> Option<String> {
    let content = image.file(&PathBuf::from(path))?;
    Some(String::from_utf8(content.bytes(0, 100_000)).unwrap())
}

fn synced_only(disk: &Disk, path: &str) -> Option<String> {
    text(&Image::after(disk, Loss::Unsynced, &mut Random(1)), path)
}

/// Everything that torn losses leave of a file, none if it may be gone.
fn torn(disk: &Disk, path: &str) -> std::collections::BTreeSet<Option<String>> {
    (0..400).map(|seed| text(&Image::after(disk, Loss::Torn, &mut Random(seed)), path)).collect()
}

const CREATE: &str = "openat(AT_FDCWD, {p:/a}, O_RDWR|O_CREAT, 0600) = {d:4:/a}";
const OPEN_FOLDER: &str = "openat(AT_FDCWD, {p:}, O_RDONLY) = {d:3:}";
const SYNC_FOLDER: &str = "fsync({d:3:}) = 0";
const WRITE: &str = "write({d:4:/a}, {s:one}, 3) = 3";
const SYNC: &str = "fdatasync({d:4:/a}) = 0";

#[test]
fn a_file_survives_with_its_bytes_and_its_name_synced() {
    assert_eq!(synced_only(&disk(&[OPEN_FOLDER, CREATE, WRITE, SYNC, SYNC_FOLDER]), "a").unwrap(), "one");
    assert_eq!(synced_only(&disk(&[OPEN_FOLDER, CREATE, WRITE, SYNC]), "a"), None);
    assert_eq!(synced_only(&disk(&[OPEN_FOLDER, CREATE, WRITE, SYNC_FOLDER]), "a").unwrap(), "");
    let range = "sync_file_range({d:4:/a}, 0, 0, SYNC_FILE_RANGE_WRITE) = 0";
    assert_eq!(synced_only(&disk(&[OPEN_FOLDER, CREATE, WRITE, range, SYNC_FOLDER]), "a").unwrap(), "");
}

#[test]
fn a_sync_covers_what_had_been_written_when_it_began_and_counts_when_it_has_ended() {
    let start = [OPEN_FOLDER, CREATE, SYNC_FOLDER];
    let begun = "8 fdatasync({d:4:/a} <unfinished ...>";
    let ended = "8 <... fdatasync resumed>) = 0";
    let calls = |rest: &[&'static str]| [&start[..], rest].concat();
    assert_eq!(synced_only(&disk(&calls(&[begun, WRITE, ended])), "a").unwrap(), "");
    assert_eq!(synced_only(&disk(&calls(&[WRITE, begun, ended])), "a").unwrap(), "one");
    assert_eq!(synced_only(&disk_before(&calls(&[WRITE, begun, ended]), 1).unwrap(), "a").unwrap(), "");
    assert_eq!(
        torn(&disk_before(&calls(&[WRITE, begun, ended]), 1).unwrap(), "a"),
        [Some(String::new()), Some("one".to_owned()), Some("\0\0\0".to_owned())].into(),
    );
}

#[test]
fn a_sync_that_is_ignored_saves_nothing_of_a_file() {
    let trace = trace(&[OPEN_FOLDER, CREATE, WRITE, SYNC, SYNC_FOLDER]);
    let mut disk = Disk::new(Path::new("/w"));
    disk.ignore_file_syncs();
    trace.steps.iter().for_each(|step| disk.step(&trace, *step).unwrap());
    assert_eq!(synced_only(&disk, "a").unwrap(), "");
}

#[test]
fn a_write_is_torn_between_sectors_and_never_within_one() {
    let bytes = "x".repeat(1_024);
    let write = format!("pwrite64({{d:4:/a}}, {{s:{bytes}}}, 1024, 512) = 1024");
    let zeros = "openat(AT_FDCWD, {p:/a}, O_RDWR|O_CREAT, 0600) = {d:4:/a}";
    let grow = "fallocate({d:4:/a}, 0, 0, 2048) = 0";
    let whole = disk(&[OPEN_FOLDER, zeros, grow, SYNC, SYNC_FOLDER, &write]);
    let found = torn(&whole, "a");
    let x_at = |text: &Option<String>| {
        let text = text.as_ref().unwrap();
        assert_eq!(text.len(), 2_048);
        [0, 512, 1_024, 1_536].map(|at| text[at..at + 512].matches('x').count())
    };
    let found: std::collections::BTreeSet<[usize; 4]> = found.iter().map(x_at).collect();
    let expected = [[0, 0, 0, 0], [0, 512, 0, 0], [0, 0, 512, 0], [0, 512, 512, 0]];
    assert_eq!(found, expected.into());
    // In mid-call it is the same.
    let cut = disk_before(&[OPEN_FOLDER, zeros, grow, SYNC, SYNC_FOLDER, &write], 1).unwrap();
    assert_eq!(torn(&cut, "a").len(), 4);
}

#[test]
fn of_two_writes_to_a_sector_the_later_does_not_survive_alone() {
    let second = "pwrite64({d:4:/a}, {s:two}, 3, 3) = 3";
    let disk =
        disk(&[OPEN_FOLDER, CREATE, SYNC_FOLDER, "fallocate({d:4:/a}, 0, 0, 6) = 0", SYNC, WRITE, second]);
    let expected = ["\0\0\0\0\0\0", "one\0\0\0", "onetwo"].map(|text| Some(text.to_owned()));
    assert_eq!(torn(&disk, "a"), expected.into());
}

#[test]
fn a_rename_is_there_or_not_until_the_folder_is_synced() {
    let rename = "rename({p:/a}, {p:/b}) = 0";
    let renamed = [OPEN_FOLDER, CREATE, WRITE, SYNC, SYNC_FOLDER, rename];
    let before = disk(&renamed);
    assert_eq!((synced_only(&before, "a").unwrap(), synced_only(&before, "b")), ("one".to_owned(), None));
    for name in ["a", "b"] {
        assert_eq!(torn(&before, name), [None, Some("one".to_owned())].into());
    }
    let both = (0..400).map(|seed| Image::after(&before, Loss::Torn, &mut Random(seed)));
    assert!({ both }.all(|image| text(&image, "a").is_some() != text(&image, "b").is_some()));
    let after = disk(&[&renamed[..], &[SYNC_FOLDER]].concat());
    assert_eq!((synced_only(&after, "a"), synced_only(&after, "b").unwrap()), (None, "one".to_owned()));
}

#[test]
fn what_is_cut_off_may_come_back_until_it_is_synced() {
    let start = [OPEN_FOLDER, CREATE, WRITE, SYNC, SYNC_FOLDER, "ftruncate({d:4:/a}, 1) = 0"];
    assert_eq!(synced_only(&disk(&start), "a").unwrap(), "one");
    assert_eq!(synced_only(&disk(&[&start[..], &[SYNC]].concat()), "a").unwrap(), "o");
    assert!(torn(&disk(&start), "a").contains(&Some("o".to_owned())));
}

#[test]
fn cursors_appends_duplicates_and_short_writes_are_followed() {
    let open = "openat(AT_FDCWD, {p:/a}, O_WRONLY|O_CREAT|O_APPEND, 0600) = {d:5:/a}";
    let disk = disk(&[
        CREATE,
        WRITE,
        "writev({d:4:/a}, [[iov_base={s:fo}, iov_len=2], [iov_base={s:ur}, iov_len=2]], 2) = 3",
        open,
        "lseek({d:4:/a}, 0, SEEK_SET) = 0",
        "fcntl({d:4:/a}, F_DUPFD_CLOEXEC, 3) = {d:6:/a}",
        "close({d:4:/a}) = 0",
        "write({d:6:/a}, {s:O}, 1) = 1",
        "write({d:5:/a}, {s:!}, 1) = 1",
        "write({d:5:/a}, {s:lost}, 4) = -1 ENOSPC (No space left on device)",
    ]);
    assert_eq!(text(&Image::live(&disk), "a").unwrap(), "Onefou!");
}

#[test]
fn calls_that_the_model_cannot_follow_are_refused() {
    let refused = [
        "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, {d:4:/a}, 0) = 0x7f0000000000",
        "copy_file_range({d:4:/a}, NULL, {d:4:/a}, NULL, 10, 0) = 10",
        "sendfile({d:4:/a}, 9, NULL, 10) = 10",
        "io_uring_setup(8, [flags=0]) = 9",
        "some_new_call({d:4:/a}) = 0",
        "symlink({p:/a}, {p:/b}) = 0",
        "write({d:9:/a}, {s:x}, 1) = 1",
        "write({d:4:/a}, {s:x}..., 9) = 9",
        "openat(AT_FDCWD, {p:/a}, O_WRONLY|O_DSYNC) = {d:5:/a}",
        "openat(AT_FDCWD, {p:/unknown}, O_RDONLY) = {d:5:/unknown}",
        "fdatasync({d:4:/a}) = -1 EIO (Input/output error)",
        "rename({p:/a}, {s:/elsewhere}) = 0",
        "fallocate({d:4:/a}, FALLOC_FL_COLLAPSE_RANGE, 0, 4096) = 0",
        "clone3([flags=CLONE_VFORK], 88) = 12",
    ];
    assert!(disk_before(&[CREATE], 0).is_ok());
    for line in refused {
        assert!(disk_before(&[CREATE, line], 0).is_err(), "{line}");
    }
    let private = "mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, {d:4:/a}, 0) = 0x7f0000000000";
    assert!(disk_before(&[CREATE, private, "some_new_call(3) = 0"], 0).is_ok());
    let (first, second) =
        ("8 pwrite64({d:4:/a}, {s:xx}, 2, 0 <unfinished ...>", "9 pwrite64({d:4:/a}, {s:y}, 1, 1) = 1");
    let why = disk_before(&[CREATE, first, second], 0).unwrap_err();
    assert!(why.starts_with("nobody can tell"), "{why}");
}

#[test]
fn of_a_killed_program_the_disk_has_what_is_really_there() {
    let trace = trace(&[CREATE, WRITE, "write({d:4:/a}, {s:two}, 3 <unfinished ...>"]);
    assert_eq!(trace.steps.last(), Some(&Step::Begins(2)));
    let left = tempfile::tempdir().unwrap();
    for (real, fits) in [("one", true), ("onet", true), ("onetwo", true), ("nottwo", false), ("on", false)] {
        let mut disk = Disk::new(Path::new("/w"));
        trace.steps.iter().for_each(|step| disk.step(&trace, *step).unwrap());
        std::fs::write(left.path().join("a"), real).unwrap();
        assert_eq!(disk.program_ended(&Image::read(left.path()).unwrap()).is_ok(), fits, "{real}");
    }
}
