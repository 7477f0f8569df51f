//! What each event means to a journal that cannot take everything, or not at once.

use purser_events::Event;
use purser_events::gpu::GpuEvent;
use purser_events::ledger::LedgerEvent;
use purser_events::node::NodeEvent;
use purser_events::pod::PodEvent;
use purser_events::pool::PoolEvent;
use purser_events::violation::ViolationEvent;
use purser_events::worker::WorkerEvent;
use purser_storage::{Append, Class, Durability, Terms};

/// The terms on which a decision is written: it matters as much as its most important event. Only what will be seen
/// again, and leads to nothing, need not be durable when it is answered.
pub(crate) fn of(events: &[Event]) -> Terms {
    let class = events.iter().map(class).min().unwrap_or_default();
    let lazy = !events.is_empty() && events.iter().all(may_be_lost);
    Terms { class, durability: if lazy { Durability::Lazy } else { Durability::Sync } }
}

/// Whether these bring a pod: it takes nothing of the room that is kept for what ends, whoever asks for it.
pub(crate) fn bring_a_pod(append: &Append) -> bool {
    let events = append.writes.iter().flat_map(|write| &write.events);
    events.into_iter().any(|event| matches!(event, Event::Pod(PodEvent::Admitted(_))))
}

fn class(event: &Event) -> Class {
    match event {
        Event::Node(event) => class_of_node(event),
        Event::Pod(event) => class_of_pod(event),
        Event::Worker(WorkerEvent::Registered(_)) => Class::Lifecycle,
        Event::Worker(WorkerEvent::Exited(_)) => Class::Safety,
        Event::Ledger(event) => class_of_ledger(event),
        Event::Gpu(event) => class_of_gpu(event),
        Event::Pool(event) => class_of_pool(event),
    }
}

fn class_of_pool(event: &PoolEvent) -> Class {
    use PoolEvent as E;
    match event {
        // What ends, comes free, is lost or refused is told even when there is room for little.
        E::RemovalRequested(_)
        | E::Removed(_)
        | E::MemberRemovalRequested(_)
        | E::MemberRemoved(_)
        | E::MemberLost(_)
        | E::AgentDisconnected(_)
        | E::AgentsAway(_)
        | E::TaskDiscarded(_)
        | E::TaskEnded(_)
        | E::TaskRequeued(_)
        | E::TaskCancelRequested(_)
        | E::ReservationExpired(_)
        | E::AgentLeaving(_)
        | E::MemberNoRoom(_)
        | E::StaleTokensCounted(_)
        | E::StaleTokenRefused(_) => Class::Safety,
        E::SpecSet(_)
        | E::MemberRequested(_)
        | E::MemberAdmitted(_)
        | E::MemberRequestFailed(_)
        | E::AgentConnected(_)
        | E::ReferencesChanged(_)
        | E::TaskSubmitted(_)
        | E::TaskAssigned(_)
        | E::TaskStarted(_)
        | E::TaskPlanned(_)
        | E::TaskConfirmed(_)
        | E::TaskApproved(_)
        | E::SetbacksOver(_)
        | E::Scaled(_)
        | E::MemberResizeRequested(_)
        | E::MemberResized(_)
        | E::MemberResizeFailed(_)
        | E::Unfrozen(_) => Class::Lifecycle,
    }
}

fn class_of_gpu(event: &GpuEvent) -> Class {
    use GpuEvent as E;
    match event {
        // That nothing more is given out of one is told even when there is room for little.
        E::HealthChanged(changed) if !changed.health.takes_pods() => Class::Safety,
        E::Cordoned(_) | E::DrainRequested(_) => Class::Safety,
        E::Found(_) | E::HealthChanged(_) | E::Uncordoned(_) | E::DrainEnded(_) | E::Forgotten(_) => {
            Class::Lifecycle
        }
        E::FactsChanged(_) | E::FaultNoted(_) => Class::Observation,
        E::Violation(event) => class_of_violation(event),
    }
}

fn class_of_ledger(event: &LedgerEvent) -> Class {
    use LedgerEvent as E;
    match event {
        // What comes free, and who is refused, is told even when there is room for little.
        E::Released(_)
        | E::Withdrawn(_)
        | E::ReservationExpired(_)
        | E::ReservationCancelled(_)
        | E::ManagerStopped(_)
        | E::ResizeSettled(_)
        | E::StaleTokenRefused(_) => Class::Safety,
        E::CapacitySet(_)
        | E::PolicySet(_)
        | E::TenantSet(_)
        | E::TenantRemoved(_)
        | E::Allocated(_)
        | E::Queued(_)
        | E::PreemptionRequested(_)
        | E::Reserved(_)
        | E::ReservationActivated(_)
        | E::ResizeGranted(_)
        | E::ManagerStarted(_)
        // It is charged, and nobody sees it again.
        | E::UseRecorded(_) => Class::Lifecycle,
        E::AlertRaised(_)
        | E::AlertCleared(_)
        | E::DriftFound(_)
        | E::DriftResolved(_)
        | E::ForeignPortsSeen(_) => Class::Observation,
    }
}

