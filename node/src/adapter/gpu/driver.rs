//! The thread that finds GPUs: it opens the driver's library, lists the devices again and again, and starts a thread for
//! each that is new. A driver that fails is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use purser_actors::port::{DriverState, GpuPart, GpuState};
use purser_events::ledger::GpuUuid;

use super::board::Board;
use super::device::watch;
use super::trouble::{Trouble, advice};

/// Most GPUs that are looked at: no machine has as many, and a driver that says so is not believed.
const GPUS_MAX: u32 = 256;

/// Finds GPUs.
pub(super) struct Scout {
    library: OsString,
    board: Arc<Board>,
    nvml: Option<Arc<Nvml>>,
    /// What was said last of each GPU, and how it stood.
    told: BTreeMap<GpuUuid, (&'static str, Option<String>)>,
}

impl Scout {
    pub(super) fn new(library: OsString, board: Arc<Board>) -> Scout {
        Scout { library, board, nvml: None, told: BTreeMap::new() }
    }

    /// Looks until told to stop.
    pub(super) fn run(mut self) {
        loop {
            let driver = self.look();
            if self.board.set_driver(driver.clone()) {
                self.tell(&driver);
            }
            self.tell_gpus();
            if self.board.rest(self.board.pace.scan) {
                return;
            }
        }
    }

    /// Looks once; says how the driver stands.
    fn look(&mut self) -> DriverState {
        let nvml = match self.opened() {
            Ok(nvml) => nvml,
            Err(state) => return state,
        };
        if self.board.is_any_overdue() {
            // It would be asked as well, and what it does not answer would keep this thread too.
            let trouble = "a GPU does not answer: new ones are looked for once it does".to_owned();
            return DriverState::Up { release: self.release(&nvml), trouble: Some(trouble) };
        }
        match self.list(&nvml) {
            Ok(trouble) => DriverState::Up { release: self.release(&nvml), trouble },
            Err(reason) => {
                self.nvml = None;
                DriverState::Failing { reason }
            }
        }
    }

    fn release(&self, nvml: &Nvml) -> Option<String> {
        self.board.scout_calls("nvmlSystemGetDriverVersion");
        nvml.sys_driver_version().ok().map(|release| super::device::plain(&release))
    }

    /// The library, opened if it is not.
    fn opened(&mut self) -> Result<Arc<Nvml>, DriverState> {
        if let Some(nvml) = &self.nvml {
            return Ok(Arc::clone(nvml));
        }
        self.board.scout_calls("nvmlInit_v2");
        match Nvml::builder().lib_path(&self.library).init() {
            Ok(nvml) => Ok(Arc::clone(self.nvml.insert(Arc::new(nvml)))),
            Err(NvmlError::LibloadingError(error)) if self.is_absent(&error.to_string()) => {
                Err(DriverState::Absent)
            }
            Err(error) => Err(DriverState::Failing { reason: advice(&error) }),
        }
    }

    /// Whether a library could not be loaded because there is none. What it needs in turn may be missing too: then the
    /// loader names another file.
    fn is_absent(&self, said: &str) -> bool {
        let path = Path::new(&self.library);
        let name = path.display().to_string();
        let is_missing = || said.starts_with(&name) && said.contains("No such file or directory");
        if path.is_absolute() { !path.exists() } else { is_missing() }
    }

    /// Lists the devices and has each looked at. Says what could not be learnt; an error is the end of the driver.
    fn list(&self, nvml: &Arc<Nvml>) -> Result<Option<String>, String> {
        self.board.scout_calls("nvmlDeviceGetCount_v2");
        let count = match nvml.device_count() {
            Ok(count) if count <= GPUS_MAX => count,
            Ok(count) => return Ok(Some(format!("it says that there are {count} GPUs"))),
            Err(error) => match Trouble::of(&error) {
                Trouble::DriverGone(reason) => return Err(reason),
                _ => return Ok(Some(error.to_string())),
            },
        };
        if self.board.is_complete(count) {
            // One that goes tells its own thread: no device has to be asked, and none can keep this one.
            return Ok(None);
        }
        let (mut trouble, mut listed) = (None, BTreeSet::new());
        for index in 0..count {
            match self.find(nvml, index) {
                Ok(uuid) => {
                    watch(&self.board, nvml, &uuid, &GpuPart::Whole);
                    listed.insert(uuid);
                }
                Err(reason) => trouble = trouble.or(Some(format!("GPU {index}: {reason}"))),
            }
        }
        if trouble.is_none() {
            self.board.all_listed(&listed);
        }
        Ok(trouble)
    }

    fn find(&self, nvml: &Nvml, index: u32) -> Result<GpuUuid, String> {
        self.board.scout_calls("nvmlDeviceGetHandleByIndex_v2");
        let device = nvml.device_by_index(index).map_err(|error| error.to_string())?;
        self.board.scout_calls("nvmlDeviceGetUUID");
        let uuid = device.uuid().map_err(|error| format!("its uuid cannot be read: {error}"))?;
        GpuUuid::new(&uuid).map_err(|error| format!("its uuid {error}"))
    }

    fn tell(&self, driver: &DriverState) {
        let library = Path::new(&self.library).display();
        match driver {
            DriverState::Absent => {
                tracing::info!(%library, "no GPU driver is installed: only GPUs that the config names are given out");
            }
            DriverState::Starting => {}
            DriverState::Up { release, trouble: None } => {
                tracing::info!(%library, ?release, "the GPU driver answers");
            }
            DriverState::Up { trouble: Some(trouble), .. } => {
                tracing::warn!(%library, trouble, "the GPU driver answers, but not to everything");
            }
            DriverState::Failing { reason } => {
                tracing::warn!(%library, reason, "the GPU driver cannot be used; it is tried again");
            }
        }
    }

    /// Says which GPUs stand otherwise than before.
    fn tell_gpus(&mut self) {
        let gpus = self.board.seen().gpus.into_iter().filter(|gpu| gpu.state != GpuState::Starting);
        let now: BTreeMap<_, _> =
            gpus.map(|gpu| (gpu.uuid, (gpu.state.word(), gpu.state.reason()))).collect();
        for (gpu, (state, reason)) in now.iter().filter(|(gpu, is)| self.told.get(*gpu) != Some(*is)) {
            match reason {
                Some(reason) => tracing::warn!(%gpu, state, reason, "a GPU is not given out"),
                None => tracing::info!(%gpu, state, "a GPU was found"),
            }
        }
        for gpu in self.told.keys().filter(|gpu| !now.contains_key(*gpu)) {
            tracing::warn!(%gpu, "a GPU is not there any more");
        }
        self.told = now;
    }
}
