//! What leads to what.

use purser_events::gpu::event::{DrainOutcome, FactsChanged, FaultNoted};
use purser_events::gpu::{
    Degradation, Evidence, Fault, GpuCommand, GpuEvent, GpuHealthPolicy, GpuRejection, Health, Seen,
};
use purser_events::violation::{Level, ViolationCommand, ViolationEvent, ViolationKind};
use purser_events::{Bytes, Policy};

use super::{Lived, cordon, drain, fine, forget, healths, hung, lost, slowed, uncordon};

#[test]
fn a_gpu_that_stays_as_it_is_has_one_event() {
    let mut lived = Lived::new();
    assert!(lived.see(Seen { standing: None, ..fine() }).is_empty(), "nothing is known of it yet");
    assert_eq!(healths(&lived.see_for(3_600, &fine())), ["Healthy"]);
    assert_eq!((lived.events.len(), lived.gives_out()), (1, true));
}

#[test]
fn a_gpu_that_was_lost_is_in_probation_before_it_takes_pods() {
    let mut lived = Lived::new();
    lived.see_for(5, &fine());
    assert_eq!(healths(&lived.see_for(1, &lost())), ["Lost"]);
    assert!(!lived.gives_out());
    assert!(lived.see_for(100, &lost()).is_empty());
    assert_eq!(healths(&lived.see_for(11, &fine())), ["Probation"]);
    assert!(lived.see_for(60, &fine()).is_empty() && !lived.gives_out());
    let events = lived.see_for(1, &fine());
    let [GpuEvent::HealthChanged(changed)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((&changed.health, changed.evidence.for_ms), (&Health::Healthy, 60_000));
    assert!(lived.gives_out());
}

#[test]
fn a_relapse_makes_the_probation_begin_anew_without_an_event() {
    let mut lived = Lived::new();
    lived.see_for(1, &fine());
    lived.see_for(1, &hung());
    assert_eq!((lived.see_for(11, &fine()).len(), lived.word()), (1, "Probation"));
    for _ in 0..50 {
        assert!(lived.see_for(50, &fine()).is_empty());
        assert!(lived.see_for(3, &lost()).is_empty());
    }
    assert!(lived.see_for(60, &fine()).is_empty());
    assert_eq!(healths(&lived.see_for(2, &fine())), ["Healthy"]);
}

#[test]
fn a_gpu_in_probation_that_stays_away_is_lost_again_and_later_each_time() {
    let mut lived = Lived::new();
    lived.see_for(1, &fine());
    lived.see_for(1, &lost());
    let mut waits = vec![];
    for _ in 0..5 {
        let begun = lived.passed;
        while lived.word() != "Probation" {
            lived.see_for(1, &fine());
        }
        while lived.word() != "Lost" {
            lived.see_for(1, &lost());
        }
        waits.push((lived.passed - begun).as_secs());
    }
    assert_eq!(waits, [22, 42, 82, 122, 122]);
}

#[test]
fn a_fatal_fault_takes_a_gpu_out_until_somebody_says_otherwise() {
    let mut lived = Lived::new();
    lived.see_for(2, &fine());
    lived.fault(79);
    let events = lived.see_for(1, &fine());
    assert!(matches!(events[0], GpuEvent::FaultNoted(FaultNoted { xid: 79, count: 1, .. })), "{events:?}");
    assert_eq!((healths(&events), lived.gives_out()), (vec!["Faulty"], false));
    assert!(lived.see_for(600, &fine()).is_empty() && lived.see_for(9, &lost()).is_empty());
    lived.fault(94);
    lived.see_for(5, &fine());
    let events = lived.ask(&uncordon()).unwrap();
    assert_eq!((events.len(), healths(&events)), (2, vec!["Probation"]));
    assert!(lived.see_for(60, &fine()).is_empty(), "what was forgiven takes it out no more");
    assert_eq!(healths(&lived.see_for(1, &fine())), ["Healthy"]);
    assert!(lived.ask(&uncordon()).unwrap().is_empty());
}

#[test]
fn a_fault_of_a_program_is_counted_and_no_more_than_once_a_minute() {
    let mut lived = Lived::new();
    lived.see_for(2, &fine());
    let mut noted = 0;
    for _ in 0..600 {
        lived.fault(31);
        noted += lived.see_for(1, &fine()).len();
    }
    assert_eq!((noted, lived.word()), (10, "Healthy"));
    lived.see_for(61, &fine());
    assert_eq!(lived.gpu.known().unwrap().faults[&31].count, 600);
    lived.policy = Policy {
        gpus: GpuHealthPolicy { fatal_xids: [31].into(), ..GpuHealthPolicy::default() },
        ..Policy::default()
    };
    lived.fault(31);
    assert_eq!(healths(&lived.see_for(1, &fine())), ["Faulty"], "the policy takes it out");
}

#[test]
fn an_uncorrected_error_of_its_memory_is_a_fault_and_those_that_are_known_are_none() {
    let with = |count| Seen {
        facts: purser_events::gpu::GpuFacts { ecc_uncorrected: Some(count), ..fine().facts },
        evidence: Evidence { ecc_uncorrected: Some(count), ..Evidence::default() },
        ..fine()
    };
    let mut lived = Lived::new();
    assert_eq!(healths(&lived.see_for(10, &with(7))), ["Healthy"]);
    let events = lived.see_for(1, &with(9));
    let [GpuEvent::HealthChanged(changed)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(changed.health, Health::Faulty { fault: Fault::Ecc { before: 7, now: 9 } });
    lived.see_for(5, &with(12));
    lived.ask(&GpuCommand::Uncordon { by: super::operator(), ecc_uncorrected: Some(12) }).unwrap();
    assert_eq!(healths(&lived.see_for(61, &with(12))), ["Healthy"]);
    // A board whose counter was cleared is held to the new one.
    lived.see_for(61, &with(0));
    assert_eq!(healths(&lived.see_for(1, &with(1))), ["Faulty"]);
}

#[test]
fn a_gpu_that_is_slowed_down_for_long_is_degraded_and_takes_pods() {
    let mut lived = Lived::new();
    lived.see_for(5, &fine());
    for _ in 0..20 {
        assert!(lived.see_for(29, &slowed(Degradation::Thermal)).is_empty(), "it did not last");
        assert!(lived.see_for(2, &fine()).is_empty());
    }
    assert_eq!(healths(&lived.see_for(31, &slowed(Degradation::Thermal))), ["Degraded"]);
    assert!(lived.gives_out());
    assert!(lived.see_for(29, &fine()).is_empty());
    assert!(lived.see_for(100, &Seen { slowed: None, ..fine() }).is_empty(), "no reading is no evidence");
    assert_eq!(healths(&lived.see_for(3, &fine())), ["Healthy"]);
}

#[test]
fn a_cordon_stays_whatever_becomes_of_the_gpu_and_ends_in_probation() {
    let mut lived = Lived::new();
    assert_eq!(lived.ask(&cordon("its fan")), Err(GpuRejection::NotFound));
    lived.see_for(1, &fine());
    assert_eq!(lived.ask(&cordon(" ")), Err(GpuRejection::BadReason));
    assert_eq!(lived.ask(&cordon("a\u{1b}[2J")), Err(GpuRejection::BadReason));
    assert_eq!(lived.ask(&cordon(&"x".repeat(257))), Err(GpuRejection::ReasonTooLong { len: 257 }));
    assert_eq!(lived.ask(&cordon("its fan")).unwrap().len(), 1);
    assert!(lived.ask(&cordon("its fan")).unwrap().is_empty());
    assert_eq!((lived.word(), lived.gives_out()), ("Cordoned", false));
    lived.see_for(1, &lost());
    assert_eq!(lived.word(), "Lost");
    lived.see_for(72, &fine());
    assert_eq!((lived.word(), lived.gives_out()), ("Cordoned", false));
    assert_eq!(healths(&lived.ask(&uncordon()).unwrap()), ["Probation"]);
    assert_eq!(healths(&lived.see_for(61, &fine())), ["Healthy"]);
    assert!(lived.gives_out());
}

#[test]
fn a_drain_cordons_and_lasts_until_it_is_over_or_given_up() {
    let mut lived = Lived::new();
    assert_eq!(lived.ask(&drain(None)), Err(GpuRejection::NotFound));
    lived.see_for(1, &fine());
    assert_eq!(lived.ask(&drain(Some(86_401))), Err(GpuRejection::GraceTooLong { grace_s: 86_401 }));
    let ended = |outcome| vec![outcome];
    let outcomes = |events: Vec<GpuEvent>| {
        let outcome = |event: GpuEvent| match event {
            GpuEvent::DrainEnded(ended) => Some(ended.outcome),
            _ => None,
        };
        events.into_iter().filter_map(outcome).collect::<Vec<_>>()
    };
    let events = lived.ask(&drain(Some(30))).unwrap();
    assert!(matches!(events.as_slice(), [GpuEvent::Cordoned(_), GpuEvent::DrainRequested(_)]), "{events:?}");
    assert_eq!((lived.word(), lived.gives_out()), ("Cordoned", false));
    assert!(lived.ask(&drain(Some(30))).unwrap().is_empty(), "it is so already");
    let events = lived.ask(&drain(Some(5))).unwrap();
    assert_eq!(outcomes(events), ended(DrainOutcome::GivenUp), "another grace is another drain");
    let is_over = GpuCommand::EndDrain { outcome: DrainOutcome::Drained };
    assert_eq!(outcomes(lived.ask(&is_over).unwrap()), ended(DrainOutcome::Drained));
    assert!(lived.ask(&is_over).unwrap().is_empty());
    assert_eq!(lived.word(), "Cordoned", "it stays empty");
    lived.ask(&drain(None)).unwrap();
    assert_eq!(outcomes(lived.ask(&uncordon()).unwrap()), ended(DrainOutcome::GivenUp));
}

#[test]
fn only_a_gpu_that_is_gone_and_of_which_nobody_has_anything_is_forgotten() {
    let mut lived = Lived::new();
    assert_eq!(lived.ask(&forget(0, false)), Err(GpuRejection::NotFound));
    lived.see_for(1, &fine());
    assert_eq!(lived.ask(&forget(0, false)), Err(GpuRejection::NotLost { health: "Healthy".to_owned() }));
    lived.see_for(1, &lost());
    assert_eq!(lived.ask(&forget(0, true)), Err(GpuRejection::StillNamed));
    assert_eq!(lived.ask(&forget(2, false)), Err(GpuRejection::StillHeld { holders: 2 }));
    lived.ask(&drain(None)).unwrap();
    let violation = ViolationCommand::Open {
        id: uuid::Uuid::from_u128(1),
        kind: ViolationKind::DeviceHealth,
        pod: None,
        value: 1,
        limit: 0,
        evidence: "it is gone".to_owned(),
        cool_down_ms: 1_000,
        max: Level::Warn,
    };
    lived.ask(&GpuCommand::Violation(violation)).unwrap();
    let events = lived.ask(&forget(0, false)).unwrap();
    let [GpuEvent::Violation(ViolationEvent::Resolved(_)), GpuEvent::DrainEnded(_), GpuEvent::Forgotten(_)] =
        events.as_slice()
    else {
        panic!("{events:?}");
    };
    assert_eq!(lived.word(), "Unknown");
    lived.see_for(1, &fine());
    assert!(lived.gives_out(), "one that comes back is found anew, without a cordon");
}

#[test]
fn facts_that_become_known_are_recorded_at_once_and_others_not_in_a_stream() {
    let mut lived = Lived::new();
    lived.see_for(1, &Seen { standing: fine().standing, ..lost() });
    assert!(!lived.gives_out(), "nobody knows what it is");
    let events = lived.see_for(1, &fine());
    assert!(matches!(events.as_slice(), [GpuEvent::FactsChanged(FactsChanged { .. })]), "{events:?}");
    assert!(lived.gives_out());
    let mut changes = 0;
    for size in 0..300 {
        let facts = purser_events::gpu::GpuFacts { memory: Some(Bytes(size % 2 + 1)), ..fine().facts };
        changes += lived.see_for(1, &Seen { facts, ..fine() }).len();
    }
    assert!((1..=5).contains(&changes), "{changes}");
}
