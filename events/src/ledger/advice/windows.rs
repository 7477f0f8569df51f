//! Recorded use by whom it speaks of: each pod's windows, and the node's, in order and without overlaps.
//!
//! The clock may have been set between two records, and records may be missing. So windows are used by their own times:
//! one that has no length, ends after now, or is over a time that another one has already, is dropped and counted. Of
//! windows that overlap those that end first are kept, which keeps as many as can be.

use std::borrow::Borrow;
use std::collections::BTreeSet;

use super::Pasts;
use super::finding::{Looked, count};
use crate::ids::PodUid;
use crate::ledger::event::{Measured, PodUse, UseRecorded};
use crate::ledger::resource::ResourceKind;
use crate::units::Timestamp;

/// Use by one pod, or by the node, in one window. The order is that of its fields: by its end first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Window {
    /// When it ended.
    pub(super) to: Timestamp,
    /// When it began.
    pub(super) from: Timestamp,
    cpu_mean: u64,
    cpu_max: u64,
    memory_mean: u64,
    memory_max: u64,
    disk: u64,
    gpu_share: Option<Gpu>,
    gpu_memory: Option<Gpu>,
}

/// A figure of GPUs in one window: what they were used was not always recorded, and of some it cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Gpu {
    mean: u64,
    max: u64,
}

impl Gpu {
    fn of(measured: Option<Measured>) -> Option<Gpu> {
        measured.filter(|it| 0 < it.samples).map(|it| Gpu { mean: it.mean, max: it.max })
    }
}

impl Window {
    fn of_pod(record: &UseRecorded, used: &PodUse) -> Window {
        Window {
            to: record.to,
            from: record.from,
            cpu_mean: used.cpu_mean.0,
            cpu_max: used.cpu_max.0,
            memory_mean: used.memory_mean.0,
            memory_max: used.memory_max.0,
            disk: used.disk.0,
            gpu_share: Gpu::of(used.gpus.share),
            gpu_memory: Gpu::of(used.gpus.memory),
        }
    }

    /// The node's: no maxima are recorded of it, so the means stand for them.
    fn of_node(record: &UseRecorded) -> Window {
        let used = record.node;
        Window {
            to: record.to,
            from: record.from,
            cpu_mean: used.cpu_mean.0,
            cpu_max: used.cpu_mean.0,
            memory_mean: used.memory_mean.0,
            memory_max: used.memory_mean.0,
            disk: used.disk.0,
            gpu_share: None,
            gpu_memory: None,
        }
    }

    /// Whether it says anything of a resource.
    pub(super) fn knows(&self, kind: &ResourceKind) -> bool {
        match kind {
            ResourceKind::GpuShare => self.gpu_share.is_some(),
            ResourceKind::GpuMemory => self.gpu_memory.is_some(),
            _ => true,
        }
    }

    /// What was used of a resource: disk at the end, all else as a mean.
    pub(super) fn level(&self, kind: &ResourceKind) -> u64 {
        match kind {
            ResourceKind::Cpu => self.cpu_mean,
            ResourceKind::Memory => self.memory_mean,
            ResourceKind::Disk => self.disk,
            ResourceKind::GpuShare => self.gpu_share.map_or(0, |it| it.mean),
            ResourceKind::GpuMemory => self.gpu_memory.map_or(0, |it| it.mean),
            _ => 0,
        }
    }

    /// The most that was used of a resource.
    pub(super) fn most(&self, kind: &ResourceKind) -> u64 {
        match kind {
            ResourceKind::Cpu => self.cpu_max.max(self.cpu_mean),
            ResourceKind::Memory => self.memory_max.max(self.memory_mean),
            ResourceKind::Disk => self.disk,
            ResourceKind::GpuShare => self.gpu_share.map_or(0, |it| it.max.max(it.mean)),
            ResourceKind::GpuMemory => self.gpu_memory.map_or(0, |it| it.max.max(it.mean)),
            _ => 0,
        }
    }

    /// The moment that [`Window::level`] speaks of: a mean of the middle, the disk of the end.
    pub(super) fn moment(&self, kind: &ResourceKind) -> Timestamp {
        match kind {
            ResourceKind::Disk => self.to,
            _ => Timestamp(self.from.0.midpoint(self.to.0)),
        }
    }
}

/// The windows of one pod or of the node, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Past {
    /// Each begins when the one before has ended, or later.
    pub(super) windows: Vec<Window>,
    /// How many were dropped.
    pub(super) left_out: u32,
}

impl Past {
    /// Puts the windows in order and drops those that cannot be used.
    fn settled(mut self, now: Timestamp) -> Past {
        let recorded = self.windows.len();
        self.windows.sort_unstable();
        let mut end = Timestamp(i64::MIN);
        self.windows.retain(|window| {
            let fits = window.from < window.to && window.to <= now && end <= window.from;
            if fits {
                end = window.to;
            }
            fits
        });
        let dropped = count(recorded - self.windows.len());
        self.left_out = self.left_out.saturating_add(dropped);
        self
    }

    /// Its windows that say anything of a resource.
    pub(super) fn knowing(&self, kind: &ResourceKind) -> Vec<Window> {
        self.windows.iter().filter(|window| window.knows(kind)).copied().collect()
    }

    /// What is said of some of its windows as having been looked at; none if they are none.
    pub(super) fn looked(&self, windows: &[Window]) -> Option<Looked> {
        let (first, last) = (windows.first()?, windows.last()?);
        Some(Looked { windows: count(windows.len()), left_out: self.left_out, from: first.from, to: last.to })
    }

    /// Whether its last window ended so short a time ago that it tells of today.
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        self.windows.last().is_some_and(|last| now.ms_since(last.to) <= FRESH_MS)
    }
}

/// Longest time since the last window for which it still tells of today, in milliseconds: 1 hour.
const FRESH_MS: u64 = 3_600_000;

/// Everybody's windows.
#[derive(Debug, Default)]
pub(super) struct Windows {
    /// Each pod's; one without any record is not among them.
    pub(super) pods: Pasts,
    /// The node's.
    pub(super) node: Past,
}

impl Windows {
    /// The windows of the node and of these pods. The history is gone through once, and nothing else of it is kept.
    pub(super) fn of(
        history: impl IntoIterator<Item = impl Borrow<UseRecorded>>,
        pods: &BTreeSet<PodUid>,
        now: Timestamp,
    ) -> Windows {
        let mut found = Windows::default();
        for record in history {
            let record = record.borrow();
            found.node.windows.push(Window::of_node(record));
            for used in record.pods.iter().filter(|used| pods.contains(&used.pod)) {
                let past = found.pods.entry(used.pod).or_default();
                if used.samples == 0 {
                    past.left_out = past.left_out.saturating_add(1);
                } else {
                    past.windows.push(Window::of_pod(record, used));
                }
            }
        }
        let Windows { pods, node } = found;
        let pods = pods.into_iter().map(|(pod, past)| (pod, past.settled(now))).collect();
        Windows { pods, node: node.settled(now) }
    }
}
