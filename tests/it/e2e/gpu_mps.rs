//! Containers that share a GPU where the control daemon of MPS runs, of which the test has a stand-in: what they are told, and
//! that they do not run without it.

use std::fs;
use std::process::{Child, Command, Stdio};

use purser_tests::bounded;
use serde_json::{Value, json};

use super::stage::{Runtime, Stage, read, script};

/// Two GPUs that nothing looks at.
const GPUS: &str = r#"
[[resources.gpus]]
uuid = "GPU-a"
model = "F1"
memory = "8Gi"
[[resources.gpus]]
uuid = "GPU-b"
model = "F1"
memory = "8Gi"
"#;
const NAMES: [&str; 3] =
    ["CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"];

/// A process that stands for the daemon; it ends with the test.
struct Daemon(Child);

impl Daemon {
    fn begin(stage: &Stage) -> Daemon {
        let child = Command::new("/bin/sleep").arg("600").stdin(Stdio::null()).spawn();
        let daemon = Daemon(child.expect("a process can be started"));
        let folder = stage.host().join("mps");
        fs::write(folder.join("nvidia-cuda-mps-control.pid"), format!("{}\n", daemon.0.id()))
            .expect("a file");
        fs::write(folder.join("control"), "").expect("a file can be written");
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn apply(stage: &Stage, name: &str, annotations: Value, limits: Value) {
    let mut container = script("main", "exec sleep 600");
    container["resources"] = json!({ "limits": limits });
    // Whoever writes a manifest does not lift the limit.
    container["env"] = json!([{ "name": NAMES[1], "value": "100" }]);
    let text = stage.manifest(name, &json!({ "containers": [container] }));
    let mut manifest: Value = serde_json::from_str(&text).expect("it is JSON");
    manifest["metadata"]["annotations"] = annotations;
    stage.purserd.apply(&manifest.to_string());
}

fn plays(runtime: Runtime) {
    let mut stage = Stage::with(runtime, GPUS);
    let folder = stage.host().join("mps");
    fs::create_dir(&folder).expect("a folder can be made");
    let config = stage.purserd.config();
    let told = format!("nvml-library = \"\"\ncdi = \"off\"\nmps-pipe-dir = {folder:?}");
    fs::write(&config, read(&config).replace("nvml-library = \"\"", &told)).expect("a config can be written");
    stage.purserd.stop();
    stage.purserd.restart();
    let shared = json!({ "purser.dev/gpu-share": "30", "purser.dev/gpu-memory": "2Gi" });
    apply(&stage, "pod", shared, json!({}));
    let says = || stage.purser("events pod -o json").contains("the control daemon of MPS does not run");
    bounded::until("it is told why it does not start", says);
    let daemon = Daemon::begin(&stage);
    stage.until_ready("pod");
    let shell = |pod: &str, text: &str| stage.shell(pod, "main", text);
    let values = format!("echo {}", NAMES.map(|name| format!("${{{name}:-none}}")).join(" "));
    assert_eq!(shell("pod", &values), format!("{} 30 0=2048M\n", folder.display()));
    assert_eq!(shell("pod", &format!("ls {}", folder.display())), "control\nnvidia-cuda-mps-control.pid\n");

    // Who has a GPU alone is told nothing, and needs no daemon.
    drop(daemon);
    apply(&stage, "whole", json!({}), json!({ "nvidia.com/gpu": "1" }));
    stage.until_ready("whole");
    assert_eq!(shell("whole", &values), "none 100 none\n");
    stage.audit();
    stage.clear();
}

#[test]
fn plain_processes_that_share_a_gpu_are_limited_by_mps_or_do_not_run() {
    plays(Runtime::Process);
}

#[test]
fn containers_that_share_a_gpu_are_limited_by_mps_or_do_not_run() {
    plays(Runtime::Containerd);
}
