//! A service with one pool whose pods run the agent, and tasks for it that wait for a word of the test.

use std::fs;
use std::path::PathBuf;

use purser_tests::binaries::Binaries;
use purser_tests::purserd::{Purserd, Setup};
use purser_tests::{bounded, http};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The pool.
pub(super) const POOL: &str = "iac";

/// What a pool of a test is, beside what all are.
pub(super) struct Shape {
    pub(super) policy: &'static str,
    pub(super) slots: u8,
    pub(super) min: u32,
    pub(super) max: u32,
}

/// A service with a pool. Its tasks are shells that write into, and wait for, files in a folder of the test.
pub(super) struct Stage {
    pub(super) purserd: Purserd,
    /// Where what the pool refers to is looked for.
    pub(super) references: TempDir,
}

impl Stage {
    /// A service with this pool.
    pub(super) fn with(shape: &Shape) -> Stage {
        Stage::of(&Stage::manifest(shape))
    }

    /// A service with the pool of a manifest.
    pub(super) fn of(manifest: &Value) -> Stage {
        // Tasks come and go in one go, from one caller.
        let references = tempfile::tempdir().unwrap();
        let setup = Setup {
            api_more: "requests-per-second = 10000\nrequests-burst = 10000".to_owned(),
            more: format!("[pools]\nreferences-dir = {:?}", references.path()),
            ..Setup::default()
        };
        let stage = Stage { purserd: Purserd::start(&setup), references };
        stage.purserd.apply(&manifest.to_string());
        stage
    }

    /// Has the pool be this.
    pub(super) fn set_pool(&self, shape: &Shape) {
        self.purserd.apply(&Stage::manifest(shape).to_string());
    }

    /// Has the pool be this, with so much processor time and memory for each pod at most.
    pub(super) fn set_sized_pool(&self, shape: &Shape, cpu: &str, memory: &str) {
        self.purserd.apply(&Stage::sized(shape, cpu, memory).to_string());
    }

    /// The manifest of a pool with so much processor time and memory for each pod at most.
    pub(super) fn sized(shape: &Shape, cpu: &str, memory: &str) -> Value {
        let mut manifest = Stage::manifest(shape);
        let container = &mut manifest["spec"]["template"]["spec"]["containers"][0];
        container["resources"] = json!({ "limits": { "cpu": cpu, "memory": memory } });
        manifest
    }

    /// The manifest of a pool.
    pub(super) fn manifest(shape: &Shape) -> Value {
        let agent = &Binaries::built().purser_agent;
        json!({
            "apiVersion": "purser.dev/v1", "kind": "Pool", "metadata": { "name": POOL },
            "spec": {
                "replicas": { "min": shape.min, "max": shape.max },
                "slots": { "policy": shape.policy, "count": shape.slots },
                "template": { "spec": {
                    "runtimeClassName": "process", "restartPolicy": "Never", "terminationGracePeriodSeconds": 5,
                    "containers": [{ "name": "agent", "command": [agent, "--log-level", "debug"] }],
                } },
                "scaling": { "stabilizationSeconds": { "up": 0, "down": 0 } },
                "tasks": { "backOffSeconds": { "first": 0, "max": 1 }, "attempts": 20 },
                "agents": { "offlineAfterSeconds": 30 },
                "secretRefs": [{ "name": "cloud" }],
            },
        })
    }

    /// A file that tasks know by `$GROUND/NAME`.
    pub(super) fn ground(&self, name: &str) -> PathBuf {
        self.purserd.folder().join(name)
    }

    /// Hands in a task that runs this in a shell; gives its id.
    #[track_caller]
    pub(super) fn submit(&self, kind: &str, script: &str) -> String {
        self.hand_in(json!({ "kind": kind, "argv": ["sh", "-c", script] }))
    }

    /// Hands in a plan with its apply.
    #[track_caller]
    pub(super) fn submit_plan_and_apply(&self, plan: &str, apply: &str) -> String {
        let (plan, apply) = (["sh", "-c", plan], ["sh", "-c", apply]);
        self.hand_in(json!({ "kind": "plan_and_apply", "argv": plan, "applyArgv": apply, "workspace": "w" }))
    }

    /// Hands in a task; gives its id.
    #[track_caller]
    pub(super) fn hand_in(&self, mut task: Value) -> String {
        task["env"] = json!({ "GROUND": self.purserd.folder() });
        let answer = self.ask("POST", &format!("/v1/pools/{POOL}/tasks"), &task.to_string());
        answer["task"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// What a request is answered with.
    #[track_caller]
    pub(super) fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let answer = http::request(&self.purserd.socket(), method, path, None, body).unwrap();
        assert!(answer.status < 300, "{method} {path}: {answer:?}\n{}", self.purserd.log());
        answer.body
    }

    /// A task as the API shows it.
    #[track_caller]
    pub(super) fn task(&self, id: &str) -> Value {
        self.ask("GET", &format!("/v1/tasks/{id}"), "")
    }

    /// The pool as the API shows it.
    #[track_caller]
    pub(super) fn pool(&self) -> Value {
        self.ask("GET", &format!("/v1/pools/{POOL}"), "")
    }

    /// The members of the pool that are in this state.
    pub(super) fn members(&self, state: &str) -> Vec<u64> {
        let pool = self.pool();
        let members = pool["status"]["members"].as_array().cloned().unwrap_or_default();
        let is_so = |member: &&Value| member["state"] == state;
        members.iter().filter(is_so).filter_map(|member| member["member"].as_u64()).collect()
    }

    /// Waits until a task is so far.
    #[track_caller]
    pub(super) fn await_state(&self, id: &str, state: &str) -> Value {
        bounded::until(&format!("task {id} is {state}\n{}\n{}", self.task(id), self.purserd.log()), || {
            self.task(id)["state"] == state
        });
        self.task(id)
    }

    /// Waits until a task has made a file.
    #[track_caller]
    pub(super) fn await_file(&self, name: &str) {
        let path = self.ground(name);
        bounded::until(&format!("{name} is there\n{}", self.purserd.log()), || path.exists());
    }

    /// Lets tasks go on that wait for this file.
    pub(super) fn open(&self, gate: &str) {
        fs::write(self.ground(gate), "").unwrap();
    }
}

/// A script that says it has begun, waits for a gate and ends with a code. It gives up where a test has.
pub(super) fn waits(begun: &str, gate: &str, code: u8) -> String {
    format!(
        "touch $GROUND/{begun}; n=0; until [ -e $GROUND/{gate} ]; do sleep 0.05; n=$((n+1)); [ $n -lt 4000 ] || exit 9; \
         done; exit {code}"
    )
}
