//! What the operator's command line says is true: of pods that end, of a service that goes away, and of what it cannot do.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};

use purser_tests::purserd::{Purserd, Setup};

/// A pod that ends once something is written to its fifo, and not before.
const SLOW: &str = "
apiVersion: v1
kind: Pod
metadata: {name: slow}
spec:
  runtimeClassName: process
  terminationGracePeriodSeconds: 300
  containers:
  - name: main
    command: [/bin/sh, -c, 'trap \"echo asked; read line <FIFO; exit 0\" TERM; echo up; while :; do sleep 600 & wait; done']
";

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("purser is not ended by a signal")
}

/// A service with the pod `slow`, up, and the fifo that lets the pod end.
fn with_slow_pod() -> (Purserd, PathBuf) {
    let purserd = Purserd::start(&Setup::default());
    let fifo = purserd.folder().join("end");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    purserd.apply(&SLOW.replace("FIFO", &fifo.display().to_string()));
    purserd.purser_ok(["wait", "slow", "--for=condition=Ready"]);
    let mut follower = follow(&purserd);
    follower.kill().unwrap();
    follower.wait().unwrap();
    (purserd, fifo)
}

/// Follows the output of the pod `slow`; it has set its trap once it says a word.
fn follow(purserd: &Purserd) -> Child {
    let mut command = purserd.command();
    let command = command.args(["logs", "slow", "-f"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut follower = command.spawn().unwrap();
    follower.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
    follower
}

fn write(purserd: &Purserd, name: &str, content: &str) -> PathBuf {
    let path = purserd.folder().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn a_pod_is_called_stopped_once_it_has_stopped() {
    let (purserd, fifo) = with_slow_pod();
    for _ in 0..2 {
        assert_eq!(purserd.purser_ok(["stop", "slow", "--wait=false"]), "pod/slow is stopping\n");
    }
    let late = purserd.purser(["stop", "slow", "--timeout", "50ms"]);
    assert_eq!((code(&late), text(&late.stdout)), (4, String::new()));
    let said = text(&late.stderr);
    // How it stands is asked once more, for two seconds at most.
    let stands = ["Stopping", "in a state that purserd does not tell now"];
    assert!(stands.iter().any(|it| said.contains(&format!("pod `default/slow` is {it}"))), "{said}");
    let waiting = purserd.command().args(["stop", "slow"]).stdout(Stdio::piped()).spawn().unwrap();
    std::fs::write(&fifo, "now\n").unwrap();
    let stopped = waiting.wait_with_output().unwrap();
    assert_eq!((code(&stopped), text(&stopped.stdout)), (0, "pod/slow stopped\n".to_owned()));
    assert_eq!(purserd.purser_ok(["stop", "slow"]), "pod/slow stopped\n");
    assert_eq!(purserd.purser_ok(["stop", "slow", "--wait=false"]), "pod/slow has stopped\n");
    assert_eq!(purserd.purser_ok(["start", "slow"]), "pod/slow is starting\n");
    assert_eq!(purserd.purser_ok(["start", "slow"]), "pod/slow was started already\n");
}

#[test]
fn an_output_that_the_service_leaves_is_not_taken_for_a_whole_one() {
    let (mut purserd, fifo) = with_slow_pod();
    let left = follow(&purserd);
    assert!(purserd.stop().success());
    let left = left.wait_with_output().unwrap();
    assert_eq!(code(&left), 3, "{}", text(&left.stderr));
    let said = text(&left.stderr);
    assert!(said.contains("purserd went away") && said.contains("the container had not ended"), "{said}");
    purserd.restart();
    let whole = follow(&purserd);
    purserd.purser_ok(["stop", "slow", "--wait=false"]);
    std::fs::write(&fifo, "now\n").unwrap();
    let whole = whole.wait_with_output().unwrap();
    assert_eq!((code(&whole), text(&whole.stdout)), (0, "asked\n".to_owned()), "{}", text(&whole.stderr));
}

#[test]
fn a_manifest_that_cannot_be_read_does_not_hold_up_a_delete() {
    let (purserd, _) = with_slow_pod();
    let folder = purserd.folder().join("manifests");
    std::fs::create_dir(&folder).unwrap();
    for (name, content) in
        [("a-bad.yaml", "kind: [Pod"), ("b-nameless.yaml", "kind: Pod"), ("c-slow.yaml", SLOW)]
    {
        std::fs::write(folder.join(name), content).unwrap();
    }
    let args = [
        "delete".as_ref(),
        "--grace-period=0".as_ref(),
        "--wait".as_ref(),
        "-f".as_ref(),
        folder.as_os_str(),
    ];
    let deleted = purserd.purser(args);
    assert_eq!((code(&deleted), text(&deleted.stdout)), (1, "pod/slow deleted\n".to_owned()));
    let said = text(&deleted.stderr);
    assert!(
        said.contains("a-bad.yaml") && said.contains("b-nameless.yaml: metadata.name: is missing"),
        "{said}"
    );
}

#[test]
fn a_reason_that_was_given_outlives_a_cordon_without_one() {
    let purserd = Purserd::start(&Setup::default());
    let shown = || purserd.purser_ok(["status"]);
    purserd.purser_ok(["cordon"]);
    assert!(shown().contains("cordoned by an operator"), "{}", shown());
    purserd.purser_ok(["cordon", "--reason", "disk swap"]);
    purserd.purser_ok(["cordon"]);
    assert!(shown().contains("disk swap"), "{}", shown());
}

#[test]
fn a_terminal_is_refused_in_words() {
    let (purserd, _) = with_slow_pod();
    for option in ["-t", "-it"] {
        let refused = purserd.purser(["exec", "slow", option, "--", "/bin/true"]);
        assert_eq!(code(&refused), 2);
        assert!(
            text(&refused.stderr).contains("there are no terminals (-t) yet"),
            "{}",
            text(&refused.stderr)
        );
    }
}

#[test]
fn a_pod_is_described_in_lines_and_with_the_reason_of_a_failed_start() {
    let purserd = Purserd::start(&Setup::default());
    let path = write(
        &purserd,
        "broken.yaml",
        "
apiVersion: v1
kind: Pod
metadata: {name: broken}
spec:
  runtimeClassName: process
  restartPolicy: Never
  containers:
  - name: main
    command: [/no/such/program]
    resources: {limits: {cpu: 500m, memory: 64Mi}}
    ports: [{containerPort: 9125, name: http}]
    livenessProbe: {httpGet: {port: http, path: /healthz}, periodSeconds: 3}
",
    );
    purserd.purser_ok(["apply".as_ref(), "-f".as_ref(), path.as_os_str()]);
    purserd.purser_ok(["wait", "broken", "--for=phase=Failed"]);
    let described = purserd.purser_ok(["describe", "pod", "broken"]);
    let field = |name: &str| {
        let line = described.lines().find_map(|line| line.trim().strip_prefix(&format!("{name}:")));
        line.unwrap_or_else(|| panic!("no `{name}`:\n{described}")).trim().to_owned()
    };
    assert!(field("State").starts_with("StartError"), "{described}");
    assert!(field("Start error").contains("/no/such/program"), "{described}");
    assert!(field("Limits").starts_with("cpu 500m, memory 64Mi"), "{described}");
    assert_eq!(field("Ports"), "9125/TCP (http)");
    assert_eq!(field("liveness"), "GET http://:9125/healthz, every 3 s, timeout 1 s, fails after 3");
}
