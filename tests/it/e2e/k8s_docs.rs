//! Examples of Kubernetes' documentation, applied unchanged to a node on containerd. Their images come from a
//! registry that stands in for the well-known ones, and are small stand-ins themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use purser_tests::bounded::{self, PATIENCE};
use purser_tests::registry::Registry;

use super::containers::limit;
use super::stage::{Runtime, Stage, pid_of, status_of};

/// A tag of the test images, and what it stands in for, without the registry's host.
const STAND_INS: [(&str, &str); 15] = [
    ("tools", "library/bash:latest"),
    ("tools", "library/busybox:1.28"),
    ("tools", "library/busybox:latest"),
    ("tools", "library/debian:latest"),
    ("tools", "busybox:1.27.2"),
    ("stress", "polinux/stress:latest"),
    ("stress", "vish/stress:latest"),
    ("stress", "library/redis:latest"),
    ("web", "library/nginx:1.14.2"),
    ("web", "library/nginx:latest"),
    ("web", "test-webserver:latest"),
    ("app", "google-samples/hello-app:2.0"),
    ("app", "goproxy:0.1"),
    ("agnhost", "e2e-test-images/agnhost:2.40"),
    ("tools", "library/alpine:latest"),
];

/// How an example is to turn out.
type Check = fn(&Stage);

/// Each example, its pod, and what it shows. Those that serve on the same port of the node come one by one.
const EXAMPLES: [(&str, &str, Check); 23] = [
    ("commands", "command-demo", is_told_that_there_are_no_services),
    ("print-greeting", "print-greeting", greets),
    ("dependent-envars", "dependent-envars-demo", has_dependent_variables),
    ("envars", "envar-demo", has_variables),
    ("cpu-request-limit", "cpu-example/cpu-demo", is_held_to_a_core),
    ("memory-request-limit", "mem-example/memory-demo", is_held_to_200_mebibytes),
    ("qos-guaranteed", "qos-example/qos-demo", is_held_to_both),
    ("security-context-user", "security-context-demo", runs_as_user_and_groups),
    ("security-context-2", "security-context-demo-2", runs_as_the_containers_user),
    ("redis", "redis", |stage| drop(stage.until_ready("redis"))),
    ("termination-grace", "termination-demo", |stage| drop(stage.until_ready("termination-demo"))),
    ("hostpath", "hostpath-example-linux", has_no_such_folder),
    ("simple-pod", "nginx", |stage| serves(stage, "nginx", "stand-in\n")),
    ("kubectl-dry-run", "nginx", |stage| serves(stage, "nginx", "stand-in\n")),
    ("image-pull-policy", "pull-demo", |stage| serves(stage, "pull-demo", "stand-in\n")),
    ("extended-resource", "extended-resource-demo", |stage| {
        serves(stage, "extended-resource-demo", "stand-in\n");
    }),
    ("two-container-pod", "two-containers", shares_a_page),
    ("init-containers", "init-demo", |stage| {
        serves(stage, "init-demo", "stand-in for http://info.cern.ch\n");
    }),
    ("host-network", "shell-demo", serves_what_a_shell_wrote),
    ("tcp-liveness-readiness", "goproxy", |stage| drop(stage.until_ready("goproxy"))),
    ("startup-probe", "startup-demo", |stage| drop(stage.until_ready("startup-demo"))),
    ("http-liveness", "liveness-http", |stage| drop(stage.until_restarted("liveness-http", "liveness", 1))),
    ("exec-liveness", "liveness-exec", is_restarted_by_its_command),
];

fn is_told_that_there_are_no_services(stage: &Stage) {
    // `KUBERNETES_PORT` comes with Kubernetes' services: without it the command fails and is tried again.
    stage.until("command-demo", |pod| 1 <= restarts(pod, "command-demo-container"));
    let exits = stage.events("command-demo", "pod.container-exited");
    assert_eq!(exits[0]["exit"]["code"], 1, "{exits:?}");
}

