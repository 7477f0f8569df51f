//! Agents that come, go, die and come again.

use purser_events::pool::event::RequeueReason;
use purser_events::pool::{
    Order, PoolCommand, PoolEvent, PoolRejection, SlotRule, TaskKind, TaskReport, Token, Wait,
};

use super::support::{Lived, finished, id, in_workspace, session, spec, task};

fn one_pod() -> Lived {
    Lived::with_members(spec(SlotRule::Seed, 3), 1)
}

#[test]
fn a_slot_is_given_to_a_connected_agent_alone() {
    let mut lived = Lived::new(spec(SlotRule::Seed, 3));
    lived.submit(task(1, TaskKind::Work));
    assert_eq!(lived.pool.why_waits(id(1), lived.now), Some(Wait::NoPod));
    lived.tick();
    lived.admit(1);
    lived.tick();
    assert_eq!(lived.pool.why_waits(id(1), lived.now), Some(Wait::NoAgent { pods: 1 }));
    let events = lived.connect(1, session(1), true, &[]).unwrap();
    assert!(matches!(events.last(), Some(PoolEvent::TaskAssigned(_))), "{events:?}");
}

#[test]
fn a_session_that_goes_on_keeps_what_it_has() {
    let mut lived = one_pod();
    for number in 1..=2 {
        lived.submit(task(number, TaskKind::Plan));
    }
    lived.start(1);
    let first = lived.task(1).slot().unwrap().1;
    let second = lived.task(2).slot().unwrap().1;
    lived.ask(PoolCommand::AgentsAway).unwrap();
    lived.connect(1, session(1), false, &[(id(1), first)]).unwrap();
    assert_eq!(lived.task(1).slot().unwrap().1, first);
    assert_eq!(
        lived.task(2).slot().unwrap().1,
        second,
        "what was not begun is ordered again by the same token"
    );
    let orders = lived.pool.orders(1);
    assert!(matches!(orders.as_slice(), [Order::Run { .. }, Order::Run { .. }]), "{orders:?}");
}

#[test]
fn what_was_begun_and_is_not_there_any_more_may_have_run() {
    let mut lived = one_pod();
    lived.submit(task(1, TaskKind::Plan));
    lived.start(1);
    let events = lived.connect(1, session(1), false, &[]).unwrap();
    let PoolEvent::TaskRequeued(requeued) = &events[0] else { panic!("{events:?}") };
    assert_eq!((&requeued.reason, requeued.may_have_run), (&RequeueReason::AgentLostIt, true));
}

#[test]
fn another_life_of_an_agent_has_nothing_of_what_ran() {
    let mut lived = one_pod();
    lived.submit(task(1, TaskKind::PlanAndApply));
    lived.plan(1, true);
    lived.submit(task(2, TaskKind::Plan));
    lived.start(2);
    let ran = (id(2), lived.task(2).slot().unwrap().1);
    // Whatever it says that it has: what ran has died with the life before.
    lived.connect(1, session(2), false, &[ran]).unwrap();
    assert_eq!(lived.word(1), "apply_pending", "its folder is there, and the plan in it");
    let loss = lived.task(2).last_loss.as_ref().unwrap();
    assert_eq!((loss.reason.clone(), loss.may_have_run), (RequeueReason::AgentRestarted, true));
    lived.connect(1, session(3), true, &[]).unwrap();
    assert_eq!(lived.task(1).last_loss.as_ref().unwrap().reason, RequeueReason::PlanLost);
    let old = lived.ask(PoolCommand::Disconnect { member: 1, session: session(1), left: false });
    assert_eq!(old, Err(PoolRejection::SessionOver { member: 1 }));
}

#[test]
fn an_agent_that_leaves_gives_up_what_runs_and_gets_nothing_more() {
    let mut lived = one_pod();
    lived.submit(task(1, TaskKind::Plan));
    lived.ask(PoolCommand::Disconnect { member: 1, session: session(1), left: true }).unwrap();
    assert_eq!(lived.task(1).last_loss.as_ref().unwrap().reason, RequeueReason::AgentLeft);
    assert_eq!((lived.word(1), lived.place(1)), ("pending", None));
}

