//! Which journal is read, and by which way.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use purser_events::Seq;
use purser_storage::offline::{self, Item, Mark, Scanned, SealedSegment, Source, SourceError};
use purser_storage::subjects::SubjectKeys;
use purser_storage::{Fault, Head, StoredRecord};

use crate::cli::{NodeSource, SourceArgs};
use crate::failure::Failure;
use crate::nodes::Node;
use crate::progress::{Counted, Line, Progress, Total};
use crate::spool::Spool;
use crate::{Surroundings, http};

/// Bytes that are read at once.
const BUFFER_LEN: usize = 1 << 18;

/// Where a journal is read from, and with which keys.
#[derive(Debug)]
pub(crate) struct Place {
    way: Way,
    /// The folder with the keys of pods, if one is given.
    subject_keys: Option<PathBuf>,
    /// The folder in which worlds are put away, if one is given.
    snapshots: Option<PathBuf>,
    /// Says how far a reading is.
    line: Line,
}

/// How a journal is reached.
#[derive(Debug)]
enum Way {
    Export(PathBuf),
    Input(Spool),
    /// With the archive of what was trimmed from it, if one is given.
    Folder(PathBuf, Option<PathBuf>),
    /// Segments by themselves, such as an archive.
    Segments(PathBuf),
    Socket(PathBuf),
}

impl Way {
    /// A journal's folder, or one with nothing but segments in it.
    fn of_folder(dir: PathBuf, archive: Option<PathBuf>) -> Way {
        // A service's data folder has the journal in it.
        let inside = dir.join("journal");
        let dir =
            if !dir.join("segments").is_dir() && inside.join("segments").is_dir() { inside } else { dir };
        // One that cannot be read is told of when it is opened.
        let is_of_segments = archive.is_none() && offline::is_of_segments(&dir).unwrap_or_default();
        if is_of_segments { Way::Segments(dir) } else { Way::Folder(dir, archive) }
    }
}

impl SourceArgs {
    /// The journal that the command line means.
    pub(crate) fn place(&self, surroundings: &Surroundings, line: &Line) -> Result<Place, Failure> {
        if !self.nodes.is_empty() {
            return Err(Failure::OneNodeOnly { what: "this is" });
        }
        if self.snapshots.is_some() && self.dir.is_none() {
            return Err(Failure::SnapshotsAlone);
        }
        if let (Some(snapshots), Some(dir)) = (&self.snapshots, &self.dir) {
            // Nothing is ever written into what is read, by whatever path.
            let is_inside = |path: &Path| {
                let real = path.ancestors().find_map(|known| {
                    let known = if known.as_os_str().is_empty() { Path::new(".") } else { known };
                    known.canonicalize().ok()
                });
                real.zip(dir.canonicalize().ok()).is_some_and(|(real, dir)| real.starts_with(dir))
            };
            if is_inside(snapshots) {
                return Err(Failure::SnapshotsInside);
            }
        }
        let way = self.way(surroundings)?;
        let (subject_keys, snapshots) = (self.subject_keys.clone(), self.snapshots.clone());
        Ok(Place { way, subject_keys, snapshots, line: line.clone() })
    }

    /// The nodes that the command line names.
    pub(crate) fn nodes(&self, line: &Line) -> Result<Vec<Node>, Failure> {
        let mut names = BTreeSet::new();
        let node = |source: &NodeSource| {
            let NodeSource { name, path } = source;
            if !names.insert(name.clone()) {
                return Err(Failure::SameName { name: crate::render::safe(name) });
            }
            let open = |source| Failure::Open { path: path.clone(), source };
            let kind = std::fs::metadata(path).map_err(open)?.file_type();
            let of = match (kind.is_dir(), kind.is_socket()) {
                (true, _) => Place::of_folder,
                (false, true) => Place::of_socket,
                (false, false) => Place::of_export,
            };
            let place = of(path.clone(), line.clone());
            Ok(Node { name: name.clone(), place })
        };
        self.nodes.iter().map(node).collect()
    }

