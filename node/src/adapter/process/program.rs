//! Finding the program that a command names, with an answer that says what to mend when there is none.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

/// Where programs are looked for when the environment does not say.
pub(super) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The `PATH` of an environment, of which the last entry counts.
pub(super) fn search_path(env: &[(String, String)]) -> &str {
    env.iter().rev().find(|(name, _)| name == "PATH").map_or(DEFAULT_PATH, |(_, value)| value)
}

/// Finds the file that a program's name stands for, as the shell does: a name with a slash in it is a path from
/// the working folder, any other is looked for in `search`.
///
/// # Errors
/// It is not there, or is nothing that this user may run.
pub(super) fn find(name: &str, search: &str) -> Result<PathBuf, String> {
    if name.is_empty() {
        return Err("the program's name is empty".into());
    }
    if name.contains('/') {
        let path = Path::new(name);
        return check(path).map(|()| path.to_path_buf());
    }
    let mut refused = None;
    for folder in search.split(':').filter(|folder| !folder.is_empty()) {
        let path = Path::new(folder).join(name);
        match check(&path) {
            Ok(()) => return Ok(path),
            // One that may not be run does not hide a good one further on.
            Err(why) if path.symlink_metadata().is_ok() => refused = refused.or(Some(why)),
            Err(_) => {}
        }
    }
    Err(refused.unwrap_or_else(|| format!("program `{name}` was not found in PATH ({search})")))
}

fn check(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let held = path.metadata().map_err(|error| format!("program `{shown}` cannot be run: {error}"))?;
    if held.is_dir() {
        return Err(format!("program `{shown}` is a folder"));
    }
    match access(path, AccessFlags::X_OK) {
        Ok(()) => Ok(()),
        Err(Errno::EACCES) => Err(format!("program `{shown}` is not executable for this user")),
        Err(error) => Err(format!("program `{shown}` cannot be run: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn programs_are_found_as_the_shell_finds_them() {
        let folder = tempfile::tempdir().unwrap();
        let (bad, good) = (folder.path().join("bad"), folder.path().join("good"));
        for (at, mode) in [(&bad, 0o644), (&good, 0o755)] {
            fs::create_dir(at).unwrap();
            fs::write(at.join("tool"), "#!/bin/sh\n").unwrap();
            fs::set_permissions(at.join("tool"), Permissions::from_mode(mode)).unwrap();
        }
        let search = format!("/no/such:{}:{}", bad.display(), good.display());
        assert_eq!(find("tool", &search).unwrap(), good.join("tool"));
        assert!(find("tool", bad.to_str().unwrap()).unwrap_err().contains("is not executable"));
        assert!(find("absent", &search).unwrap_err().contains("`absent` was not found in PATH (/no/such:"));
        assert!(find(good.to_str().unwrap(), "").unwrap_err().contains("is a folder"));
        assert!(find("/no/such/tool", "").unwrap_err().contains("No such file"));
        assert!(find("", "/bin").unwrap_err().contains("empty"));
    }
}
