//! GPUs that fail and come back, and what must hold of them: nothing is given out anew of one that takes no pods.

use std::collections::BTreeMap;

use purser_actors::port::{Clock, GpuState};
use purser_events::ledger::{GpuUuid, Grant, LedgerEvent};
use purser_events::{Event, World};

use super::run::{Broken, Simulation};

/// GPUs of a machine that has some.
pub(super) const COUNT: u32 = 2;
/// Groups of records within which a decision is on disk that was made before the node showed that a GPU takes no pods:
/// the one that the journal holds, and the one behind it.
const GROUPS_MAX: u64 = 2;

/// Which GPUs take no pods, and since which group of records.
#[derive(Debug, Default)]
pub(super) struct Out {
    groups: u64,
    since: BTreeMap<GpuUuid, u64>,
}

impl Out {
    /// Another group of records is read.
    pub(super) fn begin_group(&mut self) {
        self.groups += 1;
    }

    /// Sees that a record gives out nothing of a GPU that takes no pods. `world` is that before the record.
    pub(super) fn look(&mut self, world: &World, event: &Event) -> Result<(), Broken> {
        for (uuid, gpu) in &world.gpus {
            if gpu.to_give_out().is_some() {
                self.since.remove(uuid);
            } else {
                self.since.entry(uuid.clone()).or_insert(self.groups);
            }
        }
        let Some(grant) = granted(event) else { return Ok(()) };
        for gpu in &grant.gpus {
            if let Some(since) = self.since.get(&gpu.uuid)
                && GROUPS_MAX < self.groups - since
            {
                let word = world.gpus.get(&gpu.uuid).map_or("gone", |gpu| gpu.word());
                return Err(format!("{} is given out anew, and it is {word}", gpu.uuid));
            }
        }
        Ok(())
    }
}

fn granted(event: &Event) -> Option<&Grant> {
    match event {
        Event::Ledger(LedgerEvent::Allocated(allocated)) => Some(&allocated.grant),
        Event::Ledger(LedgerEvent::Reserved(reserved)) => Some(&reserved.grant),
        _ => None,
    }
}

impl Simulation {
    /// Something happens to a GPU, if there is one.
    pub(super) fn gpu_event(&mut self) {
        let gpus = self.ground.gpus.clone();
        if gpus.count() == 0 {
            return;
        }
        let number = self.random.index(gpus.count());
        match self.random.below(10) {
            0..=2 => gpus.set(number, GpuState::Lost { reason: "it is not listed".to_owned() }),
            3 => gpus.set(number, GpuState::Unresponsive { call: "nvmlDeviceGetMemoryInfo" }),
            4 => gpus.set(number, GpuState::Starting),
            5 => gpus.fault(number, 31, self.ground.clock.now()),
            6 => gpus.fault(number, 79, self.ground.clock.now()),
            _ => gpus.set(number, GpuState::Ready),
        }
    }

    /// Every GPU answers, and none tells of faults.
    pub(super) fn heal_gpus(&self) {
        let gpus = &self.ground.gpus;
        (0..gpus.count()).for_each(|number| gpus.set(number, GpuState::Ready));
    }

    /// What the ledger gives out is what takes pods.
    pub(super) fn gpus_agree(&self) -> Result<(), Broken> {
        let world = &self.shadow.world;
        if world.gives_out(&world.ledger.capacity.gpus) {
            return Ok(());
        }
        let wanted = world.gpus_to_give_out();
        Err(format!("the ledger gives out {:?}, and {wanted:?} take pods", world.ledger.capacity.gpus))
    }
}
