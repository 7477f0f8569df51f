//! A real purserd of its own for one test: own folder, own socket, and nothing left of it afterwards.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use tempfile::TempDir;

use crate::binaries::Binaries;
use crate::bounded::{self, PATIENCE, pid_of};
use crate::containerd::Containerd;
use crate::http;
use crate::leftovers;

/// How often a start looks whether the service has ended while it waits for word from it.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long `purser wait` waits where a test does not say: a little less than a test does, so that it says how the pod stands.
const WAIT: &str = "--timeout=170s";

/// Most tests are not about the room on a disk, and that of the machine may be rather full.
const NO_RESERVE: &str = "[journal.reserve]\nwarn-percent = 100\nrefuse-percent = 100\nballast-bytes = 0\n\n";

/// What a test may choose about its service. The default runs plain processes and waits little between tries.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The containerd that pods without a class run on; none for plain processes only.
    pub containerd_socket: Option<PathBuf>,
    /// First wait between two tries of a container.
    pub back_off_first_ms: u64,
    /// Longest wait between two tries of a container.
    pub back_off_max_ms: u64,
    /// Run after which the waits start over.
    pub back_off_reset_after_ms: u64,
    /// Lines that are added to the config's table `api`.
    pub api_more: String,
    /// Lines that are added to the config's table `runtime`.
    pub runtime_more: String,
    /// Lines that are added to the config's table `containerd`.
    pub containerd_more: String,
    /// The library that GPUs are looked at with; empty for not looking, whatever the machine has.
    pub gpu_library: PathBuf,
    /// Lines that are added to the config's table `gpu`.
    pub gpu_more: String,
    /// TOML tables that are added to the config.
    pub more: String,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            containerd_socket: None,
            back_off_first_ms: 50,
            back_off_max_ms: 400,
            back_off_reset_after_ms: 60_000,
            api_more: String::new(),
            runtime_more: String::new(),
            containerd_more: String::new(),
            gpu_library: PathBuf::new(),
            gpu_more: String::new(),
            more: String::new(),
        }
    }
}

impl Setup {
    /// A node whose pods run on this containerd, with image archives from a folder.
    #[must_use]
    pub fn with_containerd(containerd: &Containerd, images: &Path) -> Setup {
        let snapshotter = containerd.config().snapshotter;
        Setup {
            containerd_socket: Some(containerd.socket()),
            containerd_more: format!("snapshotter = {snapshotter:?}\nimages-dir = {images:?}"),
            ..Setup::default()
        }
    }
}

/// A service and its folder. When it is dropped, the service and every process that it started are killed.
pub struct Purserd {
    folder: TempDir,
    child: Option<Child>,
    starts: u32,
}

impl Purserd {
    /// Starts a service in a folder of its own and waits until it is ready.
    ///
    /// # Panics
    /// It does not get ready.
    #[must_use]
    pub fn start(setup: &Setup) -> Purserd {
        let folder =
            tempfile::Builder::new().prefix("purser-").tempdir().expect("a temporary folder can be made");
        let mut purserd = Purserd { folder, child: None, starts: 0 };
        fs::write(purserd.config(), purserd.config_text(setup)).expect("the config can be written");
        purserd.launch();
        purserd
    }

