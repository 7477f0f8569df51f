//! What becomes of tasks.

use purser_events::pool::event::{CancelReason, RequeueReason, StaleReason};
use purser_events::pool::{
    OnEnd, Pool, PoolCommand, PoolEvent, PoolRejection, Reference, ReferenceKind, SecretVar, SlotRule,
    TaskKind, TaskReport, TaskSpec, TaskState, Token, Wait,
};

use super::support::{Lived, finished, id, in_workspace, set, spec, task};

fn one_pod() -> Lived {
    Lived::with_members(spec(SlotRule::Seed, 3), 1)
}

#[test]
fn every_kind_ends_in_its_own_word() {
    let mut lived = one_pod();
    let ends = [
        (TaskKind::Plan, "success"),
        (TaskKind::DriftCheck, "success"),
        (TaskKind::Apply, "applied"),
        (TaskKind::Work, "success"),
    ];
    for (number, (kind, word)) in (1..).zip(ends) {
        lived.submit(task(number, kind));
        lived.start(number);
        lived.finish(number, 0);
        assert_eq!(lived.word(number), word, "{kind:?}");
    }
    lived.submit(task(9, TaskKind::Plan));
    lived.plan(9, false);
    assert_eq!(lived.word(9), "planned_and_finished");
    lived.submit(task(10, TaskKind::Work));
    lived.finish(10, 3);
    assert_eq!(lived.word(10), "failed");
}

#[test]
fn a_planned_apply_keeps_its_slot_and_waits_for_a_word() {
    let mut lived = one_pod();
    lived.submit(task(1, TaskKind::PlanAndApply));
    let planned_by = lived.task(1).slot().unwrap().1;
    lived.plan(1, true);
    assert_eq!((lived.word(1), lived.place(1)), ("apply_pending", Some((1, 0))));
    lived.pass_ms(3_600_000);
    lived.tick();
    assert_eq!(lived.word(1), "apply_pending", "nothing is applied by itself");
    lived.ask(PoolCommand::Confirm { task: id(1) }).unwrap();
    assert_eq!((lived.word(1), lived.place(1)), ("running", Some((1, 0))));
    assert!(planned_by < lived.task(1).slot().unwrap().1);
    let again = lived.ask(PoolCommand::Confirm { task: id(1) }).unwrap();
    assert_eq!(again, [], "confirmed twice is confirmed once");
    lived.start(1);
    lived.finish(1, 0);
    assert_eq!(lived.word(1), "applied");
    let late = lived.ask(PoolCommand::Confirm { task: id(1) });
    assert!(matches!(late, Err(PoolRejection::TaskOver { .. })), "{late:?}");
}

#[test]
fn a_plan_without_changes_is_over() {
    let mut lived = one_pod();
    lived.submit(task(1, TaskKind::PlanAndApply));
    lived.plan(1, false);
    assert_eq!((lived.word(1), lived.place(1)), ("planned_and_finished", None));
}

#[test]
fn a_discarded_plan_gives_its_slot_back() {
    let mut lived = one_pod();
    lived.submit(task(1, TaskKind::PlanAndApply));
    lived.plan(1, true);
    lived.submit(task(2, TaskKind::Apply));
    lived.ask(PoolCommand::Discard { task: id(1) }).unwrap();
    assert_eq!((lived.word(1), lived.place(2)), ("cancelled", Some((1, 0))));
}

#[test]
fn a_confirmation_that_does_not_come_in_a_day_is_too_late() {
    let mut lived = one_pod();
    lived.submit(task(1, TaskKind::PlanAndApply));
    lived.plan(1, true);
    lived.pass_ms(86_399_999);
    lived.tick();
    assert_eq!(lived.word(1), "apply_pending");
    lived.pass_ms(1);
    let late = lived.ask(PoolCommand::Confirm { task: id(1) });
    assert!(matches!(late, Err(PoolRejection::TooLate { .. })), "{late:?}");
    let events = lived.tick();
    assert!(matches!(events[0], PoolEvent::ReservationExpired(_)), "{events:?}");
    assert_eq!((lived.word(1), lived.place(1)), ("failed", None));
}

