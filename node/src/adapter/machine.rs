//! The machine through `/proc` and `/sys`: what is used of it and what listens on its ports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use nix::sys::statvfs::statvfs;
use purser_actors::port::{Machine, MachineCapacity, MachineUse, ProcessOwner, Signal};
use purser_events::ledger::Port;
use purser_events::pod::spec::Protocol;
use purser_events::worker::ProcessIdentity;
use purser_events::{Bytes, CpuSet};

use super::owners::Owners;
use super::process::identity;
use super::{affinity, topology};

/// Most entries of `/proc` that are looked through: kernels have at most 4,194,304 processes.
const PROCESSES_MAX: usize = 4_194_304;
/// State of a TCP socket that listens, in `/proc/net/tcp`.
const LISTENS: &str = "0A";

/// The machine that this process runs on.
#[derive(Debug, Clone)]
pub struct ProcMachine {
    /// Where the kernel tells of processes: `/proc`.
    pub proc_root: PathBuf,
    /// Where it tells of devices: `/sys`.
    pub sys_root: PathBuf,
    /// A folder on the disk that is measured.
    pub disk: PathBuf,
    /// Ticks of processor time in a second, as `/proc/stat` counts them.
    pub ticks_per_s: u64,
    /// Who tells whose processes are.
    pub owners: Arc<Owners>,
}

impl ProcMachine {
    /// The machine whose disk is that of `disk`.
    #[must_use]
    pub fn own(disk: &Path, owners: Arc<Owners>) -> ProcMachine {
        let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
        let ticks_per_s = ticks.and_then(|ticks| u64::try_from(ticks).ok()).filter(|ticks| *ticks != 0);
        ProcMachine {
            proc_root: "/proc".into(),
            sys_root: "/sys".into(),
            disk: disk.to_path_buf(),
            ticks_per_s: ticks_per_s.unwrap_or(100),
            owners,
        }
    }

    /// What it has now. Blocks on the kernel for a moment.
    ///
    /// # Errors
    /// Names the file that cannot be read, or says something else than the kernel would.
    pub fn look(&self) -> io::Result<MachineCapacity> {
        let stat = statvfs(&self.disk)?;
        Ok(MachineCapacity {
            cpus: topology::read_own(&self.sys_root).map_err(io::Error::other)?,
            memory: self.memory("MemTotal:", &self.read("meminfo")?)?,
            disk: Bytes(stat.blocks().saturating_mul(stat.fragment_size())),
        })
    }

    fn measure(&self) -> io::Result<MachineUse> {
        let stat = statvfs(&self.disk)?;
        let used = stat.blocks().saturating_sub(stat.blocks_free());
        Ok(MachineUse {
            cpu_us: self.busy_us()?,
            memory: self.memory_used()?,
            disk: Bytes(used.saturating_mul(stat.fragment_size())),
        })
    }

