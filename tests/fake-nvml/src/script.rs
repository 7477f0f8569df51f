//! What the stand-in answers: devices, their figures, and what goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Stands for every call in a list of calls.
pub const EVERY_CALL: &str = "*";

/// All that a driver says. Without a script there is no driver: every call answers that it is not loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Script {
    /// Release of the driver.
    pub driver: String,
    /// Release of the library.
    pub nvml: String,
    /// What goes wrong in calls that are about no device.
    pub faults: Faults,
    /// The GPUs, by their index.
    pub devices: Vec<Device>,
}

/// What goes wrong, by the name of the call as in `nvmlDeviceGetPowerUsage`; `*` stands for all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Faults {
    /// Calls that fail, with the code (`nvmlReturn_t`) that they return.
    pub fail: BTreeMap<String, u32>,
    /// Calls that do not return until they are on this list no more.
    pub hang: BTreeSet<String>,
    /// Calls that succeed and say what cannot be.
    pub garbage: BTreeSet<String>,
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Device {
    /// Its name, as in `GPU-8f6ad3c1-1f3f-4a5e-9c0e-0d6f3d6f2b11`.
    pub uuid: String,
    /// Its model.
    pub model: String,
    /// Its slot on the first bus: 26 for `00000000:1A:00.0`.
    pub slot: u8,
    /// Its memory, in bytes.
    pub memory_total: u64,
    /// What of it the driver keeps for itself, in bytes.
    pub memory_reserved: u64,
    /// What of it is used, in bytes.
    pub memory_used: Steps<u64>,
    /// Time that it was busy, in percent.
    pub utilization: Steps<u32>,
    /// Time that its memory was busy, in percent.
    pub memory_utilization: Steps<u32>,
    /// Its temperature, in degrees Celsius.
    pub temperature_c: Steps<u32>,
    /// What it draws, in milliwatts.
    pub power_mw: Steps<u32>,
    /// What it may draw, in milliwatts.
    pub power_limit_mw: Steps<u32>,
    /// What it has drawn, in millijoules.
    pub energy_mj: Steps<u64>,
    /// How fast its processors run, in MHz.
    pub sm_clock_mhz: Steps<u32>,
    /// How fast its memory runs, in MHz.
    pub memory_clock_mhz: Steps<u32>,
    /// What holds its clocks down, as the bits of `nvmlClocksThrottleReasons`.
    pub slowed_by: Steps<u64>,
    /// Errors of its memory that were corrected.
    pub ecc_corrected: Steps<u64>,
    /// Errors of its memory that were not corrected.
    pub ecc_uncorrected: Steps<u64>,
    /// Transfers over the bus that had to be made again.
    pub pcie_replays: Steps<u32>,
    /// Faults that whoever waits for them is told of, each once. Of several that wait to be told the driver has kept the
    /// number of the last alone.
    pub xids: Vec<u32>,
    /// Its instances, if it is divided. Of an instance, name, memory and processes are asked for.
    pub mig: Option<Vec<Device>>,
    /// When its processes were sampled last, in microseconds since 1970; just before whoever asks, if absent.
    pub sampled_us: Option<u64>,
    /// Processes that use it.
    pub processes: Vec<Process>,
    /// What goes wrong in calls that are about this device.
    pub faults: Faults,
}

/// A process that uses a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// In which of the three lists it is.
    pub kind: ProcessKind,
    /// What of the GPU's memory it uses, in bytes; none if the driver does not know.
    pub memory: Option<u64>,
    /// Time that the GPU was busy for it, in percent; none if it was not.
    pub sm: Option<u32>,
}

/// The list that a process is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessKind {
    /// Those that compute.
    #[default]
    Compute,
    /// Those that draw.
    Graphics,
    /// Those that compute through a shared server.
    Mps,
}

/// A figure: always the same, or the next of a list at each call, over and over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Steps<T> {
    /// Always this.
    Same(T),
    /// One after the other.
    Each(Vec<T>),
}

