//! Whose a process is: the kernel says in which control group it is, and the path of the group is one that this node has
//! chosen. What a process says of itself (its environment, its arguments) counts for nothing: its tenant writes it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Error, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit};
use purser_actors::port::ProcessOwner;
use purser_events::{ContainerName, PodUid};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use uuid::Uuid;

use super::stat::{inner_pid, start_time_ticks};

/// Most processes that are remembered; with more, all are asked about again.
const KNOWN_MAX: usize = 16_384;
/// Longest line of `/proc/<pid>/stat`, in bytes: 52 numbers and a name of at most 64.
const STAT_LEN_MAX: usize = 2_048;
/// Longest name of a process that is told, in characters: the kernel keeps 15.
const NAME_CHARS_MAX: usize = 32;

/// Where the kernel tells of its own processes.
const PROC: &str = "/proc";
/// What the kernel calls the namespace of process ids in which all processes are: the number is part of its interface.
const HOST_PIDS: &str = "pid:[4026531836]";
/// What the kernel puts behind the path of a group that was removed.
const DELETED: &str = " (deleted)";
/// Most processes that a descriptor is held of, and the part of this service's descriptors that they may be.
const HELD_MAX: usize = 4_096;
const HELD_PART: u64 = 8;

/// Processes that are a pod's, by pid.
type Known = BTreeMap<u32, Kept>;

/// A process that is a pod's.
#[derive(Debug)]
struct Kept {
    /// Its time of start.
    started: u64,
    owner: ProcessOwner,
    /// A descriptor that stands for it and for no other that comes to have its pid; none if there was none to spare.
    held: Option<OwnedFd>,
}

impl Kept {
    /// Whether it is certain that the process has not ended. Asking a descriptor costs a tenth of reading a file of `/proc`.
    fn lives(&self) -> bool {
        let Some(held) = &self.held else { return false };
        let mut asked = [PollFd::new(held.as_fd(), PollFlags::POLLIN)];
        poll(&mut asked, PollTimeout::ZERO) == Ok(0)
    }
}

/// Tells whose processes are.
#[derive(Debug)]
pub struct Owners {
    /// Where the kernel tells of processes: `/proc`.
    proc_root: PathBuf,
    /// The group below which every pod has one, as the node names it.
    prefix: String,
    /// What stands for the top of each hierarchy in a process' paths, by the hierarchy's controllers.
    tops: BTreeMap<String, String>,
    /// A process stays in its group.
    known: Mutex<Known>,
    /// Most of them that a descriptor is held of: none where `/proc` is made up.
    held_max: usize,
    /// Whether every process of the machine has an id here.
    sees_all: bool,
}

