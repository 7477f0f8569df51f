//! Holding pods back that break a limit, and letting them go again. What is to be held follows from the journal alone and
//! is seen to at every look, so that containers that were started meanwhile are held too; what a stop of the service has
//! left held is let go by the next start.

use std::collections::BTreeSet;

use purser_events::ledger::GpuUuid;
use purser_events::pod::event::FailureClass;
use purser_events::pod::{Pod, PodState};
use purser_events::violation::hold::{Held, asked_for, ever_held, holds, processor_time};
use purser_events::{Bytes, ContainerName, MilliCpu, PodUid};

use super::Monitor;
use super::enforce::{Progress, SETTLE_MS, Task, done, failed, skip};
use crate::port::{ContainerKey, GpuPart, GpuState, RuntimeError, SeenGpus};

/// What may be held, as far as this service knows.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// None before the first look.
    applied: Option<BTreeSet<(PodUid, Held)>>,
}

impl Monitor {
    /// Slows a pod that uses more than it was given.
    pub(super) async fn throttle(&mut self, task: &Task, pod: PodUid, seen: &SeenGpus) -> Progress {
        let Some(held) = asked_for(task.kind, &task.gpu) else {
            return skip("nothing that can be slowed would end this");
        };
        let Some(state) = self.running(pod) else { return skip("nothing of the pod runs") };
        let limit = self.shell.live.read(|world| holds(world).get(&(pod, held.clone())).copied());
        // Noted first: what is held in part is to be let go as well.
        self.applied().insert((pod, held.clone()));
        match self.hold(&state, &held, Some(limit.unwrap_or(Bytes(0))), seen).await {
            Ok(reason) => done(&reason),
            Err(error) if error.class == FailureClass::Invalid => skip(&error.message),
            Err(error) if SETTLE_MS <= task.waited_ms => failed(&error.message),
            Err(_) => Progress::Goes,
        }
    }

    /// Sees to it that what is to be held is held, and nothing else.
    pub(super) async fn keep_holds(&mut self, seen: &SeenGpus) {
        let wanted = self.shell.live.read(holds);
        for ((pod, held), limit) in &wanted {
            self.applied().insert((*pod, held.clone()));
            let Some(state) = self.running(*pod) else { continue };
            if let Err(error) = self.hold(&state, held, Some(*limit), seen).await {
                tracing::debug!(%error, pod = %pod, "failed to hold a pod back");
            }
        }
        let over: Vec<(PodUid, Held)> =
            self.applied().iter().filter(|held| !wanted.contains_key(held)).cloned().collect();
        for (pod, held) in over {
            if self.let_go(pod, &held, seen).await {
                self.applied().remove(&(pod, held));
            }
        }
    }

    /// What may be held; after a start, whatever an earlier service may have.
    fn applied(&mut self) -> &mut BTreeSet<(PodUid, Held)> {
        let live = &self.shell.live;
        self.holds.applied.get_or_insert_with(|| live.read(ever_held))
    }

    /// Gives a pod back what was held; says whether it has it.
    async fn let_go(&self, pod: PodUid, held: &Held, seen: &SeenGpus) -> bool {
        let state = match held {
            Held::Processors => self.running(pod),
            // That is the pod's, and stays when its containers end and others come.
            Held::GpuMemory(_) => self.shell.live.read(|world| world.pod(pod).and_then(Pod::live).cloned()),
        };
        let Some(state) = state else { return true };
        match self.hold(&state, held, None, seen).await {
            Ok(_) => {
                tracing::info!(%pod, "a pod that was held back has its limits again");
                true
            }
            // What cannot be held is not.
            Err(error) if error.class == FailureClass::Invalid => true,
            Err(error) => {
                tracing::debug!(%error, %pod, "failed to let go of a pod that was held back");
                false
            }
        }
    }

