//! A file or folder as the disk has it and as programs see it, with all that lies between the two.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::content::Content;
use crate::random::Random;

/// Which inode, as an index.
pub(crate) type InodeId = usize;

/// A moment: later ones are larger.
pub(crate) type Moment = u64;

/// What a name stands for.
#[derive(Debug, Clone)]
pub(crate) enum Inode {
    File(FileInode),
    Folder(FolderInode),
}

/// A file.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileInode {
    /// What survives in any case.
    pub durable: Content,
    /// What programs see.
    pub live: Content,
    /// What was done since the last sync, in the order in which it began.
    pub pending: Vec<FileChange>,
}

/// One change of a file.
#[derive(Debug, Clone)]
pub(crate) struct FileChange {
    /// The call that makes it, and which part of that call it is.
    pub by: usize,
    /// When the call had returned; none while it is under way.
    pub ended: Option<Moment>,
    pub kind: FileChangeKind,
}

#[derive(Debug, Clone)]
pub(crate) enum FileChangeKind {
    Bytes { offset: u64, bytes: Arc<[u8]>, grows: bool },
    Resize { len: u64 },
}

impl FileChange {
    fn apply(&self, content: &mut Content) {
        match &self.kind {
            FileChangeKind::Bytes { offset, bytes, grows: true } => content.write(*offset, bytes),
            FileChangeKind::Bytes { offset, bytes, grows: false } => content.patch(*offset, bytes),
            FileChangeKind::Resize { len } => content.resize(*len),
        }
    }

    fn resized(&self, len: u64) -> u64 {
        match &self.kind {
            FileChangeKind::Bytes { offset, bytes, grows: true } => len.max(offset + bytes.len() as u64),
            FileChangeKind::Bytes { grows: false, .. } => len,
            FileChangeKind::Resize { len } => *len,
        }
    }

    /// Whether it matters which of two changes comes first.
    fn collides(&self, other: &FileChange) -> bool {
        use FileChangeKind::Bytes;
        match (&self.kind, &other.kind) {
            (Bytes { offset: a, bytes: in_a, .. }, Bytes { offset: b, bytes: in_b, .. }) => {
                *a < b + in_b.len() as u64 && *b < a + in_a.len() as u64
            }
            (Bytes { .. }, FileChangeKind::Resize { .. }) | (FileChangeKind::Resize { .. }, _) => true,
        }
    }
}

/// How a loss tears what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tear {
    /// Bytes that a disk writes as one.
    pub sector: u64,
    /// How many of a hundred sectors had been written back fully.
    pub kept: u64,
}

impl FileInode {
    /// Begins a change; false if another that is under way could come before or after it.
    pub(crate) fn begin(&mut self, by: usize, kind: FileChangeKind) -> bool {
        let change = FileChange { by, ended: None, kind };
        let alone = !self
            .pending
            .iter()
            .any(|other| other.ended.is_none() && other.by != by && other.collides(&change));
        self.pending.push(change);
        alone
    }

    /// The changes of a call were made, the bytes of them only as far as `done`; none if the call failed.
    pub(crate) fn end(&mut self, by: usize, done: Option<usize>, now: Moment) {
        self.pending.retain(|change| change.by != by || change.ended.is_some() || done.is_some());
        let mine = self.pending.iter_mut().filter(|change| change.by == by && change.ended.is_none());
        for change in mine {
            change.ended = Some(now);
            if let (FileChangeKind::Bytes { bytes, grows: true, .. }, Some(done)) = (&mut change.kind, done)
                && done < bytes.len()
            {
                *bytes = bytes[..done].into();
            }
            change.apply(&mut self.live);
        }
    }

