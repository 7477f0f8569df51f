//! `purser-replay tui` as somebody uses it: in a real terminal, on a node that runs.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use purser_tests::binaries::Binaries;
use purser_tests::purserd::{Purserd, Setup};
use purser_tests::{bounded, http};
use serde_json::json;

/// A terminal of its own, which ends with the test.
struct Tmux {
    socket: String,
    _dir: tempfile::TempDir,
}

impl Tmux {
    /// Runs a shell command in it; the shell stays.
    fn new(command: &str) -> Tmux {
        assert!(Path::new("/usr/bin/tmux").exists(), "`tmux` is missing: apt-get install tmux");
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("tmux.sock").to_str().unwrap().to_owned();
        let tmux = Tmux { socket, _dir: dir };
        tmux.run(&["new-session", "-d", "-x", "120", "-y", "36", "sh"]);
        tmux.keys(&["stty -echo; PS1='shell> '", "Enter", command, "Enter"]);
        tmux
    }

    fn run(&self, args: &[&str]) -> String {
        let mut command = Command::new("/usr/bin/tmux");
        // No configuration of a user's, and no name of a terminal that the machine may not have.
        command.args(["-f", "/dev/null", "-S", &self.socket]).args(args).env("TERM", "xterm");
        let output = bounded::output(command.env("LC_ALL", "C.UTF-8"));
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn keys(&self, keys: &[&str]) {
        self.run(&[&["send-keys"], keys].concat());
    }

    fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    /// Waits until the screen has all of these.
    #[track_caller]
    fn await_screen(&self, parts: &[&str]) -> String {
        let has_all = || {
            let screen = self.screen();
            parts.iter().all(|part| screen.contains(part))
        };
        bounded::until(&format!("{parts:?} on the screen"), has_all);
        self.screen()
    }
}

impl Tmux {
    /// Waits for what the shell says once the tool is over, and sees that the terminal is as it was.
    #[track_caller]
    fn await_end(&self, told: &str) {
        let after = self.await_screen(&[told]);
        assert!(
            after.contains("shell>") && !after.contains("node.started"),
            "the terminal is as it was: {after}"
        );
        // What is typed shows again: the terminal is no longer raw.
        self.keys(&["stty -a | grep -o -e '-*icanon'", "Enter"]);
        let told = self.await_screen(&["icanon"]);
        assert!(!told.contains("-icanon"), "{told}");
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let mut command = Command::new("/usr/bin/tmux");
        // Whatever ran in it gets a hangup.
        let _ = command.args(["-S", &self.socket, "kill-server"]).output();
    }
}

/// A pod that ends with code 7.
fn run_failing_pod(purserd: &Purserd) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "fails"},
        "spec": {
            "runtimeClassName": "process", "restartPolicy": "Never",
            "containers": [{"name": "main", "command": ["/bin/sh", "-c", "exit 7"]}],
        },
    });
    let answer = http::request(&purserd.socket(), "POST", "/v1/pods", None, &pod.to_string()).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.body);
    purserd.await_event("pod.container-exited");
}

#[test]
fn a_node_is_looked_through_in_a_terminal() {
    let purserd = Purserd::start(&Setup::default());
    run_failing_pod(&purserd);
    let tool = &Binaries::built().purser_replay;
    let socket = purserd.socket();
    let command = format!("{} tui --socket {}; echo ended with $?", tool.display(), socket.display());
    let tmux = Tmux::new(&command);
    let first = tmux.await_screen(&["record 1 of ", "node.started", "? keys, q end"]);
    assert!(!first.contains("shell>"), "the screen is all of the tool's: {first}");
    tmux.keys(&["x"]);
    tmux.await_screen(&["\"code\": 7", "type         pod.container-exited"]);
    tmux.keys(&["2"]);
    tmux.await_screen(&["was seen outside, of what record"]);
    tmux.keys(&["Tab"]);
    tmux.await_screen(&["pods 1", "default/fails"]);
    tmux.keys(&["/", "pod.admitted", "Enter"]);
    tmux.await_screen(&["there is no match after this record"]);
    tmux.keys(&["N", "1"]);
    tmux.await_screen(&["type         pod.admitted"]);
    tmux.run(&["resize-window", "-x", "70", "-y", "12"]);
    tmux.await_screen(&["pod.admitted", "search pod.admitted"]);
    tmux.keys(&["q"]);
    tmux.await_end("ended with 0");
}

#[test]
fn what_a_node_records_meanwhile_comes_to_the_screen() {
    let mut purserd = Purserd::start(&Setup::default());
    let tool = &Binaries::built().purser_replay;
    let command =
        format!("{} tui --socket {}; echo ended with $?", tool.display(), purserd.socket().display());
    let tmux = Tmux::new(&command);
    tmux.await_screen(&["record 1 of ", "node.started"]);
    // From the last record on it goes along.
    tmux.keys(&["G"]);
    run_failing_pod(&purserd);
    // All of its end is there before anybody looks for more of it.
    purserd.await_event("ledger.released");
    purserd.await_event("pod.container-removed");
    tmux.await_screen(&["pod.container-exited", "ledger.released", "pod.container-removed"]);
    tmux.keys(&["x"]);
    tmux.await_screen(&["there is no failure after this record"]);
    tmux.keys(&["X"]);
    tmux.await_screen(&["type         pod.failed"]);
    tmux.keys(&["X"]);
    tmux.await_screen(&["type         pod.container-exited"]);
    purserd.stop();
    tmux.await_screen(&["failed to ask the node"]);
    tmux.keys(&["q"]);
    tmux.await_end("ended with 0");
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let purserd = Purserd::start(&Setup::default());
    let tool = &Binaries::built().purser_replay;
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    for (signal, told) in [(Signal::SIGTERM, "ended with 143"), (Signal::SIGHUP, "ended with 129")] {
        let tui = format!("{} tui --socket {}", tool.display(), purserd.socket().display());
        let command = format!("sh -c 'echo $$ >{}; exec {tui}'; echo ended with $?", pid_file.display());
        let tmux = Tmux::new(&command);
        tmux.await_screen(&["record 1 of ", "node.started"]);
        let pid = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
        tmux.await_end(told);
    }
}
