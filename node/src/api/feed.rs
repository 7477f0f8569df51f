//! The event feed: records from a sequence number on, then live, read from disk at the reader's own pace.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use purser_events::pod::PodEvent;
use purser_events::worker::{Worker, WorkerEvent};
use purser_events::{Event, PodId, PodUid, Seq, StreamId, World};
use purser_storage::{Journal, StoredRecord};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use utoipa::IntoParams;
use uuid::Uuid;

use super::listen::stopped;
use super::problem::Problem;
use super::state::{Api, Params, name_problem};

/// Records that are read from disk at a time.
const STEP: usize = 256;

/// Time after which a silent feed says that it is still there.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Which records to send.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FeedParams {
    /// The first record; `Last-Event-ID` + 1 wins over it. Absent: the first of all, or, when following, the next.
    from: Option<u64>,
    /// Only records of this pod, `namespace/name` or a uid, and of its workers.
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
    let journal = api.service.journal().clone();
    let from = match last_received(&headers)? {
        Some(last) => Seq(last).next(),
        None => match params.from {
            Some(from) => Seq(from.max(1)),
            None if params.follow => journal.head().seq.next(),
            None => Seq(1),
        },
    };
    let subject = params.pod.as_deref().map(Subject::parse).transpose()?;
    let filter = Filter {
        types: params.kind.as_deref().map(types_of),
        streams: api.service.world(|world| subject.as_ref().map(|subject| subject.streams(world))),
        subject,
    };
    let feed = Feed {
        heads: journal.heads(),
        journal,
        next: from,
        follow: params.follow,
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
        let of_subject = self.streams.as_ref().is_none_or(|streams| streams.contains(&stream));
        let of_type = self.types.as_ref().is_none_or(|types| {
            types
                .iter()
                .any(|wanted| kind == wanted || (wanted.ends_with('.') && kind.starts_with(wanted.as_str())))
        });
        of_subject && of_type
    }
}

/// A reader's place in the journal.
struct Feed {
    journal: Journal,
    heads: watch::Receiver<Seq>,
    next: Seq,
    follow: bool,
    stop: watch::Receiver<bool>,
    filter: Filter,
    read: VecDeque<StoredRecord>,
}

impl Feed {
    /// The next record that the reader wants; none at the end of the feed.
    async fn advance(&mut self) -> Option<SseEvent> {
        loop {
            while let Some(stored) = self.read.pop_front() {
                self.next = stored.header.seq.next();
                if let Some(event) = self.render(&stored) {
                    return Some(event);
                }
            }
            if *self.stop.borrow() || !self.await_more().await {
                return None;
            }
            self.read = self.read_step().await?;
        }
    }

    /// Waits until there is something to read; false if nothing more is to come.
    async fn await_more(&mut self) -> bool {
        if self.next <= self.journal.head().seq {
            return true;
        }
        if !self.follow {
            return false;
        }
        let next = self.next;
        tokio::select! {
            head = self.heads.wait_for(|head| next <= *head) => head.is_ok(),
            () = stopped(&mut self.stop) => false,
        }
    }

    async fn read_step(&self) -> Option<VecDeque<StoredRecord>> {
        let (journal, next) = (self.journal.clone(), self.next);
        let read = tokio::task::spawn_blocking(move || journal.read(next, STEP)).await;
        match read {
            Ok(Ok(records)) => Some(records.into()),
            Ok(Err(error)) => {
                tracing::warn!(%error, %next, "the event feed ends: a record cannot be read");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "the event feed ends");
                None
            }
        }
    }

    fn render(&mut self, stored: &StoredRecord) -> Option<SseEvent> {
        let event = stored.event();
        let kind = event.as_ref().map_or("unreadable", |event| event.layout().name);
        if !self.filter.wants(stored.header.stream, kind, event.as_ref().ok()) {
            return None;
        }
        let event_json = match &event {
            Ok(event) => serde_json::to_value(event).unwrap_or(Value::Null),
            Err(error) => json!({ "type": kind, "error": error.to_string() }),
        };
        let data = json!({ "header": stored.header, "event": event_json });
        let seq = stored.header.seq.to_string();
        Some(SseEvent::default().id(seq).event(kind).data(data.to_string()))
    }
}
