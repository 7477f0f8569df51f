//! Advice from recorded use: what is unlike a pod's own past, what will run out, what is asked for in vain. Plain
//! statistics over [`UseRecorded`], without a clock and without effects. `docs/advice.md` explains the method and lists
//! every threshold.

mod anomaly;
mod exhaustion;
mod finding;
mod sizing;
mod statistics;
mod trend;
mod windows;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use super::event::UseRecorded;
use super::resource::ResourceKind;
use crate::ids::PodUid;
use crate::units::{Bytes, MilliCpu, Timestamp};

pub use finding::{
    Advice, AnomalyFigures, Certainty, ExhaustionFigures, Finding, Looked, SizingBasis, SizingFigures,
    Subject, Sureness,
};

/// What advice must know of a pod beside its use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodFacts {
    /// Which.
    pub pod: PodUid,
    /// The pool that it belongs to: its pods are advised together as well.
    pub pool: Option<String>,
    /// Processor time that it asks for; its limit counts if it names none, as in admission.
    pub requested_cpu: Option<MilliCpu>,
    /// Most processor time that it may have.
    pub limit_cpu: Option<MilliCpu>,
    /// Memory that it asks for; its limit counts if it names none.
    pub requested_memory: Option<Bytes>,
    /// Most memory that it may have.
    pub limit_memory: Option<Bytes>,
    /// Room on disk that it asks for; its limit counts if it names none.
    pub requested_disk: Option<Bytes>,
    /// Most room on disk that it may have.
    pub limit_disk: Option<Bytes>,
    /// Compute of GPUs that it was given, in percent of one; none if it has nothing of any now.
    pub given_gpu_share: Option<u64>,
    /// Memory of GPUs that it was given; none likewise.
    pub given_gpu_memory: Option<Bytes>,
}

/// What the machine has; 0 where that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeFacts {
    /// Processor time. It does not run out as the others do: nothing is predicted of it.
    pub cpu: MilliCpu,
    /// Memory.
    pub memory: Bytes,
    /// Room for the pods' folders.
    pub disk: Bytes,
}

/// Everything that recorded use gives reason to say: anomalies, then what runs out, then right-sizing; each with the
/// node first, then pools by name, then pods by uid.
///
/// The history is gone through once, so that it may come record by record; what is kept of it are the windows of these
/// pods. Neither the order of the windows nor that of the pods matters. Use of pods that are not among `pods` is left aside,
/// and of two facts with one uid the smaller counts. Takes about as long as sorting the history, and up to 32,640 slopes
/// for each pod and resource with a limit.
#[must_use]
pub fn advise(
    now: Timestamp,
    history: impl IntoIterator<Item = impl Borrow<UseRecorded>>,
    pods: &[PodFacts],
    node: NodeFacts,
) -> Vec<Advice> {
    let mut facts = pods.to_vec();
    facts.sort();
    facts.dedup_by_key(|facts| facts.pod);
    let wanted: BTreeSet<PodUid> = facts.iter().map(|facts| facts.pod).collect();
    let windows::Windows { pods: pasts, node: past } = windows::Windows::of(history, &wanted, now);
    let known: Vec<Known<'_>> =
        facts.iter().filter_map(|facts| pasts.get(&facts.pod).map(|past| Known { facts, past })).collect();
    let predicted: Vec<Advice> = known.iter().flat_map(|pod| exhaustion::of_pod(pod, now)).collect();
    let rising = predicted.iter().map(|it| (it.subject.clone(), it.resource.clone())).collect();
    let mut advice: Vec<Advice> = known.iter().flat_map(|pod| anomaly::of(pod, now)).collect();
    advice.extend(exhaustion::of_node(&past, node, now));
    advice.extend(predicted);
    advice.extend(sizing::of_pools(&facts, &pasts, &rising));
    advice.extend(known.iter().flat_map(|pod| sizing::of_pod(pod, &rising)));
    advice
}

/// A pod with its windows.
#[derive(Clone, Copy)]
struct Known<'a> {
    facts: &'a PodFacts,
    past: &'a windows::Past,
}

/// Windows of pods by uid.
type Pasts = BTreeMap<PodUid, windows::Past>;

impl PodFacts {
    /// What it asks for of a resource, as admission counts it; 0 if it names nothing.
    fn requested(&self, kind: &ResourceKind) -> u64 {
        let named = match kind {
            ResourceKind::Cpu => self.requested_cpu.map(|amount| amount.0),
            ResourceKind::Memory => self.requested_memory.map(|amount| amount.0),
            ResourceKind::Disk => self.requested_disk.map(|amount| amount.0),
            _ => None,
        };
        named.or_else(|| self.limit(kind)).unwrap_or(0)
    }

    /// Most that it may have of a resource, if there is such a bound.
    fn limit(&self, kind: &ResourceKind) -> Option<u64> {
        match kind {
            ResourceKind::Cpu => self.limit_cpu.map(|amount| amount.0),
            ResourceKind::Memory => self.limit_memory.map(|amount| amount.0),
            ResourceKind::Disk => self.limit_disk.map(|amount| amount.0),
            // What it was given of GPUs is what it asked for and what it may have.
            ResourceKind::GpuShare => self.given_gpu_share,
            ResourceKind::GpuMemory => self.given_gpu_memory.map(|amount| amount.0),
            _ => None,
        }
    }

    /// Whether there can be advice on what to ask for of a resource: on GPUs for who has something of them.
    fn has(&self, kind: &ResourceKind) -> bool {
        match kind {
            ResourceKind::GpuShare | ResourceKind::GpuMemory => self.limit(kind).is_some(),
            _ => true,
        }
    }
}
