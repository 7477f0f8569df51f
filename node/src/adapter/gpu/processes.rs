//! The processes that use one GPU: what of its memory each has, how busy it was for each, and whose they are.
//!
//! There are drivers whose lists are laid out otherwise than the interface says, and containers in which a driver's pids
//! are another's. So a driver is put to the test: until it has listed processes of which most are there, a list of
//! which most are not is no list.

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
/// Lists of which most is not there after which no more of them are believed: one may be of processes that just ended.
const ODD_LISTS_MAX: u32 = 3;

/// Time that a GPU was busy for each process, in percent; none where what was said cannot be.
type Busy = BTreeMap<u32, Option<u32>>;

/// Reads the processes of one GPU.
#[derive(Default)]
pub(super) struct Processes {
    /// Time of the newest sample of a process that was read, in microseconds since 1970.
    newest_us: u64,
    standing: Standing,
}

/// What is thought of the driver's lists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// There were so many lists of which most was not there, and no other.
    Untested { odd: u32 },
    /// There was a list of processes that are there.
    Proven,
}

impl Default for Standing {
    fn default() -> Standing {
        Standing::Untested { odd: 0 }
    }
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
        let process = |(pid, memory): (u32, Option<u64>)| GpuProcess {
            pid,
            owner: owners.owner(pid),
            memory: memory.map(Bytes),
            // Who is in no sample was not busy.
            sm_percent: busy.value().and_then(|busy| busy.get(&pid).copied().unwrap_or(Some(0))),
        };
        let found: Vec<GpuProcess> = found.into_iter().take(PROCESSES_MAX).map(process).collect();
        Ok(self.test(&caller.uuid, found))
    }

    /// The processes, if the driver's lists can be believed.
    fn test(&mut self, gpu: &GpuUuid, found: Vec<GpuProcess>) -> Reading<Vec<GpuProcess>> {
        let Standing::Untested { odd } = self.standing else { return Reading::Value(found) };
        let gone = found.iter().filter(|process| process.owner == ProcessOwner::Gone).count();
        if found.is_empty() {
            return Reading::Value(found);
        }
        if gone * 2 <= found.len() {
            self.standing = Standing::Proven;
            return Reading::Value(found);
        }
        let odd = odd.saturating_add(1);
        self.standing = Standing::Untested { odd };
        if odd < ODD_LISTS_MAX {
            return Reading::Value(found);
        }
        let reason = format!(
            "{gone} of the {} processes that the driver lists are not on this machine: run the service in the host's \
             pid namespace, or take another release of the driver",
            found.len()
        );
        if odd == ODD_LISTS_MAX {
            tracing::warn!(%gpu, reason, "whose processes use a GPU is not told");
        }
        Reading::Failed(reason)
    }

    /// Time that it was busy for each process, in percent, since the last look; at most the last second before it.
    fn busy(&mut self, caller: &mut Caller, device: &Device<'_>) -> Result<Reading<Busy>, End> {
        let call = "nvmlDeviceGetProcessUtilization";
        let window_us = u64::try_from(caller.board.pace.sample.as_micros()).unwrap_or(u64::MAX);
        let now_us = u64::try_from(caller.board.now().0).unwrap_or(0);
        let since = self.newest_us.max(now_us.saturating_sub(window_us));
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
