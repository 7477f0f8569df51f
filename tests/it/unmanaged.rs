//! What nobody looks after: pods whose runtime the node lacks are shown as that, and folders of pods that the journal
//! does not know are removed.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufReader, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use purser_tests::bounded::{self, PATIENCE};
use purser_tests::http;
use purser_tests::purserd::{Purserd, Setup};
use serde_json::Value;

const WEB: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  runtimeClassName: containerd
  containers: [{name: main, image: 'localhost/none:1', imagePullPolicy: Never}]
";

const SLEEPER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: sleeper}
spec:
  runtimeClassName: process
  terminationGracePeriodSeconds: 1
  containers: [{name: main, command: [/bin/sleep, '600']}]
";

fn json(purserd: &Purserd, args: &[&str]) -> Value {
    serde_json::from_str(&purserd.purser_ok(args)).unwrap()
}

fn condition<'a>(pod: &'a Value, kind: &str) -> &'a Value {
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap()
}

/// What `/metrics` says of a series.
fn metric(purserd: &Purserd, series: &str) -> String {
    let mut stream = UnixStream::connect(purserd.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: purser\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = BufReader::new(stream);
    let head = http::read_head(&mut answer).unwrap();
    let text = String::from_utf8(http::read_body(&mut answer, &head).unwrap()).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no `{series}`:\n{text}")).to_owned()
}

#[test]
fn a_pod_whose_runtime_is_gone_is_shown_as_that() {
    // Nothing answers at that socket, which is enough for a pod to be admitted.
    let nobody = tempfile::tempdir().unwrap();
    let setup = Setup { containerd_socket: Some(nobody.path().join("sock")), ..Setup::default() };
    let mut purserd = Purserd::start(&setup);
    purserd.apply(WEB);
    purserd.apply(SLEEPER);
    purserd.purser_ok(["wait", "sleeper", "--for=condition=Ready"]);
    bounded::until("containerd is known to be away", || {
        condition(&json(&purserd, &["get", "pod", "web", "-o", "json"]), "RuntimeAvailable")["reason"]
            == "RuntimeDown"
    });
    assert_eq!(metric(&purserd, "purser_pods_unmanaged"), "0");
    assert!(purserd.stop().success());
    let config = fs::read_to_string(purserd.config()).unwrap();
    let without = config
        .replace("\"always\"", "\"never\"")
        .replace("default = \"containerd\"", "default = \"process\"");
    fs::write(purserd.config(), without).unwrap();
    purserd.restart();
    let web = json(&purserd, &["get", "pod", "web", "-o", "json"]);
    let available = condition(&web, "RuntimeAvailable");
    assert_eq!((&available["status"], &available["reason"]), (&"False".into(), &"RuntimeMissing".into()));
    let sleeper = json(&purserd, &["get", "pod", "sleeper", "-o", "json"]);
    assert_eq!(condition(&sleeper, "RuntimeAvailable")["status"], "True");
    let list = purserd.purser_ok(["get", "pods"]);
    let row = list.lines().find(|line| line.starts_with("web")).unwrap();
    assert!(row.contains("RuntimeMissing"), "{list}");
    let described = purserd.purser_ok(["describe", "web"]);
    assert!(described.contains("this node does not have the runtime `containerd` now"), "{described}");
    let status = json(&purserd, &["status", "-o", "json"]);
    assert_eq!(status["unmanagedPods"], serde_json::json!(["default/web"]));
    assert_eq!(status["runtimes"]["containerd"]["up"], false);
    assert_eq!(metric(&purserd, "purser_pods_unmanaged"), "1");
    assert_eq!(metric(&purserd, "purser_runtime_up{runtime=\"containerd\"}"), "0");
}

#[test]
fn folders_of_pods_that_the_journal_does_not_know_are_removed_at_the_start() {
    let mut purserd = Purserd::start(&Setup::default());
    purserd.apply(SLEEPER);
    purserd.purser_ok(["wait", "sleeper", "--for=condition=Ready"]);
    let uid = json(&purserd, &["get", "pod", "sleeper", "-o", "json"])["metadata"]["uid"].clone();
    let pods = purserd.data_dir().join("pods");
    let own = pods.join(uid.as_str().unwrap());
    purserd.kill9();
    let elsewhere = purserd.folder().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("precious"), "").unwrap();
    let unknown = pods.join("019a0000-0000-7000-8000-0000000000aa");
    fs::create_dir_all(unknown.join("volumes/cache")).unwrap();
    fs::write(unknown.join("volumes/cache/file"), "left").unwrap();
    let foreign = [pods.join("notes"), pods.join("019A0000-0000-7000-8000-0000000000AB")];
    for folder in &foreign {
        fs::create_dir(folder).unwrap();
    }
    let link = pods.join("019a0000-0000-7000-8000-0000000000ac");
    symlink(&elsewhere, &link).unwrap();
    purserd.restart();
    bounded::until("the folder is removed", || !unknown.exists());
    for kept in [&own, &foreign[0], &foreign[1], &link, &elsewhere.join("precious")] {
        assert!(kept.exists(), "{}", kept.display());
    }
    purserd.purser_ok(["exec", "sleeper", "--", "/bin/true"]);
    let told = "removed the folder of a pod that the journal does not know";
    bounded::until("it is told", || purserd.log().contains(told));
}

/// The control group in which a process's pod has its own.
fn base_of(pid: u64) -> Vec<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let ours = groups.lines().filter_map(|line| line.rsplit(':').next()?.split('/').nth(1));
    let names: BTreeSet<&str> = ours.filter(|name| name.starts_with("purser-")).collect();
    let mount = Path::new("/sys/fs/cgroup");
    let hierarchies =
        fs::read_dir(mount).unwrap().flatten().map(|entry| entry.path()).chain([mount.to_path_buf()]);
    let places =
        hierarchies.flat_map(|place| names.iter().map(move |name| place.join(name)).collect::<Vec<_>>());
    places.filter(|place| place.is_dir()).collect()
}

#[test]
fn a_service_that_stops_leaves_control_groups_only_where_pods_run() {
    let mut purserd = Purserd::start(&Setup::default());
    purserd.apply(SLEEPER);
    purserd.purser_ok(["wait", "sleeper", "--for=condition=Ready"]);
    let pod = json(&purserd, &["get", "pod", "sleeper", "-o", "json"]);
    let places = base_of(pod["status"]["containerStatuses"][0]["hostPid"].as_u64().unwrap());
    assert!(!places.is_empty(), "this test needs control groups that it may write");
    assert!(purserd.stop().success());
    assert!(places.iter().any(|place| place.is_dir()), "a pod still runs in them");
    purserd.restart();
    purserd.purser_ok(["delete", "sleeper", "--wait"]);
    assert!(purserd.stop().success());
    let left: Vec<_> = places.iter().filter(|place| place.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
}
