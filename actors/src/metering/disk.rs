//! What pods have on disk: counted beside the samples, since it may take long, and taken from the last time that a count
//! came to its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use purser_events::{Bytes, PodUid, Timestamp};

use super::Running;
use crate::shell::Shell;

/// Time between the beginnings of two counts of one pod.
const EVERY: Duration = Duration::from_secs(240);
/// Time after which a count is said to take too long, and makes way for others.
const LATE: Duration = Duration::from_secs(120);
/// Counts at the same time that are not late.
const AT_ONCE: usize = 2;
/// Counts at the same time in all: late ones hold a thread each.
const PENDING_MAX: usize = 16;

/// What a pod had on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// How much.
    pub(super) bytes: Bytes,
    /// When it was counted.
    pub(super) at: Timestamp,
}

/// What pods have on disk. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Disks {
    pods: Arc<Mutex<BTreeMap<PodUid, Standing>>>,
}

/// How the counts of one pod stand.
#[derive(Debug, Clone, Copy)]
struct Standing {
    began: Duration,
    is_pending: bool,
    told_late: bool,
    last: Option<Counted>,
}

impl Disks {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PodUid, Standing>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted last.
    pub(super) fn known(&self) -> BTreeMap<PodUid, Counted> {
        self.lock().iter().filter_map(|(pod, standing)| Some((*pod, standing.last?))).collect()
    }

    /// Begins to count what is due, and waits for none of it.
    pub(super) fn count_due(&self, shell: &Arc<Shell>, pods: &Running) {
        for pod in self.due(pods, shell.clock.passed()) {
            let runtime = pods.get(&pod).and_then(|(class, _)| shell.runtime(*class));
            let (disks, shell) = (self.clone(), shell.clone());
            actix::spawn(async move {
                let counted = match runtime {
                    Some(runtime) => runtime.disk_use(pod).await.map(Some),
                    None => Ok(None),
                };
                let at = shell.clock.now();
                match counted {
                    Ok(bytes) => disks.end(pod, bytes.map(|bytes| Counted { bytes, at })),
                    Err(error) => {
                        tracing::warn!(%pod, %error, "failed to count what a pod has on disk; what was counted before stands");
                        disks.end(pod, None);
                    }
                }
            });
        }
    }

    /// The pods whose counts are to begin now: those that wait longest first. Pods that run no longer are forgotten.
    fn due(&self, running: &Running, passed: Duration) -> Vec<PodUid> {
        let mut pods = self.lock();
        pods.retain(|pod, standing| running.contains_key(pod) || standing.is_pending);
        let mut fresh = 0;
        for (pod, standing) in pods.iter_mut().filter(|(_, standing)| standing.is_pending) {
            if passed.saturating_sub(standing.began) < LATE {
                fresh += 1;
            } else if !standing.told_late {
                standing.told_late = true;
                tracing::warn!(%pod, "it takes long to count what a pod has on disk; what was counted before stands");
            }
        }
        let pending = pods.values().filter(|standing| standing.is_pending).count();
        let room = AT_ONCE.saturating_sub(fresh).min(PENDING_MAX.saturating_sub(pending));
        let waits = |pod: &&PodUid| {
            pods.get(pod).is_none_or(|it| !it.is_pending && EVERY <= passed.saturating_sub(it.began))
        };
        let mut due: Vec<PodUid> = running.keys().filter(waits).copied().collect();
        // Those that were never counted come first.
        due.sort_by_key(|pod| pods.get(pod).map(|standing| standing.began));
        due.truncate(room);
        for pod in &due {
            let last = pods.get(pod).and_then(|standing| standing.last);
            pods.insert(*pod, Standing { began: passed, is_pending: true, told_late: false, last });
        }
        due
    }

    fn end(&self, pod: PodUid, counted: Option<Counted>) {
        if let Some(standing) = self.lock().get_mut(&pod) {
            standing.is_pending = false;
            standing.last = counted.or(standing.last);
        }
    }
}

#[cfg(test)]
mod tests {
    use purser_events::pod::spec::RuntimeClass;
    use uuid::Uuid;

    use super::*;

    fn pod(number: u128) -> PodUid {
        PodUid(Uuid::from_u128(number))
    }

    fn running(numbers: impl IntoIterator<Item = u128>) -> Running {
        numbers.into_iter().map(|number| (pod(number), (RuntimeClass::Process, vec![]))).collect()
    }

    fn due(disks: &Disks, numbers: impl IntoIterator<Item = u128>, seconds: u64) -> Vec<u128> {
        let due = disks.due(&running(numbers), Duration::from_secs(seconds));
        due.into_iter().map(|pod| pod.0.as_u128()).collect()
    }

    fn counted(bytes: u64) -> Option<Counted> {
        Some(Counted { bytes: Bytes(bytes), at: Timestamp(0) })
    }

    #[test]
    fn a_few_are_counted_at_once_and_each_in_turn() {
        let disks = Disks::default();
        assert_eq!(due(&disks, 1..=3, 0), [1, 2]);
        assert_eq!(due(&disks, 1..=3, 10), [0_u128; 0]);
        disks.end(pod(1), counted(5));
        assert_eq!(due(&disks, 1..=3, 20), [3]);
        disks.end(pod(2), counted(6));
        disks.end(pod(3), counted(7));
        assert_eq!(due(&disks, 1..=3, 230), [0_u128; 0]);
        assert_eq!(due(&disks, 1..=4, 240), [4, 1], "who was never counted comes first");
    }

    #[test]
    fn a_count_that_does_not_end_holds_up_nobody_and_what_was_known_stands() {
        let disks = Disks::default();
        assert_eq!(due(&disks, 1..=1, 0), [1]);
        disks.end(pod(1), counted(5));
        assert_eq!(due(&disks, 1..=1, 240), [1]);
        assert_eq!(disks.known()[&pod(1)].bytes, Bytes(5));
        assert_eq!(due(&disks, 1..=4, 250), [2]);
        assert_eq!(due(&disks, 1..=4, 360), [3], "the first is late, the second is not");
        assert_eq!(due(&disks, 1..=4, 1_000), [4], "nobody is counted twice at once");
        disks.end(pod(1), None);
        assert_eq!(disks.known()[&pod(1)].bytes, Bytes(5), "a failure takes nothing away");
        disks.end(pod(1), counted(9));
        assert_eq!(disks.known()[&pod(1)].bytes, Bytes(9));
    }

    #[test]
    fn not_more_than_so_many_hang() {
        let disks = Disks::default();
        let begun: usize = (0..100).map(|round| due(&disks, 1..=100, round * 120).len()).sum();
        assert_eq!(begun, PENDING_MAX);
    }

    #[test]
    fn pods_that_are_gone_are_forgotten() {
        let disks = Disks::default();
        assert_eq!(due(&disks, 1..=2, 0), [1, 2]);
        disks.end(pod(1), counted(1));
        assert_eq!(due(&disks, [], 10), [0_u128; 0]);
        assert_eq!(disks.lock().keys().copied().collect::<Vec<_>>(), [pod(2)], "it is still being counted");
    }
}
