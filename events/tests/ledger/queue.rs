//! The queue: who waits, in which order, and what is kept for those in front.

use purser_events::ledger::{Admit, Demand, LedgerCommand, LedgerPolicy, ResourceKind, Tenant};
use purser_events::ledger::{Amounts, Capacity, WhenFull};

use purser_events::Bytes;

use super::support::{Scene, admit, alone, cpu, gpus, machine, memory, uid};

fn scene() -> Scene {
    Scene::of(machine(), LedgerPolicy::default())
}

fn with_priority(pod: u64, priority: i32, demand: Demand) -> Admit {
    Admit { priority, ..admit(pod, "red", demand) }
}

fn queue(scene: &Scene) -> Vec<purser_events::PodUid> {
    scene.ledger.waiting.values().map(|waiting| waiting.pod).collect()
}

#[test]
fn higher_priorities_wait_in_front_and_among_equals_who_came_first() {
    let mut scene = scene();
    scene.runs(1, memory(64));
    for (pod, priority) in [(2, 0), (3, 5), (4, 0), (5, 5)] {
        scene.waits_as(with_priority(pod, priority, memory(10)));
    }
    assert_eq!(queue(&scene), [3, 5, 2, 4].map(uid));
    scene.ends(1);
    assert!(queue(&scene).is_empty());
}

#[test]
fn what_comes_free_goes_to_the_first_whom_it_is_enough_for() {
    let mut scene = scene();
    scene.runs(1, memory(30));
    scene.runs(2, memory(34));
    scene.waits_as(admit(3, "red", memory(60)));
    scene.waits_as(admit(4, "red", memory(20)));
    scene.ends(1);
    // 30 are free, and all of it is kept for the first.
    assert_eq!(queue(&scene), [3, 4].map(uid));
    scene.ends(2);
    assert!(scene.has(3) && !scene.has(4));
}

#[test]
fn who_needs_nothing_that_is_kept_goes_first() {
    let mut scene = scene();
    scene.runs(1, memory(64));
    scene.waits_as(admit(2, "red", memory(10)));
    scene.runs(3, cpu(1_000));
}

#[test]
fn who_comes_with_a_higher_priority_takes_what_is_kept_for_lower_ones() {
    let mut scene = scene();
    scene.runs(1, memory(40));
    scene.waits_as(admit(2, "red", memory(30)));
    scene.runs_as(with_priority(3, 1, memory(24)));
}

#[test]
fn why_a_pod_waits_says_everything_it_is_short_of() {
    let mut scene = scene();
    scene.runs(1, Demand { memory: Bytes(60), ..cpu(7_000) });
    scene.waits_as(admit(2, "red", Demand { memory: Bytes(5), ..cpu(2_000) }));
    let reason = scene.ledger.reason(uid(2)).unwrap();
    let told: Vec<String> = reason.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["cpu: 2 asked, 1 free", "memory: 5 asked, 4 free"]);
}

#[test]
fn a_device_that_the_first_waits_for_is_not_filled_up_by_others() {
    let mut scene = scene();
    scene.runs(1, gpus(2, Some(10)));
    scene.waits_as(admit(2, "red", gpus(1, None)));
    scene.runs(3, gpus(1, Some(50)));
    scene.waits_as(admit(4, "red", gpus(1, Some(50))));
    scene.ends(1);
    assert!(scene.has(2));
}

#[test]
fn a_share_that_is_waited_for_leaves_the_rest_of_the_device_to_others() {
    let mut scene = scene();
    scene.runs(1, gpus(2, Some(40)));
    scene.waits_as(admit(2, "red", gpus(1, Some(70))));
    // 60 % of each are free; on one of them nothing is left beside the 70 %, on the other all is.
    scene.runs(3, gpus(1, Some(60)));
    scene.waits_as(admit(4, "red", gpus(1, Some(60))));
}

#[test]
fn processors_that_the_first_is_to_have_alone_are_not_shared_out() {
    let policy = LedgerPolicy {
        limits: [(
            ResourceKind::Cpu,
            purser_events::ledger::Limits { overcommit_percent: 200, ..Default::default() },
        )]
        .into(),
        ..LedgerPolicy::default()
    };
    let mut scene = Scene::of(machine(), policy);
    scene.runs(1, cpu(8_000));
    scene.waits_as(admit(2, "red", alone(5)));
    // 3 processors are left to those who share beside the 5, and 6 cores of time on them are given out already.
    scene.waits_as(admit(3, "red", cpu(1)));
    scene.ends(1);
    assert!(scene.has(2) && scene.has(3));
}

#[test]
fn a_port_that_the_first_waits_for_is_not_given_to_another() {
    use purser_events::ledger::Port;
    use purser_events::pod::spec::Protocol;
    let port = Port { number: 30_000, protocol: Protocol::Tcp };
    let fixed = |bytes| Demand { fixed_ports: [port].into(), ..memory(bytes) };
    let mut scene = scene();
    scene.runs(1, memory(60));
    scene.waits_as(admit(2, "red", fixed(5)));
    let grant = scene.runs(3, Demand { ports: 1, ..Demand::default() });
    assert_eq!(grant.ports, [30_001].into());
    let told = scene.refuses(4, fixed(0));
    let front = "1 pod waits in front, and what is kept for it is not free: ports";
    assert_eq!(told, format!("insufficient resources: port 30000/TCP is taken; {front}"));
}