    fn way(&self, surroundings: &Surroundings) -> Result<Way, Failure> {
        match (&self.export, &self.dir, &self.socket) {
            (Some(path), None, None) if path == Path::new("-") => {
                Ok(Way::Input(Spool::of(surroundings.input)))
            }
            (Some(path), None, None) => Ok(Way::Export(path.clone())),
            (None, Some(dir), None) => Ok(Way::of_folder(dir.clone(), self.archive.clone())),
            (None, None, Some(socket)) => Ok(Way::Socket(socket.clone())),
            (None, None, None) => match &self.archive {
                Some(archive) => Ok(Way::Segments(archive.clone())),
                None => default_place(surroundings),
            },
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
                Err(Failure::ManySources)
            }
        }
    }
}

fn default_place(surroundings: &Surroundings) -> Result<Way, Failure> {
    if let Some(socket) = &surroundings.socket {
        return Ok(Way::Socket(socket.clone()));
    }
    let sockets = &surroundings.standard_sockets;
    let found = sockets.iter().find(|socket| socket.exists());
    found.cloned().map(Way::Socket).ok_or_else(|| {
        let looked_for = sockets.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        Failure::NoSource { looked_for }
    })
}

impl Place {
    /// An export.
    pub(crate) fn of_export(path: PathBuf, line: Line) -> Place {
        Place::of(Way::Export(path), line)
    }

    /// A journal's folder, or one with nothing but segments in it.
    pub(crate) fn of_folder(path: PathBuf, line: Line) -> Place {
        Place::of(Way::of_folder(path, None), line)
    }

    /// A live node.
    pub(crate) fn of_socket(path: PathBuf, line: Line) -> Place {
        Place::of(Way::Socket(path), line)
    }

    fn of(way: Way, line: Line) -> Place {
        Place { way, subject_keys: None, snapshots: None, line }
    }

    /// The same folder with the archive of what was trimmed from it; what is no journal's folder has none.
    pub(crate) fn with_archive(self, archive: PathBuf) -> Place {
        let way = match self.way {
            Way::Folder(dir, _) => Way::Folder(dir, Some(archive)),
            way @ (Way::Export(_) | Way::Input(_) | Way::Segments(_) | Way::Socket(_)) => way,
        };
        Place { way, ..self }
    }

    /// The same with the keys of pods.
    pub(crate) fn with_keys(self, keys: PathBuf) -> Place {
        Place { subject_keys: Some(keys), ..self }
    }

    /// The folder in which worlds are put away.
    pub(crate) fn snapshots(&self) -> Option<&Path> {
        self.snapshots.as_deref()
    }

    /// The folder of the journal whose snapshots lie beside its records, if it is one.
    pub(crate) fn own_snapshots(&self) -> Option<&Path> {
        match &self.way {
            Way::Folder(dir, _) => Some(dir),
            Way::Export(_) | Way::Input(_) | Way::Segments(_) | Way::Socket(_) => None,
        }
    }

    /// Whether nothing says where the journal ends that is read.
    pub(crate) fn is_without_end(&self) -> bool {
        matches!(self.way, Way::Segments(_))
    }

    /// Opens the journal. Records before `from` need not be among those read.
    pub(crate) fn open(&self, from: Seq) -> Result<Opened, Failure> {
        let (source, total) = self.open_sealed(from)?;
        let total = source.known_last().map_or(total, |last| Total::Records(source.before().seq, last));
        Ok(self.opened(source, total))
    }