fn class_of_node(event: &NodeEvent) -> Class {
    use NodeEvent as E;
    match event {
        // Without its start on record the node ends no pod.
        E::Started(_) | E::Stopped(_) | E::Cordoned(_) | E::DiskPressureChanged(_) => Class::Safety,
        E::Uncordoned(_)
        | E::PolicySet(_)
        | E::MonitorPolicySet(_)
        | E::RedactionRequested(_)
        | E::RedactionCompleted(_) => Class::Lifecycle,
        // It makes room, and what is given up was put on record as sealed before.
        E::JournalTrimmed(_) | E::SegmentSealed(_) => Class::Safety,
        E::RuntimeLost(_) | E::RuntimeFound(_) | E::OrphanRemoved(_) => Class::Observation,
    }
}

fn class_of_pod(event: &PodEvent) -> Class {
    use PodEvent as E;
    match event {
        E::StopRequested(_)
        | E::TerminationRequested(_)
        | E::ContainerStopRequested(_)
        | E::ContainerKillRequested(_)
        | E::ContainerExited(_)
        | E::ContainerRemoved(_)
        | E::OutOfMemory(_)
        | E::Stopped(_)
        | E::Failed(_)
        | E::CleanupRequested(_)
        | E::Resized(_)
        | E::ResizeFailed(_)
        | E::Terminated(_) => Class::Safety,
        E::Admitted(_)
        | E::ProvisioningStarted(_)
        | E::SetupRequested(_)
        | E::SetupCompleted(_)
        | E::SetupFailed(_)
        | E::ContainerCreateRequested(_)
        | E::ContainerStarted(_)
        | E::ContainerCreateFailed(_)
        | E::Started(_)
        | E::StartupPassed(_)
        | E::RestartScheduled(_)
        | E::StartRequested(_)
        | E::ExecRequested(_)
        | E::ExecFinished(_)
        | E::ResourcesAwaited(_)
        | E::ResourcesGranted(_)
        | E::ResizeRequested(_) => Class::Lifecycle,
        E::ReadinessChanged(_) | E::ProbeFailed(_) => Class::Observation,
        E::Violation(event) => class_of_violation(event),
    }
}

fn class_of_violation(event: &ViolationEvent) -> Class {
    use ViolationEvent as E;
    match event {
        // What is to be done about it, and whether it was, is told even when there is room for little.
        E::EnforcementRequested(_) | E::EnforcementEnded(_) => Class::Safety,
        E::Detected(_) | E::Escalated(_) | E::Resolved(_) | E::GapOpened(_) | E::GapClosed(_) => {
            Class::Observation
        }
    }
}

/// Whether a loss of power may take an event away: a probe sees the same again, and no actor does anything for it.
fn may_be_lost(event: &Event) -> bool {
    matches!(event, Event::Pod(PodEvent::ReadinessChanged(_) | PodEvent::ProbeFailed(_)))
}

#[cfg(test)]
mod tests {
    use purser_events::node::event::RuntimeLost;
    use purser_events::pod::event::{
        ContainerStopRequested, ProbeFailed, ReadinessChanged, StopReason, Terminated,
    };
    use purser_events::pod::spec::{ProbeKind, RuntimeClass};
    use purser_events::{ContainerName, Timestamp};

    use super::*;

    fn container() -> ContainerName {
        ContainerName::new("app").expect("a label")
    }

    fn ready() -> Event {
        PodEvent::from(ReadinessChanged { container: container(), ready: false, message: String::new() })
            .into()
    }

    fn failed() -> Event {
        let message = "refused".to_owned();
        PodEvent::from(ProbeFailed {
            container: container(),
            probe: ProbeKind::Liveness,
            failures: 3,
            message,
        })
        .into()
    }

    #[test]
    fn a_decision_matters_as_much_as_its_most_important_event() {
        let stop = ContainerStopRequested {
            container: container(),
            reason: StopReason::LivenessFailed,
            deadline: Timestamp(0),
        };
        let stop: Event = PodEvent::from(stop).into();
        assert_eq!(of(&[failed(), stop]), Terms::sync(Class::Safety));
        let gone: Event = PodEvent::from(Terminated { at: Timestamp(0) }).into();
        assert_eq!(of(&[gone]), Terms::sync(Class::Safety));
        assert_eq!(of(&[]), Terms::sync(Class::Lifecycle));
    }

    #[test]
    fn only_what_a_probe_saw_may_be_lazy() {
        let lazy = Terms { class: Class::Observation, durability: Durability::Lazy };
        assert_eq!((of(&[ready()]), of(&[failed(), ready()])), (lazy, lazy));
        let lost = RuntimeLost { runtime: RuntimeClass::Process, message: String::new() };
        let lost: Event = NodeEvent::from(lost).into();
        assert_eq!(of(&[lost]), Terms::sync(Class::Observation));
    }
}
