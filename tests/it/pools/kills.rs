//! Kills at bad moments: of the service, and of agents.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use purser_tests::bounded;
use serde_json::json;

use super::stage::{POOL, Shape, Stage, waits};

/// Tasks of the test with many.
const TASKS: usize = 100;
/// Tasks that have run when the service is killed, each time.
const KILLED_AT: [usize; 3] = [5, 30, 60];

/// What the tasks of the test with many are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Work,
    Plan,
    DriftCheck,
    Apply,
    PlanAndApply,
}

impl Kind {
    /// Some of each, mixed.
    fn of(number: usize) -> Kind {
        match number % 10 {
            0 => Kind::PlanAndApply,
            1 => Kind::Apply,
            2..5 => Kind::Plan,
            5 | 6 => Kind::DriftCheck,
            _ => Kind::Work,
        }
    }

    /// Hands in such a task that runs this in a shell. Applies come one after the other, those with a plan as well.
    fn submit(self, stage: &Stage, script: &str) -> (String, Kind) {
        let argv = |script: &str| json!(["sh", "-c", script]);
        let task = match self {
            Kind::Work => json!({ "kind": "work", "argv": argv(script) }),
            Kind::Plan => json!({ "kind": "plan", "argv": argv(script), "workspace": "planned" }),
            Kind::DriftCheck => json!({ "kind": "drift_check", "argv": argv(script) }),
            Kind::Apply => json!({ "kind": "apply", "argv": argv(script), "workspace": "applied" }),
            Kind::PlanAndApply => {
                let plan = format!("{script}; exit 2");
                json!({ "kind": "plan_and_apply", "argv": argv(&plan), "applyArgv": ["true"], "workspace": "both" })
            }
        };
        (stage.hand_in(task), self)
    }

    /// How such a task ends that goes well.
    fn end(self) -> &'static str {
        match self {
            Kind::Work => "success",
            Kind::Plan | Kind::DriftCheck => "planned_and_finished",
            Kind::Apply | Kind::PlanAndApply => "applied",
        }
    }
}

