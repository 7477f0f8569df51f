//! What a driver can do wrong, and that no GPU and no reader suffers from another's trouble.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use purser_actors::port::{
    DriverState, GpuProcess, GpuReadings, GpuState, GpuUse, Gpus, ProcessOwner, Reading, SeenGpu, Slowdown,
};
use purser_events::Bytes;
use purser_fake_nvml::script::{Faults, Process, ProcessKind, Script, Steps};
use purser_tests::gpus::{FakeDriver, ToGiveOut};

use super::{Scene, device, failing, fails_with, gpu, hanging, is_ready, named, readings, script, uuid};

/// `nvmlReturn_t` of what is tried by name.
const NOT_SUPPORTED: u32 = 3;
const GPU_IS_LOST: u32 = 15;
const VERSION_MISMATCH: u32 = 18;
const UNKNOWN: u32 = 999;

#[test]
fn what_is_seen_is_what_the_driver_says() {
    let mut script = script(2);
    let first = &mut script.devices[0];
    (first.memory_used, first.utilization) = (Steps::Same(9 << 30), Steps::Same(93));
    (first.temperature_c, first.power_mw) = (Steps::Same(61), Steps::Same(512_000));
    first.memory_utilization = Steps::Same(41);
    (first.energy_mj, first.sm_clock_mhz) = (Steps::Same(123_456), Steps::Same(1_980));
    (first.slowed_by, first.pcie_replays) = (Steps::Same(0x4 | 0x40), Steps::Same(5));
    (first.ecc_corrected, first.ecc_uncorrected) = (Steps::Same(7), Steps::Same(2));
    let process = |pid, kind, memory, sm| Process { pid, kind, memory, sm };
    first.processes = vec![
        process(10, ProcessKind::Compute, Some(8 << 30), Some(55)),
        process(11, ProcessKind::Mps, None, Some(38)),
        process(12, ProcessKind::Graphics, Some(1 << 20), None),
        process(10, ProcessKind::Graphics, Some(8 << 30), None),
    ];
    let scene = Scene::new(&script);
    let release = Some("580.95.05".to_owned());
    let driver = DriverState::Up { release, trouble: None };
    let seen = scene.until("both answer", |seen| {
        seen.driver == driver && seen.gpus.len() == 2 && seen.gpus.iter().all(is_ready)
    });
    let first = gpu(&seen, 0).unwrap();
    assert_eq!((first.index, first.model.as_deref()), (Some(0), Some("Fake GPU 80GB")));
    let of = |pid, memory: Option<u64>, sm| GpuProcess {
        pid,
        owner: ProcessOwner::Unknown { name: Some("train".to_owned()) },
        memory: memory.map(Bytes),
        sm_percent: Some(sm),
    };
    let expected = GpuReadings {
        at: readings(first).at,
        memory_used: Reading::Value(Bytes(9 << 30)),
        memory_reserved: Reading::Value(Bytes(1 << 30)),
        utilization_percent: Reading::Value(93),
        memory_utilization_percent: Reading::Value(41),
        temperature_c: Reading::Value(61),
        power_mw: Reading::Value(512_000),
        power_limit_mw: Reading::Value(700_000),
        energy_mj: Reading::Value(123_456),
        sm_clock_mhz: Reading::Value(1_980),
        memory_clock_mhz: Reading::Value(2_619),
        slowed_by: Reading::Value(BTreeSet::from([Slowdown::PowerCap, Slowdown::HardwareThermal])),
        ecc_corrected: Reading::Value(7),
        ecc_uncorrected: Reading::Value(2),
        pcie_replays: Reading::Value(5),
        processes: Reading::Value(vec![
            of(10, Some(8 << 30), 55),
            of(11, None, 38),
            of(12, Some(1 << 20), 0),
        ]),
    };
    assert_eq!(*readings(first), expected);
    assert_eq!(readings(gpu(&seen, 1).unwrap()).processes, Reading::Value(vec![]));
    let used = seen.used();
    assert_eq!((used.share_percent, used.memory), (Some(93), Some(Bytes(9 << 30))));
    assert_eq!(seen.to_give_out().iter().map(|it| it.memory).collect::<Vec<_>>(), [Bytes(80 << 30); 2]);
}

