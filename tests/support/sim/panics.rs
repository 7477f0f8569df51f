//! Notices panics of this thread also where a task's panic is caught and told to nobody.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Begins to take notice.
pub(super) fn watch() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            LAST.with(|last| *last.borrow_mut() = Some(info.to_string()));
            before(info);
        }));
    });
    drop(take());
}

/// The last panic of this thread that nobody asked for yet.
pub(super) fn take() -> Option<String> {
    LAST.with(|last| last.borrow_mut().take())
}
