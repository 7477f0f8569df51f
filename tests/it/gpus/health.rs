//! A GPU's health on record: what takes it out, what brings it back, and what operators are shown and may do.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use purser_actors::paths::PodPaths;
use purser_actors::port::GpuState;
use purser_actors::service::{Request, Service, ServiceError};
use purser_events::gpu::{GpuHealthPolicy, GpuRejection};
use purser_events::ledger::{Capacity, GpuUuid};
use purser_events::{Bytes, Principal, Timestamp};
use purser_fake_nvml::script::Faults;
use purser_tests::binaries::Binaries;
use purser_tests::bounded;
use purser_tests::gpus::{FakeDriver, ScriptedGpus};
use purser_tests::http;
use purser_tests::purserd::{Purserd, Setup};
use purser_tests::stepped::{START, Stepped, node_with, step};
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use super::{script, uuid};

/// A node whose clock and GPUs the test moves.
struct Node {
    service: Service,
    gpus: ScriptedGpus,
    moved: watch::Sender<Timestamp>,
}

impl Node {
    async fn start(folder: &Path, gpus: &ScriptedGpus, moved: &watch::Sender<Timestamp>) -> Node {
        let paths = PodPaths::new(folder.join("pods"));
        let capacity = Capacity { memory: Bytes(1), ..Capacity::default() };
        let clock = Arc::new(Stepped(moved.clone()));
        let service = node_with(folder, &paths, clock, capacity, Arc::new(gpus.clone())).await;
        Node { service, gpus: gpus.clone(), moved: moved.clone() }
    }

    async fn stop(self) {
        self.service.shut_down("the test goes on").await;
        self.service.journal().clone().close().unwrap();
    }

    /// Looks so often, a second apart.
    async fn look(&self, times: u32) {
        for _ in 0..times {
            step(&self.moved, 1_000).await;
        }
    }

    /// Looks until the GPU is so, and says how often it was looked.
    async fn until(&self, word: &str) -> u32 {
        for looks in 0..1_000 {
            if self.word() == word {
                return looks;
            }
            self.look(1).await;
        }
        panic!("it is {} instead of {word}", self.word());
    }

    /// Looks until nothing is recorded for a while: what happens has its steps on record, and then there is nothing more.
    async fn until_quiet(&self) {
        for _ in 0..10 {
            let head = self.head();
            self.look(90).await;
            if self.head() == head {
                return;
            }
        }
        panic!("nothing changes, and something is recorded again and again");
    }

    /// Looks until the ledger gives out these.
    async fn until_given_out(&self, wanted: &[GpuUuid]) {
        for _ in 0..1_000 {
            if self.given_out() == wanted {
                return;
            }
            self.look(1).await;
        }
        panic!("{:?} is given out instead of {wanted:?}", self.given_out());
    }

    fn word(&self) -> &'static str {
        self.service.world(|world| world.gpus[&ScriptedGpus::uuid(0)].word())
    }

    fn given_out(&self) -> Vec<GpuUuid> {
        self.service.world(|world| world.ledger.capacity.gpus.iter().map(|gpu| gpu.uuid.clone()).collect())
    }

    fn head(&self) -> u64 {
        self.service.world(|world| world.head.0)
    }
}

fn operator() -> Request {
    Request { principal: Principal::new("uid:0"), correlation: Uuid::from_u128(7), command: None }
}

