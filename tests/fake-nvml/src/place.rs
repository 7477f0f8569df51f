//! Where the script is.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Names the script, in place of the one beside the library.
const VARIABLE: &str = "PURSER_FAKE_NVML";

/// Where the script is: none if it is not known from which file this library was loaded.
pub(crate) fn script() -> Option<&'static Path> {
    static PLACE: OnceLock<Option<PathBuf>> = OnceLock::new();
    PLACE.get_or_init(find).as_deref()
}

fn find() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE) {
        return Some(path.into());
    }
    let mut path = own_file()?.into_os_string();
    path.push(".json");
    Some(path.into())
}

/// The file that this code was loaded from: the one that is mapped where the code is.
fn own_file() -> Option<PathBuf> {
    let own = find as fn() -> Option<PathBuf> as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    // As in `7f00-7f10 r-xp 00000000 08:01 1234    /usr/lib/libx.so`.
    let line = maps.lines().find(|line| {
        let bounds = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        let bound = |text| usize::from_str_radix(text, 16).ok();
        bounds.and_then(|(from, to)| Some((bound(from)?..bound(to)?).contains(&own))).unwrap_or(false)
    })?;
    line.find('/').and_then(|at| line.get(at..)).map(PathBuf::from)
}
