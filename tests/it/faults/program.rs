//! `purserd` run to its end, where it cannot start.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use purser_tests::binaries::Binaries;
use purser_tests::bounded::{self, PATIENCE, pid_of};

use super::client::assert_no_panic;

/// Runs `purserd`, or only its check of the config, with nothing in its environment but `variables`.
pub(super) fn run(config: &Path, check: bool, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(&Binaries::built().purserd);
    if check {
        command.arg("check-config");
    }
    command.arg("--config").arg(config);
    bounded::output(command.env_clear().env("HOME", "/nonexistent").envs(variables.iter().copied()))
}

/// What a program said on standard error, which must be no panic.
#[track_caller]
pub(super) fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_no_panic(&text);
    text
}

/// Sees that a program ended with this code and said these words.
#[track_caller]
pub(super) fn assert_ended(output: &Output, code: i32, words: &[&str]) {
    let text = said(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

/// What came of a start.
#[derive(Debug)]
pub(super) enum Start {
    /// It ended without getting ready.
    Ended(Output),
    /// It got ready, was asked to stop then, and did.
    Ready { output: Output },
}

/// Starts `purserd` and stops it as soon as it takes requests.
pub(super) fn start(config: &Path, variables: &[(&str, &str)]) -> Start {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("word");
    let word = UnixDatagram::bind(&path).unwrap();
    word.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut child = Command::new(&Binaries::built().purserd)
        .arg("--config")
        .arg(config)
        .env_clear()
        .env("NOTIFY_SOCKET", &path)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut message = [0; 256];
    let ready = loop {
        match word.recv(&mut message) {
            Ok(len) if message[..len].starts_with(b"READY=1") => break true,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("the word of purserd cannot be heard: {error}"),
        }
        if child.try_wait().unwrap().is_some() {
            break false;
        }
        if deadline < Instant::now() {
            let _ = child.kill();
            panic!("purserd is neither ready nor ended: {}", said(&child.wait_with_output().unwrap()));
        }
    };
    if ready {
        kill(pid_of(&child), Signal::SIGTERM).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    if ready { Start::Ready { output } } else { Start::Ended(output) }
}
