//! The shim: the small process that watches one container, so that the node may come and go.
//!
//! It runs from the program of the node, knows nothing of it, and speaks through files: it says what it started
//! before the program may run, and how that ended after all of it is gone. It holds the lock of its folder for
//! as long as it lives. Nobody talks to it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::prctl::{set_child_subreaper, set_name};
use nix::sys::signal::SigSet;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};
use purser_events::pod::event::{Exit, ExitReason};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, kill_process_group, wait, waitid, waitpid,
};

use super::cgroup;
use super::enter;
use super::exec;
use super::folder::Folder;
use super::identity;
use super::records::{Ending, Failure, Keep, Phase, Plan, Report, State, now};

/// Longest wait for killed processes to be gone: one that hangs in the kernel must not hide the exit for ever.
const SWEEP_MAX: Duration = Duration::from_secs(10);
/// What the first process of a container says right before it becomes the program.
const READY: u8 = b'.';

/// Runs `purserd shim <folder>`: starts the container that is planned in the folder, watches it to its end and
/// writes down how it ended. Gives the exit code of the process: 0 if the container ran.
#[must_use]
pub fn shim_main(dir: &Path) -> i32 {
    close_inherited();
    let folder = Folder::at(dir);
    let Some((lock, mut report)) = take_stdio(&folder) else { return 2 };
    match Shim::start(&folder) {
        Ok(shim) => {
            tell(&mut report, &Report::Started(shim.state.clone()));
            drop(report);
            let ending = shim.watch();
            // Nothing can be done where the disk is full: the end will then count as unseen.
            let written = folder.write_ending(&ending);
            drop(lock);
            i32::from(written.is_err())
        }
        Err(failure) => {
            let ending = Ending {
                exit: Exit { code: 128, reason: ExitReason::StartError, finished_at: now() },
                oom_kills: 0,
            };
            let _ = folder.write_ending(&ending);
            tell(&mut report, &failure.report());
            1
        }
    }
}

fn tell(report: &mut File, what: &Report) {
    // Whoever asked may be gone; the folder says the same.
    let _ = serde_json::to_writer(report, what);
}

/// Closes whatever the node's own parent left open in it beside the standard streams: it is not the container's.
fn close_inherited() {
    let open: Vec<i32> = fs::read_dir("/proc/self/fd").map_or_else(
        |_| Vec::new(),
        |entries| entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect(),
    );
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        // Nothing in this process owns one yet; that of the listing itself is closed already.
        let _ = nix::unistd::close(fd);
    }
}

/// The lock comes in as standard input and the way to the parent as standard output. Both move out of the way of
/// the programs to come; none if this was not started by a node.
fn take_stdio(folder: &Folder) -> Option<(File, File)> {
    let lock = File::from(std::io::stdin().as_fd().try_clone_to_owned().ok()?);
    let (mine, there) = (lock.metadata().ok()?, fs::metadata(folder.lock_path()).ok()?);
    if (mine.dev(), mine.ino()) != (there.dev(), there.ino()) || lock.try_lock().is_err() {
        return None;
    }
    let report = File::from(std::io::stdout().as_fd().try_clone_to_owned().ok()?);
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").ok()?;
    dup2_stdin(&null).and_then(|()| dup2_stdout(&null)).and_then(|()| dup2_stderr(&null)).ok()?;
    Some((lock, report))
}

/// A container that runs.
struct Shim {
    plan: Plan,
    state: State,
    main: Pid,
}

impl Shim {
    fn start(folder: &Folder) -> Result<Shim, Failure> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Failure::runtime(format!("failed to {what}: {error}"))
        };
        stand_apart().map_err(|error| failed("leave the node's session", &error))?;
        let plan = folder.plan().map_err(|error| failed("read the plan", &error))?;
        let plan = plan.ok_or_else(|| Failure::runtime("there is no plan"))?;
        let (mut control, far_end) = UnixStream::pair().map_err(|error| failed("make a socket", &error))?;
        let mut child = spawn_first(folder, &plan, far_end)?;
        let started = introduce(folder, &child, &mut control);
        let state = match started {
            Ok(state) => state,
            Err(failure) => {
                // The container's first process still waits for its word, or has failed and ends by itself.
                let _ = child.kill();
                let _ = child.wait();
                sweep(&plan, None);
                return Err(failure);
            }
        };
        let main = pid_of(child.id()).expect("a child has a pid");
        Ok(Shim { plan, state, main })
    }

    /// Waits for the main process, then ends what it left behind.
    fn watch(self) -> Ending {
        let code = self.main_end();
        let finished_at = now();
        sweep(&self.plan, Some(self.main));
        let oom_kills = cgroup::oom_kills(&self.plan.cgroups);
        let reason = match code {
            0 => ExitReason::Completed,
            // Also the code of a shell whose last command was killed so.
            137 if oom_kills > 0 => ExitReason::OomKilled,
            _ => ExitReason::Error,
        };
        Ending { exit: Exit { code, reason, finished_at }, oom_kills }
    }

    /// Waits until the main process has ended, collecting the orphans that end before it. It is not collected
    /// itself, so that the number of its group stays its own for the sweep.
    fn main_end(&self) -> u8 {
        loop {
            match waitid(WaitId::Pid(self.main), MAIN_ENDED) {
                Ok(Some(status)) => return exit_code(status.exit_status(), status.terminating_signal()),
                Ok(None) => {}
                Err(_) => return 255,
            }
            match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return 255,
            }
            if let Some(code) = self.collect_orphans() {
                return code;
            }
        }
    }

    /// Gives the exit code of the main process if it ended in this very moment.
    fn collect_orphans(&self) -> Option<u8> {
        if matches!(waitid(WaitId::Pid(self.main), MAIN_ENDED), Ok(Some(_))) {
            return None;
        }
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == self.main => {
                Some(exit_code(status.exit_status(), status.terminating_signal()))
            }
            Ok(_) | Err(_) => None,
        }
    }
}

