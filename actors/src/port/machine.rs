//! The machine as the actors see it: what is really used of it, and what of it is in use.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use async_trait::async_trait;
use purser_events::Bytes;
use purser_events::ledger::Port;

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

/// The machine. Nothing in here changes it.
#[async_trait]
pub trait Machine: Send + Sync + 'static {
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

    /// Names of network interfaces.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    async fn interfaces(&self) -> io::Result<BTreeSet<String>>;

    /// Every process below one, itself too; the process alone if it has none.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    async fn descendants(&self, pid: u32) -> io::Result<BTreeSet<u32>>;
}
