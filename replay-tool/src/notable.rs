//! Records that somebody looks for: what failed, and what was violated.

use purser_events::Event;
use purser_events::gpu::{GpuEvent, Health};
use purser_events::pod::PodEvent;
use purser_events::pool::{PoolEvent, TaskResult};
use purser_events::violation::ViolationEvent;

/// Why a record is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Notable {
    /// A limit was exceeded, or that went on for so long that more is done about it.
    Violation,
    /// Something of a pod, a pool or a GPU failed.
    Failure,
}

impl Notable {
    /// What an event is, if it is one of those.
    pub(crate) fn of(event: &Event) -> Option<Notable> {
        match event {
            Event::Pod(PodEvent::Violation(event)) | Event::Gpu(GpuEvent::Violation(event)) => {
                is_violation(event).then_some(Notable::Violation)
            }
            Event::Pod(_) | Event::Pool(_) => failure(event).map(|_| Notable::Failure),
            Event::Gpu(GpuEvent::FaultNoted(_)) => Some(Notable::Failure),
            Event::Gpu(GpuEvent::HealthChanged(changed)) => match &changed.health {
                Health::Unresponsive { .. } | Health::Lost { .. } | Health::Faulty { .. } => {
                    Some(Notable::Failure)
                }
                Health::Healthy | Health::Probation | Health::Degraded { .. } => None,
            },
            _ => None,
        }
    }
}

fn is_violation(event: &ViolationEvent) -> bool {
    matches!(event, ViolationEvent::Detected(_) | ViolationEvent::Escalated(_))
}

/// Why something of a pod or of a pool failed, if it did.
pub(crate) fn failure(event: &Event) -> Option<String> {
    match event {
        Event::Pod(event) => pod_failure(event),
        Event::Pool(event) => pool_failure(event).map(str::to_owned),
        _ => None,
    }
}

fn pool_failure(event: &PoolEvent) -> Option<&'static str> {
    match event {
        PoolEvent::TaskEnded(part) if part.result == TaskResult::Failed => Some("task failed"),
        PoolEvent::TaskRequeued(_) => Some("task lost its slot"),
        PoolEvent::MemberLost(_) => Some("member of a pool lost"),
        PoolEvent::MemberRequestFailed(_) => Some("member of a pool could not be made"),
        PoolEvent::MemberResizeFailed(_) => Some("member of a pool could not be resized"),
        _ => None,
    }
}

fn pod_failure(event: &PodEvent) -> Option<String> {
    match event {
        PodEvent::SetupFailed(part) => Some(format!("setup: {}", part.class.word())),
        PodEvent::ContainerCreateFailed(part) => Some(format!("create: {}", part.class.word())),
        PodEvent::ContainerExited(part) if part.exit.code != 0 => {
            Some(format!("exit code {}: {:?}", part.exit.code, part.exit.reason))
        }
        PodEvent::OutOfMemory(_) => Some("out of memory".to_owned()),
        PodEvent::ProbeFailed(_) => Some("probe failed".to_owned()),
        PodEvent::Failed(_) => Some("pod failed for good".to_owned()),
        _ => None,
    }
}
