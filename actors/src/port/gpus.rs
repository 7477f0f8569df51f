//! GPUs as the actors see them: which there are, how they stand and what of them is used. Everything is by UUID.

use std::collections::{BTreeMap, BTreeSet};

use purser_events::ledger::GpuUuid;
use purser_events::{Bytes, ContainerName, MilliTflops, PodUid, Timestamp};

/// What is known of the machine's GPUs. Nothing in here changes one.
pub trait Gpus: Send + Sync + 'static {
    /// What was seen last, and which GPUs do not answer now. Never waits for a driver.
    fn seen(&self) -> SeenGpus;
}

/// What was seen of the machine's GPUs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenGpus {
    /// How the driver stands.
    pub driver: DriverState,
    /// The GPUs, in the order of their names.
    pub gpus: Vec<SeenGpu>,
}

/// How the driver of the GPUs stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DriverState {
    /// There is none: its library is not installed, or is not to be used.
    #[default]
    Absent,
    /// It was not asked yet.
    Starting,
    /// It answers.
    Up {
        /// Its release; none if it does not say.
        release: Option<String>,
        /// What could not be learnt from it when it was asked last.
        trouble: Option<String>,
    },
    /// It is there and of no use. It is tried again.
    Failing {
        /// Why, and what to do.
        reason: String,
    },
}

/// What was seen of one GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenGpu {
    /// Which.
    pub uuid: GpuUuid,
    /// Its number to the driver, which may be another after a restart; none of one that the driver does not list.
    pub index: Option<u32>,
    /// Where it is on the bus, as in `00000000:1A:00.0`; none if that was never read, and of an instance.
    pub bus: Option<String>,
    /// What it is called; none if that was never read.
    pub model: Option<String>,
    /// Its memory; none if that was never read.
    pub memory: Option<Bytes>,
    /// Its compute; none if the figure of its model is not known.
    pub tflops: Option<MilliTflops>,
    /// How it stands.
    pub state: GpuState,
    /// Whether it is all of a board, or an instance of a divided one.
    pub part: GpuPart,
    /// What was read when it answered last; none if it never did.
    pub readings: Option<GpuReadings>,
    /// Faults that the driver told of since the service started, oldest first; the newest 64 are kept.
    pub xids: Vec<SeenXid>,
    /// How many faults the driver told of since the service started, by their kind.
    pub xid_counts: BTreeMap<u32, u64>,
}

/// What of a board a GPU is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum GpuPart {
    /// All of it.
    #[default]
    Whole,
    /// All of it, and it is divided (MIG): its instances are given out and it is not, even if there are none.
    Divided,
    /// An instance of a divided one.
    Instance {
        /// Of which.
        of: GpuUuid,
    },
}

/// A fault of a GPU that its driver told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenXid {
    /// Counts the faults of this GPU since the service started, from 1 on.
    pub number: u64,
    /// NVIDIA's number for the kind of fault.
    pub xid: u32,
    /// When it was told.
    pub at: Timestamp,
}

/// How a GPU stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuState {
    /// It answers.
    Ready,
    /// The config names it, and there is no driver to look at it with.
    Named,
    /// It was found and has not answered yet.
    Starting,
    /// A call about it does not come back.
    Unresponsive {
        /// Which call.
        call: &'static str,
    },
    /// It is gone, or of no use.
    Lost {
        /// What was seen.
        reason: String,
    },
    /// The config says of it what cannot be.
    Contradicted {
        /// What.
        reason: String,
    },
}

impl GpuState {
    /// Every word for a state.
    pub const WORDS: [&str; 6] = ["Ready", "Named", "Starting", "Unresponsive", "Lost", "Contradicted"];

    /// The word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            GpuState::Ready => "Ready",
            GpuState::Named => "Named",
            GpuState::Starting => "Starting",
            GpuState::Unresponsive { .. } => "Unresponsive",
            GpuState::Lost { .. } => "Lost",
            GpuState::Contradicted { .. } => "Contradicted",
        }
    }

    /// Why it is not given out, if that is to be told.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            GpuState::Ready | GpuState::Named | GpuState::Starting => None,
            GpuState::Unresponsive { call } => Some(format!("{call} does not come back")),
            GpuState::Lost { reason } | GpuState::Contradicted { reason } => Some(reason.clone()),
        }
    }
}

