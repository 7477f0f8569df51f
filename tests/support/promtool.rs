//! Prometheus' own tool, which says what it thinks of metrics and rules.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::bounded;

/// Metrics whose names Prometheus would not have: gauges that are called as counters are. Dashboards ask for them by name.
const KEPT: [&str; 2] = ["pod_management_pods_total", "pod_management_workers_total"];

fn promtool() -> Command {
    assert!(Path::new("/usr/bin/promtool").exists(), "`promtool` is missing: apt-get install prometheus");
    Command::new("/usr/bin/promtool")
}

/// Sees that it has nothing to say about metrics.
///
/// # Panics
/// It has, or is not installed.
#[track_caller]
pub fn check_metrics(text: &str) {
    let is_kept = |line: &&str| KEPT.iter().any(|name| line.split([' ', '{']).any(|word| word == *name));
    let text: String = text.lines().filter(|line| !is_kept(line)).flat_map(|line| [line, "\n"]).collect();
    let mut promtool = promtool()
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool can be started");
    let mut input = promtool.stdin.take().expect("its input is a pipe");
    input.write_all(text.as_bytes()).expect("it reads what it is given");
    drop(input);
    let output = promtool.wait_with_output().expect("it can be waited for");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "promtool: {said}\n{text}");
}

/// What it says when asked to try rules with the examples of a file.
#[must_use]
pub fn test_rules(examples: &Path) -> Output {
    bounded::output(promtool().args(["test", "rules"]).arg(examples))
}
