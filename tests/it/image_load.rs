//! `purser image load`: an archive that lies with the operator becomes an image of the node, or it is said why not.

use std::fs;
use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use purser_tests::binaries::Binaries;
use purser_tests::bounded::{self, PATIENCE};
use purser_tests::containerd::Containerd;
use purser_tests::http;
use purser_tests::images::{Images, must};
use purser_tests::purserd::{Purserd, Setup};
use serde_json::Value;

/// A service on a containerd of its own that has no image. Fields are dropped in order.
struct Node {
    purserd: Purserd,
    containerd: Containerd,
}

impl Node {
    fn start() -> Node {
        let containerd = Containerd::start();
        let snapshotter = containerd.config().snapshotter;
        let purserd = Purserd::start(&Setup {
            containerd_socket: Some(containerd.socket()),
            containerd_more: format!("snapshotter = {snapshotter:?}"),
            ..Setup::default()
        });
        Node { purserd, containerd }
    }

    fn load(&self, file: &Path, name: Option<&str>) -> Output {
        load(&self.purserd, file, name)
    }

    /// Runs an image to its end, without a registry, and gives back what it printed.
    fn run(&self, pod: &str, image: &str) -> String {
        self.purserd.apply(&format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {pod}}}, spec: {{restartPolicy: Never, containers: \
             [{{name: main, image: '{image}', imagePullPolicy: Never, command: [echo, it runs]}}]}}}}"
        ));
        self.purserd.purser_ok(["wait", pod, "--for=phase=Stopped"]);
        let said = || self.purserd.purser_ok(["logs", pod]);
        bounded::until("its output is there", || said().ends_with('\n'));
        said()
    }

    /// Sees that what was refused left nothing in containerd.
    fn assert_nothing_left(&self) {
        for list in [&["images", "ls", "-q"][..], &["leases", "ls", "-q"], &["snapshots", "ls"]] {
            let left = self.containerd.ctr(list);
            let rows = left.lines().filter(|row| !row.starts_with("KEY"));
            assert_eq!(rows.collect::<Vec<_>>(), Vec::<&str>::new(), "{list:?}");
        }
        assert_eq!(archives(&self.purserd), Vec::<PathBuf>::new());
    }
}

fn load(purserd: &Purserd, file: &Path, name: Option<&str>) -> Output {
    let mut command = purserd.command();
    command.args(["image", "load"]).arg(file);
    if let Some(name) = name {
        command.args(["--name", name]);
    }
    bounded::output(&mut command)
}

/// A service that has no containerd to ask, for what is decided before it is asked.
fn without_answer(more: &str) -> Purserd {
    Purserd::start(&Setup {
        containerd_socket: Some("/nonexistent/containerd.sock".into()),
        containerd_more: more.to_owned(),
        ..Setup::default()
    })
}

/// Archives that have a name in the data folder.
fn archives(purserd: &Purserd) -> Vec<PathBuf> {
    let entries = fs::read_dir(purserd.data_dir()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_string_lossy().contains(".archive")).collect()
}

/// Sees that a load was refused with exit code 1 and nothing on standard output; gives back what was said.
#[track_caller]
fn refusal(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{said}");
    said
}

#[track_caller]
fn assert_refused(output: &Output, told: &[&str]) {
    let said = refusal(output);
    for part in told {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    assert!(!said.contains('<'), "it repeats what was sent: {said}");
    assert!(!said.contains("/proc/"), "it names a path of the service's own: {said}");
}

#[test]
fn an_archive_is_loaded_and_runs_without_a_registry() {
    let node = Node::start();
    let archive = &Images::made().archive;
    let args = |output: &'static str| ["--name", "web:1", "-o", output];
    let load = |output| {
        let mut command = node.purserd.command();
        bounded::output(command.args(["image", "load"]).arg(archive).args(args(output)))
    };
    let loaded: Value = serde_json::from_slice(&load("json").stdout).unwrap();
    assert_eq!(loaded["reference"], "docker.io/library/web:1");
    let digest = loaded["digest"].as_str().unwrap();
    assert!(node.containerd.ctr(&["images", "ls"]).contains(digest), "{digest}");
    assert_eq!(node.run("first", "web:1"), "it runs\n");
    // Again, as after an answer that was lost.
    assert_eq!(load("name").stdout, b"docker.io/library/web:1\n");
    let told = String::from_utf8(load("table").stdout).unwrap();
    assert_eq!(told, format!("image docker.io/library/web:1 loaded ({digest})\n"));
    assert_eq!(archives(&node.purserd), Vec::<PathBuf>::new());
    // Nothing of it is in the journal, which tells of pods.
    let events = node.purserd.purser_ok(["events", "-o", "json"]);
    assert!(events.lines().all(|event| !event.contains("\"image.")), "{events}");
}

#[test]
fn an_archive_from_a_pipe_has_the_name_that_it_gives_itself() {
    let node = Node::start();
    let archive = node.purserd.folder().join("own.tar");
    let from = format!("oci:{}:plain", Images::made().layout.display());
    let to = format!("oci-archive:{}:test.invalid/own:2", archive.display());
    must("skopeo", Command::new("skopeo").args(["copy", "--quiet", &from, &to]));
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"cat "$1" | "$0" --socket "$2" image load -"#]);
    let output =
        bounded::output(shell.arg(&Binaries::built().purser).arg(&archive).arg(node.purserd.socket()));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.starts_with("image test.invalid/own:2 loaded (sha256:"), "{told}");
    // What is told to people comes on a terminal only.
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(node.run("own", "test.invalid/own:2"), "it runs\n");
}

