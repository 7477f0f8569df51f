//! The world after records whose payloads are withheld: all that can be told of them is in their headers.
//!
//! Replaying a journal that was redacted must come to the same world as having lived through the redaction. So what
//! is counted here is what [`World::apply`] counts, and what is left out here is what it forgets once a redaction is
//! asked for.

use super::World;
use crate::event::LAYOUTS;
use crate::ids::{PodUid, StreamKind};
use crate::node::event::RedactionRequested;
use crate::record::Header;

impl World {
    /// Folds in a record whose payload was redacted, or cannot be read for want of its key. `layout_number` is the
    /// number of its event type.
    pub fn apply_withheld(&mut self, header: &Header, layout_number: u16) {
        self.head = header.seq;
        if self.quarantined.contains_key(&header.stream) {
            return;
        }
        let layout = LAYOUTS.iter().find(|layout| layout.number == layout_number);
        let name = layout.map_or("", |layout| layout.name);
        match header.stream.kind {
            StreamKind::Node | StreamKind::Ledger | StreamKind::Gpu | StreamKind::Pool => {
                let reason = "the record's payload is withheld".to_owned();
                self.quarantine(header.stream, header.seq, reason);
            }
            StreamKind::Pod => self.apply_withheld_pod(PodUid(header.stream.id), name, header),
            StreamKind::Worker => self.workers_registered += u64::from(name == "worker.registered"),
        }
    }

    /// A stream may be withheld in part, while it is being redacted: from the first such record on all of it is.
    fn apply_withheld_pod(&mut self, uid: PodUid, name: &str, header: &Header) {
        if self.pods.remove(&uid).is_some() {
            self.registry.entries.retain(|_, entry| entry.uid != uid);
            self.violations.forget(uid);
            self.withheld.insert(uid);
        }
        match name {
            "pod.admitted" => {
                self.registry.admitted += 1;
                self.withheld.insert(uid);
            }
            "pod.terminated" => {
                self.withheld.remove(&uid);
                self.registry.bury(None, uid, 0, header);
                self.keep_pods();
            }
            "pod.violation-detected" => self.violations.note_withheld(header.seq),
            _ => {}
        }
    }

    /// Forgets what a redaction takes out of the journal: all of it is of pods that are gone.
    pub(super) fn forget(&mut self, requested: &RedactionRequested) {
        for pod in &requested.pods {
            self.registry.forget(*pod);
            self.violations.forget(*pod);
        }
        for worker in &requested.workers {
            // Left only where a part of their records was withheld already.
            self.workers.remove(worker);
            self.quarantined.remove(&worker.stream());
        }
    }
}