fn lines(stage: &Stage, name: &str) -> Vec<String> {
    fs::read_to_string(stage.ground(name)).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn a_task_goes_on_while_the_service_is_killed_and_its_result_is_kept() {
    let mut stage = Stage::with(&Shape { policy: "seed", slots: 3, min: 1, max: 1 });
    let task = stage.submit("work", &format!("echo run >> $GROUND/runs; {}", waits("begun", "gate", 7)));
    stage.await_file("begun");
    stage.await_state(&task, "running");
    stage.purserd.kill9();
    stage.open("gate");
    stage.purserd.restart();
    let ended = stage.await_state(&task, "failed");
    assert_eq!((&ended["exitCode"], &ended["attempts"]), (&7.into(), &1.into()), "{ended}");
    assert_eq!(lines(&stage, "runs").len(), 1);
}

#[test]
fn of_a_hundred_tasks_none_is_lost_and_none_runs_twice_unrecorded_while_the_service_is_killed() {
    let mut stage = Stage::with(&Shape { policy: "flexible", slots: 4, min: 2, max: 2 });
    let script =
        "until [ -e $GROUND/gate ]; do sleep 0.02; done; echo $PURSER_TASK >> $GROUND/runs; sleep 0.2";
    let tasks: Vec<(String, Kind)> =
        (0..TASKS).map(|number| Kind::of(number).submit(&stage, script)).collect();
    stage.open("gate");
    for enough in KILLED_AT {
        bounded::until("some have run", || enough <= lines(&stage, "runs").len());
        stage.purserd.kill9();
        stage.purserd.restart();
    }
    let mut runs: BTreeMap<String, u64> = BTreeMap::new();
    for (task, kind) in &tasks {
        if *kind == Kind::PlanAndApply {
            stage.await_state(task, "apply_pending");
            stage.ask("POST", &format!("/v1/tasks/{task}/confirm"), "");
        }
        stage.await_state(task, kind.end());
    }
    lines(&stage, "runs").into_iter().for_each(|task| *runs.entry(task).or_default() += 1);
    for (task, _) in &tasks {
        let (shown, ran) = (stage.task(task), runs.get(task).copied().unwrap_or(0));
        let attempts = shown["attempts"].as_u64().unwrap();
        assert!(1 <= ran, "{shown} has ended well and never ran");
        assert!(ran <= attempts, "it ran {ran} times, and {attempts} are on record: {shown}");
    }
}

/// Upstream's task-598: after a restart busy pods looked idle, and went with the plans that people had yet to confirm.
#[test]
fn a_pod_that_keeps_a_plan_outlives_kills_though_fewer_pods_are_wanted() {
    let mut stage = Stage::with(&Shape { policy: "seed", slots: 3, min: 2, max: 2 });
    bounded::until("both pods are there", || stage.members("connected").len() == 2);
    let plan = "echo kept > $PURSER_TASK_DIR/plan; exit 2";
    let task = stage.submit_plan_and_apply(plan, "cat $PURSER_TASK_DIR/plan");
    let planned = stage.await_state(&task, "apply_pending");
    let member = planned["slot"]["member"].as_u64().unwrap();
    stage.purserd.kill9();
    stage.purserd.restart();
    stage.set_pool(&Shape { policy: "seed", slots: 3, min: 0, max: 1 });
    bounded::until("the idle pod is gone", || {
        let members = stage.pool()["status"]["members"].as_array().map_or(0, Vec::len);
        members == 1 && stage.members("connected") == [member]
    });
    stage.purserd.kill9();
    stage.purserd.restart();
    bounded::until("its agent is there again", || stage.members("connected") == [member]);
    assert_eq!(stage.task(&task)["slot"], planned["slot"]);
    stage.ask("POST", &format!("/v1/tasks/{task}/confirm"), "");
    assert_eq!(stage.await_state(&task, "applied")["attempts"], 1);
    let log = purser_tests::http::text(&stage.purserd.socket(), &format!("/v1/tasks/{task}/log")).unwrap();
    assert!(log.contains("kept"), "the apply found what the plan had left: {log:?}");
}

#[test]
fn a_task_whose_agent_is_killed_runs_again_and_that_is_on_record() {
    let stage = Stage::with(&Shape { policy: "seed", slots: 3, min: 1, max: 1 });
    let task = stage.submit("work", &format!("echo $PPID >> $GROUND/agents; {}", waits("begun", "gate", 0)));
    stage.await_file("begun");
    stage.await_state(&task, "running");
    let agent = lines(&stage, "agents")[0].parse().unwrap();
    kill(Pid::from_raw(agent), Signal::SIGKILL).unwrap();
    bounded::until("another agent has begun with it", || lines(&stage, "agents").len() == 2);
    stage.open("gate");
    let ended = stage.await_state(&task, "success");
    assert_eq!(ended["attempts"], 2, "{ended}");
    assert!(ended["lastLoss"].as_str().is_some_and(|loss| !loss.is_empty()), "{ended}");
    stage.purserd.await_event("pool.task-requeued");
    stage.purserd.await_event("pool.member-lost");
}

#[test]
fn who_waits_for_a_task_waits_on_while_the_service_is_killed() {
    let mut stage = Stage::with(&Shape { policy: "seed", slots: 3, min: 1, max: 1 });
    let ground = format!("GROUND={}", stage.purserd.folder().display());
    let script = format!("echo one; {}", waits("begun", "gate", 7));
    let mut submit = stage.purserd.command();
    submit.args(["submit", POOL, "--wait", "-e", &ground, "--", "sh", "-c", &script]);
    let aside = fs::File::create(stage.ground("aside")).unwrap();
    let mut submit = submit.stdout(Stdio::piped()).stderr(aside).spawn().unwrap();
    stage.await_file("begun");
    stage.purserd.kill9();
    let told = || fs::read_to_string(stage.ground("aside")).unwrap();
    bounded::until("it says that it waits", || told().contains("until it is back"));
    stage.open("gate");
    stage.purserd.restart();
    bounded::wait(&mut submit, "purser submit");
    let ended = submit.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stdout).unwrap();
    assert_eq!((ended.status.code(), said.matches("one\n").count()), (Some(7), 1), "{said}");
}