#[test]
fn what_a_gpu_lacks_is_lacking_for_good_and_what_failed_is_tried_again() {
    let mut start = script(1);
    start.devices[0].faults.fail = BTreeMap::from([
        ("nvmlDeviceGetPowerUsage".to_owned(), NOT_SUPPORTED),
        ("nvmlDeviceGetTemperature".to_owned(), UNKNOWN),
    ]);
    let scene = Scene::new(&start);
    let seen = scene.until_gpu(0, "it answers", is_ready);
    assert_eq!(readings(&seen).power_mw, Reading::Unsupported);
    assert!(matches!(readings(&seen).temperature_c, Reading::Failed(_)));
    assert_eq!(readings(&seen).utilization_percent, Reading::Value(0));
    scene.driver.change(|script| script.devices[0].faults = Faults::default());
    let seen =
        scene.until_gpu(0, "what failed is read", |it| readings(it).temperature_c == Reading::Value(30));
    assert_eq!(readings(&seen).power_mw, Reading::Unsupported, "nobody asks again");
}

#[test]
fn figures_that_cannot_be_are_left_out() {
    let mut start = script(1);
    start.devices[0].processes = vec![Process { pid: 7, sm: Some(50), ..Process::default() }];
    let scene = Scene::new(&start);
    let seen = scene.until_gpu(0, "it answers", is_ready);
    let owner = ProcessOwner::Unknown { name: Some("train".to_owned()) };
    let busy = GpuProcess { pid: 7, owner, memory: Some(Bytes(1 << 30)), sm_percent: Some(50) };
    assert_eq!(readings(&seen).processes, Reading::Value(vec![busy.clone()]));
    scene.driver.change(|script| {
        let garbage = [
            "nvmlDeviceGetMemoryInfo_v2",
            "nvmlDeviceGetUtilizationRates",
            "nvmlDeviceGetTemperature",
            "nvmlDeviceGetPowerUsage",
            "nvmlDeviceGetProcessUtilization",
            "nvmlDeviceGetName",
            "nvmlDeviceGetEnforcedPowerLimit",
            "nvmlDeviceGetTotalEnergyConsumption",
            "nvmlDeviceGetClockInfo",
            "nvmlDeviceGetCurrentClocksThrottleReasons",
            "nvmlDeviceGetTotalEccErrors",
            "nvmlDeviceGetPcieReplayCounter",
        ];
        script.devices[0].faults.garbage = garbage.map(str::to_owned).into();
    });
    let unknown = GpuProcess { sm_percent: None, ..busy };
    let is_left_out = |it: &SeenGpu| {
        let GpuReadings {
            at: _,
            memory_used,
            memory_reserved,
            utilization_percent,
            memory_utilization_percent,
            temperature_c,
            power_mw,
            power_limit_mw,
            energy_mj,
            sm_clock_mhz,
            memory_clock_mhz,
            slowed_by,
            ecc_corrected,
            ecc_uncorrected,
            pcie_replays,
            processes,
        } = readings(it);
        let short = [
            utilization_percent,
            memory_utilization_percent,
            temperature_c,
            power_mw,
            power_limit_mw,
            sm_clock_mhz,
            memory_clock_mhz,
        ];
        let long = [energy_mj, ecc_corrected, ecc_uncorrected, pcie_replays];
        [memory_used, memory_reserved].into_iter().all(|reading| matches!(reading, Reading::Failed(_)))
            && short.iter().all(|reading| matches!(reading, Reading::Failed(_)))
            && long.iter().all(|reading| matches!(reading, Reading::Failed(_)))
            && matches!(slowed_by, Reading::Failed(_))
            && *processes == Reading::Value(vec![unknown.clone()])
    };
    let seen = scene.until_gpu(0, "all of it is left out", is_left_out);
    assert!(is_ready(&seen), "it answers, and what it has is known");
    assert_eq!((seen.model.as_deref(), seen.memory), (Some("unknown"), Some(Bytes(80 << 30))));
    assert_eq!(scene.sensor.seen().used().memory, None, "no figure is no zero");
}

#[test]
fn a_uuid_that_is_none_hides_no_other_gpu() {
    let mut start = script(3);
    start.devices[1].faults.garbage = BTreeSet::from(["nvmlDeviceGetUUID".to_owned()]);
    let scene = Scene::new(&start);
    scene.until_given_out(&[0, 2]);
    let is_told = |driver: &DriverState| matches!(driver, DriverState::Up { trouble: Some(trouble), .. } if trouble.starts_with("GPU 1: its uuid"));
    scene.until("it is told", |seen| is_told(&seen.driver));
}

