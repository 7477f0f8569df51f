//! What the journal is compared with: a file alone, and three stores that are known to sync before they answer.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fjall::{KeyspaceCreateOptions, PersistMode};
use redb::{Durability, TableDefinition};
use rusqlite::Connection;

use crate::group::Sink;

/// Size of the file that is there before it is written, in bytes; writing begins again at its start.
const PREALLOCATED_LEN: u64 = 256 << 20;

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

/// A name and what opens it in a path where nothing is.
pub(crate) type Reference = (&'static str, fn(&Path) -> Box<dyn Sink>);

/// All of them; the first is what ratios are taken to.
pub(crate) const REFERENCES: [Reference; 5] = [
    ("raw append + fdatasync", raw),
    ("the same, preallocated", preallocated),
    ("SQLite, WAL, synchronous=FULL", sqlite),
    ("redb, Immediate", redb),
    ("fjall, SyncAll", fjall),
];

/// From here on they are stores, before it are files.
pub(crate) const STORES_FROM: usize = 2;

/// A file that grows.
struct Raw {
    file: File,
    buffer: Vec<u8>,
}

fn raw(path: &Path) -> Box<dyn Sink> {
    let file = OpenOptions::new().create_new(true).append(true).open(path).expect("a file can be made");
    Box::new(Raw { file, buffer: Vec::new() })
}

impl Sink for Raw {
    fn commit(&mut self, frames: &[Vec<u8>]) {
        join(frames, &mut self.buffer);
        self.file.write_all(&self.buffer).expect("it can be written");
        self.file.sync_data().expect("it can be synced");
    }
}

/// A file whose blocks are there and were written before.
struct Preallocated {
    file: File,
    buffer: Vec<u8>,
    at: u64,
}

fn preallocated(path: &Path) -> Box<dyn Sink> {
    const STEP: usize = 1 << 20;
    let mut file = File::create_new(path).expect("a file can be made");
    for _ in 0..PREALLOCATED_LEN / STEP as u64 {
        file.write_all(&[0; STEP]).expect("it can be written");
    }
    file.sync_all().expect("it can be synced");
    Box::new(Preallocated { file, buffer: Vec::new(), at: 0 })
}

impl Sink for Preallocated {
    fn commit(&mut self, frames: &[Vec<u8>]) {
        join(frames, &mut self.buffer);
        let len = self.buffer.len() as u64;
        if self.at + len > PREALLOCATED_LEN {
            self.at = 0;
        }
        self.file.write_all_at(&self.buffer, self.at).expect("it can be written");
        self.file.sync_data().expect("it can be synced");
        self.at += len;
    }
}

fn join(frames: &[Vec<u8>], buffer: &mut Vec<u8>) {
    buffer.clear();
    for frame in frames {
        buffer.extend_from_slice(frame);
    }
}

/// SQLite with a write-ahead log that is synced at each commit.
struct Sqlite {
    connection: Connection,
    next: i64,
}

fn sqlite(path: &Path) -> Box<dyn Sink> {
    const FULL: i64 = 2;
    let connection = Connection::open(path).expect("a database can be made");
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .expect("the mode can be set");
    assert_eq!(mode, "wal");
    connection.pragma_update(None, "synchronous", "FULL").expect("the mode can be set");
    let synchronous: i64 =
        connection.pragma_query_value(None, "synchronous", |row| row.get(0)).expect("the mode can be read");
    assert_eq!(synchronous, FULL);
    connection
        .execute("CREATE TABLE records (seq INTEGER PRIMARY KEY, frame BLOB NOT NULL)", [])
        .expect("a table can be made");
    Box::new(Sqlite { connection, next: 1 })
}

impl Sink for Sqlite {
    fn commit(&mut self, frames: &[Vec<u8>]) {
        let transaction = self.connection.transaction().expect("a transaction can begin");
        {
            let insert = transaction.prepare_cached("INSERT INTO records VALUES (?1, ?2)");
            let mut insert = insert.expect("the statement is sound");
            for frame in frames {
                insert.execute((self.next, frame)).expect("it can be written");
                self.next += 1;
            }
        }
        transaction.commit().expect("it can be committed");
    }
}

/// redb, which syncs at each commit.
struct Redb {
    database: redb::Database,
    next: u64,
}

fn redb(path: &Path) -> Box<dyn Sink> {
    Box::new(Redb { database: redb::Database::create(path).expect("a database can be made"), next: 1 })
}

impl Sink for Redb {
    fn commit(&mut self, frames: &[Vec<u8>]) {
        let mut transaction = self.database.begin_write().expect("a transaction can begin");
        transaction.set_durability(Durability::Immediate).expect("nothing speaks against it");
        {
            let mut table = transaction.open_table(TABLE).expect("the table can be opened");
            for frame in frames {
                table.insert(self.next, frame.as_slice()).expect("it can be written");
                self.next += 1;
            }
        }
        transaction.commit().expect("it can be committed");
    }
}

/// fjall, told to sync with each batch.
struct Fjall {
    database: fjall::Database,
    records: fjall::Keyspace,
    next: u64,
}

fn fjall(path: &Path) -> Box<dyn Sink> {
    let database = fjall::Database::builder(path).open().expect("a database can be made");
    let records =
        database.keyspace("records", KeyspaceCreateOptions::default).expect("a keyspace can be made");
    Box::new(Fjall { database, records, next: 1 })
}

impl Sink for Fjall {
    fn commit(&mut self, frames: &[Vec<u8>]) {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for frame in frames {
            batch.insert(&self.records, self.next.to_be_bytes(), frame.as_slice());
            self.next += 1;
        }
        batch.commit().expect("it can be committed");
    }
}
