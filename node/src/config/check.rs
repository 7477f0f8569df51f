//! Rules of the config that types alone do not hold.

use std::path::{Component, Path};

use purser_events::gpu::GpuPolicyError;

use super::{Config, ConfigError, JournalArchive};
use crate::adapter::archive::FILE_MARK;

/// Longest path of a unix socket on Linux, in bytes: the address has 108 and ends with a zero.
const SOCKET_LEN_MAX: usize = 107;

/// Shortest time for which answers to requests are kept, in milliseconds: a retry must have a chance.
const COMMAND_IDS_KEPT_MS_MIN: u64 = 60_000;

/// Longest time that a commit may be held open, in microseconds: a sync takes about as long where it is slow.
const GROUP_WAIT_US_MAX: u64 = 10_000;

/// The first rule that is broken, if any.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    check_path("data-dir", &config.data_dir)?;
    check_socket("api.socket", &config.api.socket)?;
    check_socket("containerd.socket", &config.containerd.socket)?;
    if let Some(folder) = &config.containerd.images_dir {
        check_path("containerd.images-dir", folder)?;
    }
    if let Some(tcp) = &config.api.tcp {
        check_path("api.tcp.token-file", &tcp.token_file)?;
    }
    if let Some(file) = &config.journal.sealing.key_file {
        check_path("journal.sealing.key-file", file)?;
    }
    if let Some(file) = &config.journal.witness.file {
        check_path("journal.witness.file", file)?;
    }
    if let Some(program) = config.journal.witness.command.first() {
        check_path("journal.witness.command[0]", Path::new(program))?;
    }
    for (index, root) in config.runtime.host_path_roots.iter().enumerate() {
        check_path(&format!("runtime.host-path-roots[{index}]"), root)?;
    }
    if let Some(folder) = &config.pools.references_dir {
        check_path("pools.references-dir", folder)?;
    }
    check_word("containerd.namespace", &config.containerd.namespace)?;
    check_word("containerd.snapshotter", &config.containerd.snapshotter)?;
    check_archive(&config.journal.archive)?;
    if (1..COMMAND_IDS_KEPT_MS_MIN).contains(&config.journal.command_ids_kept_ms) {
        let message = format!("must be 0 or at least {COMMAND_IDS_KEPT_MS_MIN}");
        return Err(ConfigError::value("journal.command-ids-kept-ms", message));
    }
    if GROUP_WAIT_US_MAX < config.journal.group_wait_us_max {
        let message = format!("must be at most {GROUP_WAIT_US_MAX}; 0 holds no commit open");
        return Err(ConfigError::value("journal.group-wait-us-max", message));
    }
    let reserve = &config.journal.reserve;
    if reserve.warn_percent < 1 || 100 < reserve.warn_percent {
        return Err(ConfigError::value("journal.reserve.warn-percent", "must be 1 to 100"));
    }
    if reserve.refuse_percent < reserve.warn_percent || 100 < reserve.refuse_percent {
        let message = format!("must be `journal.reserve.warn-percent` ({}) to 100", reserve.warn_percent);
        return Err(ConfigError::value("journal.reserve.refuse-percent", message));
    }
    check_gpu(config)?;
    config.resources.ports()?;
    config.resources.subnets()?;
    config.resources.custom()?;
    config.resources.gpus()?;
    config.resources.tiers()?;
    config.policy.resources.in_force()?;
    config.policy.monitor.in_force()?;
    let back_off = &config.policy.back_off;
    if back_off.max_ms < back_off.first_ms {
        let message = format!("must be at most `policy.back-off.max-ms` ({})", back_off.max_ms);
        return Err(ConfigError::value("policy.back-off.first-ms", message));
    }
    config.policy.gpus.in_force().check().map_err(|error| {
        let key = match &error {
            GpuPolicyError::Time { field, .. } if field == "probationMs" => "policy.gpus.probation-ms",
            GpuPolicyError::Time { field, .. } if field == "settleMs" => "policy.gpus.settle-ms",
            GpuPolicyError::Time { .. } => "policy.gpus.slowdown-ms",
            GpuPolicyError::Xids { .. } => "policy.gpus.fatal-xids",
        };
        ConfigError::value(key, error.rule())
    })
}

fn check_gpu(config: &Config) -> Result<(), ConfigError> {
    check_library("gpu.nvml-library", &config.gpu.nvml_library)?;
    if !config.gpu.kernel_log.as_os_str().is_empty() {
        check_path("gpu.kernel-log", &config.gpu.kernel_log)?;
    }
    for (index, folder) in config.gpu.cdi_dirs.iter().enumerate() {
        check_path(&format!("gpu.cdi-dirs[{index}]"), folder)?;
    }
    let mps = [("gpu.mps-pipe-dir", &config.gpu.mps_pipe_dir), ("gpu.mps-shm-dir", &config.gpu.mps_shm_dir)];
    for (key, folder) in mps.into_iter().filter(|(_, folder)| !folder.as_os_str().is_empty()) {
        check_path(key, folder)?;
    }
    config.gpu.models().map(drop)
}

fn check_archive(archive: &JournalArchive) -> Result<(), ConfigError> {
    if let Some(folder) = &archive.folder {
        check_path("journal.archive.folder", folder)?;
    }
    if let Some(command) = &archive.command {
        let (key, program) = ("journal.archive.command", command.first());
        if program.is_none_or(String::is_empty) {
            return Err(ConfigError::value(key, "must begin with a program"));
        }
        if !command.iter().skip(1).any(|word| word.contains(FILE_MARK)) {
            return Err(ConfigError::value(
                key,
                "must have an argument with `{}`, which stands for the file",
            ));
        }
    }
    Ok(())
}

fn check_path(key: &str, path: &Path) -> Result<(), ConfigError> {
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if !path.is_absolute() || climbs {
        return Err(ConfigError::value(key, "must be an absolute path without `..`"));
    }
    Ok(())
}

/// A library is looked for where the loader does, unless it has a path: one that depends on the folder that the service was
/// started in could be anybody's.
fn check_library(key: &str, library: &Path) -> Result<(), ConfigError> {
    let is_name = !library.as_os_str().as_encoded_bytes().contains(&b'/');
    if is_name { Ok(()) } else { check_path(key, library) }
}

fn check_socket(key: &str, path: &Path) -> Result<(), ConfigError> {
    check_path(key, path)?;
    let len = path.as_os_str().len();
    if len > SOCKET_LEN_MAX {
        let message = format!("has {len} bytes; a socket's path has at most {SOCKET_LEN_MAX}");
        return Err(ConfigError::value(key, message));
    }
    Ok(())
}

/// What containerd accepts as an identifier, without the separators that it allows inside.
fn check_word(key: &str, word: &str) -> Result<(), ConfigError> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if word.is_empty() || word.len() > 76 || !word.bytes().all(fine) {
        return Err(ConfigError::value(key, "must have 1 to 76 letters, digits, `-`, `_` and `.`"));
    }
    Ok(())
}
