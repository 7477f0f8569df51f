//! Becoming a container's process: the last steps before the program runs, in the process that will be it.
//!
//! Single-threaded and never mixed with the service: what it changes (groups, namespaces, user) is its own.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_no_new_privs;
use nix::sys::signal::SigSet;
use nix::unistd::{Gid, Uid, User, geteuid, setgid, setgroups, setuid};
use purser_events::pod::event::FailureClass;
use purser_events::worker::ProcessIdentity;

use super::folder::Folder;
use super::identity;
use super::processors;
use super::program;
use super::records::{BindMount, Failure, Plan, PlannedUser};
use crate::adapter::volumes::open_source;

/// Enters the groups, the processors and the mounts of a container that is about to start, as its first process.
pub(super) fn prepare_first(plan: &Plan) -> Result<(), Failure> {
    processors::enter(plan)?;
    // What a container is worth is for its own limits to say: not for the score of what watches it.
    let _ = fs::write("/proc/self/oom_score_adj", "0");
    if plan.mounts.is_empty() { Ok(()) } else { mount_volumes(&plan.mounts) }
}

/// Enters the groups, the processors and the mounts of a running container.
pub(super) fn prepare_beside(folder: &Folder, plan: &Plan, main: &ProcessIdentity) -> Result<(), Failure> {
    let gone = || Failure::invalid("the container does not run any more");
    if !identity::lives(main) {
        return Err(gone());
    }
    processors::enter_beside(folder, plan)?;
    let _ = fs::write("/proc/self/oom_score_adj", "0");
    if plan.mounts.is_empty() {
        return Ok(());
    }
    let namespace = fs::File::open(format!("/proc/{}/ns/mnt", main.host_pid)).map_err(|_| gone())?;
    // Checked again: the pid may have become another process's before the file was opened.
    if !identity::lives(main) {
        return Err(gone());
    }
    setns(namespace, CloneFlags::CLONE_NEWNS)
        .map_err(|error| Failure::runtime(format!("failed to enter the container's mounts: {error}")))
}

fn mount_volumes(mounts: &[BindMount]) -> Result<(), Failure> {
    let failed = |what: &str, error: nix::Error| Failure {
        class: FailureClass::Volume,
        message: format!("failed to {what}: {error}"),
    };
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| failed("make a mount namespace", error))?;
    // Nothing that is mounted here reaches the host; what the host unmounts goes here too, or it would stay busy.
    let none: Option<&Path> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)
        .map_err(|error| failed("make the mounts private", error))?;
    // Every source is opened before the first mount, which may hide the path of the next source.
    let sources = mounts.iter().map(|volume| {
        let what = format!("open the volume at `{}`", volume.source.display());
        open_source(&volume.source).map_err(|error| failed(&what, error))
    });
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    for (volume, source) in mounts.iter().zip(&sources) {
        let target = volume.target.display();
        if !volume.target.exists() {
            return Err(Failure {
                class: FailureClass::Volume,
                message: format!(
                    "mountPath `{target}` must exist on the host: the process runtime has no image to make it in"
                ),
            });
        }
        let what = format!("mount a volume at `{target}`");
        let source = PathBuf::from(format!("/proc/self/fd/{}", fd_number(source)));
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(&source), &volume.target, none, bind, none).map_err(|error| failed(&what, error))?;
        if volume.read_only {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(none, &volume.target, none, flags, none).map_err(|error| failed(&what, error))?;
        }
    }
    Ok(())
}

fn fd_number(fd: &impl AsFd) -> i32 {
    use std::os::fd::AsRawFd;
    fd.as_fd().as_raw_fd()
}

/// Gives up what the container's user may not have.
pub(super) fn become_user(user: &PlannedUser) -> Result<(), Failure> {
    let failed =
        |what: String| move |error: nix::Error| Failure::invalid(format!("failed to {what}: {error}"));
    if user.no_new_privileges {
        set_no_new_privs().map_err(failed("forbid new privileges".into()))?;
    }
    if let Some(groups) = &user.groups {
        let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups).map_err(failed("set the supplementary groups".into()))?;
    }
    if let Some(gid) = user.gid {
        setgid(Gid::from_raw(gid)).map_err(failed(format!("become group {gid}")))?;
    }
    if let Some(uid) = user.uid {
        setuid(Uid::from_raw(uid)).map_err(failed(format!("become user {uid}")))?;
    }
    Ok(())
}

/// A command that is ready to replace this process.
pub(super) struct Ready {
    command: Command,
    program: PathBuf,
}

/// Finds the program and makes its environment, as the user that it will run as.
pub(super) fn ready(plan: &Plan, argv: &[String]) -> Result<Ready, Failure> {
    let folder = &plan.working_dir;
    std::env::set_current_dir(folder).map_err(|error| {
        Failure::invalid(format!("failed to enter the working folder `{}`: {error}", folder.display()))
    })?;
    let Some((name, args)) = argv.split_first() else {
        return Err(Failure::invalid("there is no command to run"));
    };
    let program = program::find(name, program::search_path(&plan.env)).map_err(Failure::invalid)?;
    let mut command = Command::new(&program);
    command.arg0(name).args(args).env_clear().env("PATH", program::DEFAULT_PATH).env("HOME", home());
    command.envs(plan.env.iter().map(|(name, value)| (name, value)));
    Ok(Ready { command, program })
}

/// As the container runtimes do: the home of the user, or the root where the host does not know the user.
fn home() -> PathBuf {
    let user = User::from_uid(geteuid()).ok().flatten();
    user.map_or_else(|| "/".into(), |user| user.dir)
}

impl Ready {
    /// Replaces this process by the program. Returns only if that failed.
    pub(super) fn run(mut self) -> Failure {
        // A program keeps the mask of who becomes it, and the shim blocks the signals that a container is ended by.
        if let Err(error) = SigSet::empty().thread_set_mask() {
            return Failure::runtime(format!("failed to unblock signals: {error}"));
        }
        let error = self.command.exec();
        let program = self.program.display();
        Failure::invalid(match error.raw_os_error().map(nix::Error::from_raw) {
            Some(nix::Error::ENOENT) => format!("program `{program}` needs an interpreter that is not there"),
            Some(nix::Error::ENOEXEC) => {
                format!("program `{program}` is not in a format that this machine runs")
            }
            Some(nix::Error::E2BIG) => format!("arguments and environment of `{program}` are too long"),
            _ => format!("program `{program}` could not be run: {error}"),
        })
    }
}
