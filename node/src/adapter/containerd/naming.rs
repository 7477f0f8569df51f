//! What a container is called in containerd, and how its record leads back to the pod.

use std::collections::{BTreeMap, HashMap};

use purser_actors::port::{ContainerKey, StartedContainer};
use purser_events::worker::ProcessIdentity;
use purser_events::{ContainerName, PodUid, Timestamp};
use uuid::Uuid;

use super::document::digest_of;

/// Which node's it is.
pub(super) const NODE: &str = "purser.dev/node";
const POD_UID: &str = "purser.dev/pod-uid";
const CONTAINER: &str = "purser.dev/container";
const ATTEMPT: &str = "purser.dev/attempt";
/// Written once it runs: what ran, for when the process is gone and someone asks.
pub(super) const STARTED: &str = "purser.dev/started";
/// Written before it runs, of the process that waits to be started: it may have run, if nothing says that it waits still.
pub(super) const STARTING: &str = "purser.dev/starting";

/// The id of a container's record, task and snapshot: at most 65 characters of those that containerd allows.
/// The name goes in as a digest, because containerd refuses some names that Kubernetes allows (`a--b`).
pub(super) fn id_of(key: &ContainerKey) -> String {
    let name = digest_of(key.container.as_str().as_bytes());
    format!("{}-{}-{}", key.pod, &name[7..23], key.attempt)
}

/// The labels from which [`key_of`] reads.
pub(super) fn labels_of(key: &ContainerKey, node: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (NODE.to_owned(), node.to_owned()),
        (POD_UID.to_owned(), key.pod.to_string()),
        (CONTAINER.to_owned(), key.container.to_string()),
        (ATTEMPT.to_owned(), key.attempt.to_string()),
    ])
}

/// Which container a record is; none if it is not one of Purser's.
pub(super) fn key_of(labels: &HashMap<String, String>) -> Option<ContainerKey> {
    Some(ContainerKey {
        pod: PodUid(labels.get(POD_UID)?.parse::<Uuid>().ok()?),
        container: ContainerName::new(labels.get(CONTAINER)?.as_str()).ok()?,
        attempt: labels.get(ATTEMPT)?.parse().ok()?,
    })
}

/// What a label says of what ran or is about to.
pub(super) fn label_of(started: &StartedContainer) -> String {
    let process = &started.process;
    format!(
        "{} {} {} {} {}",
        process.host_pid,
        process.start_time_ticks,
        process.boot_id,
        process.container_pid,
        started.started_at.0
    )
}

/// What ran or was about to, as the label of this name says; none if there is none, or an empty one.
pub(super) fn started_of(labels: &HashMap<String, String>, label: &str) -> Option<StartedContainer> {
    let mut words = labels.get(label)?.split(' ');
    let process = ProcessIdentity {
        host_pid: words.next()?.parse().ok()?,
        start_time_ticks: words.next()?.parse().ok()?,
        boot_id: words.next()?.parse().ok()?,
        container_pid: words.next()?.parse().ok()?,
    };
    Some(StartedContainer { process, started_at: Timestamp(words.next()?.parse().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ContainerKey {
        ContainerKey {
            pod: PodUid(Uuid::from_u128(7)),
            container: ContainerName::new(name).unwrap(),
            attempt: u32::MAX,
        }
    }

    #[test]
    fn an_id_is_what_containerd_allows() {
        for name in ["a", "a--b", &"x".repeat(63)] {
            let id = id_of(&key(name));
            assert!(id.len() <= 76, "{id}");
            assert!(
                id.split('-').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()))
            );
        }
        assert_ne!(id_of(&key("a")), id_of(&key("b")));
    }

    #[test]
    fn labels_lead_back_to_the_container_and_its_process() {
        let mut labels: HashMap<String, String> = labels_of(&key("web"), "n").into_iter().collect();
        assert_eq!(key_of(&labels), Some(key("web")));
        assert_eq!(started_of(&labels, STARTED), None);
        let boot_id = Uuid::from_u128(9);
        let process = ProcessIdentity { host_pid: 5, start_time_ticks: 6, boot_id, container_pid: 1 };
        let started = StartedContainer { process, started_at: Timestamp(8) };
        labels.insert(STARTING.to_owned(), label_of(&started));
        assert_eq!(started_of(&labels, STARTED), None);
        assert_eq!(started_of(&labels, STARTING), Some(started));
        labels.insert(STARTING.to_owned(), String::new());
        assert_eq!(started_of(&labels, STARTING), None);
        labels.insert(ATTEMPT.into(), "many".into());
        assert_eq!(key_of(&labels), None);
    }
}
