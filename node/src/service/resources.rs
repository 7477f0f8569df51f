//! What the machine has to give out, looked at once at the start.

use std::path::Path;

use nix::sys::statvfs::statvfs;
use purser_actors::start::Resources;
use purser_events::Bytes;
use purser_events::ledger::Capacity;

use super::exit::Failure;
use crate::adapter::topology;
use crate::config::Config;

/// Where the kernel tells of processors.
const SYS: &str = "/sys";

/// The machine's resources, and the config's rules for them.
pub(super) fn resources(config: &Config, memory: Bytes) -> Result<Resources, Failure> {
    let wrong = Failure::Config;
    let given = &config.resources;
    let capacity = Capacity {
        cpus: topology::read_own(Path::new(SYS)).map_err(Failure::Topology)?,
        memory,
        disk: disk(&config.data_dir)?,
        gpus: given.gpus().map_err(wrong)?,
        ports: given.ports().map_err(wrong)?,
        subnets: given.subnets().map_err(wrong)?,
        custom: given.custom().map_err(wrong)?,
    };
    let policy = config.policy.resources.in_force().map_err(wrong)?;
    Ok(Resources { capacity, policy })
}

/// All of the file system of the pods' folders: what is used of it by others shows as real use.
fn disk(folder: &Path) -> Result<Bytes, Failure> {
    let stat = statvfs(folder)
        .map_err(|errno| Failure::Folder { path: folder.to_path_buf(), source: errno.into() })?;
    Ok(Bytes(stat.blocks().saturating_mul(stat.fragment_size())))
}
