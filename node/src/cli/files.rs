//! Manifests on the operator's side: files, folders and standard input.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::failure::Failure;
use crate::manifest::{self, Limits};

/// A document and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    /// The file, and which document of it if there are several.
    pub(super) place: String,
    /// What it says.
    pub(super) value: Value,
}

/// Reads every document of these files, in order; a folder stands for the manifests right in it, by name. A file that
/// cannot be read does not hide the others.
pub(super) fn read_each(paths: &[PathBuf]) -> Vec<Result<Document, Failure>> {
    let mut documents = Vec::new();
    for path in paths {
        let files = match expand(path) {
            Ok(files) => files,
            Err(failure) => {
                documents.push(Err(failure));
                continue;
            }
        };
        for file in files {
            match read(&file) {
                Ok(of_file) => documents.extend(of_file.into_iter().map(Ok)),
                Err(failure) => documents.push(Err(failure)),
            }
        }
    }
    documents
}

fn expand(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if path == Path::new("-") || !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let fail = |source| Failure::File { path: path.to_path_buf(), source };
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(fail)? {
        let file = entry.map_err(fail)?.path();
        let extension = file.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        let message = "the folder has no *.yaml, *.yml or *.json file".to_owned();
        return Err(Failure::Manifest { place: path.display().to_string(), message });
    }
    files.sort();
    Ok(files)
}

/// What a file or standard input (`-`) is called, and what is in it: as much as is read of it, and a byte more if there
/// is more. That tells a file that is too large without reading it all.
pub(super) fn read_text(path: &Path, bytes_max: usize) -> Result<(String, Vec<u8>), Failure> {
    let fail = |source| Failure::File { path: path.to_path_buf(), source };
    let len_max = bytes_max as u64 + 1;
    let mut text = Vec::new();
    let (place, read) = if path == Path::new("-") {
        ("standard input".to_owned(), std::io::stdin().lock().take(len_max).read_to_end(&mut text))
    } else {
        let file = File::open(path).map_err(fail)?;
        (path.display().to_string(), file.take(len_max).read_to_end(&mut text))
    };
    read.map_err(fail)?;
    Ok((place, text))
}

fn read(path: &Path) -> Result<Vec<Document>, Failure> {
    let limits = Limits::default();
    let (place, text) = read_text(path, limits.text_bytes_max)?;
    let values = manifest::documents(&text, &limits)
        .map_err(|error| Failure::Manifest { place: place.clone(), message: error.to_string() })?;
    if values.is_empty() {
        return Err(Failure::Usage(format!("{place}: there is no document in it")));
    }
    let several = values.len() > 1;
    let place_of = |index: usize| {
        if several { format!("{place}, document {}", index + 1) } else { place.clone() }
    };
    let document = |(index, value)| Document { place: place_of(index), value };
    Ok(values.into_iter().enumerate().map(document).collect())
}
