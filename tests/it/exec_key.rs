//! A command is run once under an idempotency key: its output is not kept, so it can't be answered again, and it is
//! not run again either.

use purser_tests::http;
use purser_tests::purserd::{Purserd, Setup};

const MANIFEST: &str = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {
    "runtimeClassName": "process", "terminationGracePeriodSeconds": 0,
    "containers": [{"name": "main", "command": ["/bin/sleep", "600"]}]}}"#;

#[test]
fn a_command_is_run_once_under_a_key_also_over_a_crash() {
    let mut purserd = Purserd::start(&Setup::default());
    purserd.apply(MANIFEST);
    purserd.purser_ok(["wait", "a", "--for=condition=Ready"]);
    let mark = purserd.folder().join("mark");
    let body = format!(r#"{{"command": ["/bin/sh", "-c", "echo >>{}"]}}"#, mark.display());
    let exec = |purserd: &Purserd| {
        let path = "/v1/namespaces/default/pods/a/exec";
        http::request(&purserd.socket(), "POST", path, Some("once"), &body).expect("the service answers")
    };
    let first = exec(&purserd);
    assert_eq!((first.status, &first.body["exitCode"]), (200, &0.into()), "{first:?}");
    let again = exec(&purserd);
    assert_eq!((again.status, &again.body["code"]), (409, &"already-run".into()), "{again:?}");
    purserd.kill9();
    purserd.restart();
    let later = exec(&purserd);
    assert_eq!((later.status, &later.body["code"]), (409, &"already-run".into()), "{later:?}");
    assert_eq!(std::fs::read_to_string(&mark).expect("the command ran"), "\n");
}