#[test]
fn what_cannot_be_used_is_refused_for_its_own_reason() {
    let node = Node::start();
    let good = &Images::made().archive;
    let bytes = fs::read(good).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = node.purserd.folder().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let page = file("page.html", "<!DOCTYPE html>\n<title>404 Not Found</title>\n".repeat(40).as_bytes());
    assert_refused(&node.load(&page, Some("web:1")), &["failed to read the archive", "it is not a tar"]);
    let gzip = file("image.tar.gz", &[0x1f, 0x8b, 8, 0, 0, 0]);
    assert_refused(&node.load(&gzip, Some("web:1")), &["gzip; decompress it first"]);
    let half = file("half.tar", &bytes[..bytes.len() / 2]);
    assert_refused(&node.load(&half, Some("web:1")), &["it is cut off within `blobs/sha256/"]);
    let empty = file("empty.tar", b"");
    assert_refused(&node.load(&empty, Some("web:1")), &["it has no `index.json`"]);
    // A bit in the middle of the largest blob, which is most of the archive.
    let mut changed = bytes.clone();
    changed[bytes.len() / 2] ^= 1;
    let changed = file("changed.tar", &changed);
    assert_refused(&node.load(&changed, Some("web:1")), &["unexpected commit digest", "digest"]);
    let nameless = node.load(good, None);
    assert_refused(&nameless, &["name: the archive does not say what its image is called: give a name"]);
    assert_refused(&node.load(good, Some("No Such:Name")), &["name: image reference `No Such:Name`"]);
    let absent = node.load(Path::new("/no/such/file.tar"), None);
    assert_refused(&absent, &["failed to read /no/such/file.tar", "No such file"]);
    assert_refused(&node.load(Path::new("/"), None), &["it is a folder"]);
    node.assert_nothing_left();
    let answer = http::request(&node.purserd.socket(), "POST", "/v1/images?name=a:1", None, "{}").unwrap();
    assert_eq!((answer.status, answer.body["code"].as_str()), (415, Some("unsupported-media-type")));
    // After all that, a good one is taken.
    assert!(node.load(good, Some("web:1")).status.success());
}

#[test]
fn an_archive_over_the_limit_is_refused_by_its_length_or_where_it_gets_too_long() {
    let purserd = without_answer("archive-bytes-max = 300000");
    let told = ["at most 300000 bytes", "`containerd.archive-bytes-max`"];
    assert_refused(&load(&purserd, &Images::made().archive, Some("web:1")), &told);
    // A device says no length, and never ends.
    for _ in 0..10 {
        assert_refused(&load(&purserd, Path::new("/dev/zero"), Some("web:1")), &told);
    }
    // The limit of all other bodies, 256 KiB, is not that of archives: this one is looked at.
    let page = purserd.folder().join("zeros");
    fs::write(&page, vec![0; 300_000]).unwrap();
    assert_refused(&load(&purserd, &page, Some("web:1")), &["it has no `index.json`"]);
}

#[test]
fn a_node_without_containerd_says_so_before_it_reads() {
    let purserd = Purserd::start(&Setup::default());
    let told = ["the process runtime has no images", "`containerd.enabled`"];
    assert_refused(&load(&purserd, &Images::made().archive, Some("web:1")), &told);
    assert_refused(&load(&purserd, Path::new("/dev/zero"), Some("web:1")), &told);
    let down = without_answer("");
    let said = refusal(&load(&down, &Images::made().archive, Some("web:1")));
    assert!(said.contains("containerd does not answer") && said.contains("try again in"), "{said}");
}

/// A file system in memory, unmounted when this is dropped.
struct Disk(PathBuf);

impl Disk {
    fn mounted(path: PathBuf) -> Disk {
        let kind = Some("tmpfs");
        mount(kind, &path, kind, MsFlags::empty(), Some("size=64m,mode=0700"))
            .expect("this test needs root to mount");
        Disk(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn an_archive_never_takes_the_room_that_the_journal_needs() {
    let mut purserd = without_answer("");
    assert!(purserd.stop().success());
    let disk = Disk::mounted(purserd.data_dir());
    let text = fs::read_to_string(purserd.config()).unwrap();
    fs::write(purserd.config(), format!("free-disk-min-bytes = {}\n{text}", 32 << 20)).unwrap();
    purserd.restart();
    let full = load(&purserd, Path::new("/dev/zero"), Some("web:1"));
    assert_refused(&full, &["bytes left", "`free-disk-min-bytes`"]);
    // What had come is gone again: there is room for another.
    let page = purserd.folder().join("page.html");
    fs::write(&page, "<html>".repeat(1_000)).unwrap();
    assert_refused(&load(&purserd, &page, Some("web:1")), &["it is not a tar"]);
    assert!(purserd.stop().success());
    drop(disk);
}

#[test]
fn a_service_that_is_killed_in_the_middle_leaves_no_archive() {
    let mut purserd = without_answer("");
    let mut stream = UnixStream::connect(purserd.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "POST /v1/images?name=web:1 HTTP/1.1\r\nHost: purser\r\nContent-Type: application/x-tar\r\n\
                Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    // The service asks for the body when it has a place for it.
    let head = http::read_head(&mut BufReader::new(stream.try_clone().unwrap())).unwrap();
    assert!(head.starts_with("HTTP/1.1 100"), "{head}");
    stream.write_all(&[7; 100_000]).unwrap();
    purserd.kill9();
    assert_eq!(archives(&purserd), Vec::<PathBuf>::new());
}
