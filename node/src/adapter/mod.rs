//! The outside behind the actors' ports: container runtimes, their volumes and their logs.

pub mod archive;
pub mod clock;
pub mod containerd;
pub mod logs;
mod out_of_memory;
pub mod probes;
pub mod process;
pub mod volumes;
pub mod witness;