#[test]
fn a_driver_of_more_gpus_than_can_be_is_not_believed() {
    let scene = Scene::new(&script(1));
    scene.until_given_out(&[0]);
    scene
        .driver
        .change(|script| script.faults.garbage = BTreeSet::from(["nvmlDeviceGetCount_v2".to_owned()]));
    let is_told = |driver: &DriverState| matches!(driver, DriverState::Up { trouble: Some(trouble), .. } if trouble.contains("2147483632 GPUs"));
    scene.until("it is told, and what is there stays", |seen| {
        is_told(&seen.driver) && gpu(seen, 0).is_some_and(is_ready)
    });
}

#[test]
fn a_call_that_hangs_makes_its_gpu_unresponsive_and_nothing_else() {
    for call in [
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetHandleByUUID",
        "nvmlDeviceGetPcieReplayCounter",
        "nvmlEventSetWait_v2",
        "nvmlDeviceGetMigMode",
        "*",
    ] {
        let scene = Scene::new(&script(2));
        scene.until_given_out(&[0, 1]);
        scene.driver.change(|script| script.devices[0].faults = hanging(call));
        let is_silent = |it: &SeenGpu| matches!(it.state, GpuState::Unresponsive { .. });
        let silent = scene.until_gpu(0, "one is silent", is_silent);
        assert!(silent.readings.is_some(), "what it said before is kept");
        // The other is read on, and what it says now is seen.
        scene.driver.change(|script| script.devices[1].utilization = Steps::Same(77));
        scene.until_gpu(1, "the other is read on", |it| {
            is_ready(it) && readings(it).utilization_percent == Reading::Value(77)
        });
        scene.until_given_out(&[1]);
        scene.driver.change(|script| script.devices[0].faults = Faults::default());
        scene.until_given_out(&[0, 1]);
    }
}

#[test]
fn a_gpu_that_hangs_from_the_start_is_not_given_out_until_it_answers() {
    let mut start = script(2);
    start.devices[0].faults = hanging("nvmlDeviceGetName");
    let scene = Scene::new(&start);
    let is_silent = |it: &SeenGpu| it.state == GpuState::Unresponsive { call: "nvmlDeviceGetName" };
    let silent = scene.until_gpu(0, "one is silent", is_silent);
    assert_eq!((silent.memory, silent.readings), (None, None));
    scene.until_given_out(&[1]);
    scene.driver.change(|script| script.devices[0].faults = Faults::default());
    scene.until_given_out(&[0, 1]);
}

#[test]
fn a_list_that_hangs_keeps_gpus_as_they_are() {
    let scene = Scene::new(&script(1));
    scene.until_given_out(&[0]);
    scene.driver.change(|script| script.faults = hanging("nvmlDeviceGetCount_v2"));
    scene.until("it is told, and the GPU is read on", |seen| {
        fails_with(&seen.driver, "nvmlDeviceGetCount_v2") && seen.gpus.iter().all(is_ready)
    });
    scene.driver.change(|script| {
        script.faults = Faults::default();
        script.devices.push(device(1));
    });
    scene.until_given_out(&[0, 1]);
}

#[test]
fn gpus_come_and_go_by_their_uuid() {
    let scene = Scene::new(&script(2));
    scene.until_given_out(&[0, 1]);
    scene.driver.change(|script| script.devices = vec![device(2), device(1)]);
    scene.until_given_out(&[1, 2]);
    let seen = scene.until("the old one is forgotten", |seen| seen.gpus.len() == 2);
    assert_eq!(gpu(&seen, 2).unwrap().index, Some(0));
    scene.driver.change(|script| drop(script.devices.remove(0)));
    scene.until_gpu(1, "its number is another", |it| it.index == Some(0));
    scene.driver.change(|script| script.devices.push(device(2)));
    scene.driver.change(|script| script.devices.push(device(0)));
    scene.until_given_out(&[0, 1, 2]);
}

#[test]
fn a_gpu_that_is_lost_is_looked_at_again() {
    let scene = Scene::new(&script(2));
    scene.until_given_out(&[0, 1]);
    for call in ["nvmlDeviceGetHandleByUUID", "nvmlDeviceGetTemperature"] {
        scene.driver.change(|script| script.devices[1].faults = failing(call, GPU_IS_LOST));
        let lost =
            |it: &SeenGpu| matches!(&it.state, GpuState::Lost { reason } if reason.contains("fell off"));
        scene.until_gpu(1, "it is lost", lost);
        scene.until_given_out(&[0]);
        scene.driver.change(|script| script.devices[1].faults = Faults::default());
        scene.until_given_out(&[0, 1]);
    }
}

