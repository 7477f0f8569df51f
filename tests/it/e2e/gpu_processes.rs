//! Whose a process is that a GPU's driver lists, on real pods: the driver is a stand-in, the processes and their control
//! groups are real.

use std::fs;

use purser_fake_nvml::script::{Device, Process, Script};
use purser_tests::bounded;
use purser_tests::gpus::FakeDriver;
use serde_json::{Value, json};

use super::stage::{Runtime, Stage, alone, on_both, pid_of, read};

on_both!(the_processes_of_a_gpu_are_their_pods);

const GPU: &str = "GPU-00000000-0000-0000-0000-000000000000";

/// A process with 8 GiB that is busy for a part of the time.
fn process(pid: i32, sm: u32) -> Process {
    let pid = pid.try_into().expect("process ids are positive");
    Process { pid, memory: Some(8 << 30), sm: Some(sm), ..Process::default() }
}

fn the_processes_of_a_gpu_are_their_pods(stage: &mut Stage) {
    let device = Device { uuid: GPU.to_owned(), ..Device::default() };
    let driver = FakeDriver::new(&Script { devices: vec![device], ..Script::default() });
    let config = stage.purserd.config();
    let looking = format!("nvml-library = {:?}", driver.library());
    fs::write(&config, read(&config).replace("nvml-library = \"\"", &looking))
        .expect("a config can be written");
    stage.purserd.stop();
    stage.purserd.restart();
    let described = json!({ "name": GPU, "containerEdits": { "env": ["GPU=0"] } });
    let described = json!({ "cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [described] });
    stage.describe_devices("gpus.json", &described.to_string());
    let mut spec = alone("exec sleep 600");
    spec["containers"][0]["resources"] = json!({ "limits": { "nvidia.com/gpu": "1" } });
    stage.apply("train", &spec);
    let pid = pid_of(&stage.until_ready("train"), "main");
    let own = i32::try_from(std::process::id()).expect("process ids fit in an i32");
    driver.change(|script| script.devices[0].processes = vec![process(pid, 55), process(own, 20)]);

    let shown = |line: &str| -> Value { serde_json::from_str(&stage.purser(line)).expect("it is JSON") };
    bounded::until("the GPU shows its processes", || {
        let gpus = shown("get gpus -o json");
        gpus["gpus"][0]["readings"]["processes"].as_array().is_some_and(|found| found.len() == 2)
    });
    let found = shown(&format!("get process {pid} -o json"));
    let owner = &found["owner"];
    assert_eq!(
        (&owner["namespace"], &owner["pod"], &owner["container"], &owner["attempt"]),
        (&json!("default"), &json!("train"), &json!("main"), &json!(1)),
    );
    let inner = if stage.runtime == Runtime::Containerd { json!(1) } else { Value::Null };
    assert_eq!(owner["innerPid"], inner, "a process of the host has no other id");
    assert_eq!(found["gpus"], json!([{ "uuid": GPU, "memoryBytes": 8_u64 << 30, "smPercent": 55 }]));
    assert!(stage.purser("get gpus -o wide").contains(&format!("{pid} default/train/main (8Gi, 55%)")));
    let foreign = stage.purserd.purser(["get", "process", &own.to_string()]);
    assert_eq!(foreign.status.code(), Some(1));
    let said = String::from_utf8_lossy(&foreign.stderr).into_owned();
    assert!(said.contains("runs in no control group of this node"), "{said}");

    let text = stage.purserd.metrics();
    let labels = format!("{{namespace=\"default\",pod=\"train\",container=\"main\",uuid=\"{GPU}\"}}");
    let limits = format!("{{namespace=\"default\",pod=\"train\",uuid=\"{GPU}\"}}");
    for line in [
        format!("purser_pod_gpu_utilization_ratio{labels} 0.55"),
        format!("purser_pod_gpu_memory_used_bytes{labels} {}", 8_u64 << 30),
        format!("purser_pod_gpu_processes{labels} 1"),
        format!("purser_pod_gpu_utilization_limit_ratio{limits} 1"),
        format!("purser_pod_gpu_memory_limit_bytes{limits} {}", 80_u64 << 30),
        "pod_management_pods_total 1".to_owned(),
        "pod_management_workers_total{pod_id=\"default/train\",namespace=\"default\"} 1".to_owned(),
        "pod_management_healthy_workers{pod_id=\"default/train\",namespace=\"default\"} 1".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
    }
    let used =
        |kind: &str| shown(&format!("get resources {kind} -o json"))["managers"][0]["resources"][0].clone();
    // Use is measured with everything else, for the first time ten seconds after the start.
    bounded::until("use is measured", || used("gpu-share")["usedByPods"] == 55);
    assert_eq!(used("gpu-memory")["usedByPods"], 8_u64 << 30, "the other process is no pod's");

    stage.purser("delete train --wait --grace-period 0");
    assert!(!stage.purserd.metrics().contains("pod=\"train\""), "its series go with it");
    let gone = stage.purserd.purser(["get", "process", &pid.to_string()]);
    let said = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert!(said.contains("there is no process"), "{said}");
}
