//! What the config says of GPUs: how they are looked at, what models can do, where their devices are described, and when they
//! take pods.

use std::collections::BTreeSet;
use std::path::PathBuf;

use purser_events::MilliTflops;
use purser_events::gpu::GpuHealthPolicy;
use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::adapter::gpu::Models;
use crate::adapter::mps::Mps;
use crate::manifest::quantity;

/// Most characters of a model's name.
const NAME_LEN_MAX: usize = 96;

/// How GPUs are looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GpuDriver {
    /// NVIDIA's management library: the name of an installed one, or a path; empty for not looking.
    pub nvml_library: PathBuf,
    /// The kernel's log, in which faults of GPUs are read as well; empty for not reading it.
    pub kernel_log: PathBuf,
    /// Whether containers of containerd are given GPUs as descriptions of devices (CDI) say.
    pub cdi: Cdi,
    /// Where these descriptions are; the last folder counts most.
    pub cdi_dirs: Vec<PathBuf>,
    /// The folder of the pipes of MPS' control daemon, which limits processes that share a GPU; empty for only watching them.
    pub mps_pipe_dir: PathBuf,
    /// The folder of memory that MPS shares with containers, in the place of their own `/dev/shm`; empty for none.
    pub mps_shm_dir: PathBuf,
    /// What models of GPUs can do; it holds before what is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<GpuModel>,
}

/// Whether descriptions of devices are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cdi {
    /// Yes: a container whose GPU has none does not start.
    On,
    /// No: variables tell containers of their GPUs, and they are given no device.
    Off,
}

/// What a model of GPU can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GpuModel {
    /// Its name: the driver's, or a shorter one.
    pub model: String,
    /// The driver's name, if `model` is a shorter one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_model: Option<String>,
    /// Its TFLOPS (16-bit, dense), as in `312`.
    pub fp16_tflops: String,
}

/// When a GPU takes pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GpuPolicy {
    /// How long a GPU that was of no use must be fine before it takes pods again.
    pub probation_ms: u64,
    /// How long what a GPU does must last before it counts, once it was of no use.
    pub settle_ms: u64,
    /// How long a GPU must be slowed down to be degraded.
    pub slowdown_ms: u64,
    /// Xids that take a GPU out, beside those that always do.
    pub fatal_xids: BTreeSet<u32>,
}

impl GpuPolicy {
    /// The policy as the journal holds it.
    #[must_use]
    pub fn in_force(&self) -> GpuHealthPolicy {
        let GpuPolicy { probation_ms, settle_ms, slowdown_ms, fatal_xids } = self.clone();
        GpuHealthPolicy { probation_ms, settle_ms, slowdown_ms, fatal_xids }
    }
}

impl GpuDriver {
    /// What GPUs can do.
    pub(crate) fn models(&self) -> Result<Models, ConfigError> {
        let mut more: Vec<(String, MilliTflops)> = vec![];
        for (index, given) in self.models.iter().enumerate() {
            let at = |field: &str| format!("gpu.models[{index}].{field}");
            let tflops = quantity::milli_tflops(&given.fp16_tflops)
                .map_err(|error| ConfigError::value(at("fp16-tflops"), error.to_string()))?;
            if tflops.0 == 0 {
                return Err(ConfigError::value(at("fp16-tflops"), "must be more than 0"));
            }
            let names = [("model", Some(&given.model)), ("full-model", given.full_model.as_ref())];
            for (field, name) in names.into_iter().filter_map(|(field, name)| Some((field, name?))) {
                if name.trim().is_empty() || NAME_LEN_MAX < name.len() {
                    let message = format!("must have 1 to {NAME_LEN_MAX} characters");
                    return Err(ConfigError::value(at(field), message));
                }
                let is_same = |known: &str| known.trim().eq_ignore_ascii_case(name.trim());
                if more.iter().any(|(known, _)| is_same(known)) {
                    return Err(ConfigError::value(at(field), "is given twice"));
                }
                more.push((name.clone(), tflops));
            }
        }
        Ok(Models::with(more))
    }

    /// What limits processes that share a GPU.
    pub(crate) fn mps(&self) -> Option<Mps> {
        let given = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
        Some(Mps { pipe_dir: given(&self.mps_pipe_dir)?, shm_dir: given(&self.mps_shm_dir) })
    }

    /// The folders in which devices are described; none if descriptions are not used.
    pub(crate) fn cdi_folders(&self) -> Option<Vec<PathBuf>> {
        match self.cdi {
            Cdi::On => Some(self.cdi_dirs.clone()),
            Cdi::Off => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(text: &str) -> Result<Models, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let loaded = crate::config::load(Some(file.path()), &crate::config::Surroundings::default());
        loaded.and_then(|config| config.gpu.models()).map_err(|error| error.to_string())
    }

    #[test]
    fn models_are_known_by_both_names() {
        let read = models(
            "[[gpu.models]]\nmodel = \"F1\"\nfull-model = \"Fake GPU\"\nfp16-tflops = \"62.5\"\n\
             [[gpu.models]]\nmodel = \"T4\"\nfp16-tflops = \"1k\"\n",
        );
        let read = read.unwrap();
        let found = ["f1", "fake gpu", "T4", "Tesla T4"].map(|name| read.tflops(name));
        assert_eq!(found, [62_500, 62_500, 1_000_000, 65_000].map(|milli| Some(MilliTflops(milli))));
    }

    #[test]
    fn wrong_models_are_named_to_the_field() {
        let model = |more: &str| format!("[[gpu.models]]\nmodel = \"F1\"\n{more}\n");
        let wrong = [
            (model("fp16-tflops = \"0\""), "`gpu.models[0].fp16-tflops`"),
            (model("fp16-tflops = \"1Gi\""), "`gpu.models[0].fp16-tflops`"),
            (model("fp16-tflops = \"1\"\nfull-model = \"\""), "`gpu.models[0].full-model`"),
            (model("fp16-tflops = \"1\"\nfull-model = \"f1\""), "`gpu.models[0].full-model`"),
            (model("fp16-tflops = \"1\"\ntflops = 1"), "`gpu.models[0].tflops`"),
            (format!("{0}{0}", model("fp16-tflops = \"1\"")), "`gpu.models[1].model`"),
        ];
        for (text, key) in wrong {
            let told = models(&text).unwrap_err();
            assert!(told.contains(key), "{text}: {told}");
        }
    }

    #[test]
    fn folders_of_descriptions_are_absolute() {
        let told = models("[gpu]\ncdi-dirs = [\"/etc/cdi\", \"cdi\"]\n").unwrap_err();
        assert!(told.contains("`gpu.cdi-dirs[1]`"), "{told}");
    }
}
