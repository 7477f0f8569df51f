//! GPUs that are divided (MIG): each instance is a device of its own, and the board is not given out.

use purser_actors::port::{GpuPart, GpuState, Gpus, Reading, SeenGpu, SeenGpus};
use purser_events::Bytes;
use purser_events::ledger::GpuUuid;
use purser_fake_nvml::script::{Device, Faults, Process, Script, Steps};
use purser_tests::gpus::ToGiveOut;

use super::{Scene, gpu, hanging, is_ready, readings, script, uuid};

fn name(number: u32) -> GpuUuid {
    GpuUuid::new(&format!("MIG-00000000-0000-0000-0000-{number:012}")).unwrap()
}

fn instance(number: u32) -> Device {
    Device {
        uuid: name(number).to_string(),
        model: "Fake GPU 80GB MIG 1g.10gb".to_owned(),
        memory_total: 10 << 30,
        memory_used: Steps::Same(2 << 30),
        ..Device::default()
    }
}

/// Two GPUs, the first of them divided into these instances.
fn divided(numbers: &[u32]) -> Script {
    let mut script = script(2);
    script.devices[0].memory_used = Steps::Same(5 << 30);
    script.devices[0].mig = Some(numbers.iter().copied().map(instance).collect());
    script
}

fn given_out(seen: &SeenGpus) -> Vec<GpuUuid> {
    seen.to_give_out().into_iter().map(|gpu| gpu.uuid).collect()
}

fn found(seen: &SeenGpus, number: u32) -> Option<&SeenGpu> {
    seen.gpus.iter().find(|gpu| gpu.uuid == name(number))
}

#[test]
fn instances_are_given_out_in_place_of_their_board() {
    let mut start = divided(&[4, 5]);
    let instances = start.devices[0].mig.as_mut().unwrap();
    instances[1].processes = vec![Process { memory: Some(1 << 30), ..Process::default() }];
    let scene = Scene::new(&start);
    let wanted = [uuid(1), name(4), name(5)];
    // Each is read by itself, so the board may come last, though it is not given out.
    let seen = scene.until("the instances are given out, and all is read", |seen| {
        given_out(seen) == wanted && seen.gpus.iter().all(is_ready)
    });
    let board = gpu(&seen, 0).unwrap();
    assert_eq!((&board.part, is_ready(board)), (&GpuPart::Divided, true));
    assert_eq!(readings(board).processes, Reading::Unsupported, "each is listed by its instance");
    assert_eq!(readings(board).utilization_percent, Reading::Unsupported);
    let fifth = found(&seen, 5).unwrap();
    assert_eq!(fifth.part, GpuPart::Instance { of: uuid(0) });
    assert_eq!(
        (fifth.model.as_deref(), fifth.memory),
        (Some("Fake GPU 80GB MIG 1g.10gb"), Some(Bytes(10 << 30)))
    );
    assert_eq!(fifth.index, Some(1));
    assert_eq!(readings(fifth).processes.value().map(Vec::len), Some(1));
    assert_eq!(readings(fifth).temperature_c, Reading::Unsupported, "that is the board's");
    assert_eq!(seen.used().memory, Some(Bytes(5 << 30)), "an instance's memory is the board's too");
}

#[test]
fn instances_come_and_go_while_the_board_stays() {
    let scene = Scene::new(&script(2));
    scene.until_given_out(&[0, 1]);
    let becomes = |script: Script, wanted: &[GpuUuid]| {
        scene.driver.change(|now| *now = script);
        scene
            .until("they are given out", |seen| given_out(seen) == wanted && seen.gpus.len() >= wanted.len());
    };
    becomes(divided(&[]), &[uuid(1)]);
    becomes(divided(&[4]), &[uuid(1), name(4)]);
    becomes(divided(&[6, 5]), &[uuid(1), name(5), name(6)]);
    becomes(script(2), &[uuid(0), uuid(1)]);
    scene.until("the instances are forgotten", |seen| seen.gpus.len() == 2);
    scene.driver.unload();
    scene.until_given_out(&[]);
    scene.driver.load(&divided(&[4]));
    scene.until("it is divided again", |seen| given_out(seen) == [uuid(1), name(4)]);
}

#[test]
fn an_instance_that_hangs_keeps_neither_board_nor_others() {
    let scene = Scene::new(&divided(&[4, 5]));
    let wanted = [uuid(1), name(4), name(5)];
    scene.until("all are given out", |seen| given_out(seen) == wanted);
    let faults_of = |faults: Faults| {
        scene.driver.change(|script| script.devices[0].mig.as_mut().unwrap()[0].faults = faults);
    };
    faults_of(hanging("nvmlDeviceGetMemoryInfo_v2"));
    let silent = GpuState::Unresponsive { call: "nvmlDeviceGetMemoryInfo_v2" };
    let seen = scene.until("one is silent", |seen| found(seen, 4).is_some_and(|it| it.state == silent));
    assert!(gpu(&seen, 0).is_some_and(is_ready));
    assert_eq!(given_out(&scene.sensor.seen()), [uuid(1), name(5)]);
    faults_of(Faults::default());
    scene.until("it is back", |seen| given_out(seen) == wanted);
}
