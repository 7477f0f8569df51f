//! Pods of a pool: made, made anew, given up.

use purser_events::pool::event::MemberRemovalReason;
use purser_events::pool::{
    AgentPolicy, Digest, FreezeWindow, MemberPhase, PoolCommand, PoolEvent, PoolName, PoolRejection,
    PoolSpec, Reference, ReferenceKind, SlotRule, TaskKind, Wait, Weekday,
};

use super::support::{Lived, id, set, spec, task};

#[test]
fn names_of_pods_are_never_given_twice() {
    let name = PoolName::new("ci").unwrap();
    assert_eq!(name.pod_name(7), "ci-7");
    assert!(PoolName::new("x".repeat(41)).is_err() && PoolName::new("a/b").is_err());
    let mut lived = Lived::with_members(spec(SlotRule::Seed, 3), 1);
    for member in 1..=5 {
        lived.pass_ms(120_000);
        lived.ask(PoolCommand::ReportPodEnded { member, detail: "gone".to_owned() }).unwrap();
        lived.ask(PoolCommand::ReportRemoved { member }).unwrap();
        lived.tick();
        lived.bring_up(member + 1);
    }
    assert_eq!(lived.pool.last_member, 6);
}

#[test]
fn pods_that_do_not_come_up_are_tried_ever_later_and_not_for_ever() {
    let mut lived = Lived::new(PoolSpec { ..spec(SlotRule::Seed, 3) });
    lived.submit(task(1, TaskKind::Work));
    let mut waits_min = vec![];
    for member in 1..=5 {
        lived.tick();
        assert_eq!(lived.pool.last_member, member);
        lived.ask(PoolCommand::ReportRequestFailed { member, reason: "no image".to_owned() }).unwrap();
        if let Some(retry_at) = lived.pool.scaling.retry_at {
            waits_min.push(retry_at.ms_since(lived.now) / 60_000);
            lived.now = retry_at;
        }
    }
    assert_eq!((waits_min, lived.pool.word()), (vec![0, 1, 2, 4], "gave-up"));
    lived.pass_ms(86_400_000);
    lived.tick();
    assert_eq!(lived.pool.last_member, 5);
    let why = lived.pool.why_waits(id(1), lived.now).unwrap().to_string();
    assert!(why.contains("5 pods in a row did not come up: no image"), "{why}");
    let same = lived.pool.spec.as_deref().unwrap().clone();
    lived.ask(set(same)).unwrap();
    lived.tick();
    assert_eq!(lived.pool.last_member, 6, "an operator's word begins it anew");
    lived.bring_up(6);
    assert_eq!((lived.pool.scaling.failures, lived.word(1)), (0, "running"));
}

#[test]
fn pods_that_fail_together_are_one_failure() {
    let mut spec = spec(SlotRule::Seed, 3);
    spec.scaling.min_replicas = 4;
    let mut lived = Lived::new(spec);
    lived.tick();
    lived.pass_ms(1_000);
    for member in 1..=4 {
        lived.ask(PoolCommand::ReportRequestFailed { member, reason: "no room".to_owned() }).unwrap();
    }
    assert_eq!(lived.pool.scaling.failures, 1);
    lived.tick();
    assert_eq!(lived.pool.last_member, 5, "one is tried, then the others");
}

#[test]
fn only_idle_pods_are_made_anew_and_not_all_at_once() {
    let mut lived = Lived::with_members(spec(SlotRule::Seed, 3), 3);
    lived.submit(task(1, TaskKind::PlanAndApply));
    lived.plan(1, true);
    let mut other = lived.pool.spec.as_deref().unwrap().clone();
    let mut template = (*other.template).clone();
    template.termination_grace_s = 7;
    other.template = template.into();
    lived.ask(set(other)).unwrap();
    let events = lived.tick();
    let removed: Vec<(u64, MemberRemovalReason)> = events
        .iter()
        .filter_map(|event| match event {
            PoolEvent::MemberRemovalRequested(it) => Some((it.member, it.reason)),
            _ => None,
        })
        .collect();
    assert_eq!(removed, [(3, MemberRemovalReason::OldRevision)]);
    lived.tick();
    assert_eq!(lived.pool.member(2).unwrap().phase, MemberPhase::Up, "one is away already");
    lived.ask(PoolCommand::ReportRemoved { member: 3 }).unwrap();
    lived.bring_up(4);
    lived.tick();
    assert!(matches!(lived.pool.member(2).unwrap().phase, MemberPhase::Removing { .. }));
    lived.ask(PoolCommand::ReportRemoved { member: 2 }).unwrap();
    lived.bring_up(5);
    lived.tick();
    assert_eq!(lived.pool.member(1).unwrap().phase, MemberPhase::Up, "what waits for a word is not touched");
    lived.submit(task(2, TaskKind::Plan));
    assert_eq!(lived.place(2).unwrap().0, 4, "newer pods come first");
}

