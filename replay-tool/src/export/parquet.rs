//! Apache Parquet: one row a record, a column for each part of its header and one for its payload as JSON.
//!
//! Groups of rows are written as they fill; values stand plainly in one page a column, compressed with zstd. The form is
//! that of <https://parquet.apache.org/docs/file-format/>, and of it no more than is written here.

use std::io::Write;

use purser_events::{Cause, Event};
use purser_storage::{PayloadError, StoredRecord};

use super::thrift::{Struct, varint};
use super::{Shown, Sink};
use crate::failure::Failure;
use crate::graph::cause_of;
use crate::render;

const MAGIC: &[u8; 4] = b"PAR1";

/// Most rows of a group.
const ROWS_MAX: usize = 1 << 14;

/// Bytes of values after which a group is written.
const BYTES_MAX: usize = 16 << 20;

const ZSTD_LEVEL: i32 = 3;

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    /// Microseconds since 1970, UTC.
    Time,
    Text,
    Json,
}

/// A column, and its values in the group that fills.
struct Column {
    name: &'static str,
    kind: Kind,
    is_optional: bool,
    values: Vec<u8>,
    /// Of an optional column, whether each value is there, as runs.
    present: Vec<(bool, u64)>,
}

/// Where a column of a group was written.
struct Chunk {
    offset: u64,
    len: u64,
    plain_len: u64,
}

/// A group that was written.
struct Group {
    rows: u64,
    chunks: Vec<Chunk>,
}

/// Writes a file.
pub(crate) struct Parquet<'a> {
    out: &'a mut dyn Write,
    shown: Shown,
    columns: Vec<Column>,
    rows: usize,
    groups: Vec<Group>,
    /// Bytes written so far.
    at: u64,
}

