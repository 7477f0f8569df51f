//! Facts of the host, read once at the start.

use std::fs;

use purser_actors::HostFacts;
use purser_events::Bytes;
use uuid::Uuid;

use super::exit::Failure;

/// Reads the facts that the journal keeps of each start.
pub(super) fn facts() -> Result<HostFacts, Failure> {
    const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
    let malformed = |_| Failure::Host { path: BOOT_ID, source: std::io::ErrorKind::InvalidData.into() };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(HostFacts {
        hostname: line("/proc/sys/kernel/hostname")?,
        boot_id: Uuid::try_parse(&line(BOOT_ID)?).map_err(malformed)?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: line("/proc/sys/kernel/osrelease")?,
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
        memory: memory()?,
        pid: std::process::id(),
    })
}

fn line(path: &'static str) -> Result<String, Failure> {
    let text = fs::read_to_string(path).map_err(|source| Failure::Host { path, source })?;
    Ok(text.trim().to_owned())
}

fn memory() -> Result<Bytes, Failure> {
    const PATH: &str = "/proc/meminfo";
    let text = line(PATH)?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
    let malformed = || Failure::Host { path: PATH, source: std::io::ErrorKind::InvalidData.into() };
    kib.map(|kib| Bytes(kib.saturating_mul(1_024))).ok_or_else(malformed)
}
