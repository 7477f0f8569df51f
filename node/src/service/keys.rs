//! `purserd keys`: the keys that seal the journal.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use purser_actors::port::Clock;
use purser_storage::checkpoint::Seed;
use purser_storage::sealing::{KeyFile, KeyFileError, SealingError, SealingKey};

use super::assembly;
use super::exit::Failure;
use crate::adapter::clock::SystemClock;
use crate::adapter::volumes::private_folder;
use crate::config::{self, Surroundings};

/// Where randomness comes from: unlike `urandom`, it waits early in a boot until there is some.
const RANDOM: &str = "/dev/random";

/// Why there is no key, or none to show.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeysError {
    #[error("failed to make the folder `{path}`")]
    Folder { path: PathBuf, source: io::Error },
    #[error("failed to read `{path}`")]
    Read { path: &'static str, source: io::Error },
    #[error(transparent)]
    File(#[from] KeyFileError),
    #[error(transparent)]
    Key(#[from] SealingError),
    #[error("there is no key at `{path}`: `purserd keys setup` makes one")]
    None { path: PathBuf },
}

/// A seed that nobody can guess.
pub(super) fn seed() -> io::Result<Seed> {
    Seed::read_from(&mut File::open(RANDOM)?)
}

/// Fills a buffer with bytes that nobody can guess.
pub(super) fn fill(buffer: &mut [u8]) -> io::Result<()> {
    File::open(RANDOM)?.read_exact(buffer)
}

/// Makes the first key. Nothing that is there is written over.
pub(super) fn setup(file: Option<&Path>, name: Option<&str>) -> Result<(), Failure> {
    let config = config::load(file, &Surroundings::of_process())?;
    assembly::make_data_dir(&config.data_dir)?;
    let path = config.key_file();
    let key = make(&path, name).map_err(Failure::Keys)?;
    println!("{}", key.verifier());
    eprintln!(
        "The line above is the verifier key of this journal. Keep it off this host, where the host's root cannot \
         change it: whoever reads it from this host later has proof of nothing. `purser-replay verify --key` asks for \
         it.\nThe secret key is in `{}` and is replaced while the node runs: keep that file out of backups and \
         snapshots. Sealing begins with the next start of purserd.",
        path.display()
    );
    Ok(())
}

fn make(path: &Path, name: Option<&str>) -> Result<SealingKey, KeysError> {
    if let Some(folder) = path.parent() {
        private_folder(folder).map_err(|source| KeysError::Folder { path: folder.to_path_buf(), source })?;
    }
    let origin = name.map_or_else(default_name, |name| Ok(name.to_owned()))?;
    let seed = seed().map_err(|source| KeysError::Read { path: RANDOM, source })?;
    let key = SealingKey::first(&origin, &seed, SystemClock.now())?;
    KeyFile::create(path, &key)?;
    Ok(key)
}

/// A name that no other journal has, nor this one if it is given a new first key.
fn default_name() -> Result<String, KeysError> {
    const HOSTNAME: &str = "/proc/sys/kernel/hostname";
    let host = fs::read_to_string(HOSTNAME).map_err(|source| KeysError::Read { path: HOSTNAME, source })?;
    let mut number = [0; 4];
    let read = File::open(RANDOM).and_then(|mut random| random.read_exact(&mut number));
    read.map_err(|source| KeysError::Read { path: RANDOM, source })?;
    Ok(format!("purser/{}/{:08x}", host.trim(), u32::from_be_bytes(number)))
}

/// Says which key is in force.
pub(super) fn show(file: Option<&Path>) -> Result<(), Failure> {
    let config = config::load(file, &Surroundings::of_process())?;
    let path = config.key_file();
    if !path.exists() {
        return Err(Failure::Keys(KeysError::None { path }));
    }
    // The node may be at work on the file: nothing is touched.
    let key = KeyFile::peek(&path).map_err(|error| Failure::Keys(error.into()))?;
    let start = key.start();
    println!("journal     {}", key.origin());
    println!("period      {}, since {}, from record {} on", start.number, start.started_at, start.size + 1);
    println!("key         {}", key.verifier());
    if start.number > 0 {
        eprintln!("This is not the first key: what `purserd keys setup` printed is what an auditor needs.");
    }
    Ok(())
}
