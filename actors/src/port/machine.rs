//! The machine as the actors see it: what is really used of it, and what of it is in use.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use async_trait::async_trait;
use purser_events::ledger::Port;
use purser_events::worker::ProcessIdentity;
use purser_events::{Bytes, CpuSet, CpuTopology};

use super::containers::Signal;
use super::gpus::ProcessOwner;

/// What is used of the machine by everything that runs on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MachineUse {
    /// Time that its processors were busy since it was booted, in microseconds, summed over all of them.
    pub cpu_us: u64,
    /// Memory that is not available for new programs.
    pub memory: Bytes,
    /// What is used of the file system of the pods' folders.
    pub disk: Bytes,
}

/// What the machine has of what can be measured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineCapacity {
    /// Processors that the service may use.
    pub cpus: CpuTopology,
    /// Memory.
    pub memory: Bytes,
    /// All of the file system of the pods' folders: what is used of it by others shows as real use.
    pub disk: Bytes,
}

/// The machine. Nothing in here changes it but [`Machine::end_stranger`].
#[async_trait]
pub trait Machine: Send + Sync + 'static {
    /// What it has now.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    async fn capacity(&self) -> io::Result<MachineCapacity>;

    /// What is used of it now.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    async fn usage(&self) -> io::Result<MachineUse>;

    /// Ports that somebody listens on (UDP: that are bound), with the processes that have them, as far as they can be
    /// seen.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    async fn listeners(&self) -> io::Result<BTreeMap<Port, BTreeSet<u32>>>;

    /// The same without the processes, which takes less: ports that somebody listens on, whoever that is.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    async fn listened(&self) -> io::Result<BTreeSet<Port>>;

    /// Names of network interfaces.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    async fn interfaces(&self) -> io::Result<BTreeSet<String>>;

    /// The processors that a process may run on; none if it is gone.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    async fn allowed_cpus(&self, pid: u32) -> io::Result<Option<CpuSet>>;

    /// Whose a process is, as the control group says in which it runs. Unknown is whatever cannot be told for certain.
    async fn owner(&self, pid: u32) -> ProcessOwner;

    /// Which process has this id now, if it belongs to no pod and is not this service or the system's first.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    async fn identify_stranger(&self, pid: u32) -> io::Result<Option<ProcessIdentity>>;

    /// Sends a signal to this very process and to no other that has its id by now. *Idempotent*; one that has ended is
    /// fine.
    ///
    /// # Errors
    /// It is not ours to signal.
    async fn end_stranger(&self, process: &ProcessIdentity, signal: Signal) -> io::Result<()>;
}
