//! The event feed: a subscription to the journal, sent as far as the reader wants it.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::fmt::Display;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use purser_events::pod::PodEvent;
use purser_events::worker::{Worker, WorkerEvent};
use purser_events::{Event, PodId, PodUid, Seq, StreamId, World};
use purser_storage::{StoredRecord, Subscription, SubscriptionError};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use utoipa::IntoParams;
use uuid::Uuid;

use super::listen::stopped;
use super::problem::{Problem, WrongField};
use super::state::{Api, Params, name_problem};

/// Time after which a silent feed says that it is still there.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Which records to send.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FeedParams {
    /// The first record; `Last-Event-ID` + 1 wins over it. 0: the first that is here. Absent: that one too, or, when
    /// following, the next.
    from: Option<u64>,
    /// Only records of this pod, `namespace/name` or a uid, of its workers, and of the ledger about it.
    pod: Option<String>,
    /// Only records of these types, separated by commas; `pod.` stands for every type that begins so.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Whether to go on with new records instead of ending at the head.
    #[serde(default)]
    follow: bool,
}

/// Sends records as server-sent events: `id` is the sequence number, `event` the type, `data` the record as JSON.
#[utoipa::path(
    get, path = "/v1/events", tag = "journal",
    params(FeedParams, ("Last-Event-ID" = Option<u64>, Header, description = "the last record that was received")),
    responses((status = 200, description = "the records", body = String, content_type = "text/event-stream"))
)]
pub(super) async fn events(
    State(api): State<Api>,
    Params(params): Params<FeedParams>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, Problem> {
    let journal = api.service.journal();
    let head = journal.head().seq;
    let from = match last_received(&headers)? {
        Some(last) => Seq(last).next(),
        None => match params.from {
            None if params.follow => head.next(),
            None | Some(0) => journal.before().seq.next(),
            Some(from) => Seq(from),
        },
    };
    let subscription = journal.subscribe(from).map_err(refused)?;
    let subject = params.pod.as_deref().map(Subject::parse).transpose()?;
    let filter = Filter {
        types: params.kind.as_deref().map(types_of),
        streams: api.service.world(|world| subject.as_ref().map(|subject| subject.streams(world))),
        subject,
    };
    let feed = Feed {
        subscription,
        last: (!params.follow).then_some(head),
        stop: api.stop,
        filter,
        read: VecDeque::new(),
    };
    let stream = unfold(feed, |mut feed| async {
        let event = feed.advance().await?;
        Some((Ok(event), feed))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

fn last_received(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let number =
        value.to_str().ok().and_then(|text| text.parse::<u64>().ok()).filter(|last| *last < u64::MAX);
    let wrong = || Problem::bad_request("malformed-header", "`last-event-id` must be a sequence number");
    number.map(Some).ok_or_else(wrong)
}

fn types_of(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|kind| !kind.is_empty()).map(str::to_owned).collect()
}

/// The pod that a feed is about.
#[derive(Debug, Clone)]
enum Subject {
    Incarnation(PodUid),
    Name(PodId),
}

impl Subject {
    fn parse(text: &str) -> Result<Subject, Problem> {
        if let Ok(uid) = Uuid::try_parse(text) {
            return Ok(Subject::Incarnation(PodUid(uid)));
        }
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        let id = PodId::new(namespace, name).map_err(|error| name_problem("pod", &error))?;
        Ok(Subject::Name(id))
    }

    /// The streams that are known to be about it now; more may come.
    fn streams(&self, world: &World) -> BTreeSet<StreamId> {
        let uids: BTreeSet<PodUid> = match self {
            Subject::Incarnation(uid) => BTreeSet::from([*uid]),
            Subject::Name(id) => {
                let live = world.registry.entries.get(id).map(|entry| entry.uid);
                let gone = world
                    .registry
                    .recent
                    .iter()
                    .filter(|gone| gone.id.as_ref() == Some(id))
                    .map(|gone| gone.uid);
                live.into_iter().chain(gone).collect()
            }
        };
        let workers = world.workers.iter().filter(|(_, worker)| match worker {
            Worker::Running(worker) | Worker::Exited { worker, .. } => uids.contains(&worker.pod),
            Worker::Unknown => false,
        });
        uids.iter().map(|uid| uid.stream()).chain(workers.map(|(uid, _)| uid.stream())).collect()
    }
}

/// Which records a reader wants.
struct Filter {
    types: Option<Vec<String>>,
    subject: Option<Subject>,
    /// The streams of the subject; learned from the records themselves where the world has forgotten them.
    streams: Option<BTreeSet<StreamId>>,
}

impl Filter {
    fn wants(&mut self, stream: StreamId, kind: &str, event: Option<&Event>) -> bool {
        if let (Some(streams), Some(event)) = (&mut self.streams, event) {
            let belongs = match (event, &self.subject) {
                (Event::Pod(PodEvent::Admitted(admitted)), Some(Subject::Name(id))) => {
                    admitted.spec.id == *id
                }
                (Event::Worker(WorkerEvent::Registered(worker)), Some(_)) => {
                    streams.contains(&worker.pod.stream())
                }
                _ => false,
            };
            if belongs {
                streams.insert(stream);
            }
        }
        let of_subject = self.streams.as_ref().is_none_or(|streams| {
            let by_ledger = || match event {
                Some(Event::Ledger(event)) => event.pods().iter().any(|pod| streams.contains(&pod.stream())),
                _ => false,
            };
            streams.contains(&stream) || by_ledger()
        });
        let of_type = self.types.as_ref().is_none_or(|types| {
            types
                .iter()
                .any(|wanted| kind == wanted || (wanted.ends_with('.') && kind.starts_with(wanted.as_str())))
        });
        of_subject && of_type
    }
}

/// Why there is nothing to send, as callers see it.
fn refused(error: SubscriptionError) -> Problem {
    let detail = error.to_string();
    match error {
        SubscriptionError::Trimmed { first, .. } => {
            let detail = format!("{detail}: ask from there, and look for what was before in the archive");
            Problem {
                errors: Box::new([from_field(first)]),
                ..Problem::new(StatusCode::GONE, "journal-trimmed", detail)
            }
        }
        SubscriptionError::Ahead { head, .. } => {
            let errors = vec![from_field(head.next())];
            Problem { errors: errors.into(), ..Problem::bad_request("beyond-head", detail) }
        }
        SubscriptionError::Closed | SubscriptionError::Journal(_) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", detail).retry_after(1_000)
        }
    }
}

fn from_field(right: Seq) -> WrongField {
    WrongField { path: "from".to_owned(), message: format!("{right} would do") }
}

/// A record as readers get it: of variables their names alone, as everywhere else in the API.
pub(super) fn json<E: Display>(stored: &StoredRecord, event: &Result<Event, E>) -> Value {
    let event = match event {
        Ok(event) => {
            let mut event = serde_json::to_value(event).unwrap_or(Value::Null);
            leave_out_values(&mut event);
            event
        }
        Err(error) => json!({ "type": "unreadable", "error": error.to_string() }),
    };
    json!({ "header": stored.header, "event": event })
}

/// Takes the values of variables out of pods' and tasks' specifications, which may be secret.
fn leave_out_values(of: &mut Value) {
    match of {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::Array(variables) if name == "env" => {
                        for variable in variables.iter_mut().filter_map(Value::as_object_mut) {
                            variable.remove("value");
                        }
                    }
                    field => leave_out_values(field),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(leave_out_values),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A reader's place in the journal.
struct Feed {
    subscription: Subscription,
    /// The last record to send; none if it goes on.
    last: Option<Seq>,
    stop: watch::Receiver<bool>,
    filter: Filter,
    read: VecDeque<StoredRecord>,
}

impl Feed {
    /// The next record that the reader wants; none at the end of the feed.
    async fn advance(&mut self) -> Option<SseEvent> {
        loop {
            while let Some(stored) = self.read.pop_front() {
                if self.last.is_some_and(|last| stored.header.seq > last) {
                    return None;
                }
                if let Some(event) = self.render(&stored) {
                    return Some(event);
                }
            }
            let is_over = self.last.is_some_and(|last| self.subscription.position() > last);
            if is_over || *self.stop.borrow() {
                return None;
            }
            let read = tokio::select! {
                read = self.subscription.next() => read,
                () = stopped(&mut self.stop) => return None,
            };
            match read {
                Ok(records) => self.read = records.into(),
                Err(SubscriptionError::Closed) => return None,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, next = %self.subscription.position(), "the event feed ends");
                    return None;
                }
            }
        }
    }

    fn render(&mut self, stored: &StoredRecord) -> Option<SseEvent> {
        let event = stored.event();
        let kind = event.as_ref().map_or("unreadable", |event| event.layout().name);
        if !self.filter.wants(stored.header.stream, kind, event.as_ref().ok()) {
            return None;
        }
        let data = json(stored, &event);
        let seq = stored.header.seq.to_string();
        Some(SseEvent::default().id(seq).event(kind).data(data.to_string()))
    }
}