/// Looks whether a process has ended and leaves it to be collected.
const MAIN_ENDED: WaitIdOptions =
    WaitIdOptions::EXITED.union(WaitIdOptions::NOWAIT).union(WaitIdOptions::NOHANG);

/// The shell's convention: 128 + signal for a process that a signal ended.
fn exit_code(code: Option<i32>, signal: Option<i32>) -> u8 {
    let code = code.map(|code| code & 0xff).or(signal.map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

/// Nothing that happens to the node's session, terminal or folder happens to the shim.
fn stand_apart() -> nix::Result<()> {
    setsid()?;
    set_child_subreaper(true)?;
    // Whoever ends every `purserd` by its name must not take the containers with it.
    set_name(c"purser-shim")?;
    nix::unistd::chdir("/")?;
    umask(Mode::from_bits_truncate(0o022));
    use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    [SIGHUP, SIGINT, SIGQUIT, SIGTERM].into_iter().collect::<SigSet>().thread_block()?;
    // Killing a shim frees next to nothing and loses a container. Only root may ask to be spared.
    let _ = fs::write("/proc/self/oom_score_adj", "-998");
    Ok(())
}

/// Starts the process that will become the container's program, once it is told to.
fn spawn_first(folder: &Folder, plan: &Plan, control: UnixStream) -> Result<Child, Failure> {
    let failed =
        |what: &str, error: &dyn std::fmt::Display| Failure::runtime(format!("failed to {what}: {error}"));
    let mut options = OpenOptions::new();
    let options = options.append(true).create(true).mode(0o640).custom_flags(OFlag::O_NOFOLLOW.bits());
    let log = options.open(&plan.log).map_err(|error| failed("open the log", &error))?;
    // Programs that open /dev/stdout by name can do so only if the file is theirs.
    fchown(&log, plan.user.uid, plan.user.gid).map_err(|error| failed("give away the log", &error))?;
    let errors = log.try_clone().map_err(|error| failed("open the log", &error))?;
    // The very program that runs now, also after a new one was installed in its place.
    let mut command = Command::new("/proc/self/exe");
    command.arg("shim-init").arg(folder.path()).env_clear();
    command.stdin(OwnedFd::from(control)).stdout(log).stderr(errors);
    command.spawn().map_err(|error| failed("start a process", &error))
}

/// Writes down who the process is, lets it go on, and waits until it has become the program.
fn introduce(folder: &Folder, child: &Child, control: &mut UnixStream) -> Result<State, Failure> {
    let failed =
        |error: std::io::Error| Failure::runtime(format!("failed to write the container's state: {error}"));
    let mut state = State {
        shim: identity::identify(std::process::id()).map_err(failed)?,
        main: identity::identify(child.id()).map_err(failed)?,
        phase: Phase::Starting,
        started_at: now(),
    };
    folder.write_state(&state, Keep::Power).map_err(failed)?;
    let mut answer = Vec::new();
    let heard = control.write_all(&[READY]).and_then(|()| control.take(64 << 10).read_to_end(&mut answer));
    match (heard, answer.split_first()) {
        (Ok(_), Some((&READY, []))) => {
            state.phase = Phase::Running;
            state.started_at = now();
            folder.write_state(&state, Keep::Processes).map_err(failed)?;
            Ok(state)
        }
        (Ok(_), Some((&READY, rest))) => Err(told(rest)),
        (Ok(_), Some(_)) => Err(told(&answer)),
        (Ok(_) | Err(_), None) | (Err(_), Some(_)) => {
            Err(Failure::runtime("the container was killed as it started"))
        }
    }
}

fn told(answer: &[u8]) -> Failure {
    match serde_json::from_slice(answer) {
        Ok(Report::Failed { class, message }) => Failure { class, message },
        Ok(Report::Started(_)) | Err(_) => {
            Failure::runtime("the container's first process failed and did not say why")
        }
    }
}

/// Kills and collects everything that is left of a container: its group, its control groups, and what came to
/// the shim as an orphan.
fn sweep(plan: &Plan, main: Option<Pid>) {
    if let Some(main) = main.filter(|main| matches!(waitid(WaitId::Pid(*main), MAIN_ENDED), Ok(Some(_)))) {
        let _ = kill_process_group(main, Signal::KILL);
        let _ = waitpid(Some(main), WaitOptions::empty());
    }
    let (me, begun) = (std::process::id(), Instant::now());
    loop {
        cgroup::kill_all(&plan.cgroups);
        for orphan in identity::children(me) {
            // Children stay until they are collected here, so the pid cannot be another's.
            if let Some(orphan) = pid_of(orphan) {
                let _ = kill_process(orphan, Signal::KILL);
            }
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        let left = !identity::children(me).is_empty() || !cgroup::members(&plan.cgroups).is_empty();
        if !left || begun.elapsed() > SWEEP_MAX {
            return;
        }
        sleep(Duration::from_millis(5));
    }
}

/// Runs `purserd shim-init <folder>`: the first process of a container, which becomes its program. Gives the
/// exit code of the process if that fails.
#[must_use]
pub fn init_main(dir: &Path) -> i32 {
    let Ok(control) = std::io::stdin().as_fd().try_clone_to_owned() else { return 2 };
    let mut control = UnixStream::from(control);
    let null = OpenOptions::new().read(true).open("/dev/null");
    if null.is_err() || null.is_ok_and(|null| dup2_stdin(&null).is_err()) {
        return 2;
    }
    // No word means that the shim is gone: then nobody would watch.
    if control.read_exact(&mut [0]).is_err() {
        return 2;
    }
    let failure = match become_container(&Folder::at(dir)) {
        Ok(ready) => match control.write_all(&[READY]) {
            Ok(()) => ready.run(),
            Err(_) => return 2,
        },
        Err(failure) => failure,
    };
    let _ = serde_json::to_writer(control, &failure.report());
    127
}

fn become_container(folder: &Folder) -> Result<enter::Ready, Failure> {
    let failed =
        |what: &str, error: &dyn std::fmt::Display| Failure::runtime(format!("failed to {what}: {error}"));
    let plan = folder.plan().map_err(|error| failed("read the plan", &error))?;
    let plan = plan.ok_or_else(|| Failure::runtime("the container was removed as it started"))?;
    // A session of its own is also a process group of its own.
    setsid().map_err(|error| failed("begin a session", &error))?;
    enter::prepare_first(&plan)?;
    enter::become_user(&plan.user)?;
    enter::ready(&plan, &plan.argv)
}

/// Runs `purserd shim-exec <folder> <report> <program> [argument …]`: a command in a running container. What
/// goes wrong before the command runs is written to the report. Gives the exit code of the process if so.
#[must_use]
pub fn exec_main(dir: &Path, report_path: &Path, argv: &[String]) -> i32 {
    close_inherited();
    // Opened first: a mount of the container may hide its path.
    let Ok(mut report) = OpenOptions::new().write(true).create_new(true).mode(0o600).open(report_path) else {
        return 2;
    };
    // Before anything can be run: a node that comes back ends what it finds no end of.
    let noted = exec::note_own_process(report_path)
        .map_err(|error| Failure::runtime(format!("failed to note the command's process: {error}")));
    let failure = match noted.and_then(|()| enter_container(&Folder::at(dir), argv)) {
        Ok(ready) => ready.run(),
        Err(failure) => failure,
    };
    let _ = serde_json::to_writer(&mut report, &failure.report());
    127
}

fn enter_container(folder: &Folder, argv: &[String]) -> Result<enter::Ready, Failure> {
    let failed =
        |what: &str, error: &dyn std::fmt::Display| Failure::runtime(format!("failed to {what}: {error}"));
    let plan = folder.plan().map_err(|error| failed("read the plan", &error))?;
    let state = folder.state().map_err(|error| failed("read the state", &error))?;
    let (Some(plan), Some(state)) = (plan, state) else {
        return Err(Failure::invalid("the container does not run any more"));
    };
    umask(Mode::from_bits_truncate(0o022));
    enter::prepare_beside(folder, &plan, &state.main)?;
    enter::become_user(&plan.user)?;
    enter::ready(&plan, argv)
}

fn pid_of(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}
