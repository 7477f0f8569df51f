//! Tests of the key file: round trips, what is refused, and every state in which a crash can leave its folder.

use std::os::unix::fs::FileExt;
use std::os::unix::fs::PermissionsExt;

use purser_events::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::frame::Hash;

const ROOT: Hash = [5; 32];

fn seed(byte: u8) -> Seed {
    Seed::read_from(&mut &[byte; Seed::LEN][..]).unwrap()
}

fn first() -> SealingKey {
    SealingKey::first("gpu-node/5f0c", &seed(0xa1), Timestamp(7)).unwrap()
}

fn second() -> SealingKey {
    first().succeed(&seed(0xb2), 12, &ROOT, Timestamp(9)).unwrap()
}

/// A folder with the first key in it.
fn folder() -> (TempDir, PathBuf, KeyFile) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("sealing.key");
    let file = KeyFile::create(&path, &first()).unwrap();
    (folder, path, file)
}

fn names(folder: &TempDir) -> Vec<String> {
    let names = fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[track_caller]
fn assert_same(found: &SealingKey, expected: &SealingKey) {
    assert_eq!(found.verifier(), expected.verifier());
    assert_eq!(found.signer.secret(), expected.signer.secret());
    assert_eq!(found.appointment(), expected.appointment());
}

/// Loads the key and checks that it is this one and that nothing lies beside it.
#[track_caller]
fn assert_holds(folder: &TempDir, path: &Path, expected: &SealingKey) {
    let (_, found) = KeyFile::load(path).unwrap();
    assert_same(&found, expected);
    assert_eq!(names(folder), ["sealing.key"]);
}

/// All bytes of a file that may have lost its name since it was opened.
fn content(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn a_key_is_read_as_it_was_written_and_is_private() {
    let (folder, path, _) = folder();
    assert_holds(&folder, &path, &first());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::metadata(&path).unwrap().nlink(), 1);
}

#[test]
fn the_next_key_takes_over_and_the_old_one_is_erased() {
    let (folder, path, file) = folder();
    let old = File::open(&path).unwrap();
    assert!(content(&old).windows(32).any(|bytes| bytes == [0xa1; 32]), "the secret is in the file");
    file.replace(&second()).unwrap();
    assert_holds(&folder, &path, &second());
    let erased = content(&old);
    assert!(!erased.is_empty() && erased.iter().all(|byte| *byte == 0), "{erased:?}");
    assert_eq!(old.metadata().unwrap().nlink(), 0);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn a_first_key_never_takes_the_place_of_another() {
    let (folder, path, _) = folder();
    let other = SealingKey::first("gpu-node/5f0c", &seed(0xcc), Timestamp(8)).unwrap();
    assert!(matches!(KeyFile::create(&path, &other), Err(KeyFileError::Exists { .. })));
    assert_holds(&folder, &path, &first());
}

#[test]
fn only_the_appointed_key_replaces_the_present_one() {
    let (folder, path, file) = folder();
    let third = second().succeed(&seed(0xc3), 13, &ROOT, Timestamp(10)).unwrap();
    let other = SealingKey::first("gpu-node/5f0c", &seed(0xcc), Timestamp(8)).unwrap();
    for key in [third, other, first()] {
        assert!(matches!(file.replace(&key), Err(KeyFileError::NotTheNext { .. })));
    }
    assert_holds(&folder, &path, &first());
    file.replace(&second()).unwrap();
    assert!(matches!(file.replace(&second()), Err(KeyFileError::NotTheNext { .. })));
    assert_holds(&folder, &path, &second());
}

#[test]
fn a_crash_before_the_takeover_keeps_the_present_key() {
    let (folder, path, file) = folder();
    let new = file.beside("new");
    for len in [0, 1, 40, encode(&second()).len()] {
        fs::write(&new, &encode(&second())[..len]).unwrap();
        let leftover = File::open(&new).unwrap();
        assert_holds(&folder, &path, &first());
        assert!(content(&leftover).iter().all(|byte| *byte == 0), "of a key cut at {len}");
    }
    // Between the second name of the present key and the rename.
    fs::write(&new, &*encode(&second())).unwrap();
    fs::hard_link(&path, file.beside("old")).unwrap();
    assert_holds(&folder, &path, &first());
    file.replace(&second()).unwrap();
    assert_holds(&folder, &path, &second());
}

#[test]
fn a_crash_after_the_takeover_still_erases_the_old_key() {
    let (folder, path, file) = folder();
    fs::hard_link(&path, file.beside("old")).unwrap();
    fs::write(file.beside("new"), &*encode(&second())).unwrap();
    fs::set_permissions(file.beside("new"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(file.beside("new"), &path).unwrap();
    let old = File::open(file.beside("old")).unwrap();
    assert_holds(&folder, &path, &second());
    assert!(content(&old).iter().all(|byte| *byte == 0));
}

#[test]
fn a_crash_while_the_first_key_is_made_leaves_one_or_none() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("sealing.key");
    let new = folder.path().join("sealing.key.new");
    fs::write(&new, &encode(&second())[..20]).unwrap();
    KeyFile::create(&path, &first()).unwrap();
    assert_holds(&folder, &path, &first());
    // Both names of the one file.
    fs::hard_link(&path, &new).unwrap();
    assert_holds(&folder, &path, &first());
}

#[test]
fn a_key_that_others_could_read_is_refused() {
    let (_folder, path, file) = folder();
    for mode in [0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(KeyFile::load(&path), Err(KeyFileError::Exposed { .. })), "{mode:o}");
        assert!(matches!(file.replace(&second()), Err(KeyFileError::Exposed { .. })), "{mode:o}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(KeyFile::load(&path).is_ok());
}

#[test]
fn what_is_not_a_plain_file_is_refused() {
    let (folder, path, _) = folder();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(KeyFile::load(&link), Err(KeyFileError::Io { action: "open", .. })));
    assert!(matches!(KeyFile::load(folder.path()), Err(KeyFileError::Exposed { .. })));
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(matches!(KeyFile::load(&pipe), Err(KeyFileError::Exposed { .. })));
    let absent = KeyFile::load(&folder.path().join("absent"));
    assert!(
        matches!(absent, Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound)
    );
}

#[test]
fn every_changed_bit_of_a_key_is_noticed() {
    for key in [first(), second()] {
        let bytes = encode(&key);
        assert_same(&decode(&bytes).unwrap(), &key);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(decode(&changed).is_err(), "bit {bit} of byte {at}");
            }
        }
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "cut at {len}");
        }
        assert!(decode(&[&bytes[..], &[0]].concat()).is_err());
    }
}

