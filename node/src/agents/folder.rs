//! The folder of one member of a pool: what its agent needs to be let in, and nobody else's to read.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown, lchown};
use std::path::{Path, PathBuf};

use crate::adapter::volumes::private_folder;

/// The file with the token.
const TOKEN: &str = "token";
/// The socket where agents are heard, in each member's folder too.
pub(super) const SOCKET: &str = "agent.sock";

/// The folders of all members.
#[derive(Debug, Clone)]
pub(super) struct Folders {
    root: PathBuf,
}

impl Folders {
    /// Folders below `root`.
    pub(super) fn new(root: PathBuf) -> Folders {
        Folders { root }
    }

    /// Where the socket is that every member's folder has a link to.
    pub(super) fn socket(&self) -> PathBuf {
        self.root.join(SOCKET)
    }

    /// The folder of a member by its pod's name, which no other member ever has.
    pub(super) fn member(&self, name: &str) -> PathBuf {
        self.root.join("members").join(name)
    }

    /// Makes a member's folder, or puts it right: with the token, and a link to the socket as it is now. Blocks on the
    /// disk.
    ///
    /// # Errors
    /// The disk fails, or the folder cannot be given to the user.
    pub(super) fn make(&self, name: &str, token: &str, user: Option<u32>) -> io::Result<PathBuf> {
        let folder = self.member(name);
        private_folder(&folder)?;
        fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
        replace(&folder.join(TOKEN), |draft| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
            file.write_all(token.as_bytes())?;
            // By its descriptor: the folder may be the user's already, and what stands at the path another file.
            user.map_or(Ok(()), |user| fchown(&file, Some(user), None))
        })?;
        self.link(&folder)?;
        user.map_or(Ok(()), |user| lchown(&folder, Some(user), None))?;
        Ok(folder)
    }

    fn link(&self, folder: &Path) -> io::Result<()> {
        replace(&folder.join(SOCKET), |draft| fs::hard_link(self.socket(), draft))
    }

    /// Gives every member's folder the socket as it is now: a start makes another one. Blocks on the disk.
    ///
    /// # Errors
    /// The folders cannot be read.
    pub(super) fn link_all(&self) -> io::Result<()> {
        for name in self.names()? {
            let folder = self.member(&name);
            if let Err(error) = self.link(&folder) {
                tracing::warn!(%error, folder = %folder.display(), "failed to give an agent the way to the service");
            }
        }
        Ok(())
    }

    /// The members that have a folder. Blocks on the disk.
    ///
    /// # Errors
    /// The folders cannot be read.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.root.join("members")) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        entries.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default())).collect()
    }

    /// Removes a member's folder; it is fine if there is none. Blocks on the disk.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.member(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Makes a file beside its place and moves it there: whoever looks finds the old one or the new one. A draft that a kill
/// left behind is removed first.
fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let draft = path.with_extension("new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    make(&draft)?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_member_has_its_token_and_the_socket_of_the_last_start() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::new(root.path().to_owned());
        let listen = || {
            fs::remove_file(folders.socket()).ok();
            UnixListener::bind(folders.socket()).unwrap()
        };
        let first = listen();
        let folder = folders.make("iac-1", "secret", None).unwrap();
        assert_eq!(fs::read_to_string(folder.join(TOKEN)).unwrap(), "secret");
        assert_eq!(fs::metadata(folder.join(TOKEN)).unwrap().mode() & 0o777, 0o600);
        UnixStream::connect(folder.join(SOCKET)).unwrap();
        drop(first);
        // What another test starts has it open as well, until it runs its program.
        let begun = Instant::now();
        while UnixStream::connect(folder.join(SOCKET)).is_ok() {
            assert!(begun.elapsed() < Duration::from_secs(60), "somebody listens at the socket of before");
            std::thread::yield_now();
        }
        let _second = listen();
        folders.link_all().unwrap();
        UnixStream::connect(folder.join(SOCKET)).unwrap();
        assert_eq!(folders.make("iac-1", "secret", None).unwrap(), folder, "making it again is harmless");
        folders.remove("iac-1").unwrap();
        folders.remove("iac-1").unwrap();
        assert_eq!(folders.names().unwrap(), Vec::<String>::new());
    }
}
