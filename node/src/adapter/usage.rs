//! What a container has used, read from its control groups in both versions of the kernel's interface.
//!
//! Every runtime reads the files themselves: they are there while a runtime's daemon restarts, and the same for all.

use std::fs;
use std::path::PathBuf;

use purser_actors::port::{ContainerUse, RuntimeError};
use purser_events::Bytes;
use purser_events::pod::event::FailureClass;

/// The figures that were found; groups need not have every controller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measured {
    /// Processor time in microseconds.
    pub cpu_us: Option<u64>,
    /// What it holds of memory, without what the kernel could take back at once.
    pub memory: Option<Bytes>,
    /// The most that it held.
    pub memory_peak: Option<Bytes>,
}

impl Measured {
    /// Reads the groups of one container.
    #[must_use]
    pub fn of(groups: &[PathBuf]) -> Measured {
        let number = |file: &str| first(groups, file)?.trim().parse::<u64>().ok();
        // Version 1 first: on a host with both, the group of version 2 may be there and have nothing in it.
        let v1_cpu = number("cpuacct.usage").map(|ns| ns / 1_000);
        let v2_cpu = || field(&first(groups, "cpu.stat")?, "usage_usec");
        let usage = number("memory.usage_in_bytes").or_else(|| number("memory.current"));
        let idle = first(groups, "memory.stat").and_then(|text| {
            // In version 1 the plain name leaves out the groups below.
            field(&text, "total_inactive_file").or_else(|| field(&text, "inactive_file"))
        });
        let peak = number("memory.max_usage_in_bytes").or_else(|| number("memory.peak"));
        Measured {
            cpu_us: v1_cpu.or_else(v2_cpu),
            memory: usage.map(|usage| Bytes(usage.saturating_sub(idle.unwrap_or(0)))),
            memory_peak: peak.map(Bytes),
        }
    }

    /// All of it, or none where none of it was found: then the groups are gone.
    ///
    /// # Errors
    /// One figure is there and another is not: names what is missing.
    pub fn whole(self) -> Result<Option<ContainerUse>, RuntimeError> {
        let missing = |controller: &str| {
            let message =
                format!("failed to read what a container uses: its cgroup has no {controller} figures");
            RuntimeError::new(FailureClass::Runtime, message)
        };
        match (self.cpu_us, self.memory) {
            (Some(cpu_us), Some(memory)) => {
                Ok(Some(ContainerUse { cpu_us, memory, memory_peak: self.memory_peak }))
            }
            (None, None) => Ok(None),
            (None, Some(_)) => Err(missing("processor")),
            (Some(_), None) => Err(missing("memory")),
        }
    }
}

/// The first group's file of this name.
fn first(groups: &[PathBuf], file: &str) -> Option<String> {
    groups.iter().find_map(|group| fs::read_to_string(group.join(file)).ok())
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    rest.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(root: &tempfile::TempDir, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = root.path().join(name);
        fs::create_dir(&folder).unwrap();
        for (file, text) in files {
            fs::write(folder.join(file), text).unwrap();
        }
        folder
    }

    #[test]
    fn both_versions_are_read() {
        let root = tempfile::tempdir().unwrap();
        let cpu = group(&root, "cpuacct", &[("cpuacct.usage", "2500000\n"), ("cpu.stat", "nr_periods 1\n")]);
        let memory = [
            ("memory.usage_in_bytes", "1000\n"),
            ("memory.max_usage_in_bytes", "5000\n"),
            ("memory.stat", "cache 1\ninactive_file 100\ntotal_inactive_file 300\n"),
        ];
        let memory = group(&root, "memory", &memory);
        let unified = group(&root, "unified", &[("cpu.stat", "usage_usec 0\nuser_usec 0\n")]);
        let expected = ContainerUse { cpu_us: 2_500, memory: Bytes(700), memory_peak: Some(Bytes(5_000)) };
        assert_eq!(Measured::of(&[memory.clone(), unified.clone(), cpu]).whole().unwrap(), Some(expected));
        let v2 = [
            ("cpu.stat", "usage_usec 42\nuser_usec 40\n"),
            ("memory.current", "1000\n"),
            ("memory.stat", "anon 5\ninactive_file 1200\n"),
        ];
        let v2 = group(&root, "v2", &v2);
        let expected = ContainerUse { cpu_us: 42, memory: Bytes(0), memory_peak: None };
        assert_eq!(Measured::of(&[v2]).whole().unwrap(), Some(expected));
        assert_eq!(Measured::of(&[root.path().join("gone")]).whole().unwrap(), None);
        let error = Measured::of(&[unified]).whole().unwrap_err();
        assert!(error.message.contains("no memory figures"), "{error}");
        assert_eq!(Measured::of(&[memory]).whole().unwrap_err().class, FailureClass::Runtime);
    }
}
