//! Callers that ask for this and that until the service goes away under them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use purser_tests::bounded::PATIENCE;
use purser_tests::http::{self, Answer};
use purser_tests::random::Random;
use serde_json::{Value, json};

/// Callers at once.
const CALLERS: u32 = 3;
/// Names that they fight over.
const NAMES: u64 = 8;

/// The pods of a run.
#[derive(Debug, Clone)]
pub(super) struct Manifests {
    /// Marks the run's processes in their environment.
    pub(super) mark: String,
    spec: Value,
}

impl Manifests {
    /// Pods of a process that waits to be ended.
    pub(super) fn processes(mark: &str) -> Manifests {
        let spec = json!({ "runtimeClassName": "process" });
        Manifests { mark: format!("{mark}-{}", std::process::id()), spec }
    }

    /// The same as containers of this image.
    pub(super) fn containers(mark: &str, image: &str) -> Manifests {
        let spec = json!({ "runtimeClassName": "containerd", "image": image });
        Manifests { mark: format!("{mark}-{}", std::process::id()), spec }
    }

    fn manifest(&self, name: &str) -> String {
        let script = "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done";
        let mut container = json!({
            "name": "main",
            "command": ["/bin/sh", "-c", script],
            "env": [{ "name": "PURSER_TEST_MARK", "value": self.mark }],
        });
        let mut init = json!({ "name": "prepare", "command": ["/bin/sh", "-c", "exit 0"] });
        if let Some(image) = self.spec.get("image") {
            container["image"] = image.clone();
            init["image"] = image.clone();
        }
        // Every other pod has an init container and a probe: more steps that a kill can come between.
        let mut inits = vec![];
        if name.ends_with(['1', '3', '5', '7']) {
            inits.push(init);
            container["readinessProbe"] = json!({ "exec": { "command": ["/bin/true"] }, "periodSeconds": 1 });
        }
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name },
            "spec": {
                "runtimeClassName": self.spec["runtimeClassName"],
                "terminationGracePeriodSeconds": 5,
                "initContainers": inits,
                "containers": [container],
            },
        })
        .to_string()
    }
}

/// A request that was answered with success.
#[derive(Debug, Clone)]
pub(super) struct Ack {
    pub(super) key: String,
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) body: String,
    pub(super) answer: Answer,
}

/// A load that is on.
pub(super) struct Load {
    over: Arc<AtomicBool>,
    acknowledged: mpsc::Receiver<()>,
    callers: Vec<JoinHandle<Vec<Ack>>>,
}

impl Load {
    /// Begins to ask.
    pub(super) fn begin(socket: PathBuf, manifests: Manifests, round: u32, seed: u64) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let (sender, acknowledged) = mpsc::channel();
        let callers = (0..CALLERS)
            .map(|caller| {
                let (socket, manifests, over, sender) =
                    (socket.clone(), manifests.clone(), over.clone(), sender.clone());
                let random = Random(seed.wrapping_add(u64::from(caller)));
                std::thread::spawn(move || {
                    // The sender is dropped when this caller ends: it keeps the load's channel open until then.
                    ask(&socket, &manifests, &format!("{round}-{caller}"), random, &over, &sender)
                })
            })
            .collect();
        Load { over, acknowledged, callers }
    }

    /// Waits until so many requests are acknowledged, and then lets the load go on for a while.
    pub(super) fn wait(&self, acks: u64, time: Duration) {
        for _ in 0..acks {
            self.acknowledged.recv_timeout(PATIENCE).expect("requests are acknowledged");
        }
        let moment = Instant::now() + time;
        let mut left = time;
        while !left.is_zero() {
            let heard = self.acknowledged.recv_timeout(left);
            assert_ne!(
                heard,
                Err(mpsc::RecvTimeoutError::Disconnected),
                "every caller gave up while the service ran"
            );
            left = moment.saturating_duration_since(Instant::now());
        }
    }

    /// What was acknowledged until the service went away.
    pub(super) fn end(self) -> Vec<Ack> {
        self.over.store(true, Ordering::Release);
        self.callers.into_iter().flat_map(|caller| caller.join().expect("callers do not panic")).collect()
    }
}

fn ask(
    socket: &std::path::Path,
    manifests: &Manifests,
    id: &str,
    mut random: Random,
    over: &AtomicBool,
    acknowledged: &mpsc::Sender<()>,
) -> Vec<Ack> {
    let mut acks = vec![];
    for number in 0.. {
        if over.load(Ordering::Acquire) {
            break;
        }
        let name = format!("crash-{}", random.below(NAMES));
        let pod = format!("/v1/namespaces/default/pods/{name}");
        let (method, path, body) = match random.below(10) {
            0..=4 => ("POST", "/v1/pods".to_owned(), manifests.manifest(&name)),
            5 => ("POST", format!("{pod}/stop"), "{}".to_owned()),
            6..=7 => ("POST", format!("{pod}/start"), "{}".to_owned()),
            _ => ("DELETE", format!("{pod}?gracePeriodSeconds=1"), String::new()),
        };
        let key = format!("{id}-{number}");
        // No answer, or half of one: nothing was acknowledged, and the service is gone.
        let Ok(answer) = http::request(socket, method, &path, Some(&key), &body) else { break };
        if (200..300).contains(&answer.status) {
            acks.push(Ack { key, method, path, body, answer });
            // Nobody counts any more once the service is to be killed.
            let _ = acknowledged.send(());
        } else {
            let known = [404, 409, 429, 503].contains(&answer.status);
            assert!(known, "{method} {path}: {} {}", answer.status, answer.body);
        }
    }
    acks
}
