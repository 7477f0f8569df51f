//! A host without a place for agents, for tests of everything else.

use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use purser_actors::port::{MemberId, PoolHost};
use purser_events::pool::{LocalTime, Reference};
use purser_events::{NodeUid, Timestamp};

/// A host on which no pool can have a pod.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPools;

#[async_trait]
impl PoolHost for NoPools {
    fn local_time(&self, _: &str, _: Timestamp) -> Option<LocalTime> {
        None
    }

    async fn digest(&self, _: &Reference) -> io::Result<String> {
        Ok(String::new())
    }

    async fn prepare(&self, _: NodeUid, _: &MemberId, _: Option<u32>) -> io::Result<PathBuf> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this host has no place for agents"))
    }

    async fn forget(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    async fn prepared(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }
}
