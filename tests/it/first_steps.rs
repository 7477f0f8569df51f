//! The first steps of somebody new, as root and not: `dist/run.sh`, which `make run` calls, and the commands of the
//! README, in a checkout that holds the programs and the examples alone.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use purser_tests::binaries::Binaries;
use purser_tests::bounded::{self, PATIENCE};
use purser_tests::{gpus, leftovers};
use tempfile::TempDir;

/// Nobody: the user that owns nothing.
const NOBODY: u32 = 65_534;

/// What a block of commands is marked with that must work as it is written.
const MARK: &str = "```sh tested\n";

/// What the examples are called.
const PODS: [&str; 5] = ["back-off", "count-primes", "falls-ill", "preflight", "ticker"];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the workspace")
}

/// The example that leaves a file behind.
const FALLS_ILL: &str = "examples/probes.yaml";

/// A folder that is to its user what a checkout is after `make build`.
struct Checkout {
    folder: TempDir,
    user: Option<u32>,
}

impl Checkout {
    /// A checkout of the user of this test, or of another.
    fn new(user: Option<u32>) -> Checkout {
        let folder = tempfile::Builder::new().prefix("first-").tempdir().unwrap();
        let checkout = Checkout { folder, user };
        let bin = checkout.path("target/release");
        for made in [&bin, &checkout.path("dist"), &checkout.path("examples/pools")] {
            fs::create_dir_all(made).unwrap();
        }
        let Binaries { purserd, purser, purser_replay, purser_agent } = Binaries::built();
        for program in [purserd, purser, purser_replay, purser_agent] {
            fs::copy(program, bin.join(program.file_name().unwrap())).unwrap();
        }
        fs::copy(repository().join("dist/run.sh"), checkout.path("dist/run.sh")).unwrap();
        let pool = "examples/pools/shell.yaml";
        fs::copy(repository().join(pool), checkout.path(pool)).unwrap();
        for entry in fs::read_dir(repository().join("examples")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, checkout.path("examples").join(path.file_name().unwrap())).unwrap();
            }
        }
        fs::set_permissions(checkout.folder.path(), Permissions::from_mode(0o755)).unwrap();
        if user.is_some() {
            chown(checkout.folder.path(), user, user).unwrap();
        }
        checkout
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program as this user starts it in a terminal, in the checkout.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env_clear().env("HOME", self.folder.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("NO_COLOR", "1");
        if let Some(user) = self.user {
            command.gid(user).uid(user);
        }
        command
    }

    fn script(&self, verb: &str) -> Command {
        let mut command = self.command("dist/run.sh");
        command.args([verb, "target/release"]);
        command
    }

    /// Starts the node and waits until the script has shown all that it has to show.
    fn start(&self) -> Running {
        self.start_as(self.script("start"))
    }

    fn start_as(&self, mut command: Command) -> Running {
        let mut script = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(script.stdout.take().unwrap());
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)).ok();
        });
        let mut running = Running { script, lines, shown: String::new() };
        running.read_to("Ctrl-C stops purserd");
        running
    }

    /// Runs a command line as it stands in the README, after those that prepare the terminal.
    fn shell(&self, exports: &str, line: &str) -> Output {
        bounded::output(self.command("bash").arg("-c").arg(format!("{exports}\n{line}")))
    }

    fn pid(&self) -> Pid {
        let text = fs::read_to_string(self.path("run/purserd.pid")).unwrap();
        Pid::from_raw(text.trim().parse().unwrap())
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.path("run/purserd.log")).unwrap_or_default());
        }
        // There only if the test has failed.
        if let Ok(text) = fs::read_to_string(self.path("run/purserd.pid"))
            && let Ok(pid) = text.trim().parse()
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        leftovers::end_processes(&self.path("run/data"));
        leftovers::end_control_groups(&self.path("run/data"));
        // Another test's, where the example was not run.
        if self.path(FALLS_ILL).exists() {
            let _ = fs::remove_file("/tmp/purser-example-falls-ill");
        }
    }
}

/// A script that runs, and what it has printed.
struct Running {
    script: Child,
    lines: Receiver<String>,
    shown: String,
}

