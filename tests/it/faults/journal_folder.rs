//! A journal folder that must not be opened: held by another, written by a newer release, read-only, not ours.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use purser_tests::purserd::{Purserd, Setup};

use super::client::{apply, sleeper};
use super::program::{assert_ended, run};

/// Every file below a folder with its bytes; sockets have none.
pub(super) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

/// A service that has run a pod to its end and was stopped.
pub(super) fn stopped_service() -> Purserd {
    stopped(&Setup::default())
}

/// As [`stopped_service`], with a setup.
pub(super) fn stopped(setup: &Setup) -> Purserd {
    let mut purserd = Purserd::start(setup);
    let mut manifest = sleeper("web");
    manifest["spec"]["containers"][0]["command"] = serde_json::json!(["/bin/true"]);
    manifest["spec"]["restartPolicy"] = serde_json::json!("Never");
    assert_eq!(apply(&purserd, &manifest).status, 201);
    purserd.await_event("pod.stopped");
    assert!(purserd.stop().success());
    purserd
}

#[test]
fn a_folder_that_another_holds_is_left_alone() {
    let purserd = Purserd::start(&Setup::default());
    let holder = format!("by process {}", purserd.pid());
    for _ in 0..2 {
        let socket = purserd.folder().join("other.sock");
        let second = run(&purserd.config(), false, &[("PURSER_API__SOCKET", socket.to_str().unwrap())]);
        assert_ended(&second, 75, &["is in use", &holder]);
        assert!(!socket.exists());
    }
    assert_eq!(apply(&purserd, &sleeper("web")).status, 201);
}

#[test]
fn a_newer_format_is_refused_and_nothing_changed() {
    let mut purserd = stopped_service();
    let journal = purserd.data_dir().join("journal");
    let format = fs::read(journal.join("format")).unwrap();
    fs::write(journal.join("format"), "{\"format\": 9, \"min-reader\": 9, \"more\": true}").unwrap();
    let before = files(&purserd.data_dir());
    let told = ["needs format 9", "start a newer release", "nothing was changed"];
    assert_ended(&run(&purserd.config(), false, &[]), 74, &told);
    assert!(before == files(&purserd.data_dir()), "files were changed");
    for broken in ["", "{", "{\"format\": \"x\"}", "[]"] {
        fs::write(journal.join("format"), broken).unwrap();
        assert_ended(&run(&purserd.config(), false, &[]), 74, &["`format` is malformed"]);
    }
    fs::remove_file(journal.join("format")).unwrap();
    assert_ended(&run(&purserd.config(), false, &[]), 74, &["it has files but no file `format`"]);
    fs::write(journal.join("format"), format).unwrap();
    purserd.restart();
}

/// A folder that is mounted over itself read-only until this is dropped.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn mounted(path: PathBuf) -> ReadOnly {
        let none: Option<&str> = None;
        mount(Some(&path), &path, none, MsFlags::MS_BIND, none).expect("this test needs root to mount");
        let guard = ReadOnly(path);
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, &guard.0, none, flags, none).expect("a mount can be made read-only");
        guard
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // Detached: whoever still has a file open keeps it.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_read_only_folder_is_named() {
    let mut purserd = stopped_service();
    {
        let _read_only = ReadOnly::mounted(purserd.data_dir());
        assert_ended(&run(&purserd.config(), false, &[]), 73, &["Read-only file system", "data"]);
    }
    {
        let _read_only = ReadOnly::mounted(purserd.data_dir().join("journal/sled"));
        assert_ended(&run(&purserd.config(), false, &[]), 73, &["Read-only file system", "sled"]);
    }
    {
        let _read_only = ReadOnly::mounted(purserd.data_dir().join("journal/segments"));
        assert_ended(&run(&purserd.config(), false, &[]), 73, &["Read-only file system", ".seg"]);
    }
    purserd.restart();
    assert!(purserd.purser_ok(["get", "pods"]).contains("web"));
}
