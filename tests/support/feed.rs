//! The live feed of events, as a platform that drives the node would read it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use serde_json::Value;

use crate::bounded::PATIENCE;
use crate::http;
use crate::purserd::Purserd;

/// An event of the feed.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedEvent {
    /// Its sequence number.
    pub seq: u64,
    /// Its type, as in `pod.started`.
    pub kind: String,
    /// The record.
    pub record: Value,
}

/// A subscription that goes on live.
pub struct Feed(BufReader<UnixStream>);

impl Feed {
    /// Subscribes to what happens from now on; nothing in between is missed.
    ///
    /// # Panics
    /// The service does not answer.
    #[must_use]
    pub fn live(purserd: &Purserd) -> Feed {
        let status = http::request(&purserd.socket(), "GET", "/v1/status", None, "");
        let head = status.expect("the service answers").body["seq"].as_u64();
        Feed::from(purserd, head.expect("the status has a head") + 1)
    }

    /// Subscribes from a sequence number on.
    ///
    /// # Panics
    /// The service does not answer.
    #[must_use]
    pub fn from(purserd: &Purserd, seq: u64) -> Feed {
        let mut stream = UnixStream::connect(purserd.socket()).expect("the service listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("the time is not zero");
        let request = format!(
            "GET /v1/events?from={seq}&follow=true HTTP/1.1\r\nHost: purser\r\nAccept: text/event-stream\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("the service reads");
        let mut answer = BufReader::new(stream);
        let head = http::read_head(&mut answer).expect("the service answers");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        Feed(answer)
    }

    /// Reads up to the next event.
    ///
    /// # Panics
    /// None comes for longer than a test waits.
    pub fn next_event(&mut self) -> FeedEvent {
        let (mut seq, mut kind) = (None, None);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut line = String::new();
            // Chunk sizes and heartbeats stand between the lines of events; neither begins like one.
            let read = self.0.read_line(&mut line).expect("nothing happened for too long");
            assert_ne!(read, 0, "the feed ended");
            // Heartbeats come however long nothing else does.
            assert!(Instant::now() < deadline, "nothing happened for too long");
            if let Some(id) = line.strip_prefix("id: ") {
                seq = id.trim().parse().ok();
            } else if let Some(event) = line.strip_prefix("event: ") {
                kind = Some(event.trim().to_owned());
            } else if let Some(data) = line.strip_prefix("data: ") {
                let record = serde_json::from_str(data.trim()).expect("an event is JSON");
                let seq = seq.expect("an event has an id");
                return FeedEvent { seq, kind: kind.expect("an event has a type"), record };
            }
        }
    }

    /// Reads until an event is as wanted.
    ///
    /// # Panics
    /// None is for longer than a test waits.
    pub fn until(&mut self, wanted: impl Fn(&FeedEvent) -> bool) -> FeedEvent {
        loop {
            let event = self.next_event();
            if wanted(&event) {
                return event;
            }
        }
    }
}
