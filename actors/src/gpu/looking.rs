//! Looking at the GPUs: what the port saw of each goes to its actor, and the ledger hears what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, Addr};
use purser_events::gpu::{Degradation, Evidence, GpuFacts, Seen, SeenFault, Standing};
use purser_events::ledger::GpuUuid;

use super::{GpuActor, See, draining};
use crate::directory::Directory;
use crate::ledger::{LedgerActor, Refit};
use crate::port::{DriverState, GpuPart, GpuState, SeenGpu, SeenGpus, Slowdown};
use crate::shell::Shell;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// The same where there never was a GPU.
const WITHOUT: Duration = Duration::from_secs(10);
/// What has not come back of a GPU that a start could not wait for.
const FIRST_LOOK: &str = "the first look after a start";

/// Which actor has which GPU. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct GpuActors {
    actors: Arc<Mutex<BTreeMap<GpuUuid, Addr<GpuActor>>>>,
}

impl GpuActors {
    /// The actor of a GPU that was ever seen.
    pub(crate) fn find(&self, uuid: &GpuUuid) -> Option<Addr<GpuActor>> {
        self.actors.lock().unwrap_or_else(PoisonError::into_inner).get(uuid).cloned()
    }

    /// The actor of a GPU, made if there is none; none if the GPU's records cannot be followed.
    fn of(&self, uuid: &GpuUuid, shell: &Arc<Shell>) -> Option<Addr<GpuActor>> {
        let known = self.find(uuid);
        if known.is_some() || shell.live.read(|world| world.quarantined.contains_key(&uuid.stream())) {
            return known;
        }
        let actor = GpuActor::new(uuid.clone(), shell.clone()).start();
        let mut actors = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        Some(actors.entry(uuid.clone()).or_insert(actor).clone())
    }

    /// Looks at every GPU that is there, and at every one that was.
    async fn look(&self, shell: &Arc<Shell>, is_first: bool) {
        for mut seen in all(shell) {
            if is_first && seen.standing.is_none() {
                seen.standing = not_looked_at(&seen.facts.uuid, shell);
            }
            if let Some(actor) = self.of(&seen.facts.uuid, shell) {
                // An actor that is gone went with the service.
                let _ = actor.send(See(seen)).await;
            }
        }
    }
}

/// Looks at the GPUs for the first time, so that what is on record is as they are.
pub(crate) async fn begin(shell: &Arc<Shell>) -> GpuActors {
    let actors = GpuActors::default();
    actors.look(shell, true).await;
    actors
}

/// How a GPU stands that could not be looked at yet when the service starts. What is on record of it is from before, and a
/// GPU takes no pods on that alone; of one that was never seen there is nothing to say.
fn not_looked_at(uuid: &GpuUuid, shell: &Shell) -> Option<Standing> {
    let is_known = shell.live.read(|world| world.gpus.get(uuid).is_some_and(|gpu| gpu.known().is_some()));
    is_known.then(|| Standing::Unresponsive { call: FIRST_LOOK.to_owned() })
}

/// Begins to look again and again, for as long as the actors' thread lives.
pub(crate) fn watch(
    shell: &Arc<Shell>,
    actors: &GpuActors,
    ledger: &Addr<LedgerActor>,
    directory: &Addr<Directory>,
) {
    let (shell, actors, ledger) = (shell.clone(), actors.clone(), ledger.clone());
    let directory = directory.clone();
    actix::spawn(async move {
        loop {
            let has_some =
                !shell.gpus.seen().gpus.is_empty() || shell.live.read(|world| !world.gpus.is_empty());
            shell.clock.sleep(if has_some { EVERY } else { WITHOUT }).await;
            actors.look(&shell, false).await;
            draining::go_on(&shell, &actors, &directory).await;
            if shell.live.read(|world| !world.gives_out(&world.ledger.capacity.gpus)) {
                // A ledger that is gone went with the service.
                let _ = ledger.send(Refit { machine: None }).await;
            }
        }
    });
}

