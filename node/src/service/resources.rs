//! What the machine has to give out when the service starts, and the config's rules for it.

use purser_actors::port::MachineCapacity;
use purser_actors::start::Resources;
use purser_events::ledger::Capacity;

use super::exit::Failure;
use crate::adapter::machine::ProcMachine;
use crate::config::Config;

/// The machine's resources, and the config's rules for them.
pub(super) fn resources(config: &Config, machine: &ProcMachine) -> Result<Resources, Failure> {
    let wrong = Failure::Config;
    let given = &config.resources;
    let MachineCapacity { cpus, memory, disk } = machine.look().map_err(Failure::Machine)?;
    let capacity = Capacity {
        cpus,
        memory,
        disk,
        gpus: given.gpus().map_err(wrong)?,
        ports: given.ports().map_err(wrong)?,
        subnets: given.subnets().map_err(wrong)?,
        custom: given.custom().map_err(wrong)?,
    };
    let policy = config.policy.resources.in_force().map_err(wrong)?;
    Ok(Resources { capacity, policy })
}
