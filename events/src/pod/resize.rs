//! Vertical scaling: other processor time and memory for containers of a pod that goes on running.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::command::{PodCommand, PodRejection};
use super::event::PodEvent;
use super::spec::{ContainerSpec, PodSpec, Resources};
use super::state::{Container, Phase, Pod, PodState};
use crate::ids::PodUid;
use crate::ledger::{Admission, Demand, LedgerRejection};
use crate::names::ContainerName;
use crate::units::{Bytes, MilliCpu};

/// Processor time and memory of one container, as they are to be; none means no limit, or nothing asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSize {
    /// Which container.
    pub container: ContainerName,
    /// Most processor time.
    pub cpu_limit: Option<MilliCpu>,
    /// Processor time to be weighed by when it is short.
    pub cpu_request: Option<MilliCpu>,
    /// Most memory.
    pub memory_limit: Option<Bytes>,
    /// Memory that the pod expects to use.
    pub memory_request: Option<Bytes>,
}

impl ContainerSize {
    /// What a container has by a specification.
    #[must_use]
    pub fn of(spec: &ContainerSpec) -> ContainerSize {
        let Resources { cpu_limit, cpu_request, memory_limit, memory_request, .. } = spec.resources;
        ContainerSize { container: spec.name.clone(), cpu_limit, cpu_request, memory_limit, memory_request }
    }

    /// Puts it into a container's specification.
    fn put(&self, spec: &mut ContainerSpec) {
        let resources = &mut spec.resources;
        resources.cpu_limit = self.cpu_limit;
        resources.cpu_request = self.cpu_request;
        resources.memory_limit = self.memory_limit;
        resources.memory_request = self.memory_request;
    }

    /// Why it cannot be: the part of it as in a manifest, and what is wrong.
    fn fault(&self) -> Option<(&'static str, &'static str)> {
        let is_beyond = |request: Option<u64>, limit: Option<u64>| {
            request.zip(limit).is_some_and(|(request, limit)| limit < request)
        };
        if self.cpu_limit == Some(MilliCpu(0)) {
            Some(("limits.cpu", "must be more than 0"))
        } else if self.memory_limit == Some(Bytes(0)) {
            Some(("limits.memory", "must be more than 0"))
        } else if is_beyond(self.cpu_request.map(|it| it.0), self.cpu_limit.map(|it| it.0)) {
            Some(("requests.cpu", "must not be more than the limit"))
        } else if is_beyond(self.memory_request.map(|it| it.0), self.memory_limit.map(|it| it.0)) {
            Some(("requests.memory", "must not be more than the limit"))
        } else {
            None
        }
    }
}

/// What is to be changed of one container; what is none here stays, and `Some(None)` takes it away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SizeChange {
    /// Which; the pod's only container if none.
    pub container: Option<ContainerName>,
    /// Most processor time.
    pub cpu_limit: Option<Option<MilliCpu>>,
    /// Processor time to be weighed by.
    pub cpu_request: Option<Option<MilliCpu>>,
    /// Most memory.
    pub memory_limit: Option<Option<Bytes>>,
    /// Memory that is expected to be used.
    pub memory_request: Option<Option<Bytes>>,
}

impl From<ContainerSize> for SizeChange {
    fn from(size: ContainerSize) -> SizeChange {
        SizeChange {
            container: Some(size.container),
            cpu_limit: Some(size.cpu_limit),
            cpu_request: Some(size.cpu_request),
            memory_limit: Some(size.memory_limit),
            memory_request: Some(size.memory_request),
        }
    }
}

/// A wish for other sizes, with what was found out before it is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResizeWish {
    /// What is to be changed.
    pub changes: Vec<SizeChange>,
    /// The tier by whose name it was asked for.
    pub tier: Option<String>,
    /// What the ledger said.
    pub admission: Admission,
    /// Memory that containers have now whose limit would be lowered, as far as it could be measured.
    pub used: BTreeMap<ContainerName, Bytes>,
    /// Why the runtime cannot change what runs, if it cannot.
    pub obstacle: Option<String>,
}

/// The change of sizes that a pod saw last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resize {
    /// The generation of the pod that it made: a pod is admitted as its first.
    pub generation: u32,
    /// The tier by whose name it was asked for.
    pub tier: Option<String>,
    /// What was before.
    pub from: Vec<ContainerSize>,
    /// What is to be.
    pub to: Vec<ContainerSize>,
    /// How far it is.
    pub progress: Progress,
}

/// How far a change of sizes is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Progress {
    /// The runtime is to carry it out: an open intent.
    Requested,
    /// It is so.
    Done,
    /// It could not be carried out, and all is as before.
    Failed {
        /// At which container.
        container: ContainerName,
        /// What the runtime or the kernel said.
        message: String,
    },
}