impl Owners {
    /// Those of the node whose groups are below `prefix`, as the kernel tells below `proc_root`.
    #[must_use]
    pub fn new(proc_root: &Path, prefix: &str) -> Owners {
        let mounts = fs::read_to_string(proc_root.join("self/mountinfo")).unwrap_or_default();
        let pids = fs::read_link(proc_root.join("self/ns/pid"));
        let spare = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft / HELD_PART);
        let held_max = usize::try_from(spare).unwrap_or(HELD_MAX).min(HELD_MAX);
        Owners {
            proc_root: proc_root.to_path_buf(),
            prefix: prefix.to_owned(),
            tops: tops(&mounts),
            known: Mutex::new(BTreeMap::new()),
            held_max: if proc_root == Path::new(PROC) { held_max } else { 0 },
            sees_all: pids.map_or(true, |pids| pids == Path::new(HOST_PIDS)),
        }
    }

    /// Whether this service has a namespace of process ids of its own: the ids that a driver tells may then be those of
    /// other processes here.
    #[must_use]
    pub fn sees_a_part(&self) -> bool {
        !self.sees_all
    }

    /// Whose a process is now.
    #[must_use]
    pub fn owner(&self, pid: u32) -> ProcessOwner {
        if let Some(kept) = self.lock().get(&pid).filter(|kept| kept.lives()) {
            return kept.owner.clone();
        }
        let folder = self.proc_root.join(pid.to_string());
        let started = match started(&folder) {
            Ok(Some(started)) => started,
            Err(error) if is_over(&error) => {
                self.lock().remove(&pid);
                return ProcessOwner::Gone;
            }
            // It is there, and this service cannot look at it now.
            Ok(None) | Err(_) => return ProcessOwner::Unreadable,
        };
        if let Some(kept) = self.lock().get(&pid).filter(|kept| kept.started == started) {
            return kept.owner.clone();
        }
        let owner = self.look(&folder).unwrap_or(ProcessOwner::Unreadable);
        let held = if matches!(owner, ProcessOwner::Pod { .. }) { self.hold(pid) } else { None };
        // Asked again: had another taken its pid meanwhile, what was read and what is held would be of that one.
        match self::started(&folder) {
            Ok(Some(again)) if again == started => {}
            Ok(Some(_)) => return ProcessOwner::Gone,
            Err(error) if is_over(&error) => return ProcessOwner::Gone,
            Ok(None) | Err(_) => return ProcessOwner::Unreadable,
        }
        let mut known = self.lock();
        if KNOWN_MAX <= known.len() {
            known.clear();
        }
        match &owner {
            ProcessOwner::Pod { .. } => {
                drop(known.insert(pid, Kept { started, owner: owner.clone(), held }));
            }
            // It may be on its way into a group.
            ProcessOwner::Unknown { .. } | ProcessOwner::Unreadable | ProcessOwner::Gone => {
                drop(known.remove(&pid));
            }
        }
        owner
    }

    /// A descriptor of a process, if there is one to spare. Those of processes that have ended are given back first.
    fn hold(&self, pid: u32) -> Option<OwnedFd> {
        let mut known = self.lock();
        let is_full =
            |known: &Known| self.held_max <= known.values().filter(|kept| kept.held.is_some()).count();
        if is_full(&known) {
            known.retain(|_, kept| kept.held.is_none() || kept.lives());
            if is_full(&known) {
                return None;
            }
        }
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        pidfd_open(pid, PidfdFlags::NONBLOCK).ok()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose the groups of a process say that it is. It is a stranger's only if its groups and its name could be read: by
    /// its name it may be welcome.
    fn look(&self, folder: &Path) -> std::io::Result<ProcessOwner> {
        let groups = text(&folder.join("cgroup"))?;
        if groups.is_empty() {
            return Ok(ProcessOwner::Unreadable);
        }
        let Some((pod, container, attempt)) = self.owner_of_groups(&groups) else {
            let name = text(&folder.join("comm"))?;
            let plain = name.trim().chars().filter(|letter| !letter.is_control()).take(NAME_CHARS_MAX);
            return Ok(ProcessOwner::Unknown { name: Some(plain.collect()) });
        };
        let status = text(&folder.join("status")).unwrap_or_default();
        Ok(ProcessOwner::Pod { pod, container, attempt, inner_pid: inner_pid(&status) })
    }

    /// Whose the groups of a process are: every hierarchy in which it is in one of ours must say the same.
    fn owner_of_groups(&self, groups: &str) -> Option<(PodUid, ContainerName, u32)> {
        let mut found = None;
        for line in groups.lines() {
            // As in `4:memory:/purser/5e4f…/main-1`, or `0::/purser/5e4f…/main-1` in version 2.
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            // A process that has died and that nobody waited for is in a group that may be gone.
            let path = path.strip_suffix(DELETED).unwrap_or(path);
            let top = self.tops.get(controllers).map_or("", String::as_str);
            let below = path.strip_prefix(top).and_then(|path| path.strip_prefix('/'));
            let below = below.and_then(|path| path.strip_prefix(&self.prefix)?.strip_prefix('/'));
            let Some(below) = below else { continue };
            let owner = parse(below)?;
            if found.as_ref().is_some_and(|found| *found != owner) {
                return None;
            }
            found = Some(owner);
        }
        found
    }
}

