//! Other amounts for pods that go on: never more is given out than there is, in between as well.

use purser_events::ledger::{
    Amounts, Demand, LedgerCommand, LedgerEvent, LedgerPolicy, LedgerRejection, ResizeHolding, ResourceKind,
    Size, Tenant,
};
use purser_events::{Bytes, MilliCpu};

use super::support::{Scene, admit, alone, machine, uid};

fn both(milli: u64, bytes: u64) -> Demand {
    Demand { cpu: MilliCpu(milli), memory: Bytes(bytes), ..Demand::default() }
}

fn size(milli: u64, bytes: u64) -> Size {
    Size { cpu: MilliCpu(milli), memory: Bytes(bytes) }
}

fn scene() -> Scene {
    Scene::of(machine(), LedgerPolicy::default())
}

impl Scene {
    fn wants(&mut self, pod: u64, generation: u32, to: Size) -> Result<Vec<LedgerEvent>, LedgerRejection> {
        let (pod, cpu, memory) = (uid(pod), Some(to.cpu), Some(to.memory));
        self.asks(&LedgerCommand::Resize(Box::new(ResizeHolding { pod, generation, cpu, memory })))
    }

    fn settles(&mut self, pod: u64, generation: u32, done: bool) -> Vec<LedgerEvent> {
        self.does(&LedgerCommand::SettleResize { pod: uid(pod), generation, done })
    }

    fn size(&self, pod: u64) -> Size {
        Size::of(self.ledger.grant(uid(pod)).expect("it holds something"))
    }

    fn free(&self, kind: &ResourceKind) -> u64 {
        self.ledger.managers.usage(false)[kind].free()
    }
}

#[test]
fn a_pod_has_the_greater_of_both_until_it_is_settled() {
    let mut scene = scene();
    scene.runs(1, both(2_000, 40));
    scene.wants(1, 2, size(3_000, 10)).unwrap();
    assert_eq!(scene.size(1), size(3_000, 40));
    // What it is to give up is nobody's before it has done so.
    assert!(scene.refuses(2, both(0, 30)).contains("memory"));
    scene.settles(1, 2, true);
    assert_eq!(scene.size(1), size(3_000, 10));
    scene.runs(2, both(0, 30));
    assert_eq!(scene.settles(1, 2, true), [], "once");
}

#[test]
fn what_could_not_be_done_is_given_back() {
    let mut scene = scene();
    scene.runs(1, both(2_000, 40));
    scene.wants(1, 2, size(3_000, 10)).unwrap();
    assert!(matches!(scene.wants(1, 3, size(1, 1)), Err(LedgerRejection::ResizeOpen { generation: 2 })));
    assert_eq!(scene.settles(1, 7, true), [], "another one");
    scene.settles(1, 2, false);
    assert_eq!(scene.size(1), size(2_000, 40));
    scene.runs(2, both(0, 24));
}

#[test]
fn every_shortage_is_named_and_nothing_is_given() {
    let mut scene = scene();
    scene.runs(1, both(2_000, 10));
    scene.runs(2, both(5_000, 50));
    let before = scene.ledger.clone();
    let refused = scene.wants(1, 2, size(4_000, 20)).unwrap_err();
    let LedgerRejection::Insufficient { shortages, .. } = &refused else { panic!("{refused}") };
    let of: Vec<_> = shortages.iter().map(|it| (it.kind.clone(), it.asked, it.may_pass())).collect();
    assert_eq!(
        of,
        [(ResourceKind::Cpu, 2_000, true), (ResourceKind::Memory, 10, true)],
        "what is asked for more"
    );
    let never = scene.wants(1, 2, size(20_000, 10)).unwrap_err().to_string();
    assert!(never.contains("the node gives out"), "{never}");
    assert_eq!(scene.ledger, before);
}

#[test]
fn quota_and_bound_of_a_pod_hold_and_giving_up_is_always_allowed() {
    let mut scene = scene();
    scene.runs(1, both(2_000, 20));
    let quota = Some(Amounts::bounds([(ResourceKind::Memory, 25), (ResourceKind::Pods, 1)]));
    let pod_max = Amounts::bounds([(ResourceKind::Cpu, 1_000)]);
    scene.sets_tenant("red", Tenant { quota, pod_max, ..Tenant::default() }).unwrap();
    let refused = scene.wants(1, 2, size(2_500, 30)).unwrap_err().to_string();
    assert!(
        refused.contains("quota of tenant red") && refused.contains("a pod of tenant red may have"),
        "{refused}"
    );
    assert!(!refused.contains("pods"), "it is no pod more: {refused}");
    scene.wants(1, 2, size(1_500, 25)).unwrap();
    scene.settles(1, 2, true);
    assert_eq!(scene.ledger.used.get(&super::support::tenant("red")).unwrap().get(&ResourceKind::Memory), 25);
}

#[test]
fn who_waits_in_front_goes_first_and_gets_what_is_given_up() {
    let mut scene = scene();
    scene.runs(1, both(0, 40));
    scene.runs(2, both(0, 14));
    scene.waits_as(admit(3, "red", both(0, 20)));
    let refused = scene.wants(2, 2, size(0, 20)).unwrap_err().to_string();
    assert!(refused.contains("memory: 6 asked, 0 free"), "{refused}");
    scene.wants(1, 2, size(0, 30)).unwrap();
    assert!(!scene.has(3), "not before it is settled");
    scene.settles(1, 2, true);
    assert!(scene.has(3));
    assert_eq!(scene.free(&ResourceKind::Memory), 0);
}

#[test]
fn memory_of_a_pod_with_processors_alone_changes_and_these_stay() {
    let mut scene = scene();
    let demand = Demand { memory: Bytes(10), ..alone(2) };
    let cpus = scene.runs(1, demand).cpus;
    let (pod, memory) = (uid(1), Some(Bytes(20)));
    let asked = ResizeHolding { pod, generation: 2, cpu: None, memory };
    scene.does(&LedgerCommand::Resize(Box::new(asked)));
    scene.settles(1, 2, true);
    assert_eq!(scene.size(1), size(2_000, 20));
    assert_eq!(scene.ledger.grant(uid(1)).unwrap().cpus, cpus);
    scene.ends(1);
    assert_eq!(scene.free(&ResourceKind::Memory), 64);
}

#[test]
fn a_pod_that_holds_nothing_is_given_nothing() {
    let mut scene = scene();
    assert_eq!(scene.wants(1, 2, size(1, 1)).unwrap(), []);
    let whole = admit(1, "red", both(0, 64));
    scene.runs_as(whole);
    scene.waits_as(admit(2, "red", both(0, 1)));
    assert_eq!(scene.wants(2, 2, size(1, 1)).unwrap(), [], "nor one that waits");
}
