//! GPUs, from the manifest to the container: devices as they are described (CDI), variables for plain processes, and what
//! is refused.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::stage::{Runtime, Stage, pid_of, script};

/// Two GPUs of a model of 100 TFLOPS that nothing looks at.
const GPUS: &str = r#"
[[resources.gpus]]
uuid = "GPU-a"
model = "F1"
memory = "8Gi"
[[resources.gpus]]
uuid = "GPU-b"
model = "F1"
memory = "8Gi"
[[gpu.models]]
model = "F1"
fp16-tflops = "100"
"#;

const SLEEP: &str = "exec sleep 600";

fn manifest(stage: &Stage, name: &str, annotations: Value, containers: Value) -> String {
    let text = stage.manifest(name, &json!({ "containers": containers }));
    let mut manifest: Value = serde_json::from_str(&text).expect("it is JSON");
    manifest["metadata"]["annotations"] = annotations;
    manifest.to_string()
}

/// A description of the GPU: a device that the host has under another name, one of which the kernel allows reading alone, a
/// folder that the host shows, a variable, and for every GPU of the file a program that writes into that folder.
fn described(stage: &Stage, gpus: &[&str]) -> String {
    let driver = stage.host().join("driver");
    std::fs::create_dir_all(&driver).expect("a folder can be made");
    let hook = format!("echo hooked >> {}/told", driver.display());
    let device = |gpu: &&str| {
        let nodes = json!([
            { "path": format!("/dev/{gpu}"), "hostPath": "/dev/zero", "permissions": "rw" },
            { "path": format!("/dev/{gpu}-control"), "hostPath": "/dev/loop-control", "permissions": "r" },
        ]);
        json!({ "name": gpu, "containerEdits": { "deviceNodes": nodes, "env": [format!("GPU={gpu}")] } })
    };
    let mount =
        json!({ "hostPath": driver, "containerPath": "/opt/vendor/driver", "options": ["ro", "rbind"] });
    json!({
        "cdiVersion": "0.6.0",
        "kind": "nvidia.com/gpu",
        "devices": gpus.iter().map(device).collect::<Vec<_>>(),
        "containerEdits": {
            "mounts": [mount],
            "hooks": [{ "hookName": "createRuntime", "path": "/bin/sh", "args": ["sh", "-c", hook] }],
        },
    })
    .to_string()
}

/// What a container of a pod that got a GPU finds of it.
#[track_caller]
fn finds(stage: &Stage, container: &str, own: &str, other: &str) {
    let shell = |text: &str| stage.shell("pod", container, text);
    assert_eq!(shell(&format!("dd if=/dev/{own} bs=4 count=1 2>/dev/null | wc -c")).trim(), "4");
    assert_eq!(shell("echo $GPU $PURSER_GPUS $PURSER_GPU_SHARE"), format!("{own} {own} 50\n"));
    assert!(shell("cat /opt/vendor/driver/told").starts_with("hooked\n"));
    assert_eq!(shell(&format!("test -e /dev/{other} || echo none")), "none\n");
    assert_eq!(shell(&format!(": < /dev/{own}-control && echo read")), "read\n");
    let refused = shell(&format!("(: > /dev/{own}-control) 2>&1 || true"));
    assert!(
        refused.contains("Operation not permitted"),
        "the kernel allows what is not described: {refused}"
    );
}

#[test]
fn each_container_gets_the_devices_of_its_gpus_and_no_others() {
    let mut stage = Stage::with(Runtime::Containerd, GPUS);
    stage.describe_devices("gpus.json", &described(&stage, &["GPU-a", "GPU-b"]));
    stage.describe_devices("broken.json", "{ \"cdiVersion\": \"0.6.0\", \"kinds\": 1 }");
    let annotations = json!({
        "tensor-fusion.ai/tflops-limit": "50", "tensor-fusion.ai/gpu-ids": "GPU-a,GPU-b",
        "tensor-fusion.ai/container-gpus": "{\"main\": [\"GPU-a\"], \"side\": [\"GPU-b\"]}",
        "purser.dev/qos": "high",
    });
    let containers = json!([script("main", SLEEP), script("side", SLEEP), script("plain", SLEEP)]);
    stage.purserd.apply(&manifest(&stage, "pod", annotations, containers));
    let pod = stage.until_ready("pod");
    finds(&stage, "main", "GPU-a", "GPU-b");
    finds(&stage, "side", "GPU-b", "GPU-a");
    assert_eq!(stage.shell("pod", "plain", "ls /dev | grep -c GPU || true").trim(), "0");
    assert_eq!(stage.shell("pod", "plain", "echo $GPU$PURSER_GPUS"), "\n");
    let shown = stage.purser("describe pod pod");
    assert!(shown.contains("GPU-a: 50%") && shown.contains("  qos              high\n"), "{shown}");
    let gpus = stage.purser("get gpus -o wide");
    assert!(gpus.contains("broken.json: unknown field `kinds`"), "{gpus}");
    assert!(!gpus.contains("not for containers") && gpus.contains("100"), "{gpus}");
    // A try after the service was killed has the same devices.
    stage.purserd.kill9();
    kill(Pid::from_raw(pid_of(&pod, "main")), Signal::SIGKILL).expect("it runs");
    stage.purserd.restart();
    stage.until_restarted("pod", "main", 1);
    finds(&stage, "main", "GPU-a", "GPU-b");
    stage.audit();
    stage.clear();
}

