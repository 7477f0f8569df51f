//! `purser pool simulate`.

use purser_actors::port::Clock;
use purser_events::event::LAYOUTS;
use purser_events::pool::PoolName;
use purser_events::{Decode, Event};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::pool::sentence;
use crate::adapter::clock::SystemClock;
use crate::agents::local_time;
use crate::cli::arguments::pool::Simulate;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::feed::{Feed, FeedRecord, Wanted};
use crate::cli::files;
use crate::cli::show::{age_of, line, structured};
use crate::manifest::{Defaults, Limits, documents, pool_spec};
use crate::simulate::{Difference, Figures, Happened, SimulateError, Simulated, simulate};

/// Runs another scaling policy over what is on record of a pool.
pub(in crate::cli) async fn run(client: &Client, asked: Simulate) -> Result<u8, Failure> {
    let (place, text) = files::read_text(&asked.policy, Limits::default().text_bytes_max)?;
    let wrong = |message: String| Failure::Manifest { place: place.clone(), message };
    let mut documents = documents(&text, &Limits::default()).map_err(|error| wrong(error.to_string()))?;
    let (Some(document), []) = (documents.pop(), documents.as_slice()) else {
        return Err(wrong("a policy is one pool's manifest".to_owned()));
    };
    let (name, spec) = pool_spec(document, &Defaults::default()).map_err(|error| wrong(error.to_string()))?;
    let until = SystemClock.now();
    let past = past(client, &name).await?;
    let since = asked.since.by(until);
    let simulated = simulate(&past, &spec.scaling, since, until, &local_time);
    let simulated = simulated.map_err(|error| Failure::Unknown(format!("pool `{name}`: {error}")))?;
    if !structured(&simulated, asked.output)? {
        told(&name, &simulated).iter().try_for_each(|text| line(text))?;
    }
    Ok(0)
}

/// What is on record of a pool, oldest first.
async fn past(client: &Client, name: &PoolName) -> Result<Vec<Happened>, Failure> {
    let stream = name.stream().id.to_string();
    let wanted = Wanted { kind: Some("pool.".to_owned()), from: Some(0), ..Wanted::default() };
    let mut feed = Feed::open(client, &wanted).await?;
    let mut past = vec![];
    while let Some(record) = feed.record().await? {
        if record.header.stream.id != stream {
            continue;
        }
        if past.is_empty() && record.header.version != 1 {
            return Err(Failure::Unknown(format!("pool `{name}`: {}", SimulateError::Trimmed)));
        }
        past.push(happened(record)?);
    }
    Ok(past)
}

