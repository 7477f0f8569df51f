//! A service on one of its runtimes, and pods for it that need not know on which.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;

use purser_tests::binaries::Binaries;
use purser_tests::bounded::PATIENCE;
use purser_tests::containerd::{Containerd, mounts_below};
use purser_tests::feed::Feed;
use purser_tests::images::Images;
use purser_tests::leftovers::running_processes;
use purser_tests::purserd::{Purserd, Setup};
use purser_tests::{bounded, http};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What containers of a stage on containerd are made of.
const IMAGE: &str = "test.invalid/plain:1";
/// Seconds from SIGTERM to SIGKILL where a scenario does not say otherwise.
const GRACE_S: u64 = 2;

/// The folder of a stage in which devices are described.
const DEVICES: &str = "devices";

/// What runs the pods of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Runtime {
    Process,
    Containerd,
}

/// Makes a test on each runtime of each scenario, a function that is given the stage.
macro_rules! on_both {
    ($($scenario:ident),+ $(,)?) => {
        mod on_processes {
            $(#[test]
            fn $scenario() {
                crate::e2e::stage::play(crate::e2e::stage::Runtime::Process, super::$scenario);
            })+
        }
        mod on_containerd {
            $(#[test]
            fn $scenario() {
                crate::e2e::stage::play(crate::e2e::stage::Runtime::Containerd, super::$scenario);
            })+
        }
    };
}
pub(super) use on_both;

/// Plays a scenario; then the journal is sound, and nothing is left once every pod is deleted.
pub(super) fn play(runtime: Runtime, scenario: fn(&mut Stage)) {
    let mut stage = Stage::on(runtime);
    scenario(&mut stage);
    stage.audit();
    stage.clear();
    stage.audit();
}

/// A service, and containerd where its pods run there. Fields are dropped in this order.
pub(super) struct Stage {
    pub(super) purserd: Purserd,
    pub(super) containerd: Option<Containerd>,
    pub(super) runtime: Runtime,
    ground: TempDir,
}

impl Stage {
    /// A service that is ready.
    pub(super) fn on(runtime: Runtime) -> Stage {
        Stage::with(runtime, "")
    }

    /// The same with these tables added to its config.
    pub(super) fn with(runtime: Runtime, more: &str) -> Stage {
        let ground =
            tempfile::Builder::new().prefix("purser-ground-").tempdir().expect("a folder can be made");
        let host = ground.path().join("host");
        fs::create_dir(&host).expect("a folder can be made");
        // The folder of Kubernetes' own example is allowed too; no host has to have it.
        let roots = format!("host-path-roots = [{host:?}, \"/data/foo\"]");
        let gpu_more = format!("cdi-dirs = [{:?}]", ground.path().join(DEVICES));
        let mut setup = Setup { runtime_more: roots, gpu_more, more: more.to_owned(), ..Setup::default() };
        let containerd = (runtime == Runtime::Containerd).then(|| {
            let containerd = Containerd::start();
            let archive = ground.path().join("test.invalid_plain_1.tar");
            symlink(&Images::made().archive, archive).expect("a link can be made");
            setup.containerd_socket = Some(containerd.socket());
            let snapshotter = containerd.config().snapshotter;
            setup.containerd_more =
                format!("snapshotter = {snapshotter:?}\nimages-dir = {:?}", ground.path());
            containerd
        });
        Stage { purserd: Purserd::start(&setup), containerd, runtime, ground }
    }

    /// A folder of the host that pods may mount.
    pub(super) fn host(&self) -> PathBuf {
        self.ground.path().join("host")
    }

    /// Describes devices in a file of this name.
    pub(super) fn describe_devices(&self, name: &str, content: &str) {
        let folder = self.ground.path().join(DEVICES);
        fs::create_dir_all(&folder).expect("a folder can be made");
        fs::write(folder.join(name), content).expect("a file can be written");
    }

    /// Takes such a file away.
    pub(super) fn forget_devices(&self, name: &str) {
        fs::remove_file(self.ground.path().join(DEVICES).join(name)).expect("the file is there");
    }