#[test]
fn nobody_confirms_what_an_agent_has_that_is_away() {
    let mut lived = one_pod();
    lived.submit(task(1, TaskKind::PlanAndApply));
    lived.plan(1, true);
    lived.ask(PoolCommand::AgentsAway).unwrap();
    let refused = lived.ask(PoolCommand::Confirm { task: id(1) });
    assert_eq!(refused, Err(PoolRejection::AgentAway { task: id(1) }));
    lived.connect(1, session(1), false, &[]).unwrap();
    lived.ask(PoolCommand::Confirm { task: id(1) }).unwrap();
}

#[test]
fn two_minutes_of_silence_and_a_pod_is_lost() {
    let mut lived = one_pod();
    lived.submit(task(1, TaskKind::Plan));
    lived.ask(PoolCommand::Disconnect { member: 1, session: session(1), left: false }).unwrap();
    let early = lived.ask(PoolCommand::ReportSilent { member: 1, silent_ms: 119_999 });
    assert!(matches!(early, Err(PoolRejection::NotSilent { .. })), "{early:?}");
    lived.ask(PoolCommand::ReportSilent { member: 1, silent_ms: 120_000 }).unwrap();
    assert_eq!((lived.word(1), lived.pool.member(1).unwrap().word()), ("running", "lost"));
    let refused = lived.connect(1, session(1), false, &[]);
    assert!(matches!(refused, Err(PoolRejection::WrongPhase { .. })), "{refused:?}");
    lived.ask(PoolCommand::ReportRemoved { member: 1 }).unwrap();
    assert_eq!((lived.word(1), lived.pool.member(1).is_none()), ("pending", true));
}

#[test]
fn a_pod_that_is_given_up_keeps_no_plan_but_may_say_how_its_tasks_ended() {
    let mut lived = one_pod();
    lived.submit(task(1, TaskKind::PlanAndApply));
    lived.submit(task(2, TaskKind::Plan));
    lived.start(1);
    lived.ask(PoolCommand::ReportSilent { member: 1, silent_ms: 120_000 }).unwrap();
    let planned = |changes| TaskReport::Planned { changes, summary: String::new() };
    let refused = lived.report(1, planned(true));
    assert!(matches!(refused, Err(PoolRejection::WrongPhase { member: 1, .. })), "{refused:?}");
    lived.report(1, planned(false)).unwrap();
    lived.start(2);
    lived.report(2, finished(0)).unwrap();
    assert_eq!((lived.word(1), lived.word(2)), ("planned_and_finished", "success"));
}

#[test]
fn no_apply_of_a_workspace_begins_beside_a_silent_pod_that_may_be_at_one() {
    let mut lived = Lived::with_members(spec(SlotRule::Seed, 3), 2);
    lived.submit(in_workspace(task(1, TaskKind::Apply), "prod"));
    lived.start(1);
    lived.submit(in_workspace(task(2, TaskKind::Apply), "prod"));
    let (member, _) = lived.place(1).unwrap();
    lived.ask(PoolCommand::ReportSilent { member, silent_ms: 120_000 }).unwrap();
    assert_eq!((lived.word(1), lived.word(2)), ("running", "pending"), "its pod may still be at it");
    lived.ask(PoolCommand::ReportRemoved { member }).unwrap();
    let running = [1, 2].into_iter().filter(|number| lived.word(*number) == "running").count();
    assert_eq!(running, 1);
}

#[test]
fn a_pod_whose_agent_does_not_end_what_is_to_end_is_given_up_once_others_are_done() {
    let mut lived = one_pod();
    lived.submit(task(1, TaskKind::Plan));
    lived.submit(task(2, TaskKind::Plan));
    lived.start(1);
    lived.start(2);
    lived.ask(PoolCommand::Cancel { task: id(1) }).unwrap();
    lived.pass_ms(90_000);
    lived.tick();
    assert_eq!((lived.word(1), lived.word(2)), ("running", "running"));
    lived.finish(2, 0);
    lived.tick();
    assert_eq!(lived.pool.member(1).unwrap().word(), "lost");
    lived.ask(PoolCommand::ReportRemoved { member: 1 }).unwrap();
    assert_eq!(lived.word(1), "cancelled");
}

