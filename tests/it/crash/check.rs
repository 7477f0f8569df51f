//! What must hold after a crash.

use std::collections::BTreeSet;

use purser_events::pod::event::ExitReason;
use purser_events::pod::{ContainerState, Phase, Pod, PodEvent};
use purser_events::{Event, World, invariant};
use purser_tests::bounded;
use purser_tests::feed::Feed;
use purser_tests::purserd::Purserd;
use purser_tests::{http, journal};
use serde_json::Value;

use super::load::{Ack, Manifests};

/// Acknowledged requests of one round that are asked again: the latest are the ones in danger.
const ASKED_AGAIN: usize = 12;

/// Everything acknowledged is in the journal: its sequence number is reached, and the same request gets the same
/// answer.
pub(super) fn acknowledged(purserd: &Purserd, acks: &[Ack], round: u32) {
    let status = get(purserd, "/v1/status");
    let head = status["seq"].as_u64().expect("the status has a head");
    for ack in acks {
        let seq = ack.answer.body["seq"].as_u64().expect("an acknowledgement has a sequence number");
        assert!(seq <= head, "round {round}: {ack:?} is lost, the journal ends at {head}");
    }
    let mut latest: Vec<&Ack> = acks.iter().collect();
    latest.sort_by_key(|ack| std::cmp::Reverse(ack.answer.body["seq"].as_u64()));
    for ack in latest.into_iter().take(ASKED_AGAIN) {
        let again = http::request(&purserd.socket(), ack.method, &ack.path, Some(&ack.key), &ack.body)
            .expect("the service answers");
        assert_eq!(again.body["replayed"], true, "round {round}: {ack:?} was carried out twice: {again:?}");
        for field in ["uid", "seq", "outcome"] {
            assert_eq!(again.body[field], ack.answer.body[field], "round {round}: {ack:?} became {again:?}");
        }
    }
}

/// Every record that an answer ever named is there, in the stream of the pod that was asked for.
pub(super) fn on_record(purserd: &Purserd, acks: &[Ack]) {
    let records = journal::records(purserd);
    for ack in acks {
        let (seq, uid) = (ack.answer.body["seq"].as_u64(), ack.answer.body["uid"].as_str());
        let index = seq.and_then(|seq| usize::try_from(seq.checked_sub(1)?).ok());
        let record = index.and_then(|index| records.get(index)).unwrap_or_else(|| panic!("{ack:?} is lost"));
        assert_eq!(Some(record.header.seq.0), seq, "the journal has a gap");
        assert_eq!(Some(record.header.stream.id.to_string().as_str()), uid, "{ack:?} is another's record");
    }
}

/// Once nothing is under way any more: the world that the service shows is the fold of its journal, and exactly
/// the processes run that it speaks of.
pub(super) fn settled(purserd: &Purserd, manifests: &Manifests) {
    let world = await_world(purserd, |world| world.pods.values().all(at_rest));
    assert_eq!(invariant::check(&world), vec![]);
    let recorded: BTreeSet<u32> = world
        .pods
        .values()
        .filter_map(Pod::live)
        .flat_map(|pod| &pod.containers)
        .filter_map(|container| container.attempt())
        .map(|attempt| attempt.process.host_pid)
        .collect();
    // A container that has just begun has its mark once its program is executed.
    bounded::until(&format!("the processes that run are {recorded:?}, those on record"), || {
        marked_processes(&manifests.mark) == recorded
    });
    let lost = journal::records(purserd).into_iter().find(|record| {
        matches!(&record.event, Event::Pod(PodEvent::ContainerExited(exited)) if exited.exit.reason == ExitReason::Lost)
    });
    assert_eq!(lost, None, "a container was lost though nobody had touched it");
    for uid in uids_on_disk(purserd) {
        assert!(
            world.pods.keys().any(|known| known.to_string() == uid),
            "{uid} has a folder and is on no record"
        );
    }
}

/// Deletes what is left; then nothing of the run is left at all.
pub(super) fn clean_up(purserd: &Purserd, manifests: &Manifests) {
    let pods = get(purserd, "/v1/pods");
    for pod in pods["items"].as_array().expect("a list has items") {
        let name = pod["metadata"]["name"].as_str().expect("a pod has a name");
        let path = format!("/v1/namespaces/default/pods/{name}?gracePeriodSeconds=1");
        let answer =
            http::request(&purserd.socket(), "DELETE", &path, None, "").expect("the service answers");
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    await_world(purserd, |world| world.pods.is_empty());
    assert_eq!(marked_processes(&manifests.mark), BTreeSet::new());
    assert_eq!(uids_on_disk(purserd), BTreeSet::<String>::new());
}

fn get(purserd: &Purserd, path: &str) -> Value {
    let answer = http::request(&purserd.socket(), "GET", path, None, "").expect("the service answers");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

fn at_rest(pod: &Pod) -> bool {
    let Some(pod) = pod.live() else { return true };
    let phase = matches!(pod.phase, Phase::Running | Phase::Stopped(_) | Phase::Failed(_));
    let containers = pod.containers.iter().all(|container| {
        let moving = matches!(
            container.state,
            ContainerState::Creating { .. }
                | ContainerState::Stopping { .. }
                | ContainerState::BackOff { .. }
        );
        !moving && container.garbage.is_empty()
    });
    phase && containers
}

/// Waits until the journal's fold is as wanted, and checks that the service shows the same world.
fn await_world(purserd: &Purserd, wanted: impl Fn(&World) -> bool) -> World {
    // Subscribed before the first look: no change in between is missed.
    let mut feed = Feed::live(purserd);
    loop {
        let status = get(purserd, "/v1/status");
        let shown_at = status["seq"].as_u64().expect("the status has a head");
        let mut world = World::default();
        let mut shown = None;
        for record in journal::records(purserd) {
            world.apply(&record).expect("what was decided can be folded");
            if record.header.seq.0 == shown_at {
                shown = Some(world.digest());
            }
        }
        let digest = shown.expect("the export reaches the head that was shown");
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            status["worldDigest"], digest,
            "the world shown at {shown_at} is not the fold of the journal"
        );
        if wanted(&world) {
            return world;
        }
        feed.next_event();
    }
}

/// The shells of this run: by the mark in their environment, not by what the service says.
fn marked_processes(mark: &str) -> BTreeSet<u32> {
    let needle = format!("PURSER_TEST_MARK={mark}");
    let processes = std::fs::read_dir("/proc").expect("/proc can be read").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let marked = environ.split(|byte| *byte == 0).any(|variable| variable == needle.as_bytes());
        let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        // The shell itself: its `sleep` has the same environment, and so has a child between fork and exec.
        marked && cmdline.starts_with(b"/bin/sh\0") && !is_child_of_marked(*pid, &needle)
    })
    .collect()
}

fn is_child_of_marked(pid: u32, needle: &str) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    let Some(parent) = stat.rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(1)) else {
        return true;
    };
    let environ = std::fs::read(format!("/proc/{parent}/environ")).unwrap_or_default();
    environ.split(|byte| *byte == 0).any(|variable| variable == needle.as_bytes())
}

fn uids_on_disk(purserd: &Purserd) -> BTreeSet<String> {
    let pods = std::fs::read_dir(purserd.data_dir().join("pods"));
    pods.into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}
