//! Snapshots compared with the records that they were made from: those that a node left in its journal's folder, and those
//! that `state --snapshots` puts away.
//!
//! The records are folded while they are read for other checks, and each snapshot is looked at when its record has come. A
//! snapshot is a cache: what is wrong with one takes nothing from the records.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use purser_events::node::NodeEvent;
use purser_events::view::WORLD_LAYOUT;
use purser_events::{Event, Header, Record, Seq, StreamId, StreamVersion, World};
use purser_storage::snapshot::at_rest::{self, SnapshotFile, SnapshotFileError};
use purser_storage::verify::Position;
use purser_storage::{Hash, Head, PayloadError, StoredRecord};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::failure::{Exit, Failure};
use crate::source::Place;
use crate::{fields, render, snapshots};

/// Fields that are told of a snapshot that differs.
const FIELDS_TOLD_MAX: usize = 3;

/// A record as it is folded.
pub(crate) struct ToFold {
    header: Header,
    layout_number: u16,
    event: Result<Event, Unread>,
}

/// Why a payload cannot be folded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unread {
    Withheld,
    Unreadable,
}

impl ToFold {
    pub(crate) fn of(stored: &StoredRecord, event: &Result<Event, PayloadError>) -> ToFold {
        let unread =
            |error: &PayloadError| if error.is_withheld() { Unread::Withheld } else { Unread::Unreadable };
        let event = match event {
            Ok(event) => Ok(event.clone()),
            Err(error) => Err(unread(error)),
        };
        ToFold { header: stored.header.clone(), layout_number: stored.layout_number, event }
    }
}

/// Who put a snapshot away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Node,
    Tool,
}

/// A snapshot that is not looked at yet.
#[derive(Debug)]
struct Waiting {
    seq: Seq,
    path: PathBuf,
    by: By,
}

/// What was found about a snapshot.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// It is what the records give.
    Same,
    /// The records before it are not here.
    Trusted,
    /// It cannot be compared, and nothing is wrong with it.
    Uncompared(String),
    /// It is something else than the records give; the first fields, and how many more.
    Differs(Vec<String>, usize),
    /// It is of a record that this journal does not have.
    Foreign,
    Damaged(String),
    Newer(String),
}

impl Standing {
    fn word(&self) -> &'static str {
        match self {
            Standing::Same => "same",
            Standing::Trusted => "trusted",
            Standing::Uncompared(_) => "uncompared",
            Standing::Differs(..) => "differs",
            Standing::Foreign => "foreign",
            Standing::Damaged(_) => "damaged",
            Standing::Newer(_) => "newer",
        }
    }

    fn sentence(&self) -> String {
        match self {
            Standing::Same => "what the records give".to_owned(),
            Standing::Trusted => "taken on trust: the records before it are not here".to_owned(),
            Standing::Uncompared(reason) => format!("not compared: {reason}"),
            Standing::Differs(told, more) => {
                let more = if *more > 0 { format!(" and {more} more") } else { String::new() };
                format!("DIFFERS from what the records give, in {}{more}", told.join(", "))
            }
            Standing::Foreign => "is of a record that this journal does not have".to_owned(),
            Standing::Damaged(reason) => format!("DAMAGED: {reason}"),
            Standing::Newer(reason) => reason.clone(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Standing::Same | Standing::Trusted | Standing::Uncompared(_) => Exit::Ok,
            Standing::Newer(_) => Exit::Unknown,
            Standing::Differs(..) | Standing::Foreign | Standing::Damaged(_) => Exit::Integrity,
        }
    }
}

/// A snapshot that was looked at.
#[derive(Debug)]
struct Looked {
    path: PathBuf,
    by: By,
    standing: Standing,
}

/// What is to be compared, and what was found so far.
pub(crate) struct Comparison {
    waiting: VecDeque<Waiting>,
    looked: Vec<Looked>,
    /// None as long as the records before the first are not here.
    world: Option<World>,
    /// Where each stream stands.
    ends: BTreeMap<StreamId, End>,
    /// Streams with payloads that are withheld, and that no record so far has asked to take out: a snapshot of then has
    /// what cannot be folded now.
    withheld: BTreeSet<StreamId>,
    /// The first payload that could not be read.
    unreadable: Option<Seq>,
}

/// Where a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct End {
    version: StreamVersion,
    seq: Seq,
    correlation: Uuid,
}

