//! Folders that are in use, foreign, or of another format.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use purser_storage::{FolderError, JournalError};

use crate::support::*;

/// A folder in memory where that is possible, for tests whose syncs would only cost time.
pub(crate) fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

/// Every file below a folder with its bytes.
pub(crate) fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// Copies a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    for (path, bytes) in contents(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, bytes).unwrap();
    }
}

#[tokio::test]
async fn a_folder_of_a_newer_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 3).await;
    fs::write(dir.path().join("format"), r#"{"format":4,"min-reader":3,"more":true}"#).unwrap();
    let before = contents(dir.path());
    let error = open(dir.path()).unwrap_err();
    assert!(
        matches!(&error, JournalError::Folder(FolderError::NewerFormat { needed: 3, .. })),
        "{}",
        told(&error)
    );
    assert!(error.to_string().contains("start a newer release"), "{error}");
    assert_eq!(contents(dir.path()), before);
    // A newer release may say that this one can still read it.
    fs::write(dir.path().join("format"), r#"{"format":3,"min-reader":2}"#).unwrap();
    assert_eq!(open(dir.path()).unwrap().1.len(), 3);
}

#[test]
fn foreign_folders_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.txt"), "draft").unwrap();
    let before = contents(dir.path());
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(&error, JournalError::Folder(FolderError::Foreign { .. })), "{}", told(&error));
    assert_eq!(contents(dir.path()), before);
    let dir = tempfile::tempdir().unwrap();
    for format in ["", "{", "{\"format\":-1,\"min-reader\":0}", "\0\0\0"] {
        fs::write(dir.path().join("format"), format).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(told(&error).contains("`format` is malformed"), "{}", told(&error));
    }
}

#[tokio::test]
async fn a_folder_in_use_is_refused_by_its_holders_pid() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _, _) = open(dir.path()).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(error.to_string().contains(&format!("in use by process {}", std::process::id())), "{error}");
    journal.append(append(stream(1), 0, &["still alive"])).await.unwrap();
    journal.close().unwrap();
    assert_eq!(open(dir.path()).unwrap().1.len(), 1);
}

#[tokio::test]
async fn a_handle_that_is_dropped_releases_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    for opening in 1..4 {
        let (journal, replayed, _) = open(dir.path()).unwrap();
        assert_eq!((journal.epoch(), replayed.len() as u64), (opening, opening - 1));
        journal.append(append(stream(1), opening - 1, &["x"])).await.unwrap();
    }
}

#[test]
fn folders_are_made_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("var/journal");
    open(&dir).unwrap();
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
}
