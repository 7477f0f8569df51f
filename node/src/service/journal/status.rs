//! `purserd journal status`: what there is of the journal.

use purser_events::Event;
use purser_events::node::NodeEvent;
use purser_events::node::redaction::PendingRedaction;
use purser_storage::inventory::{self, Inventory, SegmentFile, StoreFiles};
use serde_json::{Value, json};

use super::{JournalVerbError, dir, print, print_json, source};
use crate::config::Config;
use crate::service::arguments::StatusArgs;
use crate::service::exit::Failure;

pub(super) fn run(config: &Config, args: StatusArgs) -> Result<(), Failure> {
    let dir = dir(config)?;
    let told = Told::read(config, &dir)?;
    let inventory = inventory::take(&dir).map_err(JournalVerbError::Files)?;
    let done = if args.json { print_json(&told.json(&inventory)) } else { print(&told.text(&inventory)) };
    Ok(done?)
}

/// What the records say.
struct Told {
    first: u64,
    last: u64,
    hash: String,
    redacted: u64,
    pending: Option<PendingRedaction>,
    redactions: u64,
}

impl Told {
    /// Reads and checks every record.
    fn read(config: &Config, dir: &std::path::Path) -> Result<Told, JournalVerbError> {
        let mut source = source(config, dir)?;
        let first = source.before().seq.next().0;
        let (mut redacted, mut redactions, mut pending) = (0, 0, None);
        for record in source.by_ref() {
            let record = record.map_err(JournalVerbError::Read)?;
            redacted += u64::from(record.redacted);
            if record.header.stream.kind != purser_events::StreamKind::Node {
                continue;
            }
            if let Ok(Event::Node(event)) = record.event() {
                redactions += u64::from(matches!(&event, NodeEvent::RedactionCompleted(part) if !part.more));
                pending = PendingRedaction::followed(pending, &event);
            }
        }
        let head = source.head();
        let hash = head.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Told { first, last: head.seq.0, hash, redacted, pending, redactions })
    }

    fn text(&self, inventory: &Inventory) -> String {
        let Inventory { format, segments, stores, snapshots } = inventory;
        let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let count = |wanted: fn(&SegmentFile) -> bool| segments.iter().filter(|one| wanted(one)).count();
        let mut text = format!(
            "format      {format}\nrecords     {} to {}\nhash        {}\n",
            self.first, self.last, self.hash
        );
        text.push_str(&format!(
            "segments    {} of {bytes} bytes: {} plain, {} compressed, {} open; {} archived\n",
            segments.len(),
            count(|segment| segment.sealed && !segment.compressed),
            count(|segment| segment.compressed),
            count(|segment| !segment.sealed),
            count(|segment| segment.archived),
        ));
        for StoreFiles { name, bytes } in stores {
            text.push_str(&format!("store       {name}, {bytes} bytes\n"));
        }
        if stores.is_empty() {
            text.push_str("store       none: the next start makes it\n");
        }
        let at: Vec<String> = snapshots.iter().map(ToString::to_string).collect();
        text.push_str(&format!(
            "snapshots   {}\n",
            if at.is_empty() { "none".to_owned() } else { at.join(", ") }
        ));
        text.push_str(&format!("redactions  {} over, {} payloads in all\n", self.redactions, self.redacted));
        if let Some(pending) = &self.pending {
            text.push_str(&format!("unfinished  redaction {}: the next start goes on with it\n", pending.id));
        }
        text
    }

    fn json(&self, inventory: &Inventory) -> Value {
        let Inventory { format, segments, stores, snapshots } = inventory;
        let segment = |segment: &SegmentFile| {
            let SegmentFile { first, bytes, sealed, compressed, archived } = segment;
            json!({
                "first": first, "bytes": bytes, "sealed": sealed, "compressed": compressed, "archived": archived,
            })
        };
        let store = |StoreFiles { name, bytes }: &StoreFiles| json!({ "name": name, "bytes": bytes });
        json!({
            "format": format,
            "first": self.first,
            "head": { "seq": self.last, "hash": self.hash },
            "segments": segments.iter().map(segment).collect::<Vec<_>>(),
            "stores": stores.iter().map(store).collect::<Vec<_>>(),
            "snapshots": snapshots,
            "redactions": { "over": self.redactions, "payloads": self.redacted, "pending": self.pending },
        })
    }
}
