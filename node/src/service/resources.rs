//! What the machine has to give out when the service starts, and the config's rules for it.

use std::sync::Arc;
use std::time::Duration;

use purser_actors::port::{Clock, DriverState, GpuState, Gpus, MachineCapacity, SeenGpus};
use purser_actors::start::Resources;
use purser_events::ledger::Capacity;

use super::exit::Failure;
use crate::adapter::gpu::{Pace, Sensor};
use crate::adapter::machine::ProcMachine;
use crate::adapter::owners::Owners;
use crate::config::{Config, ConfigError};

/// Longest time that a start waits for the GPUs: a driver that nothing keeps loaded takes seconds for each of them. What
/// answers later is given out then.
const GPUS_WAIT: Duration = Duration::from_secs(20);

/// Begins to look at the machine's GPUs.
pub(super) fn sensor(config: &Config, owners: Arc<Owners>, clock: Arc<dyn Clock>) -> Result<Sensor, Failure> {
    let library = config.gpu.nvml_library.clone().into_os_string();
    let named = config.resources.gpus().map_err(Failure::Config)?;
    let models = config.gpu.models().map_err(Failure::Config)?;
    let kernel_log = config.gpu.kernel_log.clone();
    Sensor::begin(library, kernel_log, named, models, owners, clock, Pace::default())
        .map_err(Failure::Runtime)
}

/// Returns once each GPU was looked at or does not answer.
fn first_look(config: &Config, sensor: &Sensor) -> Result<(), Failure> {
    let is_starting = |seen: &SeenGpus| {
        seen.driver == DriverState::Starting || seen.gpus.iter().any(|gpu| gpu.state == GpuState::Starting)
    };
    if !sensor.wait_until(GPUS_WAIT, |seen| !is_starting(seen)) {
        tracing::warn!("the GPUs have not all answered yet; those that do later are given out then");
    }
    let seen = sensor.seen();
    for gpu in &seen.gpus {
        if let GpuState::Contradicted { reason } = &gpu.state {
            return Err(Failure::Config(ConfigError::of_gpu(&config.resources, &gpu.uuid, reason)));
        }
    }
    Ok(())
}

/// The machine's resources, and the config's rules for them.
pub(super) fn resources(
    config: &Config,
    machine: &ProcMachine,
    sensor: &Sensor,
) -> Result<Resources, Failure> {
    let wrong = Failure::Config;
    let given = &config.resources;
    let MachineCapacity { cpus, memory, disk } = machine.look().map_err(Failure::Machine)?;
    first_look(config, sensor)?;
    let capacity = Capacity {
        cpus,
        memory,
        disk,
        // Those that take pods, as they are on record once the actors have seen them.
        gpus: vec![],
        ports: given.ports().map_err(wrong)?,
        subnets: given.subnets().map_err(wrong)?,
        custom: given.custom().map_err(wrong)?,
    };
    let policy = config.policy.resources.in_force().map_err(wrong)?;
    Ok(Resources { capacity, policy })
}