/// The body of a node's snapshot, as far as it is compared.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    digest: String,
    #[serde(default)]
    assumed_upto: Option<Seq>,
    heads: Vec<(StreamId, End)>,
    world: World,
}

/// What a snapshot says.
struct Said {
    head: Head,
    world: World,
    ends: Vec<(StreamId, End)>,
}

impl Comparison {
    /// Lists the snapshots of a place that begins after a record.
    pub(crate) fn of(place: &Place, before: Seq) -> Result<Comparison, Failure> {
        let (mut waiting, mut looked) = (Vec::new(), Vec::new());
        if let Some(dir) = place.own_snapshots() {
            for (seq, path) in at_rest::list(dir).map_err(|error| Failure::Source(error.into()))? {
                match seq {
                    Some(seq) => waiting.push(Waiting { seq, path, by: By::Node }),
                    None => {
                        let standing = Standing::Damaged("its name is that of no record".to_owned());
                        looked.push(Looked { path, by: By::Node, standing });
                    }
                }
            }
        }
        let by_tool = place.snapshots().map(snapshots::list).unwrap_or_default();
        waiting.extend(by_tool.into_iter().map(|(seq, path)| Waiting { seq, path, by: By::Tool }));
        waiting.sort_by_key(|waiting| waiting.seq);
        Ok(Comparison {
            waiting: waiting.into(),
            looked,
            world: (before == Seq::ZERO).then(World::default),
            ends: BTreeMap::new(),
            withheld: BTreeSet::new(),
            unreadable: None,
        })
    }

    /// The last record that is to be folded.
    pub(crate) fn upto(&self) -> Seq {
        self.waiting.back().map_or(Seq::ZERO, |last| last.seq)
    }

    /// Takes the next record, which is sound.
    pub(crate) fn note(&mut self, position: &Position, record: ToFold) {
        let ToFold { header, layout_number, event } = record;
        let (seq, stream) = (header.seq, header.stream);
        let end = End { version: header.version, seq, correlation: header.origin.correlation };
        self.ends.insert(stream, end);
        match &event {
            Err(Unread::Withheld) => {
                self.withheld.insert(stream);
            }
            Err(Unread::Unreadable) => self.unreadable = self.unreadable.or(Some(seq)),
            Ok(Event::Node(NodeEvent::RedactionRequested(part))) => {
                part.pods.iter().for_each(|pod| _ = self.withheld.remove(&pod.stream()));
                part.workers.iter().for_each(|worker| _ = self.withheld.remove(&worker.stream()));
            }
            Ok(_) => {}
        }
        if let Some(world) = &mut self.world {
            match event {
                // What does not fit is noted in the world, as the node does.
                Ok(event) => _ = world.apply(&Record { header, event }),
                Err(Unread::Withheld) => world.apply_withheld(&header, layout_number),
                Err(Unread::Unreadable) => world.quarantine(stream, seq, String::new()),
            }
        }
        while self.waiting.front().is_some_and(|waiting| waiting.seq <= seq) {
            let Some(waiting) = self.waiting.pop_front() else { break };
            let standing = self.look(&waiting, seq, &position.hash);
            let Waiting { path, by, .. } = waiting;
            self.looked.push(Looked { path, by, standing });
        }
    }

    /// Compares a snapshot with what was folded up to its record.
    fn look(&mut self, waiting: &Waiting, seq: Seq, hash: &Hash) -> Standing {
        let Said { head, world, ends } = match waiting.read() {
            Ok(said) => said,
            Err(standing) => return standing,
        };
        if (head.seq, &head.hash) != (seq, hash) {
            return Standing::Foreign;
        }
        if let Some(seq) = self.unreadable {
            return Standing::Uncompared(format!(
                "record {seq}, which it was made from, cannot be read here"
            ));
        }
        if let Some(stream) = self.withheld.first() {
            let reason = "payloads that it was made from are withheld";
            return Standing::Uncompared(format!(
                "{reason}, first of {stream}: give --subject-keys if they are sealed; if they were redacted, remove it"
            ));
        }
        let Some(folded) = &self.world else {
            self.world = Some(world);
            self.ends = ends.into_iter().collect();
            return Standing::Trusted;
        };
        let stream = ends.iter().find(|(stream, end)| self.ends.get(stream) != Some(end));
        if folded.digest() == world.digest() && stream.is_none() {
            return Standing::Same;
        }
        let mut told = differences(folded, &world);
        told.extend(stream.map(|(stream, _)| format!("where {stream} stands")));
        let more = told.len().saturating_sub(FIELDS_TOLD_MAX);
        told.truncate(FIELDS_TOLD_MAX);
        Standing::Differs(told, more)
    }