fn greets(stage: &Stage) {
    stage.until_event("pod.restart-scheduled", |event| event["container"] == "env-print-demo");
    stage.until("print-greeting", |pod| 1 < restarts(pod, "env-print-demo"));
    let said = stage.purser("logs print-greeting --previous");
    assert_eq!(said, "Warm greetings to The Most Honorable Kubernetes\n");
}

fn restarts(pod: &serde_json::Value, container: &str) -> u64 {
    status_of(pod, container)["restartCount"].as_u64().unwrap_or(0)
}

fn has_dependent_variables(stage: &Stage) {
    stage.until_ready("dependent-envars-demo");
    let names = "SERVICE_ADDRESS UNCHANGED_REFERENCE ESCAPED_REFERENCE";
    let values = stage.purser(&format!("exec dependent-envars-demo -- printenv {names}"));
    let unexpanded = "$(PROTOCOL)://172.17.0.1:80";
    assert_eq!(values, format!("https://172.17.0.1:80\n{unexpanded}\n{unexpanded}\n"));
}

fn has_variables(stage: &Stage) {
    stage.until_ready("envar-demo");
    let values = stage.purser("exec envar-demo -- printenv DEMO_GREETING DEMO_FAREWELL");
    assert_eq!(values, "Hello from the environment\nSuch a sweet sorrow\n");
}

fn is_held_to_a_core(stage: &Stage) {
    let pid = pid_of(&stage.until_ready("cpu-example/cpu-demo"), "cpu-demo-ctr");
    assert_eq!(limit(pid, "cpu", "cpu.cfs_quota_us", "cpu.max").split(' ').next(), Some("100000"));
}

fn is_held_to_200_mebibytes(stage: &Stage) {
    let pid = pid_of(&stage.until_ready("mem-example/memory-demo"), "memory-demo-ctr");
    assert_eq!(limit(pid, "memory", "memory.limit_in_bytes", "memory.max"), (200 << 20).to_string());
}

fn is_held_to_both(stage: &Stage) {
    let pid = pid_of(&stage.until_ready("qos-example/qos-demo"), "qos-demo-ctr");
    assert_eq!(limit(pid, "memory", "memory.limit_in_bytes", "memory.max"), (200 << 20).to_string());
    assert_eq!(limit(pid, "cpu", "cpu.cfs_quota_us", "cpu.max").split(' ').next(), Some("70000"));
}

fn runs_as_user_and_groups(stage: &Stage) {
    stage.until_ready("security-context-demo");
    let script = "id -u; id -g; cd /data/demo && echo hello > testfile && stat -c %u:%g testfile; \
                  grep NoNewPrivs /proc/self/status";
    let said = stage.shell("security-context-demo", "sec-ctx-demo", script);
    assert_eq!(said, "1000\n3000\n1000:2000\nNoNewPrivs:\t1\n");
}

fn runs_as_the_containers_user(stage: &Stage) {
    let pod = stage.until_ready("security-context-demo-2");
    assert_eq!(stage.shell("security-context-demo-2", "sec-ctx-demo-2", "id -u"), "2000\n");
    let status = super::stage::read(format!("/proc/{}/status", pid_of(&pod, "sec-ctx-demo-2")));
    assert!(status.contains("Uid:\t2000\t2000") && status.contains("NoNewPrivs:\t1"), "{status}");
}

fn has_no_such_folder(stage: &Stage) {
    // No host that runs tests has to have `/data/foo`.
    let pod = stage.until("hostpath-example-linux", |pod| pod["status"]["reason"] == "ErrVolume");
    assert!(pod["status"]["message"].as_str().unwrap_or_default().contains("/data/foo"), "{pod}");
}

fn serves(stage: &Stage, pod: &str, page: &str) {
    stage.until_ready(pod);
    assert_eq!(fetch(80), page);
}

fn shares_a_page(stage: &Stage) {
    stage.until("two-containers", |pod| status_of(pod, "debian-container")["word"] == "Completed");
    assert_eq!(fetch(80), "Hello from the debian container\n");
    // It served before the node had noted that it was up.
    stage.until("two-containers", |pod| status_of(pod, "nginx-container")["word"] == "Running");
}

