//! A template with other sizes alone: pods get them while they run, and only those that cannot are made anew.

use std::sync::Arc;

use purser_events::pool::event::MemberRemovalReason;
use purser_events::pool::{PoolCommand, PoolEvent, PoolSpec, SlotRule, TaskKind};
use purser_events::{Bytes, MilliCpu};

use super::support::{Lived, set, spec, task};

fn sized(milli: u64) -> PoolSpec {
    let mut spec = spec(SlotRule::Seed, 3);
    let mut template = spec.template.as_ref().clone();
    template.containers[0].resources.cpu_limit = Some(MilliCpu(milli));
    template.containers[0].resources.memory_limit = Some(Bytes(100));
    spec.template = Arc::new(template);
    spec.scaling.min_replicas = 2;
    spec
}

fn resized(member: u64, revision: u64) -> PoolCommand {
    PoolCommand::ReportResized { member, revision }
}

fn failed(member: u64, revision: u64) -> PoolCommand {
    PoolCommand::ReportResizeFailed { member, revision, reason: "no room".to_owned() }
}

/// What a tick has done with members: resized or removed.
fn touched(events: &[PoolEvent]) -> Vec<(u64, &'static str)> {
    let of = |event: &PoolEvent| match event {
        PoolEvent::MemberResizeRequested(it) => Some((it.member, "resize")),
        PoolEvent::MemberRemovalRequested(it) if it.reason == MemberRemovalReason::OldRevision => {
            Some((it.member, "remove"))
        }
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

#[test]
fn busy_and_idle_pods_are_resized_and_none_is_removed() {
    let mut lived = Lived::with_members(sized(500), 2);
    lived.submit(task(1, TaskKind::Work));
    lived.start(1);
    lived.ask(set(sized(900))).unwrap();
    assert_eq!(touched(&lived.tick()), [(1, "resize"), (2, "resize")]);
    assert_eq!(touched(&lived.tick()), [], "once");
    let revision = lived.pool.revision;
    lived.ask(resized(1, revision)).unwrap();
    lived.ask(resized(2, revision)).unwrap();
    assert!(lived.pool.members.values().all(|member| member.revision == revision && member.resize.is_none()));
    assert_eq!(touched(&lived.tick()), []);
    assert_eq!(lived.word(1), "running");
    assert_eq!(lived.ask(resized(1, revision)).unwrap(), [], "told again");
}

#[test]
fn one_that_cannot_be_resized_is_replaced_once_it_is_idle() {
    let mut lived = Lived::with_members(sized(500), 2);
    lived.submit(task(1, TaskKind::Work));
    lived.start(1);
    let (busy, _) = lived.place(1).unwrap();
    let idle = 3 - busy;
    lived.ask(set(sized(900))).unwrap();
    lived.tick();
    let revision = lived.pool.revision;
    lived.ask(failed(busy, revision)).unwrap();
    assert_eq!(touched(&lived.tick()), [], "it has a task");
    lived.ask(resized(idle, revision)).unwrap();
    lived.finish(1, 0);
    assert_eq!(touched(&lived.tick()), [(busy, "remove")]);
}

#[test]
fn another_template_meanwhile_begins_anew_and_what_was_told_of_before_is_past() {
    let mut lived = Lived::with_members(sized(500), 2);
    lived.ask(set(sized(900))).unwrap();
    lived.tick();
    let before = lived.pool.revision;
    lived.ask(set(sized(700))).unwrap();
    assert_eq!(touched(&lived.tick())[0], (1, "resize"));
    assert_eq!(lived.ask(resized(1, before)).unwrap(), []);
    // More than sizes: who is still of an older one is made anew.
    let mut other = sized(700);
    let mut template = other.template.as_ref().clone();
    template.containers[0].args.push("--debug".to_owned());
    other.template = Arc::new(template);
    lived.ask(set(other.clone())).unwrap();
    let begun = touched(&lived.tick());
    let [(gone, "remove")] = begun[..] else { panic!("one at a time: {begun:?}") };
    assert_eq!(lived.ask(resized(gone, lived.pool.revision)).unwrap(), [], "it leaves");
}

#[test]
fn a_pod_of_an_older_template_is_never_only_resized() {
    let mut lived = Lived::with_members(sized(500), 2);
    lived.submit(task(1, TaskKind::Work));
    lived.start(1);
    let (busy, _) = lived.place(1).unwrap();
    let mut other = sized(500);
    let mut template = other.template.as_ref().clone();
    template.containers[0].args.push("--debug".to_owned());
    other.template = Arc::new(template.clone());
    lived.ask(set(other.clone())).unwrap();
    lived.tick();
    template.containers[0].resources.cpu_limit = Some(MilliCpu(900));
    other.template = Arc::new(template);
    lived.ask(set(other)).unwrap();
    assert!(!touched(&lived.tick()).contains(&(busy, "resize")));
}