/// What is to be said of every GPU that is there, and of every one that was.
fn all(shell: &Shell) -> Vec<Seen> {
    let SeenGpus { driver, gpus } = shell.gpus.seen();
    let there: BTreeSet<GpuUuid> = gpus.iter().map(|gpu| gpu.uuid.clone()).collect();
    let known: Vec<GpuUuid> = shell.live.read(|world| world.gpus.keys().cloned().collect());
    let away = known.into_iter().filter(|uuid| !there.contains(uuid)).map(|uuid| absent(uuid, &driver));
    gpus.iter().map(|gpu| present(gpu, &driver)).chain(away).collect()
}

fn present(gpu: &SeenGpu, driver: &DriverState) -> Seen {
    let readings = gpu.readings.as_ref();
    let now = readings.filter(|_| gpu.state == GpuState::Ready);
    let standing = match &gpu.state {
        GpuState::Ready | GpuState::Named => Some(Standing::Answers),
        GpuState::Starting => None,
        GpuState::Unresponsive { call } => Some(Standing::Unresponsive { call: (*call).to_owned() }),
        GpuState::Lost { reason } | GpuState::Contradicted { reason } => {
            Some(Standing::Lost { reason: reason.clone() })
        }
    };
    let slowed_by = now.and_then(|readings| readings.slowed_by.value());
    let slowed = slowed_by.map(|slowed| slowed.iter().filter_map(degradation).collect());
    let ecc_uncorrected = now.and_then(|readings| readings.ecc_uncorrected.value().copied());
    let faults = gpu.xids.iter().map(|told| SeenFault { number: told.number, xid: told.xid, at: told.at });
    Seen {
        facts: GpuFacts {
            uuid: gpu.uuid.clone(),
            model: gpu.model.clone(),
            memory: gpu.memory,
            tflops: gpu.tflops,
            driver: release(driver).filter(|_| gpu.state != GpuState::Named),
            parent: match &gpu.part {
                GpuPart::Instance { of } => Some(of.clone()),
                GpuPart::Whole | GpuPart::Divided => None,
            },
            is_divided: Some(gpu.part == GpuPart::Divided),
            ecc_uncorrected,
        },
        standing,
        slowed,
        faults: faults.collect(),
        evidence: Evidence {
            for_ms: 0,
            read_at: readings.map(|readings| readings.at),
            temperature_c: readings.and_then(|readings| readings.temperature_c.value().copied()),
            power_mw: readings.and_then(|readings| readings.power_mw.value().copied()),
            ecc_uncorrected,
        },
    }
}

/// A GPU that was there and is not. While the driver was not asked, nothing is known of it.
fn absent(uuid: GpuUuid, driver: &DriverState) -> Seen {
    let lost = |reason: String| Some(Standing::Lost { reason });
    let standing = match driver {
        DriverState::Starting => None,
        DriverState::Absent => lost("there is no driver, and the config does not name it".to_owned()),
        DriverState::Up { .. } => lost("the driver does not list it".to_owned()),
        DriverState::Failing { reason } => lost(format!("the driver fails: {reason}")),
    };
    let facts = GpuFacts {
        uuid,
        model: None,
        memory: None,
        tflops: None,
        driver: None,
        parent: None,
        is_divided: None,
        ecc_uncorrected: None,
    };
    Seen { facts, standing, slowed: None, faults: vec![], evidence: Evidence::default() }
}

fn release(driver: &DriverState) -> Option<String> {
    match driver {
        DriverState::Up { release, .. } => release.clone(),
        DriverState::Absent | DriverState::Starting | DriverState::Failing { .. } => None,
    }
}

/// What of a slowdown is a degradation: what holds the clocks of a GPU down that does as it was told is none.
fn degradation(slowdown: &Slowdown) -> Option<Degradation> {
    match slowdown {
        Slowdown::SoftwareThermal | Slowdown::HardwareThermal => Some(Degradation::Thermal),
        Slowdown::PowerBrake => Some(Degradation::PowerBrake),
        Slowdown::Hardware => Some(Degradation::Hardware),
        Slowdown::Idle | Slowdown::ClocksSetting | Slowdown::PowerCap | Slowdown::Other => None,
    }
}
