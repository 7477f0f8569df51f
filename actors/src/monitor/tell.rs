//! What has happened to violations, for the log and for whoever counts.

use metrics::{counter, histogram};
use purser_events::Timestamp;
use purser_events::ledger::GpuUuid;
use purser_events::violation::event::Outcome;
use purser_events::violation::{Level, ViolationEvent, ViolationKind};
use uuid::Uuid;

use crate::metric;
use crate::shell::Shell;

/// Tells of an event once it is on record. `gpu` is the GPU in whose stream it is; none if it is in a pod's.
pub(crate) fn happened(gpu: Option<&GpuUuid>, event: &ViolationEvent, shell: &Shell) {
    use ViolationEvent as E;
    let gpu = gpu.map_or_else(|| "none".to_owned(), ToString::to_string);
    match event {
        E::Detected(it) => {
            count(it.kind, it.level);
            tracing::info!(%gpu, violation = %it.id, kind = %it.kind, pod = ?it.pod.map(|pod| pod.0),
                evidence = it.evidence, "violation");
        }
        E::Escalated(it) => {
            let Some(kind) = kind_of(shell, it.id) else { return };
            count(kind, it.to);
            if it.to == Level::Warn {
                tracing::warn!(%gpu, violation = %it.id, %kind, reason = it.reason, "a violation goes on");
            } else {
                tracing::warn!(%gpu, violation = %it.id, %kind, level = %it.to, reason = it.reason,
                    "a violation is answered");
            }
        }
        E::EnforcementRequested(_) => {}
        E::EnforcementEnded(it) => match it.outcome {
            Outcome::Completed => {
                tracing::info!(%gpu, violation = %it.id, level = %it.level, reason = it.reason, "done");
            }
            Outcome::Failed | Outcome::Skipped => {
                let outcome = it.outcome.word();
                tracing::warn!(%gpu, violation = %it.id, level = %it.level, outcome, reason = it.reason,
                    "a violation could not be answered");
            }
        },
        E::Resolved(it) => {
            tracing::info!(%gpu, violation = %it.id, duration_ms = it.duration_ms, reason = it.reason,
                "violation over");
            if let Some(kind) = kind_of(shell, it.id) {
                let seconds = std::time::Duration::from_millis(it.duration_ms).as_secs_f64();
                histogram!(metric::VIOLATION_DURATION.name, "kind" => kind.word()).record(seconds);
            }
        }
        E::GapOpened(it) => {
            let cause = it.cause.word();
            tracing::warn!(%gpu, cause, pods = it.pods.len(), "limits are not checked");
        }
        E::GapClosed(it) => {
            tracing::info!(%gpu, duration_ms = it.duration_ms, "limits are checked again");
        }
    }
}

fn count(kind: ViolationKind, level: Level) {
    counter!(metric::VIOLATIONS.name, "kind" => kind.word(), "action" => level.word()).increment(1);
}

fn kind_of(shell: &Shell, id: Uuid) -> Option<ViolationKind> {
    shell.live.read(|world| world.violations.all().rev().find(|episode| episode.id == id).map(|it| it.kind))
}

/// When the last record was written before this start, if there was one that can be read.
pub(crate) fn last_record_at(shell: &Shell) -> Option<Timestamp> {
    let head = shell.live.read(|world| world.head);
    let read = shell.journal.read(head, 1);
    let found = read.inspect_err(|error| {
        tracing::warn!(%error, "failed to read when the last record was written");
    });
    found.ok()?.first().map(|record| record.header.time)
}
