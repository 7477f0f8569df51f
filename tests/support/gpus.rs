//! GPUs for tests: such as are only named, and a driver that answers from a script.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use purser_actors::port::{DriverState, GpuPart, GpuState, Gpus, SeenGpu, SeenGpus, SeenXid};
use purser_events::ledger::{GpuDevice, GpuUuid};
use purser_events::{Bytes, Timestamp};
use purser_fake_nvml::script::Script;
use purser_node::adapter::owners::Owners;
use tempfile::TempDir;

/// What a node that sees this for the first time gives out.
pub trait ToGiveOut {
    /// GPUs that answer, and those that are only named.
    fn to_give_out(&self) -> Vec<GpuDevice>;
}

impl ToGiveOut for SeenGpus {
    fn to_give_out(&self) -> Vec<GpuDevice> {
        let is_given = |gpu: &&SeenGpu| {
            matches!(gpu.state, GpuState::Ready | GpuState::Named) && gpu.part != GpuPart::Divided
        };
        let given = self.gpus.iter().filter(is_given);
        let device = |gpu: &SeenGpu| {
            let (model, memory) = (gpu.model.clone()?, gpu.memory?);
            Some(GpuDevice { uuid: gpu.uuid.clone(), model, memory, tflops: gpu.tflops })
        };
        given.filter_map(device).collect()
    }
}

/// GPUs that nothing looks at.
#[derive(Debug, Clone, Default)]
pub struct NamedGpus(pub Vec<GpuDevice>);

impl Gpus for NamedGpus {
    fn seen(&self) -> SeenGpus {
        let named = |device: &GpuDevice| SeenGpu {
            uuid: device.uuid.clone(),
            index: None,
            bus: None,
            model: Some(device.model.clone()),
            memory: Some(device.memory),
            tflops: device.tflops,
            state: GpuState::Named,
            part: GpuPart::Whole,
            readings: None,
            xids: vec![],
            xid_counts: BTreeMap::new(),
        };
        SeenGpus { driver: DriverState::Absent, gpus: self.0.iter().map(named).collect() }
    }
}

/// GPUs that are as the test says. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct ScriptedGpus(Arc<Mutex<SeenGpus>>);

impl Gpus for ScriptedGpus {
    fn seen(&self) -> SeenGpus {
        self.lock().clone()
    }
}

impl ScriptedGpus {
    /// So many GPUs that are fine, behind a driver that answers.
    #[must_use]
    pub fn fine(count: u32) -> ScriptedGpus {
        let driver = DriverState::Up { release: Some("570.86.15".to_owned()), trouble: None };
        let gpu = |number| SeenGpu {
            uuid: ScriptedGpus::uuid(number),
            index: Some(number),
            bus: None,
            model: Some("H200".to_owned()),
            memory: Some(Bytes(140 << 30)),
            tflops: None,
            state: GpuState::Ready,
            part: GpuPart::Whole,
            readings: None,
            xids: vec![],
            xid_counts: BTreeMap::new(),
        };
        ScriptedGpus(Arc::new(Mutex::new(SeenGpus { driver, gpus: (0..count).map(gpu).collect() })))
    }

    /// What the GPU of a number is called.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn uuid(number: u32) -> GpuUuid {
        GpuUuid::new(&format!("GPU-{number:08x}")).expect("a GPU's name")
    }

    fn lock(&self) -> MutexGuard<'_, SeenGpus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().gpus.len()
    }

    /// From now on a GPU stands so.
    pub fn set(&self, number: usize, state: GpuState) {
        if let Some(gpu) = self.lock().gpus.get_mut(number) {
            gpu.state = state;
        }
    }

    /// The driver tells of a fault.
    pub fn fault(&self, number: usize, xid: u32, at: Timestamp) {
        if let Some(gpu) = self.lock().gpus.get_mut(number) {
            let number = gpu.xids.last().map_or(1, |last| last.number + 1);
            gpu.xids.push(SeenXid { number, xid, at });
        }
    }

    /// The service is gone: faults are counted from its next start on.
    pub fn forget_faults(&self) {
        self.lock().gpus.iter_mut().for_each(|gpu| gpu.xids.clear());
    }
}

/// Tells of every process of this machine that it is no pod's.
#[must_use]
pub fn no_owners() -> Arc<Owners> {
    Arc::new(Owners::new(Path::new("/proc"), "purser-of-nobody"))
}

/// What the kernel tells of processes that are made up.
pub struct FakeProc(TempDir);

