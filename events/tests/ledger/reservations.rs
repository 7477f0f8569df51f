//! The life of a reservation: made, and then taken up, given up or over.

use purser_events::Bytes;
use purser_events::ledger::event::{LedgerEvent as E, ReservationVerb, StaleReason};
use purser_events::ledger::{
    Admit, Demand, GpuClaim, LedgerCommand, LedgerPolicy, LedgerRejection, ReservationRef, Reserve,
    ResourceKind, Tenant,
};
use uuid::Uuid;

use super::support::{Scene, admit, alone, cpu, gpu, gpus, machine, memory, uid};

pub(crate) fn reserve(number: u128, demand: Demand) -> Reserve {
    let (owner, namespace) = ("ada".to_owned(), "red".to_owned());
    Reserve { reservation: Uuid::from_u128(number), owner, namespace, demand, ttl_ms: 1_000 }
}

fn scene() -> Scene {
    Scene::of(machine(), LedgerPolicy::default())
}

/// Reserves and says under which token.
pub(crate) fn reserves(scene: &mut Scene, number: u128, demand: Demand) -> ReservationRef {
    let events = scene.does(&LedgerCommand::Reserve(Box::new(reserve(number, demand))));
    let Some(E::Reserved(reserved)) = events.first() else { panic!("{events:?}") };
    ReservationRef { id: reserved.reservation, token: reserved.token }
}

pub(crate) fn takes_up(pod: u64, demand: Demand, reservation: ReservationRef, owner: &str) -> Admit {
    Admit { reservation: Some((reservation, owner.to_owned())), ..admit(pod, "red", demand) }
}

/// Why somebody was turned away who spoke for a reservation, and whether it ended by that.
fn turned_away(events: &[E]) -> (Option<(ReservationVerb, StaleReason)>, bool) {
    let reason = events.iter().find_map(|event| match event {
        E::StaleTokenRefused(it) => Some((it.verb, it.reason)),
        _ => None,
    });
    (reason, events.iter().any(|event| matches!(event, E::ReservationExpired(_))))
}

#[test]
fn what_is_reserved_is_kept_until_its_pod_takes_it_up() {
    let mut scene = scene();
    let kept = reserves(&mut scene, 1, memory(60));
    assert_eq!(scene.refuses(1, memory(5)), "insufficient resources: memory: 5 asked, 4 free");
    let grant = scene.runs_as(takes_up(2, memory(50), kept, "ada"));
    assert_eq!(grant.memory, Bytes(60));
    assert!(scene.ledger.reservations.is_empty());
    scene.ends(2);
    scene.runs(1, memory(64));
}

#[test]
fn each_reservation_has_a_larger_token_than_the_one_before() {
    let mut scene = scene();
    let first = reserves(&mut scene, 1, memory(1));
    scene.does(&LedgerCommand::Cancel { reservation: first, owner: "ada".to_owned() });
    let second = reserves(&mut scene, 1, memory(1));
    assert!(first.token < second.token);
    let events = scene.does(&LedgerCommand::Cancel { reservation: first, owner: "ada".to_owned() });
    assert_eq!(turned_away(&events).0, Some((ReservationVerb::Cancel, StaleReason::Token)));
}

#[test]
fn who_does_not_have_a_reservation_is_turned_away_on_record() {
    let mut scene = scene();
    let kept = reserves(&mut scene, 1, memory(10));
    let wrong = ReservationRef { token: kept.token + 1, ..kept };
    let gone = reserves(&mut scene, 2, memory(1));
    scene.does(&LedgerCommand::Cancel { reservation: gone, owner: "ada".to_owned() });
    for (shown, owner, reason) in [
        (wrong, "ada", StaleReason::Token),
        (kept, "bob", StaleReason::Owner),
        (gone, "ada", StaleReason::Gone),
    ] {
        let events = scene.admits(takes_up(1, memory(1), shown, owner)).unwrap();
        assert_eq!(turned_away(&events), (Some((ReservationVerb::Activate, reason)), false));
        assert!(!scene.has(1));
    }
}

#[test]
fn who_speaks_for_what_never_was_leaves_nothing_on_record() {
    let mut scene = scene();
    let kept = reserves(&mut scene, 1, memory(10));
    let made_up = ReservationRef { id: Uuid::from_u128(9), ..kept };
    let (reservation, token, reason) = (made_up.id, made_up.token, StaleReason::Gone);
    let refused = LedgerRejection::StaleToken { reservation, token, reason };
    assert_eq!(scene.admits(takes_up(1, memory(1), made_up, "ada")), Err(refused.clone()));
    let command = LedgerCommand::Cancel { reservation: made_up, owner: "ada".to_owned() };
    assert_eq!(scene.asks(&command), Err(refused));
}

