//! Other amounts for pods that go on, and use that was recorded, beside the reference.

use purser_events::ledger::event::{LedgerEvent as E, NodeUse, PodUse, UseRecorded};
use purser_events::ledger::{
    Bound, Demand, Grant, HolderId, LedgerCommand as C, LedgerRejection as R, ResizeHolding, Resizing,
    ResourceKind, Size,
};
use purser_events::{Bytes, MilliCpu, PodUid};

use super::super::operations::Resize;
use super::super::reference;
use super::Life;

/// What a size is more than another.
pub(super) fn beyond(to: Size, from: Size) -> Demand {
    Demand {
        cpu: MilliCpu(to.cpu.0.saturating_sub(from.cpu.0)),
        memory: Bytes(to.memory.0.saturating_sub(from.memory.0)),
        ..Demand::default()
    }
}

impl Life {
    /// A pod that holds something, one that is being resized before others if `open`; any that was seen if none does.
    fn holder(&self, index: usize, open: bool) -> PodUid {
        let held = self.model.held.iter();
        let wanted = held.filter(|(_, holding)| !open || holding.resizing.is_some());
        let pods: Vec<PodUid> = wanted.filter_map(|(id, _)| reference::pod(*id)).collect();
        pods.get(index % pods.len().max(1)).copied().unwrap_or_else(|| self.seen(index))
    }

    pub(super) fn resize(&mut self, asked: &Resize) {
        let pod = self.holder(asked.which, false);
        let held = self.model.holding(HolderId::Pod(pod)).cloned();
        // The processors of a pod that has some alone stay, as its actor sees to.
        let has_alone = held.as_ref().is_some_and(|held| held.grant.cpus.is_some());
        let cpu = asked.cpu.map(MilliCpu).filter(|_| !has_alone);
        let (memory, generation) = (asked.memory.map(Bytes), asked.generation);
        let answer = self.model_of_resize(pod, cpu, memory);
        let command = C::Resize(Box::new(ResizeHolding { pod, generation, cpu, memory }));
        let events = self.ask(&command);
        match answer {
            Answer::Nothing => assert_eq!(events, Ok(vec![])),
            Answer::Open(generation) => assert_eq!(events, Err(R::ResizeOpen { generation })),
            Answer::Short => assert!(matches!(events, Err(R::Insufficient { .. })), "{events:?}"),
            Answer::Granted(from, to) => {
                let first = events.expect("what fits is given").into_iter().next();
                let is_it = |it: &E| matches!(it, E::ResizeGranted(it) if (it.pod, it.from, it.to) == (pod, from, to));
                assert!(first.as_ref().is_some_and(is_it), "{first:?}");
                let open = self.model.holding(HolderId::Pod(pod)).and_then(|holding| holding.resizing);
                assert_eq!(open, Some(Resizing { generation, from, to }));
            }
        }
    }

    /// What is to come of a wish for other amounts.
    fn model_of_resize(&self, pod: PodUid, cpu: Option<MilliCpu>, memory: Option<Bytes>) -> Answer {
        let Some(held) = self.model.holding(HolderId::Pod(pod)) else { return Answer::Nothing };
        if let Some(open) = held.resizing {
            return Answer::Open(open.generation);
        }
        let from = Size::of(&held.grant);
        let bounds = self.model.tenant(&held.tenant);
        let or_default = |asked: u64, kind: &ResourceKind| match bounds {
            Some(bounds) if asked == 0 => bounds.pod_default.get(kind),
            Some(_) | None => asked,
        };
        let to = Size {
            cpu: MilliCpu(or_default(cpu.unwrap_or(from.cpu).0, &ResourceKind::Cpu)),
            memory: Bytes(or_default(memory.unwrap_or(from.memory).0, &ResourceKind::Memory)),
        };
        if from == to {
            return Answer::Nothing;
        }
        let more = beyond(to, from);
        let front = self.model.front_of(|waiter| waiter.priority < held.priority);
        let short = self.model.shortages(&held.tenant, &more, &front);
        // It is no pod more, and what one pod may have is of all that it is to have.
        let is_of_more = |bound: &Bound| !matches!(bound, Bound::PodMax { .. } | Bound::Unstated);
        let lacks = short.iter().any(|it| it.kind != ResourceKind::Pods && is_of_more(&it.bound));
        let sizes =
            [(ResourceKind::Cpu, to.cpu.0, more.cpu.0), (ResourceKind::Memory, to.memory.0, more.memory.0)];
        let mut each = sizes.iter();
        let is_barred = each.any(|(kind, to, more)| {
            let most = bounds.and_then(|bounds| bounds.pod_max.bound(kind));
            *more != 0 && most.is_some_and(|most| most < *to) || self.model.policy.strict && *to == 0
        });
        if lacks || is_barred { Answer::Short } else { Answer::Granted(from, to) }
    }

    pub(super) fn settle_resize(&mut self, which: usize, off: u32, done: bool) {
        let pod = self.holder(which, true);
        let open = self.model.holding(HolderId::Pod(pod)).and_then(|holding| holding.resizing);
        let generation = open.map_or(1, |open| open.generation).wrapping_add(off);
        let events = self.ask(&C::SettleResize { pod, generation, done }).expect("what is done is done");
        let Some(open) = open.filter(|_| off == 0) else { return assert_eq!(events, []) };
        let size = if done { open.to } else { open.from };
        let settled =
            |it: &E| matches!(it, E::ResizeSettled(it) if (it.pod, it.size, it.done) == (pod, size, done));
        assert!(events.first().is_some_and(settled), "{events:?}");
    }

    /// What was really used is on record, and changes nothing that is given out.
    pub(super) fn record_use(&mut self, used: u64) {
        let held = self.model.held.iter().filter_map(|(id, _)| reference::pod(*id));
        let of = |pod| PodUse {
            pod,
            samples: 1,
            cpu_mean: MilliCpu(used),
            cpu_max: MilliCpu(used),
            memory_mean: Bytes(used),
            memory_max: Bytes(used),
            disk: Bytes(used),
            gpus: purser_events::ledger::event::GpuUsed::default(),
        };
        let pods = held.map(of).collect();
        let (from, to) = (self.context.now, self.context.now.plus_ms(300_000));
        let recorded = UseRecorded {
            from,
            to,
            pods,
            node: NodeUse::default(),
            gpus: purser_events::ledger::event::GpuUsed::default(),
        };
        let before = self.model.held.clone();
        let events = self.ask(&C::RecordUse(Box::new(recorded.clone()))).expect("what was used was used");
        assert_eq!(events.first(), Some(&E::UseRecorded(Box::new(recorded))), "{events:?}");
        assert!(events.len() != 1 || self.model.held == before, "use gave something out");
    }
}

/// What is to come of a wish for other amounts.
enum Answer {
    /// It holds nothing, or has that already.
    Nothing,
    /// It is getting others, for this generation.
    Open(u32),
    Short,
    Granted(Size, Size),
}

/// What a resize gives beyond what the pod had.
pub(super) fn given(to: Size, from: Size) -> Grant {
    let Demand { cpu, memory, .. } = beyond(to, from);
    Grant { cpu, memory, ..Grant::default() }
}
