//! The service's own process, as the kernel sees it.

use std::fs;

use metrics::{counter, gauge};
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{SysconfVar, sysconf};
use purser_actors::metric;

/// Puts the figures of this process into the recorder in force; leaves out what the kernel does not tell.
pub(super) fn record() {
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        gauge!(metric::OPEN_FDS.name).set(exact(open.count() as u64));
    }
    if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        gauge!(metric::MAX_FDS.name).set(exact(soft));
    }
    let Some(stat) = Stat::read() else { return };
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| u64::try_from(size).ok());
    if let Some(page) = page {
        gauge!(metric::RESIDENT_BYTES.name).set(exact(stat.resident_pages.saturating_mul(page)));
    }
    let hertz = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|hertz| u64::try_from(hertz).ok());
    let Some(hertz) = hertz.filter(|hertz| *hertz > 0) else { return };
    counter!(metric::CPU_SECONDS.name).absolute(stat.cpu_ticks / hertz);
    if let Some(boot) = boot_time() {
        gauge!(metric::START_TIME.name).set(exact(boot + stat.start_ticks / hertz));
    }
}

/// A number as Prometheus has it; above 2^53 it is rounded.
#[expect(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
pub(super) fn exact(number: u64) -> f64 {
    number as f64
}

struct Stat {
    cpu_ticks: u64,
    start_ticks: u64,
    resident_pages: u64,
}

impl Stat {
    fn read() -> Option<Stat> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        // The name in parentheses may hold anything: fields are counted from behind it, the third first.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat { cpu_ticks: field(14)? + field(15)?, start_ticks: field(22)?, resident_pages: field(24)? })
    }
}

/// When the host was started, in seconds since 1970.
fn boot_time() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}