impl Running {
    fn read_to(&mut self, end: &str) {
        while !self.shown.lines().any(|line| line.starts_with(end)) {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.shown.push_str(&(line + "\n")),
                Err(_) => {
                    let _ = self.script.kill();
                    let mut said = String::new();
                    let errors = self.script.stderr.take().map(std::io::read_to_string);
                    said.push_str(&errors.and_then(Result::ok).unwrap_or_default());
                    panic!("no `{end}`:\n{}{said}", self.shown);
                }
            }
        }
    }

    /// Waits for the end of the script; gives what it printed and said, and how it ended.
    fn end(mut self) -> (String, String, ExitStatus) {
        let status = bounded::wait(&mut self.script, "dist/run.sh");
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.shown.push_str(&(line + "\n"));
        }
        let said = std::io::read_to_string(self.script.stderr.take().unwrap()).unwrap();
        (self.shown, said, status)
    }
}

/// The blocks of the README that are marked, in order.
fn blocks() -> Vec<String> {
    let page = fs::read_to_string(repository().join("README.md")).unwrap();
    let marked = page.split(MARK).skip(1);
    marked.map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// The pod of the README, which its last commands speak of.
fn hello() -> String {
    let page = fs::read_to_string(repository().join("README.md")).unwrap();
    let (_, rest) = page.split_once("```yaml\n").expect("the README shows a pod");
    rest.split("```").next().unwrap_or_default().to_owned()
}

/// Runs every marked block as it is written; `killed` starts the service again when one has killed it.
fn run_readme(checkout: &Checkout, mut running: Running, killed: impl Fn(Running) -> Running) -> Running {
    let blocks = blocks();
    let exports = blocks.first().and_then(|block| block.lines().next()).unwrap_or_default().to_owned();
    assert!(exports.starts_with("export PATH="), "{exports}");
    let (mut lines, mut kills) = (0, 0);
    for line in blocks.iter().flat_map(|block| block.lines()).skip(1) {
        let output = checkout.shell(&exports, line);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, errors) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "`{line}` ended with {}: {errors}{out}", output.status);
        lines += 1;
        if line.starts_with("kill -9") {
            kills += 1;
            running = killed(running);
        } else if line.starts_with("purser exec") {
            assert!(out.contains("hello from pid ") && out.ends_with("exit code 3\n"), "{out}");
        } else if !line.contains("hello") && !line.contains("export ") {
            assert!(!out.trim().is_empty(), "`{line}` prints nothing: {errors}");
        }
    }
    assert!(lines >= 15 && kills == 1, "the README has {lines} commands, {kills} of them kill the service");
    running
}

fn assert_examples_run(checkout: &Checkout) {
    let exports = "export PURSER_SOCKET=$PWD/run/purser.sock PATH=$PWD/target/release:$PATH";
    let list = checkout.shell(exports, "purser get pods");
    let list = String::from_utf8(list.stdout).unwrap();
    let mut names: Vec<&str> = list.lines().skip(1).filter_map(|row| row.split(' ').next()).collect();
    names.sort_unstable();
    names.retain(|name| !name.starts_with("shell-"));
    assert_eq!(names, PODS, "{list}");
    for line in [
        "purser wait preflight --for condition=Ready --timeout 170s",
        "purser wait falls-ill --for condition=Initialized --timeout 170s",
        "purser wait count-primes --for phase=Stopped --timeout 170s",
        "until [ -n \"$(purser logs ticker --tail 1)\" ]; do :; done",
        "until purser logs back-off -c flaky --previous | grep -q 'it did not work'; do :; done 2>/dev/null",
        "purser logs count-primes | grep -q 'primes up to'",
    ] {
        let output = checkout.shell(exports, line);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "`{line}`: {errors}");
    }
}

