//! The agent with the real service, in a container that has nothing of its host: as the container's first process, for a
//! user who is not root.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use purser_tests::binaries::Binaries;
use purser_tests::bounded;
use purser_tests::containerd::Containerd;
use purser_tests::http;
use purser_tests::images::Images;
use purser_tests::purserd::{Purserd, Setup};
use serde_json::{Value, json};

/// Where the container finds the agent.
const AGENT: &str = "/opt/agent";

/// Puts the agent into a folder, with the libraries of this build, which is not a static one. Gives the command that runs it.
fn bring_along(folder: &Path) -> Vec<String> {
    let agent = &Binaries::built().purser_agent;
    fs::create_dir(folder).unwrap();
    fs::copy(agent, folder.join("purser-agent")).unwrap();
    let listing = bounded::output(Command::new("ldd").arg(agent));
    let listing = String::from_utf8(listing.stdout).unwrap();
    let paths = listing.split_whitespace().filter(|word| word.starts_with('/'));
    for path in paths.map(Path::new) {
        fs::copy(path, folder.join(path.file_name().unwrap())).unwrap();
    }
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    let loaders =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let loader = loaders.into_iter().find(|name| name.starts_with("ld-linux"));
    let in_container = |name: &str| format!("{AGENT}/{name}");
    let program = in_container("purser-agent");
    match loader {
        Some(loader) => vec![in_container(&loader), "--library-path".to_owned(), AGENT.to_owned(), program],
        None => vec![program],
    }
}

fn pool(command: &[String], folder: &Path) -> Value {
    json!({
        "apiVersion": "purser.dev/v1", "kind": "Pool", "metadata": {"name": "boxed"},
        "spec": {
            "replicas": {"min": 1, "max": 1},
            "template": {"spec": {
                "restartPolicy": "Never",
                "volumes": [{"name": "tools", "hostPath": {"path": folder, "type": "Directory"}}],
                "containers": [{
                    "name": "agent", "image": "test.invalid/plain:1", "command": command,
                    "securityContext": {"runAsUser": 1000, "runAsGroup": 1000},
                    "volumeMounts": [{"name": "tools", "mountPath": AGENT}],
                }],
            }},
        },
    })
}

#[test]
fn a_container_of_another_user_runs_tasks_and_applies_what_it_planned() {
    let images = Images::folder();
    let containerd = Containerd::start();
    let ground = tempfile::tempdir().unwrap();
    fs::set_permissions(ground.path(), Permissions::from_mode(0o755)).unwrap();
    let tools = ground.path().join("tools");
    let command = bring_along(&tools);
    let mut setup = Setup::with_containerd(&containerd, images.path());
    setup.runtime_more = format!("host-path-roots = [{:?}]", ground.path());
    let purserd = Purserd::start(&setup);
    purserd.apply(&pool(&command, &tools).to_string());
    let ask = |method: &str, path: &str, body: &str| {
        let answer = http::request(&purserd.socket(), method, path, None, body).unwrap();
        assert!(answer.status < 300, "{method} {path}: {answer:?}\n{}", purserd.log());
        answer.body
    };
    let submit = |task: Value| {
        ask("POST", "/v1/pools/boxed/tasks", &task.to_string())["task"].as_str().unwrap().to_owned()
    };
    let until = |task: &str, state: &str| {
        bounded::until(&format!("task {task} is {state}"), || {
            let shown = ask("GET", &format!("/v1/tasks/{task}"), "");
            shown["state"] == state
        });
    };
    let log = |task: &str| http::text(&purserd.socket(), &format!("/v1/tasks/{task}/log")).unwrap();

    let task = submit(json!({"kind": "work", "argv": ["sh", "-c", "id -u; echo parent $PPID"]}));
    until(&task, "success");
    assert!(log(&task).starts_with("1000\nparent 1\n"), "{}", log(&task));

    let (plan, apply) = (["sh", "-c", "echo a plan >plan; exit 2"], ["cat", "plan"]);
    let task = submit(json!({"kind": "plan_and_apply", "workspace": "w", "argv": plan, "applyArgv": apply}));
    until(&task, "apply_pending");
    ask("POST", &format!("/v1/tasks/{task}/confirm"), "");
    until(&task, "applied");
    assert!(log(&task).contains("a plan\n"), "{}", log(&task));
    purserd.purser_ok(["delete", "pool", "boxed", "--wait"]);
}
