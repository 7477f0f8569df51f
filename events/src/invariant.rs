//! The catalogue of what must always hold. Tests and the simulator check it after every step; the node checks
//! it from time to time, and a broken one becomes a log line and a metric, never a repair by guess.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::ids::{PodUid, WorkerUid};
use crate::ledger;
use crate::pod::{self, Phase, Pod, PodState};
use crate::pool;
use crate::view::World;
use crate::worker::Worker;

/// A rule about the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Invariant {
    /// See [`Invariant::sentence`]; so for all.
    OnePodPerName,
    /// The registry is a view of the pods.
    RegistryAgrees,
    /// A pod at rest runs nothing.
    RestRunsNothing,
    /// Init before app.
    InitBeforeApp,
    /// Numbers of tries only grow.
    AttemptsBoundRestarts,
    /// A worker that runs is an attempt that runs.
    WorkerHasContainer,
    /// A process is one worker.
    OneWorkerPerProcess,
    /// What a pod runs on is its own.
    RunsOnWhatItHolds,
    /// No pod may have more than it holds.
    HoldsWhatItMayHave,
    /// The ledger's sums are those of its holders.
    LedgerBalances,
    /// What a pool has given out is what its tasks have.
    PoolsBalance,
    /// Nothing was quarantined.
    NothingQuarantined,
    /// Actors have what the journal says; checked where there are actors.
    ActorsAgree,
}

impl Invariant {
    /// Every rule.
    pub const ALL: [Invariant; 13] = [
        Invariant::OnePodPerName,
        Invariant::RegistryAgrees,
        Invariant::RestRunsNothing,
        Invariant::InitBeforeApp,
        Invariant::AttemptsBoundRestarts,
        Invariant::WorkerHasContainer,
        Invariant::OneWorkerPerProcess,
        Invariant::RunsOnWhatItHolds,
        Invariant::HoldsWhatItMayHave,
        Invariant::LedgerBalances,
        Invariant::PoolsBalance,
        Invariant::NothingQuarantined,
        Invariant::ActorsAgree,
    ];

    /// The rule in words.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Invariant::OnePodPerName => "at most one incarnation that is not gone has a name",
            Invariant::RegistryAgrees => "the registry lists exactly the pods that are not gone, as they are",
            Invariant::RestRunsNothing => "a pod that has stopped or failed runs nothing",
            Invariant::InitBeforeApp => "no container runs before every init container has succeeded",
            Invariant::AttemptsBoundRestarts => "a container was started again less often than it was tried",
            Invariant::WorkerHasContainer => "a worker that runs is the present attempt of a container",
            Invariant::OneWorkerPerProcess => "no two workers that run are the same process",
            Invariant::RunsOnWhatItHolds => "a pod that runs, or is about to, has resources on the ledger",
            Invariant::HoldsWhatItMayHave => {
                "no pod that was resized may have more than the ledger has for it, from before its containers are \
                 told until they were"
            }
            Invariant::LedgerBalances => {
                "the ledger gives nothing twice, and its sums are those of its holders"
            }
            Invariant::PoolsBalance => {
                "no slot has two owners, no workspace two applies, and no pod that is busy is on its way out"
            }
            Invariant::NothingQuarantined => "every record fits the state that it follows",
            Invariant::ActorsAgree => "what an actor has is what the journal says",
        }
    }

    /// Where the world breaks this rule.
    #[must_use]
    pub fn check(self, world: &World) -> Vec<Inconsistency> {
        let live = || world.pods.iter().filter_map(|(uid, pod)| pod.live().map(|pod| (*uid, pod)));
        let found = match self {
            Invariant::OnePodPerName => names_twice(live()),
            Invariant::RegistryAgrees => registry_differs(world),
            Invariant::RestRunsNothing => live().filter_map(runs_at_rest).collect(),
            Invariant::InitBeforeApp => live().filter_map(app_too_early).collect(),
            Invariant::AttemptsBoundRestarts => live().filter_map(too_many_restarts).collect(),
            Invariant::WorkerHasContainer => {
                running(world).filter_map(|worker| idle(world, worker)).collect()
            }
            Invariant::OneWorkerPerProcess => shared_processes(world),
            Invariant::RunsOnWhatItHolds => live().filter_map(|pod| holds_nothing(world, pod)).collect(),
            Invariant::HoldsWhatItMayHave => world
                .pods
                .iter()
                .filter(|(uid, _)| !world.quarantined.contains_key(&uid.stream()))
                .filter_map(|(uid, pod)| {
                    let held = world.ledger.grant(*uid).map(|grant| (grant.cpu, grant.memory));
                    pod::resize::beyond_ledger(*uid, pod, held)
                })
                .collect(),
            Invariant::LedgerBalances => ledger::check(&world.ledger),
            Invariant::PoolsBalance => world
                .pools
                .iter()
                .flat_map(|(name, pool)| {
                    pool::check(pool).into_iter().map(move |detail| format!("pool/{name}: {detail}"))
                })
                .collect(),
            Invariant::NothingQuarantined => world
                .quarantined
                .iter()
                .map(|(stream, quarantine)| {
                    format!("{stream} from record {}: {}", quarantine.seq, quarantine.reason)
                })
                .collect(),
            // A world has no actors: the node's self-check reports these.
            Invariant::ActorsAgree => vec![],
        };
        found.into_iter().map(|detail| Inconsistency { invariant: self, detail }).collect()
    }
}