#[test]
fn another_content_of_a_secret_makes_pods_anew_and_its_first_look_does_not() {
    let mut spec = spec(SlotRule::Seed, 3);
    let reference = Reference { kind: ReferenceKind::Secret, name: "cloud".to_owned() };
    spec.references = vec![reference.clone()];
    let mut lived = Lived::with_members(spec, 1);
    let revision = lived.pool.revision;
    let mut look = |digest: &str| {
        let digests = vec![Digest { reference: reference.clone(), digest: digest.to_owned() }];
        lived.ask(PoolCommand::ReportReferences { digests }).map(|_| lived.pool.revision)
    };
    assert_eq!(look("a"), Ok(revision));
    assert_eq!(look("a"), Ok(revision));
    assert_eq!(look("b"), Ok(revision + 1));
    let foreign = Reference { kind: ReferenceKind::Config, name: "cloud".to_owned() };
    let digests = vec![Digest { reference: foreign, digest: String::new() }];
    assert_eq!(lived.ask(PoolCommand::ReportReferences { digests }), Err(PoolRejection::BadDigest));
}

#[test]
fn a_pod_whose_agent_never_comes_is_given_up() {
    let mut lived = Lived::new(spec(SlotRule::Seed, 3));
    lived.submit(task(1, TaskKind::Work));
    lived.tick();
    lived.admit(1);
    let early = lived.ask(PoolCommand::ReportSilent { member: 1, silent_ms: 599_999 });
    assert!(matches!(early, Err(PoolRejection::NotSilent { .. })), "{early:?}");
    lived.ask(PoolCommand::ReportSilent { member: 1, silent_ms: 600_000 }).unwrap();
    assert_eq!((lived.pool.scaling.failures, lived.pool.member(1).unwrap().word()), (1, "lost"));
    assert_eq!(lived.pool.why_waits(id(1), lived.now), Some(Wait::NoPod));
}

/// Brings a member that was lost to its end; gives the one that is asked for in its place.
fn replaced(lived: &mut Lived, member: u64) -> u64 {
    assert_eq!(lived.pool.member(member).unwrap().word(), "lost");
    lived.ask(PoolCommand::ReportRemoved { member }).unwrap();
    lived.tick();
    if let Some(retry_at) = lived.pool.scaling.retry_at {
        lived.now = lived.now.max(retry_at);
        lived.tick();
    }
    assert_eq!(lived.pool.member(lived.pool.last_member).unwrap().word(), "requested");
    lived.pool.last_member
}

#[test]
fn a_pod_whose_agent_never_came_is_replaced_and_what_waits_runs_there() {
    let agents = AgentPolicy::default();
    assert_eq!((agents.offline_after_ms, agents.start_within_ms), (120_000, 600_000));
    let mut lived = Lived::new(spec(SlotRule::Seed, 3));
    lived.submit(task(1, TaskKind::Apply));
    lived.tick();
    lived.admit(1);
    lived.ask(PoolCommand::ReportSilent { member: 1, silent_ms: agents.start_within_ms }).unwrap();
    let next = replaced(&mut lived, 1);
    lived.bring_up(next);
    assert_eq!((lived.place(1), lived.task(1).attempts), (Some((next, 0)), 1), "it was no try before");
    lived.start(1);
    lived.finish(1, 0);
    assert_eq!(lived.word(1), "applied");
}