impl<'a> Parquet<'a> {
    pub(crate) fn new(out: &'a mut dyn Write, shown: Shown) -> Result<Parquet<'a>, Failure> {
        use Kind::{Json, Number, Text, Time};
        let columns = [
            ("seq", Number, false),
            ("time", Time, false),
            ("type", Text, false),
            ("type_version", Number, false),
            ("stream_kind", Text, false),
            ("stream", Text, false),
            ("version", Number, false),
            ("epoch", Number, false),
            ("cause_kind", Text, false),
            ("cause_seq", Number, true),
            ("cause_command", Text, true),
            ("correlation", Text, false),
            ("principal", Text, false),
            ("payload", Json, true),
            ("unread", Text, true),
            ("hash", Text, true),
        ];
        let column = |(name, kind, is_optional)| {
            let (values, present) = <_>::default();
            Column { name, kind, is_optional, values, present }
        };
        let columns = columns.into_iter().map(column).collect();
        let mut parquet = Parquet { out, shown, columns, rows: 0, groups: Vec::new(), at: 0 };
        parquet.write(MAGIC)?;
        Ok(parquet)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).map_err(Failure::Output)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Writes the rows that have gathered.
    fn write_group(&mut self) -> Result<(), Failure> {
        if self.rows == 0 {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        let pages: Vec<(Vec<u8>, Vec<u8>, usize)> =
            self.columns.iter_mut().map(|column| column.page(rows)).collect::<Result<_, _>>()?;
        let mut chunks = Vec::with_capacity(pages.len());
        for (header, page, plain_len) in pages {
            let offset = self.at;
            self.write(&header)?;
            self.write(&page)?;
            let plain_len = (header.len() + plain_len) as u64;
            chunks.push(Chunk { offset, len: self.at - offset, plain_len });
        }
        self.groups.push(Group { rows: rows as u64, chunks });
        Ok(())
    }

    fn metadata(&self) -> Vec<u8> {
        let root = Struct::default().text(4, "journal").i32(5, small(self.columns.len()));
        let schema: Vec<Struct> = [root].into_iter().chain(self.columns.iter().map(Column::schema)).collect();
        let rows = self.groups.iter().map(|group| group.rows).sum();
        let groups = self.groups.iter().map(|group| {
            let chunks = self.columns.iter().zip(&group.chunks);
            let total = group.chunks.iter().map(|chunk| chunk.plain_len).sum();
            Struct::default()
                .structures(1, chunks.map(|(column, chunk)| column.chunk(chunk, group.rows)))
                .i64(2, long(total))
                .i64(3, long(group.rows))
        });
        Struct::default()
            .i32(1, 1)
            .structures(2, schema.into_iter())
            .i64(3, long(rows))
            .structures(4, groups)
            .text(6, concat!("purser-replay ", env!("CARGO_PKG_VERSION")))
            .end()
    }
}

impl Column {
    /// Parquet's number of the physical type.
    fn physical(&self) -> i32 {
        match self.kind {
            Kind::Number | Kind::Time => 2,
            Kind::Text | Kind::Json => 6,
        }
    }

    fn schema(&self) -> Struct {
        let plain =
            Struct::default().i32(1, self.physical()).i32(3, self.is_optional.into()).text(4, self.name);
        let of = |field| Struct::default().structure(field, Struct::default());
        match self.kind {
            Kind::Number => plain,
            Kind::Time => {
                let time = Struct::default().bool(1, true).structure(2, of(2));
                plain.i32(6, 10).structure(10, Struct::default().structure(8, time))
            }
            Kind::Text => plain.i32(6, 0).structure(10, of(1)),
            Kind::Json => plain.i32(6, 19).structure(10, of(12)),
        }
    }

    fn chunk(&self, chunk: &Chunk, rows: u64) -> Struct {
        // Plain values, and runs of what is there; zstd.
        let metadata = Struct::default()
            .i32(1, self.physical())
            .numbers(2, &[0, 3])
            .texts(3, &[self.name])
            .i32(4, 6)
            .i64(5, long(rows))
            .i64(6, long(chunk.plain_len))
            .i64(7, long(chunk.len))
            .i64(9, long(chunk.offset));
        Struct::default().i64(2, long(chunk.offset)).structure(3, metadata)
    }

    fn number(&mut self, value: i64) {
        self.note(true);
        self.values.extend_from_slice(&value.to_le_bytes());
    }

    fn text(&mut self, value: &str) {
        self.note(true);
        let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.values.extend_from_slice(&len.to_le_bytes());
        self.values.extend_from_slice(value.as_bytes());
    }

    fn note(&mut self, is_there: bool) {
        match self.present.last_mut() {
            Some((last, count)) if *last == is_there => *count += 1,
            Some(_) | None => self.present.push((is_there, 1)),
        }
    }

    /// The one page of a group: its header, its bytes, and how many they are before compression.
    fn page(&mut self, rows: usize) -> Result<(Vec<u8>, Vec<u8>, usize), Failure> {
        let (values, present) = (std::mem::take(&mut self.values), std::mem::take(&mut self.present));
        let mut plain = Vec::new();
        if self.is_optional {
            let mut runs = Vec::new();
            for (is_there, count) in present {
                varint(&mut runs, count << 1);
                runs.push(is_there.into());
            }
            plain.extend_from_slice(&u32::try_from(runs.len()).unwrap_or(u32::MAX).to_le_bytes());
            plain.extend(runs);
        }
        plain.extend(values);
        let page = zstd::bulk::compress(&plain, ZSTD_LEVEL).map_err(Failure::Output)?;
        let data = Struct::default().i32(1, small(rows)).i32(2, 0).i32(3, 3).i32(4, 3);
        let header = Struct::default()
            .i32(1, 0)
            .i32(2, small(plain.len()))
            .i32(3, small(page.len()))
            .structure(5, data)
            .end();
        Ok((header, page, plain.len()))
    }
}

impl Sink for Parquet<'_> {
    fn record(
        &mut self,
        stored: &StoredRecord,
        event: &Result<Event, PayloadError>,
        wanted: bool,
    ) -> Result<(), Failure> {
        if !wanted {
            return Ok(());
        }
        let header = self.shown.header(&stored.header);
        let (kind, origin) = (render::type_name(stored), &header.origin);
        let payload = event.as_ref().ok().map(|event| self.shown.payload(event).to_string());
        // That of the payload that is shown: of an older one, what today's is made of it.
        let version = event.as_ref().map_or(stored.layout_version, |event| event.layout().version);
        let unread = event.as_ref().err().map(render::payload_error);
        let hash = (!self.shown.is_redacted()).then(|| render::hex(&stored.hash));
        let (cause_kind, command) = match origin.cause {
            Cause::Command(id) => ("command", Some(id.0.to_string())),
            Cause::Record(_) => ("record", None),
            Cause::Timer(_) => ("timer", None),
            Cause::Observation(_) => ("observation", None),
            Cause::Node => ("node", None),
        };
        let (stream, correlation) = (header.stream.id.to_string(), origin.correlation.to_string());
        for column in &mut self.columns {
            match column.name {
                "seq" => column.number(long(header.seq.0)),
                "time" => column.number(header.time.0),
                "type" => column.text(&kind),
                "type_version" => column.number(version.into()),
                "stream_kind" => column.text(header.stream.kind.word()),
                "stream" => column.text(&stream),
                "version" => column.number(long(header.version.0)),
                "epoch" => column.number(long(header.epoch)),
                "cause_kind" => column.text(cause_kind),
                "cause_seq" => match cause_of(origin.cause) {
                    Some(cause) => column.number(long(cause.0)),
                    None => column.note(false),
                },
                "correlation" => column.text(&correlation),
                "principal" => column.text(origin.principal.as_str()),
                name => {
                    let text = match name {
                        "cause_command" => &command,
                        "payload" => &payload,
                        "unread" => &unread,
                        _ => &hash,
                    };
                    match text {
                        Some(text) => column.text(text),
                        None => column.note(false),
                    }
                }
            }
        }
        self.rows += 1;
        let bytes: usize = self.columns.iter().map(|column| column.values.len()).sum();
        if self.rows >= ROWS_MAX || bytes >= BYTES_MAX { self.write_group() } else { Ok(()) }
    }

    fn end(&mut self) -> Result<(), Failure> {
        self.write_group()?;
        let metadata = self.metadata();
        self.write(&metadata)?;
        let len = u32::try_from(metadata.len()).unwrap_or(u32::MAX);
        self.write(&len.to_le_bytes())?;
        self.write(MAGIC)
    }
}

/// A number as Parquet holds it; positions of records stay below 2^63.
fn long(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A length that is bounded by a group's.
fn small(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
