//! The operator's command line against a real service.

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

use purser_tests::binaries::Binaries;
use purser_tests::bounded;
use purser_tests::purserd::{Purserd, Setup};

/// A pod whose container says hello and goes on.
const WEB: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  runtimeClassName: process
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    command: [/bin/sh, -c, 'echo one; echo two; exec sleep 600']
    env: [{name: PASSWORD, value: swordfish}]
";

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("purser is not ended by a signal")
}

#[test]
fn a_pod_lives_its_life_by_command_line() {
    let purserd = Purserd::start(&Setup::default());
    assert_eq!(purserd.apply(WEB), "pod/web created\n");
    assert_eq!(purserd.apply(WEB), "pod/web unchanged\n");
    purserd.purser_ok(["wait", "web", "--for=condition=Ready"]);
    let list = purserd.purser_ok(["get", "pods", "-l", "app=web"]);
    let row: Vec<&str> = list.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..4], ["web", "1/1", "Running", "0"], "{list}");
    assert_eq!(purserd.purser_ok(["get", "pods", "-o", "name", "-A"]), "pod/web\n");
    assert!(purserd.purser_ok(["get", "pod/web", "-o", "yaml"]).contains("phase: Running"));
    let described = purserd.purser_ok(["describe", "pod", "web"]);
    assert!(described.contains("pod.started") && described.contains("PASSWORD"), "{described}");
    assert!(!described.contains("swordfish"), "a value of the environment is shown");
    purserd.purser_ok(["stop", "web"]);
    purserd.purser_ok(["wait", "web", "--for=phase=Stopped"]);
    purserd.purser_ok(["start", "web"]);
    purserd.purser_ok(["wait", "web", "--for=condition=Ready"]);
    assert!(purserd.purser_ok(["logs", "web", "--previous"]).contains("one\ntwo\n"));
    assert_eq!(purserd.purser_ok(["delete", "web", "--wait"]), "pod/web deleted\n");
    let gone = purserd.purser(["get", "pods", "web"]);
    assert_eq!(code(&gone), 1);
    assert_eq!(text(&gone.stderr), "purser: there is no pod `default/web`\n");
}

