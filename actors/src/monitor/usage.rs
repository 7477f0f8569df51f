//! What pods use of their own limits of processor time and memory, as the kernel accounts for it.

use std::collections::BTreeMap;
use std::time::Duration;

use purser_events::pod::{ContainerSpec, PodState};
use purser_events::violation::detector::{PodSample, Use};

use crate::port::{ContainerKey, ContainerUse};
use crate::shell::Shell;

/// Processor time of containers when they were looked at last.
#[derive(Debug, Default)]
pub(super) struct Usage {
    before: BTreeMap<ContainerKey, (u64, Duration)>,
}

impl Usage {
    /// What each of these pods uses, and how many of them could not be measured. Containers that are not among theirs are
    /// forgotten.
    pub(super) async fn sample(&mut self, shell: &Shell, pods: &[PodState]) -> (Vec<PodSample>, u64) {
        let (mut samples, mut failed) = (vec![], 0);
        let mut now = BTreeMap::new();
        for pod in pods {
            let Some(runtime) = shell.runtime(pod.spec.runtime) else { continue };
            let mut is_whole = true;
            let mut sample = PodSample { pod: pod.uid, cpu: Use::Unlimited, memory: Use::Unlimited };
            for key in ContainerKey::running(pod) {
                let Some(spec) = pod.spec.container(&key.container) else { continue };
                let read = match runtime.usage(&key).await {
                    Ok(Some(used)) => Some(used),
                    // It has just ended: its pod hears of that.
                    Ok(None) => continue,
                    Err(error) => {
                        tracing::debug!(%error, container = %key, "failed to measure a container");
                        is_whole = false;
                        None
                    }
                };
                let passed = shell.clock.passed();
                let before = self.before.get(&key);
                sample.memory = greater(sample.memory, memory(spec, read));
                sample.cpu = greater(sample.cpu, cpu(spec, read, before.copied(), passed));
                // What cannot be read now is compared, once it can be, with what it was before.
                let kept = read.map(|read| (read.cpu_us, passed)).or(before.copied());
                now.extend(kept.map(|kept| (key, kept)));
            }
            samples.push(sample);
            failed += u64::from(!is_whole);
        }
        self.before = now;
        (samples, failed)
    }
}

fn memory(spec: &ContainerSpec, read: Option<ContainerUse>) -> Use {
    let limit = spec.resources.memory_limit.filter(|limit| limit.0 > 0);
    match (limit, read) {
        (None, _) => Use::Unlimited,
        (Some(_), None) => Use::Unknown,
        (Some(limit), Some(read)) => permille(u128::from(read.memory.0) * 1_000 / u128::from(limit.0)),
    }
}

/// Processor time since the last look; the first says nothing, also not that it is little.
fn cpu(
    spec: &ContainerSpec,
    read: Option<ContainerUse>,
    before: Option<(u64, Duration)>,
    passed: Duration,
) -> Use {
    let limit = spec.resources.cpu_limit.filter(|limit| limit.0 > 0);
    let (Some(limit), Some(read)) = (limit, read) else {
        return if limit.is_some() { Use::Unknown } else { Use::Unlimited };
    };
    let Some((cpu_us, at)) = before else { return Use::Unknown };
    let allowed_us = passed.saturating_sub(at).as_micros() * u128::from(limit.0) / 1_000;
    let used_us = u128::from(read.cpu_us.saturating_sub(cpu_us));
    permille((used_us * 1_000).checked_div(allowed_us).unwrap_or(0))
}

fn permille(value: u128) -> Use {
    Use::Permille(u64::try_from(value).unwrap_or(u64::MAX))
}

/// Of two containers of a pod the one that is closer to its limit; what cannot be read stays unknown.
fn greater(one: Use, other: Use) -> Use {
    match (one, other) {
        (Use::Unknown, _) | (_, Use::Unknown) => Use::Unknown,
        (Use::Unlimited, used) | (used, Use::Unlimited) => used,
        (Use::Permille(one), Use::Permille(other)) => Use::Permille(one.max(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_that_is_closest_to_its_limit_counts() {
        assert_eq!(greater(Use::Unlimited, Use::Permille(3)), Use::Permille(3));
        assert_eq!(greater(Use::Permille(900), Use::Permille(3)), Use::Permille(900));
        assert_eq!(greater(Use::Unknown, Use::Permille(3)), Use::Unknown);
    }
}
