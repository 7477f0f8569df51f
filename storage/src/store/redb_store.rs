//! The store on redb: one table of bytes in one file, for those who would rather not have sled.
//!
//! A batch is a commit that redb keeps in memory ([`Durability::None`]); a sync is an empty commit that is not, and
//! takes all before it along. redb copies on write: after a crash the file holds what was last synced, never a part
//! of a batch. What was applied since is lost, with a killed process too, where sled would still have some of it.
//! Until a sync, redb reuses no page that the file needs: a writer that never syncs makes the file grow.
//!
//! redb looks at checksums only when it repairs or is asked to: otherwise it shows a damaged page as it is, or panics
//! over it. So opening asks, which reads the whole file: damage is then an error, or the store opens as it was at an
//! earlier sync. Damage done while it is open stays unseen or makes redb panic: its calls run under
//! [`crate::panic_guard`], and values that matter need a checksum of their own.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition, TableError, TableHandle,
};

use super::{Backend, Batch, Store, StoreError, Visit};
use crate::panic_guard;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("journal");

/// Bytes of a block in which the system counts what a file takes, whatever the file system's own are.
const BLOCK_LEN: u64 = 512;

/// A store in a file of its own, in a folder of its own.
#[derive(Debug)]
pub struct RedbStore {
    path: PathBuf,
    db: Database,
}

impl RedbStore {
    /// Opens the store in `index.redb` of the folder `path`, which is made if it is absent, with `cache_bytes` of
    /// memory to keep pages in. Takes time in proportion to the file's length.
    ///
    /// # Errors
    /// The file cannot be made, read or locked, is damaged, or is not a journal's.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<RedbStore, StoreError> {
        let file = path.join("index.redb");
        panic_guard::reading(path, || open_table(path, &file, cache_bytes))
            .map(|db| RedbStore { path: file.clone(), db })
            .map_err(|error| failed("open", &file, error))
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), redb::Error> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(durability)?;
        if !batch.writes.is_empty() {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in &batch.writes {
                match value {
                    Some(value) => drop(table.insert(key.as_slice(), value.as_slice())?),
                    None => drop(table.remove(key.as_slice())?),
                }
            }
        }
        Ok(transaction.commit()?)
    }

    /// The table as it is now, whatever is written later.
    fn table(&self) -> Result<ReadOnlyTable<&'static [u8], &'static [u8]>, redb::Error> {
        Ok(self.db.begin_read()?.open_table(TABLE)?)
    }

    fn read<T>(&self, read: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, StoreError> {
        panic_guard::reading(&self.path, read).map_err(|error| failed("read", &self.path, error))
    }
}

/// Opens the database and sees to it that the table and the file's name are there for good.
fn open_table(folder: &Path, file: &Path, cache_bytes: u64) -> Result<Database, redb::Error> {
    std::fs::create_dir_all(folder)?;
    let mut builder = Builder::new();
    builder.set_cache_size(usize::try_from(cache_bytes).unwrap_or(usize::MAX));
    builder.set_check_integrity_on_open(true);
    let db = builder.create(file)?;
    let transaction = db.begin_read()?;
    match transaction.open_table(TABLE) {
        Ok(_) => {}
        Err(TableError::TableDoesNotExist(_)) => {
            if let Some(table) = transaction.list_tables()?.next() {
                let text = format!("it holds a table `{}` and none of a journal", table.name());
                return Err(io::Error::new(io::ErrorKind::InvalidData, text).into());
            }
            let transaction = db.begin_write()?;
            drop(transaction.open_table(TABLE)?);
            transaction.commit()?;
        }
        Err(error) => return Err(error.into()),
    }
    File::open(folder)?.sync_all()?;
    Ok(db)
}

fn failed(action: &'static str, path: &Path, error: impl Into<redb::Error>) -> StoreError {
    StoreError { action, path: path.to_owned(), source: error.into().into() }
}

impl Store for RedbStore {
    fn name(&self) -> &'static str {
        Backend::Redb.name()
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        // To write is to read the pages that change.
        panic_guard::reading(&self.path, || self.commit(batch, Durability::None))
            .map_err(|error| failed("write to", &self.path, error))
    }

    fn sync(&self) -> Result<(), StoreError> {
        panic_guard::reading(&self.path, || self.commit(Batch::default(), Durability::Immediate))
            .map_err(|error| failed("sync", &self.path, error))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|| Ok(self.table()?.get_owned(key)?.map(|value| value.value().to_vec())))
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        let mut pairs = self.read(|| Ok(self.table()?.range_owned(from..to)?))?;
        // Only redb's own steps are guarded: a panic of the visitor says nothing about the file.
        while let Some((key, value)) = self.read(|| Ok(pairs.next().transpose()?))? {
            if let ControlFlow::Break(()) = visit(key.value(), value.value()) {
                break;
            }
        }
        Ok(())
    }

    fn last_key(&self, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if from >= to {
            return Ok(None);
        }
        self.read(|| {
            let last = self.table()?.range_owned(from..to)?.next_back().transpose()?;
            Ok(last.map(|(key, _)| key.value().to_vec()))
        })
    }

    /// The file grows in leaps and has holes: only what is not a hole counts.
    fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        let file = std::fs::metadata(&self.path).map_err(|error| failed("measure", &self.path, error))?;
        Ok(file.blocks() * BLOCK_LEN)
    }
}
