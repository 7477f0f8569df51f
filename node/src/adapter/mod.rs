//! The outside behind the actors' ports: container runtimes, their volumes and their logs, and the machine's processors
//! and GPUs.

mod affinity;
pub mod archive;
pub mod cdi;
pub(crate) mod cgroups;
pub mod clock;
pub mod containerd;
mod disk_use;
pub mod gpu;
#[cfg(test)]
mod groups_on_disk;
pub mod logs;
pub mod machine;
pub mod mps;
mod out_of_memory;
pub mod owners;
pub mod probes;
pub mod process;
pub mod sizes;
pub mod stat;
mod throttle;
pub mod topology;
pub mod usage;
pub mod volumes;
pub mod witness;