    /// The manifest of a pod with this specification, completed with what the runtime needs.
    pub(super) fn manifest(&self, name: &str, spec: &Value) -> String {
        let mut spec = spec.clone();
        if spec["terminationGracePeriodSeconds"].is_null() {
            spec["terminationGracePeriodSeconds"] = json!(GRACE_S);
        }
        if self.runtime == Runtime::Containerd {
            for list in ["initContainers", "containers"] {
                for container in spec[list].as_array_mut().into_iter().flatten() {
                    container["image"] = json!(IMAGE);
                }
            }
        }
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec }).to_string()
    }

    /// Applies a pod of this specification, which must be accepted.
    #[track_caller]
    pub(super) fn apply(&self, name: &str, spec: &Value) {
        assert_eq!(self.purserd.apply(&self.manifest(name, spec)), format!("pod/{name} created\n"));
    }

    /// Applies a manifest that must be refused; gives back what was said.
    #[track_caller]
    pub(super) fn refused(&self, manifest: &str) -> String {
        let path = self.purserd.folder().join("refused.yaml");
        fs::write(&path, manifest).expect("a manifest can be written");
        let output = self.purserd.purser([OsStr::new("apply"), OsStr::new("-f"), path.as_os_str()]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        said
    }

    /// Runs `purser`, which must succeed; its words are separated by spaces.
    #[track_caller]
    pub(super) fn purser(&self, line: &str) -> String {
        self.purserd.purser_ok(line.split(' '))
    }

    /// Runs a shell's script in a pod's container, which must succeed; gives back what it printed.
    #[track_caller]
    pub(super) fn shell(&self, pod: &str, container: &str, script: &str) -> String {
        self.purserd.purser_ok(["exec", pod, "-c", container, "--", "/bin/sh", "-c", script])
    }

    /// A pod as the service shows it, by `name` or `namespace/name`; null if there is none.
    pub(super) fn pod(&self, name: &str) -> Value {
        let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
        let path = format!("/v1/namespaces/{namespace}/pods/{name}");
        let answer =
            http::request(&self.purserd.socket(), "GET", &path, None, "").expect("the service answers");
        if answer.status == 200 { answer.body } else { Value::Null }
    }

    /// A container of a pod as the service shows it.
    pub(super) fn container(&self, pod: &str, container: &str) -> Value {
        status_of(&self.pod(pod), container)
    }

    /// Waits until a pod is as wanted; gives it back.
    #[track_caller]
    pub(super) fn until(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut feed = Feed::live(&self.purserd);
        loop {
            let pod = self.pod(name);
            if wanted(&pod) {
                return pod;
            }
            feed.next_event();
        }
    }

    /// Waits until a pod is in a state; gives it back.
    #[track_caller]
    pub(super) fn until_phase(&self, name: &str, phase: &str) -> Value {
        self.until(name, |pod| pod["status"]["phase"] == phase)
    }

    /// Waits until every container of a pod can serve; gives it back.
    #[track_caller]
    pub(super) fn until_ready(&self, name: &str) -> Value {
        self.purser(&format!("wait {name} --for=condition=Ready --timeout 170s"));
        self.pod(name)
    }

    /// Waits until every container of a pod can serve and has said that it is up; gives the pod back.
    #[track_caller]
    pub(super) fn until_up(&self, name: &str) -> Value {
        let pod = self.until_ready(name);
        for status in pod["status"]["containerStatuses"].as_array().into_iter().flatten() {
            let container = status["name"].as_str().expect("a container has a name");
            let mut command = self.purserd.command();
            command.args(["logs", name, "-c", container, "-f"]).stdout(Stdio::piped());
            let mut follower = command.spawn().expect("purser can be started");
            let mut lines = BufReader::new(follower.stdout.take().expect("it is piped")).lines();
            let (sender, said) = mpsc::channel();
            let reader = std::thread::spawn(move || {
                // Nobody listens any more when a test gave up.
                let _ = sender.send(lines.any(|line| line.is_ok_and(|line| line == "up")));
            });
            let is_up = said.recv_timeout(PATIENCE);
            // It goes on for as long as the container does.
            drop(follower.kill());
            drop(follower.wait());
            drop(reader.join());
            assert_eq!(is_up, Ok(true), "{name}'s container {container} does not say that it is up");
        }
        pod
    }

    /// Waits until a container runs in a later try than this.
    #[track_caller]
    pub(super) fn until_restarted(&self, pod: &str, container: &str, restarts: u64) -> Value {
        self.until(pod, |pod| {
            let status = status_of(pod, container);
            restarts <= status["restartCount"].as_u64().unwrap_or(0) && status["word"] == "Running"
        })
    }

    /// The payloads of every event of this type of a pod, from its first to its last.
    #[track_caller]
    pub(super) fn events(&self, pod: &str, kind: &str) -> Vec<Value> {
        self.records(pod, kind).into_iter().map(|record| record["event"]["payload"].clone()).collect()
    }

    /// The records of every event of this type of a pod, from its first to its last.
    #[track_caller]
    pub(super) fn records(&self, pod: &str, kind: &str) -> Vec<Value> {
        let lines = self.purser(&format!("events {pod} -t {kind} -o json"));
        lines.lines().map(|line| serde_json::from_str(line).expect("a record is JSON")).collect()
    }

    /// Waits for an event of this type, from the beginning of the journal on, that is as wanted.
    pub(super) fn until_event(&self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut feed = Feed::from(&self.purserd, 1);
        let found = feed.until(|event| event.kind == kind && wanted(&event.record["event"]["payload"]));
        found.record["event"]["payload"].clone()
    }

    /// Deletes every pod and sees that nothing of them is left.
    #[track_caller]
    pub(super) fn clear(&self) {
        self.purser("uncordon");
        self.purser("delete --all --wait --timeout 170s");
        self.assert_nothing_left();
    }

    /// Sees that neither folders nor processes, control groups, containers, snapshots or mounts are left.
    #[track_caller]
    pub(super) fn assert_nothing_left(&self) {
        let data = self.purserd.data_dir();
        assert_eq!(running_processes(&data), [], "processes are left");
        assert_eq!(self.purserd.control_groups(), Vec::<PathBuf>::new());
        let folders = fs::read_dir(data.join("pods")).into_iter().flatten().flatten();
        assert_eq!(folders.map(|entry| entry.path()).collect::<Vec<_>>(), Vec::<PathBuf>::new());
        assert_eq!(mounts_below(&data), Vec::<PathBuf>::new());
        let Some(containerd) = &self.containerd else { return };
        for kind in ["tasks", "containers", "leases"] {
            assert_eq!(containerd.ctr(&[kind, "ls", "-q"]), "", "{kind} are left");
        }
        let snapshotter = containerd.config().snapshotter;
        let snapshots = containerd.ctr(&["snapshots", "--snapshotter", &snapshotter, "ls"]);
        let is_active = |line: &&str| line.trim_end().ends_with("Active");
        assert_eq!(snapshots.lines().find(is_active), None, "a snapshot is left");
        assert_eq!(mounts_below(containerd.folder()), Vec::<PathBuf>::new());
    }

    /// Sees that the auditor's tool finds the journal sound, and folds it to the world that the service shows.
    #[track_caller]
    pub(super) fn audit(&self) {
        let verdict = self.replay(&["verify"]);
        assert!(verdict.starts_with("verdict   sound\n"), "{verdict}");
        let last = self.replay(&["state", "--digest"]);
        let (head, _) = last.trim().split_once(' ').expect("a number and a digest");
        assert_eq!(self.replay(&["state", "--digest", "--at", head]), last);
        let status: Value = serde_json::from_str(&self.purser("status -o json")).expect("the status is JSON");
        let (seq, digest) = (status["seq"].to_string(), status["worldDigest"].as_str().unwrap_or_default());
        assert_eq!(self.replay(&["state", "--digest", "--at", &seq]), format!("{seq} {digest}\n"));
        assert_eq!((&status["inconsistencies"], &status["unreadableRecords"]), (&json!([]), &json!(0)));
    }

    /// Runs the auditor's tool on the live service; it must succeed.
    #[track_caller]
    pub(super) fn replay(&self, args: &[&str]) -> String {
        let socket = self.purserd.socket();
        let output = replay(&[&["--socket".as_ref(), socket.as_os_str()], &words(args)[..]].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "purser-replay {args:?} ended with {}: {errors}", output.status);
        String::from_utf8(output.stdout).expect("purser-replay prints UTF-8")
    }
}