#[test]
fn a_driver_that_goes_is_found_again() {
    let scene = Scene::new(&script(2));
    scene.until_given_out(&[0, 1]);
    scene.driver.unload();
    scene.until("it is gone", |seen| fails_with(&seen.driver, "load the kernel module `nvidia`"));
    scene.until_given_out(&[]);
    assert_eq!(scene.sensor.seen().used(), GpuUse::default());
    scene.driver.load(&script(3));
    scene.until_given_out(&[0, 1, 2]);
}

#[test]
fn a_library_that_is_not_there_is_no_gpus_and_one_that_comes_is_found() {
    let scene = Scene::of(FakeDriver::uninstalled(), vec![named(5, 40)]);
    scene.until("there is none", |seen| seen.driver == DriverState::Absent);
    scene.until_given_out(&[5]);
    scene.driver.load(&script(1));
    scene.driver.install();
    scene.until_given_out(&[0]);
    let fifth = scene.until_gpu(5, "it is not listed", |it| matches!(it.state, GpuState::Lost { .. }));
    assert!(fifth.state.reason().unwrap().contains("does not list it"));
}

#[test]
fn what_is_no_library_of_a_driver_is_an_error_and_tried_again() {
    let driver = FakeDriver::uninstalled();
    fs::write(driver.library(), "no library").unwrap();
    let scene = Scene::of(driver, vec![named(5, 40)]);
    scene.until("it is told", |seen| fails_with(&seen.driver, "libloading"));
    // What the config names may be the driver's: it is not given out on a guess.
    scene.until_given_out(&[]);
    scene.driver.load(&script(1));
    scene.driver.install();
    scene.until_given_out(&[0]);
}

#[test]
fn a_library_of_another_release_than_the_driver_is_told() {
    let scene = Scene::new(&Script { faults: failing("nvmlInit_v2", VERSION_MISMATCH), ..script(1) });
    scene.until("it is told", |seen| fails_with(&seen.driver, "version mismatch; load the kernel module"));
    scene.driver.change(|script| script.faults = failing("nvmlSystemGetDriverVersion", UNKNOWN));
    scene.until("a driver need not say its release", |seen| {
        seen.driver == DriverState::Up { release: None, trouble: None }
    });
    scene.until_given_out(&[0]);
}

/// Every code of the interface, and one that it does not have, from every call about a device.
#[test]
fn no_error_of_any_call_spoils_more_than_its_figure() {
    let calls = [
        "nvmlDeviceGetName",
        "nvmlDeviceGetIndex",
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetTemperature",
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetProcessUtilization",
        "nvmlDeviceGetTotalEccErrors",
        "nvmlDeviceGetMigMode",
        "nvmlDeviceRegisterEvents",
        "nvmlEventSetWait_v2",
    ];
    for call in calls {
        for code in (1..=29).chain([UNKNOWN]) {
            let mut start = script(2);
            start.devices[0].faults = failing(call, code);
            let scene = Scene::new(&start);
            let other = scene.until_gpu(1, "the other answers", is_ready);
            assert_eq!(readings(&other).temperature_c, Reading::Value(30), "{call} {code}");
            // The library is not open, there is no driver, it fell off, it needs a reset: that is about all of it.
            let is_about_all = [1, 9, 15, 16].contains(&code);
            let seen = scene.until_gpu(0, "it was looked at", |it| match it.state {
                GpuState::Lost { .. } => is_about_all,
                GpuState::Ready => !is_about_all,
                _ => false,
            });
            if is_about_all {
                assert!(matches!(seen.state, GpuState::Lost { .. }), "{call} {code}: {seen:?}");
                continue;
            }
            assert!(is_ready(&seen), "{call} {code}: {seen:?}");
            assert_eq!(readings(&seen).memory_used, Reading::Value(Bytes(0)), "{call} {code}");
            let is_read = readings(&seen).temperature_c.value().is_some();
            assert_eq!(is_read, call != "nvmlDeviceGetTemperature", "{call} {code}");
        }
    }
}

#[test]
fn what_the_config_names_may_be_less_than_the_driver_says_and_not_more() {
    let scene = Scene::of(FakeDriver::new(&script(3)), vec![named(0, 40), named(1, 81)]);
    scene.until_given_out(&[0, 2]);
    assert_eq!(scene.sensor.seen().to_give_out()[0], named(0, 40));
    let reason = format!(
        "is 81Gi, and the driver says that {} has 80Gi: name at most that, or leave the GPU out",
        uuid(1)
    );
    scene.until_gpu(1, "it is refused", |it| it.state == GpuState::Contradicted { reason: reason.clone() });
    scene.until_given_out(&[0, 2]);
}