impl FakeProc {
    /// None.
    ///
    /// # Panics
    /// There can be no folder.
    #[must_use]
    pub fn new() -> FakeProc {
        FakeProc(tempfile::tempdir().expect("a temporary folder can be made"))
    }

    /// Has a process be there, from this time of start on and in this control group.
    ///
    /// # Panics
    /// The folder cannot be written.
    pub fn put(&self, pid: u32, started: u64, group: &str) {
        let fresh = self.0.path().join("fresh");
        fs::create_dir(&fresh).expect("a folder can be made");
        // The time of start is field 22.
        let stat = format!("{pid} (train) R{} {started} 0\n", " 0".repeat(18));
        let files = [
            ("stat", stat),
            ("cgroup", format!("0::{group}\n")),
            ("comm", "train\n".to_owned()),
            ("status", format!("NSpid:\t{pid}\t{}\n", pid % 100)),
        ];
        for (file, text) in files {
            fs::write(fresh.join(file), text).expect("a file can be written");
        }
        self.remove(pid);
        fs::rename(fresh, self.0.path().join(pid.to_string())).expect("a folder can be renamed");
    }

    /// Has whoever asks be in a namespace of process ids that is not the machine's.
    ///
    /// # Panics
    /// The folder cannot be written.
    pub fn in_own_namespace(&self) {
        let folder = self.0.path().join("self/ns");
        fs::create_dir_all(&folder).expect("a folder can be made");
        std::os::unix::fs::symlink("pid:[4026532201]", folder.join("pid")).expect("a link can be made");
    }

    /// Has a process end.
    pub fn remove(&self, pid: u32) {
        // It may not be there.
        drop(fs::remove_dir_all(self.0.path().join(pid.to_string())));
    }

    /// Who tells whose they are, for a node whose groups are below `/purser`.
    #[must_use]
    pub fn owners(&self) -> Arc<Owners> {
        Arc::new(Owners::new(self.0.path(), "purser"))
    }
}

impl Default for FakeProc {
    fn default() -> FakeProc {
        FakeProc::new()
    }
}

/// The stand-in, as it was built beside this test.
///
/// # Panics
/// The test has no path.
#[must_use]
pub fn built_library() -> PathBuf {
    std::env::current_exe().expect("a test has a path").with_file_name("libpurser_fake_nvml.so")
}

/// A driver's library of its own: a copy of the stand-in with its script beside it. A loader takes two names of one file
/// for the same library, so each test has a file.
#[derive(Debug)]
pub struct FakeDriver {
    folder: TempDir,
}

impl FakeDriver {
    /// A driver that says this.
    ///
    /// # Panics
    /// The stand-in was not built beside this test.
    #[must_use]
    pub fn new(script: &Script) -> FakeDriver {
        let driver = FakeDriver::uninstalled();
        script.write(&driver.script()).expect("the script can be written");
        driver.install();
        driver
    }

    /// A place for a driver that is not installed and has no script.
    ///
    /// # Panics
    /// There can be no folder.
    #[must_use]
    pub fn uninstalled() -> FakeDriver {
        FakeDriver { folder: tempfile::tempdir().expect("a temporary folder can be made") }
    }

    /// Puts the library in its place.
    ///
    /// # Panics
    /// The stand-in was not built beside this test.
    pub fn install(&self) {
        let built = built_library();
        // Whoever finds it finds all of it.
        let fresh = self.folder.path().join("fresh");
        fs::copy(&built, &fresh).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
        fs::rename(fresh, self.library()).expect("a file can be renamed");
    }

    /// The library.
    #[must_use]
    pub fn library(&self) -> PathBuf {
        self.folder.path().join("libnvidia-ml.so.1")
    }

    fn script(&self) -> PathBuf {
        self.folder.path().join("libnvidia-ml.so.1.json")
    }

    /// Has the driver say something else from now on.
    ///
    /// # Panics
    /// There is no script, or it cannot be replaced.
    pub fn change(&self, of: impl FnOnce(&mut Script)) {
        let path: &Path = &self.script();
        let mut script = Script::read(path).expect("there is a script");
        of(&mut script);
        script.write(path).expect("the script can be written");
    }

    /// Takes the driver away: its library stays, and nothing is behind it.
    ///
    /// # Panics
    /// It is gone already.
    pub fn unload(&self) {
        fs::remove_file(self.script()).expect("there is a script");
    }

    /// Loads the driver, which says this.
    ///
    /// # Panics
    /// The script cannot be written.
    pub fn load(&self, script: &Script) {
        script.write(&self.script()).expect("the script can be written");
    }
}