#[test]
fn an_operator_gives_up_what_is_anothers_and_its_owner_is_turned_away() {
    let mut scene = scene();
    let kept = reserves(&mut scene, 1, memory(10));
    let revoke = LedgerCommand::Revoke { reservation: kept.id };
    assert_eq!(scene.does(&revoke).len(), 1);
    assert_eq!(scene.does(&revoke), [], "it is so already");
    let events = scene.admits(takes_up(1, memory(1), kept, "ada")).unwrap();
    assert_eq!(turned_away(&events), (Some((ReservationVerb::Activate, StaleReason::Gone)), false));
}

#[test]
fn only_the_reservations_that_ended_last_are_still_known() {
    let mut scene = scene();
    let first = reserves(&mut scene, 1, memory(1));
    let cancel = |reservation| LedgerCommand::Cancel { reservation, owner: "ada".to_owned() };
    scene.does(&cancel(first));
    for number in 2..=1_001 {
        assert!(scene.asks(&cancel(first)).is_ok(), "{number}");
        let next = reserves(&mut scene, number, memory(1));
        scene.does(&cancel(next));
    }
    assert!(matches!(scene.asks(&cancel(first)), Err(LedgerRejection::StaleToken { .. })));
    assert_eq!(scene.ledger.ended.size(), 1_000);
}

#[test]
fn a_pod_on_another_account_does_not_take_it_up() {
    let mut scene = scene();
    let kept = reserves(&mut scene, 1, memory(10));
    let other = Admit { namespace: "green".to_owned(), ..takes_up(1, memory(1), kept, "ada") };
    let events = scene.admits(other).unwrap();
    assert_eq!(turned_away(&events).0, Some((ReservationVerb::Activate, StaleReason::Owner)));
}

#[test]
fn a_reservation_is_over_at_its_time_and_not_before() {
    let mut scene = scene();
    reserves(&mut scene, 1, memory(64));
    scene.waits_as(admit(1, "red", memory(1)));
    scene.passes_ms(999);
    assert_eq!(scene.does(&LedgerCommand::CheckTime), []);
    scene.passes_ms(1);
    assert_eq!(scene.ledger.next_deadline(), Some(scene.context.now));
    scene.does(&LedgerCommand::CheckTime);
    assert!(scene.has(1) && scene.ledger.next_deadline().is_none());
}

#[test]
fn who_comes_too_late_ends_it_and_is_turned_away() {
    let mut scene = scene();
    let kept = reserves(&mut scene, 1, memory(64));
    scene.waits_as(admit(2, "red", memory(64)));
    scene.passes_ms(1_000);
    let events = scene.admits(takes_up(1, memory(1), kept, "ada")).unwrap();
    assert_eq!(turned_away(&events), (Some((ReservationVerb::Activate, StaleReason::Expired)), true));
    assert!(scene.has(2) && !scene.has(1));
}

#[test]
fn a_clock_that_goes_back_makes_a_reservation_last_longer_and_no_more() {
    let mut scene = scene();
    let kept = reserves(&mut scene, 1, memory(64));
    scene.context.now.0 -= 3_600_000_000;
    assert_eq!(scene.does(&LedgerCommand::CheckTime), []);
    scene.runs_as(takes_up(1, memory(64), kept, "ada"));
}

#[test]
fn reserving_the_same_again_is_harmless_and_another_is_refused() {
    let mut scene = scene();
    reserves(&mut scene, 1, memory(1));
    assert_eq!(scene.does(&LedgerCommand::Reserve(Box::new(reserve(1, memory(1))))), []);
    let answer = scene.asks(&LedgerCommand::Reserve(Box::new(reserve(1, memory(2)))));
    let reservation = Uuid::from_u128(1);
    assert_eq!(answer, Err(LedgerRejection::ReservationExists { reservation }));
}

