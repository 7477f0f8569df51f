//! `purser events`.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use crate::cli::arguments::{Events, Output};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::feed::{Feed, FeedRecord, Wanted};
use crate::cli::name;
use crate::cli::show::line;

/// Wait before a feed that broke off is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

/// Tries to open a feed again before the service counts as gone.
const REOPEN_MAX: usize = 150;

/// Prints what happened.
pub(in crate::cli) async fn run(
    client: &Client,
    namespace: Option<&str>,
    events: Events,
) -> Result<u8, Failure> {
    let pod = match &events.pod {
        // A uid stands for one incarnation.
        Some(text) if uuid::Uuid::try_parse(text).is_ok() => Some(text.clone()),
        Some(text) => Some(name::parse(text, namespace)?.to_string()),
        None => None,
    };
    let mut wanted = Wanted { pod, kind: events.kind, from: events.from, follow: events.follow };
    let mut failures = 0;
    loop {
        match copy(client, &mut wanted, events.output).await {
            Ok(()) if !events.follow => return Ok(0),
            Ok(()) => failures = 0,
            // What was printed is not printed again: the feed goes on behind the last record.
            Err(failure) if wanted.follow && wanted.from != events.from && failure.is_passing() => {
                failures += 1;
                if failures > REOPEN_MAX {
                    return Err(failure);
                }
            }
            Err(failure) => return Err(failure),
        }
        sleep(REOPEN_PAUSE).await;
    }
}

/// Prints a feed to its end and notes in `wanted` where to go on.
async fn copy(client: &Client, wanted: &mut Wanted, output: Output) -> Result<(), Failure> {
    let mut feed = Feed::open(client, wanted).await?;
    if output == Output::Table && wanted.from.is_none() {
        line(&format!("{:>8}  {:<15}  {:<28}  {}", "SEQ", "TIME", "TYPE", "SUBJECT AND DETAIL"))?;
    }
    while let Some(message) = feed.next().await? {
        let record: FeedRecord =
            serde_json::from_str(&message.data).map_err(|error| Failure::Senseless(error.to_string()))?;
        match output {
            Output::Json | Output::Yaml => line(&message.data)?,
            Output::Table | Output::Wide | Output::Name => line(&row(&record))?,
        }
        wanted.from = Some(record.header.seq + 1);
    }
    Ok(())
}

fn row(record: &FeedRecord) -> String {
    let header = &record.header;
    let time = header.time.to_string();
    // The time of day is enough to read along; the date is in the JSON.
    let time = time.split_once('T').map_or(time.as_str(), |(_, time)| time.trim_end_matches('Z'));
    let subject = format!("{}/{}", header.stream.kind, header.stream.id);
    format!("{:>8}  {time:<15}  {:<28}  {subject} {}", header.seq, record.event.kind, detail(record))
}

/// What an event says, in short: its plain fields, without the specification and what it may hold.
pub(super) fn detail(record: &FeedRecord) -> String {
    if let Some(error) = &record.event.error {
        return error.clone();
    }
    let Value::Object(fields) = &record.event.payload else { return String::new() };
    let mut parts = Vec::new();
    for (name, value) in fields {
        match value {
            _ if name == "spec" => {
                let part = |field| value.pointer(field).and_then(Value::as_str).unwrap_or_default();
                parts.push(format!("pod={}/{}", part("/id/namespace"), part("/id/name")));
            }
            Value::Null => {}
            Value::String(text) => parts.push(format!("{name}={}", one_line(text))),
            other => parts.push(format!("{name}={other}")),
        }
    }
    parts.join(" ")
}

/// Text as it may stand in a line of a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}
