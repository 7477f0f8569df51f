//! Small container images for tests, made of the host's static busybox. Made once and kept in the target folder.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::bounded;

/// Changes when what is made below changes.
const RECIPE: &str = "4";
const BUSYBOX: &str = "/usr/bin/busybox";
/// The programs of busybox that tests use.
const PROGRAMS: [&str; 16] = [
    "cat", "dd", "echo", "env", "false", "hostname", "id", "kill", "ls", "nc", "sh", "sleep", "tail",
    "touch", "true", "wc",
];
/// Where stand-ins for the programs of well-known images are.
const STAND_INS: &str = "stand-in";
/// Stand-ins for programs of well-known images: they do as much of it as an example of theirs shows.
const SCRIPTS: [(&str, &str); 5] = [
    // `wget -O FILE URL`, without the Internet.
    ("wget", "echo stand-in for $3 > $2"),
    // Busybox has none.
    (
        "printenv",
        "for name; do line=$(env | grep \"^$name=\") || { code=1; continue; }; echo \"${line#*=}\"; done; \
         exit ${code:-0}",
    ),
    ("stress", "trap 'exit 0' TERM; while :; do sleep 600 & wait $!; done"),
    // `serve PORT`: the folder that nginx serves too.
    ("serve", "exec httpd -f -p 127.0.0.1:$1 -h /usr/share/nginx/html"),
    // `agnhost liveness`: well for 25 seconds, and then no longer.
    (
        "agnhost",
        "trap 'kill $server; exit 0' TERM; echo ok > /usr/share/nginx/html/healthz; serve 8080 & server=$!; \
         sleep 25 & wait $!; rm /usr/share/nginx/html/healthz; wait $server",
    ),
];
/// Tags of the stand-ins, and what runs without a command.
const ENTRYPOINTS: [(&str, &[&str]); 4] = [
    ("stress", &["/stand-in/stress"]),
    ("web", &["/stand-in/serve", "80"]),
    ("app", &["/stand-in/serve", "8080"]),
    ("agnhost", &["/stand-in/agnhost"]),
];

/// Images in an OCI layout.
#[derive(Debug)]
pub struct Images {
    /// The folder of the layout, with the tags `plain` (cmd `sh`, `FROM_IMAGE=yes`), `user` (runs as `web`, 1000:1001)
    /// and `entry` (entrypoint `echo`, cmd `from image`); and with `tools`, `stress`, `web`, `app` and `agnhost`,
    /// which stand in for well-known images.
    pub layout: PathBuf,
    /// The image `plain` as an OCI archive.
    pub archive: PathBuf,
}

impl Images {
    /// The images, made first if no earlier test did.
    ///
    /// # Panics
    /// A program that makes them is missing or fails; says which Debian package has it.
    #[must_use]
    pub fn made() -> &'static Images {
        static MADE: OnceLock<Images> = OnceLock::new();
        MADE.get_or_init(|| {
            let folder = cache_folder();
            if !folder.exists() {
                make(&folder);
            }
            Images { layout: folder.join("oci"), archive: folder.join("plain.tar") }
        })
    }

    /// A folder of archives, with `plain` as `test.invalid/plain:1`.
    ///
    /// # Panics
    /// As for [`Images::made`], or the folder cannot be made.
    #[must_use]
    pub fn folder() -> TempDir {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let archive = folder.path().join("test.invalid_plain_1.tar");
        symlink(&Images::made().archive, archive).expect("a link can be made");
        folder
    }
}

/// Runs a program that a test needs, which must succeed, and gives back what it printed.
///
/// # Panics
/// It is missing, and then says which Debian package has it; or it fails.
#[track_caller]
pub fn must(package: &str, command: &mut Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let is_there =
        ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().any(|dir| Path::new(dir).join(&program).exists());
    assert!(is_there, "`{program}` is missing: apt-get install {package}");
    let output = bounded::output(command);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} ended with {}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn cache_folder() -> PathBuf {
    let len = fs::metadata(BUSYBOX).map(|held| held.len());
    let len = len.expect("a static busybox is missing: apt-get install busybox-static");
    let test = std::env::current_exe().expect("a test has a path");
    let target = test.ancestors().nth(3).expect("a test is three folders deep");
    target.join("tmp").join(format!("purser-images-{RECIPE}-{len}"))
}

