//! The processes that use one GPU: what of its memory each has, how busy it was for each, and whose they are.
//!
//! There are drivers whose lists are laid out otherwise than the interface says, that list what is long gone, and
//! containers in which a driver's pids are another's. So each pid is judged by itself: it is a pod's if the kernel has a
//! process of this id in the pod's group. One that is listed again and again while there is no such process is unknown, and
//! where this service sees only a part of the machine's processes, one such pid makes all of the driver's pids unknown.

use std::collections::BTreeMap;
use std::sync::Arc;

use nvml_wrapper::Device;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use purser_actors::port::{GpuProcess, ProcessOwner, Reading};
use purser_events::Bytes;
use purser_events::ledger::GpuUuid;

use super::caller::{Caller, End, count_discarded};
use super::figures::WHOLE_PERCENT;

/// Most processes of one GPU that are told.
const PROCESSES_MAX: usize = 1_024;
/// Tries to read a list that grows while it is read.
const LIST_TRIES: usize = 3;
/// Lists in a row that must have a pid which no process has, for it to be unknown: in one or two it has just ended.
const ABSENT_LISTS: u32 = 3;

/// Why processes cannot be told where the driver's ids are another namespace's.
const FOREIGN: &str = "the driver's process ids are those of another namespace";

/// Time that a GPU was busy for each process, in percent; none where what was said cannot be.
type Busy = BTreeMap<u32, Option<u32>>;

/// Reads the processes of one GPU.
#[derive(Default)]
pub(super) struct Processes {
    /// Time of the newest sample of a process that was read, in microseconds since 1970.
    newest_us: u64,
    /// In how many lists in a row a pid was that no process has.
    absent: BTreeMap<u32, u32>,
    /// Whether the driver's pids turned out to be of another namespace.
    is_foreign: bool,
}

impl Processes {
    /// The processes that use it, whether they compute, draw or share it through a server.
    pub(super) fn read(
        &mut self,
        caller: &mut Caller,
        device: &Device<'_>,
    ) -> Result<Reading<Vec<GpuProcess>>, End> {
        let call = "nvmlDeviceGetComputeRunningProcesses_v3";
        let computing = caller.ask(call, || whole(|| device.running_compute_processes()))?;
        let call = "nvmlDeviceGetGraphicsRunningProcesses_v3";
        let drawing = caller.ask(call, || whole(|| device.running_graphics_processes()))?;
        let call = "nvmlDeviceGetMPSComputeRunningProcesses_v3";
        let sharing = caller.ask(call, || whole(|| device.mps_running_compute_processes()))?;
        let busy = self.busy(caller, device)?;
        let mut found: BTreeMap<u32, Option<u64>> = BTreeMap::new();
        if computing == Reading::Unsupported {
            return Ok(Reading::Unsupported);
        }
        for list in [computing, drawing, sharing] {
            match list {
                Reading::Value(list) => list.iter().for_each(|process| note(&mut found, process)),
                Reading::Unsupported => {}
                Reading::Failed(reason) => return Ok(Reading::Failed(reason)),
            }
        }
        let owners = Arc::clone(&caller.board.owners);
        let owner_of = |pid: u32| match self.is_foreign {
            true => ProcessOwner::Unknown { name: None },
            false => owners.owner(pid),
        };
        let process = |(pid, memory): (u32, Option<u64>)| GpuProcess {
            pid,
            owner: owner_of(pid),
            memory: memory.map(Bytes),
            // Who is in no sample was not busy.
            sm_percent: busy.value().and_then(|busy| busy.get(&pid).copied().unwrap_or(Some(0))),
        };
        let found: Vec<GpuProcess> = found.into_iter().take(PROCESSES_MAX).map(process).collect();
        let judged = self.judge(&caller.uuid, found, owners.sees_a_part());
        // Whose they are cannot be told, and that a pod has none there is no evidence.
        Ok(if self.is_foreign { Reading::Failed(FOREIGN.to_owned()) } else { Reading::Value(judged) })
    }

    /// The processes with their owners as far as those can be told. `sees_a_part` is whether this service does not see every
    /// process of the machine.
    fn judge(&mut self, gpu: &GpuUuid, mut found: Vec<GpuProcess>, sees_a_part: bool) -> Vec<GpuProcess> {
        let gone = found.iter().filter(|process| process.owner == ProcessOwner::Gone);
        let absent = gone.map(|process| {
            let before = self.absent.get(&process.pid).copied().unwrap_or(0);
            (process.pid, before.saturating_add(1))
        });
        let absent: BTreeMap<u32, u32> = absent.collect();
        let is_unknown =
            |process: &GpuProcess| absent.get(&process.pid).is_some_and(|it| ABSENT_LISTS <= *it);
        let count = found.iter().filter(|process| is_unknown(process)).count();
        let is_foreign = sees_a_part && (self.is_foreign || 0 < count);
        if is_foreign && !self.is_foreign {
            tracing::warn!(%gpu, "the driver's process ids are not this service's: whose processes use a GPU cannot be \
                told. Run the service in the host's pid namespace");
        } else if absent.values().any(|lists| *lists == ABSENT_LISTS) {
            tracing::warn!(%gpu, count, "the driver goes on to list processes that are not on this machine");
        }
        for process in &mut found {
            if is_foreign || is_unknown(process) {
                process.owner = ProcessOwner::Unknown { name: None };
            }
        }
        (self.absent, self.is_foreign) = (absent, is_foreign);
        found
    }