#[test]
fn a_command_gets_its_input_and_gives_its_exit_code() {
    let purserd = Purserd::start(&Setup::default());
    purserd.apply(WEB);
    purserd.purser_ok(["wait", "web", "--for=condition=Ready"]);
    let ended = purserd.purser(["exec", "web", "--", "/bin/sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!(
        (code(&ended), text(&ended.stdout), text(&ended.stderr)),
        (42, "out\n".into(), "err\n".into())
    );
    let absent = purserd.purser(["exec", "web", "--", "/no/such/program"]);
    assert_eq!(code(&absent), 127);
    let said = text(&absent.stderr);
    assert_eq!((said.matches("/no/such/program").count(), said.lines().count()), (1, 1), "{said}");
    let unfit = purserd.purser(["exec", "web", "--", "/etc/passwd"]);
    assert_eq!(code(&unfit), 126, "{}", text(&unfit.stderr));
    let mut cat = purserd
        .command()
        .args(["exec", "web", "-i", "--", "/bin/cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let sent = "line\n".repeat(100_000);
    cat.stdin.take().unwrap().write_all(sent.as_bytes()).unwrap();
    let answered = cat.wait_with_output().unwrap();
    assert!(answered.status.success());
    assert_eq!(text(&answered.stdout), sent);
}

#[test]
fn logs_go_on_until_the_container_ends() {
    let purserd = Purserd::start(&Setup::default());
    purserd.apply(WEB);
    purserd.purser_ok(["wait", "web", "--for=condition=Ready"]);
    let follower = purserd.command().args(["logs", "web", "-f"]).stdout(Stdio::piped()).spawn().unwrap();
    bounded::until("it has said all", || purserd.purser_ok(["logs", "web"]) == "one\ntwo\n");
    assert_eq!(purserd.purser_ok(["logs", "web", "--tail", "1"]), "two\n");
    purserd.purser_ok(["stop", "web"]);
    let followed = follower.wait_with_output().unwrap();
    assert_eq!((code(&followed), text(&followed.stdout)), (0, "one\ntwo\n".to_owned()));
}

#[test]
fn what_is_wrong_is_said_with_its_path_and_place() {
    let purserd = Purserd::start(&Setup::default());
    let path = purserd.folder().join("two.yaml");
    let wrong = WEB.replace("name: web,", "name: two,").replace("command:", "comand:");
    std::fs::write(&path, format!("{WEB}---{wrong}")).unwrap();
    let applied = purserd.purser(["apply".as_ref(), "-f".as_ref(), path.as_os_str()]);
    assert_eq!((code(&applied), text(&applied.stdout)), (1, "pod/web created\n".into()));
    let said = text(&applied.stderr);
    assert!(said.contains("two.yaml, document 2") && said.contains("spec.containers[0].comand:"), "{said}");
    let usage = purserd.purser(["get", "pod", "../web"]);
    assert_eq!(code(&usage), 2);
    let late = purserd.purser(["wait", "web", "--for=delete", "--timeout", "50ms"]);
    assert_eq!(code(&late), 4);
    let said = text(&late.stderr);
    assert!(said.contains("pod `default/web` is ") && said.contains("wanted: that it is gone"), "{said}");
}

#[test]
fn a_file_that_cannot_be_read_does_not_hold_up_the_others() {
    let purserd = Purserd::start(&Setup::default());
    let folder = purserd.folder().join("manifests");
    std::fs::create_dir(&folder).unwrap();
    for (name, content) in [("a-bad.yaml", "kind: [Pod"), ("b-empty.yaml", ""), ("c-web.yaml", WEB)] {
        std::fs::write(folder.join(name), content).unwrap();
    }
    let applied = purserd.purser(["apply".as_ref(), "-f".as_ref(), folder.as_os_str()]);
    assert_eq!((code(&applied), text(&applied.stdout)), (1, "pod/web created\n".into()));
    let said = text(&applied.stderr);
    assert!(said.contains("a-bad.yaml") && said.contains("b-empty.yaml: there is no document"), "{said}");
}

#[test]
fn workers_and_namespaces_are_named() {
    let purserd = Purserd::start(&Setup::default());
    purserd.apply(WEB);
    purserd.purser_ok(["wait", "web", "--for=condition=Ready"]);
    let workers: serde_json::Value =
        serde_json::from_str(&purserd.purser_ok(["get", "workers", "-o", "json"])).unwrap();
    assert_eq!((&workers[0]["namespace"], &workers[0]["pod"]), (&"default".into(), &"web".into()));
    let uid = workers[0]["workerUID"].as_str().unwrap();
    assert_eq!(purserd.purser_ok(["get", "workers", "-o", "name"]), format!("worker/{uid}\n"));
    assert_eq!(code(&purserd.purser(["get", "workers", "nope"])), 1);
    let nobody = purserd.purser(["get", "pods", "-n", "nowhere"]);
    assert_eq!(text(&nobody.stderr), "no pods in namespace `nowhere`\n");
    let events = purserd.purser_ok(["events", "web"]);
    assert!(events.contains("pod/default/web") && events.contains("worker of default/web"), "{events}");
    assert!(!events.contains("icks"), "{events}");
    let unknown = purserd.purser(["events", "nope"]);
    assert_eq!(text(&unknown.stderr), "purser: nothing is known of pod `default/nope`\n");
    let mistyped = purserd.purser(["events", "--type", "pod.startd"]);
    assert_eq!(code(&mistyped), 2);
    assert!(text(&mistyped.stderr).contains("`pod.startd`"), "{}", text(&mistyped.stderr));
}

#[test]
fn a_dry_run_leaves_no_trace() {
    let purserd = Purserd::start(&Setup::default());
    let path = purserd.folder().join("web.yaml");
    std::fs::write(&path, WEB).unwrap();
    let said = purserd.purser_ok(["apply".as_ref(), "--dry-run".as_ref(), "-f".as_ref(), path.as_os_str()]);
    assert_eq!(said, "pod/web created (dry run)\n");
    assert_eq!(purserd.purser_ok(["events", "-t", "pod.", "-o", "json"]), "");
}

#[test]
fn a_cordoned_node_takes_no_new_pods() {
    let purserd = Purserd::start(&Setup::default());
    purserd.purser_ok(["cordon", "--reason", "disk swap"]);
    let path = purserd.folder().join("web.yaml");
    std::fs::write(&path, WEB).unwrap();
    let refused = purserd.purser(["apply".as_ref(), "-f".as_ref(), path.as_os_str()]);
    assert_eq!(code(&refused), 1);
    assert!(text(&refused.stderr).contains("disk swap"));
    purserd.purser_ok(["uncordon"]);
    purserd.apply(WEB);
}

#[test]
fn a_service_that_is_away_is_exit_code_3() {
    let mut purserd = Purserd::start(&Setup::default());
    purserd.kill9();
    let dead = purserd.purser(["get", "pods"]);
    assert_eq!(code(&dead), 3);
    assert!(text(&dead.stderr).contains("nobody answers"), "{}", text(&dead.stderr));
    std::fs::remove_file(purserd.socket()).unwrap();
    let absent = purserd.purser(["get", "pods"]);
    assert_eq!(code(&absent), 3);
    assert!(text(&absent.stderr).contains("no such socket"), "{}", text(&absent.stderr));
}

#[test]
fn a_service_that_goes_away_in_the_middle_is_exit_code_3() {
    let mut purserd = Purserd::start(&Setup::default());
    purserd.apply(WEB);
    purserd.purser_ok(["wait", "web", "--for=condition=Ready"]);
    let spawn = |args: &[&str]| {
        let mut command = purserd.command();
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut followers = [
        spawn(&["exec", "web", "--", "/bin/sh", "-c", "echo up; exec sleep 600"]),
        spawn(&["logs", "web", "-f"]),
        spawn(&["get", "pods", "-w"]),
    ];
    for follower in &mut followers {
        // Its first byte shows that the answer has begun.
        follower.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    }
    purserd.kill9();
    for follower in followers {
        let ended = follower.wait_with_output().unwrap();
        let said = text(&ended.stderr);
        assert_eq!(code(&ended), 3, "{said}");
        assert!(said.contains("purserd went away"), "{said}");
    }
}

#[test]
fn purserd_says_what_is_wrong_by_its_exit_code() {
    let purserd = Purserd::start(&Setup::default());
    let second =
        bounded::output(Command::new(&Binaries::built().purserd).arg("--config").arg(purserd.config()));
    assert_eq!(code(&second), 75, "{}", text(&second.stderr));
    let config = purserd.folder().join("wrong.toml");
    std::fs::write(&config, "[api]\nsockt = \"/a\"\n").unwrap();
    let mut check = Command::new(&Binaries::built().purserd);
    let wrong = bounded::output(check.arg("check-config").arg("--config").arg(&config));
    assert_eq!(code(&wrong), 2);
    assert!(text(&wrong.stderr).contains("`api.sockt`"), "{}", text(&wrong.stderr));
}

#[test]
fn completion_scripts_name_the_verbs() {
    let purserd = Purserd::start(&Setup::default());
    for shell in ["bash", "zsh", "fish"] {
        assert!(purserd.purser_ok(["completion", shell]).contains("describe"), "{shell}");
    }
}