    /// The folder with the journal and the pods' files.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The socket of the API.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("api.sock")
    }

    /// The config file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("purserd.toml")
    }

    /// The control groups that hold the service's containers, the deepest first.
    #[must_use]
    pub fn control_groups(&self) -> Vec<PathBuf> {
        leftovers::control_groups(&self.data_dir())
    }

    /// A folder for what a test needs beside the service.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the service has said so far, over all of its starts.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(self.folder.path().join("purserd.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The process id of the running service.
    ///
    /// # Panics
    /// It does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the service runs").id()
    }

    /// Kills the service with SIGKILL, as a crash would.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself a moment ago.
            drop(child.kill());
            bounded::wait(&mut child, "purserd");
        }
    }

    /// Asks the service to stop and waits until it has.
    ///
    /// # Panics
    /// It does not run, or does not stop.
    pub fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the service runs");
        kill(pid_of(&child), Signal::SIGTERM).expect("a child can be signalled");
        bounded::wait(&mut child, "purserd")
    }

    /// Waits until the service has ended by itself.
    ///
    /// # Panics
    /// It does not run, or does not end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the service runs");
        bounded::wait(&mut child, "purserd")
    }

    /// Starts the service again in the same folder and waits until it is ready.
    ///
    /// # Panics
    /// It runs already, or does not get ready.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "the service runs already");
        self.launch();
    }

    /// Starts it anew and kills it that much later, however far it has come.
    ///
    /// # Panics
    /// It runs already.
    pub fn restart_and_kill9(&mut self, later: Duration) {
        assert!(self.child.is_none(), "the service runs already");
        let word = self.spawn();
        word.set_read_timeout(Some(later.max(Duration::from_micros(1)))).expect("the time is not zero");
        // It may be ready before.
        drop(word.recv(&mut [0; 64]));
        self.kill9();
    }

    /// A command of the operator's command line against this service.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&Binaries::built().purser);
        with_clean_environment(&mut command)
            .env("PURSER_SOCKET", self.socket())
            .current_dir(self.folder.path());
        command
    }

    /// Runs the operator's command line to its end. A `wait` that does not say for how long waits about as long as a test.
    #[must_use]
    pub fn purser(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        let mut args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let says_how_long = args.iter().any(|arg| arg.as_encoded_bytes().starts_with(b"--timeout"));
        if args.first().is_some_and(|verb| verb == "wait") && !says_how_long {
            args.push(WAIT.into());
        }
        bounded::output(self.command().args(args))
    }

    /// Runs the operator's command line, which must succeed, and gives back what it printed.
    ///
    /// # Panics
    /// It fails.
    #[track_caller]
    pub fn purser_ok(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
        let output = self.purser(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "purser ended with {}: {errors}\n{}", output.status, self.log());
        String::from_utf8(output.stdout).expect("purser prints UTF-8")
    }

    /// Applies a manifest, which must be accepted; gives back what was printed.
    ///
    /// # Panics
    /// It is refused.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "most tests care that it was accepted and no more")]
    pub fn apply(&self, manifest: &str) -> String {
        let path = self.folder.path().join("manifest.yaml");
        fs::write(&path, manifest).expect("a manifest can be written");
        self.purser_ok([OsStr::new("apply"), OsStr::new("-f"), path.as_os_str()])
    }

    /// The metrics as they are served.
    ///
    /// # Panics
    /// They are not.
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut stream = UnixStream::connect(self.socket()).expect("the service listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("the time is not zero");
        let request = b"GET /metrics HTTP/1.1\r\nHost: purser\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("a request can be sent");
        let mut answer = BufReader::new(stream);
        let head = http::read_head(&mut answer).expect("the answer has a head");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let body = http::read_body(&mut answer, &head).expect("the answer has a body");
        String::from_utf8(body).expect("metrics are text")
    }

    /// Waits until the journal has a record of this type, as in `pod.started`, however old it is.
    ///
    /// # Panics
    /// There is none within [`PATIENCE`].
    #[track_caller]
    pub fn await_event(&self, kind: &str) {
        let mut stream = UnixStream::connect(self.socket()).expect("the service listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("the time is not zero");
        let path = format!("/v1/events?from=0&type={kind}&follow=true");
        let request = format!("GET {path} HTTP/1.1\r\nHost: purser\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a request can be sent");
        let wanted = format!("event: {kind}");
        // Heartbeats come however long nothing else does.
        let deadline = Instant::now() + PATIENCE;
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        let mut lines = lines.take_while(|_| Instant::now() < deadline);
        assert!(lines.any(|line| line == wanted), "there is no `{kind}`:\n{}", self.log());
    }

    fn config_text(&self, setup: &Setup) -> String {
        let (default, enabled) =
            if setup.containerd_socket.is_some() { ("containerd", "always") } else { ("process", "never") };
        let socket =
            setup.containerd_socket.as_deref().unwrap_or(Path::new("/run/containerd/containerd.sock"));
        format!(
            "data-dir = {data:?}\n\n[api]\nsocket = {api:?}\n{api_more}\n\n[runtime]\ndefault = {default:?}\n{runtime}\n\n\
             [containerd]\nenabled = {enabled:?}\nsocket = {socket:?}\n{containerd}\n\n\
             [gpu]\nnvml-library = {gpus:?}\n{gpu_more}\n\n{reserve}[policy.back-off]\nfirst-ms = {first}\nmax-ms = {max}\nreset-after-ms = {reset}\n\n{more}\n",
            data = self.data_dir(),
            api = self.socket(),
            api_more = setup.api_more,
            gpu_more = setup.gpu_more,
            first = setup.back_off_first_ms,
            max = setup.back_off_max_ms,
            reset = setup.back_off_reset_after_ms,
            runtime = setup.runtime_more,
            containerd = setup.containerd_more,
            gpus = setup.gpu_library,
            more = setup.more,
            reserve = if setup.more.contains("[journal.reserve]") { "" } else { NO_RESERVE },
        )
    }

    fn launch(&mut self) {
        let word = self.spawn();
        word.set_read_timeout(Some(LOOK_INTERVAL)).expect("the time is not zero");
        self.await_ready(&word);
    }

    /// Starts the service; gives where it says that it is ready.
    fn spawn(&mut self) -> UnixDatagram {
        self.starts += 1;
        let word_path = self.folder.path().join(format!("ready-{}.sock", self.starts));
        let word = UnixDatagram::bind(&word_path).expect("a socket can be made in the folder");
        let log = File::options().create(true).append(true).open(self.folder.path().join("purserd.log"));
        let mut command = Command::new(&Binaries::built().purserd);
        let child = with_clean_environment(&mut command)
            .arg("--config")
            .arg(self.config())
            .env("NOTIFY_SOCKET", &word_path)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(log.expect("the log can be opened"))
            .spawn()
            .expect("purserd can be started");
        self.child = Some(child);
        word
    }

    /// Waits for the word that systemd would get.
    fn await_ready(&mut self, word: &UnixDatagram) {
        let deadline = Instant::now() + PATIENCE;
        let mut message = [0; 256];
        while Instant::now() < deadline {
            match word.recv(&mut message) {
                Ok(len) if message[..len].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") => {
                    return;
                }
                Ok(_) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) =>
                {
                    self.assert_running();
                }
                Err(error) => panic!("the word of purserd cannot be heard: {error}"),
            }
        }
        panic!("purserd is not ready after {} s:\n{}", PATIENCE.as_secs(), self.log());
    }

    fn assert_running(&mut self) {
        let child = self.child.as_mut().expect("it was started");
        if let Some(status) = child.try_wait().expect("a child can be asked about") {
            self.child = None;
            panic!("purserd ended with {status} before it was ready:\n{}", self.log());
        }
    }
}

impl Drop for Purserd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what purserd said:\n{}", self.log());
        }
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
        leftovers::end_processes(&self.data_dir());
        leftovers::end_control_groups(&self.data_dir());
    }
}

/// Takes away what the caller's environment would change.
fn with_clean_environment(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PURSER_") {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1").env_remove("NOTIFY_SOCKET").env_remove("RUST_LOG")
}