    /// Time that it was busy for each process, in percent, since the last look; at most the last second before it.
    fn busy(&mut self, caller: &mut Caller, device: &Device<'_>) -> Result<Reading<Busy>, End> {
        let call = "nvmlDeviceGetProcessUtilization";
        let window_us = u64::try_from(caller.board.pace.sample.as_micros()).unwrap_or(u64::MAX);
        let now_us = u64::try_from(caller.board.now().0).unwrap_or(0);
        // A sample of the future was made before the clock was set back: what comes now is older, and would not be told.
        let last_us = Some(self.newest_us).filter(|newest| *newest <= now_us.saturating_add(window_us));
        let since = last_us.unwrap_or(0).max(now_us.saturating_sub(window_us));
        let read = caller.ask(call, || match device.process_utilization_stats(since) {
            // Nobody was busy.
            Err(NvmlError::NotFound) => Ok(vec![]),
            read => read,
        })?;
        let newest = read.value().into_iter().flatten().map(|sample| sample.timestamp).max();
        // A time in the future, by a clock that was set back or by mistake, would hide what comes until then.
        self.newest_us = newest.filter(|newest| *newest <= now_us.saturating_add(window_us)).unwrap_or(since);
        Ok(read.map(|samples| {
            let mut busy = Busy::new();
            for sample in samples {
                let most = busy.entry(sample.pid).or_default();
                if sample.sm_util <= WHOLE_PERCENT {
                    *most = (*most).max(Some(sample.sm_util));
                } else {
                    count_discarded(call);
                }
            }
            busy
        }))
    }
}

/// Reads a list again that grew while it was read.
fn whole(read: impl Fn() -> Result<Vec<ProcessInfo>, NvmlError>) -> Result<Vec<ProcessInfo>, NvmlError> {
    let mut last = read();
    for _ in 1..LIST_TRIES {
        if !matches!(last, Err(NvmlError::InsufficientSize(_))) {
            break;
        }
        last = read();
    }
    last
}

/// A process may be in several lists; what it uses is in each of them.
fn note(found: &mut BTreeMap<u32, Option<u64>>, process: &ProcessInfo) {
    let memory = match process.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some(bytes),
        UsedGpuMemory::Unavailable => None,
    };
    let known = found.entry(process.pid).or_default();
    *known = (*known).max(memory);
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn process(pid: u32, owner: ProcessOwner) -> GpuProcess {
        GpuProcess { pid, owner, memory: None, sm_percent: None }
    }

    /// What is thought of these processes after so many lists of them.
    fn judged(
        processes: &mut Processes,
        lists: u32,
        owners: &[ProcessOwner],
        part: bool,
    ) -> Vec<ProcessOwner> {
        let gpu = GpuUuid::new("GPU-a").unwrap();
        let list = || (1..).zip(owners).map(|(pid, owner)| process(pid, owner.clone())).collect();
        let all = (0..lists).map(|_| processes.judge(&gpu, list(), part));
        all.last().unwrap_or_default().into_iter().map(|process| process.owner).collect()
    }

    #[test]
    fn each_pid_is_judged_by_itself() {
        let (gone, unknown) = (ProcessOwner::Gone, ProcessOwner::Unknown { name: None });
        let named = ProcessOwner::Unknown { name: Some("train".to_owned()) };
        let owners = [gone.clone(), named.clone()];
        let mut processes = Processes::default();
        assert_eq!(
            judged(&mut processes, 2, &owners, false),
            [gone.clone(), named.clone()],
            "it has just ended"
        );
        assert_eq!(judged(&mut processes, 1, &owners, false), [unknown.clone(), named.clone()]);
        // Once it was not listed, it begins anew.
        judged(&mut processes, 1, from_ref(&named), false);
        assert_eq!(judged(&mut processes, 1, &owners, false), [gone, named]);
    }

    #[test]
    fn in_a_namespace_of_its_own_a_pid_that_nobody_has_makes_all_unknown() {
        let (gone, unknown) = (ProcessOwner::Gone, ProcessOwner::Unknown { name: None });
        let named = ProcessOwner::Unknown { name: Some("train".to_owned()) };
        let mut processes = Processes::default();
        assert_eq!(judged(&mut processes, 9, from_ref(&named), true), from_ref(&named));
        assert_eq!(
            judged(&mut processes, 3, &[gone, named.clone()], true),
            [unknown.clone(), unknown.clone()]
        );
        assert_eq!(judged(&mut processes, 1, from_ref(&named), true), [unknown], "from now on");
    }
}
