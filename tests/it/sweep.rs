//! Folders of pods that are gone: also those that came to be after a pod had been cleaned up, seen by a clock that the
//! test moves on.

use std::sync::Arc;

use purser_actors::paths::PodPaths;
use purser_events::PodUid;
use purser_events::ledger::Capacity;
use purser_tests::bounded;
use purser_tests::stepped::{START, Stepped, node};
use tokio::sync::watch;
use uuid::Uuid;

#[test]
fn a_folder_that_came_after_the_clean_up_goes_in_a_later_round() {
    let folder = tempfile::tempdir().unwrap();
    let paths = PodPaths::new(folder.path().join("pods"));
    let left = [1, 2].map(|number| paths.pod(PodUid(Uuid::from_u128(number))));
    std::fs::create_dir_all(&left[0]).unwrap();
    let (moved, _) = watch::channel(START);
    actix::System::new().block_on(async {
        let clock = Arc::new(Stepped(moved.clone()));
        let service = node(folder.path(), &paths, clock, Capacity::default()).await;
        gone(&left[0], || ()).await;
        // The first round has looked before this one came.
        std::fs::create_dir_all(left[1].join("volumes/cache")).unwrap();
        gone(&left[1], || moved.send_modify(|now| *now = now.plus_ms(60_000))).await;
        service.shut_down("the test is over").await;
        service.journal().clone().close().unwrap();
    });
    purser_tests::leftovers::end_control_groups(folder.path());
    assert!(paths.root().is_dir(), "only folders of pods are removed");
}

/// Waits until a folder is gone: does a step, and lets the actors work, again and again.
async fn gone(folder: &std::path::Path, step: impl Fn()) {
    let deadline = tokio::time::Instant::now() + bounded::PATIENCE;
    while folder.exists() {
        assert!(tokio::time::Instant::now() < deadline, "`{}` stays", folder.display());
        step();
        tokio::task::yield_now().await;
    }
}
