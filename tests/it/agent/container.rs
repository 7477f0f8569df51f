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
use tempfile::TempDir;

/// Where the container finds the agent.
const AGENT: &str = "/opt/agent";
/// Where it finds the test's ground.
const GROUND: &str = "/ground";

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

/// A service with a pool whose pods are containers. What is declared first goes first.
struct Boxed {
    purserd: Purserd,
    /// The agent's command.
    command: Vec<String>,
    ground: TempDir,
    _containerd: Containerd,
    _images: TempDir,
}

impl Boxed {
    /// With so many pods at least and at most.
    fn with(min: u32, max: u32) -> Boxed {
        let images = Images::folder();
        let containerd = Containerd::start();
        let ground = tempfile::tempdir().unwrap();
        // Somebody else writes into it.
        fs::set_permissions(ground.path(), Permissions::from_mode(0o777)).unwrap();
        let command = bring_along(&ground.path().join("tools"));
        let mut setup = Setup::with_containerd(&containerd, images.path());
        setup.runtime_more = format!("host-path-roots = [{:?}]", ground.path());
        let purserd = Purserd::start(&setup);
        let boxed = Boxed { purserd, command, ground, _containerd: containerd, _images: images };
        boxed.set(min, max);
        boxed
    }

    /// Has the pool have so many pods at least and at most.
    fn set(&self, min: u32, max: u32) {
        let (ground, tools) = (self.ground.path(), self.ground.path().join("tools"));
        let pool = json!({
            "apiVersion": "purser.dev/v1", "kind": "Pool", "metadata": {"name": "boxed"},
            "spec": {
                "replicas": {"min": min, "max": max},
                "scaling": {"stabilizationSeconds": {"up": 0, "down": 0}},
                "template": {"spec": {
                    "restartPolicy": "Never",
                    "volumes": [
                        {"name": "tools", "hostPath": {"path": tools, "type": "Directory"}},
                        {"name": "ground", "hostPath": {"path": ground, "type": "Directory"}},
                    ],
                    "containers": [{
                        "name": "agent", "image": "test.invalid/plain:1", "command": self.command,
                        "securityContext": {"runAsUser": 1000, "runAsGroup": 1000},
                        "volumeMounts": [
                            {"name": "tools", "mountPath": AGENT}, {"name": "ground", "mountPath": GROUND},
                        ],
                    }],
                }},
            },
        });
        self.purserd.apply(&pool.to_string());
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let answer = http::request(&self.purserd.socket(), method, path, None, body).unwrap();
        assert!(answer.status < 300, "{method} {path}: {answer:?}\n{}", self.purserd.log());
        answer.body
    }

    #[track_caller]
    fn submit(&self, task: &Value) -> String {
        let answer = self.ask("POST", "/v1/pools/boxed/tasks", &task.to_string());
        answer["task"].as_str().unwrap().to_owned()
    }

    /// Waits until a task is so far.
    #[track_caller]
    fn until(&self, task: &str, state: &str) -> Value {
        let shown = || self.ask("GET", &format!("/v1/tasks/{task}"), "");
        bounded::until(&format!("task {task} is {state}"), || shown()["state"] == state);
        shown()
    }

    fn log(&self, task: &str) -> String {
        http::text(&self.purserd.socket(), &format!("/v1/tasks/{task}/log")).unwrap()
    }

    /// The members in this state, of those that there are.
    fn members(&self, state: &str) -> (Vec<u64>, usize) {
        let pool = self.ask("GET", "/v1/pools/boxed", "");
        let members = pool["status"]["members"].as_array().cloned().unwrap_or_default();
        let so = members.iter().filter(|member| member["state"] == state);
        (so.filter_map(|member| member["member"].as_u64()).collect(), members.len())
    }
}

#[test]
fn a_container_of_another_user_runs_tasks_and_applies_what_it_planned() {
    let boxed = Boxed::with(1, 1);
    let task = boxed.submit(&json!({"kind": "work", "argv": ["sh", "-c", "id -u; echo parent $PPID"]}));
    boxed.until(&task, "success");
    assert!(boxed.log(&task).starts_with("1000\nparent 1\n"), "{}", boxed.log(&task));

    let (plan, apply) = (["sh", "-c", "echo a plan >plan; exit 2"], ["cat", "plan"]);
    let task =
        boxed.submit(&json!({"kind": "plan_and_apply", "workspace": "w", "argv": plan, "applyArgv": apply}));
    boxed.until(&task, "apply_pending");
    boxed.ask("POST", &format!("/v1/tasks/{task}/confirm"), "");
    boxed.until(&task, "applied");
    assert!(boxed.log(&task).contains("a plan\n"), "{}", boxed.log(&task));
    boxed.purserd.purser_ok(["delete", "pool", "boxed", "--wait"]);
}

/// The cases that slot pools were first planned with, with containers as pods.
#[test]
fn three_plans_run_in_one_container_and_one_that_keeps_a_plan_outlives_those_that_do_not() {
    let boxed = Boxed::with(1, 1);
    let plan = |number: u32| {
        let script = format!(
            "touch {GROUND}/begun-{number}; n=0; until [ -e {GROUND}/gate ]; do sleep 0.1; n=$((n+1)); \
             [ $n -lt 600 ] || exit 9; done"
        );
        boxed.submit(&json!({"kind": "plan", "argv": ["sh", "-c", script]}))
    };
    let plans = [0, 1, 2].map(plan);
    let has_begun = |number: u32| boxed.ground.path().join(format!("begun-{number}")).exists();
    bounded::until("all three run at once", || [0, 1, 2].into_iter().all(has_begun));
    let places = plans.each_ref().map(|task| boxed.until(task, "running")["slot"].clone());
    assert!(places.iter().all(|place| place["member"] == 1), "{places:?}");
    fs::write(boxed.ground.path().join("gate"), "").unwrap();
    for task in &plans {
        assert_eq!(boxed.until(task, "planned_and_finished")["attempts"], 1);
    }

    let (plan, apply) = (["sh", "-c", "echo a plan >plan; exit 2"], ["cat", "plan"]);
    let kept =
        boxed.submit(&json!({"kind": "plan_and_apply", "workspace": "w", "argv": plan, "applyArgv": apply}));
    boxed.until(&kept, "apply_pending");
    boxed.set(2, 2);
    bounded::until("there is another", || boxed.members("connected") == (vec![1, 2], 2));
    boxed.set(0, 1);
    bounded::until("the idle one is gone", || boxed.members("connected") == (vec![1], 1));
    boxed.ask("POST", &format!("/v1/tasks/{kept}/confirm"), "");
    assert_eq!(boxed.until(&kept, "applied")["attempts"], 1);
    assert!(boxed.log(&kept).contains("a plan\n"), "{}", boxed.log(&kept));
    boxed.purserd.purser_ok(["delete", "pool", "boxed", "--wait"]);
}