    /// Busy time: all but idle and waiting for disks. Guests are in the first two already.
    fn busy_us(&self) -> io::Result<u64> {
        let text = self.read("stat")?;
        let line = text.lines().find_map(|line| line.strip_prefix("cpu ")).ok_or_else(|| self.odd("stat"))?;
        let ticks: Vec<u64> = line.split_ascii_whitespace().filter_map(|field| field.parse().ok()).collect();
        let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|index| ticks.get(*index)).sum();
        if ticks.len() < 8 {
            return Err(self.odd("stat"));
        }
        Ok(u64::try_from(u128::from(busy) * 1_000_000 / u128::from(self.ticks_per_s)).unwrap_or(u64::MAX))
    }

    fn memory_used(&self) -> io::Result<Bytes> {
        let text = self.read("meminfo")?;
        let (total, available) = (self.memory("MemTotal:", &text)?, self.memory("MemAvailable:", &text)?);
        Ok(Bytes(total.0.saturating_sub(available.0)))
    }

    /// A figure of `meminfo`.
    fn memory(&self, name: &str, text: &str) -> io::Result<Bytes> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| Bytes(kib.saturating_mul(1_024))).ok_or_else(|| self.odd("meminfo"))
    }

    fn read(&self, name: &str) -> io::Result<String> {
        let path = self.proc_root.join(name);
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        fs::read_to_string(&path).map_err(named)
    }

    fn odd(&self, name: &str) -> io::Error {
        let path = self.proc_root.join(name);
        io::Error::new(io::ErrorKind::InvalidData, format!("{} is not as expected", path.display()))
    }

    /// Sockets that listen, by their inode.
    fn sockets(&self) -> io::Result<BTreeMap<u64, Port>> {
        let mut found = BTreeMap::new();
        for (name, protocol) in
            [("tcp", Protocol::Tcp), ("tcp6", Protocol::Tcp), ("udp", Protocol::Udp), ("udp6", Protocol::Udp)]
        {
            let text = match self.read(&format!("net/{name}")) {
                Ok(text) => text,
                // Without IPv6 there is none of it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for line in text.lines().skip(1) {
                if let Some((inode, number)) = listener(line, protocol) {
                    found.insert(inode, Port { number, protocol });
                }
            }
        }
        Ok(found)
    }

    fn processes(&self) -> io::Result<Vec<u32>> {
        let entries = fs::read_dir(&self.proc_root)?.take(PROCESSES_MAX);
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
    }

    fn holders(&self) -> io::Result<BTreeMap<Port, BTreeSet<u32>>> {
        let sockets = self.sockets()?;
        let mut found: BTreeMap<Port, BTreeSet<u32>> = BTreeMap::new();
        for pid in self.processes()? {
            // A process that ends meanwhile, or may not be looked into, has nothing to tell.
            let Ok(entries) = fs::read_dir(self.proc_root.join(pid.to_string()).join("fd")) else { continue };
            for entry in entries.flatten() {
                let Ok(target) = fs::read_link(entry.path()) else { continue };
                let port = socket_inode(&target).and_then(|inode| sockets.get(&inode));
                if let Some(port) = port {
                    found.entry(*port).or_default().insert(pid);
                }
            }
        }
        Ok(found)
    }
}

/// Inode and port of a line of `/proc/net/{tcp,udp}`, if it is of a socket that waits for others. The fields: number,
/// local address, remote address, state, queues, timer, retransmits, uid, timeout, inode.
fn listener(line: &str, protocol: Protocol) -> Option<(u64, u16)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let number = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
    (protocol == Protocol::Udp || *state == LISTENS).then_some(())?;
    Some((inode.parse().ok()?, number))
}

/// The inode in a link such as `socket:[12345]`.
fn socket_inode(target: &Path) -> Option<u64> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[async_trait]
impl Machine for ProcMachine {
    async fn capacity(&self) -> io::Result<MachineCapacity> {
        let machine = self.clone();
        blocking(move || machine.look()).await
    }

    async fn usage(&self) -> io::Result<MachineUse> {
        let machine = self.clone();
        blocking(move || machine.measure()).await
    }

    async fn listeners(&self) -> io::Result<BTreeMap<Port, BTreeSet<u32>>> {
        let machine = self.clone();
        blocking(move || machine.holders()).await
    }

    async fn listened(&self) -> io::Result<BTreeSet<Port>> {
        let machine = self.clone();
        blocking(move || Ok(machine.sockets()?.into_values().collect())).await
    }

    async fn interfaces(&self) -> io::Result<BTreeSet<String>> {
        let folder = self.sys_root.join("class/net");
        blocking(move || {
            let entries = fs::read_dir(folder)?;
            Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
        })
        .await
    }

    async fn allowed_cpus(&self, pid: u32) -> io::Result<Option<CpuSet>> {
        let Ok(pid) = i32::try_from(pid) else { return Ok(None) };
        affinity::of(nix::unistd::Pid::from_raw(pid))
    }

    async fn owner(&self, pid: u32) -> ProcessOwner {
        self.owners.owner(pid)
    }

