//! GPUs as operators and Prometheus see them.

use std::process::Command;

use purser_fake_nvml::script::{Faults, Process, Script, Steps};
use purser_tests::binaries::Binaries;
use purser_tests::bounded;
use purser_tests::gpus::FakeDriver;
use purser_tests::purserd::{Purserd, Setup};
use serde_json::Value;

use super::{script, uuid};

fn node(driver: &FakeDriver, more: &str) -> Purserd {
    Purserd::start(&Setup { gpu_library: driver.library(), more: more.to_owned(), ..Setup::default() })
}

fn json(purserd: &Purserd, args: &[&str]) -> Value {
    serde_json::from_str(&purserd.purser_ok(args.iter().chain(&["-o", "json"]))).unwrap()
}

/// Two GPUs, one of them busy.
fn busy() -> Script {
    let mut script = script(2);
    let first = &mut script.devices[0];
    (first.memory_used, first.utilization) = (Steps::Same(20 << 30), Steps::Same(93));
    first.processes =
        vec![Process { pid: std::process::id(), memory: Some(19 << 30), sm: Some(90), ..Process::default() }];
    script.devices[0].energy_mj = Steps::Same(3_999);
    script.devices[0].ecc_uncorrected = Steps::Same(2);
    script.devices[1].faults =
        Faults { fail: [("nvmlDeviceGetPowerUsage".to_owned(), 3)].into(), ..Faults::default() };
    script
}

#[test]
fn gpus_are_shown_with_what_is_really_used_of_them() {
    let driver = FakeDriver::new(&busy());
    let purserd = node(&driver, "");
    let table = purserd.purser_ok(["get", "gpus", "-o", "wide"]);
    let row = table.lines().find(|line| line.contains(uuid(0).as_str())).unwrap();
    for cell in ["Fake GPU 80GB", "Ready", "93%", "20Gi of 80Gi", "30 °C", "70 W", "(19Gi, 90%)"] {
        assert!(row.contains(cell), "`{cell}` is not in {row}");
    }
    let process = format!("{} unknown `", std::process::id());
    assert!(row.contains(&process), "this test is no pod's: {row}");
    let gpus = json(&purserd, &["get", "gpus", uuid(1).as_str()]);
    assert_eq!(gpus["gpus"].as_array().map(Vec::len), Some(1));
    let readings = &gpus["gpus"][0]["readings"];
    assert_eq!(readings["powerMilliwatts"], serde_json::json!({ "unsupported": true }));
    assert_eq!(readings["temperatureCelsius"], serde_json::json!({ "value": 30 }));
    assert_eq!(gpus["driver"]["state"], "Up");
    let unknown = purserd.purser(["get", "gpus", "GPU-none"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("has no GPU `GPU-none`"));
    let resource = |kind: &str| {
        let resources = json(&purserd, &["get", "resources", kind]);
        resources["managers"][0].clone()
    };
    assert_eq!(resource("gpus")["resources"][0]["capacity"], 2);
    // Use is measured with everything else, for the first time ten seconds after the start.
    bounded::until("use is measured", || resource("gpu-share")["resources"][0]["usedByMachine"] == 93);
    assert_eq!(resource("gpu-memory")["resources"][0]["usedByMachine"], 20_u64 << 30);
    assert_eq!(resource("gpu-memory")["resources"][0]["usedByPods"], 0, "it is nobody's that the node knows");
    assert_eq!(resource("gpu-share")["health"], "Healthy", "a busy GPU does what it is there for");
}

#[test]
fn a_pod_gets_a_gpu_that_answers_and_keeps_it_when_the_gpu_goes() {
    let mut start = script(2);
    start.devices[0].faults =
        Faults { fail: [("nvmlDeviceGetHandleByUUID".to_owned(), 15)].into(), ..Faults::default() };
    let driver = FakeDriver::new(&start);
    let purserd = node(&driver, "[policy.resources]\nwhen-full = \"refuse\"\n");
    let manifest = |name: &str| {
        serde_json::json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "main",
                    "command": ["/bin/sleep", "600"],
                    "resources": { "limits": { "nvidia.com/gpu": "1" } },
                }],
            },
        })
        .to_string()
    };
    purserd.apply(&manifest("first"));
    let held = || json(&purserd, &["get", "pod", "first"])["status"]["purser"]["resources"]["gpus"].clone();
    assert_eq!(held()[0]["uuid"], uuid(1).as_str(), "the other is lost");
    let path = purserd.folder().join("second.yaml");
    std::fs::write(&path, manifest("second")).unwrap();
    let refused = purserd.purser(["apply", "-f", path.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("gpus: 1 asked, 0 free"), "{refused:?}");
    driver.change(|script| drop(script.devices.pop()));
    bounded::until("it is gone", || json(&purserd, &["get", "gpus"])["gpus"][1]["health"] == "Lost");
    assert_eq!(held()[0]["uuid"], uuid(1).as_str());
}