    /// Opens the journal after a record that was read before, from this very journal: what came before it is not read
    /// again, and what follows must continue it.
    pub(crate) fn open_after(&self, mark: &Mark) -> Result<Opened, Failure> {
        let source = match (&self.way, mark.export) {
            (Way::Folder(dir, archive), _) => Source::from_folder_after(dir, archive.as_deref(), mark.head)?,
            (Way::Segments(dir), _) => Source::from_segments_after(dir, mark.head)?,
            (Way::Export(path), Some(offset)) => {
                let open = |source| Failure::Open { path: path.clone(), source };
                let mut file = File::open(path).map_err(open)?;
                file.seek(SeekFrom::Start(offset.at)).map_err(open)?;
                let file = BufReader::with_capacity(BUFFER_LEN, file);
                Source::of_export_after(file, mark.head, offset)
            }
            (Way::Input(spool), Some(offset)) => {
                let input = BufReader::with_capacity(BUFFER_LEN, spool.open_at(offset.at)?);
                Source::of_export_after(input, mark.head, offset)
            }
            // A node gives any part of its journal; of an export whose places are unknown, all is read.
            (Way::Socket(_), _) | (Way::Export(_) | Way::Input(_), None) => {
                let (source, _) = self.open_sealed(mark.head.seq.next())?;
                let before = source.before();
                if before.seq == mark.head.seq && before != mark.head {
                    let fault = Fault::Replaced { seq: before.seq };
                    return Err(SourceError::Fault {
                        last: Seq(before.seq.0.saturating_sub(1)),
                        source: fault,
                    }
                    .into());
                }
                source
            }
        };
        Ok(self.opened(source, Total::Unknown))
    }

    fn opened(&self, source: Source, total: Total) -> Opened {
        let source = match &self.subject_keys {
            Some(dir) => source.with_keys(SubjectKeys::to_read(dir)),
            None => source,
        };
        Opened { source, progress: self.line.reading(total) }
    }

    /// The same journal, with a line that says how far a reading is even if the data goes to the same terminal.
    pub(crate) fn telling(self, line: Line) -> Place {
        Place { line, ..self }
    }

    /// Whether a live node is asked.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.way, Way::Socket(_))
    }

    /// The socket of a live node, if one is asked.
    pub(crate) fn socket(&self) -> Option<&Path> {
        match &self.way {
            Way::Socket(socket) => Some(socket),
            Way::Export(_) | Way::Input(_) | Way::Folder(..) | Way::Segments(_) => None,
        }
    }

    /// Whether what was read once is gone.
    pub(crate) fn is_once_only(&self) -> bool {
        matches!(&self.way, Way::Input(spool) if !spool.is_kept())
    }

    /// Makes sure that it can be read more than once, before it is read for the first time.
    pub(crate) fn again(&self) -> Result<(), Failure> {
        match &self.way {
            Way::Input(spool) => spool.keep(),
            Way::Export(_) | Way::Folder(..) | Way::Segments(_) | Way::Socket(_) => Ok(()),
        }
    }

    /// Whether there are files in which records behind damage can be looked for.
    pub(crate) fn is_of_files(&self) -> bool {
        match &self.way {
            Way::Export(_) | Way::Folder(..) | Way::Segments(_) => true,
            Way::Input(_) | Way::Socket(_) => false,
        }
    }

    /// The files that records are in, in their order; none of what is no file.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        let folders: Vec<PathBuf> = match &self.way {
            Way::Export(path) => return Ok(vec![path.clone()]),
            Way::Input(_) | Way::Socket(_) => return Ok(Vec::new()),
            Way::Folder(dir, archive) => archive.iter().cloned().chain([dir.join("segments")]).collect(),
            Way::Segments(dir) => vec![dir.clone()],
        };
        let mut files = Vec::new();
        for folder in folders {
            let open = |source| Failure::Open { path: folder.clone(), source };
            for entry in std::fs::read_dir(&folder).map_err(open)? {
                let path = entry.map_err(open)?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if name.ends_with(".seg") || name.ends_with(".seg.zst") {
                    files.push((name, path));
                }
            }
        }
        // Their names begin with their first records.
        files.sort();
        Ok(files.into_iter().map(|(_, path)| path).collect())
    }

    /// What is read, in words.
    pub(crate) fn words(&self) -> String {
        match &self.way {
            Way::Export(path) => format!("export {}", path.display()),
            Way::Input(_) => "export on standard input".to_owned(),
            Way::Folder(dir, None) => format!("folder {}", dir.display()),
            Way::Folder(dir, Some(archive)) => {
                format!("folder {} with archive {}", dir.display(), archive.display())
            }
            Way::Segments(dir) => format!("segments in {}", dir.display()),
            Way::Socket(socket) => format!("live node at {}", socket.display()),
        }
    }

    fn open_sealed(&self, from: Seq) -> Result<(Source, Total), Failure> {
        Ok(match &self.way {
            Way::Folder(dir, None) => (Source::from_folder(dir)?, Total::Unknown),
            Way::Folder(dir, Some(archive)) => {
                (Source::from_folder_and_archive(dir, archive)?, Total::Unknown)
            }
            Way::Segments(dir) => (Source::from_segments(dir)?, Total::Unknown),
            Way::Input(spool) => (Source::from_export(BufReader::new(spool.open()?))?, Total::Unknown),
            Way::Export(path) => {
                let open = |source| Failure::Open { path: path.clone(), source };
                let inner = File::open(path).map_err(open)?;
                let len = inner.metadata().map_err(open)?.len();
                let read = Rc::new(Cell::new(0));
                let total = Total::Bytes(Rc::clone(&read), len);
                let file = BufReader::with_capacity(BUFFER_LEN, Counted { inner, read });
                (Source::from_export(file)?, total)
            }
            Way::Socket(socket) => {
                let failed = |source| Failure::Node { socket: socket.clone(), source };
                let body = http::get(socket, &format!("/v1/journal/export?from={from}")).map_err(failed)?;
                (Source::from_export(BufReader::with_capacity(BUFFER_LEN, body))?, Total::Unknown)
            }
        })
    }
}