#[test]
fn a_pod_whose_agent_fell_silent_is_replaced_and_its_tasks_go_on_there() {
    let agents = AgentPolicy::default();
    let mut lived = Lived::with_members(spec(SlotRule::Seed, 3), 1);
    for (number, kind) in [(1, TaskKind::Work), (2, TaskKind::Plan)] {
        lived.submit(task(number, kind));
        lived.start(number);
    }
    lived.pass_ms(agents.offline_after_ms);
    let early = PoolCommand::ReportSilent { member: 1, silent_ms: agents.offline_after_ms - 1 };
    assert!(matches!(
        lived.ask(early),
        Err(PoolRejection::NotSilent { member: 1, offline_after_ms: 120_000 })
    ));
    lived.ask(PoolCommand::ReportSilent { member: 1, silent_ms: agents.offline_after_ms }).unwrap();
    assert_eq!((lived.word(1), lived.word(2)), ("running", "running"), "as long as its pod may run");
    let next = replaced(&mut lived, 1);
    assert_eq!((lived.word(1), lived.word(2)), ("pending", "pending"));
    lived.bring_up(next);
    lived.pass_ms(agents.offline_after_ms);
    lived.tick();
    for number in [1, 2] {
        assert_eq!((lived.place(number).unwrap().0, lived.task(number).attempts), (next, 2));
        lived.start(number);
        lived.finish(number, 0);
    }
    assert_eq!((lived.word(1), lived.word(2)), ("success", "success"));
}

#[test]
fn a_specification_that_cannot_be_is_refused_by_its_field() {
    let refused = |change: fn(&mut PoolSpec)| {
        let mut spec = spec(SlotRule::Seed, 3);
        change(&mut spec);
        spec.check().unwrap_err().field
    };
    assert_eq!(refused(|it| it.namespace = "A".to_owned()), "spec.namespace");
    assert_eq!(refused(|it| it.slots.count = 0), "spec.slots.count");
    assert_eq!(refused(|it| it.slots.count = 65), "spec.slots.count");
    assert_eq!(refused(|it| it.scaling.min_replicas = 11), "spec.scaling.minReplicas");
    assert_eq!(refused(|it| it.scaling.max_replicas = 0), "spec.scaling.maxReplicas");
    assert_eq!(refused(|it| it.scaling.down_below_permille = 800), "spec.scaling.downBelowPermille");
    assert_eq!(refused(|it| it.scaling.max_unavailable = 0), "spec.scaling.maxUnavailable");
    assert_eq!(refused(|it| it.scaling.time_zone = String::new()), "spec.scaling.timeZone");
    assert_eq!(refused(|it| it.tasks.attempts_max = 0), "spec.tasks.attemptsMax");
    assert_eq!(refused(|it| it.agents.offline_after_ms = 0), "spec.agents.offlineAfterMs");
    let same = |it: &mut PoolSpec| {
        let (days, from_minute, to_minute) = (vec![Weekday::Mon], 60, 60);
        it.scaling.freezes = vec![FreezeWindow { days, from_minute, to_minute }];
    };
    assert_eq!(refused(same), "spec.scaling.freezes[0].toMinute");
    let twice = |it: &mut PoolSpec| {
        let reference = Reference { kind: ReferenceKind::Secret, name: "key".to_owned() };
        it.references = vec![reference.clone(), reference];
    };
    assert_eq!(refused(twice), "spec.references[1].name");
}

/// Lets a member's pod end a second after its agent came.
fn die_young(lived: &mut Lived, member: u64) {
    lived.bring_up(member);
    lived.pass_ms(1_000);
    lived.ask(PoolCommand::ReportPodEnded { member, detail: "exit code 1".to_owned() }).unwrap();
    lived.ask(PoolCommand::ReportRemoved { member }).unwrap();
}

#[test]
fn pods_whose_agents_come_and_die_are_tried_ever_later_and_not_for_ever() {
    let mut spec = spec(SlotRule::Seed, 3);
    spec.scaling.min_replicas = 1;
    let mut lived = Lived::new(spec);
    let mut waits_min = vec![];
    for member in 1..=5 {
        lived.tick();
        assert_eq!(lived.pool.last_member, member);
        die_young(&mut lived, member);
        if let Some(retry_at) = lived.pool.scaling.retry_at {
            waits_min.push(retry_at.ms_since(lived.now).div_ceil(60_000));
            lived.now = retry_at;
        }
    }
    assert_eq!((waits_min, lived.pool.word()), (vec![0, 1, 2, 4], "gave-up"));
}