#[test]
fn sound_bytes_that_contradict_themselves_are_refused() {
    let checked = |mut bytes: Vec<u8>| {
        let body_len = bytes.len() - CHECKSUM_LEN;
        let checksum = crc32c::crc32c(&bytes[..body_len]).to_le_bytes();
        bytes[body_len..].copy_from_slice(&checksum);
        decode(&bytes).unwrap_err()
    };
    let changed = |at: usize, to: u8| {
        let mut bytes = encode(&second()).to_vec();
        bytes[at] = to;
        checked(bytes)
    };
    assert_eq!(changed(8, 2), Fault::Newer(2));
    assert_eq!(changed(10, 0xb3), Fault::Damaged("its succession appoints another key"));
    assert_eq!(changed(42, 2), Fault::Damaged("its kind of key is unknown"));
    assert_eq!(changed(43, 1), Fault::Damaged("its length differs from the one it tells"));
    assert_eq!(changed(HEADER_LEN + 18, 2), Fault::Newer(2));
    assert_eq!(changed(HEADER_LEN, 0), Fault::Damaged("its succession is none"));
}

#[test]
fn the_longest_key_fits() {
    let origin = "a".repeat(crate::checkpoint::KEY_NAME_LEN_MAX);
    let first = SealingKey::first(&origin, &seed(1), Timestamp(7)).unwrap();
    let second = first.succeed(&seed(2), 12, &ROOT, Timestamp(9)).unwrap();
    assert_eq!(encode(&second).len(), LEN_MAX);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("key");
    KeyFile::create(&path, &first).unwrap().replace(&second).unwrap();
    assert_same(&KeyFile::load(&path).unwrap().1, &second);
    let mut longer = OpenOptions::new().append(true).open(&path).unwrap();
    longer.write_all(&[0]).unwrap();
    assert!(matches!(KeyFile::load(&path), Err(KeyFileError::Damaged { .. })));
}
