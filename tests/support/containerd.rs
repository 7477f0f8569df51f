//! A real containerd for one test, with folders, a namespace and cgroups of its own.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use purser_node::adapter::containerd::ContainerdConfig;
use tempfile::TempDir;

use crate::bounded::{self, PATIENCE, pid_of};
use crate::images::must;

/// A containerd. When it is dropped, it, its shims and every process in its cgroups are killed, and what they
/// mounted is unmounted.
pub struct Containerd {
    folder: TempDir,
    child: Option<Child>,
    cgroup_prefix: String,
    snapshotter: &'static str,
}

impl Containerd {
    /// Starts a containerd and waits until it answers.
    ///
    /// # Panics
    /// It cannot be started; says which Debian package is missing.
    #[must_use]
    pub fn start() -> Containerd {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        assert!(Uid::effective().is_root(), "tests of containerd need root");
        for (program, package) in [
            ("/usr/bin/containerd", "containerd"),
            ("/usr/bin/ctr", "containerd"),
            ("/usr/sbin/runc", "runc"),
        ] {
            assert!(
                fs::exists(program).unwrap_or(false),
                "`{program}` is missing: apt-get install {package}"
            );
        }
        let folder = tempfile::Builder::new().prefix("purser-ctd-").tempdir().expect("a folder can be made");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let cgroup_prefix = format!("purser-test-{}-{number}", std::process::id());
        let mut containerd = Containerd { folder, child: None, cgroup_prefix, snapshotter: "overlayfs" };
        fs::write(containerd.path("config.toml"), containerd.config_text())
            .expect("the config can be written");
        containerd.launch();
        let plugins = containerd.ctr(&["plugins", "ls"]);
        let fits = |line: &str| line.contains("overlayfs") && line.trim_end().ends_with("ok");
        if !plugins.lines().any(fits) {
            containerd.snapshotter = "native";
        }
        containerd
    }

    /// The socket on which it answers.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path("c.sock")
    }

    /// A folder for what a test needs beside it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How a node reaches it.
    #[must_use]
    pub fn config(&self) -> ContainerdConfig {
        ContainerdConfig {
            socket: self.socket(),
            snapshotter: self.snapshotter.to_owned(),
            runc_root: self.path("runc"),
            runtime_dir: self.path("run"),
            cgroup_prefix: self.cgroup_prefix.clone(),
            ..ContainerdConfig::default()
        }
    }

    /// Kills it with SIGKILL, as a crash would. Containers go on.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself a moment ago.
            drop(child.kill());
            bounded::wait(&mut child, "containerd");
        }
    }

    /// Stops it as an upgrade would. Containers go on.
    pub fn terminate(&mut self) {
        if let Some(mut child) = self.child.take() {
            kill(pid_of(&child), Signal::SIGTERM).expect("a child can be signalled");
            bounded::wait(&mut child, "containerd");
        }
    }

    /// Starts it again and waits until it answers.
    ///
    /// # Panics
    /// It runs already, or does not answer.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "containerd runs already");
        self.launch();
    }

    /// Runs containerd's own command line in the namespace of the default config, and gives back what it printed.
    ///
    /// # Panics
    /// It fails.
    #[track_caller]
    #[must_use]
    pub fn ctr(&self, args: &[&str]) -> String {
        must("containerd", Command::new("ctr").arg("-a").arg(self.socket()).args(["-n", "purser"]).args(args))
    }

    /// The cgroup folders below this containerd's prefix, in every hierarchy.
    #[must_use]
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let mount = Path::new("/sys/fs/cgroup");
        let controllers = fs::read_dir(mount).into_iter().flatten().flatten().map(|entry| entry.path());
        let tops = controllers.chain([mount.to_path_buf()]).map(|root| root.join(&self.cgroup_prefix));
        tops.filter(|top| top.is_dir()).flat_map(|top| folders_below(&top)).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config_text(&self) -> String {
        let disabled = [
            "grpc.v1.cri",
            "internal.v1.opt",
            "snapshotter.v1.aufs",
            "snapshotter.v1.btrfs",
            "snapshotter.v1.devmapper",
            "snapshotter.v1.zfs",
        ];
        let disabled = disabled.map(|plugin| format!("io.containerd.{plugin}"));
        format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = {disabled:?}\n\
             [debug]\n  level = \"warn\"\n[grpc]\n  address = {:?}\n[ttrpc]\n  address = {:?}\n",
            self.path("root"),
            self.path("state"),
            self.socket(),
            self.path("t.sock"),
        )
    }

    fn launch(&mut self) {
        let log =
            File::options().create(true).append(true).open(self.path("log")).expect("the log can be opened");
        let mut command = Command::new("/usr/bin/containerd");
        command
            .arg("-c")
            .arg(self.path("config.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.child = Some(command.spawn().expect("containerd can be started"));
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(self.socket()).is_err() {
            let child = self.child.as_mut().expect("it was started");
            let ended = child.try_wait().expect("a child can be asked about");
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(ended.is_none(), "containerd ended: {log}");
            assert!(Instant::now() < deadline, "containerd does not answer: {log}");
            // Nothing announces that a foreign program listens.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The shims that this containerd started: they carry its socket in their arguments.
    fn shims(&self) -> Vec<Pid> {
        let socket = self.socket();
        let socket = socket.to_string_lossy();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_ours = |pid: &i32| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&arguments).into_owned();
            arguments.contains("containerd-shim") && arguments.split('\0').any(|argument| argument == socket)
        };
        pids.filter(is_ours).map(Pid::from_raw).collect()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what containerd said:\n{}", fs::read_to_string(self.path("log")).unwrap_or_default());
        }
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
        for socket in shim_sockets(&self.path("state")) {
            drop(fs::remove_file(socket));
        }
        for shim in self.shims() {
            // One that went away in between is what is wanted.
            let _ = kill(shim, Signal::SIGKILL);
        }
        end_cgroups(self);
        for mount in mounts_below(self.folder.path()).into_iter().rev() {
            let _ = umount2(&mount, MntFlags::MNT_DETACH);
        }
    }
}

fn end_cgroups(containerd: &Containerd) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let folders = containerd.cgroups();
        if folders.is_empty() || Instant::now() > deadline {
            return;
        }
        for folder in folders {
            let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            for pid in members.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            // Refused until the kernel has taken the last member out.
            drop(fs::remove_dir(folder));
        }
        std::thread::yield_now();
    }
}

/// The sockets of shims, which lie outside of containerd's folders: a shim that is killed leaves its own.
fn shim_sockets(state: &Path) -> Vec<PathBuf> {
    let bundles =
        fs::read_dir(state.join("io.containerd.runtime.v2.task/purser")).into_iter().flatten().flatten();
    let addresses = bundles.filter_map(|bundle| fs::read_to_string(bundle.path().join("address")).ok());
    addresses.filter_map(|address| address.trim().strip_prefix("unix://").map(PathBuf::from)).collect()
}

/// A folder and all below it, the deepest first.
fn folders_below(top: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(top).into_iter().flatten().flatten();
    let inner = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut folders: Vec<PathBuf> = inner.flat_map(|entry| folders_below(&entry.path())).collect();
    folders.push(top.to_path_buf());
    folders
}

/// What is mounted below a folder, in the order in which it was.
#[must_use]
pub fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| point.starts_with(folder)).collect()
}