#[test]
fn series_go_with_their_gpu() {
    let driver = FakeDriver::new(&busy());
    let purserd = node(&driver, "");
    // That it is lost stays on record, and what is on record has a series.
    let is_seen = |line: &&str| line.contains(uuid(1).as_str()) && !line.starts_with("purser_gpu_health{");
    let series = |text: &str| text.lines().filter(is_seen).count();
    let text = purserd.metrics();
    for (number, line) in [
        (0, "purser_gpu_up{uuid=\"UUID\"} 1"),
        (0, "purser_gpu_utilization_ratio{uuid=\"UUID\"} 0.93"),
        (0, "purser_gpu_memory_used_bytes{uuid=\"UUID\"} 21474836480"),
        (0, "purser_gpu_memory_reserved_bytes{uuid=\"UUID\"} 1073741824"),
        (0, "purser_gpu_power_watts{uuid=\"UUID\"} 70"),
        (0, "purser_gpu_processes{uuid=\"UUID\"} 1"),
        (1, "purser_gpu_temperature_celsius{uuid=\"UUID\",sensor=\"gpu\"} 30"),
        (0, "purser_gpu_power_limit_watts{uuid=\"UUID\"} 700"),
        (0, "purser_gpu_energy_joules_total{uuid=\"UUID\"} 3"),
        (0, "purser_gpu_clock_hertz{uuid=\"UUID\",clock=\"sm\"} 345000000"),
        (0, "purser_gpu_throttle_active{uuid=\"UUID\",reason=\"idle\"} 1"),
        (0, "purser_gpu_throttle_active{uuid=\"UUID\",reason=\"power_cap\"} 0"),
        (0, "purser_gpu_ecc_errors_total{uuid=\"UUID\",type=\"uncorrected\",volatility=\"aggregate\"} 2"),
        (0, "purser_gpu_pcie_replays_total{uuid=\"UUID\"} 0"),
        (0, "purser_gpu_xid_errors_total{uuid=\"UUID\",xid=\"79\"} 0"),
    ] {
        let line = line.replace("UUID", uuid(number).as_str());
        assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
    }
    assert!(text.contains("purser_gpu_driver_up 1\n"));
    let no_power = format!("purser_gpu_power_watts{{uuid=\"{}\"}}", uuid(1));
    assert!(!text.contains(&no_power), "what a GPU does not have is no zero");
    assert!(text.contains("purser_nvml_call_duration_seconds_bucket{call=\"nvmlDeviceGetPowerUsage\""));
    driver.change(|script| script.devices[0].xids = vec![79]);
    for line in ["xid=\"79\"} 1", "xid=\"other\"} 0"] {
        let line = format!("purser_gpu_xid_errors_total{{uuid=\"{}\",{line}", uuid(0));
        bounded::until("a fault is counted", || purserd.metrics().lines().any(|found| found == line));
    }
    driver.change(|script| drop(script.devices.pop()));
    bounded::until("its series are gone", || series(&purserd.metrics()) == 0);
    driver.unload();
    bounded::until("the driver is down", || purserd.metrics().contains("purser_gpu_driver_up 0\n"));
    let text = purserd.metrics();
    assert!(text.contains(&format!("purser_gpu_up{{uuid=\"{}\"}} 0\n", uuid(0))), "{text}");
    assert!(!text.contains("purser_gpu_utilization_ratio{"), "what it said before is not how it stands");
}

#[test]
fn a_config_that_names_more_than_a_gpu_has_is_refused() {
    let driver = FakeDriver::new(&script(1));
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("purserd.toml");
    let text = |memory: &str| {
        format!(
            "data-dir = {:?}\n[api]\nsocket = {:?}\n[containerd]\nenabled = \"never\"\n[gpu]\nnvml-library = {:?}\n\
             [[resources.gpus]]\nuuid = \"GPU-other\"\nmodel = \"x\"\nmemory = \"8Gi\"\n\
             [[resources.gpus]]\nuuid = {:?}\nmodel = \"x\"\nmemory = {memory:?}\n",
            folder.path().join("data"),
            folder.path().join("api.sock"),
            driver.library(),
            uuid(0).as_str(),
        )
    };
    std::fs::write(&config, text("100Gi")).unwrap();
    let ended = bounded::output(Command::new(&Binaries::built().purserd).arg("--config").arg(&config));
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(2), "{told}");
    assert!(told.contains("config key `resources.gpus[1].memory`: is 100Gi"), "{told}");
}
