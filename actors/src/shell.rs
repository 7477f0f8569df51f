//! What every actor needs of the node around it.

use std::sync::Arc;

use purser_events::pod::spec::RuntimeClass;
use purser_storage::Journal;

use crate::live::LiveWorld;
use crate::paths::PodPaths;
use crate::port::{Clock, Containers, Gpus, Ids, Machine, PoolHost, ProbeTransport, containers::Runtimes};

/// The node around the actors: journal, live view and ports.
pub struct Shell {
    /// Where everything is recorded.
    pub journal: Journal,
    /// What the journal says now.
    pub live: LiveWorld,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
    /// Container runtimes.
    pub runtimes: Runtimes,
    /// What is used of the machine.
    pub machine: Arc<dyn Machine>,
    /// The machine's GPUs.
    pub gpus: Arc<dyn Gpus>,
    /// Network probes.
    pub probes: Arc<dyn ProbeTransport>,
    /// What pools need of the host.
    pub pools: Arc<dyn PoolHost>,
    /// Where pods' files are.
    pub paths: PodPaths,
}

impl Shell {
    /// The runtime of that class, if this node has it.
    #[must_use]
    pub fn runtime(&self, class: RuntimeClass) -> Option<Arc<dyn Containers>> {
        self.runtimes.get(&class).cloned()
    }
}