fn serves_what_a_shell_wrote(stage: &Stage) {
    stage.until_ready("shell-demo");
    stage.shell("shell-demo", "nginx", "echo Hello shell demo > /usr/share/nginx/html/index.html");
    assert_eq!(fetch(80), "Hello shell demo\n");
}

fn is_restarted_by_its_command(stage: &Stage) {
    stage.until_restarted("liveness-exec", "liveness", 1);
    let failed = stage.events("liveness-exec", "pod.probe-failed");
    assert_eq!(failed[0]["failures"], 3, "{failed:?}");
}

/// Fetches the front page of a server on loopback. A container that runs may not listen yet.
#[track_caller]
fn fetch(port: u16) -> String {
    let connect = || TcpStream::connect(("127.0.0.1", port));
    bounded::until(&format!("somebody serves on port {port}"), || connect().is_ok());
    let mut stream = connect().expect("a server that listens goes on to");
    stream.set_read_timeout(Some(PATIENCE)).expect("the time is not zero");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the server answers");
    let (head, page) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    assert!(head.contains(" 200 "), "{head}");
    page.to_owned()
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("k8s-docs").join(name)
}

fn examples_in(name: &str) -> BTreeMap<String, PathBuf> {
    let entries = std::fs::read_dir(folder(name)).expect("the examples are there");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let named = paths.map(|path| (path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), path));
    named.collect()
}

fn stage_on_mirrors(registry: &Registry) -> Stage {
    let hosts = ["docker.io", "registry.k8s.io", "gcr.io"];
    let mirrors = hosts.map(|host| format!("{host:?} = [\"http://{}\"]\n", registry.host)).concat();
    let counted = "[resources.custom]\n\"example.com/dongle\" = 4\n";
    Stage::with(Runtime::Containerd, &format!("[containerd.mirrors]\n{mirrors}{counted}"))
}

fn apply(stage: &Stage, path: &Path) -> std::process::Output {
    stage.purserd.purser([OsStr::new("apply"), OsStr::new("-f"), path.as_os_str()])
}

#[test]
fn examples_with_supported_fields_run_unchanged() {
    let files = examples_in("accepted");
    let known: BTreeSet<&str> = EXAMPLES.iter().map(|(name, _, _)| *name).collect();
    assert_eq!(files.keys().map(String::as_str).collect::<BTreeSet<_>>(), known, "each has its outcome");
    let registry = Registry::start();
    for (tag, repository) in STAND_INS {
        registry.push(tag, repository);
    }
    let stage = stage_on_mirrors(&registry);
    let start = |name: &str, pod: &str| {
        let applied = apply(&stage, &files[name]);
        let said = String::from_utf8_lossy(&applied.stderr);
        assert!(applied.status.success(), "{name}: {said}");
        assert_eq!(String::from_utf8_lossy(&applied.stdout), format!("pod/{pod} created\n"), "{name}");
    };
    // The slow one goes on beside the others: its probe fails after half a minute, its grace is as long.
    let slow = "exec-liveness";
    start(slow, "liveness-exec");
    for (name, pod, check) in EXAMPLES {
        if name != slow {
            start(name, pod);
        }
        println!("{name}");
        check(&stage);
        stage.purser(&format!("delete {pod} --wait --grace-period 0"));
    }
    stage.audit();
    stage.assert_nothing_left();
}

#[test]
fn examples_with_unsupported_fields_are_refused_by_their_paths() {
    let stage = Stage::on(Runtime::Containerd);
    for (name, path) in examples_in("refused") {
        let text = std::fs::read_to_string(&path).expect("an example can be read");
        let named: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# refused: ")).collect();
        assert!(!named.is_empty(), "{name} does not say what is refused");
        let applied = apply(&stage, &path);
        let said = String::from_utf8_lossy(&applied.stderr);
        assert_eq!((applied.status.code(), applied.stdout.len()), (Some(1), 0), "{name}: {said}");
        let fields = said.lines().filter_map(|line| line.strip_prefix("  ")?.split_once(": "));
        let paths: BTreeSet<&str> = fields.map(|(path, _)| path).collect();
        assert_eq!(paths, named, "{name}: {said}");
    }
    assert_eq!(stage.purser("events -t pod. -o json"), "", "a refused pod left a record");
}
