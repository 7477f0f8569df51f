//! The auditor's tool on the journal of a node: live, as an export, and as a copy of the stopped node's folder.

use std::ffi::OsStr;
use std::process::Command;

use purser_tests::journal;
use serde_json::{Value, json};

use super::stage::{Stage, alone, on_both, replay};

on_both!(every_way_to_the_journal_tells_the_same, a_live_folder_is_refused);

/// Runs the auditor's tool on a journal that is reached like this; gives back what it printed.
#[track_caller]
fn read(way: &[&OsStr; 2], line: &str) -> String {
    let words: Vec<&OsStr> = line.split(' ').map(OsStr::new).collect();
    let output = replay(&[&way[..], &words[..]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "purser-replay {line} ended with {}: {errors}", output.status);
    String::from_utf8(output.stdout).expect("purser-replay prints UTF-8")
}

/// A pod that came, was stopped, and went, and one that runs.
fn make_history(stage: &Stage) {
    stage.apply("gone", &alone("exec sleep 600"));
    stage.until_ready("gone");
    stage.purser("delete gone --wait --grace-period 0");
    stage.apply("here", &alone("exec sleep 600"));
    stage.until_ready("here");
}

fn every_way_to_the_journal_tells_the_same(stage: &mut Stage) {
    make_history(stage);
    let uid = stage.pod("here")["metadata"]["uid"].as_str().expect("a pod has a uid").to_owned();
    let admitted = stage.pod("here")["status"]["purser"]["admittedSeq"].to_string();
    let socket = stage.purserd.socket();
    let live: [&OsStr; 2] = ["--socket".as_ref(), socket.as_os_str()];
    let head = read(&live, "state --digest").split(' ').next().expect("a number").to_owned();
    let questions = [
        format!("log --seq ..{head} -o jsonl"),
        format!("log --seq ..{head} --pod gone -o oneline"),
        format!("log --seq ..{head} --pod {uid} -t pod."),
        format!("show {admitted} -o json"),
        format!("show {admitted} --hex"),
        format!("state --at {head} --digest"),
        format!("state --at {head}"),
        format!("state --at {head} --pod here -o json"),
        format!("state --at {admitted} -o json"),
    ];
    let told: Vec<String> = questions.iter().map(|question| read(&live, question)).collect();
    check_answers(&told, &uid);

    let export = stage.purserd.folder().join("journal.export");
    std::fs::write(&export, journal::export(&stage.purserd)).expect("an export can be written");
    let by_tool = stage.purserd.folder().join("by-tool.export");
    read(&live, &format!("export {}", by_tool.display()));
    assert!(stage.purserd.stop().success());
    let copy = stage.purserd.folder().join("copy");
    let journal = stage.purserd.data_dir().join("journal");
    let copied = Command::new("cp").arg("-r").arg(&journal).arg(&copy).status().expect("cp is there");
    assert!(copied.success());
    let ways: [[&OsStr; 2]; 3] = [
        ["--export".as_ref(), export.as_os_str()],
        ["--export".as_ref(), by_tool.as_os_str()],
        ["--dir".as_ref(), copy.as_os_str()],
    ];
    for way in &ways {
        assert!(read(way, "verify").starts_with("verdict   sound\n"));
        for (question, told) in questions.iter().zip(&told) {
            assert_eq!(read(way, question), *told, "{way:?} {question}");
        }
    }
    stage.purserd.restart();
}

fn check_answers(told: &[String], uid: &str) {
    let records: Vec<Value> =
        told[0].lines().map(|line| serde_json::from_str(line).expect("a record is JSON")).collect();
    assert!(20 < records.len(), "{}", told[0]);
    assert!(told[1].contains("pod.terminated") && !told[1].contains(uid), "{}", told[1]);
    assert!(told[2].contains("pod.started") && told[2].contains(uid), "{}", told[2]);
    assert!(told[3].contains("pod.admitted") && told[3].contains("here"), "{}", told[3]);
    assert!(told[6].contains("default/here") && told[6].contains("1/1 ready"), "{}", told[6]);
    let here: Value = serde_json::from_str(&told[7]).expect("a state is JSON");
    assert_eq!(here["state"]["phase"], "Running", "{here}");
    let then: Value = serde_json::from_str(&told[8]).expect("a state is JSON");
    let pod = &then["world"]["pods"][uid];
    assert_eq!(pod["phase"], json!("Pending"), "just admitted: {pod}");
}

fn a_live_folder_is_refused(stage: &mut Stage) {
    make_history(stage);
    let journal = stage.purserd.data_dir().join("journal");
    for line in ["verify", "log", "state --digest"] {
        let words: Vec<&OsStr> = line.split(' ').map(OsStr::new).collect();
        let output = replay(&[&["--dir".as_ref(), journal.as_os_str()], &words[..]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(3), 0), "{line}: {said}");
        assert!(said.contains(&*journal.to_string_lossy()), "{said}");
    }
}
