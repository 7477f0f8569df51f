//! Damaged and hostile bytes: whatever is changed is found, no shorter history passes for a whole one, and nothing panics.
//!
//! `PURSER_CORPUS=full` has every bit and every length looked at; `PURSER_FUZZ=SEED:COUNT` says what mutations begin with
//! and how many each decoder gets.

#[path = "../../../fuzz/mutations.rs"]
mod mutations;
#[path = "../../../fuzz/targets.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;

use purser_events::view::WORLD_LAYOUT;
use purser_replay::Exit;
use purser_storage::offline::{Source, SourceFailure};
use purser_storage::snapshot::at_rest::SnapshotFile;
use purser_storage::{JournalConfig, StoredRecord};
use serde_json::Value;

use targets::reseal;

use crate::answers::Lived;
use crate::long;
use crate::support::{Fixture, tool};

fn is_full() -> bool {
    std::env::var("PURSER_CORPUS").is_ok_and(|value| value == "full")
}

/// Says how many changes were looked for, none of which was missed.
fn tell_found(what: &str, changes: u64) {
    println!("corpus: {changes} {what}, every one found, and up to where the journal is sound");
}

/// Looks whether an export that was changed is told from a whole one, and no record is trusted that was changed: all up to
/// `last` are, which is named; nothing is said of that if the export cannot even be opened.
#[track_caller]
fn is_found(path: &str, bytes: &[u8], what: &str, last: Option<usize>, changes: &mut u64) {
    *changes += 1;
    fs::write(path, bytes).unwrap();
    let told = tool(&["log", "-o", "oneline", "--export", path]);
    // Of a file whose first bytes are others it can be that it never was an export, or is one of a later format.
    let is_told = |exit: Exit| match last {
        Some(_) => exit == Exit::Integrity,
        None => matches!(exit, Exit::Integrity | Exit::Unknown | Exit::Io),
    };
    assert!(is_told(told.exit), "{what}: log ends with {:?}: {}", told.exit, told.out);
    let told = tool(&["verify", "-o", "json", "--export", path]);
    assert!(is_told(told.exit), "{what}: verify ends with {:?}: {}", told.exit, told.out);
    let Some(last) = last else {
        assert_eq!(told.out, "", "{what}");
        return;
    };
    let found: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(
        (&found["sound"], &found["head"]["seq"]),
        (&false.into(), &last.into()),
        "{what}: {}",
        told.out
    );
    let reason = found["reason"].as_str().unwrap();
    assert!(reason.contains(&format!("record {last}")), "{what}: {reason}");
}

/// Where each frame of an export begins.
fn frames(export: &[u8]) -> Vec<usize> {
    let mut at = 56;
    let mut found = Vec::new();
    while let Some(prefix) = export.get(at..at + 4) {
        let len = u32::from_le_bytes(prefix.try_into().unwrap()) as usize;
        if len == 0 {
            return found;
        }
        found.push(at);
        at += len + 8;
    }
    panic!("the export has no end mark");
}

#[test]
fn every_bit_of_chosen_records_matters() {
    let fixture = Fixture::new();
    let (export, path) = (fs::read(fixture.path("export")).unwrap(), fixture.path("changed"));
    let frames = frames(&export);
    assert_eq!(frames.len(), 11, "the frames are where they are taken to be");
    let all = [frames.as_slice(), &[export.len() - 48]].concat();
    let mut found = 0;
    let chosen: Vec<usize> = if is_full() { (0..all.len() - 1).collect() } else { vec![3, all.len() - 2] };
    for number in chosen {
        for bit in all[number] * 8..all[number + 1] * 8 {
            let mut changed = export.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            is_found(&path, &changed, &format!("bit {bit}"), Some(number), &mut found);
        }
    }
    // The head and the end mark.
    for bit in
        (0..all[0] * 8).chain(all[all.len() - 1] * 8..export.len() * 8).step_by(if is_full() { 1 } else { 3 })
    {
        let mut changed = export.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let last = if bit < all[0] * 8 { None } else { Some(frames.len()) };
        is_found(&path, &changed, &format!("bit {bit}"), last, &mut found);
    }
    tell_found("flipped bits", found);
}

