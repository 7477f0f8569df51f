//! What pools need of the host: folders of agents, which outlive the node, and a clock on the wall in UTC.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use purser_actors::port::{MemberId, PoolHost};
use purser_events::pool::{LocalTime, Reference, Weekday};
use purser_events::{NodeUid, Timestamp};

use super::turns::{Asked, Fate, Turns};

/// Minutes of a day.
const DAY_MINUTES: i64 = 1_440;

/// The host. Clones are the same host.
#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    state: Arc<Mutex<State>>,
    turns: Turns,
}

#[derive(Debug, Default)]
struct State {
    folders: BTreeSet<String>,
    /// Counts changes of what pods refer to.
    changes: u64,
}

impl Host {
    /// A host without folders of agents.
    pub(super) fn new(turns: Turns) -> Host {
        Host { state: Arc::default(), turns }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Members that have a folder, by the names of their pods.
    pub(super) fn folders(&self) -> BTreeSet<String> {
        self.state().folders.clone()
    }

    /// From now on what pods refer to is another.
    pub(super) fn change_references(&self) {
        self.state().changes += 1;
    }

    async fn turn(&self, asked: Asked) -> io::Result<()> {
        match self.turns.take(asked).await {
            Fate::Well => Ok(()),
            Fate::Badly => Err(io::Error::other("the disk is bad")),
        }
    }
}

#[async_trait]
impl PoolHost for Host {
    fn local_time(&self, zone: &str, at: Timestamp) -> Option<LocalTime> {
        let minutes = at.0.div_euclid(60_000_000);
        // The first day of 1970 was a Thursday.
        let day = usize::try_from((minutes.div_euclid(DAY_MINUTES) + 3).rem_euclid(7)).ok()?;
        let minute = u16::try_from(minutes.rem_euclid(DAY_MINUTES)).ok()?;
        (zone == "UTC").then_some(LocalTime { weekday: Weekday::ALL[day], minute, offset_s: 0 })
    }

    async fn digest(&self, reference: &Reference) -> io::Result<String> {
        self.turn(Asked::Begin("digest")).await?;
        Ok(format!("{}-{}", reference.name, self.state().changes))
    }

    async fn prepare(&self, _: NodeUid, member: &MemberId, _: Option<u32>) -> io::Result<PathBuf> {
        self.turn(Asked::Begin("prepare")).await?;
        let name = member.pod_name();
        let path = Path::new("/agents").join(&name);
        self.state().folders.insert(name);
        self.turn(Asked::End("prepare")).await?;
        Ok(path)
    }

    async fn forget(&self, pod_name: &str) -> io::Result<()> {
        self.turn(Asked::Begin("forget")).await?;
        self.state().folders.remove(pod_name);
        self.turn(Asked::End("forget")).await
    }

    async fn prepared(&self) -> io::Result<Vec<String>> {
        Ok(self.folders().into_iter().collect())
    }
}