/// What came of reading one figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading<T> {
    /// This.
    Value(T),
    /// This GPU does not have it, and is not asked again.
    Unsupported,
    /// It could not be read this time.
    Failed(String),
}

impl<T> Reading<T> {
    /// What was read, if it was.
    pub fn value(&self) -> Option<&T> {
        match self {
            Reading::Value(value) => Some(value),
            Reading::Unsupported | Reading::Failed(_) => None,
        }
    }

    /// The reading of something that follows from it.
    pub fn map<U>(self, of: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Reading::Value(value) => Reading::Value(of(value)),
            Reading::Unsupported => Reading::Unsupported,
            Reading::Failed(reason) => Reading::Failed(reason),
        }
    }
}

/// What was read of a GPU at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuReadings {
    /// When.
    pub at: Timestamp,
    /// Memory that is used, by whomever.
    pub memory_used: Reading<Bytes>,
    /// Memory that the driver keeps for itself, and that nobody can use.
    pub memory_reserved: Reading<Bytes>,
    /// Time that anything ran on it, 0 to 100 percent.
    pub utilization_percent: Reading<u32>,
    /// Time that its memory was read or written, 0 to 100 percent.
    pub memory_utilization_percent: Reading<u32>,
    /// Its temperature, in degrees Celsius.
    pub temperature_c: Reading<u32>,
    /// What it draws, in milliwatts.
    pub power_mw: Reading<u32>,
    /// What it may draw, in milliwatts.
    pub power_limit_mw: Reading<u32>,
    /// What it has drawn since the driver was loaded, in millijoules.
    pub energy_mj: Reading<u64>,
    /// How fast its processors run, in MHz.
    pub sm_clock_mhz: Reading<u32>,
    /// How fast its memory runs, in MHz.
    pub memory_clock_mhz: Reading<u32>,
    /// What holds its clocks down now.
    pub slowed_by: Reading<BTreeSet<Slowdown>>,
    /// Errors of its memory that were corrected, over its life.
    pub ecc_corrected: Reading<u64>,
    /// Errors of its memory that were not corrected, over its life.
    pub ecc_uncorrected: Reading<u64>,
    /// Transfers over the bus that had to be made again.
    pub pcie_replays: Reading<u64>,
    /// Processes that use it, by their pid on the host.
    pub processes: Reading<Vec<GpuProcess>>,
}

impl GpuReadings {
    /// The processes that use it, if it could be told of each whose it is.
    #[must_use]
    pub fn owned_processes(&self) -> Option<&[GpuProcess]> {
        let is_told = |process: &GpuProcess| process.owner != ProcessOwner::Unreadable;
        self.processes.value().map(Vec::as_slice).filter(|processes| processes.iter().all(is_told))
    }
}

/// What holds the clocks of a GPU down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slowdown {
    /// It has nothing to do.
    Idle,
    /// Somebody set the clocks so.
    ClocksSetting,
    /// It would draw more than it may.
    PowerCap,
    /// It is too hot, as its driver sees it.
    SoftwareThermal,
    /// It is too hot, as the hardware sees it.
    HardwareThermal,
    /// The power supply asked for it.
    PowerBrake,
    /// The hardware, for another reason.
    Hardware,
    /// Another reason.
    Other,
}

impl Slowdown {
    /// Every one of them.
    pub const ALL: [Slowdown; 8] = [
        Slowdown::Idle,
        Slowdown::ClocksSetting,
        Slowdown::PowerCap,
        Slowdown::SoftwareThermal,
        Slowdown::HardwareThermal,
        Slowdown::PowerBrake,
        Slowdown::Hardware,
        Slowdown::Other,
    ];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Slowdown::Idle => "idle",
            Slowdown::ClocksSetting => "clocks_setting",
            Slowdown::PowerCap => "power_cap",
            Slowdown::SoftwareThermal => "software_thermal",
            Slowdown::HardwareThermal => "hardware_thermal",
            Slowdown::PowerBrake => "power_brake",
            Slowdown::Hardware => "hardware",
            Slowdown::Other => "other",
        }
    }
}