/// Whether there is no process any more that a file of it could speak of.
fn is_over(error: &Error) -> bool {
    // The second is what a file says whose process ends while it is open.
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
}

/// What a file says. A process may give itself a name that is no text: nothing else in the file is lost by that.
fn text(path: &Path) -> std::io::Result<String> {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// When a process was started; none if its file says nothing of the kind. Read at once, as this is asked often.
fn started(folder: &Path) -> std::io::Result<Option<u64>> {
    let mut stat = [0; STAT_LEN_MAX];
    let len = File::open(folder.join("stat"))?.read(&mut stat)?;
    Ok(stat.get(..len).and_then(|stat| start_time_ticks(&String::from_utf8_lossy(stat))))
}

/// Pod, container and attempt of a path below the node's group: `POD/CONTAINER-ATTEMPT`, and what the container made
/// below that.
fn parse(path: &str) -> Option<(PodUid, ContainerName, u32)> {
    let mut parts = path.split('/');
    let pod = Uuid::try_parse(parts.next()?).ok()?;
    let (container, attempt) = parts.next()?.rsplit_once('-')?;
    Some((PodUid(pod), ContainerName::new(container).ok()?, attempt.parse().ok()?))
}

/// The group that is mounted as the top of each hierarchy, by its controllers as `/proc/PID/cgroup` names them: none but
/// the empty one where the whole hierarchy is.
fn tops(mountinfo: &str) -> BTreeMap<String, String> {
    let top = |line: &str| {
        // As in `35 31 0:32 / /sys/fs/cgroup/memory rw shared:1 - cgroup cgroup rw,memory`.
        let (before, after) = line.split_once(" - ")?;
        let root = before.split(' ').nth(3)?;
        let mut after = after.split(' ');
        let controllers = match after.next()? {
            "cgroup2" => String::new(),
            // Named as the folder is: the options have more than controllers, in another order.
            "cgroup" => before.split(' ').nth(4)?.rsplit('/').next()?.to_owned(),
            _ => return None,
        };
        Some((controllers, root.trim_end_matches('/').to_owned()))
    };
    mountinfo.lines().filter_map(top).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "0192a000-0000-7000-8000-000000000007";

    /// A `/proc` of processes with these files.
    struct Proc(tempfile::TempDir);

    impl Proc {
        fn new(mountinfo: &str) -> Proc {
            let proc = Proc(tempfile::tempdir().unwrap());
            fs::create_dir(proc.0.path().join("self")).unwrap();
            fs::write(proc.0.path().join("self/mountinfo"), mountinfo).unwrap();
            proc
        }

        fn process(&self, pid: u32, started: u64, cgroup: &str) {
            let folder = self.0.path().join(pid.to_string());
            fs::create_dir_all(&folder).unwrap();
            let stat = format!("{pid} (a) b) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {started} 0 0\n");
            for (file, text) in [
                ("stat", stat.as_str()),
                ("cgroup", cgroup),
                ("comm", "train\n"),
                ("status", &format!("Name:\ttrain\nNSpid:\t{pid}\t7\n")),
            ] {
                fs::write(folder.join(file), text).unwrap();
            }
        }

        fn owners(&self) -> Owners {
            Owners::new(self.0.path(), "purser")
        }
    }

    fn of_pod(attempt: u32) -> ProcessOwner {
        ProcessOwner::Pod {
            pod: PodUid(POD.parse().unwrap()),
            container: ContainerName::new("side-car").unwrap(),
            attempt,
            inner_pid: Some(7),
        }
    }

    fn unknown() -> ProcessOwner {
        ProcessOwner::Unknown { name: Some("train".to_owned()) }
    }

    #[test]
    fn the_control_group_says_whose_a_process_is_in_both_versions() {
        let proc = Proc::new("31 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
        let other = "0192a000-0000-7000-8000-000000000008";
        let cases = [
            (format!("0::/purser/{POD}/side-car-3\n"), of_pod(3)),
            (format!("4:memory:/purser/{POD}/side-car-3\n1:name=systemd:/init.scope\n0::/\n"), of_pod(3)),
            (format!("0::/purser/{POD}/side-car-3/made/by/it\n"), of_pod(3)),
            // Of another node, of none, of a pod but no container, and no pod at all.
            (format!("0::/purser-1234/{POD}/side-car-3\n"), unknown()),
            (format!("0::/elsewhere/purser/{POD}/side-car-3\n"), unknown()),
            (format!("0::/purser/{POD}\n"), unknown()),
            (format!("0::/purser/{POD}/side-car\n"), unknown()),
            ("0::/purser/not-a-pod/main-1\n".to_owned(), unknown()),
            ("0::/\n".to_owned(), unknown()),
            // Its group went before it did.
            (format!("0::/purser/{POD}/side-car-3 (deleted)\n"), of_pod(3)),
            (String::new(), ProcessOwner::Unreadable),
            // Hierarchies that contradict each other.
            (format!("4:memory:/purser/{POD}/side-car-3\n1:cpu:/purser/{other}/side-car-3\n"), unknown()),
        ];
        for (pid, (cgroup, expected)) in (100..).zip(cases) {
            proc.process(pid, 5, &cgroup);
            assert_eq!(proc.owners().owner(pid), expected, "{cgroup}");
        }
        assert_eq!(proc.owners().owner(99), ProcessOwner::Gone);
    }

    #[test]
    fn a_hierarchy_that_is_mounted_in_part_is_read_from_its_top() {
        let part = "31 23 0:28 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                    32 23 0:29 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let proc = Proc::new(part);
        proc.process(1, 5, &format!("4:memory:/docker/abc/purser/{POD}/side-car-1\n"));
        proc.process(2, 5, &format!("0::/docker/abc/purser/{POD}/side-car-2\n"));
        proc.process(3, 5, &format!("0::/purser/{POD}/side-car-3\n"));
        let owners = proc.owners();
        assert_eq!([1, 2, 3].map(|pid| owners.owner(pid)), [of_pod(1), of_pod(2), unknown()]);
    }

    #[test]
    fn a_pid_that_another_has_now_is_not_the_pods_any_more() {
        let proc = Proc::new("");
        let owners = proc.owners();
        proc.process(42, 5, &format!("0::/purser/{POD}/side-car-1\n"));
        assert_eq!(owners.owner(42), of_pod(1));
        proc.process(42, 6, "0::/\n");
        assert_eq!(owners.owner(42), unknown());
        proc.process(42, 7, &format!("0::/purser/{POD}/side-car-2\n"));
        assert_eq!(owners.owner(42), of_pod(2));
        fs::remove_dir_all(proc.0.path().join("42")).unwrap();
        assert_eq!(owners.owner(42), ProcessOwner::Gone);
    }

    #[test]
    fn a_process_that_was_nobodys_may_become_a_pods() {
        let proc = Proc::new("");
        let owners = proc.owners();
        proc.process(42, 5, "0::/\n");
        assert_eq!(owners.owner(42), unknown());
        proc.process(42, 5, &format!("0::/purser/{POD}/side-car-1\n"));
        assert_eq!(owners.owner(42), of_pod(1));
    }

    #[test]
    fn what_cannot_be_read_makes_nobody_a_stranger() {
        let proc = Proc::new("");
        let folder = |pid: u32| proc.0.path().join(pid.to_string());
        // A folder in the place of a file: it is there, and reading it fails.
        for (pid, file, groups) in
            [(1, "stat", "0::/\n"), (2, "cgroup", "0::/\n"), (3, "comm", "0::/\n"), (4, "cgroup", "")]
        {
            proc.process(pid, 5, groups);
            fs::remove_file(folder(pid).join(file)).unwrap();
            fs::create_dir(folder(pid).join(file)).unwrap();
        }
        proc.process(5, 5, &format!("0::/purser/{POD}/side-car-1\n"));
        fs::write(folder(5).join("stat"), "5 (a) S 1\n").unwrap();
        let owners = proc.owners();
        for pid in 1..=5 {
            assert_eq!(owners.owner(pid), ProcessOwner::Unreadable, "{pid}");
        }
        // Once it can be read it is told.
        fs::remove_dir(folder(2).join("cgroup")).unwrap();
        fs::write(folder(2).join("cgroup"), format!("0::/purser/{POD}/side-car-1\n")).unwrap();
        assert_eq!(owners.owner(2), of_pod(1));
        // Who has gone between the list and the look is nobody.
        fs::remove_dir_all(folder(3)).unwrap();
        assert_eq!(owners.owner(3), ProcessOwner::Gone);
    }

    #[test]
    fn a_name_that_is_no_text_hides_nobody() {
        let proc = Proc::new("");
        proc.process(42, 5, &format!("0::/purser/{POD}/side-car-1\n"));
        let folder = proc.0.path().join("42");
        for file in ["stat", "comm", "status"] {
            let text = fs::read_to_string(folder.join(file)).unwrap();
            let bytes = [b"Name: \xff\n".as_slice(), text.as_bytes()].concat();
            let bytes = if file == "stat" { [b"42 (\xff".as_slice(), &bytes[11..]].concat() } else { bytes };
            fs::write(folder.join(file), bytes).unwrap();
        }
        assert_eq!(proc.owners().owner(42), of_pod(1));
    }

    #[test]
    fn a_process_that_is_held_is_known_by_that_until_it_ends() {
        let mut child = std::process::Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let owners = Owners::new(Path::new(PROC), "purser-of-nobody");
        let kept = || Kept { started: 0, owner: of_pod(1), held: owners.hold(child.id()) };
        let (kept, other) = (kept(), kept());
        assert!(kept.lives(), "it runs");
        owners.lock().insert(child.id(), kept);
        assert_eq!(owners.owner(child.id()), of_pod(1), "no file of it is read");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!other.lives());
        assert_eq!(owners.owner(child.id()), ProcessOwner::Gone);
        assert!(owners.lock().is_empty());
    }

    #[test]
    fn no_more_descriptors_are_held_than_there_are_to_spare() {
        let owners = Owners { held_max: 1, ..Owners::new(Path::new(PROC), "purser-of-nobody") };
        let mut child = std::process::Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let held = owners.hold(child.id());
        assert!(held.is_some());
        owners.lock().insert(child.id(), Kept { started: 0, owner: of_pod(1), held });
        assert!(owners.hold(std::process::id()).is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(owners.hold(std::process::id()).is_some(), "what has ended makes room");
    }

    #[test]
    fn a_namespace_of_ones_own_is_noticed() {
        let proc = Proc::new("");
        assert!(!proc.owners().sees_a_part(), "it is not known");
        fs::create_dir(proc.0.path().join("self/ns")).unwrap();
        let link = proc.0.path().join("self/ns/pid");
        for (names, sees_a_part) in [(HOST_PIDS, false), ("pid:[4026532201]", true)] {
            drop(fs::remove_file(&link));
            std::os::unix::fs::symlink(names, &link).unwrap();
            assert_eq!(proc.owners().sees_a_part(), sees_a_part, "{names}");
        }
    }

    #[test]
    fn this_process_is_none_of_a_pods() {
        let owners = Owners::new(Path::new("/proc"), "purser-of-nobody");
        assert!(matches!(owners.owner(std::process::id()), ProcessOwner::Unknown { name: Some(_) }));
    }
}
