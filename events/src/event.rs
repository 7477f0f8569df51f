//! Every event that a journal can hold, with the number and version of its layout.

use serde::{Serialize, Serializer};

use crate::gpu::GpuEvent;
use crate::layout::{Decode, Encode, Layout, UnknownLayout};
use crate::ledger::LedgerEvent;
use crate::node::NodeEvent;
use crate::pod::PodEvent;
use crate::pool::PoolEvent;
use crate::violation::ViolationEvent;
use crate::worker::WorkerEvent;
use crate::{gpu, ids::StreamKind, ledger, node, pod, pool, violation, worker};

/// Anything that can happen.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// To the node.
    Node(NodeEvent),
    /// To a pod.
    Pod(PodEvent),
    /// To a worker.
    Worker(WorkerEvent),
    /// To the ledger.
    Ledger(LedgerEvent),
    /// To a GPU.
    Gpu(GpuEvent),
    /// To a pool.
    Pool(PoolEvent),
}

impl From<PoolEvent> for Event {
    fn from(event: PoolEvent) -> Event {
        Event::Pool(event)
    }
}

impl From<GpuEvent> for Event {
    fn from(event: GpuEvent) -> Event {
        Event::Gpu(event)
    }
}

impl From<LedgerEvent> for Event {
    fn from(event: LedgerEvent) -> Event {
        Event::Ledger(event)
    }
}

impl From<NodeEvent> for Event {
    fn from(event: NodeEvent) -> Event {
        Event::Node(event)
    }
}

impl From<PodEvent> for Event {
    fn from(event: PodEvent) -> Event {
        Event::Pod(event)
    }
}

impl From<WorkerEvent> for Event {
    fn from(event: WorkerEvent) -> Event {
        Event::Worker(event)
    }
}

/// Why stored bytes could not be made an event again.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError<E: std::error::Error + 'static> {
    /// The layout is not one of this release.
    #[error(transparent)]
    Unknown(#[from] UnknownLayout),
    /// The bytes are not of the layout that they are said to have.
    #[error("payload of event `{name}` version {version} is malformed")]
    Malformed {
        /// The event's name.
        name: &'static str,
        /// The layout's version.
        version: u16,
        /// What the codec said.
        source: E,
    },
}

/// One line an event: number, name, current version, the variant and its payload type, and for each version of the
/// past that payload's type, from which today's is made (an upcast). What several entities have in common stands
/// `within` a variant of each. Numbers are on disk for ever and stand in
/// `layouts.tsv` too; a test compares the two.
macro_rules! layouts {
    ($(
        $number:literal $name:literal v $version:literal => $entity:ident($event:ident::$variant:ident($payload:ty))
        $(, was $old:literal: $old_payload:ty)*;
    )* within {$(
        $in_number:literal $in_name:literal v $in_version:literal
            => $in_entity:ident($in_event:ident::$part:ident($in_part:ident::$in_variant:ident($in_payload:ty)))
            $(, was $in_old:literal: $in_old_payload:ty)*;
    )*}) => {
        /// Every current layout.
        pub const LAYOUTS: &[Layout] = &[
            $(Layout { number: $number, version: $version, name: $name },)*
            $(Layout { number: $in_number, version: $in_version, name: $in_name },)*
        ];

        /// Layouts of the past, which are still read: each by a function that makes today's payload of any of its
        /// payloads.
        pub const PAST_LAYOUTS: &[Layout] = &[
            $($(Layout { number: $number, version: $old, name: $name },)*)*
            $($(Layout { number: $in_number, version: $in_old, name: $in_name },)*)*
        ];

        impl Event {
            /// The layout in which this event is stored.
            #[must_use]
            pub fn layout(&self) -> Layout {
                match self {
                    $(Event::$entity($event::$variant(_)) => {
                        Layout { number: $number, version: $version, name: $name }
                    })*
                    $(Event::$in_entity($in_event::$part($in_part::$in_variant(_))) => {
                        Layout { number: $in_number, version: $in_version, name: $in_name }
                    })*
                }
            }

            /// Encodes the payload in its current layout.
            pub fn encode<E: Encode>(&self, encoder: &E) -> E::Output {
                match self {
                    $(Event::$entity($event::$variant(payload)) => encoder.encode::<$payload>(payload),)*
                    $(Event::$in_entity($in_event::$part($in_part::$in_variant(payload))) => {
                        encoder.encode::<$in_payload>(payload)
                    })*
                }
            }

            /// The event that these bytes hold, in the terms of today.
            ///
            /// # Errors
            /// The layout is unknown, or the bytes are not of that layout.
            pub fn decode<D: Decode>(
                number: u16,
                version: u16,
                bytes: &[u8],
                decoder: &D,
            ) -> Result<Event, DecodeError<D::Error>>
            where
                D::Error: std::error::Error + 'static,
            {
                match (number, version) {
                    $(($number, $version) => decoder
                        .decode::<$payload>(bytes)
                        .map(|payload| Event::$entity(payload.into()))
                        .map_err(|source| DecodeError::Malformed { name: $name, version, source }),)*
                    $($(($number, $old) => decoder
                        .decode::<$old_payload>(bytes)
                        .map(|payload| Event::$entity(<$payload>::from(payload).into()))
                        .map_err(|source| DecodeError::Malformed { name: $name, version, source }),)*)*
                    $(($in_number, $in_version) => decoder
                        .decode::<$in_payload>(bytes)
                        .map(|payload| Event::$in_entity($in_event::$part(payload.into())))
                        .map_err(|source| DecodeError::Malformed { name: $in_name, version, source }),)*
                    $($(($in_number, $in_old) => decoder
                        .decode::<$in_old_payload>(bytes)
                        .map(|payload| Event::$in_entity($in_event::$part(<$in_payload>::from(payload).into())))
                        .map_err(|source| DecodeError::Malformed { name: $in_name, version, source }),)*)*
                    $(($number, _) => Err(UnknownLayout::Version { name: $name, version }.into()),)*
                    $(($in_number, _) => Err(UnknownLayout::Version { name: $in_name, version }.into()),)*
                    _ => Err(UnknownLayout::Type { number }.into()),
                }
            }
        }
    };
}

