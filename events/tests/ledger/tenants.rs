//! Tenants: on whose account pods go, what they may have, and when somebody is told.

use purser_events::ledger::event::LedgerEvent as E;
use purser_events::ledger::{
    Admit, Amounts, Demand, LedgerCommand, LedgerPolicy, LedgerRejection, ResourceKind, Tenant, TenantId,
};

use super::support::{Scene, admit, cpu, gpus, machine, memory, tenant};

fn scene() -> Scene {
    Scene::of(machine(), LedgerPolicy::default())
}

fn named(names: &[&str]) -> Tenant {
    Tenant { namespaces: names.iter().map(ToString::to_string).collect(), ..Tenant::default() }
}

fn bounded(kind: ResourceKind, most: u64) -> Tenant {
    Tenant { quota: Some(Amounts::bounds([(kind, most)])), ..Tenant::default() }
}

/// The alerts among these events: the tenant, the kind, and whether it is raised.
fn alerts(events: &[E]) -> Vec<(String, ResourceKind, bool)> {
    let of = |event: &E| match event {
        E::AlertRaised(it) => Some((it.tenant.to_string(), it.kind.clone(), true)),
        E::AlertCleared(it) => Some((it.tenant.to_string(), it.kind.clone(), false)),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

#[test]
fn a_namespace_is_on_the_account_of_who_names_it_or_on_its_own() {
    let mut scene = scene();
    scene.sets_tenant("acme", named(&["dev", "prod"])).unwrap();
    let account = |scene: &Scene, namespace| scene.ledger.tenant_of(namespace);
    assert_eq!(account(&scene, "dev"), Some(tenant("acme")));
    assert_eq!(account(&scene, "other"), Some(tenant("other")));
    assert_eq!(account(&scene, "acme"), Some(tenant("acme")));
    assert_eq!(account(&scene, "No Name"), None);
    let answer = scene.admits(admit(1, "No Name", cpu(1)));
    assert_eq!(answer, Err(LedgerRejection::BadNamespace { namespace: "No Name".to_owned() }));
}

#[test]
fn a_namespace_has_one_owner() {
    let mut scene = scene();
    scene.sets_tenant("acme", named(&["dev"])).unwrap();
    let taken = LedgerRejection::NamespaceTaken { namespace: "dev".to_owned(), owner: tenant("acme") };
    assert_eq!(scene.sets_tenant("other", named(&["dev"])), Err(taken.clone()));
    assert_eq!(scene.sets_tenant("dev", Tenant::default()), Err(taken));
    scene.sets_tenant("acme", named(&["dev", "prod"])).unwrap();
}

#[test]
fn what_runs_stays_on_the_account_on_which_it_began() {
    let mut scene = scene();
    scene.runs(1, memory(10));
    scene.sets_tenant("acme", named(&["red"])).unwrap();
    scene.runs(2, memory(5));
    let used = |name| scene.ledger.used.get(&tenant(name)).map(|used| used.get(&ResourceKind::Memory));
    assert_eq!((used("red"), used("acme")), (Some(10), Some(5)));
    scene.ends(1);
    assert_eq!(scene.ledger.used.get(&tenant("red")), None);
}

#[test]
fn who_is_beyond_the_quota_waits_and_who_never_fits_is_refused() {
    let mut scene = scene();
    scene.sets_tenant("red", bounded(ResourceKind::Memory, 20)).unwrap();
    let told = scene.admits(admit(1, "red", memory(21))).unwrap_err().to_string();
    let quota = "memory: 21 asked, 20 left of the quota of tenant red (20)";
    assert_eq!(told, format!("insufficient resources: {quota}"));
    scene.runs(2, memory(15));
    scene.waits_as(admit(3, "red", memory(6)));
    scene.ends(2);
    assert!(scene.has(3));
}

#[test]
fn a_quota_of_nothing_is_not_no_quota() {
    let mut scene = scene();
    scene.sets_tenant("red", bounded(ResourceKind::GpuShare, 0)).unwrap();
    let told = scene.refuses(1, gpus(1, Some(1)));
    assert!(told.contains("gpu-share: 1% asked, 0% left of the quota of tenant red (0%)"), "{told}");
}

#[test]
fn pods_are_counted_and_a_reservation_is_one() {
    let mut scene = scene();
    scene.sets_tenant("red", bounded(ResourceKind::Pods, 2)).unwrap();
    scene.runs(1, cpu(1));
    scene.does(&LedgerCommand::Reserve(Box::new(super::reservations::reserve(1, cpu(1)))));
    let told = scene.refuses(2, cpu(1));
    assert_eq!(told, "insufficient resources: pods: 1 asked, 0 left of the quota of tenant red (2)");
}

#[test]
fn who_has_no_bounds_has_the_default_ones() {
    let default_quota = Amounts::bounds([(ResourceKind::Memory, 10)]);
    let mut scene = Scene::of(machine(), LedgerPolicy { default_quota, ..LedgerPolicy::default() });
    assert!(scene.ledger.quota(&tenant("red")).is_default);
    assert!(scene.refuses(1, memory(11)).contains("10 left of the quota of tenant red (10)"));
    scene.sets_tenant("red", bounded(ResourceKind::Memory, 30)).unwrap();
    assert!(!scene.ledger.quota(&tenant("red")).is_default);
    scene.runs(1, memory(30));
    scene.does(&LedgerCommand::RemoveTenant { id: tenant("red") });
    assert!(scene.refuses(2, memory(1)).contains("0 left of the quota of tenant red (10)"));
    let answer = scene.asks(&LedgerCommand::RemoveTenant { id: tenant("red") });
    assert_eq!(answer, Err(LedgerRejection::NoSuchTenant { id: tenant("red") }));
}

#[test]
fn one_pod_has_at_most_what_a_pod_may_have() {
    let mut scene = scene();
    let pod_max = Amounts::bounds([(ResourceKind::Cpu, 1_000), (ResourceKind::GpuMemory, 40)]);
    scene.sets_tenant("red", Tenant { pod_max, ..Tenant::default() }).unwrap();
    let told = scene.refuses(1, cpu(1_001));
    assert_eq!(told, "insufficient resources: cpu: 1001m asked, a pod of tenant red may have 1");
    // The memory that comes with a device counts like one that is asked for.
    let told = scene.refuses(2, gpus(1, None));
    assert_eq!(told, "insufficient resources: gpu-memory: 80 asked, a pod of tenant red may have 40");
    scene.runs(3, gpus(1, Some(50)));
}

#[test]
fn a_pod_that_does_not_say_gets_what_its_tenant_gives() {
    let mut scene = scene();
    let pod_default = [(ResourceKind::Cpu, 250), (ResourceKind::Memory, 3)].into_iter().collect();
    scene.sets_tenant("red", Tenant { pod_default, ..Tenant::default() }).unwrap();
    let grant = scene.runs(1, Demand { disk: purser_events::Bytes(7), ..cpu(100) });
    assert_eq!((grant.cpu.0, grant.memory.0, grant.disk.0), (100, 3, 7));
}

#[test]
fn an_alert_is_raised_once_and_cleared_once() {
    let mut scene = scene();
    let it = Tenant { alert_percent: Some(80), ..bounded(ResourceKind::Memory, 20) };
    scene.sets_tenant("red", it.clone()).unwrap();
    let is = |raised| [("red".to_owned(), ResourceKind::Memory, raised)];
    assert_eq!(alerts(&scene.admits(admit(1, "red", memory(15))).unwrap()), []);
    assert_eq!(alerts(&scene.admits(admit(2, "red", memory(1))).unwrap()), is(true));
    assert_eq!(alerts(&scene.admits(admit(3, "red", memory(1))).unwrap()), []);
    assert_eq!(alerts(&scene.ends(3)), []);
    assert_eq!(alerts(&scene.ends(2)), is(false));
    assert_eq!(alerts(&scene.ends(1)), []);
}

#[test]
fn an_alert_follows_the_bounds() {
    let mut scene = scene();
    scene.runs(1, memory(15));
    let it = Tenant { alert_percent: Some(50), ..bounded(ResourceKind::Memory, 20) };
    let is = |raised| [("red".to_owned(), ResourceKind::Memory, raised)];
    assert_eq!(alerts(&scene.sets_tenant("red", it).unwrap()), is(true));
    assert_eq!(alerts(&scene.does(&LedgerCommand::RemoveTenant { id: tenant("red") })), is(false));
}

#[test]
fn a_tenant_that_cannot_be_is_refused_with_its_field() {
    use purser_events::ledger::tenant::{Operation, Period, Rate, RequestLimits};
    let rate = |count, burst| RequestLimits {
        rates: [(Operation::Create, Rate { count, per: Period::Hour, burst })].into(),
        concurrent: None,
    };
    let with = |requests| Tenant { requests, ..Tenant::default() };
    let kinds = |kind, amount| [(kind, amount)].into_iter().collect::<Amounts>();
    let crowd: Vec<String> = (0..257).map(|number| format!("n{number}")).collect();
    let max = Tenant {
        pod_max: kinds(ResourceKind::Cpu, 1),
        pod_default: kinds(ResourceKind::Cpu, 2),
        ..Tenant::default()
    };
    for (tenant, field) in [
        (Tenant { namespaces: crowd.into_iter().collect(), ..Tenant::default() }, "namespaces"),
        (named(&["Bad Name"]), "namespaces: `Bad Name`"),
        (Tenant { alert_percent: Some(0), ..Tenant::default() }, "alertPercent"),
        (Tenant { alert_percent: Some(101), ..Tenant::default() }, "alertPercent"),
        (Tenant { pod_default: kinds(ResourceKind::Gpus, 1), ..Tenant::default() }, "podDefault.gpus"),
        (max, "podDefault.cpu"),
        (with(rate(0, None)), "requests.rates.create"),
        (with(rate(5, Some(0))), "requests.rates.create"),
        (with(RequestLimits { concurrent: Some(0), ..RequestLimits::default() }), "requests.concurrent"),
    ] {
        let answer = scene().sets_tenant("red", tenant);
        let Err(LedgerRejection::Tenant { error }) = answer else { panic!("{field}: {answer:?}") };
        assert_eq!(error.field, field);
    }
}

#[test]
fn who_has_no_bound_of_its_own_has_the_nodes() {
    let policy = LedgerPolicy { default_priority_max: Some(100), ..LedgerPolicy::default() };
    let mut scene = Scene::of(machine(), policy);
    scene.sets_tenant("red", Tenant { priority_max: Some(200), ..Tenant::default() }).unwrap();
    scene.sets_tenant("blue", Tenant::default()).unwrap();
    let asks = |pod, namespace, priority| Admit { priority, ..admit(pod, namespace, memory(1)) };
    for (pod, namespace) in [(1, "blue"), (2, "green")] {
        let refused = scene.admits(asks(pod, namespace, 101)).unwrap_err();
        assert_eq!(refused.code(), "priority-too-high", "{namespace}");
        scene.runs_as(asks(pod, namespace, 100));
    }
    scene.runs_as(asks(3, "red", 200));
    let bound = |id| scene.ledger.priority_max(&TenantId::new(id).unwrap());
    assert_eq!([bound("red"), bound("blue")], [(Some(200), false), (Some(100), true)]);
}

#[test]
fn nobody_jumps_the_queue_by_more_than_its_tenant_may() {
    let mut scene = scene();
    scene.sets_tenant("red", Tenant { priority_max: Some(10), ..Tenant::default() }).unwrap();
    let asks = |priority| Admit { priority, ..admit(1, "red", memory(1)) };
    let refused = scene.admits(asks(11)).unwrap_err();
    assert_eq!(refused.to_string(), "priority 11 is more than pods of tenant red may have (10)");
    assert_eq!(refused.code(), "priority-too-high");
    scene.runs_as(asks(10));
    scene.runs_as(Admit { priority: 1_000, ..admit(2, "green", memory(1)) });
    assert_eq!(scene.ledger.priority_max(&TenantId::new("green").unwrap()), (None, true));
    // What runs keeps what it has, whatever is set later; who waited comes back to its place, and who asks anew is refused.
    scene.sets_tenant("red", Tenant { priority_max: Some(-5), ..Tenant::default() }).unwrap();
    assert!(scene.has(1));
    scene.ends(1);
    assert_eq!(scene.admits(asks(10)).unwrap_err().code(), "priority-too-high");
    scene.runs_as(Admit { waited: true, ..asks(10) });
    let waits = Admit { waited: true, ..admit(4, "red", memory(u64::MAX / 2)) };
    assert!(scene.admits(waits).is_err(), "what never has room does not wait");
    let kept = super::reservations::reserves(&mut scene, 1, memory(1));
    let takes_up = super::reservations::takes_up(3, memory(1), kept, "ada");
    assert!(scene.admits(takes_up.clone()).is_err(), "a reservation is no way around it");
    scene.runs_as(Admit { priority: -5, ..takes_up });
}
