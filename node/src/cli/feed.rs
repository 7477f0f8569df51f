//! The event feed as verbs read it.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use purser_events::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Call, Client, with_query};
use super::failure::Failure;
use super::sse::{Message, Parser};

/// Which records to read.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) pod: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) from: Option<u64>,
    pub(super) follow: bool,
}

/// One record of the feed.
#[derive(Debug, Deserialize)]
pub(super) struct FeedRecord {
    pub(super) header: FeedHeader,
    pub(super) event: FeedEvent,
}

/// Its header, as far as verbs need it.
#[derive(Debug, Deserialize)]
pub(super) struct FeedHeader {
    pub(super) seq: u64,
    pub(super) stream: FeedStream,
    /// Its place in the stream, from 1.
    #[serde(default)]
    pub(super) version: u64,
    pub(super) time: Timestamp,
}

/// Its stream.
#[derive(Debug, Deserialize)]
pub(super) struct FeedStream {
    pub(super) kind: String,
    pub(super) id: String,
}

/// Its event.
#[derive(Debug, Deserialize)]
pub(super) struct FeedEvent {
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The version of its layout; 0 of one that cannot be read.
    #[serde(default)]
    pub(super) version: u16,
    #[serde(default)]
    pub(super) payload: Value,
    /// Why it cannot be read, if it cannot.
    #[serde(default)]
    pub(super) error: Option<String>,
}

/// A feed that is open.
pub(super) struct Feed {
    body: Incoming,
    parser: Parser,
}

impl Feed {
    /// Opens a feed. Once this returns, nothing that happens from here on is missed.
    pub(super) async fn open(client: &Client, wanted: &Wanted) -> Result<Feed, Failure> {
        let target = with_query(
            "/v1/events",
            &[
                ("pod", wanted.pod.clone()),
                ("type", wanted.kind.clone()),
                ("from", wanted.from.map(|from| from.to_string())),
                ("follow", wanted.follow.then(|| "true".to_owned())),
            ],
        );
        let response = client.open(&Call::get(target)).await?;
        Ok(Feed { body: response.into_body(), parser: Parser::default() })
    }

    /// The next event as it came; none at the end of the feed.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, Failure> {
        loop {
            if let Some(message) = self.parser.pop() {
                return Ok(Some(message));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|error| Failure::Broken(error.to_string()))?;
            if frame.data_ref().is_some_and(|bytes| !self.parser.push(bytes)) {
                return Err(Failure::Senseless("an event is too long".to_owned()));
            }
        }
    }

    /// The next record; none at the end of the feed.
    pub(super) async fn record(&mut self) -> Result<Option<FeedRecord>, Failure> {
        let Some(message) = self.next().await? else { return Ok(None) };
        let parsed = serde_json::from_str(&message.data);
        parsed.map(Some).map_err(|error| Failure::Senseless(error.to_string()))
    }
}