layouts! {
    0x0101 "node.started" v 2 => Node(NodeEvent::Started(node::event::Started)), was 1: node::event::past::StartedV1;
    0x0102 "node.stopped" v 1 => Node(NodeEvent::Stopped(node::event::Stopped));
    0x0103 "node.cordoned" v 1 => Node(NodeEvent::Cordoned(node::event::Cordoned));
    0x0104 "node.uncordoned" v 1 => Node(NodeEvent::Uncordoned(node::event::Uncordoned));
    0x0105 "node.policy-set" v 2 => Node(NodeEvent::PolicySet(node::event::PolicySet)), was 1: node::event::past::PolicySetV1;
    0x0106 "node.runtime-lost" v 1 => Node(NodeEvent::RuntimeLost(node::event::RuntimeLost));
    0x0107 "node.runtime-found" v 1 => Node(NodeEvent::RuntimeFound(node::event::RuntimeFound));
    0x0108 "node.orphan-removed" v 1 => Node(NodeEvent::OrphanRemoved(node::event::OrphanRemoved));
    0x0109 "node.segment-sealed" v 1 => Node(NodeEvent::SegmentSealed(node::event::SegmentSealed));
    0x010a "node.journal-trimmed" v 1 => Node(NodeEvent::JournalTrimmed(node::event::JournalTrimmed));
    0x010b "node.disk-pressure-changed" v 1 => Node(NodeEvent::DiskPressureChanged(node::event::DiskPressureChanged));
    0x010c "node.redaction-requested" v 1 => Node(NodeEvent::RedactionRequested(node::event::RedactionRequested));
    0x010d "node.redaction-completed" v 1 => Node(NodeEvent::RedactionCompleted(node::event::RedactionCompleted));
    0x0110 "node.monitor-policy-set" v 1 => Node(NodeEvent::MonitorPolicySet(node::event::MonitorPolicySet));
    0x0201 "pod.admitted" v 3 => Pod(PodEvent::Admitted(pod::event::Admitted)), was 1: pod::past::AdmittedV1, was 2: pod::past::AdmittedV2;
    0x0202 "pod.provisioning-started" v 1 => Pod(PodEvent::ProvisioningStarted(pod::event::ProvisioningStarted));
    0x0203 "pod.setup-requested" v 1 => Pod(PodEvent::SetupRequested(pod::event::SetupRequested));
    0x0204 "pod.setup-completed" v 1 => Pod(PodEvent::SetupCompleted(pod::event::SetupCompleted));
    0x0205 "pod.setup-failed" v 1 => Pod(PodEvent::SetupFailed(pod::event::SetupFailed));
    0x0206 "pod.container-create-requested" v 1 => Pod(PodEvent::ContainerCreateRequested(pod::event::ContainerCreateRequested));
    0x0207 "pod.container-started" v 1 => Pod(PodEvent::ContainerStarted(pod::event::ContainerStarted));
    0x0208 "pod.container-create-failed" v 1 => Pod(PodEvent::ContainerCreateFailed(pod::event::ContainerCreateFailed));
    0x0209 "pod.started" v 1 => Pod(PodEvent::Started(pod::event::Started));
    0x020a "pod.readiness-changed" v 1 => Pod(PodEvent::ReadinessChanged(pod::event::ReadinessChanged));
    0x020b "pod.startup-passed" v 1 => Pod(PodEvent::StartupPassed(pod::event::StartupPassed));
    0x020c "pod.probe-failed" v 1 => Pod(PodEvent::ProbeFailed(pod::event::ProbeFailed));
    0x020d "pod.container-stop-requested" v 1 => Pod(PodEvent::ContainerStopRequested(pod::event::ContainerStopRequested));
    0x020e "pod.container-kill-requested" v 1 => Pod(PodEvent::ContainerKillRequested(pod::event::ContainerKillRequested));
    0x020f "pod.container-exited" v 1 => Pod(PodEvent::ContainerExited(pod::event::ContainerExited));
    0x0210 "pod.container-removed" v 1 => Pod(PodEvent::ContainerRemoved(pod::event::ContainerRemoved));
    0x0211 "pod.restart-scheduled" v 1 => Pod(PodEvent::RestartScheduled(pod::event::RestartScheduled));
    0x0212 "pod.out-of-memory" v 1 => Pod(PodEvent::OutOfMemory(pod::event::OutOfMemory));
    0x0213 "pod.stop-requested" v 2 => Pod(PodEvent::StopRequested(pod::event::StopRequested)), was 1: pod::past::StopRequestedV1;
    0x0214 "pod.stopped" v 1 => Pod(PodEvent::Stopped(pod::event::Stopped));
    0x0215 "pod.failed" v 1 => Pod(PodEvent::Failed(pod::event::Failed));
    0x0216 "pod.start-requested" v 1 => Pod(PodEvent::StartRequested(pod::event::StartRequested));
    0x0217 "pod.termination-requested" v 1 => Pod(PodEvent::TerminationRequested(pod::event::TerminationRequested));
    0x0218 "pod.cleanup-requested" v 1 => Pod(PodEvent::CleanupRequested(pod::event::CleanupRequested));
    0x0219 "pod.terminated" v 1 => Pod(PodEvent::Terminated(pod::event::Terminated));
    0x021a "pod.exec-requested" v 1 => Pod(PodEvent::ExecRequested(pod::event::ExecRequested));
    0x021b "pod.exec-finished" v 1 => Pod(PodEvent::ExecFinished(pod::event::ExecFinished));
    0x021c "pod.resources-awaited" v 1 => Pod(PodEvent::ResourcesAwaited(pod::event::ResourcesAwaited));
    0x021d "pod.resources-granted" v 1 => Pod(PodEvent::ResourcesGranted(pod::event::ResourcesGranted));
    0x0230 "pod.resize-requested" v 1 => Pod(PodEvent::ResizeRequested(pod::event::ResizeRequested));
    0x0231 "pod.resized" v 1 => Pod(PodEvent::Resized(pod::event::Resized));
    0x0232 "pod.resize-failed" v 1 => Pod(PodEvent::ResizeFailed(pod::event::ResizeFailed));
    0x0301 "worker.registered" v 1 => Worker(WorkerEvent::Registered(worker::event::Registered));
    0x0302 "worker.exited" v 1 => Worker(WorkerEvent::Exited(worker::event::Exited));
    0x0401 "ledger.capacity-set" v 2 => Ledger(LedgerEvent::CapacitySet(ledger::event::CapacitySet)), was 1: ledger::past_gpus::CapacitySetV1;
    0x0402 "ledger.policy-set" v 3 => Ledger(LedgerEvent::PolicySet(ledger::event::PolicySet)), was 1: ledger::past::PolicySetV1, was 2: ledger::past::PolicySetV2;
    0x0403 "ledger.tenant-set" v 2 => Ledger(LedgerEvent::TenantSet(ledger::event::TenantSet)), was 1: ledger::past::TenantSetV1;
    0x0404 "ledger.tenant-removed" v 1 => Ledger(LedgerEvent::TenantRemoved(ledger::event::TenantRemoved));
    0x0405 "ledger.allocated" v 3 => Ledger(LedgerEvent::Allocated(ledger::event::Allocated)), was 1: ledger::past_gpus::AllocatedV1, was 2: ledger::past_stays::AllocatedV2;
    0x0406 "ledger.queued" v 3 => Ledger(LedgerEvent::Queued(ledger::event::Queued)), was 1: ledger::past_gpus::QueuedV1, was 2: ledger::past_stays::QueuedV2;
    0x0407 "ledger.withdrawn" v 1 => Ledger(LedgerEvent::Withdrawn(ledger::event::Withdrawn));
    0x0408 "ledger.released" v 1 => Ledger(LedgerEvent::Released(ledger::event::Released));
    0x0409 "ledger.preemption-requested" v 1 => Ledger(LedgerEvent::PreemptionRequested(ledger::event::PreemptionRequested));
    0x040a "ledger.reserved" v 2 => Ledger(LedgerEvent::Reserved(ledger::event::Reserved)), was 1: ledger::past_gpus::ReservedV1;
    0x040b "ledger.reservation-activated" v 1 => Ledger(LedgerEvent::ReservationActivated(ledger::event::ReservationActivated));
    0x040c "ledger.reservation-expired" v 1 => Ledger(LedgerEvent::ReservationExpired(ledger::event::ReservationExpired));
    0x040d "ledger.reservation-cancelled" v 1 => Ledger(LedgerEvent::ReservationCancelled(ledger::event::ReservationCancelled));
    0x040e "ledger.stale-token-refused" v 1 => Ledger(LedgerEvent::StaleTokenRefused(ledger::event::StaleTokenRefused));
    0x040f "ledger.manager-stopped" v 1 => Ledger(LedgerEvent::ManagerStopped(ledger::event::ManagerStopped));
    0x0410 "ledger.manager-started" v 1 => Ledger(LedgerEvent::ManagerStarted(ledger::event::ManagerStarted));
    0x0411 "ledger.alert-raised" v 1 => Ledger(LedgerEvent::AlertRaised(ledger::event::AlertRaised));
    0x0412 "ledger.alert-cleared" v 1 => Ledger(LedgerEvent::AlertCleared(ledger::event::AlertCleared));
    0x0413 "ledger.drift-found" v 1 => Ledger(LedgerEvent::DriftFound(ledger::event::DriftFound));
    0x0414 "ledger.drift-resolved" v 1 => Ledger(LedgerEvent::DriftResolved(ledger::event::DriftResolved));
    0x0415 "ledger.use-recorded" v 2 => Ledger(LedgerEvent::UseRecorded(ledger::event::UseRecorded)), was 1: ledger::past_use::UseRecordedV1;
    0x0416 "ledger.foreign-ports-seen" v 1 => Ledger(LedgerEvent::ForeignPortsSeen(ledger::event::ForeignPortsSeen));
    0x0420 "ledger.resize-granted" v 1 => Ledger(LedgerEvent::ResizeGranted(ledger::event::ResizeGranted));
    0x0421 "ledger.resize-settled" v 1 => Ledger(LedgerEvent::ResizeSettled(ledger::event::ResizeSettled));
    0x0501 "gpu.found" v 1 => Gpu(GpuEvent::Found(gpu::event::Found));
    0x0502 "gpu.facts-changed" v 1 => Gpu(GpuEvent::FactsChanged(gpu::event::FactsChanged));
    0x0503 "gpu.health-changed" v 1 => Gpu(GpuEvent::HealthChanged(gpu::event::HealthChanged));
    0x0504 "gpu.fault-noted" v 1 => Gpu(GpuEvent::FaultNoted(gpu::event::FaultNoted));
    0x0505 "gpu.cordoned" v 1 => Gpu(GpuEvent::Cordoned(gpu::event::Cordoned));
    0x0506 "gpu.uncordoned" v 1 => Gpu(GpuEvent::Uncordoned(gpu::event::Uncordoned));
    0x0507 "gpu.forgotten" v 1 => Gpu(GpuEvent::Forgotten(gpu::event::Forgotten));
    0x0508 "gpu.drain-requested" v 1 => Gpu(GpuEvent::DrainRequested(gpu::event::DrainRequested));
    0x0509 "gpu.drain-ended" v 1 => Gpu(GpuEvent::DrainEnded(gpu::event::DrainEnded));
    0x0601 "pool.spec-set" v 1 => Pool(PoolEvent::SpecSet(pool::event::SpecSet));
    0x0602 "pool.removal-requested" v 1 => Pool(PoolEvent::RemovalRequested(pool::event::RemovalRequested));
    0x0603 "pool.removed" v 1 => Pool(PoolEvent::Removed(pool::event::Removed));
    0x0604 "pool.member-requested" v 1 => Pool(PoolEvent::MemberRequested(pool::event::MemberRequested));
    0x0605 "pool.member-admitted" v 1 => Pool(PoolEvent::MemberAdmitted(pool::event::MemberAdmitted));
    0x0606 "pool.member-request-failed" v 1 => Pool(PoolEvent::MemberRequestFailed(pool::event::MemberRequestFailed));
    0x0607 "pool.member-removal-requested" v 1 => Pool(PoolEvent::MemberRemovalRequested(pool::event::MemberRemovalRequested));
    0x0608 "pool.member-removed" v 1 => Pool(PoolEvent::MemberRemoved(pool::event::MemberRemoved));
    0x0609 "pool.member-lost" v 1 => Pool(PoolEvent::MemberLost(pool::event::MemberLost));
    0x060a "pool.agent-connected" v 1 => Pool(PoolEvent::AgentConnected(pool::event::AgentConnected));
    0x060b "pool.agent-disconnected" v 1 => Pool(PoolEvent::AgentDisconnected(pool::event::AgentDisconnected));
    0x060c "pool.agents-away" v 1 => Pool(PoolEvent::AgentsAway(pool::event::AgentsAway));
    0x060d "pool.references-changed" v 1 => Pool(PoolEvent::ReferencesChanged(pool::event::ReferencesChanged));
    0x060e "pool.agent-leaving" v 1 => Pool(PoolEvent::AgentLeaving(pool::event::AgentLeaving));
    0x060f "pool.member-no-room" v 1 => Pool(PoolEvent::MemberNoRoom(pool::event::MemberNoRoom));
    0x0610 "pool.task-submitted" v 2 => Pool(PoolEvent::TaskSubmitted(pool::event::TaskSubmitted)), was 1: pool::past::TaskSubmittedV1;
    0x0611 "pool.task-assigned" v 1 => Pool(PoolEvent::TaskAssigned(pool::event::TaskAssigned));
    0x0612 "pool.task-started" v 1 => Pool(PoolEvent::TaskStarted(pool::event::TaskStarted));
    0x0613 "pool.task-planned" v 1 => Pool(PoolEvent::TaskPlanned(pool::event::TaskPlanned));
    0x0614 "pool.task-confirmed" v 1 => Pool(PoolEvent::TaskConfirmed(pool::event::TaskConfirmed));
    0x0615 "pool.task-discarded" v 1 => Pool(PoolEvent::TaskDiscarded(pool::event::TaskDiscarded));
    0x0616 "pool.task-ended" v 1 => Pool(PoolEvent::TaskEnded(pool::event::TaskEnded));
    0x0617 "pool.task-requeued" v 1 => Pool(PoolEvent::TaskRequeued(pool::event::TaskRequeued));
    0x0618 "pool.task-cancel-requested" v 1 => Pool(PoolEvent::TaskCancelRequested(pool::event::TaskCancelRequested));
    0x0619 "pool.reservation-expired" v 1 => Pool(PoolEvent::ReservationExpired(pool::event::ReservationExpired));
    0x061a "pool.stale-token-refused" v 1 => Pool(PoolEvent::StaleTokenRefused(pool::event::StaleTokenRefused));
    0x061b "pool.task-approved" v 1 => Pool(PoolEvent::TaskApproved(pool::event::TaskApproved));
    0x061c "pool.stale-tokens-counted" v 1 => Pool(PoolEvent::StaleTokensCounted(pool::event::StaleTokensCounted));
    0x0620 "pool.scaled" v 1 => Pool(PoolEvent::Scaled(pool::event::Scaled));
    0x0621 "pool.unfrozen" v 1 => Pool(PoolEvent::Unfrozen(pool::event::Unfrozen));
    0x0622 "pool.setbacks-over" v 1 => Pool(PoolEvent::SetbacksOver(pool::event::SetbacksOver));
    0x0630 "pool.member-resize-requested" v 1 => Pool(PoolEvent::MemberResizeRequested(pool::event::MemberResizeRequested));
    0x0631 "pool.member-resized" v 1 => Pool(PoolEvent::MemberResized(pool::event::MemberResized));
    0x0632 "pool.member-resize-failed" v 1 => Pool(PoolEvent::MemberResizeFailed(pool::event::MemberResizeFailed));
    within {
        0x021e "pod.violation-detected" v 1 => Pod(PodEvent::Violation(ViolationEvent::Detected(violation::event::Detected)));
        0x021f "pod.violation-escalated" v 1 => Pod(PodEvent::Violation(ViolationEvent::Escalated(violation::event::Escalated)));
        0x0220 "pod.enforcement-requested" v 1 => Pod(PodEvent::Violation(ViolationEvent::EnforcementRequested(violation::event::EnforcementRequested)));
        0x0221 "pod.enforcement-ended" v 1 => Pod(PodEvent::Violation(ViolationEvent::EnforcementEnded(violation::event::EnforcementEnded)));
        0x0222 "pod.violation-resolved" v 2 => Pod(PodEvent::Violation(ViolationEvent::Resolved(violation::event::Resolved))), was 1: violation::past::ResolvedV1;
        0x0223 "pod.enforcement-gap-opened" v 1 => Pod(PodEvent::Violation(ViolationEvent::GapOpened(violation::event::GapOpened)));
        0x0224 "pod.enforcement-gap-closed" v 1 => Pod(PodEvent::Violation(ViolationEvent::GapClosed(violation::event::GapClosed)));
        0x0520 "gpu.violation-detected" v 1 => Gpu(GpuEvent::Violation(ViolationEvent::Detected(violation::event::Detected)));
        0x0521 "gpu.violation-escalated" v 1 => Gpu(GpuEvent::Violation(ViolationEvent::Escalated(violation::event::Escalated)));
        0x0522 "gpu.enforcement-requested" v 1 => Gpu(GpuEvent::Violation(ViolationEvent::EnforcementRequested(violation::event::EnforcementRequested)));
        0x0523 "gpu.enforcement-ended" v 1 => Gpu(GpuEvent::Violation(ViolationEvent::EnforcementEnded(violation::event::EnforcementEnded)));
        0x0524 "gpu.violation-resolved" v 2 => Gpu(GpuEvent::Violation(ViolationEvent::Resolved(violation::event::Resolved))), was 1: violation::past::ResolvedV1;
        0x0525 "gpu.enforcement-gap-opened" v 1 => Gpu(GpuEvent::Violation(ViolationEvent::GapOpened(violation::event::GapOpened)));
        0x0526 "gpu.enforcement-gap-closed" v 1 => Gpu(GpuEvent::Violation(ViolationEvent::GapClosed(violation::event::GapClosed)));
    }
}

