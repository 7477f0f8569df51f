//! Watching the journal's disk: what matters least is given up first, long before a stop could not be recorded.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use purser_events::node::event::{DiskPressure, DiskPressureChanged};
use purser_events::node::{Node, NodeCommand, NodeState};
use purser_events::{Cause, World};
use purser_storage::{BallastStanding, Space};

use crate::entity::{By, Execute};
use crate::node::NodeActor;
use crate::shell::Shell;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(5);

/// How far below a limit the use must fall until it counts as below, in percent: a disk at its limit would change
/// its standing with every look otherwise.
const SLACK_PERCENT: u8 = 2;

/// How full the journal's disk may be, in percent of what may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReserveLimits {
    /// From here on, what will be seen again is not recorded.
    pub warn_percent: u8,
    /// From here on, new pods are refused.
    pub refuse_percent: u8,
}

impl ReserveLimits {
    fn pressure(&self, used_percent: u8, before: DiskPressure) -> DiskPressure {
        let reached = |limit: u8, level| {
            let limit = if level <= before { limit.saturating_sub(SLACK_PERCENT) } else { limit };
            limit <= used_percent
        };
        match (
            reached(self.refuse_percent, DiskPressure::Full),
            reached(self.warn_percent, DiskPressure::Low),
        ) {
            (true, _) => DiskPressure::Full,
            (false, true) => DiskPressure::Low,
            (false, false) => DiskPressure::Fine,
        }
    }
}

/// How much of the journal's disk is used, in percent, if that is so much that it takes no new pods.
pub(crate) fn full(world: &World) -> Option<u8> {
    let pressure = world.node.known()?.disk_pressure.as_ref()?;
    (pressure.pressure == DiskPressure::Full).then_some(pressure.used_percent)
}

/// Looks once, and from then on for as long as the actors' thread lives.
pub(crate) async fn begin(shell: &Arc<Shell>, node: &Addr<NodeActor>, limits: ReserveLimits) {
    let watcher = Watcher { shell: shell.clone(), node: node.clone(), limits };
    watcher.look().await;
    actix::spawn(async move {
        loop {
            let clock = &watcher.shell.clock;
            clock.sleep(INTERVAL).await;
            watcher.look().await;
        }
    });
}

struct Watcher {
    shell: Arc<Shell>,
    node: Addr<NodeActor>,
    limits: ReserveLimits,
}

impl Watcher {
    async fn look(&self) {
        match self.measure().await {
            Ok(space) => self.note(space.used_percent()).await,
            // Nothing is known then: what was in force stays.
            Err(error) => tracing::warn!(%error, "failed to measure the journal's disk"),
        }
    }

    /// Takes the ballast again if there is room for it, and measures what is left. The ballast itself counts as room:
    /// to hold it must not make a disk look fuller.
    async fn measure(&self) -> io::Result<Space> {
        let (journal, limit) = (self.shell.journal.clone(), self.limits.refuse_percent);
        let measured = tokio::task::spawn_blocking(move || {
            if let Err(error) = journal.make_ballast(limit) {
                tracing::warn!(error = &error as &dyn std::error::Error, "failed to make the ballast");
            }
            Ok(journal.space()?.with_room(journal.ballast_bytes()))
        });
        measured.await.map_err(io::Error::other)?
    }

    async fn note(&self, used_percent: u8) {
        let recorded = self.shell.live.read(|world| world.node.known().map(NodeState::disk_pressure));
        let before = recorded.unwrap_or_default();
        let pressure = match self.shell.journal.ballast() {
            BallastStanding::GivenUp => DiskPressure::Full,
            BallastStanding::Absent | BallastStanding::Held => self.limits.pressure(used_percent, before),
        };
        self.shell.journal.shed_observations(pressure != DiskPressure::Fine);
        if pressure == before {
            return;
        }
        match pressure {
            DiskPressure::Fine => tracing::info!(used_percent, "the journal's disk has room again"),
            DiskPressure::Low => tracing::warn!(
                used_percent,
                "the journal's disk fills up: changes of readiness and the like are not recorded until there is room"
            ),
            DiskPressure::Full => tracing::error!(
                used_percent,
                "the journal's disk is nearly full: new pods are refused until there is room"
            ),
        }
        let command = NodeCommand::ReportDiskPressure(DiskPressureChanged { pressure, used_percent });
        let by = By::node(Cause::Node, self.shell.ids.uuid());
        if !matches!(self.node.send(Execute::<Node> { command, by }).await, Ok(Ok(_))) {
            tracing::error!("failed to record how full the journal's disk is");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_at_its_limit_does_not_waver() {
        use DiskPressure::{Fine, Full, Low};

        let limits = ReserveLimits { warn_percent: 90, refuse_percent: 95 };
        let seen = [89, 90, 89, 88, 87, 95, 94, 93, 92, 88, 87, 99, 40];
        let expected = [Fine, Low, Low, Low, Fine, Full, Full, Full, Low, Low, Fine, Full, Fine];
        let mut pressure = Fine;
        for (used_percent, expected) in seen.into_iter().zip(expected) {
            pressure = limits.pressure(used_percent, pressure);
            assert_eq!(pressure, expected, "at {used_percent} %");
        }
    }
}
