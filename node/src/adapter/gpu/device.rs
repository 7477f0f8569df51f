//! The thread that looks at one GPU: at a board, or at an instance of a divided one. A board's thread finds its instances.

use std::sync::Arc;
use std::time::Duration;

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use purser_actors::port::{GpuPart, Reading};
use purser_events::ledger::GpuUuid;

use super::board::{Board, Sample};
use super::caller::{Caller, End};
use super::ear::Ear;
use super::figures::Figures;
use super::processes::Processes;

/// Longest text of a driver that is kept, in characters.
const TEXT_CHARS_MAX: usize = 96;
/// Most instances of one board that are looked at: boards have seven at most.
const INSTANCES_MAX: u32 = 64;

/// Looks at one GPU.
struct Watch {
    nvml: Arc<Nvml>,
    caller: Caller,
    figures: Figures,
    processes: Processes,
    is_instance: bool,
    /// Where it is on the bus, once that was read: it stays there.
    bus: Option<String>,
}

/// Begins to look at a GPU that a driver lists, unless it is looked at already.
pub(super) fn watch(board: &Arc<Board>, nvml: &Arc<Nvml>, uuid: &GpuUuid, part: &GpuPart) {
    if !board.listed(uuid, part) {
        return;
    }
    let is_instance = matches!(part, GpuPart::Instance { .. });
    let watch = Watch {
        nvml: Arc::clone(nvml),
        caller: Caller::new(Arc::clone(board), uuid.clone(), is_instance),
        figures: Figures::default(),
        processes: Processes::default(),
        is_instance,
        bus: None,
    };
    let name = format!("gpu-{:.8}", uuid.as_str().trim_start_matches("GPU-").trim_start_matches("MIG-"));
    if let Err(error) = std::thread::Builder::new().name(name).spawn(move || watch.run()) {
        board.lost(uuid, format!("no thread can look at it: {error}"), true);
    }
}

impl Watch {
    /// Looks until told to stop, or there is nothing to look at any more.
    fn run(mut self) {
        let nvml = Arc::clone(&self.nvml);
        let mut ear = Ear::new(&nvml);
        let (board, uuid) = (Arc::clone(&self.caller.board), self.caller.uuid.clone());
        loop {
            let looked = self.look(&nvml).map(|sample| board.sampled(&uuid, sample));
            match looked.and_then(|()| self.rest(&mut ear)) {
                Ok(true) => return,
                Ok(false) => {}
                Err(End::Gone) => return board.gone(&uuid),
                Err(End::Driver(reason)) => return board.lost(&uuid, reason, true),
                Err(End::Lost(reason)) => {
                    ear.forget();
                    board.lost(&uuid, reason, false);
                    if board.rest(board.pace.sample) {
                        return;
                    }
                }
            }
        }
    }

    /// Waits until it is time for the next look, and hears of faults meanwhile; says whether there will be none.
    fn rest(&mut self, ear: &mut Ear<'_>) -> Result<bool, End> {
        let board = Arc::clone(&self.caller.board);
        let until = board.passed() + board.pace.sample;
        while let Some(left) = until.checked_sub(board.passed()).filter(|left| !left.is_zero()) {
            if self.is_instance || !ear.listen(&mut self.caller, left)? {
                board.rests(&self.caller.uuid);
                return Ok(board.rest(left));
            }
        }
        board.rests(&self.caller.uuid);
        Ok(board.rest(Duration::ZERO))
    }

    fn look(&mut self, nvml: &Nvml) -> Result<Sample, End> {
        let device = self.caller.device(nvml)?;
        let model = self.caller.ask("nvmlDeviceGetName", || device.name())?;
        let model = model.value().map(|name| plain(name)).filter(|name| !name.is_empty());
        let index = self.caller.ask("nvmlDeviceGetIndex", || device.index())?;
        if self.bus.is_none() && !self.is_instance {
            let place = self.caller.ask("nvmlDeviceGetPciInfo_v3", || device.pci_info())?;
            self.bus = place.value().map(|place| plain(&place.bus_id)).filter(|bus| !bus.is_empty());
        }
        let is_divided = !self.is_instance && self.instances(&device)?;
        let processes = match is_divided {
            // Each is listed by its instance, and by nobody else with what it uses.
            true => Reading::Unsupported,
            false => self.processes.read(&mut self.caller, &device)?,
        };
        let (memory, readings) = self.figures.read(&mut self.caller, &device, processes)?;
        let model = model.unwrap_or_else(|| "unknown".to_owned());
        Ok(Sample { index: index.value().copied(), bus: self.bus.clone(), model, memory, readings })
    }

    /// Has the instances of a board looked at; says whether it is divided.
    fn instances(&mut self, device: &Device<'_>) -> Result<bool, End> {
        let (board, of) = (Arc::clone(&self.caller.board), self.caller.uuid.clone());
        let is_divided = match self.caller.ask("nvmlDeviceGetMigMode", || device.mig_mode())? {
            Reading::Value(mode) => mode.current != 0,
            Reading::Unsupported => false,
            // It is as it was: what is divided must not be given out whole because of one call that failed.
            Reading::Failed(_) => return Ok(board.is_divided(&of)),
        };
        if board.divided(&of, is_divided) {
            tracing::info!(gpu = %of, is_divided, "a GPU is divided otherwise than before");
            self.caller.ask_all_again();
        }
        if !is_divided {
            return Ok(false);
        }
        let count = self.caller.ask("nvmlDeviceGetMaxMigDeviceCount", || device.mig_device_count())?;
        for index in 0..count.value().copied().unwrap_or(0).min(INSTANCES_MAX) {
            let call = "nvmlDeviceGetMigDeviceHandleByIndex";
            let found = self.caller.ask(call, || match device.mig_device_by_index(index) {
                Err(NvmlError::NotFound) => Ok(None),
                found => found.map(Some),
            })?;
            let Reading::Value(Some(instance)) = found else { continue };
            let uuid = self.caller.ask("nvmlDeviceGetUUID", || instance.uuid())?;
            // One whose name cannot be read is asked again at the next look.
            if let Some(uuid) = uuid.value().and_then(|uuid| GpuUuid::new(uuid).ok()) {
                watch(&board, &self.nvml, &uuid, &GpuPart::Instance { of: of.clone() });
            }
        }
        Ok(true)
    }
}

/// A driver's text as it can be shown: on one line, and not long.
pub(super) fn plain(text: &str) -> String {
    text.trim().chars().filter(|letter| !letter.is_control()).take(TEXT_CHARS_MAX).collect()
}
