//! Pods that cannot run, or are ended from outside: what happened is on record and can be read by an operator.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use purser_events::Event;
use purser_events::pod::PodEvent;
use purser_tests::feed::Feed;
use purser_tests::journal;
use purser_tests::leftovers::running_processes;
use purser_tests::purserd::{Purserd, Setup};
use serde_json::{Value, json};

use super::client::{apply, assert_no_panic, sleeper};

/// A service that lets pods mount what is in a folder of the host.
fn with_host_root() -> (Purserd, tempfile::TempDir) {
    let host = tempfile::tempdir().unwrap();
    let runtime_more = format!("host-path-roots = [{:?}]", host.path());
    (Purserd::start(&Setup { runtime_more, ..Setup::default() }), host)
}

/// A pod whose specification is changed before it is applied.
fn changed(name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut manifest = sleeper(name);
    change(&mut manifest["spec"]);
    manifest
}

/// The events that say that a pod could not be brought up.
pub(super) const FAILURES: [&str; 2] = ["pod.setup-failed", "pod.container-create-failed"];

/// Applies a pod that cannot start, waits until that is on record, and sees that its description says why.
#[track_caller]
pub(super) fn assert_told(purserd: &Purserd, manifest: &Value, words: &[&str]) {
    let mut feed = Feed::live(purserd);
    let answer = apply(purserd, manifest);
    assert_eq!(answer.status, 201, "{answer:?}");
    let name = manifest["metadata"]["name"].as_str().unwrap();
    feed.until(|event| FAILURES.contains(&event.kind.as_str()));
    let described = purserd.purser_ok(["describe", "pod", name]);
    for word in words {
        assert!(described.contains(word), "`{word}` is not in: {described}");
    }
    let events = purserd.purser_ok(["events", name, "-o", "json"]);
    for word in words {
        assert!(events.contains(word), "`{word}` is not in: {events}");
    }
    purserd.purser_ok(["delete", name, "--wait"]);
}

#[test]
fn what_is_absent_is_named_in_the_description() {
    let (purserd, host) = with_host_root();
    let absent_program =
        changed("program", |spec| spec["containers"][0]["command"] = json!(["/no/such/program"]));
    assert_told(&purserd, &absent_program, &["/no/such/program"]);
    let not_a_program = changed("text", |spec| spec["containers"][0]["command"] = json!(["/etc/passwd"]));
    assert_told(&purserd, &not_a_program, &["/etc/passwd"]);
    let absent_folder =
        changed("folder", |spec| spec["containers"][0]["workingDir"] = json!("/no/such/folder"));
    assert_told(&purserd, &absent_folder, &["/no/such/folder"]);
    let path = host.path().join("absent");
    let absent_path = changed("path", |spec| {
        spec["volumes"] = json!([{"name": "given", "hostPath": {"path": path, "type": "Directory"}}]);
    });
    assert_told(&purserd, &absent_path, &["given", path.to_str().unwrap()]);
    let file = host.path().join("file");
    std::fs::write(&file, "").unwrap();
    let wrong_kind = changed("kind", |spec| {
        spec["volumes"] = json!([{"name": "given", "hostPath": {"path": file, "type": "Directory"}}]);
    });
    assert_told(&purserd, &wrong_kind, &["given", file.to_str().unwrap()]);
    assert_no_panic(&purserd.log());
}

#[test]
fn a_path_that_leaves_its_root_by_a_link_is_refused() {
    let (purserd, host) = with_host_root();
    std::os::unix::fs::symlink("/etc", host.path().join("out")).unwrap();
    let path = host.path().join("out");
    let manifest = changed("link", |spec| {
        spec["volumes"] = json!([{"name": "given", "hostPath": {"path": path, "type": "Directory"}}]);
        spec["containers"][0]["volumeMounts"] = json!([{"name": "given", "mountPath": "/given"}]);
    });
    let answer = apply(&purserd, &manifest);
    assert_eq!(answer.status, 201, "{answer:?}");
    let mut feed = Feed::from(&purserd, 1);
    let event = feed.until(|event| event.kind == "pod.started" || FAILURES.contains(&event.kind.as_str()));
    assert_ne!(event.kind, "pod.started", "a link out of the root was followed");
    assert!(purserd.purser_ok(["describe", "pod", "link"]).contains("given"));
    assert_no_panic(&purserd.log());
}

#[test]
fn a_process_that_is_killed_from_outside_is_on_record_and_started_again() {
    let purserd = Purserd::start(&Setup::default());
    let mut manifest = sleeper("web");
    manifest["spec"]["containers"][0]["command"] = json!(["/bin/sleep", "61234"]);
    assert_eq!(apply(&purserd, &manifest).status, 201);
    purserd.purser_ok(["wait", "web", "--for=condition=Ready"]);
    let is_main = |pid: i32| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.starts_with(b"/bin/sleep\0")
    };
    let running = running_processes(&purserd.data_dir());
    let main =
        running.iter().find(|process| is_main(process.pid)).expect("the container's process is recorded");
    kill(Pid::from_raw(main.pid), Signal::SIGKILL).unwrap();
    purserd.await_event("pod.container-exited");
    purserd.await_event("pod.restart-scheduled");
    let exited = journal::records(&purserd).into_iter().find_map(|record| match record.event {
        Event::Pod(PodEvent::ContainerExited(exited)) => Some(exited),
        _ => None,
    });
    let exited = format!("{:?}", exited.unwrap().exit);
    assert!(exited.contains('9'), "no signal 9 in {exited}");
    purserd.purser_ok(["wait", "web", "--for=condition=Ready"]);
    let described = purserd.purser_ok(["describe", "pod", "web"]);
    assert!(described.contains("137") || described.contains("SIGKILL"), "{described}");
    let again = running_processes(&purserd.data_dir());
    assert!(again.iter().any(|process| is_main(process.pid) && process != main), "{again:?}");
}
