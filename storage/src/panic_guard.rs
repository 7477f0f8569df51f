//! Turns the store's panics over damaged files into a message and an exit code.
//!
//! The store panics when what it reads makes no sense to it, on the reading thread or on one of its own.
//! Release programs abort on a panic, so nothing can catch it: only a hook can still speak.

use std::cell::Cell;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once, PoisonError};

/// Exit code when the store cannot be read: `EX_IOERR` of sysexits.
pub const EXIT_CODE: i32 = 74;

const NODE_ADVICE: &str = "copy the folder before anything else, see with `purser-replay verify --dir COPY` what can \
                           be read, then start with a sound copy or an empty journal folder";

thread_local! {
    /// Reads of a store that this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// The store that is read and how many reads are under way: sled's own threads may panic for any of them.
static READING: Mutex<(Option<Arc<Path>>, u32)> = Mutex::new((None, 0));
static INSTALLED: Once = Once::new();

/// A temporary folder that has to go with the process: no destructor runs when the guard ends it.
static DISCARDED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Removes a folder, too, when a damaged store ends the process.
pub(crate) fn discard_with_process(path: &Path) {
    *DISCARDED.lock().unwrap_or_else(PoisonError::into_inner) = Some(path.to_owned());
}

/// From now on a damaged store ends the process with code 74 and advice for an operator; all other panics go
/// on to the hook that was there before.
pub fn install_open_guard() {
    install_open_guard_with(EXIT_CODE, NODE_ADVICE);
}

/// As [`install_open_guard`], with an exit code and advice of the program's own. The first call counts.
pub fn install_open_guard_with(exit_code: i32, advice: &'static str) {
    #[expect(
        clippy::disallowed_methods,
        reason = "the panic would abort the process with less of a message"
    )]
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| match damaged_store() {
            Some(path) => {
                eprintln!("{}", message(&path, panic, advice));
                let discarded = DISCARDED.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(path) = discarded {
                    // It is temporary in any case, and there is nobody left to tell.
                    let _ = std::fs::remove_dir_all(path);
                }
                std::process::exit(exit_code);
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

fn message(path: &Path, panic: &PanicHookInfo<'_>, advice: &str) -> String {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    // The first line is enough: some of the store's messages carry whole pages.
    let text: String = text.lines().next().unwrap_or_default().chars().take(200).collect();
    format!("failed to read the journal at `{}`: the store is damaged ({text}); {advice}", path.display())
}