#[test]
fn applies_of_a_workspace_come_one_after_the_other_and_plans_beside_them() {
    let mut lived = Lived::with_members(spec(SlotRule::Seed, 3), 3);
    for (number, kind) in [(1, TaskKind::Apply), (2, TaskKind::Apply), (3, TaskKind::PlanAndApply)] {
        lived.submit(in_workspace(task(number, kind), "prod"));
    }
    lived.submit(in_workspace(task(4, TaskKind::Plan), "prod"));
    lived.submit(in_workspace(task(5, TaskKind::Apply), "test"));
    let has_slot: Vec<bool> = (1..=5).map(|number| lived.place(number).is_some()).collect();
    assert_eq!(has_slot, [true, false, false, true, true]);
    let why = lived.pool.why_waits(id(2), lived.now);
    assert!(matches!(why, Some(Wait::Workspace { holder, .. }) if holder == id(1)), "{why:?}");
    lived.finish(1, 1);
    assert_eq!((lived.word(2), lived.word(3)), ("running", "pending"));
    lived.finish(2, 0);
    lived.plan(3, true);
    lived.submit(in_workspace(task(6, TaskKind::Apply), "prod"));
    assert_eq!(lived.word(6), "pending", "who waits for a confirmation has the workspace");
}

#[test]
fn more_important_tasks_come_first_and_equals_in_their_order() {
    let mut lived = Lived::with_members(spec(SlotRule::Seed, 1), 1);
    lived.submit(task(1, TaskKind::Work));
    for (number, priority) in [(2, 0), (3, 5), (4, 5), (5, -1)] {
        lived.submit(TaskSpec { priority, ..task(number, TaskKind::Work) });
    }
    let mut order = vec![];
    let mut running = 1;
    for _ in 0..4 {
        lived.finish(running, 0);
        running = (2..=5).find(|number| lived.word(*number) == "running").unwrap();
        order.push(running);
    }
    assert_eq!(order, [3, 4, 2, 5]);
}

#[test]
fn who_speaks_by_an_old_token_is_refused_and_that_is_on_record() {
    let mut lived = Lived::with_members(spec(SlotRule::Seed, 3), 2);
    lived.submit(task(1, TaskKind::Work));
    let (slot, token) = lived.task(1).slot().unwrap();
    let mut tell = |member, number, token, expected| {
        let command = PoolCommand::Report { member, task: id(number), token, report: finished(0) };
        let refused = lived.ask(command);
        let is_so = matches!(&refused, Err(PoolRejection::StaleToken { reason, .. }) if *reason == expected);
        assert!(is_so, "{refused:?}");
        assert!(matches!(lived.events.last(), Some(PoolEvent::StaleTokenRefused(_))));
    };
    tell(slot.member, 7, token, StaleReason::NoSuchTask);
    tell(slot.member, 1, Token(0), StaleReason::Replaced);
    tell(2, 1, token, StaleReason::NotTheOwner);
    assert_eq!(lived.word(1), "running");
    lived.finish(1, 0);
    let command = PoolCommand::Report { member: 1, task: id(1), token, report: finished(0) };
    assert_eq!(lived.ask(command), Ok(vec![]), "the same report again is no other");
    let command = PoolCommand::Report { member: 1, task: id(1), token: Token(0), report: finished(0) };
    assert!(matches!(lived.ask(command), Err(PoolRejection::StaleToken { .. })), "released twice");
}

#[test]
fn a_stranger_keeps_no_slot_for_a_plan() {
    let mut lived = Lived::with_members(spec(SlotRule::Seed, 3), 2);
    lived.submit(task(1, TaskKind::PlanAndApply));
    lived.start(1);
    let (slot, token) = lived.task(1).slot().unwrap();
    let stranger = 3 - slot.member;
    for (member, token) in [(stranger, token), (slot.member, token.next())] {
        let report = TaskReport::Planned { changes: true, summary: String::new() };
        let refused = lived.ask(PoolCommand::Report { member, task: id(1), token, report });
        assert!(matches!(refused, Err(PoolRejection::StaleToken { .. })), "{refused:?}");
        assert_eq!((lived.word(1), lived.pool.reserved.size()), ("running", 0));
    }
}

