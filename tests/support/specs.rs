//! Pod specifications for tests.

use std::collections::BTreeMap;

use purser_events::ledger::Claims;
use purser_events::pod::PodSpec;
use purser_events::pod::spec::{
    ContainerSpec, Probe, ProbeCheck, PullPolicy, Resources, RestartPolicy, RuntimeClass, User,
};
use purser_events::{ContainerName, PodId};

/// A container's name.
///
/// # Panics
/// It is not well formed.
#[must_use]
pub fn name(text: &str) -> ContainerName {
    ContainerName::new(text).expect("tests use well-formed names")
}

/// A container that runs `command`.
#[must_use]
pub fn container(text: &str, command: &[&str]) -> ContainerSpec {
    ContainerSpec {
        name: name(text),
        image: None,
        image_pull_policy: PullPolicy::IfNotPresent,
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        args: vec![],
        env: vec![],
        working_dir: None,
        resources: Resources::default(),
        ports: vec![],
        mounts: vec![],
        liveness: None,
        readiness: None,
        startup: None,
        user: User::default(),
    }
}

/// A pod of processes with these containers, restarted always, with 30 s of grace.
///
/// # Panics
/// The name is not well formed.
#[must_use]
pub fn pod(text: &str, containers: Vec<ContainerSpec>) -> PodSpec {
    PodSpec {
        id: PodId::new("default", text).expect("tests use well-formed names"),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        runtime: RuntimeClass::Process,
        restart_policy: RestartPolicy::Always,
        termination_grace_s: 30,
        fs_group: None,
        volumes: vec![],
        init_containers: vec![],
        containers,
        claims: Claims::default(),
    }
}

/// A probe that runs `true` with Kubernetes' figures.
#[must_use]
pub fn probe() -> Probe {
    Probe {
        check: ProbeCheck::Exec { command: vec!["true".to_owned()] },
        initial_delay_s: 0,
        period_s: 10,
        timeout_s: 1,
        success_threshold: 1,
        failure_threshold: 3,
    }
}
