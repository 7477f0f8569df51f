//! The machine's processors and how they lie to each other, as the kernel tells it below `/sys`.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use purser_events::{Cpu, CpuSet, CpuTopology};

use super::affinity;

/// Largest file that is read, in bytes: a list of all processors that can be told fits in.
const FILE_LEN_MAX: u64 = 32 << 10;

/// Why the processors are not known.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// A file or folder cannot be read.
    #[error("failed to read `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file says something that is not what the kernel writes there.
    #[error("`{path}` {what}")]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// It is not known on which processors this program may run.
    #[error("failed to find out which processors this program may run on")]
    Own {
        /// Why.
        source: std::io::Error,
    },
}

/// Reads the processors that this program may run on. `sys` is where the kernel's files are: `/sys`.
///
/// # Errors
/// As [`read`]; and the kernel does not say which processors these are.
pub fn read_own(sys: &Path) -> Result<CpuTopology, TopologyError> {
    read(sys, &affinity::own().map_err(|source| TopologyError::Own { source })?)
}

/// Reads those of the `allowed` processors that are online. What the kernel does not say is filled in: without a list
/// all are online; a processor without a core has one of its own; one without a package is in package 0, and one
/// without a NUMA node near node 0.
///
/// # Errors
/// Names the file that cannot be read or says something else than the kernel would.
pub fn read(sys: &Path, allowed: &CpuSet) -> Result<CpuTopology, TopologyError> {
    let folder = sys.join("devices/system/cpu");
    let path = folder.join("online");
    let online = cpus(&path)?.unwrap_or_else(|| allowed.clone());
    let usable = online.difference(&online.difference(allowed));
    if usable.is_empty() {
        let what = format!("has `{online}`, and this program may run on none of them, but on `{allowed}`");
        return Err(TopologyError::Content { path, what });
    }
    let near = nodes(&sys.join("devices/system/node"))?;
    let node_of = |id: u16| near.iter().find(|(_, cpus)| cpus.contains(id)).map_or(0, |(node, _)| *node);
    let mut found = Vec::with_capacity(usable.len());
    for id in usable.iter() {
        let about = folder.join(format!("cpu{id}/topology"));
        let core = number(&about.join("core_id"))?;
        let package = number(&about.join("physical_package_id"))?.unwrap_or(0);
        found.push((id, core, package, node_of(id)));
    }
    // Above those that are told, so that nobody shares a core by accident.
    let free = found.iter().filter_map(|(_, core, ..)| *core).max().map_or(0, |core| core.saturating_add(1));
    let cpus = found.into_iter().map(|(id, core, package, node)| {
        let core = core.unwrap_or_else(|| free.saturating_add(id.into()));
        Cpu { id, core, package, node }
    });
    Ok(CpuTopology { cpus: cpus.collect() })
}

/// The NUMA nodes with their processors; none where the kernel knows no nodes.
fn nodes(folder: &Path) -> Result<Vec<(u32, CpuSet)>, TopologyError> {
    let failed = |source| TopologyError::Read { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut nodes = Vec::new();
    let mut placed = CpuSet::default();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let Some(digits) = name.to_str().and_then(|name| name.strip_prefix("node")) else { continue };
        let Ok(node) = digits.parse::<u32>() else { continue };
        let path = entry.path().join("cpulist");
        let Some(held) = cpus(&path)? else { continue };
        let twice = held.difference(&held.difference(&placed));
        if !twice.is_empty() {
            let what = format!("has `{twice}`, which another node has too");
            return Err(TopologyError::Content { path, what });
        }
        placed = placed.union(&held);
        nodes.push((node, held));
    }
    Ok(nodes)
}

/// A list of processors: none if there is no such file.
fn cpus(path: &Path) -> Result<Option<CpuSet>, TopologyError> {
    let Some(text) = text(path)? else { return Ok(None) };
    let parsed = text.parse::<CpuSet>().map(Some);
    parsed.map_err(|error| TopologyError::Content {
        path: path.to_owned(),
        what: format!("is no list of processors: {error}"),
    })
}

/// A number: none if there is no such file, or if the kernel does not know it, which it writes as -1.
fn number(path: &Path) -> Result<Option<u32>, TopologyError> {
    let Some(text) = text(path)?.filter(|text| text != "-1") else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        let shown: String = text.chars().take(32).collect();
        TopologyError::Content {
            path: path.to_owned(),
            what: format!("has `{shown}` where a number belongs"),
        }
    })
}

