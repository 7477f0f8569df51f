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

use purser_replay::Exit;

use crate::answers::Lived;
use crate::support::{Fixture, tool};

fn is_full() -> bool {
    std::env::var("PURSER_CORPUS").is_ok_and(|value| value == "full")
}

/// Says how many changes were looked for, none of which was missed.
fn tell_found(what: &str, changes: u64) {
    println!("corpus: {changes} {what}, every one found by `verify` and by `log`");
}

/// Looks whether an export that was changed is told from a whole one, and no record is trusted that was changed.
#[track_caller]
fn is_found(path: &str, bytes: &[u8], what: &str, changes: &mut u64) {
    *changes += 1;
    fs::write(path, bytes).unwrap();
    for verb in [&["verify"][..], &["log", "-o", "oneline"]] {
        let told = tool(&[verb, &["--export", path]].concat());
        let is_told = matches!(told.exit, Exit::Integrity | Exit::Unknown | Exit::Io);
        assert!(is_told, "{what}: {verb:?} ends with {:?}: {}", told.exit, told.out);
        assert!(!told.out.contains("verdict   sound"), "{what}: {}", told.out);
    }
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
            is_found(&path, &changed, &format!("bit {bit}"), &mut found);
        }
    }
    // The head and the end mark.
    for bit in
        (0..all[0] * 8).chain(all[all.len() - 1] * 8..export.len() * 8).step_by(if is_full() { 1 } else { 3 })
    {
        let mut changed = export.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        is_found(&path, &changed, &format!("bit {bit}"), &mut found);
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
    // Every length of the last bytes, and some of those before.
    let (every, step) = if is_full() { (64 << 10, 1) } else { (500, 997) };
    let some = (whole.saturating_sub(64 << 10)..whole).step_by(step);
    let mut found = 0;
    let lens: BTreeSet<usize> = some.chain(whole.saturating_sub(every)..whole).collect();
    for len in lens {
        is_found(&path, &bytes[..len], &format!("{len} of {whole} bytes"), &mut found);
    }
    tell_found("shorter lengths", found);
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
        is_found(&path, &with(&twice), &format!("record {} twice", one + 1), &mut found);
        without.remove(one);
        is_found(&path, &with(&without), &format!("record {} left out", one + 1), &mut found);
        for other in one + 1..frames.len() {
            let mut swapped = order.clone();
            swapped.swap(one, other);
            is_found(
                &path,
                &with(&swapped),
                &format!("records {} and {} swapped", one + 1, other + 1),
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
        ("policy", policy.to_vec()),
        (
            "policy",
            b"policy:\n  limits: { memory: { overcommit-percent: 150 } }\ntenants: { red: {} }\n".to_vec(),
        ),
    ];
    mutations::run(targets::TARGETS, &inputs);
}