#[test]
fn no_length_but_the_whole_one_is_whole() {
    let lived = Lived::new(3, 300);
    let export = lived.path("export");
    assert_eq!(lived.tool(&["export", &export]).exit, Exit::Ok);
    let bytes = fs::read(&export).unwrap();
    let (whole, path) = (bytes.len(), lived.path("cut"));
    let ends: Vec<usize> = frames(&bytes).into_iter().skip(1).chain([whole - 48]).collect();
    // Some lengths of the last 64 KiB, by the tool.
    let some = (whole.saturating_sub(64 << 10)..whole).step_by(997);
    let every = if is_full() { 5_000 } else { 500 };
    let mut found = 0;
    let lens: BTreeSet<usize> = some.chain(whole.saturating_sub(every)..whole).collect();
    for len in lens {
        let last = ends.iter().filter(|end| **end <= len).count();
        is_found(&path, &bytes[..len], &format!("{len} of {whole} bytes"), Some(last), &mut found);
    }
    // Each of them by its reader, which goes on from the last whole record: what comes before is the same each time.
    let mut source = Source::from_export(Cursor::new(bytes.clone())).unwrap();
    let mut marks = vec![source.mark()];
    while let Some(Ok(_)) = source.next_item() {
        marks.push(source.mark());
    }
    for len in (whole.saturating_sub(64 << 10)..whole).step_by(if is_full() { 1 } else { 7 }) {
        let mark = marks.iter().rfind(|mark| mark.export.unwrap().at <= len as u64).unwrap();
        let offset = mark.export.unwrap();
        let rest = bytes[usize::try_from(offset.at).unwrap()..len].to_vec();
        let mut cut = Source::of_export_after(Cursor::new(rest), mark.head, offset);
        let next = cut.next_item().expect("it is no end");
        let error = next.expect_err("nothing whole is left");
        assert_eq!((error.failure(), cut.head()), (SourceFailure::Integrity, mark.head), "{len} of {whole}");
        found += 1;
    }
    tell_found("shorter lengths", found);
}

/// The last segment of a folder may end in what a stop tore off: that nothing acknowledged is missing is known by the file
/// beside it alone.
#[test]
fn no_length_of_the_open_segment_passes_for_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    long::write(JournalConfig::new(&journal), 1_500, 0);
    let path = journal.join("segments/00000000000000000001.seg");
    let bytes = fs::read(&path).unwrap();
    // Where each commit ends, and with how many records: of one that is not whole nothing counts.
    let (mut at, mut records, mut ends) = (72, 0_u64, Vec::new());
    while let Some(len) = bytes.get(at..at + 4).map(|len| u32::from_le_bytes(len.try_into().unwrap())) {
        if len == 0 {
            break;
        }
        let (is_record, goes_on) = (bytes[at + 8] == 1, bytes[at + 10] & 2 != 0);
        at += usize::try_from(len).unwrap() + 8;
        records += u64::from(is_record);
        ends.extend((is_record && !goes_on).then_some((at, records)));
    }
    let (whole, last) = *ends.last().unwrap();
    assert!(last == 1_500 && whole > 64 << 10, "{last} records of {whole} bytes");
    let file = fs::File::options().write(true).open(&path).unwrap();
    let mut found = 0;
    for len in (whole - (64 << 10)..whole).rev().step_by(if is_full() { 1 } else { 97 }) {
        file.set_len(len as u64).unwrap();
        let mut source = Source::from_folder(&journal).unwrap();
        let error = source.find_map(Result::err).expect("it is shorter than it was");
        let last = ends.iter().rfind(|(end, _)| *end <= len).map_or(0, |(_, records)| *records);
        assert_eq!(
            (error.failure(), source.head().seq.0),
            (SourceFailure::Integrity, last),
            "{len} of {whole}"
        );
        found += 1;
    }
    tell_found("shorter lengths of a segment", found);
}

#[test]
fn records_in_another_order_are_found() {
    let fixture = Fixture::new();
    let (export, path) = (fs::read(fixture.path("export")).unwrap(), fixture.path("changed"));
    let frames = frames(&export);
    let end = export.len() - 48;
    let frame = |number: usize| &export[frames[number]..frames.get(number + 1).copied().unwrap_or(end)];
    let with = |order: &[usize]| {
        let body: Vec<u8> = order.iter().flat_map(|number| frame(*number).to_vec()).collect();
        [&export[..frames[0]], &body, &export[end..]].concat()
    };
    let order: Vec<usize> = (0..frames.len()).collect();
    assert_eq!(with(&order), export);
    let mut found = 0;
    for one in 0..frames.len() {
        let (mut twice, mut without) = (order.clone(), order.clone());
        twice.insert(one, one);
        is_found(&path, &with(&twice), &format!("record {} twice", one + 1), Some(one + 1), &mut found);
        without.remove(one);
        is_found(&path, &with(&without), &format!("record {} left out", one + 1), Some(one), &mut found);
        for other in one + 1..frames.len() {
            let mut swapped = order.clone();
            swapped.swap(one, other);
            is_found(
                &path,
                &with(&swapped),
                &format!("records {} and {} swapped", one + 1, other + 1),
                Some(one),
                &mut found,
            );
        }
    }
    tell_found("records swapped, repeated or left out", found);
}

/// A segment as an earlier release wrote it.
fn released_segment(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../storage/tests/formats/2/journal/segments");
    fs::read(std::path::Path::new(folder).join(name)).unwrap()
}