#[test]
fn nobody_takes_a_task_for_a_pool_that_is_not_there() {
    let submit = || PoolCommand::Submit { spec: Box::new(task(1, TaskKind::Work)) };
    let mut lived = one_pod();
    lived.pool = Pool::default();
    assert_eq!(lived.ask(submit()), Err(PoolRejection::NoSuchPool));
    let mut gone = Lived::new(spec(SlotRule::Seed, 3));
    gone.ask(PoolCommand::Delete { force: false }).unwrap();
    assert_eq!(gone.pool.word(), "removed");
    assert_eq!(gone.ask(submit()), Err(PoolRejection::NoSuchPool));
}

#[test]
fn the_same_task_again_is_the_same_task() {
    let mut lived = one_pod();
    lived.submit(task(1, TaskKind::Work));
    assert_eq!(lived.submit(task(1, TaskKind::Work)), []);
    let other = PoolCommand::Submit { spec: Box::new(task(1, TaskKind::Apply)) };
    assert_eq!(lived.ask(other), Err(PoolRejection::TaskExists { task: id(1) }));
}

#[test]
fn what_cannot_be_is_refused_by_its_field() {
    let mut lived = one_pod();
    let mut refused = |spec| match lived.ask(PoolCommand::Submit { spec: Box::new(spec) }) {
        Err(PoolRejection::BadTask { error }) => error.field,
        other => panic!("{other:?}"),
    };
    let work = task(1, TaskKind::Work);
    let with = |argv: &[&str]| argv.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    use purser_events::pool::TaskSpec;
    assert_eq!(refused(TaskSpec { argv: vec![], ..work.clone() }), "argv");
    assert_eq!(refused(TaskSpec { argv: with(&["a", "b\0"]), ..work.clone() }), "argv");
    assert_eq!(refused(TaskSpec { argv: vec!["x".repeat(40_000)], ..work.clone() }), "argv");
    assert_eq!(refused(TaskSpec { apply_argv: with(&["a"]), ..work.clone() }), "applyArgv");
    assert_eq!(refused(TaskSpec { kind: TaskKind::PlanAndApply, ..work.clone() }), "applyArgv");
    assert_eq!(refused(TaskSpec { timeout_s: Some(0), ..work.clone() }), "timeoutS");
    assert_eq!(refused(TaskSpec { working_dir: Some("a/../..".to_owned()), ..work }), "workingDir");
}

#[test]
fn a_queue_has_a_bound() {
    let mut spec = spec(SlotRule::Seed, 1);
    spec.tasks.queue_max = 2;
    let mut lived = Lived::new(spec);
    for number in 1..=2 {
        lived.submit(task(number, TaskKind::Work));
    }
    let third = lived.ask(PoolCommand::Submit { spec: Box::new(task(3, TaskKind::Work)) });
    assert_eq!(third, Err(PoolRejection::QueueFull { max: 2 }));
}

#[test]
fn a_task_that_runs_is_asked_to_end_and_ends_as_it_does() {
    let mut lived = one_pod();
    lived.submit(task(1, TaskKind::Work));
    lived.submit(task(2, TaskKind::Work));
    lived.ask(PoolCommand::Cancel { task: id(2) }).unwrap();
    assert_eq!(lived.word(2), "cancelled", "who waits is over at once");
    lived.start(1);
    lived.ask(PoolCommand::Cancel { task: id(1) }).unwrap();
    assert_eq!(lived.ask(PoolCommand::Cancel { task: id(1) }), Ok(vec![]));
    lived.submit(task(3, TaskKind::Plan));
    assert_eq!(
        (lived.word(1), lived.word(3)),
        ("running", "pending"),
        "a pod that is to end something gets no more"
    );
    let report =
        TaskReport::Finished { exit: None, message: String::new(), timed_out: false, cancelled: true };
    lived.report(1, report).unwrap();
    assert_eq!((lived.word(1), lived.word(3)), ("cancelled", "running"));
}

