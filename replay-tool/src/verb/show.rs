//! `show`: one record, whole.

use purser_events::Seq;
use purser_storage::StoredRecord;
use serde_json::json;

use crate::cli::{Output, ShowArgs};
use crate::failure::{Exit, Failure};
use crate::source::Place;
use crate::{Console, render};

/// Bytes in one line of hex.
const HEX_LINE_LEN: usize = 32;

pub(crate) fn run(args: &ShowArgs, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let asked = Seq(args.seq);
    let mut source = place.open(asked)?;
    let first = source.before().seq.next();
    let found = loop {
        match source.next() {
            Some(stored) => {
                let stored = stored?;
                if stored.header.seq >= asked {
                    break Some(stored).filter(|stored| stored.header.seq == asked);
                }
            }
            None => break None,
        }
    };
    let Some(stored) = found else {
        // A node sends only what was asked for; it holds its journal from the first record on.
        let first = if place.is_live() { Seq(1) } else { first };
        return Err(Failure::NoRecord { first, last: source.head().seq, asked });
    };
    match args.output {
        Output::Text => show_text(&stored, args.hex, console)?,
        Output::Json => show_json(&stored, args.hex, console)?,
    }
    Ok(stored.event().map_or_else(|error| Exit::of_payload(&error), |_| Exit::Ok))
}

pub(crate) fn show_text(stored: &StoredRecord, hex: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let header = &stored.header;
    let origin = &header.origin;
    let commit = if stored.continued { "goes on with the next record" } else { "ends here" };
    console.line(format_args!("record       {}", header.seq))?;
    console.line(format_args!("time         {}", header.time))?;
    console.line(format_args!(
        "type         {} version {}",
        render::type_name(stored),
        stored.layout_version
    ))?;
    console.line(format_args!("stream       {} version {}", header.stream, header.version))?;
    console.line(format_args!("cause        {}", origin.cause))?;
    console.line(format_args!("correlation  {}", origin.correlation))?;
    console.line(format_args!("principal    {}", render::safe(origin.principal.as_str())))?;
    console.line(format_args!("epoch        {}", header.epoch))?;
    console.line(format_args!("commit       {commit}"))?;
    console.line(format_args!(
        "payload      {} bytes, {}",
        stored.payload().len(),
        render::codec_name(stored)
    ))?;
    console.line(format_args!("hash         {}", render::hex(&stored.hash)))?;
    console.line(format_args!(""))?;
    match stored.event() {
        Ok(event) => console.line(format_args!("{}", render::pretty(&event.payload_json())))?,
        Err(error) => console.line(format_args!("{}", render::payload_error(&error)))?,
    }
    if hex {
        console.line(format_args!(""))?;
        for (number, line) in stored.as_bytes().chunks(HEX_LINE_LEN).enumerate() {
            console.line(format_args!("{:06x}  {}", number * HEX_LINE_LEN, render::hex(line)))?;
        }
    }
    Ok(())
}

fn show_json(stored: &StoredRecord, hex: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let mut value = render::record_json(stored, &stored.event());
    value["codec"] = json!(render::codec_name(stored));
    value["continued"] = json!(stored.continued);
    value["redacted"] = json!(stored.redacted);
    if hex {
        value["frame"] = json!(render::hex(stored.as_bytes()));
    }
    console.line(format_args!("{}", render::pretty(&value)))
}