/// A rule that is broken, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inconsistency {
    /// The rule.
    pub invariant: Invariant,
    /// Where.
    pub detail: String,
}

impl fmt::Display for Inconsistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not so that {}: {}", self.invariant.sentence(), self.detail)
    }
}

/// Everything in the world that breaks a rule.
#[must_use]
pub fn check(world: &World) -> Vec<Inconsistency> {
    Invariant::ALL.iter().flat_map(|invariant| invariant.check(world)).collect()
}

fn names_twice<'world>(pods: impl Iterator<Item = (PodUid, &'world PodState)>) -> Vec<String> {
    let mut seen = BTreeMap::new();
    pods.filter_map(|(uid, pod)| {
        let before = seen.insert(&pod.spec.id, uid)?;
        Some(format!("{} is {before} and {uid}", pod.spec.id))
    })
    .collect()
}

fn registry_differs(world: &World) -> Vec<String> {
    let listed: BTreeSet<_> = world
        .registry
        .entries
        .iter()
        .map(|(id, entry)| (id.clone(), entry.uid, &*entry.phase, entry.restarts))
        .collect();
    let real: BTreeSet<_> = world
        .pods
        .iter()
        .filter_map(|(uid, pod)| pod.live().map(|pod| (uid, pod)))
        .map(|(uid, pod)| (pod.spec.id.clone(), *uid, pod.phase.word(), pod.restarts()))
        .collect();
    listed.symmetric_difference(&real).map(|(id, uid, phase, _)| format!("{id} {uid} {phase}")).collect()
}

fn runs_at_rest((uid, pod): (PodUid, &PodState)) -> Option<String> {
    let at_rest = matches!(pod.phase, Phase::Stopped(_) | Phase::Failed(_));
    let up = pod.containers.iter().find(|container| !container.is_down())?;
    at_rest.then(|| format!("{uid} is {}, its container {} is {}", pod.phase.word(), up.name, up.word()))
}

fn app_too_early((uid, pod): (PodUid, &PodState)) -> Option<String> {
    use crate::pod::ContainerState as S;
    let done = |state: &S| matches!(state, S::Exited { exit, .. } if exit.code == 0);
    let unfinished = pod.inits().find(|init| !done(&init.state))?;
    let early = pod.apps().find(|app| !app.is_down())?;
    Some(format!(
        "{uid}: {} is {} while {} is {}",
        early.name,
        early.word(),
        unfinished.name,
        unfinished.word()
    ))
}

fn too_many_restarts((uid, pod): (PodUid, &PodState)) -> Option<String> {
    let odd = pod.containers.iter().find(|container| container.attempts < container.restarts)?;
    Some(format!("{uid}: {} has {} restarts of {} tries", odd.name, odd.restarts, odd.attempts))
}

fn holds_nothing(world: &World, (uid, pod): (PodUid, &PodState)) -> Option<String> {
    // Before there was a ledger nobody had anything on it; nothing is certain about a pod that is not folded any more.
    let has_ledger = !world.ledger.capacity.cpus.cpus.is_empty() || !world.ledger.holdings.is_empty();
    let is_folded = !world.quarantined.contains_key(&uid.stream());
    let lacks = has_ledger && is_folded && pod.holds_resources() && world.ledger.grant(uid).is_none();
    lacks.then(|| format!("{uid} is {} and holds nothing", pod.phase.word()))
}

fn running(world: &World) -> impl Iterator<Item = (WorkerUid, &crate::worker::WorkerState)> {
    world.workers.iter().filter_map(|(uid, worker)| match worker {
        Worker::Running(worker) => Some((*uid, worker)),
        Worker::Unknown | Worker::Exited { .. } => None,
    })
}

fn idle(world: &World, (uid, worker): (WorkerUid, &crate::worker::WorkerState)) -> Option<String> {
    let pod = world.pods.get(&worker.pod).and_then(Pod::live);
    let container = pod.and_then(|pod| pod.container(&worker.container));
    let present =
        container.and_then(|container| container.attempt()).is_some_and(|attempt| attempt.worker == uid);
    // Of a pod whose payloads are withheld, nobody can tell.
    let is_unknown = world.withheld.contains(&worker.pod);
    (!present && !is_unknown)
        .then(|| format!("{uid} of {}/{} attempt {}", worker.pod, worker.container, worker.attempt))
}

fn shared_processes(world: &World) -> Vec<String> {
    let mut seen = BTreeMap::new();
    running(world)
        .filter_map(|(uid, worker)| {
            let process = &worker.process;
            let key = (process.boot_id, process.host_pid, process.start_time_ticks);
            seen.insert(key, uid).map(|before| format!("{before} and {uid} are pid {}", process.host_pid))
        })
        .collect()
}
