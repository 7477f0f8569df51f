//! Gathers the shapes of all layouts, which stand beside their golden bytes, into one table for `schema`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    // As cargo says it now, and not as it was where this was compiled: a target folder may serve several checkouts.
    let root = env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?;
    let folder = Path::new(&root).join("../storage/golden");
    println!("cargo:rerun-if-changed={}", folder.display());
    let mut shapes: Vec<PathBuf> =
        fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    shapes.retain(|path| path.extension().is_some_and(|extension| extension == "shape"));
    shapes.sort();
    let mut table = String::from("&[\n");
    for path in shapes {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path)?;
        let _ = writeln!(table, "    ({stem:?}, {text:?}),");
    }
    table.push_str("]\n");
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    fs::write(Path::new(&out).join("shapes.rs"), table)
}
