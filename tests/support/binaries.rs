//! The programs under test, built from this checkout in the profile of the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the programs are.
#[derive(Debug)]
pub struct Binaries {
    /// The service.
    pub purserd: PathBuf,
    /// The operator's command line.
    pub purser: PathBuf,
    /// The auditor's tool.
    pub purser_replay: PathBuf,
    /// The agent of pools' pods.
    pub purser_agent: PathBuf,
}

impl Binaries {
    /// The programs, built first if they are older than their sources.
    ///
    /// # Panics
    /// They do not build.
    #[must_use]
    pub fn built() -> &'static Binaries {
        static BUILT: OnceLock<Binaries> = OnceLock::new();
        BUILT.get_or_init(build)
    }
}

fn build() -> Binaries {
    // A test runs from `<target>/<profile>/deps/`.
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.ancestors().nth(2).expect("a test is three folders deep").to_path_buf();
    let target = folder.parent().expect("a profile's folder is in the target folder");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the workspace");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // The whole workspace, so that features are the same as in `cargo test --workspace` and nothing is built twice.
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--workspace", "--bins", "--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(root)
        .status()
        .expect("cargo can be run");
    assert!(status.success(), "the programs under test do not build");
    let binary = |name: &str| folder.join(name);
    Binaries {
        purserd: binary("purserd"),
        purser: binary("purser"),
        purser_replay: binary("purser-replay"),
        purser_agent: binary("purser-agent"),
    }
}
