//! Folders that look like control groups, for tests.

use std::fs;
use std::path::{Path, PathBuf};

/// A control group with these files.
pub(super) fn folder(root: &Path, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = root.join(name);
    fs::create_dir_all(&folder).unwrap();
    for (file, text) in files {
        fs::write(folder.join(file), text).unwrap();
    }
    folder
}

/// What a file of a control group says.
pub(super) fn says(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap()
}