/// `pod.resize-requested` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResizeRequested {
    /// The generation of the pod from now on.
    pub generation: u32,
    /// The tier by whose name it was asked for.
    pub tier: Option<String>,
    /// What the containers had that change, in the order of the manifest.
    pub from: Vec<ContainerSize>,
    /// What they are to have.
    pub to: Vec<ContainerSize>,
}

/// `pod.resized` version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resized {
    /// The generation that is in force.
    pub generation: u32,
}

/// `pod.resize-failed` version 1. Limits and specification are as before the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResizeFailed {
    /// The generation that did not come into force.
    pub generation: u32,
    /// At which container.
    pub container: ContainerName,
    /// What the runtime or the kernel said, shortened.
    pub message: String,
}

impl PodSpec {
    /// This specification with other sizes of some containers.
    #[must_use]
    pub fn resized(&self, sizes: &[ContainerSize]) -> PodSpec {
        let mut next = self.clone();
        for container in next.init_containers.iter_mut().chain(&mut next.containers) {
            if let Some(size) = sizes.iter().find(|size| size.container == container.name) {
                size.put(container);
            }
        }
        next
    }

    /// What of this pod's sizes is to be changed so that it is as `other`; none if that takes more than other sizes, or
    /// nothing.
    #[must_use]
    pub fn resizes_to(&self, other: &PodSpec) -> Option<Vec<ContainerSize>> {
        let changed = self.other_sizes(other);
        let is_all = || self.resized(&changed).first_difference(other).is_none();
        (!changed.is_empty() && is_all()).then_some(changed)
    }

    fn other_sizes(&self, other: &PodSpec) -> Vec<ContainerSize> {
        let sizes = |spec: &PodSpec| -> Vec<ContainerSize> {
            spec.all_containers().map(|(_, container)| ContainerSize::of(container)).collect()
        };
        let (before, after) = (sizes(self), sizes(other));
        after.into_iter().filter(|size| !before.contains(size)).collect()
    }

    /// Where another specification differs, as a path in its manifest: in what cannot be changed in place, if it does.
    #[must_use]
    pub fn first_conflict(&self, other: &PodSpec) -> Option<String> {
        let beside = self.resized(&self.other_sizes(other)).first_difference(other);
        beside.or_else(|| self.first_difference(other))
    }

    /// Where a container stands in the manifest.
    fn place(&self, name: &ContainerName) -> String {
        let at = |list: &[ContainerSpec]| list.iter().position(|container| container.name == *name);
        match (at(&self.init_containers), at(&self.containers)) {
            (Some(index), _) => format!("spec.initContainers[{index}].resources"),
            (None, index) => format!("spec.containers[{}].resources", index.unwrap_or(0)),
        }
    }
}

