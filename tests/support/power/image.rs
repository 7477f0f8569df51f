//! What is found of a folder after the power was cut.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::content::Content;
use super::disk::{Disk, ROOT};
use super::inode::{Inode, InodeId, Tear};
use crate::random::Random;

/// What goes with the power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All that was not synced.
    Unsynced,
    /// A random part of what was not synced: sectors of 512 or 4,096 bytes stay as some moment since the sync had
    /// them, so writes are torn, and a folder's names stay as some moment had them.
    Torn,
}

/// A folder and all in it, by path; the folder itself is not listed.
#[derive(Debug, Clone, Default)]
pub struct Image {
    folders: Vec<PathBuf>,
    files: BTreeMap<PathBuf, Content>,
}

impl Image {
    /// What is left of `disk` if the power is cut now.
    #[must_use]
    pub fn after(disk: &Disk, loss: Loss, random: &mut Random) -> Image {
        let tear = match loss {
            Loss::Unsynced => None,
            Loss::Torn => {
                let sector = if random.percent(50) { 512 } else { 4_096 };
                // From next to nothing to next to everything.
                Some(Tear { sector, kept: [0, 10, 50, 90, 98][random.index(5)] })
            }
        };
        let mut finding = Finding { disk, image: Image::default(), seen: BTreeMap::new() };
        finding.folder(ROOT, Path::new(""), &mut |inode| match (inode, tear) {
            (Inode::File(file), Some(tear)) => Left::File(file.torn(tear, random)),
            (Inode::File(file), None) => Left::File(file.durable.clone()),
            (Inode::Folder(folder), Some(tear)) => Left::Folder(folder.torn(tear, random)),
            (Inode::Folder(folder), None) => Left::Folder(folder.durable.clone()),
        });
        finding.image
    }

    /// What programs see of `disk` while the power is on.
    #[must_use]
    pub fn live(disk: &Disk) -> Image {
        let mut finding = Finding { disk, image: Image::default(), seen: BTreeMap::new() };
        finding.folder(ROOT, Path::new(""), &mut |inode| match inode {
            Inode::File(file) => Left::File(file.live.clone()),
            Inode::Folder(folder) => Left::Folder(folder.live.clone()),
        });
        finding.image
    }

    /// What a real folder holds.
    ///
    /// # Errors
    /// Something in it cannot be read.
    pub fn read(folder: &Path) -> io::Result<Image> {
        let mut image = Image::default();
        let mut waiting = vec![PathBuf::new()];
        while let Some(path) = waiting.pop() {
            for entry in std::fs::read_dir(folder.join(&path))? {
                let entry = entry?;
                let path = path.join(entry.file_name());
                if entry.file_type()?.is_dir() {
                    image.folders.push(path.clone());
                    waiting.push(path);
                } else {
                    image.files.insert(path, Content::read(&entry.path())?);
                }
            }
        }
        Ok(image)
    }

    /// Writes it into an empty folder.
    ///
    /// # Errors
    /// Something cannot be written.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        for path in &self.folders {
            std::fs::create_dir_all(folder.join(path))?;
        }
        self.files.iter().try_for_each(|(path, content)| content.save(&folder.join(path)))
    }

    /// The content of a file.
    #[must_use]
    pub fn file(&self, path: &Path) -> Option<&Content> {
        self.files.get(path)
    }

    /// Where two images differ; none if they are the same.
    #[must_use]
    pub fn difference(&self, other: &Image) -> Option<PathBuf> {
        let names = |image: &Image| -> std::collections::BTreeSet<PathBuf> {
            image.folders.iter().chain(image.files.keys()).cloned().collect()
        };
        let (mine, theirs) = (names(self), names(other));
        let file_differs = |path: &&PathBuf| match (self.files.get(*path), other.files.get(*path)) {
            (Some(mine), Some(theirs)) => !mine.same_as(theirs),
            (Some(_), None) | (None, Some(_)) => true,
            (None, None) => false,
        };
        let name = mine.symmetric_difference(&theirs).next();
        name.or_else(|| mine.iter().find(file_differs)).cloned()
    }
}

/// What is left of one inode.
enum Left {
    File(Content),
    Folder(BTreeMap<String, InodeId>),
}

struct Finding<'a> {
    disk: &'a Disk,
    image: Image,
    /// A file with two names is one file.
    seen: BTreeMap<InodeId, Content>,
}

impl Finding<'_> {
    fn folder(&mut self, id: InodeId, path: &Path, left_of: &mut dyn FnMut(&Inode) -> Left) {
        let Left::Folder(entries) = left_of(self.disk.inode(id)) else { return };
        for (name, id) in entries {
            let path = path.join(name);
            if let Inode::Folder(_) = self.disk.inode(id) {
                self.image.folders.push(path.clone());
                self.folder(id, &path, left_of);
                continue;
            }
            if !self.seen.contains_key(&id)
                && let Left::File(content) = left_of(self.disk.inode(id))
            {
                self.seen.insert(id, content);
            }
            if let Some(content) = self.seen.get(&id) {
                self.image.files.insert(path, content.clone());
            }
        }
    }
}
