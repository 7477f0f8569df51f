//! A real registry on loopback for one test.

use std::fs::{self, File};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::bounded::PATIENCE;
use crate::images::{Images, must};
use crate::ports;

/// A running registry; stopped when it is dropped.
pub struct Registry {
    folder: TempDir,
    child: Child,
    /// Where it answers, as `127.0.0.1:port`.
    pub host: String,
}

impl Registry {
    /// Starts a registry and waits until it answers.
    ///
    /// # Panics
    /// It cannot be started; says which Debian package has it.
    #[must_use]
    pub fn start() -> Registry {
        let program = "/usr/bin/docker-registry";
        assert!(
            fs::exists(program).unwrap_or(false),
            "`{program}` is missing: apt-get install docker-registry"
        );
        let folder =
            tempfile::Builder::new().prefix("purser-registry-").tempdir().expect("a folder can be made");
        let host = ports::free_address().to_string();
        let data = folder.path().join("data");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {data:?}}}}}\n\
             http: {{addr: {host:?}}}\n"
        );
        let path = folder.path().join("config.yml");
        fs::write(&path, config).expect("the config can be written");
        let log = File::create(folder.path().join("log")).expect("the log can be made");
        let mut command = Command::new(program);
        command.arg("serve").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("the registry can be started");
        let mut registry = Registry { folder, child, host };
        registry.await_ready();
        registry
    }

    /// Puts the image of that tag of the test images there as `repository`, which may end with `:tag`.
    ///
    /// # Panics
    /// It cannot be put there.
    pub fn push(&self, tag: &str, repository: &str) {
        let from = format!("oci:{}:{tag}", Images::made().layout.display());
        let to = format!("docker://{}/{repository}", self.host);
        must(
            "skopeo",
            Command::new("skopeo").args(["copy", "--quiet", "--dest-tls-verify=false"]).args([from, to]),
        );
    }

    fn await_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(&self.host).is_err() {
            let ended = self.child.try_wait().expect("a child can be asked about");
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(ended.is_none(), "the registry ended: {log}");
            assert!(Instant::now() < deadline, "the registry does not answer: {log}");
            // Nothing announces that a foreign program listens.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