impl PodState {
    /// Which generation of its specification it is: every change of sizes makes another.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.resize.as_ref().map_or(1, |resize| resize.generation)
    }

    /// The change of sizes that is under way.
    #[must_use]
    pub fn open_resize(&self) -> Option<&Resize> {
        self.resize.as_ref().filter(|resize| resize.progress == Progress::Requested)
    }

    /// Whether other sizes that the ledger gave for this generation are in force; none if that is not known yet.
    #[must_use]
    pub fn has_resized(&self, generation: u32) -> Option<bool> {
        match &self.resize {
            Some(resize) if resize.generation == generation => match resize.progress {
                Progress::Requested => None,
                Progress::Done => Some(true),
                Progress::Failed { .. } => Some(false),
            },
            // It was never decided, or is long over.
            Some(_) | None => Some(false),
        }
    }

    /// What would change by a wish: containers with other sizes, in the order of the manifest.
    ///
    /// # Errors
    /// It cannot be.
    pub fn sizes_to_be(&self, changes: &[SizeChange]) -> Result<Vec<ContainerSize>, PodRejection> {
        let mut sizes: Vec<ContainerSize> =
            self.spec.all_containers().map(|(_, container)| ContainerSize::of(container)).collect();
        for change in changes {
            let name = self.container_meant(change.container.as_ref())?;
            let Some(size) = sizes.iter_mut().find(|size| size.container == *name) else { continue };
            size.cpu_limit = change.cpu_limit.unwrap_or(size.cpu_limit);
            size.cpu_request = change.cpu_request.unwrap_or(size.cpu_request);
            size.memory_limit = change.memory_limit.unwrap_or(size.memory_limit);
            size.memory_request = change.memory_request.unwrap_or(size.memory_request);
        }
        sizes.retain(|size| {
            self.spec.container(&size.container).map(ContainerSize::of).as_ref() != Some(size)
        });
        for size in &sizes {
            self.check_size(size)?;
        }
        Ok(sizes)
    }

    fn container_meant<'a>(
        &'a self,
        name: Option<&'a ContainerName>,
    ) -> Result<&'a ContainerName, PodRejection> {
        let known = |names: &mut dyn Iterator<Item = &Container>| -> String {
            names.map(|container| format!("`{}`", container.name)).collect::<Vec<_>>().join(", ")
        };
        match name {
            Some(name) if self.container(name).is_some() => Ok(name),
            Some(name) => Err(PodRejection::NoSuchContainer {
                container: name.to_string(),
                known: known(&mut self.containers.iter()),
            }),
            None => {
                let mut apps = self.apps();
                match (apps.next(), apps.next()) {
                    (Some(only), None) => Ok(&only.name),
                    _ => Err(PodRejection::AmbiguousContainer { known: known(&mut self.apps()) }),
                }
            }
        }
    }

    fn check_size(&self, size: &ContainerSize) -> Result<(), PodRejection> {
        let place = self.spec.place(&size.container);
        if let Some((part, message)) = size.fault() {
            return Err(PodRejection::BadResize {
                path: format!("{place}.{part}"),
                message: message.to_owned(),
            });
        }
        let before = self.spec.container(&size.container).map(ContainerSize::of);
        let is_cpu_same = before.is_some_and(|before| {
            (before.cpu_limit, before.cpu_request) == (size.cpu_limit, size.cpu_request)
        });
        if self.spec.claims.exclusive_cpus && !is_cpu_same {
            let reason = "the pod has its processors alone".to_owned();
            return Err(PodRejection::NotResizable { path: format!("{place}.requests.cpu"), reason });
        }
        Ok(())
    }

    /// What is to be asked of the ledger so that containers can have these sizes: processor time and memory of the whole
    /// pod, each none if it stays as it is.
    ///
    /// # Errors
    /// A sum that cannot be counted.
    pub fn demand_of(
        &self,
        sizes: &[ContainerSize],
    ) -> Result<(Option<MilliCpu>, Option<Bytes>), PodRejection> {
        let of = |spec: &PodSpec| {
            let demand = Demand::of(spec);
            demand.map_err(|error| PodRejection::from(LedgerRejection::Uncountable { kind: error.kind }))
        };
        let (before, after) = (of(&self.spec)?, of(&self.spec.resized(sizes))?);
        let cpu = (before.cpu != after.cpu).then_some(after.cpu);
        Ok((cpu, (before.memory != after.memory).then_some(after.memory)))
    }

    /// The containers that run and whose limit of memory would be lowered.
    pub fn lowered<'a>(&'a self, sizes: &'a [ContainerSize]) -> impl Iterator<Item = &'a ContainerSize> {
        sizes.iter().filter(|size| {
            let runs = self.container(&size.container).is_some_and(|container| container.attempt().is_some());
            let before = self.spec.container(&size.container).and_then(|spec| spec.resources.memory_limit);
            let is_lower = |limit: Bytes| before.is_none_or(|before| limit < before);
            runs && size.memory_limit.is_some_and(is_lower)
        })
    }

    /// Whether each container that runs is among these tries, and none is on its way up.
    fn are_all_told(&self, told: &BTreeMap<ContainerName, u32>) -> bool {
        self.containers.iter().all(|container| match container.attempt() {
            Some(attempt) => told.get(&container.name) == Some(&attempt.number),
            None => container.is_down(),
        })
    }
}

/// The answer to what is asked or told about a pod's sizes.
pub(super) fn answer(pod: &PodState, command: &PodCommand) -> Result<Vec<PodEvent>, PodRejection> {
    let event = match command {
        PodCommand::Resize(wish) => request(pod, wish)?.map(PodEvent::from),
        PodCommand::CompleteResize { generation, told } => {
            complete(pod, *generation, told).map(PodEvent::from)
        }
        PodCommand::FailResize { failed, told } => fail(pod, failed, told).map(PodEvent::from),
        // Nothing else is asked here.
        _ => None,
    };
    Ok(event.into_iter().collect())
}

/// What becomes of a pod by what happened to its sizes.
pub(super) fn follow(pod: &mut PodState, event: &PodEvent) -> Option<()> {
    match event {
        PodEvent::ResizeRequested(requested) => follow_request(pod, requested),
        PodEvent::Resized(resized) => follow_end(pod, resized.generation, Progress::Done),
        PodEvent::ResizeFailed(failed) => {
            let (container, message) = (failed.container.clone(), failed.message.clone());
            follow_end(pod, failed.generation, Progress::Failed { container, message })
        }
        _ => None,
    }
}

