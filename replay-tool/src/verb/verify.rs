//! `verify`: whether the journal is whole, and what can be trusted if it is not.

use purser_events::Seq;
use purser_storage::{Head, PayloadError};
use serde_json::json;

use crate::cli::{Output, VerifyArgs};
use crate::failure::{Exit, Failure};
use crate::source::Place;
use crate::{Console, render};

/// Payloads that are told of one by one.
const TOLD_MAX: u64 = 20;

/// What was found among sound records.
#[derive(Default)]
struct Findings {
    records: u64,
    redacted: u64,
    unknown: u64,
    malformed: u64,
    told: u64,
}

pub(crate) fn run(args: &VerifyArgs, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let mut source = place.open(Seq(1))?;
    let before = source.before();
    let mut findings = Findings::default();
    let mut failure = None;
    for stored in source.by_ref() {
        match stored {
            Ok(stored) => {
                findings.records += 1;
                if let Err(error) = stored.event() {
                    findings.note(stored.header.seq, &error, console);
                }
            }
            Err(error) => failure = Some(Failure::from(error)),
        }
    }
    let head = source.head();
    let exit = match (&failure, &findings) {
        (Some(failure), _) => failure.exit(),
        (None, Findings { malformed: 1.., .. }) => Exit::Integrity,
        (None, Findings { unknown: 1.., .. }) => Exit::Unknown,
        (None, _) => Exit::Ok,
    };
    match args.output {
        Output::Text => tell(&findings, before, head, failure.as_ref(), exit, console)?,
        Output::Json => tell_json(&findings, before, head, failure.as_ref(), exit, console)?,
    }
    Ok(exit)
}

impl Findings {
    fn note(&mut self, seq: Seq, error: &PayloadError, console: &mut Console<'_>) {
        match Exit::of_payload(error) {
            Exit::Ok => self.redacted += 1,
            Exit::Unknown => self.unknown += 1,
            Exit::NothingMatched | Exit::Usage | Exit::Io | Exit::Integrity => self.malformed += 1,
        }
        self.told += 1;
        if self.told <= TOLD_MAX {
            console.note(format_args!("record {seq}: {}", render::payload_error(error)));
        } else if self.told == TOLD_MAX + 1 {
            console.note(format_args!("more payloads that cannot be read are counted only"));
        }
    }

    fn lines(&self) -> impl Iterator<Item = (u64, &'static str)> {
        [
            (self.redacted, "payloads were redacted"),
            (self.unknown, "payloads need a newer release"),
            (self.malformed, "payloads are malformed"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
    }
}

fn tell(
    findings: &Findings,
    before: Head,
    head: Head,
    failure: Option<&Failure>,
    exit: Exit,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let verdict = match exit {
        Exit::Ok => "sound",
        Exit::Unknown => "NOT FULLY READABLE: a newer release is needed",
        Exit::Integrity => "DAMAGED",
        Exit::Io | Exit::NothingMatched | Exit::Usage => "NOT READ TO ITS END",
    };
    console.line(format_args!("verdict   {verdict}"))?;
    if let Some(failure) = failure {
        console.line(format_args!("reason    {}", failure.told()))?;
    }
    match findings.records {
        0 => console.line(format_args!("trusted   no record"))?,
        _ => console.line(format_args!("trusted   records {} to {}", before.seq.next(), head.seq))?,
    }
    if before.seq > Seq::ZERO {
        console.line(format_args!(
            "assumed   record {} with hash {}",
            before.seq,
            render::hex(&before.hash)
        ))?;
    }
    console.line(format_args!("hash      {}", render::hex(&head.hash)))?;
    for (count, what) in findings.lines() {
        console.line(format_args!("payloads  {count} {what}"))?;
    }
    Ok(())
}

fn tell_json(
    findings: &Findings,
    before: Head,
    head: Head,
    failure: Option<&Failure>,
    exit: Exit,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let Findings { records, redacted, unknown, malformed, told: _ } = findings;
    let value = json!({
        "sound": exit == Exit::Ok,
        "exit": exit.code(),
        "reason": failure.map(Failure::told),
        "records": records,
        "before": { "seq": before.seq, "hash": render::hex(&before.hash) },
        "head": { "seq": head.seq, "hash": render::hex(&head.hash) },
        "payloads": { "redacted": redacted, "unknown": unknown, "malformed": malformed },
    });
    console.line(format_args!("{}", render::pretty(&value)))
}
