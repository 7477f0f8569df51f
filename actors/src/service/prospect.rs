//! What would become of a pod if it were applied now.

use purser_events::ledger::LedgerCommand;
use purser_events::pod::{PodRejection, PodSpec};
use purser_events::{PodUid, World};

use super::{Request, Service, ServiceError};
use crate::ledger::admit;

impl Service {
    /// Decides about a new pod as the ledger would now, and records nothing. Gives the world in which that had happened,
    /// and what the pod is called in it. A moment later it may be otherwise.
    ///
    /// # Errors
    /// The node is cordoned, or the ledger would refuse.
    pub fn prospect(&self, spec: &PodSpec, by: Request) -> Result<(World, PodUid), ServiceError> {
        let shell = &self.inner.shell;
        let context = shell.live.context(shell.clock.now());
        if let Some(reason) = context.cordoned.clone() {
            return Err(ServiceError::Pod(PodRejection::Cordoned { reason }));
        }
        let refused = |rejection| ServiceError::Pod(PodRejection::from(rejection));
        let uid = PodUid(shell.ids.uuid());
        let admit = admit(uid, spec, &by.into_by()).map_err(refused)?;
        let mut world = self.world(World::clone);
        let command = LedgerCommand::Admit(Box::new(admit));
        world.ledger = world.ledger.prospect(&command, &context).map_err(refused)?;
        Ok((world, uid))
    }
}
