//! The journal of a running service, as an auditor would fetch it.

use std::io::{BufReader, Cursor, Write};
use std::os::unix::net::UnixStream;

use purser_events::{Record, Seq};
use purser_storage::offline::Source;

use crate::bounded::PATIENCE;
use crate::http;
use crate::purserd::Purserd;

/// Every record of the service's journal, checked.
///
/// # Panics
/// The service does not hand it out, or it is not sound.
#[must_use]
pub fn records(purserd: &Purserd) -> Vec<Record> {
    records_from(purserd, Seq(1))
}

/// The records of the service's journal from one on, checked.
///
/// # Panics
/// The service does not hand them out, or they are not sound.
#[must_use]
pub fn records_from(purserd: &Purserd, first: Seq) -> Vec<Record> {
    let source =
        Source::from_export(Cursor::new(export_from(purserd, first))).expect("an export can be read");
    source
        .map(|record| record.expect("the journal is sound").record().expect("its events are known"))
        .collect()
}

/// The service's journal as an export file.
///
/// # Panics
/// The service does not hand it out.
#[must_use]
pub fn export(purserd: &Purserd) -> Vec<u8> {
    export_from(purserd, Seq(1))
}

fn export_from(purserd: &Purserd, first: Seq) -> Vec<u8> {
    let mut stream = UnixStream::connect(purserd.socket()).expect("the service listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("the time is not zero");
    let request = format!(
        "GET /v1/journal/export?from={} HTTP/1.1\r\nHost: purser\r\nConnection: close\r\n\r\n",
        first.0
    );
    stream.write_all(request.as_bytes()).expect("the service reads");
    let mut answer = BufReader::new(stream);
    let head = http::read_head(&mut answer).expect("the service answers");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    http::read_body(&mut answer, &head).expect("the export is whole")
}
