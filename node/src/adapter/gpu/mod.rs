//! The machine's GPUs through NVIDIA's management library (NVML): one thread finds them, and one for each looks at it.
//! A call that does not come back holds up the thread that made it and nothing else: whoever asks what was seen is
//! told since when a call is under way, and a GPU whose call is overdue counts as unresponsive until it returns.

mod board;
mod caller;
mod device;
mod driver;
mod ear;
mod figures;
mod kernel_log;
mod models;
mod named;
mod processes;
mod told;
mod trouble;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use purser_actors::port::{Clock, Gpus, SeenGpus};
use purser_events::ledger::GpuDevice;

use self::board::Board;
use self::driver::Scout;
pub use self::kernel_log::{Lines as KernelLines, Place};
pub use self::models::Models;
use super::owners::Owners;

/// How often GPUs are looked at, and how long a call may take.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Time between two samples of a GPU.
    pub sample: Duration,
    /// Time between two looks at which GPUs there are, and between two tries to reach a driver that fails.
    pub scan: Duration,
    /// Time after which a call counts as one that does not come back.
    pub patience: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            sample: Duration::from_secs(1),
            scan: Duration::from_secs(10),
            patience: Duration::from_secs(5),
        }
    }
}

/// Longest time between two looks at whether something is so that was waited for: that a call is overdue tells nobody.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Looks at the machine's GPUs until it is dropped.
pub struct Sensor {
    board: Arc<Board>,
}

impl Sensor {
    /// Begins to look through `library`, a path or the name of an installed one; an empty one is for not looking.
    /// Faults are read in `kernel_log` as well; an empty path is for not reading it.
    /// `named` are the GPUs that the config names, `models` knows what GPUs can do, `owners` tells whose their processes are.
    ///
    /// # Errors
    /// There can be no thread.
    pub fn begin(
        library: OsString,
        kernel_log: PathBuf,
        named: Vec<GpuDevice>,
        models: Models,
        owners: Arc<Owners>,
        clock: Arc<dyn Clock>,
        pace: Pace,
    ) -> std::io::Result<Sensor> {
        let board = Arc::new(Board::new(named, models, owners, clock, pace));
        if library.is_empty() {
            board.not_looked_at();
        } else {
            kernel_log::begin(kernel_log, Arc::clone(&board))?;
            let scout = Scout::new(library, Arc::clone(&board));
            std::thread::Builder::new().name("gpus".to_owned()).spawn(move || scout.run())?;
        }
        Ok(Sensor { board })
    }

    /// Waits until something is seen, at most for this time; says whether it was. Blocks.
    pub fn wait_until(&self, within: Duration, is_so: impl Fn(&SeenGpus) -> bool) -> bool {
        let begun = Instant::now();
        loop {
            if is_so(&self.board.seen()) {
                return true;
            }
            let Some(left) = within.checked_sub(begun.elapsed()) else { return false };
            self.board.wait(left.min(LOOK_INTERVAL));
        }
    }
}

impl Gpus for Sensor {
    fn seen(&self) -> SeenGpus {
        self.board.seen()
    }
}

impl Drop for Sensor {
    /// Threads that wait end at once; one whose call does not come back ends when it does.
    fn drop(&mut self) {
        self.board.stop();
    }
}