/// A journal that is being read, and how far it is.
pub(crate) struct Opened {
    source: Source,
    progress: Progress,
}

impl Opened {
    /// See [`Source::before`].
    pub(crate) fn before(&self) -> Head {
        self.source.before()
    }

    /// See [`Source::head`].
    pub(crate) fn head(&self) -> Head {
        self.source.head()
    }

    /// See [`Source::is_excerpt`].
    pub(crate) fn is_excerpt(&self) -> bool {
        self.source.is_excerpt()
    }

    /// See [`Source::segments`].
    pub(crate) fn segments(&self) -> Vec<SealedSegment> {
        self.source.segments()
    }

    /// See [`Source::mark`].
    pub(crate) fn mark(&self) -> Mark {
        self.source.mark()
    }

    /// See [`Source::known_last`].
    pub(crate) fn known_last(&self) -> Option<Seq> {
        self.source.known_last()
    }

    /// See [`Source::may_have_evidence`].
    pub(crate) fn may_have_evidence(&self) -> bool {
        self.source.may_have_evidence()
    }

    /// See [`Source::read_through`].
    pub(crate) fn read_through<T: Send>(
        &mut self,
        look: &(impl Fn(&StoredRecord) -> T + Sync),
        mut each: impl FnMut(Scanned<T>),
    ) -> Result<(), SourceError> {
        let Opened { source, progress } = self;
        source.read_through(look, |scanned| {
            if let Scanned::Record(position, _) = &scanned {
                progress.note(position.seq);
            }
            each(scanned);
        })
    }

    /// See [`Source::next_item`].
    pub(crate) fn next_item(&mut self) -> Option<Result<Item, SourceError>> {
        let next = self.source.next_item();
        if let Some(Ok(Item::Record(stored))) = &next {
            self.progress.note(stored.header.seq);
        }
        next
    }
}

impl Iterator for Opened {
    type Item = Result<StoredRecord, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_item()? {
                Ok(Item::Record(record)) => return Some(Ok(*record)),
                Ok(Item::Evidence(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