/// The answer to a wish for other sizes.
fn request(pod: &PodState, wish: &ResizeWish) -> Result<Option<ResizeRequested>, PodRejection> {
    let word =
        || PodRejection::WrongPhase { phase: pod.phase.word().to_owned(), verb: "be resized".to_owned() };
    match pod.phase {
        Phase::Pending if pod.awaits_resources => return Err(word()),
        Phase::Stopping { .. } => return Err(word()),
        Phase::Terminating { .. } => return Err(PodRejection::BeingDeleted { id: pod.spec.id.clone() }),
        Phase::Pending | Phase::Provisioning | Phase::Running | Phase::Stopped(_) | Phase::Failed(_) => {}
    }
    let to = pod.sizes_to_be(&wish.changes)?;
    if to.is_empty() {
        return Ok(None);
    }
    if let Some(open) = pod.open_resize() {
        return Err(PodRejection::ResizeInProgress { generation: open.generation });
    }
    let runs = pod.containers.iter().any(|container| !container.is_down());
    if let Some(reason) = wish.obstacle.clone().filter(|_| runs) {
        return Err(PodRejection::NeedsReplacement { reason });
    }
    for size in pod.lowered(&to) {
        let (limit, used) = (size.memory_limit.unwrap_or_default(), wish.used.get(&size.container).copied());
        if let Some(used) = used.filter(|used| limit < *used) {
            return Err(PodRejection::BelowUse { container: size.container.clone(), limit, used });
        }
    }
    if let Admission::Refused(rejection) = &wish.admission {
        return Err(LedgerRejection::clone(rejection).into());
    }
    let from =
        to.iter().filter_map(|size| pod.spec.container(&size.container).map(ContainerSize::of)).collect();
    let generation = pod.generation().saturating_add(1);
    Ok(Some(ResizeRequested { generation, tier: wish.tier.clone(), from, to }))
}

/// What follows when the runtime says that containers have their sizes: nothing while another comes up with the old ones.
fn complete(pod: &PodState, generation: u32, told: &BTreeMap<ContainerName, u32>) -> Option<Resized> {
    let is_open = pod.open_resize().is_some_and(|open| open.generation == generation);
    (is_open && pod.are_all_told(told)).then_some(Resized { generation })
}

/// What follows when the runtime could not do it, and has taken back what it did.
fn fail(pod: &PodState, failed: &ResizeFailed, told: &BTreeMap<ContainerName, u32>) -> Option<ResizeFailed> {
    complete(pod, failed.generation, told).map(|_| failed.clone())
}

/// What follows by itself: with nothing that runs there is nothing to be changed outside.
pub(super) fn step(pod: &PodState) -> Option<Resized> {
    complete(pod, pod.open_resize()?.generation, &BTreeMap::new())
}

/// Takes up a change: from here on containers are started with the new sizes.
fn follow_request(pod: &mut PodState, requested: &ResizeRequested) -> Option<()> {
    let fits = requested.generation == pod.generation() + 1 && pod.open_resize().is_none();
    let known = requested.to.iter().all(|size| pod.spec.container(&size.container).is_some());
    (fits && known).then_some(())?;
    pod.spec = std::sync::Arc::new(pod.spec.resized(&requested.to));
    let ResizeRequested { generation, tier, from, to } = requested.clone();
    pod.resize = Some(Resize { generation, tier, from, to, progress: Progress::Requested });
    Some(())
}

/// Notes that a change is in force, or is taken back.
fn follow_end(pod: &mut PodState, generation: u32, progress: Progress) -> Option<()> {
    let resize = pod.resize.as_mut()?;
    (resize.generation == generation && resize.progress == Progress::Requested).then_some(())?;
    if matches!(progress, Progress::Failed { .. }) {
        pod.spec = std::sync::Arc::new(pod.spec.resized(&resize.from));
    }
    resize.progress = progress;
    Some(())
}

/// A pod that may have more than the ledger has for it; none if that cannot be told of it.
pub(crate) fn beyond_ledger(uid: PodUid, pod: &Pod, held: Option<(MilliCpu, Bytes)>) -> Option<String> {
    let (pod, (cpu, memory)) = (pod.live()?, held?);
    let resize = pod.resize.as_ref()?;
    let mut specs = vec![pod.spec.as_ref().clone()];
    specs.extend(pod.open_resize().map(|_| pod.spec.resized(&resize.from)));
    specs.iter().filter_map(|spec| Demand::of(spec).ok()).find_map(|may| {
        let is_beyond = pod.holds_resources() && (cpu < may.cpu || memory < may.memory);
        let told =
            || format!("{uid} may have {} and {}, the ledger has {cpu} and {memory}", may.cpu, may.memory);
        is_beyond.then(told)
    })
}