impl Event {
    /// The kind of stream that this event belongs in.
    #[must_use]
    pub fn stream_kind(&self) -> StreamKind {
        match self {
            Event::Node(_) => StreamKind::Node,
            Event::Pod(_) => StreamKind::Pod,
            Event::Worker(_) => StreamKind::Worker,
            Event::Ledger(_) => StreamKind::Ledger,
            Event::Gpu(_) => StreamKind::Gpu,
            Event::Pool(_) => StreamKind::Pool,
        }
    }

    /// The payload as JSON, for people and programs.
    #[must_use]
    pub fn payload_json(&self) -> serde_json::Value {
        self.encode(&Json)
    }
}

struct Json;

impl Encode for Json {
    type Output = serde_json::Value;

    fn encode<T: Serialize>(&self, payload: &T) -> serde_json::Value {
        serde_json::to_value(payload).expect("payloads have text keys and no failing serializers")
    }
}

/// As JSON: `{"type": "pod.admitted", "version": 1, "payload": {…}}`.
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;

        let layout = self.layout();
        let mut event = serializer.serialize_struct("Event", 3)?;
        event.serialize_field("type", layout.name)?;
        event.serialize_field("version", &layout.version)?;
        event.serialize_field("payload", &self.payload_json())?;
        event.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// `layouts.tsv` is what other programs read; numbers there never change and are never given twice.
    #[test]
    fn registry_file_lists_every_layout() {
        let registry = include_str!("../layouts.tsv");
        let listed: BTreeSet<(u16, u16, &str)> = registry
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let fields: Vec<&str> = line.split('\t').collect();
                let number = u16::from_str_radix(fields[0].trim_start_matches("0x"), 16).unwrap();
                (number, fields[1].parse().unwrap(), fields[2])
            })
            .collect();
        let known: BTreeSet<(u16, u16, &str)> = LAYOUTS
            .iter()
            .chain(PAST_LAYOUTS)
            .map(|layout| (layout.number, layout.version, layout.name))
            .collect();
        assert_eq!(listed, known);
        assert_eq!(known.len(), LAYOUTS.len() + PAST_LAYOUTS.len(), "a number is given twice");
    }
}