/// Words as the system takes them.
pub(super) fn words<'word>(args: &[&'word str]) -> Vec<&'word OsStr> {
    args.iter().map(|word| OsStr::new(*word)).collect()
}

/// Runs the auditor's tool.
pub(super) fn replay(args: &[&OsStr]) -> Output {
    bounded::output(Command::new(&Binaries::built().purser_replay).args(args).env_remove("PURSER_SOCKET"))
}

/// A container that runs a shell's script.
pub(super) fn script(name: &str, text: &str) -> Value {
    json!({ "name": name, "command": ["/bin/sh", "-c", text] })
}

/// A specification of one container `main` that runs a shell's script.
pub(super) fn alone(text: &str) -> Value {
    json!({ "containers": [script("main", text)] })
}

/// A container of a pod that was shown.
pub(super) fn status_of(pod: &Value, container: &str) -> Value {
    let lists = ["initContainerStatuses", "containerStatuses"];
    let mut all = lists.iter().flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    all.find(|status| status["name"] == container).cloned().unwrap_or(Value::Null)
}

/// The process id on the host that a container of a pod was shown with.
#[track_caller]
pub(super) fn pid_of(pod: &Value, container: &str) -> i32 {
    let pid = status_of(pod, container)["hostPid"].as_i64().expect("a running container has a process");
    pid.try_into().expect("process ids fit in an i32")
}

/// What a file of the kernel's holds, without the end of its line.
pub(super) fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim().to_owned()
}
