//! A node that seals its journal: keys made by `purserd`, evidence read by `purser-replay`, kills in between.

use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Output};

use purser_tests::binaries::Binaries;
use purser_tests::bounded;
use purser_tests::purserd::{Purserd, Setup};

/// Kills of the service while its key is replaced as often as there is something new.
const KILLS: u32 = 8;

fn keys(purserd: &Purserd, verb: &str) -> Output {
    let mut command = Command::new(&Binaries::built().purserd);
    bounded::output(command.args(["keys", verb]).arg("--config").arg(purserd.config()))
}

fn replay(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    bounded::output(Command::new(&Binaries::built().purser_replay).args(args))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_sealed_node_survives_kills_around_every_change_of_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let more = format!(
        "[journal.sealing]\ninterval-ms = 1\ncheckpoint-events = 2\n\n[journal.witness]\nfile = {kept:?}\n"
    );
    let mut purserd = Purserd::start(&Setup { more, ..Setup::default() });
    assert!(purserd.purser_ok(["status"]).contains("there is no key"), "a node without a key says so");
    assert!(purserd.stop().success());
    let made = keys(&purserd, "setup");
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(text(&made.stderr).contains("Keep it off this host"), "{}", text(&made.stderr));
    let key = text(&made.stdout).trim().to_owned();
    let again = keys(&purserd, "setup");
    assert_eq!(again.status.code(), Some(73), "a key is never written over: {}", text(&again.stderr));
    for round in 0..KILLS {
        purserd.restart();
        for number in 0..5 {
            purserd.purser_ok(["cordon", "--reason", &format!("round {round}, {number}")]);
            purserd.purser_ok(["uncordon"]);
        }
        purserd.kill9();
    }
    purserd.restart();
    let status = purserd.purser_ok(["status"]);
    assert!(status.contains("Sealed:") && status.contains("period"), "{status}");
    assert!(purserd.stop().success());
    let shown = keys(&purserd, "show");
    assert!(text(&shown.stdout).contains("period"), "{}", text(&shown.stderr));
    let dir = purserd.data_dir().join("journal");
    let (dir, kept) = (dir.as_os_str(), kept.as_os_str());
    let verified = replay([
        "verify".as_ref(),
        "--dir".as_ref(),
        dir,
        "--key".as_ref(),
        key.as_ref(),
        "--checkpoint".as_ref(),
        kept,
    ]);
    let told = text(&verified.stdout);
    assert!(verified.status.success(), "{told}\n{}", purserd.log());
    assert!(told.contains("sealed    records up to") && !told.contains("unsealed"), "{told}");
    assert!(told.contains("continues the checkpoint of"), "{told}");
    let proof =
        replay(["proof".as_ref(), "3".as_ref(), "--dir".as_ref(), dir, "--key".as_ref(), key.as_ref()]);
    assert!(proof.status.success(), "{}", text(&proof.stderr));
    let file = folder.path().join("3.tlog-proof");
    fs::write(&file, &proof.stdout).unwrap();
    let checked = replay([
        "proof".as_ref(),
        "3".as_ref(),
        "--dir".as_ref(),
        dir,
        "--key".as_ref(),
        key.as_ref(),
        "--check".as_ref(),
        file.as_os_str(),
    ]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
}
