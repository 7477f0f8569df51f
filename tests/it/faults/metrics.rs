//! The metrics of a node that runs pods, as Prometheus' own tool judges them.

use std::io::{BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use purser_tests::http;
use purser_tests::purserd::{Purserd, Setup};

use super::client::{apply, connect, sleeper};

pub(super) fn scrape(purserd: &Purserd) -> String {
    let mut stream = connect(purserd);
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: purser\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = BufReader::new(stream);
    let head = http::read_head(&mut answer).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    String::from_utf8(http::read_body(&mut answer, &head).unwrap()).unwrap()
}

/// Sees that `promtool` has nothing to say.
fn assert_clean(text: &str) {
    assert!(Path::new("/usr/bin/promtool").exists(), "`promtool` is missing: apt-get install prometheus");
    let mut promtool = Command::new("/usr/bin/promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn metrics_stay_clean_while_pods_come_fail_and_go() {
    let purserd = Purserd::start(&Setup::default());
    assert_clean(&scrape(&purserd));
    for name in ["web", "shop"] {
        assert_eq!(apply(&purserd, &sleeper(name)).status, 201);
    }
    let mut failing = sleeper("failing");
    failing["spec"]["containers"][0]["command"] = serde_json::json!(["/bin/false"]);
    assert_eq!(apply(&purserd, &failing).status, 201);
    purserd.purser_ok(["wait", "web", "--for=condition=Ready"]);
    purserd.purser_ok(["wait", "shop", "--for=condition=Ready"]);
    purserd.await_event("pod.container-exited");
    // A request that fails is counted too.
    assert!(!purserd.purser(["get", "pods", "none"]).status.success());
    let text = scrape(&purserd);
    assert_clean(&text);
    for pod in ["web", "shop", "failing"] {
        assert!(text.contains(&format!("pod=\"{pod}\"")), "no series of {pod}: {text}");
    }
    purserd.purser_ok(["delete", "web", "failing", "--wait"]);
    let text = scrape(&purserd);
    assert_clean(&text);
    assert!(text.contains("pod=\"shop\""), "{text}");
    for pod in ["web", "failing"] {
        assert!(!text.contains(&format!("pod=\"{pod}\"")), "series of {pod} are left: {text}");
    }
}
