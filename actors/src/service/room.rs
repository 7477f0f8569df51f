//! Whether the journal's disk has room for what is asked.

use purser_events::PodId;

use super::{Request, Service, ServiceError};
use crate::reserve::{self, ReserveLimits};

impl Service {
    /// Watches the journal's disk from now on; returns after the first look. Must be called where the actors run.
    pub async fn keep_reserve(&self, limits: ReserveLimits) {
        reserve::begin(&self.inner.shell, &self.inner.node, limits).await;
    }

    /// Whether a request would add a pod: there is none of that name, and it is no retry.
    ///
    /// # Errors
    /// It cannot be found out.
    pub fn would_add(&self, id: &PodId, by: &Request) -> Result<bool, ServiceError> {
        let is_there = self.world(|world| world.registry.entries.contains_key(id));
        Ok(!is_there && by.command.map_or(Ok(None), |key| self.first_answer(key.id))?.is_none())
    }

    /// Refuses a new pod while the journal's disk is nearly full, before anything is recorded of it. Pods that are
    /// there get their answers.
    pub(super) fn check_room(&self, id: &PodId) -> Result<(), ServiceError> {
        let full = self.world(|world| {
            let is_new = !world.registry.entries.contains_key(id);
            reserve::full(world).filter(|_| is_new)
        });
        match full {
            Some(used_percent) => Err(ServiceError::NoRoom { used_percent: Some(used_percent) }),
            None => Ok(()),
        }
    }
}

/// What a caller is told who is refused for want of room.
pub(super) fn told(used_percent: Option<u8>) -> String {
    let used = used_percent.map_or_else(String::new, |percent| format!(" ({percent} % are used)"));
    format!(
        "the disk of the node's journal is nearly full{used}: pods can be stopped and deleted, but nothing new is \
         taken until there is room; free disk space, or delete pods that are not needed (`journal.reserve` in the \
         config says from where on)"
    )
}
