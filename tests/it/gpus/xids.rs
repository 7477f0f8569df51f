//! Faults (Xids) that a driver tells of by itself.

use std::collections::BTreeMap;

use purser_actors::port::{GpuState, Gpus, SeenGpu};
use purser_fake_nvml::script::{Faults, Steps};

use super::{Scene, failing, gpu, hanging, is_ready, readings, script};

const NOT_SUPPORTED: u32 = 3;
const GPU_IS_LOST: u32 = 15;
const UNKNOWN: u32 = 999;

fn xids(gpu: &SeenGpu) -> Vec<(u64, u32)> {
    gpu.xids.iter().map(|seen| (seen.number, seen.xid)).collect()
}

#[test]
fn each_fault_is_told_once_of_its_own_gpu() {
    let scene = Scene::new(&script(2));
    scene.until_given_out(&[0, 1]);
    for (number, xid) in [(1_u64, 79), (2, 13), (3, 79)] {
        scene.driver.change(|script| script.devices[1].xids.push(xid));
        let told = scene.until_gpu(1, "it is told", |it| it.xids.last().map(|it| it.number) == Some(number));
        assert_eq!(told.xids.last().map(|it| it.xid), Some(xid));
    }
    let told = scene.until_gpu(1, "it is looked at on", is_ready);
    assert_eq!(xids(&told), [(1, 79), (2, 13), (3, 79)]);
    assert_eq!(told.xid_counts, BTreeMap::from([(13, 1), (79, 2)]));
    assert!(gpu(&scene.sensor.seen(), 0).unwrap().xids.is_empty(), "the other has none");
}

#[test]
fn of_faults_at_once_none_is_missed_and_the_newest_are_kept() {
    let scene = Scene::new(&script(1));
    scene.until_given_out(&[0]);
    scene.driver.change(|script| script.devices[0].xids = vec![48; 100]);
    let told = scene.until_gpu(0, "all are counted", |it| it.xid_counts.get(&48) == Some(&100));
    let numbers: Vec<u64> = told.xids.iter().map(|seen| seen.number).collect();
    assert_eq!(numbers, (37..=100).collect::<Vec<u64>>());
}

#[test]
fn a_gpu_that_is_lost_and_comes_back_is_listened_to_again() {
    let scene = Scene::new(&script(1));
    scene.until_given_out(&[0]);
    scene.driver.change(|script| {
        script.devices[0].faults = failing("nvmlEventSetWait_v2", GPU_IS_LOST);
    });
    scene.until_gpu(0, "it is lost", |it| matches!(it.state, GpuState::Lost { .. }));
    scene.driver.change(|script| script.devices[0].faults = Faults::default());
    scene.driver.change(|script| script.devices[0].xids.push(79));
    scene.until_gpu(0, "it is told", |it| is_ready(it) && xids(it) == [(1, 79)]);
}

#[test]
fn a_driver_that_is_loaded_again_goes_on_with_the_count() {
    let scene = Scene::new(&script(1));
    scene.driver.change(|script| script.devices[0].xids.push(63));
    scene.until_gpu(0, "it is told", |it| xids(it) == [(1, 63)]);
    scene.driver.unload();
    scene.until_given_out(&[]);
    let mut again = script(1);
    again.devices[0].xids = vec![63, 64];
    scene.driver.load(&again);
    // Whether the library was unloaded in between decides whether it tells of both, or of the second alone.
    scene.until_gpu(0, "the new one is told", |it| xids(it).starts_with(&[(1, 63), (2, 64)]));
}

#[test]
fn what_cannot_tell_of_faults_is_read_all_the_same() {
    for (faults, number) in [
        (failing("nvmlDeviceRegisterEvents", NOT_SUPPORTED), 0),
        (failing("nvmlDeviceRegisterEvents", UNKNOWN), 1),
        (failing("nvmlEventSetWait_v2", UNKNOWN), 1),
    ] {
        let mut start = script(1);
        start.devices[0].faults = faults;
        start.devices[0].xids = vec![31];
        let scene = Scene::new(&start);
        scene.until_gpu(0, "it is read", is_ready);
        // Two looks have a wait between them, in which it was tried to hear.
        let is_hot = |it: &SeenGpu| readings(it).temperature_c.value() == Some(&77);
        scene.driver.change(|script| script.devices[0].temperature_c = Steps::Same(77));
        scene.until_gpu(0, "it is read again", is_hot);
        scene.driver.change(|script| script.devices[0].faults = Faults::default());
        // What is not supported is not asked for again; what failed is.
        let seen = scene.until_gpu(0, "it is read on", |it| is_hot(it) && it.xids.len() == number);
        assert_eq!(seen.xids.len(), number);
    }
}

#[test]
fn a_wait_that_hangs_is_seen_and_over_when_it_returns() {
    let scene = Scene::new(&script(2));
    scene.until_given_out(&[0, 1]);
    scene.driver.change(|script| script.devices[0].faults = hanging("nvmlEventSetWait_v2"));
    let silent = GpuState::Unresponsive { call: "nvmlEventSetWait_v2" };
    scene.until_gpu(0, "it is silent", |it| it.state == silent);
    scene.driver.change(|script| script.devices[0].faults = Faults::default());
    scene.until_given_out(&[0, 1]);
}