/// All that somebody does who tries Purser for the first time.
fn first_steps(user: Option<u32>) {
    let checkout = Checkout::new(user);
    fs::write(checkout.path("hello.yaml"), hello()).unwrap();
    let running = checkout.start();
    for pod in PODS {
        assert!(running.shown.contains(&format!("pod/{pod} created")), "{}", running.shown);
    }
    for shown in [
        "pod/ticker has condition Ready",
        "NAME ",
        "hello from a slot, task ",
        "Purser is ready.",
        "export PATH=",
        "purser get pods",
    ] {
        assert!(running.shown.contains(shown), "no `{shown}`:\n{}", running.shown);
    }
    assert_examples_run(&checkout);
    let again = run_readme(&checkout, running, |before| {
        // The first terminal sees it end, and `make run` starts it again.
        let (_, said, status) = before.end();
        assert!(!status.success() && said.contains("purserd ended by itself with status 137"), "{said}");
        checkout.start()
    });
    assert!(again.shown.contains("pod/ticker unchanged"), "{}", again.shown);
    // Whoever forgets the first terminal is told, and nothing is deleted.
    let refused = bounded::output(&mut checkout.script("clean"));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("a node still runs in ./run"), "{said}");
    assert!(said.contains(&format!("kill {}", checkout.pid())), "{said}");
    kill(checkout.pid(), Signal::SIGTERM).unwrap();
    let (shown, said, status) = again.end();
    assert!(status.success() && shown.contains("Its pods go on"), "{shown}{said}");
    let pods = leftovers::running_processes(&checkout.path("run/data"));
    assert!(pods.len() >= 4, "the pods went with the service");
    let once = bounded::output(checkout.script("start").env("RUN_ONCE", "1"));
    let shown = String::from_utf8_lossy(&once.stdout).into_owned();
    assert!(once.status.success() && shown.contains("Its pods go on"), "{shown}");
    let cleaned = bounded::output(&mut checkout.script("clean"));
    assert!(cleaned.status.success(), "{}", String::from_utf8_lossy(&cleaned.stderr));
    assert!(!checkout.path("run").exists());
    assert!(!pods.iter().any(|process| process.runs()), "a process of a deleted pod runs");
}

#[test]
fn the_first_steps_work() {
    first_steps(None);
}

#[test]
fn the_first_steps_work_without_root() {
    assert!(geteuid().is_root(), "this test becomes nobody: run it as root");
    first_steps(Some(NOBODY));
}

/// `make run GPU=fake`, and the example of two pods that share a GPU.
#[test]
fn somebody_without_a_gpu_has_two_pods_share_one_that_is_said_to_be_fake() {
    let checkout = Checkout::new(None);
    fs::remove_file(checkout.path(FALLS_ILL)).unwrap();
    let library = gpus::built_library();
    fs::copy(&library, checkout.path("target/release").join(library.file_name().unwrap())).unwrap();
    fs::create_dir(checkout.path("examples/gpu")).unwrap();
    let shared = "examples/gpu/shared.yaml";
    fs::copy(repository().join(shared), checkout.path(shared)).unwrap();
    let mut script = checkout.script("start");
    script.env("GPU", "fake");
    let running = checkout.start_as(script);
    for shown in ["the GPUs of this node are FAKE", "libnvidia-ml.so.1.json", "Fake GPU 80GB"] {
        assert!(running.shown.contains(shown), "no `{shown}`:\n{}", running.shown);
    }
    let exports = "export PURSER_SOCKET=$PWD/run/purser.sock PATH=$PWD/target/release:$PATH";
    let told = |line: &str| {
        let output = checkout.shell(exports, line);
        let (out, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "`{line}`: {errors}{out}");
        out.into_owned()
    };
    told(&format!("purser apply -f {shared}"));
    let log = |pod: &str| {
        told(&format!("purser wait {pod} --for phase=Running --timeout 60s"));
        told(&format!("until [ -n \"$(purser logs {pod})\" ]; do :; done; purser logs {pod}"))
    };
    let (trainer, notebook) = (log("trainer"), log("notebook"));
    let gpu = trainer.trim().strip_prefix("60 % of ").expect("its share");
    assert!(gpu.starts_with("GPU-fa4e0000-"), "{trainer}");
    assert_eq!(notebook.trim().strip_prefix("20 % of "), Some(gpu), "both have parts of one");
    let described = told(&format!("purser describe gpu {gpu}"));
    for part in ["default/trainer", "default/notebook"] {
        assert!(described.contains(part), "no `{part}`: {described}");
    }
    assert!(told("purser get gpus -o json").contains("000.00-fake"), "the driver's release says it as well");
    kill(checkout.pid(), Signal::SIGTERM).unwrap();
    let (shown, said, status) = running.end();
    assert!(status.success(), "{shown}{said}");
    let cleaned = bounded::output(checkout.script("clean").env("GPU", "fake"));
    assert!(cleaned.status.success(), "{}", String::from_utf8_lossy(&cleaned.stderr));
}