fn make(folder: &Path) {
    let parent = folder.parent().expect("it is below the target folder");
    fs::create_dir_all(parent).expect("the target folder can be written");
    let work = tempfile::tempdir_in(parent).expect("the target folder can be written");
    let layout = work.path().join("oci");
    let umoci = |args: &[&str]| must("umoci", Command::new("umoci").args(args).current_dir(work.path()));
    umoci(&["init", "--layout", "oci"]);
    umoci(&["new", "--image", "oci:plain"]);
    umoci(&["unpack", "--image", "oci:plain", "one"]);
    let root = work.path().join("one/rootfs");
    for dir in ["bin", "etc", "tmp", "data"] {
        fs::create_dir_all(root.join(dir)).expect("a folder of the image can be made");
    }
    fs::copy(BUSYBOX, root.join("bin/busybox")).expect("busybox can be copied");
    for program in PROGRAMS {
        symlink("busybox", root.join("bin").join(program)).expect("a link in the image can be made");
    }
    umoci(&["repack", "--image", "oci:plain", "one"]);
    // A second layer, so that layers are seen to be put on each other.
    umoci(&["unpack", "--image", "oci:plain", "two"]);
    let etc = work.path().join("two/rootfs/etc");
    fs::write(etc.join("passwd"), "root:x:0:0::/:/bin/sh\nweb:x:1000:1001::/:/bin/sh\n")
        .expect("a file can be written");
    fs::write(etc.join("group"), "root:x:0:\nweb:x:1001:\nlogs:x:44:web\n").expect("a file can be written");
    umoci(&["repack", "--image", "oci:plain", "two"]);
    let path = "PATH=/bin";
    let config = ["config", "--image", "oci:plain", "--config.env", path, "--config.env", "FROM_IMAGE=yes"];
    umoci(&[&config[..], &["--config.cmd", "sh"]].concat());
    umoci(&["config", "--image", "oci:plain", "--tag", "user", "--config.user", "web"]);
    let entry = [
        "--config.entrypoint",
        "echo",
        "--clear=config.cmd",
        "--config.cmd",
        "from",
        "--config.cmd",
        "image",
    ];
    umoci(&[&["config", "--image", "oci:plain", "--tag", "entry"], &entry[..]].concat());
    make_stand_ins(work.path());
    let skopeo = ["copy", "--quiet", "oci:oci:plain", "oci-archive:plain.tar"];
    must("skopeo", Command::new("skopeo").args(skopeo).current_dir(work.path()));
    let kept = work.path().join("kept");
    fs::create_dir(&kept).expect("a folder can be made");
    fs::rename(&layout, kept.join("oci")).expect("it is on the same disk");
    fs::rename(work.path().join("plain.tar"), kept.join("plain.tar")).expect("it is on the same disk");
    // All at once: another test process may be making the same.
    if let Err(error) = fs::rename(&kept, folder) {
        assert!(folder.exists(), "the images cannot be kept: {error}");
    }
}

fn make_stand_ins(work: &Path) {
    let umoci = |args: &[&str]| must("umoci", Command::new("umoci").args(args).current_dir(work));
    umoci(&["config", "--image", "oci:plain", "--tag", "tools", "--config.env", "PATH=/stand-in:/bin"]);
    umoci(&["unpack", "--image", "oci:tools", "three"]);
    let root = work.join("three/rootfs");
    for dir in [STAND_INS, "usr/share/nginx/html"] {
        fs::create_dir_all(root.join(dir)).expect("a folder of the image can be made");
    }
    fs::write(root.join("usr/share/nginx/html/index.html"), "stand-in\n").expect("a file can be written");
    for (program, script) in SCRIPTS {
        let path = root.join(STAND_INS).join(program);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a file can be written");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("a file can be opened to all");
    }
    umoci(&["repack", "--image", "oci:tools", "three"]);
    for (tag, entrypoint) in ENTRYPOINTS {
        let words = entrypoint.iter().flat_map(|word| ["--config.entrypoint", word]);
        let clear = ["config", "--image", "oci:tools", "--tag", tag, "--clear=config.cmd"];
        umoci(&clear.into_iter().chain(words).collect::<Vec<_>>());
    }
}