#[test]
fn a_fatal_fault_takes_a_gpu_out_at_once_and_a_restart_begins_its_probation_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (moved, gpus) = (watch::Sender::new(START), ScriptedGpus::fine(2));
    let (first, second) = (ScriptedGpus::uuid(0), ScriptedGpus::uuid(1));
    actix::System::new().block_on(async {
        let node = Node::start(folder.path(), &gpus, &moved).await;
        assert_eq!(node.given_out(), [first.clone(), second.clone()]);
        node.gpus.fault(0, 79, START);
        node.until("Faulty").await;
        node.until_given_out(std::slice::from_ref(&second)).await;
        // That it is faulty is a violation as well, with steps of its own, from the first half minute on.
        node.until_quiet().await;
        node.service.uncordon_gpu(&first, operator()).await.unwrap();
        assert_eq!((node.word(), node.given_out()), ("Probation", vec![second.clone()]));
        node.look(50).await;
        node.stop().await;
        gpus.forget_faults();
        let node = Node::start(folder.path(), &gpus, &moved).await;
        assert_eq!((node.word(), node.given_out()), ("Probation", vec![second.clone()]));
        let looks = node.until("Healthy").await;
        // What is seen may come to be on record some looks later, and never earlier.
        assert!(60 <= looks, "nobody looked at it meanwhile: {looks}");
        node.until_given_out(&[first.clone(), second.clone()]).await;
        // Another policy counts from now on, also for a probation under way.
        node.gpus.set(0, GpuState::Lost { reason: "it is not listed".to_owned() });
        node.until("Lost").await;
        node.gpus.set(0, GpuState::Ready);
        node.until("Probation").await;
        let policy = GpuHealthPolicy { probation_ms: 5_000, ..GpuHealthPolicy::default() };
        node.service.set_gpu_policy(policy.clone(), operator()).await.unwrap();
        assert!(node.until("Healthy").await < 55, "it is on probation by the policy before");
        let wrong = GpuHealthPolicy { settle_ms: 1, ..policy };
        let refused = node.service.set_gpu_policy(wrong, operator()).await.unwrap_err();
        assert!(refused.to_string().contains("settleMs must be 1000 to"), "{refused}");
        node.stop().await;
        let node = Node::start(folder.path(), &gpus, &moved).await;
        let kept = node.service.world(|world| world.node.known().unwrap().policy.gpus.probation_ms);
        assert_eq!(kept, 5_000, "what an operator has set stays until the config changes");
        let unknown = node.service.cordon_gpu(&GpuUuid::new("GPU-x").unwrap(), None, operator()).await;
        assert!(matches!(unknown, Err(ServiceError::Gpu(GpuRejection::NotFound))), "{unknown:?}");
        node.stop().await;
    });
    purser_tests::leftovers::end_control_groups(folder.path());
}

#[test]
fn a_gpu_that_a_start_cannot_look_at_takes_no_pods_on_what_was_known_before() {
    let folder = tempfile::tempdir().unwrap();
    let (moved, gpus) = (watch::Sender::new(START), ScriptedGpus::fine(2));
    let (first, second) = (ScriptedGpus::uuid(0), ScriptedGpus::uuid(1));
    actix::System::new().block_on(async {
        let node = Node::start(folder.path(), &gpus, &moved).await;
        assert_eq!(node.given_out(), [first.clone(), second.clone()]);
        node.stop().await;
        gpus.set(0, GpuState::Starting);
        let node = Node::start(folder.path(), &gpus, &moved).await;
        assert_eq!((node.word(), node.given_out()), ("Unresponsive", vec![second.clone()]));
        node.gpus.set(0, GpuState::Ready);
        node.until("Probation").await;
        assert_eq!(node.given_out(), std::slice::from_ref(&second));
        node.until("Healthy").await;
        node.until_given_out(&[first.clone(), second.clone()]).await;
        // Between two looks of one service it says nothing new.
        node.gpus.set(0, GpuState::Starting);
        node.look(30).await;
        assert_eq!((node.word(), node.given_out()), ("Healthy", vec![first, second]));
        node.stop().await;
    });
    purser_tests::leftovers::end_control_groups(folder.path());
}

fn node(driver: &FakeDriver) -> Purserd {
    let more = "[policy.resources]\nwhen-full = \"refuse\"\n\
                [policy.gpus]\nprobation-ms = 1000\nsettle-ms = 1000\n";
    Purserd::start(&Setup { gpu_library: driver.library(), more: more.to_owned(), ..Setup::default() })
}

