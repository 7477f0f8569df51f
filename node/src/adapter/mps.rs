//! NVIDIA's Multi-Process Service (MPS), where an operator runs its control daemon: what limits the processes of a container
//! that shares a GPU is told to them by variables, which the driver reads when a process begins to use the GPU.
//!
//! The driver takes the limits for each process, and for good: nothing makes them tighter for one that runs, so they are no
//! rung of the ladder. What a process does beyond them is seen and answered like anything else.

use std::fs;
use std::path::{Path, PathBuf};

use purser_actors::port::{GpuSlice, RuntimeError};
use purser_events::pod::event::FailureClass;

/// The file in which the daemon says which process it is.
const PID_FILE: &str = "nvidia-cuda-mps-control.pid";
const MIB: u64 = 1 << 20;

/// Where the daemon can be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mps {
    /// The folder of its pipes, which processes have to reach (`CUDA_MPS_PIPE_DIRECTORY`).
    pub pipe_dir: PathBuf,
    /// The folder of memory that it shares with processes, for containers in the place of their own `/dev/shm`; none
    /// where they keep that.
    pub shm_dir: Option<PathBuf>,
}

impl Mps {
    /// The variables of a container that has this part of its GPUs. Without the daemon there would be no limit: then the
    /// container is not started.
    ///
    /// # Errors
    /// The daemon does not run.
    pub(super) fn variables(&self, part: GpuSlice) -> Result<[(String, String); 3], RuntimeError> {
        self.check()?;
        let GpuSlice { count, share, memory } = part;
        // In whole mebibytes, and the same for each: a process may see them in any order.
        let limit = format!("{}M", (memory.0 / MIB).max(1));
        let limits: Vec<String> = (0..count).map(|number| format!("{number}={limit}")).collect();
        let set = |name: &str, value: String| (name.to_owned(), value);
        Ok([
            set("CUDA_MPS_PIPE_DIRECTORY", self.pipe_dir.display().to_string()),
            set("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", share.clamp(1, 100).to_string()),
            set("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", limits.join(",")),
        ])
    }

    fn check(&self) -> Result<(), RuntimeError> {
        let file = self.pipe_dir.join(PID_FILE);
        let pid = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<u32>().ok());
        if pid.is_some_and(|pid| Path::new("/proc").join(pid.to_string()).is_dir()) {
            return Ok(());
        }
        let message = format!(
            "the control daemon of MPS does not run: `{}` names no process. Start it with `nvidia-cuda-mps-control -d`, or \
             set `gpu.mps-pipe-dir` to \"\"",
            file.display()
        );
        Err(RuntimeError::new(FailureClass::Runtime, message))
    }
}

/// Sets variables, whatever they were: what limits a container is not for its manifest to say.
pub(super) fn set(env: &mut Vec<(String, String)>, more: impl IntoIterator<Item = (String, String)>) {
    for (name, value) in more {
        env.retain(|(known, _)| *known != name);
        env.push((name, value));
    }
}

#[cfg(test)]
mod tests {
    use purser_events::Bytes;

    use super::*;

    const PART: GpuSlice = GpuSlice { count: 2, share: 30, memory: Bytes((10 << 30) + 5) };

    #[test]
    fn a_part_of_gpus_is_told_as_the_driver_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(PID_FILE), format!("{}\n", std::process::id())).unwrap();
        let mps = Mps { pipe_dir: folder.path().into(), shm_dir: None };
        let told = mps.variables(PART).unwrap().map(|(name, value)| format!("{name}={value}"));
        let expected = [
            format!("CUDA_MPS_PIPE_DIRECTORY={}", folder.path().display()),
            "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=30".to_owned(),
            "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=10240M,1=10240M".to_owned(),
        ];
        assert_eq!(told, expected);
        let least = mps.variables(GpuSlice { count: 1, share: 0, memory: Bytes(1) }).unwrap();
        assert_eq!([&least[1].1, &least[2].1], ["1", "0=1M"], "0 would be no limit");
    }

    #[test]
    fn without_the_daemon_nothing_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mps = Mps { pipe_dir: folder.path().into(), shm_dir: None };
        for text in [None, Some(""), Some("no number"), Some("4294967295")] {
            text.into_iter().for_each(|text| fs::write(folder.path().join(PID_FILE), text).unwrap());
            let error = mps.variables(PART).unwrap_err();
            assert!(error.message.contains("nvidia-cuda-mps-control -d"), "{error}");
        }
    }

    #[test]
    fn what_was_set_is_replaced() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut env = vec![pair("A", "1"), pair("B", "2"), pair("A", "3")];
        set(&mut env, [pair("A", "4")]);
        assert_eq!(env, [pair("B", "2"), pair("A", "4")]);
    }
}
