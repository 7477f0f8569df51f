//! Which journal is read, and by which way.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use purser_events::Seq;
use purser_storage::offline::Source;

use crate::cli::SourceArgs;
use crate::failure::Failure;
use crate::{Surroundings, http};

/// Where a journal is read from.
#[derive(Debug)]
pub(crate) enum Place {
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
        match (&self.export, &self.dir, &self.socket) {
            (Some(path), None, None) if path == Path::new("-") => Ok(Place::Input(surroundings.input)),
            (Some(path), None, None) => Ok(Place::Export(path.clone())),
            (None, Some(dir), None) => Ok(Place::Folder(dir.clone(), self.archive.clone())),
            (None, None, Some(socket)) => Ok(Place::Socket(socket.clone())),
            (None, None, None) => default_place(surroundings),
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
                Err(Failure::ManySources)
            }
        }
    }
}

fn default_place(surroundings: &Surroundings) -> Result<Place, Failure> {
    if let Some(socket) = &surroundings.socket {
        return Ok(Place::Socket(socket.clone()));
    }
    let sockets = &surroundings.standard_sockets;
    let found = sockets.iter().find(|socket| socket.exists());
    found.cloned().map(Place::Socket).ok_or_else(|| {
        let looked_for = sockets.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        Failure::NoSource { looked_for }
    })
}

impl Place {
    /// Opens the journal. Records before `from` need not be among those read.
    pub(crate) fn open(&self, from: Seq) -> Result<Source, Failure> {
        Ok(match self {
            Place::Folder(dir, None) => Source::from_folder(dir)?,
            Place::Folder(dir, Some(archive)) => Source::from_folder_and_archive(dir, archive)?,
            Place::Input(input) => Source::from_export(BufReader::new(input()))?,
            Place::Export(path) => {
                let open = |source| Failure::Open { path: path.clone(), source };
                Source::from_export(BufReader::with_capacity(1 << 18, File::open(path).map_err(open)?))?
            }
            Place::Socket(socket) => {
                let failed = |source| Failure::Node { socket: socket.clone(), source };
                let body = http::get(socket, &format!("/v1/journal/export?from={from}")).map_err(failed)?;
                Source::from_export(BufReader::with_capacity(1 << 18, body))?
            }
        })
    }
}