fn text(path: &Path) -> Result<Option<String>, TopologyError> {
    let failed = |source| TopologyError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        // A processor that went offline meanwhile has no folder any more.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        file => file.map_err(failed)?,
    };
    let mut text = String::new();
    file.take(FILE_LEN_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_LEN_MAX {
        let what = format!("has more than {FILE_LEN_MAX} bytes");
        return Err(TopologyError::Content { path: path.to_owned(), what });
    }
    text.truncate(text.trim_end().len());
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder like `/sys`.
    struct Sys(tempfile::TempDir);

    impl Sys {
        fn new(online: &str) -> Sys {
            let sys = Sys(tempfile::tempdir().unwrap());
            sys.write("cpu/online", online)
        }

        fn write(self, file: &str, text: &str) -> Sys {
            let path = self.0.path().join("devices/system").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        fn cpu(self, id: u16, core: &str, package: &str) -> Sys {
            let sys = self.write(&format!("cpu/cpu{id}/topology/core_id"), core);
            sys.write(&format!("cpu/cpu{id}/topology/physical_package_id"), package)
        }

        fn read(&self, allowed: &str) -> Result<Vec<(u16, u32, u32, u32)>, TopologyError> {
            let topology = read(self.0.path(), &allowed.parse().unwrap())?;
            Ok(topology.cpus.iter().map(|cpu| (cpu.id, cpu.core, cpu.package, cpu.node)).collect())
        }

        fn refused(&self, file: &str) -> String {
            let error = self.read("0-4095").expect_err("it was accepted").to_string();
            assert!(error.contains(file), "{error}");
            error
        }
    }

    /// Two sockets with two cores each, two threads a core, a NUMA node for each socket.
    fn two_sockets() -> Sys {
        let cpus = (0..8_u16).map(|id| (id, id % 2, id / 2 % 2));
        let sys = cpus.fold(Sys::new("0-7\n"), |sys, (id, core, package)| {
            sys.cpu(id, &format!("{core}\n"), &format!("{package}\n"))
        });
        sys.write("node/node0/cpulist", "0-1,4-5\n").write("node/node1/cpulist", "2-3,6-7\n")
    }

    #[test]
    fn sockets_threads_and_nodes_are_told() {
        let sys = two_sockets().write("node/possible", "0-1\n").write("node/node2/cpulist", "\n");
        let all: Vec<_> = (0..8_u16)
            .map(|id| (id, u32::from(id % 2), u32::from(id / 2 % 2), u32::from(id / 2 % 2)))
            .collect();
        assert_eq!(sys.read("0-4095").unwrap(), all);
        assert_eq!(sys.read("0,6,100").unwrap(), [(0, 0, 0, 0), (6, 0, 1, 1)], "only what may be run on");
        let sys = sys.write("cpu/online", "1,3-5\n");
        let numbers: Vec<u16> = sys.read("0-6").unwrap().iter().map(|cpu| cpu.0).collect();
        assert_eq!(numbers, [1, 3, 4, 5], "only what is online, holes and all");
    }

    #[test]
    fn what_is_missing_is_filled_in() {
        let sys = Sys(tempfile::tempdir().unwrap());
        assert_eq!(sys.read("2,5").unwrap(), [(2, 2, 0, 0), (5, 5, 0, 0)]);
        let sys = Sys::new("0-3").cpu(0, "1", "0").cpu(1, "-1", "-1").cpu(3, "3", "0");
        assert_eq!(sys.read("0-3").unwrap(), [(0, 1, 0, 0), (1, 5, 0, 0), (2, 6, 0, 0), (3, 3, 0, 0)]);
    }

    #[test]
    fn what_the_kernel_would_not_write_is_named_by_its_file() {
        for text in ["garbage", "0-", "0-9999", "\u{0}", "1 2"] {
            Sys::new(text).refused("cpu/online");
        }
        let error = two_sockets().cpu(3, "one", "0").refused("cpu3/topology/core_id");
        assert!(error.contains("`one`"), "{error}");
        two_sockets().cpu(3, "1", "4294967296").refused("cpu3/topology/physical_package_id");
        two_sockets().cpu(3, "", "0").refused("cpu3/topology/core_id");
        two_sockets().write("node/node1/cpulist", "x").refused("node1/cpulist");
        let error = two_sockets().write("node/node7/cpulist", "7").refused("cpulist");
        assert!(error.contains("`7`"), "{error}");
        two_sockets().write("cpu/online", &"0,".repeat(40_000)).refused("cpu/online");
        let error = two_sockets().read("9").unwrap_err().to_string();
        assert!(error.contains("may run on none of them, but on `9`"), "{error}");
        let sys = two_sockets();
        fs::write(sys.0.path().join("devices/system/cpu/online"), [0xff, 0xfe]).unwrap();
        assert!(matches!(sys.read("0"), Err(TopologyError::Read { .. })));
    }

    #[test]
    fn this_machine_is_read() {
        let topology = read_own(Path::new("/sys")).unwrap();
        let numbers: CpuSet = topology.cpus.iter().map(|cpu| cpu.id).collect();
        assert_eq!(numbers, affinity::own().unwrap());
        assert_eq!(numbers.len(), topology.cpus.len());
        assert!(topology.cpus.is_sorted());
    }
}