#[test]
fn a_pod_that_has_lived_or_worked_ends_the_waits() {
    let mut spec = spec(SlotRule::Seed, 3);
    spec.scaling.min_replicas = 1;
    let mut lived = Lived::new(spec);
    for member in 1..=2 {
        lived.tick();
        die_young(&mut lived, member);
    }
    lived.pass_ms(60_000);
    lived.tick();
    lived.bring_up(3);
    lived.tick();
    assert_eq!(lived.pool.scaling.failures, 2, "that its agent is there does not say that it stays");
    lived.pass_ms(120_000);
    lived.tick();
    assert_eq!(lived.pool.scaling.failures, 0);
    die_young_again(&mut lived);
    lived.submit(task(1, TaskKind::Plan));
    lived.start(1);
    lived.finish(1, 0);
    lived.tick();
    assert_eq!(lived.pool.scaling.failures, 0, "one task done is enough");
}

/// Loses the third pod, which has lived, and the fourth, which has not; the fifth is there.
fn die_young_again(lived: &mut Lived) {
    lived.ask(PoolCommand::ReportPodEnded { member: 3, detail: "gone".to_owned() }).unwrap();
    lived.ask(PoolCommand::ReportRemoved { member: 3 }).unwrap();
    assert_eq!(lived.pool.scaling.failures, 0);
    lived.tick();
    die_young(lived, 4);
    lived.tick();
    lived.bring_up(5);
    assert_eq!(lived.pool.scaling.failures, 1);
}

#[test]
fn a_node_without_room_is_asked_again_for_ever_and_nothing_is_given_up() {
    let mut lived = Lived::new(spec(SlotRule::Seed, 3));
    lived.submit(task(1, TaskKind::Work));
    let mut waits_s = vec![];
    for member in 1..=8 {
        lived.tick();
        assert_eq!(lived.pool.last_member, member);
        lived.pass_ms(10);
        let reason = "insufficient resources: memory".to_owned();
        lived.ask(PoolCommand::ReportNoRoom { member, reason }).unwrap();
        let shortage = lived.pool.scaling.shortage.clone().unwrap();
        waits_s.push(shortage.retry_at.ms_since(lived.now) / 1_000);
        assert_eq!((u64::from(shortage.times), lived.pool.word()), (member, "active"));
        lived.tick();
        assert_eq!(lived.pool.last_member, member, "not before its time");
        let why = lived.pool.why_waits(id(1), lived.now).unwrap().to_string();
        assert!(why.contains("no room") && why.contains("memory"), "{why}");
        lived.now = shortage.retry_at;
    }
    assert_eq!((waits_s, lived.pool.scaling.failures), (vec![5, 10, 20, 40, 60, 60, 60, 60], 0));
    lived.tick();
    lived.bring_up(9);
    assert_eq!((lived.pool.scaling.shortage.clone(), lived.word(1)), (None, "running"));
}

#[test]
fn of_a_pool_that_is_gone_nothing_is_left_but_its_counts() {
    let mut lived = Lived::with_members(spec(SlotRule::Seed, 3), 1);
    lived.submit(task(1, TaskKind::Plan));
    lived.start(1);
    lived.finish(1, 0);
    lived.ask(PoolCommand::Delete { force: false }).unwrap();
    lived.ask(PoolCommand::ReportRemoved { member: 1 }).unwrap();
    lived.tick();
    assert_eq!((lived.pool.word(), lived.pool.tasks.size(), lived.pool.ended.size()), ("removed", 0, 0));
    let token = lived.pool.last_token;
    lived.ask(set(spec(SlotRule::Seed, 3))).unwrap();
    lived.submit(task(2, TaskKind::Plan));
    lived.tick();
    lived.bring_up(2);
    assert!(token < lived.task(2).slot().unwrap().1);
}