/// A process that uses a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuProcess {
    /// Its id on the host.
    pub pid: u32,
    /// Whose it is.
    pub owner: ProcessOwner,
    /// What of the GPU's memory it uses; none if the driver does not know.
    pub memory: Option<Bytes>,
    /// Time that the GPU was busy for it, 0 to 100 percent; none if that cannot be read.
    pub sm_percent: Option<u32>,
}

/// Whose a process is, as the control group says in which it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessOwner {
    /// A pod's.
    Pod {
        /// Which pod's.
        pod: PodUid,
        /// In which of its containers.
        container: ContainerName,
        /// The try of this container.
        attempt: u32,
        /// Its id as the container sees it; none if it sees none of its own.
        inner_pid: Option<u32>,
    },
    /// In none of this node's control groups: nobody's that this node knows.
    Unknown {
        /// What it calls itself; none if that cannot be read.
        name: Option<String>,
    },
    /// It is there, and whose it is could not be read this time: it may be anybody's.
    Unreadable,
    /// It is gone, or another has its id now.
    Gone,
}

/// What is used of all GPUs together, by whomever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GpuUse {
    /// Percent of one GPU; none if no GPU says it.
    pub share_percent: Option<u64>,
    /// Memory; none if no GPU says it.
    pub memory: Option<Bytes>,
}

impl SeenGpus {
    /// What is used of those that answer. What is used of an instance is in the figures of its board.
    #[must_use]
    pub fn used(&self) -> GpuUse {
        let boards = self.answering().filter(|(gpu, _)| !matches!(gpu.part, GpuPart::Instance { .. }));
        let readings: Vec<&GpuReadings> = boards.map(|(_, readings)| readings).collect();
        let shares = readings.iter().filter_map(|it| it.utilization_percent.value().copied());
        let memory = readings.iter().filter_map(|it| it.memory_used.value().copied());
        GpuUse {
            share_percent: shares.map(u64::from).reduce(u64::saturating_add),
            memory: memory.reduce(|sum, more| Bytes(sum.0.saturating_add(more.0))),
        }
    }

    /// What pods use of those that answer; none if it cannot be told for all of them.
    #[must_use]
    pub fn used_by_pods(&self) -> GpuUse {
        if self.answering().next().is_none() {
            return GpuUse::default();
        }
        let mut sum = GpuUse { share_percent: Some(0), memory: Some(Bytes(0)) };
        for (gpu, readings) in self.answering().filter(|(gpu, _)| gpu.part != GpuPart::Divided) {
            let Some(processes) = readings.owned_processes() else { return GpuUse::default() };
            let of_pods =
                processes.iter().filter(|process| matches!(process.owner, ProcessOwner::Pod { .. }));
            for process in of_pods {
                // An instance runs what it runs alone: who is in it has no part of a share to tell.
                let is_whole = gpu.part == GpuPart::Whole;
                let share = process.sm_percent.filter(|_| is_whole).map(u64::from);
                sum.share_percent = sum.share_percent.zip(share).map(|(sum, more)| sum.saturating_add(more));
                let memory = sum.memory.zip(process.memory);
                sum.memory = memory.map(|(sum, more)| Bytes(sum.0.saturating_add(more.0)));
            }
        }
        sum
    }

    /// Those that answer, with what was read of them.
    pub fn answering(&self) -> impl Iterator<Item = (&SeenGpu, &GpuReadings)> {
        let answering = self.gpus.iter().filter(|gpu| gpu.state == GpuState::Ready);
        answering.filter_map(|gpu| Some((gpu, gpu.readings.as_ref()?)))
    }
}
