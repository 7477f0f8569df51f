//! The commands behind the records of the node.

use purser_events::Event;
use purser_events::node::event::{RedactionCompleted, RedactionRequested};
use purser_events::node::{Node, NodeCommand, NodeEvent};

use super::{About, Redecided};

impl Redecided for Node {
    fn commands(&self, events: &[NodeEvent], _: About) -> Vec<NodeCommand> {
        use NodeCommand as C;
        use NodeEvent as E;
        let command = events.first().map(|event| match event {
            E::Started(facts) => C::Start(facts.clone()),
            E::Stopped(stopped) => C::Stop { reason: stopped.reason.clone() },
            E::Cordoned(cordoned) => C::Cordon { reason: cordoned.reason.clone() },
            E::Uncordoned(_) => C::Uncordon,
            E::PolicySet(set) if set.from_config => C::SetPolicy(set.policy.clone()),
            E::PolicySet(set) => C::SetGpuPolicy(set.policy.gpus.clone()),
            E::MonitorPolicySet(set) if set.from_config => C::ConfigureMonitor(Box::new(set.policy.clone())),
            E::MonitorPolicySet(set) => C::SetMonitor(Box::new(set.policy.clone())),
            E::RuntimeLost(lost) => C::ReportRuntimeLost(lost.clone()),
            E::RuntimeFound(found) => C::ReportRuntimeFound(found.clone()),
            E::OrphanRemoved(orphan) => C::ReportOrphan(orphan.clone()),
            E::SegmentSealed(sealed) => C::ReportSealed(sealed.clone()),
            E::JournalTrimmed(trimmed) => C::ReportTrimmed(trimmed.clone()),
            E::DiskPressureChanged(changed) => C::ReportDiskPressure(changed.clone()),
            E::RedactionRequested(first) => C::RequestRedaction(whole_request(first, events)),
            E::RedactionCompleted(first) => C::CompleteRedaction(whole_completion(first, events)),
        });
        command.into_iter().collect()
    }

    fn of(event: &Event) -> Option<&NodeEvent> {
        match event {
            Event::Node(event) => Some(event),
            _ => None,
        }
    }
}

/// A request of which every record holds a part.
fn whole_request(first: &RedactionRequested, events: &[NodeEvent]) -> RedactionRequested {
    let mut whole = first.clone();
    for event in events.iter().skip(1) {
        match event {
            NodeEvent::RedactionRequested(part) if part.redaction == first.redaction => {
                whole.pods.extend(&part.pods);
                whole.workers.extend(&part.workers);
            }
            _ => break,
        }
    }
    whole
}

/// A completion of which every record holds a part.
fn whole_completion(first: &RedactionCompleted, events: &[NodeEvent]) -> RedactionCompleted {
    let mut whole = first.clone();
    for event in events.iter().skip(1) {
        match event {
            NodeEvent::RedactionCompleted(part) if whole.more && part.redaction == first.redaction => {
                whole.segments.extend(part.segments.iter().cloned());
                whole.more = part.more;
            }
            _ => break,
        }
    }
    whole
}
