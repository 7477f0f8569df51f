//! `export`: a file that can be read anywhere, checked while it is written.

use std::fs::{self, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use purser_events::Seq;
use purser_storage::export::Writer;
use purser_storage::offline::Item;
use purser_storage::{Head, StoredRecord};

use crate::cli::ExportArgs;
use crate::failure::{Exit, Failure};
use crate::source::Place;
use crate::{Console, render};

pub(crate) fn run(args: &ExportArgs, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    if args.to == Path::new("-") {
        let (head, count) = copy(args, place, &mut *console.out)?;
        return Ok(tell(head, count, console));
    }
    let open = |source| Failure::Open { path: args.to.clone(), source };
    // Pods' environments are in it.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.to).map_err(open)?;
    let mut out = BufWriter::new(file);
    let copied = copy(args, place, &mut out).and_then(|copied| {
        out.get_ref().sync_all().map_err(Failure::Output)?;
        Ok(copied)
    });
    if copied.is_err() {
        // A part of an export is of no use; that it cannot be removed is not what went wrong.
        let _ = fs::remove_file(&args.to);
    }
    let (head, count) = copied?;
    Ok(tell(head, count, console))
}

/// Copies the records that are asked for; gives the last and how many there were.
fn copy(args: &ExportArgs, place: &Place, out: &mut dyn Write) -> Result<(Head, u64), Failure> {
    let from = Seq(args.from.max(1));
    let mut source = place.open(from)?;
    let mut before = source.before();
    let start = before.seq;
    let mut first: Option<StoredRecord> = None;
    for stored in source.by_ref() {
        let stored = stored?;
        if stored.header.seq >= from {
            first = Some(stored);
            break;
        }
        before = Head { seq: stored.header.seq, hash: stored.hash };
    }
    let Some(first) = first else {
        return Err(Failure::NoRecord { first: start.next(), last: source.head().seq, asked: from });
    };
    let mut writer = Writer::new(out, before)?;
    writer.write(&first)?;
    let mut count = 1;
    while let Some(item) = source.next_item() {
        match item? {
            Item::Record(record) => {
                writer.write(&record)?;
                count += 1;
            }
            Item::Evidence(evidence) => writer.write_evidence(&evidence)?,
        }
    }
    writer.finish()?;
    Ok((source.head(), count))
}

fn tell(head: Head, count: u64, console: &mut Console<'_>) -> Exit {
    let hash = render::hex(&head.hash);
    console.note(format_args!("{count} records exported, the last is {} with hash {hash}", head.seq));
    Exit::Ok
}
