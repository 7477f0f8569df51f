//! Violations in a trace: a group of their own, on which each is a slice from its beginning to its end, with a mark for
//! each rung. How a GPU is, is told on the GPU's own track.

use serde_json::json;
use uuid::Uuid;

use super::Perfetto;
use crate::failure::Failure;
use crate::offences::{Offence, Turn};

/// The group's number: after those of kinds of streams, before those of GPUs.
const VIOLATIONS: u64 = 50;

impl Perfetto<'_> {
    /// Draws what a record changed of violations.
    pub(super) fn offence(&mut self, turn: Option<&Turn>) -> Result<(), Failure> {
        match turn {
            Some(Turn::Began(offence)) => {
                let name = self.offence_name(offence);
                if !self.groups.contains(&VIOLATIONS) {
                    self.groups.push(VIOLATIONS);
                    self.name_group(VIOLATIONS, "violations")?;
                }
                self.put_offence("b", offence.id, &name)?;
                self.violations.insert(offence.id, name);
                Ok(())
            }
            Some(Turn::Climbed(offence)) => match self.violations.get(&offence.id).cloned() {
                Some(_) => self.put_offence("n", offence.id, &format!("to {}", offence.level)),
                None => Ok(()),
            },
            Some(Turn::Ended(offence, _)) => match self.violations.remove(&offence.id) {
                Some(name) => self.put_offence("e", offence.id, &name),
                None => Ok(()),
            },
            Some(Turn::Health { .. }) | None => Ok(()),
        }
    }

    /// Ends the slices of violations that have not ended.
    pub(super) fn end_offences(&mut self) -> Result<(), Failure> {
        let open = std::mem::take(&mut self.violations);
        open.into_iter().try_for_each(|(id, name)| self.put_offence("e", id, &name))
    }

    fn offence_name(&mut self, offence: &Offence) -> String {
        let pod = offence.pod.map_or_else(String::new, |pod| format!(" by {}", self.pod_name(pod)));
        let gpu = offence.gpu.as_deref().map(|gpu| format!(" on {}", self.shown.text(gpu)));
        format!("{}{pod}{}", offence.kind, gpu.unwrap_or_default())
    }

    fn put_offence(&mut self, ph: &str, id: Uuid, name: &str) -> Result<(), Failure> {
        let ts = self.now;
        self.put(&json!({
            "ph": ph, "pid": VIOLATIONS, "tid": 0, "ts": ts, "cat": "violation", "name": name, "id": id,
        }))
    }
}