fn health(purserd: &Purserd) -> String {
    let text = purserd.purser_ok(["get", "gpus", "-o", "json"]);
    let gpus: Value = serde_json::from_str(&text).unwrap();
    gpus["gpus"][0]["health"].as_str().unwrap_or_default().to_owned()
}

/// The healths that are on record, one after the other.
fn healths(purserd: &Purserd) -> Vec<String> {
    let text = purserd.purser_ok(["events", "-t", "gpu.found,gpu.health-changed", "-o", "json"]);
    let word = |line: &str| {
        let health = &serde_json::from_str::<Value>(line).unwrap()["event"]["payload"]["health"];
        let variant = health.as_object().and_then(|fields| fields.keys().next());
        variant.cloned().unwrap_or_else(|| health.as_str().unwrap_or_default().to_owned())
    };
    text.lines().map(word).collect()
}

#[test]
fn a_gpu_that_hung_is_shown_and_takes_pods_after_its_probation() {
    let driver = FakeDriver::new(&script(1));
    let purserd = node(&driver);
    assert_eq!(health(&purserd), "Healthy");
    driver.change(|script| {
        script.devices[0].faults = Faults { hang: ["*".to_owned()].into(), ..Faults::default() };
    });
    bounded::until("it is unresponsive", || health(&purserd) == "Unresponsive");
    let capacity = || {
        let text = purserd.purser_ok(["get", "resources", "gpus", "-o", "json"]);
        serde_json::from_str::<Value>(&text).unwrap()["managers"][0]["resources"][0]["capacity"].clone()
    };
    bounded::until("the ledger follows", || capacity() == 0);
    let manager = || {
        let text = purserd.purser_ok(["get", "resources", "gpus", "-o", "json"]);
        serde_json::from_str::<Value>(&text).unwrap()["managers"][0].clone()
    };
    // It is the only one.
    let told = manager();
    let reason = told["reason"].as_str().unwrap_or_default();
    let expected = format!("1 of 1 GPUs is of no use: {} is Unresponsive (", uuid(0));
    assert!(told["health"] == "Unhealthy" && reason.starts_with(&expected), "{told}");
    let unhealthy = "purser_resource_health{resource=\"gpu-share\",state=\"Unhealthy\"} 1\n";
    assert!(purserd.metrics().contains(unhealthy), "{}", purserd.metrics());
    let series = format!("purser_gpu_health{{uuid=\"{}\",health=\"Unresponsive\"}} 1\n", uuid(0));
    assert!(purserd.metrics().contains(&series), "no {series} in {}", purserd.metrics());
    driver.change(|script| script.devices[0].faults = Faults::default());
    bounded::until("it is healthy again", || health(&purserd) == "Healthy");
    bounded::until("the ledger follows", || capacity() == 1);
    assert_eq!((&manager()["health"], &manager()["reason"]), (&Value::from("Healthy"), &Value::Null));
    assert_eq!(healths(&purserd), ["healthy", "unresponsive", "probation", "healthy"]);
    let shown = purserd.purser_ok(["describe", "gpu", uuid(0).as_str()]);
    for part in ["Healthy (takes pods)", "Bindings: none", "gpu.health-changed", "Fake GPU 80GB"] {
        assert!(shown.contains(part), "`{part}` is not in {shown}");
    }
}

