//! What becomes of a program whose store turns out to be damaged.
//!
//! The store panics when what it reads makes no sense to it, on the reading thread or on one of its own.
//! Release programs abort on a panic, so nothing can catch it: only a hook can still act. It leaves a note in the
//! journal's folder, by which the next start makes the store again from the segments.

use std::cell::Cell;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once, PoisonError};

use crate::store::suspect_path;

/// Exit code when the store cannot be read: `EX_IOERR` of sysexits.
pub const EXIT_CODE: u8 = 74;

thread_local! {
    /// Reads of a store that this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// The store that is read and how many reads are under way: sled's own threads may panic for any of them.
static READING: Mutex<(Option<Arc<Path>>, u32)> = Mutex::new((None, 0));
static INSTALLED: Once = Once::new();

/// From now on a damaged store leaves its note and a line on standard error, and `then` is called, which may start
/// the program again; all other panics go on to the hook that was there before. The first call counts.
pub fn install_open_guard(then: fn()) {
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| match damaged_store() {
            Some(path) => {
                eprintln!("{}", message(&path, panic));
                if let Some(journal) = path.parent()
                    && let Err(error) = std::fs::write(suspect_path(journal), "")
                {
                    eprintln!("failed to note that the store is damaged: {error}");
                }
                then();
            }
            None => previous(panic),
        }));
    });
}

/// Runs one read of the store at `path`. A panic in it means damage.
pub(crate) fn reading<T>(path: &Path, read: impl FnOnce() -> T) -> T {
    let _entered = Entered::new(path);
    read()
}

struct Entered;

impl Entered {
    fn new(path: &Path) -> Entered {
        DEPTH.with(|depth| depth.set(depth.get() + 1));
        let mut reading = READING.lock().unwrap_or_else(PoisonError::into_inner);
        if reading.0.as_deref() != Some(path) {
            reading.0 = Some(Arc::from(path));
        }
        reading.1 += 1;
        Entered
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
        READING.lock().unwrap_or_else(PoisonError::into_inner).1 -= 1;
    }
}

/// The store whose damage explains a panic on this thread.
fn damaged_store() -> Option<PathBuf> {
    let here = DEPTH.with(Cell::get) > 0;
    let of_the_store = std::thread::current().name().is_some_and(|name| name.starts_with("sled"));
    if !here && !of_the_store {
        return None;
    }
    let reading = READING.lock().unwrap_or_else(PoisonError::into_inner);
    match &*reading {
        (Some(path), under_way) if here || *under_way > 0 => Some(path.to_path_buf()),
        (Some(_) | None, _) => None,
    }
}

fn message(path: &Path, panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    // The first line is enough: some of the store's messages carry whole pages.
    let text: String = text.lines().next().unwrap_or_default().chars().take(200).collect();
    format!(
        "the journal's store at `{}` is damaged ({text}); nothing is lost: the next start makes it again from the \
         segments",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use super::*;

    /// A panic hook belongs to the whole process: so each case is run as a process of its own.
    const CASE: &str = "PURSER_TEST_GUARDED_STORE";

    #[expect(clippy::disallowed_methods, reason = "a process of a test ends as a program would")]
    fn end() {
        std::process::exit(EXIT_CODE.into());
    }

    fn run(test: &str, store: &Path) -> Output {
        let name = format!("panic_guard::tests::{test}");
        let mut this = Command::new(std::env::current_exe().unwrap());
        this.args(["--exact", &name, "--nocapture"]).env(CASE, store).output().unwrap()
    }

    #[test]
    fn a_panic_of_a_read_leaves_a_note_and_one_line() {
        if let Some(store) = std::env::var_os(CASE) {
            install_open_guard(end);
            reading(Path::new(&store), || panic!("a page makes no sense\nand so on"));
        }
        let journal = tempfile::tempdir().unwrap();
        let output = run("a_panic_of_a_read_leaves_a_note_and_one_line", &journal.path().join("sled"));
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(EXIT_CODE.into()), "{told}");
        assert!(told.contains("is damaged (a page makes no sense); nothing is lost"), "{told}");
        assert!(!told.contains("panicked") && !told.contains("and so on"), "{told}");
        assert!(suspect_path(journal.path()).exists());
    }

    #[test]
    fn any_other_panic_is_left_to_whoever_was_there_before() {
        if let Some(store) = std::env::var_os(CASE) {
            install_open_guard(end);
            reading(Path::new(&store), || {});
            panic!("a promise of our own does not hold");
        }
        let journal = tempfile::tempdir().unwrap();
        let test = "any_other_panic_is_left_to_whoever_was_there_before";
        let output = run(test, &journal.path().join("sled"));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("panicked") && told.contains("of our own"), "{told}");
        assert_eq!(output.status.code(), Some(101), "{told}");
        assert!(!suspect_path(journal.path()).exists());
    }
}