#[test]
fn no_decoder_panics() {
    let fixture = Fixture::new();
    let export = fs::read(fixture.path("export")).unwrap();
    let frames = frames(&export);
    // As if its payload were sealed.
    let mut sealed = export[frames[2]..frames[3]].to_vec();
    sealed[9] |= 0x80;
    let note = b"purser/one\n11\nqINS1GRFhWHwdkUeqLEoP4yEMkTBBzxBkGwGQlVlVcs=\n\n\xe2\x80\x94 purser/one Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";
    let proof = [b"c2sp.org/tlog-proof@v1\nindex 3\n".as_slice(), note].concat();
    let text = b"exit.code != 0 and not (containers[*].name ~ \"^a.*\" or @seq >= 5)";
    let policy = b"[policy]\nrefuse-when-full = true\n[policy.limits.memory]\novercommit-percent = 150\n[tenants.red]\n";
    let inputs = [
        ("export", export.clone()),
        ("frame", export[frames[2]..frames[3]].to_vec()),
        ("note", note.to_vec()),
        ("proof", proof),
        ("cursor", b"11:7fcc9176e59188fb".to_vec()),
        ("expression", text.to_vec()),
        ("argument", b"'1h 30m ago'".to_vec()),
        ("segment", released_segment("00000000000000000087.seg")),
        // The same compressed is another format.
        ("segment", released_segment("00000000000000000001.seg.zst")),
        ("prices", b"currency = \"EUR\"\ndecimals = 2\n[allocated]\ncpu = \"0.031\"\n".to_vec()),
        ("snapshot", snapshot(br#"{"digest":"","unreadable":0,"heads":[],"world":{}}"#)),
        ("survivors", export.clone()),
        ("survivors", released_segment("00000000000000000087.seg")),
        ("survivors", released_segment("00000000000000000001.seg.zst")),
        ("subject_key", [b"PURSERU\n".as_slice(), &[7; 36], &sealed].concat()),
        ("policy", policy.to_vec()),
        (
            "policy",
            b"policy:\n  limits: { memory: { overcommit-percent: 150 } }\ntenants: { red: {} }\n".to_vec(),
        ),
    ];
    mutations::run(targets::TARGETS, &inputs);
}

/// A snapshot's file with this body.
fn snapshot(body: &[u8]) -> Vec<u8> {
    let mut bytes = [0; 100];
    bytes[..8].copy_from_slice(b"PURSERN\n");
    bytes[8..10].copy_from_slice(&1_u16.to_le_bytes());
    bytes[12..16].copy_from_slice(&WORLD_LAYOUT.to_le_bytes());
    bytes[16..24].copy_from_slice(&11_u64.to_le_bytes());
    reseal::snapshot(&[&bytes, body].concat())
}

#[test]
fn cargo_fuzz_runs_every_decoder() {
    mutations::are_run_by_cargo_fuzz(targets::TARGETS, "targets");
}

#[test]
fn what_was_not_changed_is_sealed_as_it_was() {
    let fixture = Fixture::new();
    let export = fs::read(fixture.path("export")).unwrap();
    assert_eq!(reseal::export(&export), export);
    let frames = frames(&export);
    assert_eq!(reseal::frame(&export[frames[0]..frames[1]]), export[frames[0]..frames[1]]);
    for name in ["00000000000000000087.seg", "00000000000000000118.seg"] {
        let segment = released_segment(name);
        assert_eq!(reseal::segment(&segment), segment, "{name}");
    }
    let snapshot = snapshot(b"{}");
    assert_eq!(SnapshotFile::parse(&snapshot, WORLD_LAYOUT).unwrap().body, b"{}");
}

/// Behind a checksum that does not hold nothing is decoded: of changes that are sealed anew, most must come to a payload.
#[test]
fn changes_that_are_sealed_anew_come_to_what_is_behind_the_checksums() {
    let fixture = Fixture::new();
    let export = fs::read(fixture.path("export")).unwrap();
    let frames = frames(&export);
    let frame = &export[frames[1]..frames[2]];
    let (mut parsed, mut undecoded, mut read, mut sound) = (0, 0, 0, 0);
    for number in 0..400 {
        let mut bytes = frame.to_vec();
        mutations::Random::of(number).mutate(&mut bytes);
        if let Ok(record) = StoredRecord::parse(reseal::frame(&bytes)) {
            parsed += 1;
            undecoded += u32::from(record.event().is_err());
        }
        let mut bytes = export.clone();
        mutations::Random::of(number).mutate(&mut bytes);
        if let Ok(mut source) = Source::from_export(Cursor::new(reseal::export(&bytes))) {
            read += 1;
            sound += u32::from(source.try_for_each(|record| record.map(drop)).is_ok());
        }
    }
    assert!(parsed > 150 && undecoded > 100, "of 400 frames {parsed} are parsed, {undecoded} not decoded");
    assert!(read > 300 && sound > 50, "of 400 exports {read} are opened, {sound} read to their end");
}

/// Whole, and by hashes that hold what was written: nothing is damaged, and a newer release reads it.
#[test]
fn what_a_later_release_wrote_is_told_as_that() {
    let fixture = Fixture::new();
    let export = fs::read(fixture.path("export")).unwrap();
    let (frames, path) = (frames(&export), fixture.path("later"));
    // A type of record that nobody knows here.
    let mut later = export.clone();
    let at = frames[2] + 11;
    later[at..at + 2].copy_from_slice(&60_000_u16.to_le_bytes());
    fs::write(&path, reseal::export(&later)).unwrap();
    for verb in [&["log"][..], &["verify"], &["state"]] {
        let told = tool(&[verb, &["--export", &path]].concat());
        assert_eq!(told.exit, Exit::Unknown, "{verb:?}: {}", told.notes);
    }
}