#[test]
fn what_takes_too_long_is_asked_to_end_and_has_failed() {
    let mut lived = one_pod();
    lived.submit(TaskSpec { timeout_s: Some(60), ..task(1, TaskKind::Work) });
    lived.start(1);
    lived.pass_ms(59_999);
    lived.tick();
    assert_eq!(lived.task(1).cancel, None);
    lived.pass_ms(1);
    lived.tick();
    assert_eq!(lived.task(1).cancel.as_ref().map(|cancel| cancel.reason), Some(CancelReason::TimedOut));
    let report =
        TaskReport::Finished { exit: None, message: String::new(), timed_out: false, cancelled: true };
    lived.report(1, report).unwrap();
    assert_eq!(lived.word(1), "failed");
}

#[test]
fn a_failure_is_tried_again_only_where_the_pool_says_so_and_never_an_apply() {
    let mut spec = spec(SlotRule::Flexible, 3);
    spec.tasks.on_failed = OnEnd::Retry;
    spec.tasks.attempts_max = 3;
    let mut lived = Lived::with_members(spec, 1);
    lived.submit(task(1, TaskKind::Work));
    lived.finish(1, 1);
    assert_eq!(lived.word(1), "running", "the second try comes at once");
    lived.finish(1, 1);
    let why = lived.pool.why_waits(id(1), lived.now);
    assert!(matches!(why, Some(Wait::BackOff { .. })), "{why:?}");
    lived.pass_ms(10_000);
    lived.tick();
    assert_eq!((lived.word(1), lived.task(1).attempts), ("running", 3));
    lived.finish(1, 1);
    assert_eq!(lived.word(1), "failed");
    lived.submit(task(2, TaskKind::Apply));
    lived.finish(2, 1);
    assert_eq!(lived.word(2), "failed");
}

#[test]
fn what_was_lost_too_often_has_failed() {
    let mut spec = spec(SlotRule::Seed, 1);
    spec.tasks.attempts_max = 1;
    let mut lived = Lived::with_members(spec, 1);
    lived.submit(task(1, TaskKind::Work));
    lived.start(1);
    lived.ask(PoolCommand::ReportPodEnded { member: 1, detail: "killed".to_owned() }).unwrap();
    let TaskState::Ended { message, .. } = &lived.task(1).state else { panic!("{:?}", lived.task(1)) };
    assert!(message.contains("its pod was lost") && message.contains("may have run"), "{message}");
}

#[test]
fn a_lost_plan_must_be_made_again_and_the_record_says_so() {
    let mut lived = Lived::with_members(spec(SlotRule::Seed, 3), 2);
    lived.submit(in_workspace(task(1, TaskKind::PlanAndApply), "prod"));
    lived.plan(1, true);
    let events = lived.ask(PoolCommand::ReportPodEnded { member: 1, detail: "killed".to_owned() }).unwrap();
    let PoolEvent::TaskRequeued(requeued) = &events[0] else { panic!("{events:?}") };
    assert_eq!((&requeued.reason, requeued.may_have_run), (&RequeueReason::PlanLost, false));
    let TaskState::Running { phase, .. } = lived.task(1).state else { panic!("{:?}", lived.task(1)) };
    assert_eq!((phase, lived.place(1)), (purser_events::pool::Phase::Plan, Some((2, 0))));
}

#[test]
fn only_the_newest_tasks_that_are_over_are_kept() {
    let mut spec = spec(SlotRule::Seed, 1);
    spec.tasks.kept_max = 2;
    let mut lived = Lived::with_members(spec, 1);
    for number in 1..=4 {
        lived.submit(task(number, TaskKind::Work));
        lived.finish(number, 0);
    }
    let kept: Vec<bool> = (1..=4).map(|number| lived.pool.task(id(number)).is_some()).collect();
    assert_eq!((kept, lived.pool.ended_count), (vec![false, false, true, true], 4));
}