#[test]
fn an_agent_that_is_leaving_gets_nothing_new_and_what_it_had_not_begun_was_no_try() {
    let mut lived = one_pod();
    for number in 1..=2 {
        lived.submit(task(number, TaskKind::Plan));
    }
    lived.start(1);
    let token = lived.task(1).slot().unwrap().1;
    let leaving = || PoolCommand::AgentLeaving { member: 1, session: session(1), has: vec![(id(1), token)] };
    lived.ask(leaving()).unwrap();
    assert_eq!(lived.ask(leaving()), Ok(vec![]), "said again it is so already");
    assert_eq!((lived.word(1), lived.word(2), lived.task(2).attempts), ("running", "pending", 0));
    lived.submit(task(3, TaskKind::Plan));
    lived.connect(1, session(1), false, &[(id(1), token)]).unwrap();
    assert_eq!((lived.place(2), lived.place(3)), (None, None), "it leaves, however often it comes again");
    lived.connect(1, session(2), false, &[]).unwrap();
    assert!(lived.place(2).is_some() && lived.place(3).is_some(), "another life of it does not");
    assert_eq!(lived.task(2).attempts, 1);
}

#[test]
fn a_pod_whose_agent_is_leaving_makes_way_for_another_once_it_has_nothing() {
    let mut lived = one_pod();
    lived.submit(task(1, TaskKind::Plan));
    lived.start(1);
    let has = vec![(id(1), lived.task(1).slot().unwrap().1)];
    lived.ask(PoolCommand::AgentLeaving { member: 1, session: session(1), has }).unwrap();
    lived.submit(task(2, TaskKind::Plan));
    lived.tick();
    assert_eq!(lived.pool.member(1).unwrap().word(), "connected", "it has something to do");
    lived.finish(1, 0);
    lived.tick();
    assert_eq!((lived.pool.member(1).unwrap().word(), lived.pool.last_member), ("removing", 2));
    lived.bring_up(2);
    assert_eq!(lived.place(2), Some((2, 2)));
}

#[test]
fn an_agent_that_comes_and_goes_does_not_keep_what_is_to_end_for_ever() {
    let mut lived = one_pod();
    lived.submit(task(1, TaskKind::Plan));
    lived.start(1);
    let has = vec![(id(1), lived.task(1).slot().unwrap().1)];
    lived.ask(PoolCommand::Cancel { task: id(1) }).unwrap();
    let begun = lived.now;
    while lived.pool.member(1).unwrap().word() == "connected" {
        lived.ask(PoolCommand::Disconnect { member: 1, session: session(1), left: false }).unwrap();
        // Never silent for so long that its pod counts as lost.
        lived.pass_ms(31_000);
        lived.connect(1, session(1), false, &has).unwrap();
        lived.tick();
        assert!(lived.now.ms_since(begun) < 300_000, "it is to be given up");
    }
    assert_eq!(lived.pool.member(1).unwrap().word(), "lost");
    assert!(210_000 <= lived.now.ms_since(begun), "its grace, a minute, and what a pod may be silent");
    lived.ask(PoolCommand::ReportRemoved { member: 1 }).unwrap();
    assert_eq!(lived.word(1), "cancelled");
}

#[test]
fn of_what_a_liar_says_one_word_a_minute_is_recorded() {
    let mut lived = one_pod();
    lived.submit(task(1, TaskKind::Plan));
    let lie = PoolCommand::Report { member: 1, task: id(1), token: Token(99), report: finished(0) };
    let mut recorded = 0;
    for _ in 0..100 {
        let before = lived.events.len();
        let refused = lived.ask(lie.clone());
        assert!(matches!(refused, Err(PoolRejection::StaleToken { .. })), "{refused:?}");
        recorded += lived.events.len() - before;
        lived.pass_ms(1_000);
    }
    assert_eq!(recorded, 2);
    let counted = lived.ask(PoolCommand::ReportRefusals { member: 1, count: 100 }).unwrap();
    assert!(matches!(counted.as_slice(), [PoolEvent::StaleTokensCounted(_)]), "{counted:?}");
    assert_eq!(lived.word(1), "running");
}