    /// Holds a pod, or lets it go where there is no limit; says how.
    async fn hold(
        &self,
        pod: &PodState,
        held: &Held,
        limit: Option<Bytes>,
        seen: &SeenGpus,
    ) -> Result<String, RuntimeError> {
        let missing = || RuntimeError::new(FailureClass::Unavailable, "the pod's runtime is not there");
        let runtime = self.shell.runtime(pod.spec.runtime).ok_or_else(missing)?;
        match held {
            Held::Processors => {
                let mut each = vec![];
                for key in ContainerKey::running(pod) {
                    let Some(spec) = pod.spec.container(&key.container) else { continue };
                    let given = spec.resources.cpu_limit;
                    let kept = limit.map(|_| processor_time(given));
                    // One that cannot be held keeps no other from being held.
                    let held = runtime.set_cpu_limit(&key, kept.or(given)).await;
                    each.push((key.container, held.map(|()| kept)));
                }
                together(each)
            }
            Held::GpuMemory(gpu) => {
                let bus = bus(gpu, seen)?;
                runtime.set_gpu_memory_limit(pod.uid, bus, limit).await?;
                let kept = limit.map_or(0, |limit| limit.0 >> 20);
                Ok(format!("memory of the GPU while this goes on: {kept} MiB at most"))
            }
        }
    }

    /// A pod, if any of its containers runs.
    fn running(&self, pod: PodUid) -> Option<PodState> {
        let state = self.shell.live.read(|world| world.pod(pod).and_then(Pod::live).cloned());
        state.filter(|state| ContainerKey::running(state).next().is_some())
    }
}

/// What came of holding each container, in one. What may go better the next time counts more than what was done, and that
/// more than what cannot be.
fn together(
    each: Vec<(ContainerName, Result<Option<MilliCpu>, RuntimeError>)>,
) -> Result<String, RuntimeError> {
    let (mut told, mut failed, mut class) = (vec![], vec![], FailureClass::Invalid);
    let mut is_any_held = each.is_empty();
    for (container, held) in each {
        match held {
            Ok(kept) => {
                is_any_held = true;
                told.extend(kept.map(|kept| format!("`{container}` {}m", kept.0)));
            }
            Err(error) => {
                if error.class != FailureClass::Invalid {
                    class = error.class;
                }
                failed.push(format!("`{container}`: {}", error.message));
            }
        }
    }
    let failures = failed.join("; ");
    let held = format!("processor time while this goes on: {}", told.join(", "));
    match (failed.is_empty(), is_any_held && class == FailureClass::Invalid) {
        (true, _) => Ok(held),
        (false, true) => Ok(format!("{held}; not held: {failures}")),
        (false, false) => Err(RuntimeError::new(class, failures)),
    }
}

/// Where a GPU is on the bus.
fn bus<'a>(gpu: &GpuUuid, seen: &'a SeenGpus) -> Result<&'a str, RuntimeError> {
    let cannot = |message: &str| RuntimeError::new(FailureClass::Invalid, message);
    let seen = seen.gpus.iter().find(|seen| seen.uuid == *gpu);
    match seen.map(|gpu| (&gpu.part, gpu.bus.as_deref(), &gpu.state)) {
        Some((GpuPart::Instance { .. }, _, _)) => {
            Err(cannot("the memory of an instance of a divided GPU is not limited apart from it"))
        }
        Some((_, Some(bus), _)) => Ok(bus),
        Some((_, None, GpuState::Ready)) => {
            Err(cannot("the driver does not say where on the bus the GPU is"))
        }
        Some(_) | None => {
            let message = "it is not known now where on the bus the GPU is";
            Err(RuntimeError::new(FailureClass::Unavailable, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(
        name: &str,
        held: Result<u64, (FailureClass, &str)>,
    ) -> (ContainerName, Result<Option<MilliCpu>, RuntimeError>) {
        let held = held.map(|kept| Some(MilliCpu(kept)));
        let held = held.map_err(|(class, message)| RuntimeError::new(class, message));
        (ContainerName::new(name).unwrap(), held)
    }

    #[test]
    fn one_container_that_cannot_be_held_keeps_no_other_from_it_and_is_told_of() {
        use FailureClass::{Invalid, Runtime};
        let held = || container("a", Ok(100));
        let none = || container("b", Err((Invalid, "has no group")));
        let busy = || container("c", Err((Runtime, "is busy")));
        let begin = "processor time while this goes on: `a` 100m";
        assert_eq!(together(vec![held()]).unwrap(), begin);
        assert_eq!(together(vec![none(), held()]).unwrap(), format!("{begin}; not held: `b`: has no group"));
        let error = together(vec![none(), held(), busy()]).unwrap_err();
        assert_eq!((error.class, error.message.as_str()), (Runtime, "`b`: has no group; `c`: is busy"));
        let error = together(vec![none()]).unwrap_err();
        assert_eq!((error.class, error.message.as_str()), (Invalid, "`b`: has no group"));
    }
}
