//! That an answer means that the record is on disk: seen in the system calls of the real service.

mod trace;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use purser_tests::bounded::{self, pid_of};
use purser_tests::http;
use purser_tests::purserd::{Purserd, Setup};
use serde_json::json;

/// A name that stands in the record of the pod's admission and nowhere else.
const MARK: &str = "marked-for-the-trace";

/// Follows a process with strace from now on.
struct Tracer(Child);

impl Tracer {
    fn attach(pid: u32, output: &Path) -> Tracer {
        let calls =
            "trace=fdatasync,fsync,sync_file_range,write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg";
        let mut child = Command::new("strace")
            // Whole strings, so that the mark is found wherever in a write it stands.
            .args(["-f", "-yy", "-s", "1048576", "-e", calls, "-p", &pid.to_string(), "-o"])
            .arg(output)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("strace cannot be run ({error}): install the package strace"));
        let stderr = child.stderr.take().expect("it was asked for");
        let mut lines = BufReader::new(stderr).lines();
        let attached = lines.by_ref().map_while(Result::ok).find(|line| line.contains("attached"));
        assert!(attached.is_some(), "strace could not attach to process {pid}");
        // Read on, or strace would wait for room in the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Tracer(child)
    }

    /// Ends the trace; the traced process goes on.
    fn detach(mut self) {
        kill(pid_of(&self.0), Signal::SIGINT).expect("a child can be signalled");
        bounded::wait(&mut self.0, "strace");
    }
}

#[test]
fn an_answer_comes_after_the_sync_of_its_record() {
    let purserd = Purserd::start(&Setup::default());
    let output = purserd.folder().join("trace.txt");
    let tracer = Tracer::attach(purserd.pid(), &output);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": MARK},
        "spec": {
            "runtimeClassName": "process",
            "containers": [{"name": "main", "command": ["/bin/sleep", "600"]}],
        },
    });
    let answer = http::request(&purserd.socket(), "POST", "/v1/pods", None, &pod.to_string()).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.body);
    tracer.detach();
    let trace = fs::read(&output).expect("strace wrote its file");
    let trace = String::from_utf8_lossy(&trace);
    let verdict = trace::synced_before_reply(&trace, "00000000000000000001.seg", MARK, "HTTP/1.1 201");
    assert_eq!(verdict, Ok(()), "see the calls:\n{}", calls_to_show(&trace));
}

/// The calls, each cut to a line that a person can read.
fn calls_to_show(trace: &str) -> String {
    trace.lines().map(|line| line.chars().take(160).collect::<String>() + "\n").collect()
}
