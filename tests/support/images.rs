//! Small container images for tests, made of the host's static busybox. Made once and kept in the target folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::bounded;

/// Changes when what is made below changes.
const RECIPE: &str = "1";
const BUSYBOX: &str = "/usr/bin/busybox";
/// The programs of busybox that tests use.
const PROGRAMS: [&str; 16] = [
    "cat", "dd", "echo", "env", "false", "hostname", "id", "kill", "ls", "nc", "sh", "sleep", "tail",
    "touch", "true", "wc",
];

/// Images in an OCI layout.
#[derive(Debug)]
pub struct Images {
    /// The folder of the layout, with the tags `plain` (cmd `sh`, `FROM_IMAGE=yes`), `user` (runs as `web`, 1000:1001)
    /// and `entry` (entrypoint `echo`, cmd `from image`).
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
