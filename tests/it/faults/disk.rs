//! A disk that is full: new pods are refused before it comes to that; if it does, the service stops at once, says
//! why, and nothing that it acknowledged is lost.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use purser_tests::http;
use purser_tests::journal;
use purser_tests::purserd::{Purserd, Setup};
use serde_json::{Value, json};

use super::client::{apply, assert_no_panic, assert_problem, get, sleeper};
use super::program::{self, Start};

pub(super) const MIB: usize = 1 << 20;

/// The disk is used to the last byte, with no warning before.
const NO_RESERVE: &str = "[journal.reserve]\nwarn-percent = 100\nrefuse-percent = 100\nballast-bytes = 0\n";

/// A file system in memory, unmounted when this is dropped.
pub(super) struct Disk(pub(super) PathBuf);

impl Disk {
    fn mounted(path: PathBuf, mib: u32) -> Disk {
        let (kind, data) = (Some("tmpfs"), format!("size={mib}m,mode=0700"));
        mount(kind, &path, kind, MsFlags::empty(), Some(data.as_str()))
            .expect("this test needs root to mount");
        Disk(path)
    }

    fn enlarge(&self, mib: u32) {
        let data = format!("size={mib}m");
        let kind = Some("tmpfs");
        mount(kind, &self.0, kind, MsFlags::MS_REMOUNT, Some(data.as_str())).expect("it can be made larger");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
        // What the service's own folder could not remove while this was mounted in it.
        if let Some(folder) = self.0.parent() {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// A service on a small disk of its own. Fields are dropped in order: the service goes before its disk.
pub(super) struct Scene {
    pub(super) purserd: Purserd,
    pub(super) disk: Disk,
}

impl Scene {
    /// Starts a service with these tables in its config.
    pub(super) fn start(mib: u32, free_disk_min_bytes: usize, tables: &str) -> Scene {
        let setup = Setup { more: tables.to_owned(), ..Setup::default() };
        let mut purserd = Purserd::start(&setup);
        assert!(purserd.stop().success());
        let disk = Disk::mounted(purserd.data_dir(), mib);
        let text = fs::read_to_string(purserd.config()).unwrap();
        fs::write(purserd.config(), format!("free-disk-min-bytes = {free_disk_min_bytes}\n{text}")).unwrap();
        purserd.restart();
        Scene { purserd, disk }
    }

    /// Takes up room until this much is left.
    pub(super) fn leave(&self, bytes: usize) {
        let stat = nix::sys::statvfs::statvfs(&self.disk.0).unwrap();
        let free = usize::try_from(stat.blocks_available() * stat.fragment_size()).unwrap();
        fill(&self.disk.0.join("filler"), free - bytes);
    }

    /// Gives back what was taken up.
    pub(super) fn give_back(&self) {
        fs::remove_file(self.disk.0.join("filler")).unwrap();
    }
}

/// Writes zeros until there are this many, or the disk is full.
fn fill(path: &Path, bytes: usize) {
    let mut file = File::options().create(true).append(true).open(path).unwrap();
    let block = vec![0; 4_096];
    for _ in 0..bytes / block.len() {
        match file.write(&block) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn new_pods_are_refused_before_the_disk_is_full() {
    let scene = Scene::start(48, 16 * MIB, NO_RESERVE);
    let Scene { purserd, .. } = &scene;
    let keyed = || {
        let body = sleeper("web").to_string();
        http::request(&purserd.socket(), "POST", "/v1/pods", Some("key-web"), &body).unwrap()
    };
    let first = keyed();
    assert_eq!(first.status, 201);
    purserd.purser_ok(["wait", "web", "--for=condition=Ready"]);
    scene.leave(8 * MIB);
    // What adds nothing is answered: a retry, and a pod that is there.
    let again = keyed();
    assert_eq!((again.status, &again.body["seq"]), (201, &first.body["seq"]), "{}", again.body);
    assert_eq!(apply(purserd, &sleeper("web")).status, 200);
    let refused = apply(purserd, &sleeper("shop"));
    assert_problem(&refused, 507, "disk-full", "a pod with little room left");
    assert!(refused.body["detail"].as_str().unwrap().contains("free-disk-min-bytes"), "{}", refused.body);
    purserd.purser_ok(["exec", "web", "--", "/bin/true"]);
    purserd.purser_ok(["delete", "web", "--wait"]);
    scene.give_back();
    assert_eq!(apply(purserd, &sleeper("shop")).status, 201);
    assert_no_panic(&purserd.log());
}

/// A pod that takes room in the journal and ends at once.
fn bulky(number: u32) -> Value {
    let mut manifest = sleeper(&format!("bulky-{number}"));
    manifest["metadata"]["annotations"] = json!({"bulk": "x".repeat(20_000)});
    manifest["spec"]["restartPolicy"] = json!("Never");
    manifest["spec"]["containers"][0]["command"] = json!(["/bin/true"]);
    manifest
}

/// Applies pods until the service is gone; gives the requests that it acknowledged, with key and answer.
fn apply_until_it_ends(purserd: &Purserd) -> Vec<(String, String, Value)> {
    let mut acknowledged = Vec::new();
    for number in 0..10_000 {
        let (key, body) = (format!("key-{number}"), bulky(number).to_string());
        match http::request(&purserd.socket(), "POST", "/v1/pods", Some(&key), &body) {
            Ok(answer) if answer.status == 201 => acknowledged.push((key, body, answer.body)),
            Ok(answer) => assert_problem(&answer, 503, "stopping", "a request to a service that stops"),
            Err(_) => return acknowledged,
        }
    }
    panic!("the disk does not get full");
}

#[test]
fn a_full_disk_stops_the_service_and_loses_nothing() {
    let mut scene = Scene::start(48, 0, NO_RESERVE);
    assert_eq!(apply(&scene.purserd, &sleeper("web")).status, 201);
    scene.purserd.await_event("pod.started");
    scene.leave(2 * MIB);
    let acknowledged = apply_until_it_ends(&scene.purserd);
    let status = scene.purserd.wait();
    let log = scene.purserd.log();
    assert_eq!(status.code(), Some(70), "{log}");
    assert!(log.contains("the journal cannot be written any more"), "{log}");
    assert!(log.contains("No space left on device") && log.contains("Free disk space"), "{log}");
    assert_no_panic(&log);
    assert!(acknowledged.len() > 3, "{} requests before the disk was full", acknowledged.len());
    // Not a byte more: a start says the same, and does no harm.
    fill(&scene.disk.0.join("filler"), 48 * MIB);
    match program::start(&scene.purserd.config(), &[]) {
        Start::Ended(output) => {
            let text = program::said(&output);
            assert!([70, 73].contains(&output.status.code().unwrap_or(-1)), "{:?}: {text}", output.status);
            assert!(text.contains("No space left on device"), "{text}");
        }
        Start::Ready { .. } => {}
    }
    scene.disk.enlarge(128);
    scene.purserd.restart();
    let head = get(&scene.purserd, "/v1/status")["seq"].as_u64().unwrap();
    for (key, body, first) in &acknowledged {
        assert!(first["seq"].as_u64().unwrap() <= head, "{first} is lost: the journal ends at {head}");
        let again = http::request(&scene.purserd.socket(), "POST", "/v1/pods", Some(key), body).unwrap();
        assert_eq!((&again.body["replayed"], &again.body["uid"]), (&json!(true), &first["uid"]), "{first}");
    }
    // Checks every record and the chain of hashes.
    let records = journal::records(&scene.purserd);
    let admitted = records.iter().filter(|record| record.event.layout().name == "pod.admitted").count();
    assert!(acknowledged.len() < admitted, "{admitted} pods on record");
    assert!(scene.purserd.purser_ok(["get", "pods", "web"]).contains("Running"));
    assert_no_panic(&scene.purserd.log());
}
