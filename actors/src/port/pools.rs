//! What pools need of the host: civil time, what their pods refer to, and a way in for the agents in their pods.

use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use purser_events::pool::{LocalTime, PoolName, Reference};
use purser_events::{NodeUid, Timestamp};

/// A member of a pool, as its agent is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberId {
    /// The pool.
    pub pool: PoolName,
    /// Which of its members, by the pool's own count: never two the same.
    pub member: u64,
}

impl MemberId {
    /// The name of the member's pod, and of its folder.
    #[must_use]
    pub fn pod_name(&self) -> String {
        self.pool.pod_name(self.member)
    }
}

/// What pools need of the host.
#[async_trait]
pub trait PoolHost: Send + Sync + 'static {
    /// What the clock on the wall says in a zone of the IANA database; none if the host does not know the zone.
    fn local_time(&self, zone: &str, at: Timestamp) -> Option<LocalTime>;

    /// A keyed digest of what is referred to; empty if there is no such thing.
    ///
    /// # Errors
    /// It cannot be read.
    async fn digest(&self, reference: &Reference) -> io::Result<String>;

    /// Makes a folder with what the agent of a member needs to be let in, for the user that it runs as; one that is there
    /// is put right.
    ///
    /// # Errors
    /// The folder cannot be made.
    async fn prepare(&self, node: NodeUid, member: &MemberId, user: Option<u32>) -> io::Result<PathBuf>;

    /// Removes a member's folder, by the name of its pod; it is fine if there is none.
    ///
    /// # Errors
    /// The folder cannot be removed.
    async fn forget(&self, pod_name: &str) -> io::Result<()>;

    /// The members that have a folder, by the names of their pods.
    ///
    /// # Errors
    /// The folders cannot be read.
    async fn prepared(&self) -> io::Result<Vec<String>>;
}
