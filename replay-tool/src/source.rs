//! Which journal is read, and by which way.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use purser_events::Seq;
use purser_storage::offline::Source;
use purser_storage::subjects::SubjectKeys;

use crate::cli::SourceArgs;
use crate::failure::Failure;
use crate::{Surroundings, http};

/// Where a journal is read from, and with which keys.
#[derive(Debug)]
pub(crate) struct Place {
    way: Way,
    /// The folder with the keys of pods, if one is given.
    subject_keys: Option<PathBuf>,
}

/// How a journal is reached.
#[derive(Debug)]
enum Way {
    Export(PathBuf),
    Input(fn() -> Box<dyn Read>),
    /// With the archive of what was trimmed from it, if one is given.
    Folder(PathBuf, Option<PathBuf>),
    Socket(PathBuf),
}

impl SourceArgs {
    /// The journal that the command line means.
    pub(crate) fn place(&self, surroundings: &Surroundings) -> Result<Place, Failure> {
        if self.archive.is_some() && self.dir.is_none() {
            return Err(Failure::ArchiveAlone);
        }
        let way = self.way(surroundings)?;
        Ok(Place { way, subject_keys: self.subject_keys.clone() })
    }

    fn way(&self, surroundings: &Surroundings) -> Result<Way, Failure> {
        match (&self.export, &self.dir, &self.socket) {
            (Some(path), None, None) if path == Path::new("-") => Ok(Way::Input(surroundings.input)),
            (Some(path), None, None) => Ok(Way::Export(path.clone())),
            (None, Some(dir), None) => Ok(Way::Folder(dir.clone(), self.archive.clone())),
            (None, None, Some(socket)) => Ok(Way::Socket(socket.clone())),
            (None, None, None) => default_place(surroundings),
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
    /// Opens the journal. Records before `from` need not be among those read.
    pub(crate) fn open(&self, from: Seq) -> Result<Source, Failure> {
        let source = self.open_sealed(from)?;
        Ok(match &self.subject_keys {
            Some(dir) => source.with_keys(SubjectKeys::to_read(dir)),
            None => source,
        })
    }

    /// Whether a live node is asked.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.way, Way::Socket(_))
    }

    /// Whether it can be read only once.
    pub(crate) fn is_once_only(&self) -> bool {
        matches!(self.way, Way::Input(_))
    }

    /// Checks that it can be read more than once.
    pub(crate) fn again(&self) -> Result<(), Failure> {
        if self.is_once_only() { Err(Failure::OnceOnly) } else { Ok(()) }
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
            Way::Socket(socket) => format!("live node at {}", socket.display()),
        }
    }

    fn open_sealed(&self, from: Seq) -> Result<Source, Failure> {
        Ok(match &self.way {
            Way::Folder(dir, None) => Source::from_folder(dir)?,
            Way::Folder(dir, Some(archive)) => Source::from_folder_and_archive(dir, archive)?,
            Way::Input(input) => Source::from_export(BufReader::new(input()))?,
            Way::Export(path) => {
                let open = |source| Failure::Open { path: path.clone(), source };
                Source::from_export(BufReader::with_capacity(1 << 18, File::open(path).map_err(open)?))?
            }
            Way::Socket(socket) => {
                let failed = |source| Failure::Node { socket: socket.clone(), source };
                let body = http::get(socket, &format!("/v1/journal/export?from={from}")).map_err(failed)?;
                Source::from_export(BufReader::with_capacity(1 << 18, body))?
            }
        })
    }
}
