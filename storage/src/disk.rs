//! The file system as the journal needs it: few calls, so that every one of them can be made to fail in a test.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;

/// How full a file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that are used.
    pub used: u64,
    /// Bytes that may still be used.
    pub available: u64,
}

impl Space {
    /// The used part in percent, rounded down, of what is not kept for the superuser.
    #[must_use]
    pub fn used_percent(&self) -> u8 {
        let all = u128::from(self.used) + u128::from(self.available);
        if all == 0 {
            return 100;
        }
        u8::try_from(u128::from(self.used) * 100 / all).unwrap_or(100)
    }

    /// What it would be with so many bytes less in use.
    #[must_use]
    pub fn with_room(&self, bytes: u64) -> Space {
        let given = bytes.min(self.used);
        Space { used: self.used - given, available: self.available.saturating_add(given) }
    }

    /// What it would be with so many bytes more in use.
    pub(crate) fn after(&self, bytes: u64) -> Space {
        let taken = bytes.min(self.available);
        Space { used: self.used + taken, available: self.available - taken }
    }
}

/// Files and folders.
pub trait Disk: Send + Sync + 'static {
    /// Makes a file that must not be there yet, readable by its owner alone, and opens it.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that is there, to write as well if asked.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, path: &Path, to_write: bool) -> io::Result<Box<dyn DiskFile>>;

    /// Makes a folder and those above it, for their owner alone; one that is there is left as it is.
    ///
    /// # Errors
    /// What the system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, in no order.
    ///
    /// # Errors
    /// What the system says.
    fn names(&self, dir: &Path) -> io::Result<Vec<OsString>>;

    /// Gives a file or folder another name; a file of that name is replaced.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Returns once the names in a folder survive a loss of power.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// How full the file system is that a folder is on.
    ///
    /// # Errors
    /// What the system says; it may not be known.
    fn space(&self, dir: &Path) -> io::Result<Space> {
        let _ = dir;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// One open file.
pub trait DiskFile: Send + Sync {
    /// Reads at most the buffer's length; 0 at the end of the file.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes some of the bytes and says how many.
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize>;

    /// Its length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn len(&self) -> io::Result<u64>;

    /// Cuts it, or lengthens it with zeros.
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes it that long at least and holds the room on the disk.
    ///
    /// # Errors
    /// What the system says, as when there is no room.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Returns once its bytes survive a loss of power. Never called again after an error.
    ///
    /// # Errors
    /// What the system says.
    fn sync_data(&self) -> io::Result<()>;

    /// Whether it has no byte.
    ///
    /// # Errors
    /// What the system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

impl dyn DiskFile + '_ {
    /// Writes all of the bytes.
    pub(crate) fn write_all_at(&self, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    bytes = bytes.get(count..).unwrap_or_default();
                    at += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Fills as much of the buffer as there is to read.
    pub(crate) fn read_up_to(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut len = 0;
        while let Some(rest) = buffer.get_mut(len..).filter(|rest| !rest.is_empty()) {
            match self.read_at(rest, at + len as u64) {
                Ok(0) => break,
                Ok(count) => len += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(len)
    }
}

impl dyn Disk + '_ {
    /// The first `len_max` bytes of a file; none if it is absent.
    pub(crate) fn read_small(&self, path: &Path, len_max: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match self.open(path, false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let len = usize::try_from(file.len()?).unwrap_or(usize::MAX).min(len_max);
        let mut bytes = vec![0; len];
        let read = file.read_up_to(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(Some(bytes))
    }

    /// Puts a file with these bytes in the place of the one of that name, durable: it is there whole or not at all.
    /// `new` is where it is written first.
    pub(crate) fn replace(&self, path: &Path, new: &Path, bytes: &[u8]) -> io::Result<()> {
        self.replace_by_parts(path, new, &[bytes])
    }

    /// The same with bytes that lie in several places.
    pub(crate) fn replace_by_parts(&self, path: &Path, new: &Path, parts: &[&[u8]]) -> io::Result<()> {
        self.remove_if_there(new)?;
        let file = self.create(new)?;
        let mut at = 0;
        for part in parts {
            file.write_all_at(part, at)?;
            at += part.len() as u64;
        }
        file.sync_data()?;
        self.rename(new, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }

    /// Whether a file is known not to be there.
    pub(crate) fn is_absent(&self, path: &Path) -> bool {
        self.open(path, false).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Removes a file that need not be there.
    pub(crate) fn remove_if_there(&self, path: &Path) -> io::Result<()> {
        match self.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// The system's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path, to_write: bool) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(to_write).open(path)?))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let stat = statvfs(dir)?;
        // The types differ between platforms; on all of them they fit.
        let unit = u128::from(stat.fragment_size());
        let bytes = |blocks: u128| u64::try_from(blocks * unit).unwrap_or(u64::MAX);
        let used = u128::from(stat.blocks()).saturating_sub(stat.blocks_free().into());
        Ok(Space { used: bytes(used), available: bytes(stat.blocks_available().into()) })
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, at)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let wanted = i64::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let allocated = loop {
            match fallocate(self.as_fd(), FallocateFlags::empty(), 0, wanted) {
                Err(nix::errno::Errno::EINTR) => {}
                allocated => break allocated,
            }
        };
        match allocated {
            // Some file systems cannot: the file then takes its room as it is written.
            Err(nix::errno::Errno::EOPNOTSUPP) if self.metadata()?.len() < len => File::set_len(self, len),
            Err(nix::errno::Errno::EOPNOTSUPP) => Ok(()),
            result => Ok(result?),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
}