#[test]
fn who_is_refused_is_told_what_is_kept_for_those_in_front() {
    let mut scene = scene();
    scene.runs(1, memory(30));
    for pod in 2..5 {
        scene.waits_as(admit(pod, "red", memory(40)));
    }
    let told = scene.refuses(5, Demand { disk: Bytes(200), ..memory(20) });
    let (disk, room) = ("disk: 200 asked, the node gives out 100 in all", "memory: 20 asked, 0 free");
    let front = "3 pods wait in front, and what is kept for them is not free: memory";
    assert!(told.contains(disk) && told.contains(room) && told.ends_with(front), "{told}");
    // In front of them it is otherwise, and nothing of it is said.
    let high = Admit { when_full: WhenFull::Refuse, ..with_priority(6, 1, memory(35)) };
    let told = scene.admits(high).unwrap_err().to_string();
    assert_eq!(told, "insufficient resources: memory: 35 asked, 34 free");
    let places = scene.ledger.queue();
    let kept: Vec<bool> = places.iter().map(|place| place.kept.contains(&ResourceKind::Memory)).collect();
    assert_eq!(kept, [false, true, true], "the first waits for nobody in front");
}

#[test]
fn many_of_one_tenant_whom_its_quota_holds_back_are_no_others_business() {
    let mut scene = scene();
    let quota = Amounts::bounds([(ResourceKind::Pods, 1), (ResourceKind::Memory, 40)]);
    scene.sets_tenant("red", Tenant { quota: Some(quota), ..Tenant::default() }).unwrap();
    scene.runs(1, memory(10));
    for pod in 2..102 {
        scene.waits_as(admit(pod, "red", memory(10)));
    }
    scene.runs_as(admit(200, "green", memory(40)));
    scene.waits_as(admit(201, "green", memory(20)));
    // Its quota would let the next in, and so would the node; the other tenant's is behind them, and has room first.
    scene.ends(200);
    assert!(scene.has(201) && !scene.has(2));
    scene.ends(1);
    assert!(scene.has(2) && !scene.has(3));
    assert_eq!(queue(&scene).len(), 99);
}

#[test]
fn whom_the_own_quota_holds_back_holds_nobody_else_up() {
    let mut scene = scene();
    let quota = Amounts::bounds([(ResourceKind::Memory, 20)]);
    scene.sets_tenant("red", Tenant { quota: Some(quota), ..Tenant::default() }).unwrap();
    scene.runs(1, memory(15));
    scene.waits_as(admit(2, "red", memory(10)));
    scene.runs_as(admit(3, "green", memory(49)));
    // Within the tenant who waits first comes first.
    scene.waits_as(admit(4, "red", memory(5)));
}

#[test]
fn who_can_never_have_what_it_asks_for_holds_nobody_up() {
    let mut scene = scene();
    scene.runs(1, memory(64));
    scene.waits_as(admit(2, "red", Demand { memory: Bytes(40), ..cpu(1_000) }));
    scene.waits_as(admit(3, "red", memory(20)));
    let less = Capacity { memory: Bytes(30), ..machine() };
    scene.does(&LedgerCommand::SetCapacity(Box::new(less)));
    scene.ends(1);
    assert!(!scene.has(2) && scene.has(3));
    scene.ends(3);
    scene.does(&LedgerCommand::SetCapacity(Box::new(machine())));
    assert!(scene.has(2));
}

#[test]
fn who_waits_for_a_manager_that_is_stopped_holds_nobody_up() {
    let mut scene = scene();
    scene.runs(1, memory(60));
    scene.waits_as(admit(3, "red", Demand { memory: Bytes(10), ..gpus(1, Some(1)) }));
    scene.waits_as(admit(4, "red", memory(4)));
    scene.does(&LedgerCommand::StopManager { kind: ResourceKind::Gpus, reason: "repair".to_owned() });
    assert!(scene.has(4) && !scene.has(3));
}

#[test]
fn who_leaves_the_queue_leaves_his_place_to_others() {
    let mut scene = scene();
    scene.runs(1, memory(50));
    scene.waits_as(admit(2, "red", memory(30)));
    scene.waits_as(admit(3, "red", memory(10)));
    scene.ends(2);
    assert!(scene.has(3) && queue(&scene).is_empty());
}

#[test]
fn a_policy_or_the_pod_itself_says_that_it_does_not_wait() {
    let policy = LedgerPolicy { refuse_when_full: true, ..LedgerPolicy::default() };
    let mut scene = Scene::of(machine(), policy);
    scene.runs(1, memory(64));
    assert!(scene.admits(admit(2, "red", memory(1))).is_err());
    scene.waits_as(Admit { when_full: WhenFull::Wait, ..admit(2, "red", memory(1)) });
    assert!(scene.admits(Admit { when_full: WhenFull::Refuse, ..admit(3, "red", memory(1)) }).is_err());
}

#[test]
fn asking_twice_changes_nothing() {
    let mut scene = scene();
    scene.runs(1, memory(64));
    scene.waits_as(admit(2, "red", memory(1)));
    assert_eq!(scene.admits(admit(1, "red", memory(64))), Ok(vec![]));
    assert_eq!(scene.admits(admit(2, "red", memory(1))), Ok(vec![]));
    assert_eq!(scene.ends(9), []);
}

#[test]
fn a_node_that_is_cordoned_begins_none_that_wait_until_it_takes_pods_again() {
    let mut scene = scene();
    scene.runs(1, memory(64));
    scene.waits_as(admit(2, "red", memory(10)));
    scene.context.cordoned = Some("repair".to_owned());
    scene.ends(1);
    assert_eq!(queue(&scene), [uid(2)]);
    scene.context.cordoned = None;
    scene.does(&LedgerCommand::CheckTime);
    assert!(scene.has(2));
}