    /// All that had ended before the sync began is safe now.
    pub(crate) fn synced(&mut self, began: Moment) {
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let safe = change.ended.is_some_and(|ended| ended < began);
            if safe {
                change.apply(durable);
            }
            !safe
        });
    }

    /// The program was killed in a call: its changes were made as far as `real`, the file that was found, has them.
    pub(crate) fn settle(&mut self, by: usize, real: &Content, now: Moment) {
        let mine = |change: &FileChange| change.by == by && change.ended.is_none();
        self.pending.retain_mut(|change| {
            if !mine(change) {
                return true;
            }
            match &mut change.kind {
                FileChangeKind::Bytes { offset, bytes, .. } => {
                    *bytes = real.bytes(*offset, bytes.len()).into();
                    !bytes.is_empty()
                }
                FileChangeKind::Resize { len } => *len == real.len(),
            }
        });
        self.end(by, Some(usize::MAX), now);
    }

    /// Writes of zeros over whatever the file has between two offsets.
    pub(crate) fn zeros(&self, from: u64, to: u64) -> Vec<FileChangeKind> {
        let written = self.live.written_in(from, to).into_iter();
        written
            .map(|(offset, len)| FileChangeKind::Bytes { offset, bytes: vec![0; len].into(), grows: false })
            .collect()
    }

    /// What is found after a loss that tears: each sector as some moment since the last sync had it, and a length
    /// as some moment had it.
    pub(crate) fn torn(&self, tear: Tear, random: &mut Random) -> Content {
        let mut content = self.durable.clone();
        let mut len = content.len();
        let mut lens = vec![len];
        let mut writes_of: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (index, change) in self.pending.iter().enumerate() {
            len = change.resized(len);
            lens.push(len);
            if let FileChangeKind::Bytes { offset, bytes, .. } = &change.kind
                && !bytes.is_empty()
            {
                let last = (offset + bytes.len() as u64 - 1) / tear.sector;
                for sector in offset / tear.sector..=last {
                    writes_of.entry(sector).or_default().push(index);
                }
            }
        }
        for (sector, writes) in writes_of {
            let kept = if random.percent(tear.kept) { writes.len() } else { random.index(writes.len() + 1) };
            for index in writes.into_iter().take(kept) {
                self.patch_sector(&mut content, index, sector * tear.sector, tear.sector);
            }
        }
        let newest = lens.len() - 1;
        let chosen = if random.percent(tear.kept) { newest } else { random.index(lens.len()) };
        content.resize(lens[chosen]);
        content
    }

    fn patch_sector(&self, content: &mut Content, change: usize, start: u64, sector: u64) {
        let FileChangeKind::Bytes { offset, bytes, .. } = &self.pending[change].kind else { return };
        let from = start.max(*offset);
        let to = (start + sector).min(offset + bytes.len() as u64);
        let place = |at: u64| usize::try_from(at - offset).expect("it is within the bytes");
        content.patch(from, &bytes[place(from)..place(to)]);
    }
}

/// A folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct FolderInode {
    /// What survives in any case.
    pub durable: BTreeMap<String, InodeId>,
    /// What programs see.
    pub live: BTreeMap<String, InodeId>,
    /// What was done since the last sync, in order.
    pub pending: Vec<(Moment, FolderChange)>,
}

/// One change of a folder.
#[derive(Debug, Clone)]
pub(crate) enum FolderChange {
    Link { name: String, inode: InodeId },
    Unlink { name: String },
    Rename { from: String, to: String },
}

impl FolderChange {
    fn apply(&self, entries: &mut BTreeMap<String, InodeId>) {
        match self {
            FolderChange::Link { name, inode } => drop(entries.insert(name.clone(), *inode)),
            FolderChange::Unlink { name } => drop(entries.remove(name)),
            FolderChange::Rename { from, to } => {
                if let Some(inode) = entries.remove(from) {
                    entries.insert(to.clone(), inode);
                }
            }
        }
    }
}

impl FolderInode {
    pub(crate) fn change(&mut self, now: Moment, change: FolderChange) {
        change.apply(&mut self.live);
        self.pending.push((now, change));
    }

    /// All that had ended before the sync began is safe now.
    pub(crate) fn synced(&mut self, began: Moment) {
        let safe = self.pending.partition_point(|(ended, _)| *ended < began);
        for (_, change) in self.pending.drain(..safe) {
            change.apply(&mut self.durable);
        }
    }

    /// What is found after a loss: the changes up to some moment, as every journal of a file system keeps them.
    pub(crate) fn torn(&self, tear: Tear, random: &mut Random) -> BTreeMap<String, InodeId> {
        let all = self.pending.len();
        let kept = if random.percent(tear.kept) { all } else { random.index(all + 1) };
        let mut entries = self.durable.clone();
        self.pending[..kept].iter().for_each(|(_, change)| change.apply(&mut entries));
        entries
    }
}
