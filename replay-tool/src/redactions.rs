//! Whether every payload that was taken out was taken out on record, and every segment is one that is on record.

use std::collections::{BTreeMap, BTreeSet};

use purser_events::node::NodeEvent;
use purser_events::node::redaction::PendingRedaction;
use purser_events::{Seq, StreamId};
use purser_storage::offline::SealedSegment;
use purser_storage::verify::Position;

use crate::render;
use crate::source::Opened;

/// What records say about redactions, and what they show.
#[derive(Default)]
pub(crate) struct Redactions {
    /// Streams with payloads that were taken out, each with the first such record.
    redacted: BTreeMap<StreamId, Seq>,
    /// Streams whose payloads were to be taken out.
    covered: BTreeSet<StreamId>,
    pending: Option<PendingRedaction>,
    /// What was in each segment when it was sealed, and after each time that it was written anew.
    contents: BTreeMap<Seq, Vec<String>>,
    findings: Vec<String>,
}

impl Redactions {
    /// Takes notice of the next record, and of what happened to the node if it says that.
    pub(crate) fn note(&mut self, position: &Position, event: Option<&NodeEvent>) {
        if position.redacted {
            self.redacted.entry(position.stream).or_insert(position.seq);
        }
        match event {
            Some(NodeEvent::SegmentSealed(sealed)) => {
                self.contents.entry(sealed.first).or_default().push(sealed.content.clone());
            }
            Some(NodeEvent::RedactionRequested(part)) => {
                self.covered.extend(part.pods.iter().map(|pod| pod.stream()));
                self.covered.extend(part.workers.iter().map(|worker| worker.stream()));
                match PendingRedaction::after(self.pending.as_ref(), part) {
                    Ok(pending) => self.pending = Some(pending),
                    Err(illegal) => self.findings.push(format!("record {}: {illegal}", position.seq)),
                }
            }
            Some(NodeEvent::RedactionCompleted(part)) => {
                for segment in &part.segments {
                    self.contents.entry(segment.first).or_default().push(segment.after.clone());
                }
                if !part.more {
                    self.pending = None;
                }
            }
            Some(_) | None => {}
        }
    }

    /// What does not hold, once every record was noted. Of a journal's excerpt, more was left out than its records say.
    pub(crate) fn finish(mut self, source: &Opened) -> (Vec<String>, Option<PendingRedaction>) {
        let segments = source.segments();
        for (stream, seq) in &self.redacted {
            if !source.is_excerpt() && !self.covered.contains(stream) {
                self.findings.push(format!(
                    "record {seq} of {stream} is redacted, and no record says that it was to be"
                ));
            }
        }
        // Until the end of a redaction is on record, what it has written anew is not.
        let known = segments.iter().filter(|_| self.pending.is_none());
        for SealedSegment { first, content, is_archive, .. } in known {
            let Some(recorded) = self.contents.get(first) else { continue };
            let content = render::hex(content);
            // An archive has a segment as it was when it was archived.
            let fits = recorded.last() == Some(&content) || *is_archive && recorded.contains(&content);
            if !fits {
                self.findings.push(format!(
                    "the segment from record {first} is not the one that was sealed: its hash is {content}, {} on \
                     record",
                    recorded.last().map_or("none", String::as_str)
                ));
            }
        }
        (self.findings, self.pending)
    }
}
