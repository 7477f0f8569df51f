//! Many who hand in tasks at once: the pool decides ahead of the disk, and everybody is answered as if it had not.

use std::collections::BTreeSet;
use std::sync::Arc;

use purser_actors::Service;
use purser_actors::paths::PodPaths;
use purser_actors::port::Ids;
use purser_actors::service::{CommandKey, Outcome, Request, TaskAccepted};
use purser_events::ledger::Capacity;
use purser_events::pool::{PoolName, TaskId, TaskState};
use purser_events::{CommandId, World};
use purser_node::adapter::clock::UuidV7;
use purser_tests::pools::{connect, request, spec, work};
use purser_tests::stepped::{self, START, Stepped};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Who hands tasks in.
const CALLERS: usize = 64;

/// Plays a scenario on a node with a pool of one pod with so many slots.
fn play<F: Future<Output = ()>>(slots: u8, scenario: impl FnOnce(Service, PoolName) -> F) {
    let folder: TempDir = tempfile::tempdir().unwrap();
    let paths = PodPaths::new(folder.path().join("pods"));
    actix::System::new().block_on(async {
        let clock = Arc::new(Stepped(watch::Sender::new(START)));
        let service = stepped::node(folder.path(), &paths, clock, Capacity::default()).await;
        let name = PoolName::new("together").unwrap();
        service.apply_pool(&name, spec(1, slots), request()).await.unwrap();
        connect(&service, &name, 1).await;
        scenario(service.clone(), name.clone()).await;
        replays(&service);
        service.delete_pool(&name, true, request()).await.unwrap();
    });
    purser_tests::leftovers::end_processes(folder.path());
    purser_tests::leftovers::end_control_groups(folder.path());
}

/// Hands these in at once; gives the answers.
async fn submit_all(
    service: &Service,
    pool: &PoolName,
    all: impl IntoIterator<Item = (TaskId, Request)>,
) -> Vec<TaskAccepted> {
    let mut callers = JoinSet::new();
    for (id, by) in all {
        let (service, pool) = (service.clone(), pool.clone());
        callers.spawn(async move { service.submit_task(&pool, work(id), by).await.unwrap() });
    }
    callers.join_all().await
}

/// Replaying the journal comes to the same pools as having lived it.
fn replays(service: &Service) {
    let mut folded = World::default();
    for stored in service.journal().read(purser_events::Seq(1), usize::MAX).unwrap() {
        folded.apply(&stored.record().unwrap()).unwrap();
    }
    service.world(|world| assert_eq!(folded.pools, world.pools));
}

#[test]
fn each_of_many_gets_a_slot_and_is_answered_once_that_is_durable() {
    play(64, async |service, pool| {
        let ids: Vec<TaskId> = (0..CALLERS).map(|_| TaskId(UuidV7.uuid())).collect();
        let done = submit_all(&service, &pool, ids.iter().map(|id| (*id, request()))).await;
        let seqs: BTreeSet<_> = done.into_iter().map(|done| done.of.seq).collect();
        assert_eq!(seqs.len(), CALLERS, "each has a record of its own");
        assert!(seqs.last() <= Some(&service.journal().head().seq));
        let slots: BTreeSet<_> = service.world(|world| {
            let pool = &world.pools[&pool];
            let slot = |id: &TaskId| match pool.task(*id)?.state {
                TaskState::Running { slot, .. } => Some(slot),
                _ => None,
            };
            ids.iter().filter_map(slot).collect()
        });
        assert_eq!(slots.len(), CALLERS, "no slot has two owners");
    });
}

#[test]
fn the_same_task_at_once_is_one_and_the_same_key_at_once_one_answer() {
    play(4, async |service, pool| {
        let id = TaskId(UuidV7.uuid());
        let same = submit_all(&service, &pool, (0..CALLERS).map(|_| (id, request()))).await;
        let outcomes: Vec<Outcome> = same.into_iter().map(|done| done.of.outcome).collect();
        let accepted = outcomes.iter().filter(|outcome| **outcome == Outcome::Accepted).count();
        assert_eq!((accepted, outcomes.len()), (1, CALLERS));
        let key = CommandKey { id: CommandId(UuidV7.uuid()), fingerprint: [1; 32] };
        let id = TaskId(UuidV7.uuid());
        let keyed = || Request { command: Some(key), ..request() };
        let same = submit_all(&service, &pool, (0..CALLERS).map(|_| (id, keyed()))).await;
        let replayed = same.iter().filter(|done| done.of.replayed).count();
        assert_eq!(replayed, CALLERS - 1);
        let seqs: BTreeSet<_> = same.into_iter().map(|done| done.of.seq).collect();
        assert_eq!(seqs.len(), 1, "all have the first answer");
    });
}

#[test]
fn an_answer_that_nothing_changed_names_the_record_that_it_rests_on_also_when_it_is_asked_for_again() {
    play(4, async |service, pool| {
        let id = TaskId(UuidV7.uuid());
        let key = |_| CommandKey { id: CommandId(UuidV7.uuid()), fingerprint: [1; 32] };
        let keys: Vec<CommandKey> = (1..CALLERS).map(key).collect();
        let keyed = |key: &CommandKey| (id, Request { command: Some(*key), ..request() });
        // All but the first find that it is so already, while that is on its way to the disk.
        let all = std::iter::once((id, request())).chain(keys.iter().map(keyed));
        let first = submit_all(&service, &pool, all).await;
        let seqs = |done: &[TaskAccepted]| done.iter().map(|done| done.of.seq).collect::<BTreeSet<_>>();
        let changed = first.iter().filter(|done| done.of.outcome == Outcome::Accepted);
        assert_eq!((changed.count(), seqs(&first).len()), (1, 1), "{first:#?}");
        let again = submit_all(&service, &pool, keys.iter().map(keyed)).await;
        assert!(again.iter().all(|done| done.of.replayed), "{again:#?}");
        assert_eq!(seqs(&again), seqs(&first));
    });
}