#[test]
fn a_pod_that_asks_for_more_than_is_kept_is_told_what() {
    let mut scene = scene();
    let share = |share, memory| {
        let memory = Some(Bytes(memory));
        let claim = GpuClaim { count: 1, share: Some(share), memory, uuids: [].into(), tflops: None };
        Demand { gpu: Some(claim), ..cpu(2_000) }
    };
    let kept = reserves(&mut scene, 1, Demand { ports: 1, ..share(50, 40) });
    let told = |scene: &mut Scene, demand| {
        scene.admits(takes_up(1, demand, kept, "ada")).expect_err("more than is kept").to_string()
    };
    for (demand, expected) in [
        (cpu(2_001), "cpu: 2001m asked, the reservation has 2"),
        (alone(1), "cpu: 1 asked, the reservation has 0"),
        (share(51, 1), "gpus: 1 asked, the reservation has 0"),
        (share(1, 41), "gpus: 1 asked, the reservation has 0"),
        (gpus(1, None), "gpus: 1 asked, the reservation has 0"),
        (gpus(2, Some(1)), "gpus: 2 asked, the reservation has 1"),
        (Demand { ports: 2, ..cpu(1) }, "ports: 2 asked, the reservation has 1"),
    ] {
        assert_eq!(told(&mut scene, demand), format!("insufficient resources: {expected}"));
    }
    let mut named = share(1, 1);
    named.gpu.as_mut().unwrap().uuids = [gpu(1)].into();
    assert_eq!(told(&mut scene, named), "insufficient resources: gpus: 1 asked, the reservation has 0");
    scene.runs_as(takes_up(1, share(50, 40), kept, "ada"));
}

#[test]
fn what_a_tenant_gives_who_does_not_say_is_reserved_too() {
    let mut scene = scene();
    let pod_default = [(ResourceKind::Cpu, 500)].into_iter().collect();
    scene.sets_tenant("red", Tenant { pod_default, ..Tenant::default() }).unwrap();
    let kept = reserves(&mut scene, 1, memory(1));
    assert_eq!(scene.runs_as(takes_up(1, memory(1), kept, "ada")).cpu.0, 500);
}

#[test]
fn a_reservation_lasts_from_a_millisecond_to_30_days() {
    let mut scene = scene();
    let day_ms = 24 * 3_600_000;
    for ttl_ms in [0, 30 * day_ms + 1, u64::MAX] {
        let reserve = Reserve { ttl_ms, ..reserve(1, memory(1)) };
        let answer = scene.asks(&LedgerCommand::Reserve(Box::new(reserve)));
        assert_eq!(answer, Err(LedgerRejection::BadTtl { ttl_ms }));
    }
    for (number, ttl_ms) in [(1, 1), (2, 30 * day_ms)] {
        scene.does(&LedgerCommand::Reserve(Box::new(Reserve { ttl_ms, ..reserve(number, memory(1)) })));
    }
}

#[test]
fn a_node_that_is_cordoned_reserves_nothing() {
    let mut scene = scene();
    scene.context.cordoned = Some("repair".to_owned());
    let answer = scene.asks(&LedgerCommand::Reserve(Box::new(reserve(1, memory(1)))));
    assert_eq!(answer, Err(LedgerRejection::Cordoned { reason: "repair".to_owned() }));
}

#[test]
fn a_pod_that_has_something_takes_up_nothing_more() {
    let mut scene = scene();
    let kept = reserves(&mut scene, 1, memory(10));
    scene.runs(1, memory(1));
    assert_eq!(scene.admits(takes_up(1, memory(10), kept, "ada")), Ok(vec![]));
    assert_eq!(scene.ledger.grant(uid(1)).unwrap().memory, Bytes(1));
}

#[test]
fn what_is_kept_is_taken_up_though_the_machine_has_it_no_more() {
    let mut scene = scene();
    let custom = [(super::support::dongle(), 1)].into();
    let demand = Demand { custom, ..Demand::default() };
    let kept = reserves(&mut scene, 1, demand.clone());
    let gone = purser_events::ledger::Capacity { custom: [].into(), ..machine() };
    scene.does(&LedgerCommand::SetCapacity(Box::new(gone)));
    scene.runs_as(takes_up(1, demand, kept, "ada"));
    scene.ends(1);
    assert!(scene.ledger.managers.custom.is_empty());
}

#[test]
fn a_gpu_that_takes_no_pods_takes_none_by_a_reservation() {
    let mut scene = scene();
    let kept = reserves(&mut scene, 1, gpus(1, Some(50)));
    // As after a cordon: the ledger gives out the GPUs that take pods.
    let without = purser_events::ledger::Capacity { gpus: vec![], ..machine() };
    scene.does(&LedgerCommand::SetCapacity(Box::new(without)));
    let refused = scene.admits(takes_up(1, gpus(1, Some(50)), kept, "ada")).unwrap_err().to_string();
    assert!(refused.contains("there is no GPU GPU-0 on this node that can be given out"), "{refused}");
    assert!(!scene.has(1) && scene.ledger.reservations.size() == 1);
    scene.does(&LedgerCommand::SetCapacity(Box::new(machine())));
    assert_eq!(scene.runs_as(takes_up(1, gpus(1, Some(50)), kept, "ada")).gpus.len(), 1);
}