impl<T: Copy + Default> Steps<T> {
    /// What the call with this number gets.
    #[must_use]
    pub fn at(&self, call: usize) -> T {
        match self {
            Steps::Same(value) => *value,
            Steps::Each(values) if values.is_empty() => T::default(),
            Steps::Each(values) => values.get(call % values.len()).copied().unwrap_or_default(),
        }
    }
}

impl Default for Script {
    fn default() -> Script {
        Script {
            driver: "580.95.05".to_owned(),
            nvml: "13.580.95.05".to_owned(),
            faults: Faults::default(),
            devices: vec![],
        }
    }
}

impl Default for Device {
    /// An idle GPU with 80 GiB.
    fn default() -> Device {
        Device {
            uuid: "GPU-00000000-0000-0000-0000-000000000000".to_owned(),
            model: "Fake GPU 80GB".to_owned(),
            slot: 1,
            memory_total: 80 << 30,
            memory_reserved: 1 << 30,
            memory_used: Steps::Same(0),
            utilization: Steps::Same(0),
            memory_utilization: Steps::Same(0),
            temperature_c: Steps::Same(30),
            power_mw: Steps::Same(70_000),
            power_limit_mw: Steps::Same(700_000),
            energy_mj: Steps::Same(0),
            sm_clock_mhz: Steps::Same(345),
            memory_clock_mhz: Steps::Same(2_619),
            slowed_by: Steps::Same(1),
            ecc_corrected: Steps::Same(0),
            ecc_uncorrected: Steps::Same(0),
            pcie_replays: Steps::Same(0),
            xids: vec![],
            mig: None,
            sampled_us: None,
            processes: vec![],
            faults: Faults::default(),
        }
    }
}

impl Default for Process {
    fn default() -> Process {
        Process { pid: 1, kind: ProcessKind::Compute, memory: Some(1 << 30), sm: None }
    }
}

impl Faults {
    /// The code with which a call fails, if it does.
    pub(crate) fn code(&self, call: &str) -> Option<u32> {
        self.fail.get(call).or_else(|| self.fail.get(EVERY_CALL)).copied()
    }

    /// Whether a call does not return now.
    pub(crate) fn hangs(&self, call: &str) -> bool {
        has(&self.hang, call)
    }

    /// Whether a call says what cannot be.
    pub(crate) fn garbles(&self, call: &str) -> bool {
        has(&self.garbage, call)
    }
}

fn has(calls: &BTreeSet<String>, call: &str) -> bool {
    calls.contains(call) || calls.contains(EVERY_CALL)
}

impl Script {
    /// Where the board or instance of this name is: which board, and which of its instances.
    pub(crate) fn find(&self, uuid: &str) -> Option<(usize, Option<usize>)> {
        let mut boards = self.devices.iter();
        if let Some(board) = boards.position(|board| board.uuid == uuid) {
            return Some((board, None));
        }
        let place_of = |instances: &[Device]| instances.iter().position(|instance| instance.uuid == uuid);
        let mut boards = self.devices.iter().enumerate();
        boards.find_map(|(board, it)| Some((board, Some(place_of(it.mig.as_deref()?)?))))
    }

    /// What is at such a place.
    pub(crate) fn at(&self, (board, instance): (usize, Option<usize>)) -> Option<&Device> {
        let board = self.devices.get(board)?;
        match instance {
            Some(instance) => board.mig.as_ref()?.get(instance),
            None => Some(board),
        }
    }

    /// Reads a script.
    ///
    /// # Errors
    /// There is none, or it is no script.
    pub fn read(path: &Path) -> io::Result<Script> {
        serde_json::from_slice(&std::fs::read(path)?).map_err(io::Error::other)
    }

    /// Puts this script in the place of the one that is there: a call sees the one or the other.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(".fresh");
        std::fs::write(&fresh, serde_json::to_vec_pretty(self).map_err(io::Error::other)?)?;
        std::fs::rename(&fresh, path)
    }
}
