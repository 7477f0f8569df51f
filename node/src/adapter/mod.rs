//! The outside behind the actors' ports: container runtimes, their volumes and their logs, and the machine's processors.

mod affinity;
pub mod archive;
mod cgroups;
pub mod clock;
pub mod containerd;
mod disk_use;
pub mod logs;
pub mod machine;
mod out_of_memory;
pub mod probes;
pub mod process;
pub mod topology;
mod usage;
pub mod volumes;
pub mod witness;