/// Gives variables no value, where the feed leaves theirs out: a simulation runs nothing.
fn without_values(of: &mut Value) {
    match of {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::Array(variables) if name == "env" => {
                        for variable in variables.iter_mut().filter_map(Value::as_object_mut) {
                            variable.entry("value").or_insert_with(|| Value::String(String::new()));
                        }
                    }
                    field => without_values(field),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(without_values),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn happened(record: FeedRecord) -> Result<Happened, Failure> {
    let seq = record.header.seq;
    let odd = |why: String| Failure::Senseless(format!("record {seq}: {why}"));
    if let Some(error) = record.event.error {
        return Err(odd(error));
    }
    let layout = LAYOUTS
        .iter()
        .find(|layout| layout.name == record.event.kind && layout.version == record.event.version);
    let layout = layout.ok_or_else(|| odd(format!("{} is not known to this release", record.event.kind)))?;
    let mut payload = record.event.payload;
    without_values(&mut payload);
    let payload = payload.to_string();
    let event = Event::decode(layout.number, layout.version, payload.as_bytes(), &Json);
    match event.map_err(|error| odd(error.to_string()))? {
        Event::Pool(event) => Ok(Happened { at: record.header.time, event }),
        other => Err(odd(format!("{} is of no pool", other.layout().name))),
    }
}

/// Payloads as the feed has them.
struct Json;

impl Decode for Json {
    type Error = serde_json::Error;

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// What came of it, in lines.
fn told(name: &PoolName, simulated: &Simulated) -> Vec<String> {
    let Simulated { since, until, tasks, start_up_ms, first_difference, recorded, held, other } = simulated;
    let mut lines = vec![format!(
        "Pool {name} from {since} to {until}: {tasks} tasks; pods come up in {} s",
        start_up_ms.div_ceil(1_000)
    )];
    match first_difference {
        None => lines.push("Both policies want the same number of pods throughout.".to_owned()),
        Some(Difference { at, held, other }) => {
            lines.push(format!("They first want another number of pods at {at}:"));
            for (policy, decision) in [("in force", held), ("other", other)] {
                let text = decision.as_ref().map_or_else(
                    || "none was decided yet".to_owned(),
                    |decision| {
                        let before = if decision.at < *at {
                            format!("since {}: ", decision.at)
                        } else {
                            String::new()
                        };
                        format!("{before}{}", sentence(decision))
                    },
                );
                lines.push(format!("  {:<10} {text}", format!("{policy}:")));
            }
        }
    }
    lines.push(format!("{:<22} {:>10} {:>10} {:>10}", "", "on record", "in force", "other"));
    for (what, figure) in ROWS {
        let [recorded, held, other] = [recorded, held, other].map(figure);
        lines.push(format!("{what:<22} {recorded:>10} {held:>10} {other:>10}"));
    }
    lines.push(verdict(held, other));
    lines.push(
        "When tasks came, how long they ran and what was said to plans is as recorded; the rest is decided anew. How near \
         `in force` comes to `on record` tells how good that is."
            .to_owned(),
    );
    lines
}

type Row = (&'static str, fn(&Figures) -> String);

const ROWS: [Row; 8] = [
    ("pod hours", |figures| {
        format!("{}.{:03}", figures.pod_milli_hours / 1_000, figures.pod_milli_hours % 1_000)
    }),
    ("most pods at once", |figures| figures.pods_max.to_string()),
    ("decisions", |figures| figures.decisions.to_string()),
    ("tasks ended", |figures| figures.ended.to_string()),
    ("tasks left", |figures| figures.left.to_string()),
    ("half waited at most", |figures| seconds(figures.wait_median_ms)),
    ("95 % waited at most", |figures| seconds(figures.wait_95_ms)),
    ("longest wait", |figures| seconds(figures.wait_max_ms)),
];

fn seconds(ms: u64) -> String {
    age_of(ms.div_ceil(1_000))
}

/// What would have changed, in a sentence.
fn verdict(held: &Figures, other: &Figures) -> String {
    let change = |from: u64, to: u64, less: &str, more: &str| match from.cmp(&to) {
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(format!("{} {less}", share(from - to, from))),
        std::cmp::Ordering::Less => Some(format!("{} {more}", share(to - from, from))),
    };
    let changes = [
        change(held.pod_milli_hours, other.pod_milli_hours, "fewer pod hours", "more pod hours"),
        change(held.wait_95_ms, other.wait_95_ms, "shorter waits (95 %)", "longer waits (95 %)"),
        change(held.decisions as u64, other.decisions as u64, "fewer decisions", "more decisions"),
    ];
    let changes: Vec<String> = changes.into_iter().flatten().collect();
    if changes.is_empty() {
        "The other policy would have changed nothing.".to_owned()
    } else {
        format!("The other policy would have meant {}.", changes.join(", "))
    }
}

fn share(part: u64, whole: u64) -> String {
    part.saturating_mul(100)
        .checked_div(whole)
        .map_or_else(|| "some".to_owned(), |percent| format!("{percent} %"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::tests::{busy_morning, end_of_morning, wall_clock, with_at_most};

    /// Run with `PURSER_GOLDEN=write` to write the text anew.
    #[test]
    fn what_came_of_it_is_told() {
        let (past, policy) = (busy_morning(), with_at_most(6));
        let start = past.first().expect("a morning").at;
        let simulated =
            simulate(&past, &policy, start, end_of_morning(), &wall_clock).expect("it can be followed");
        let text = told(&PoolName::new("runners").expect("a name"), &simulated).join("\n") + "\n";
        if std::env::var_os("PURSER_GOLDEN").is_some_and(|wish| wish == "write") {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/verb/simulate.golden.txt");
            std::fs::write(path, &text).expect("the golden text can be written");
        } else {
            assert_eq!(text, include_str!("simulate.golden.txt"));
        }
    }

    #[test]
    fn records_of_the_feed_are_read_as_they_were_written() {
        for happened in busy_morning() {
            let event = serde_json::to_value(Event::Pool(happened.event.clone())).expect("an event is JSON");
            let header = serde_json::json!({
                "seq": 1, "stream": { "kind": "pool", "id": "x" }, "time": happened.at,
            });
            let record = serde_json::json!({ "header": header, "event": event });
            let record: FeedRecord = serde_json::from_value(record).expect("a record");
            assert_eq!(super::happened(record).expect("it is known"), happened);
        }
    }
}