#[test]
fn a_cordon_is_asked_for_by_index_or_beginning_and_outlives_a_kill() {
    let driver = FakeDriver::new(&script(1));
    let mut purserd = node(&driver);
    purserd.purser_ok(["cordon", "gpu", "0", "--reason", "its fan is loud"]);
    assert_eq!(health(&purserd), "Cordoned");
    purserd.kill9();
    purserd.restart();
    let shown = purserd.purser_ok(["describe", "gpu", "0"]);
    for part in ["Cordoned (takes no pods)", "its fan is loud", "gpu.cordoned"] {
        assert!(shown.contains(part), "`{part}` is not in {shown}");
    }
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "wants-one" },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main",
                "command": ["/bin/sleep", "600"],
                "resources": { "limits": { "nvidia.com/gpu": "1" } },
            }],
        },
    })
    .to_string();
    let path = purserd.folder().join("pod.yaml");
    std::fs::write(&path, &pod).unwrap();
    let refused = purserd.purser(["apply", "-f", path.to_str().unwrap()]);
    assert!(!refused.status.success(), "a cordoned GPU takes no pods: {refused:?}");
    let name = uuid(0);
    let beginning = &name.as_str()[..12];
    purserd.purser_ok(["uncordon", "gpu", beginning]);
    bounded::until("its probation is over", || health(&purserd) == "Healthy");
    bounded::until("it is given out", || {
        purserd.purser(["apply", "-f", path.to_str().unwrap()]).status.success()
    });
    let shown = purserd.purser_ok(["describe", "gpu", beginning]);
    assert!(shown.contains("default/wants-one") && shown.contains("gpu.uncordoned"), "{shown}");
    let replay = |args: &[&str]| {
        let mut tool = Command::new(&Binaries::built().purser_replay);
        let done = bounded::output(tool.args(args).arg("--socket").arg(purserd.socket()));
        String::from_utf8(done.stdout).unwrap()
    };
    let name = format!("gpu/{}", uuid(0));
    let state = replay(&["state", &name]);
    assert!(state.contains(&name) && state.contains("\"health\": \"healthy\""), "{state}");
    let log = replay(&["log", "--gpu", uuid(0).as_str(), "-o", "oneline"]);
    for kind in ["gpu.found", "gpu.cordoned", "gpu.uncordoned", "gpu.health-changed", "ledger.allocated"] {
        assert!(log.contains(kind), "no {kind} in {log}");
    }
}

#[test]
fn a_gpu_that_nobody_knows_is_named_in_the_refusal() {
    let driver = FakeDriver::new(&script(2));
    let purserd = node(&driver);
    for verb in ["describe", "cordon", "uncordon"] {
        let refused = purserd.purser([verb, "gpu", "GPU-none"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("has no GPU `GPU-none`"), "{refused:?}");
    }
    let ambiguous = purserd.purser(["describe", "gpu", "GPU-"]);
    assert_eq!(ambiguous.status.code(), Some(2), "{ambiguous:?}");
    assert_eq!(purserd.purser(["cordon", "everything"]).status.code(), Some(2));
    let ask = |method: &str, path: &str, body: &str| {
        let answer = http::request(&purserd.socket(), method, path, None, body).unwrap();
        (answer.status, answer.body["code"].as_str().unwrap_or_default().to_owned())
    };
    let not_found = (404, "gpu-not-found".to_owned());
    assert_eq!(ask("GET", "/v1/gpus/GPU-none", ""), not_found);
    assert_eq!(ask("POST", "/v1/gpus/GPU-none/cordon", "{}"), not_found);
    assert_eq!(ask("POST", "/v1/gpus/GPU-none/uncordon", ""), not_found);
    assert_eq!(ask("GET", "/v1/gpus/a%20b", ""), (400, "malformed-name".to_owned()));
    let path = format!("/v1/gpus/{}/cordon", uuid(1));
    let reason = |text: &str| serde_json::json!({ "reason": text }).to_string();
    assert_eq!(ask("POST", &path, &reason("a\nb")), (422, "bad-reason".to_owned()));
    assert_eq!(ask("POST", &path, &reason(&"x".repeat(300))), (400, "reason-too-long".to_owned()));
    let policy = r#"{"probationMs":1,"settleMs":1000,"slowdownMs":1000,"fatalXids":[]}"#;
    assert_eq!(ask("PUT", "/v1/policy/gpus", policy), (422, "bad-gpu-policy".to_owned()));
    assert_eq!(ask("PUT", "/v1/policy/gpus", "{}"), (422, "invalid".to_owned()));
}