    /// Takes notice that nothing more comes. `is_sound` says whether that is the journal's end, or a damage.
    pub(crate) fn finish(&mut self, is_sound: bool) {
        for Waiting { path, by, .. } in self.waiting.drain(..) {
            let standing = match is_sound {
                true => Standing::Foreign,
                false => Standing::Uncompared("the records before it are damaged".to_owned()),
            };
            self.looked.push(Looked { path, by, standing });
        }
    }

    /// How a verification ends by what was found.
    pub(crate) fn exit(&self) -> Exit {
        self.looked.iter().fold(Exit::Ok, |exit, looked| exit.or_worse(looked.standing.exit()))
    }

    /// What was found, for people.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.looked.iter().map(|Looked { path, by, standing }| {
            let what = render::safe(&standing.sentence());
            let path = render::safe(&path.display().to_string());
            let remedy = match (standing.exit(), by) {
                (Exit::Integrity, By::Node) => {
                    "; it is a cache, and no record is lost by it: remove it, and the node's next start folds the records"
                }
                (Exit::Integrity, By::Tool) => {
                    "; it is a cache, and no record is lost by it: remove it, and `state` makes it again"
                }
                _ => "",
            };
            format!("{path}: {what}{remedy}")
        })
    }

    /// What was found, for programs.
    pub(crate) fn json(&self) -> Value {
        let json = |looked: &Looked| {
            json!({
                "file": looked.path.display().to_string(), "standing": looked.standing.word(),
                "told": looked.standing.sentence(),
            })
        };
        self.looked.iter().map(json).collect()
    }
}

impl Waiting {
    fn read(&self) -> Result<Said, Standing> {
        match self.by {
            By::Node => self.read_node(),
            By::Tool => match snapshots::read(self.seq, &self.path) {
                Ok(put) => Ok(Said { head: put.head, world: put.world, ends: Vec::new() }),
                Err(snapshots::PutError::Damaged) => {
                    Err(Standing::Damaged("it is not what was put away".to_owned()))
                }
                Err(snapshots::PutError::Layout(layout)) => {
                    Err(Standing::Uncompared(format!("another release put it away, in layout {layout}")))
                }
            },
        }
    }

    fn read_node(&self) -> Result<Said, Standing> {
        let file = match SnapshotFile::read(&self.path, WORLD_LAYOUT) {
            Ok(file) => file,
            Err(error @ SnapshotFileError::Newer { .. }) => return Err(Standing::Newer(error.to_string())),
            Err(error @ (SnapshotFileError::Damaged(_) | SnapshotFileError::Folder(_))) => {
                return Err(Standing::Damaged(purser_events::causes::told(&error)));
            }
        };
        let body: Body = serde_json::from_slice(&file.body)
            .map_err(|error| Standing::Damaged(format!("its body cannot be read: {error}")))?;
        if let Some(upto) = body.assumed_upto {
            let reason = "is what could be read of another release's snapshot";
            return Err(Standing::Uncompared(format!("what it says up to record {upto} {reason}")));
        }
        let is_same = render::hex(&body.world.digest()) == body.digest;
        match (is_same, file.layout) {
            (true, _) => Ok(Said { head: file.head, world: body.world, ends: body.heads }),
            // Its node would fold its records again.
            (false, ..WORLD_LAYOUT) => Err(Standing::Uncompared(
                "an older release put it away, and it is read as something else".to_owned(),
            )),
            (false, _) => Err(Standing::Damaged("its world is not the one that was put away".to_owned())),
        }
    }
}

/// The paths of the fields in which two worlds differ.
fn differences(folded: &World, put: &World) -> Vec<String> {
    let (folded, put) = (fields::of(&json!(folded)), fields::of(&json!(put)));
    let gone = folded.keys().filter(|path| !put.contains_key(*path));
    let other = put.iter().filter(|(path, value)| folded.get(*path) != Some(value)).map(|(path, _)| path);
    gone.chain(other).cloned().collect()
}