#[test]
fn a_pod_whose_gpu_is_described_twice_is_told_so_and_starts_once_it_is_not() {
    let stage = Stage::with(Runtime::Containerd, GPUS);
    stage.describe_devices("gpus.json", &described(&stage, &["GPU-a", "GPU-b"]));
    stage.describe_devices("more.json", &described(&stage, &["GPU-b"]));
    let shared = |uuid: &str| json!({ "purser.dev/gpu-share": "50", "purser.dev/gpu-uuids": uuid });
    let apply = |name: &str, gpu: &str| {
        stage.purserd.apply(&manifest(&stage, name, shared(gpu), json!([script("main", SLEEP)])));
    };
    apply("pod", "GPU-b");
    let failed = stage.until_event("pod.setup-failed", |_| true);
    let told = failed["message"].as_str().expect("a failure has a message");
    for part in ["nvidia.com/gpu=GPU-b is described more than once", "gpus.json", "more.json"] {
        assert!(told.contains(part), "{told}");
    }
    assert!(stage.purser("get gpus").contains("GPU-b: not for containers: device nvidia.com/gpu=GPU-b"));
    apply("other", "GPU-a");
    stage.until_ready("other");
    stage.forget_devices("more.json");
    stage.until_ready("pod");
    finds(&stage, "main", "GPU-b", "GPU-a");
    stage.audit();
    stage.clear();
}

#[test]
fn plain_processes_are_told_which_gpus_are_their_own() {
    let stage = Stage::with(Runtime::Process, GPUS);
    let told = |name: &str, annotations: Value| {
        let mut container = script("main", SLEEP);
        container["env"] = json!([{ "name": "CUDA_VISIBLE_DEVICES", "value": "0,1" }]);
        stage.purserd.apply(&manifest(&stage, name, annotations, json!([container])));
        stage.until_ready(name);
        stage.shell(name, "main", "echo $CUDA_VISIBLE_DEVICES/$NVIDIA_VISIBLE_DEVICES")
    };
    let one = json!({ "purser.dev/gpu-tflops": "25", "purser.dev/gpu-uuids": "GPU-b" });
    assert_eq!(told("one", one), "GPU-b/GPU-b\n");
    assert_eq!(told("none", json!({})), "/void\n");
    stage.audit();
    stage.clear();
}

#[test]
fn what_cannot_be_had_is_refused_by_its_name() {
    let stage = Stage::with(Runtime::Process, GPUS);
    for (annotations, told) in [
        (json!({ "purser.dev/gpu-share": "5", "purser.dev/gpu-uuids": "GPU-x" }), "there is no GPU GPU-x"),
        (
            json!({ "purser.dev/gpu-share": "5", "purser.dev/gpu-memory": "9Gi" }),
            "gpu-memory: 9Gi asked of one GPU",
        ),
        (json!({ "purser.dev/gpu-share": "101" }), "[purser.dev/gpu-share]"),
        (json!({ "purser.dev/gpu-tflops": "101" }), "gpu-tflops: 101 asked, the GPU model `F1` has 100"),
        (json!({ "purser.dev/gpu-tflops": "499m" }), "ask for at least 500m"),
        (json!({ "purser.dev/gpu-tflops": "1", "purser.dev/gpu-share": "1" }), "[purser.dev/gpu-tflops]"),
        (
            json!({ "tensor-fusion.ai/tflops-limit": "1", "tensor-fusion.ai/isolation": "hard" }),
            "[tensor-fusion.ai/isolation]",
        ),
    ] {
        let manifest = manifest(&stage, "pod", annotations, json!([script("main", SLEEP)]));
        let said = stage.refused(&manifest);
        assert!(said.contains(told), "{told}: {said}");
    }
}