#[test]
fn what_is_cancelled_before_it_has_begun_never_begins() {
    let mut lived = one_pod();
    lived.submit(task(1, TaskKind::Apply));
    let (_, token) = lived.task(1).slot().unwrap();
    lived.ask(PoolCommand::Cancel { task: id(1) }).unwrap();
    assert_eq!(lived.word(1), "cancelled");
    let begins = PoolCommand::Report { member: 1, task: id(1), token, report: TaskReport::Started };
    let refused = lived.ask(begins);
    assert!(matches!(refused, Err(PoolRejection::StaleToken { .. })), "{refused:?}");
}

#[test]
fn a_pool_that_goes_waits_for_what_runs_unless_it_is_forced() {
    for force in [false, true] {
        let mut lived = one_pod();
        lived.submit(task(1, TaskKind::PlanAndApply));
        lived.plan(1, true);
        lived.submit(task(2, TaskKind::Plan));
        lived.start(2);
        lived.submit(task(3, TaskKind::Apply));
        lived.ask(PoolCommand::Delete { force }).unwrap();
        let refused = lived.ask(PoolCommand::Submit { spec: Box::new(task(4, TaskKind::Work)) });
        assert_eq!(refused, Err(PoolRejection::Leaving));
        assert_eq!(lived.word(3), "cancelled");
        if !force {
            assert_eq!((lived.word(1), lived.word(2)), ("apply_pending", "running"));
            lived.ask(PoolCommand::Discard { task: id(1) }).unwrap();
        }
        assert_eq!((lived.word(1), lived.word(2)), ("cancelled", "running"));
        lived.finish(2, 0);
        lived.tick();
        lived.ask(PoolCommand::ReportRemoved { member: 1 }).unwrap();
        lived.tick();
        assert!(!lived.pool.exists(), "force: {force}");
        let token = lived.pool.last_token;
        lived.ask(set(spec(SlotRule::Seed, 3))).unwrap();
        lived.submit(task(9, TaskKind::Work));
        lived.tick();
        lived.bring_up(2);
        assert!(token < lived.task(9).slot().unwrap().1, "counters go on");
    }
}

#[test]
fn tries_that_are_due_do_not_stand_in_the_way_of_one_another() {
    let mut spec = spec(SlotRule::Seed, 3);
    spec.tasks.on_failed = OnEnd::Retry;
    let mut lived = Lived::with_members(spec, 1);
    for number in 1..=70 {
        let kind = if number == 70 { TaskKind::Plan } else { TaskKind::Work };
        lived.submit(task(number, kind));
        for _ in 0..2 {
            lived.start(number);
            lived.finish(number, 1);
        }
    }
    lived.submit(task(99, TaskKind::Work));
    lived.start(99);
    lived.pass_ms(60_000);
    assert_eq!(lived.pool.load().ready, 0);
    lived.tick();
    assert_eq!(lived.place(70), Some((1, 2)), "the plan needs not what the others wait for");
    assert_eq!((lived.pool.load().ready, lived.pool.load().held), (69, 0));
    lived.finish(99, 0);
    assert_eq!(lived.place(1), Some((1, 0)), "who came first comes first");
}

#[test]
fn a_secret_is_one_that_the_pool_names() {
    let mut spec = spec(SlotRule::Seed, 3);
    let reference = Reference { kind: ReferenceKind::Secret, name: "cloud".to_owned() };
    spec.references = vec![reference];
    let mut lived = Lived::with_members(spec, 1);
    let with = |secret: &str, key: &str| {
        let (name, secret, key) = ("KEY".to_owned(), secret.to_owned(), Some(key.to_owned()));
        let secrets = vec![SecretVar { name, secret, key }];
        Box::new(TaskSpec { secrets, ..task(1, TaskKind::Plan) })
    };
    for (secret, key) in [("other", "id"), ("cloud", "../id"), ("cloud", ".id"), ("cloud", "")] {
        let refused = lived.ask(PoolCommand::Submit { spec: with(secret, key) });
        assert!(matches!(refused, Err(PoolRejection::BadTask { .. })), "{secret}/{key}: {refused:?}");
    }
    lived.ask(PoolCommand::Submit { spec: with("cloud", "id") }).unwrap();
}