    async fn identify_stranger(&self, pid: u32) -> io::Result<Option<ProcessIdentity>> {
        // In a namespace of its own the driver's pid may be another process' here.
        if pid <= 1 || pid == std::process::id() || self.owners.sees_a_part() {
            return Ok(None);
        }
        let process = match identity::identify(pid) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            process => process?,
        };
        // Asked afterwards: whose it is, is then said of this process or of one that has taken its id, which is not hit.
        let is_stranger = matches!(self.owners.owner(pid), ProcessOwner::Unknown { .. });
        Ok(is_stranger.then_some(process))
    }

    async fn end_stranger(&self, process: &ProcessIdentity, signal: Signal) -> io::Result<()> {
        let signal = match signal {
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Kill => rustix::process::Signal::KILL,
        };
        identity::send(process, signal)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners() -> Arc<Owners> {
        Arc::new(Owners::new(Path::new("/proc"), "purser-of-nobody"))
    }

    fn made(files: &[(&str, &str)]) -> (tempfile::TempDir, ProcMachine) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let machine = ProcMachine {
            proc_root: folder.path().to_path_buf(),
            sys_root: folder.path().to_path_buf(),
            disk: folder.path().to_path_buf(),
            ticks_per_s: 100,
            owners: owners(),
        };
        (folder, machine)
    }

    #[test]
    fn what_is_used_is_read_as_the_kernel_writes_it() {
        let (_folder, machine) = made(&[
            ("stat", "cpu  100 1 200 9999 50 3 4 5 6 7\ncpu0 1 1 1 1 1 1 1 1 1 1\n"),
            ("meminfo", "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\n"),
        ]);
        let used = machine.measure().unwrap();
        assert_eq!((used.cpu_us, used.memory), (3_130_000, Bytes(600 << 10)));
    }

    #[test]
    fn garbage_is_an_error_that_names_the_file() {
        for (stat, meminfo, named) in [
            ("cpu 1", "MemTotal: 1 kB\nMemAvailable: 1 kB", "stat"),
            ("cpu  1 2 3 4 5 6 7 8", "x", "meminfo"),
        ] {
            let (_folder, machine) = made(&[("stat", stat), ("meminfo", meminfo)]);
            assert!(machine.measure().unwrap_err().to_string().contains(named));
        }
    }

    #[test]
    fn what_there_is_follows_the_kernel() {
        let files = |online: &str, kib: &str| {
            [
                ("devices/system/cpu/online", online.to_owned()),
                ("meminfo", format!("MemTotal: {kib} kB\nMemAvailable: 1 kB\n")),
            ]
        };
        let (folder, machine) = made(&[]);
        let own = affinity::own().unwrap();
        let first = own.iter().next().unwrap();
        for (path, text) in files(&first.to_string(), "1000") {
            fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
            fs::write(folder.path().join(path), text).unwrap();
        }
        let before = machine.look().unwrap();
        assert_eq!((before.cpus.cpus.len(), before.memory), (1, Bytes(1_000 << 10)));
        assert!(before.disk.0 > 0);
        fs::write(folder.path().join("meminfo"), "MemTotal: 2000 kB\n").unwrap();
        assert_eq!(machine.look().unwrap(), MachineCapacity { memory: Bytes(2_000 << 10), ..before });
        fs::write(folder.path().join("meminfo"), "x").unwrap();
        assert!(machine.look().unwrap_err().to_string().contains("meminfo"));
    }

    #[tokio::test]
    async fn a_listener_of_ours_is_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let number = socket.local_addr().unwrap().port();
        let machine = ProcMachine::own(Path::new("/"), owners());
        let listeners = machine.listeners().await.unwrap();
        let port = Port { number, protocol: Protocol::Tcp };
        assert!(listeners.get(&port).is_some_and(|pids| pids.contains(&std::process::id())));
        let bound = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let number = bound.local_addr().unwrap().port();
        let listened = machine.listened().await.unwrap();
        assert!([port, Port { number, protocol: Protocol::Udp }].iter().all(|port| listened.contains(port)));
        assert!(machine.usage().await.unwrap().cpu_us > 0);
        let allowed = machine.allowed_cpus(std::process::id()).await.unwrap();
        assert_eq!(allowed, Some(affinity::own().unwrap()));
        assert!(machine.interfaces().await.unwrap().contains("lo"));
    }
}
