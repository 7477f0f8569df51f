//! Limits of tenants by a clock that stands still until it is told otherwise.

use governor::clock::FakeRelativeClock;
use purser_events::ledger::tenant::Period;

use super::*;

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn rate(count: u32, per: Period, burst: Option<u32>) -> Rate {
    Rate { count, per, burst }
}

fn limits(rates: &[(Operation, Rate)]) -> RequestLimits {
    RequestLimits { rates: rates.iter().copied().collect(), concurrent: None }
}

/// Milliseconds that a refused request is told to wait.
fn wait_ms(entered: Result<Permit, Refused>) -> u64 {
    match entered {
        Err(Refused::Rate { retry_after_ms, .. }) => retry_after_ms,
        other => panic!("it was not refused for its rate: {other:?}"),
    }
}

#[test]
fn five_an_hour_is_one_every_720_seconds_and_never_none() {
    let clock = FakeRelativeClock::default();
    let allowances = Allowances::by(clock.clone());
    let limits = limits(&[(Operation::Create, rate(5, Period::Hour, Some(2)))]);
    let ask = || allowances.enter(&tenant("ml"), &limits, Operation::Create);
    assert!(ask().is_ok() && ask().is_ok());
    assert_eq!(wait_ms(ask()), 720_000);
    clock.advance(Duration::from_millis(719_999));
    assert_eq!(wait_ms(ask()), 1);
    clock.advance(Duration::from_millis(1));
    assert!(ask().is_ok());
    assert_eq!(wait_ms(ask()), 720_000);
    let said = ask().unwrap_err().to_string();
    assert!(said.starts_with("tenant ml may make 5 `create` requests an hour, 2 at once"), "{said}");
}

#[test]
fn a_rate_lets_through_its_burst_and_then_as_many_as_it_says() {
    let periods = [Period::Second, Period::Minute, Period::Hour];
    for (count, per) in [1, 3, 7, 1_000, u32::MAX].into_iter().flat_map(|n| periods.map(|per| (n, per))) {
        let clock = FakeRelativeClock::default();
        let allowances = Allowances::by(clock.clone());
        let limits = limits(&[(Operation::Read, rate(count, per, Some(1)))]);
        let ask = || allowances.enter(&tenant("a"), &limits, Operation::Read);
        assert!(ask().is_ok());
        assert!(ask().is_err(), "{count} {per:?}: the burst is 1");
        clock.advance(Duration::from_millis(per.ms()).div_ceil(count));
        assert!(ask().is_ok(), "{count} {per:?}");
    }
}

/// A part of a time, rounded up to the nanosecond.
trait DivCeil {
    fn div_ceil(self, parts: u32) -> Duration;
}

impl DivCeil for Duration {
    fn div_ceil(self, parts: u32) -> Duration {
        Duration::from_nanos(u64::try_from(self.as_nanos()).unwrap().div_ceil(u64::from(parts)))
    }
}

#[test]
fn no_rate_is_beyond_what_can_be_counted() {
    for (count, burst) in [(1, u32::MAX), (u32::MAX, u32::MAX), (u32::MAX, 1), (0, 0)] {
        for per in [Period::Second, Period::Minute, Period::Hour] {
            let allowances = Allowances::by(FakeRelativeClock::default());
            let limits = limits(&[(Operation::Any, rate(count, per, Some(burst)))]);
            assert!(allowances.enter(&tenant("a"), &limits, Operation::Read).is_ok(), "{count} {per:?}");
        }
    }
}

#[test]
fn what_one_limit_refuses_counts_against_no_other() {
    let allowances = Allowances::by(FakeRelativeClock::default());
    let limits = limits(&[
        (Operation::Any, rate(3, Period::Hour, None)),
        (Operation::Create, rate(1, Period::Hour, None)),
    ]);
    let ask = |operation| allowances.enter(&tenant("a"), &limits, operation);
    assert!(ask(Operation::Create).is_ok());
    for _ in 0..10 {
        assert!(ask(Operation::Create).is_err());
    }
    assert!(ask(Operation::Read).is_ok() && ask(Operation::Delete).is_ok(), "two of any are left");
    assert_eq!(wait_ms(ask(Operation::Read)), 1_200_000);
    assert_eq!(wait_ms(ask(Operation::Create)), 3_600_000, "the longest wait is told");
}

#[test]
fn tenants_are_apart_and_changes_take_effect_at_once() {
    let allowances = Allowances::by(FakeRelativeClock::default());
    let one = limits(&[(Operation::Any, rate(1, Period::Hour, None))]);
    let two = limits(&[(Operation::Any, rate(2, Period::Hour, None))]);
    assert!(allowances.enter(&tenant("a"), &one, Operation::Read).is_ok());
    assert!(allowances.enter(&tenant("a"), &one, Operation::Read).is_err());
    assert!(allowances.enter(&tenant("b"), &one, Operation::Read).is_ok());
    assert!(allowances.enter(&tenant("a"), &two, Operation::Read).is_ok(), "the new limit begins afresh");
    let none = RequestLimits::default();
    for _ in 0..100 {
        assert!(allowances.enter(&tenant("a"), &none, Operation::Read).is_ok());
    }
}

#[test]
fn as_many_are_under_way_as_may_be() {
    let allowances = Allowances::by(FakeRelativeClock::default());
    let limits = RequestLimits { concurrent: Some(2), ..RequestLimits::default() };
    let ask = || allowances.enter(&tenant("a"), &limits, Operation::Read);
    let held = [ask().unwrap(), ask().unwrap()];
    assert_eq!(ask().unwrap_err(), Refused::Concurrent { tenant: tenant("a"), most: 2 });
    assert_eq!(allowances.open(&tenant("a")), 2);
    drop(held);
    assert!(ask().is_ok());
    assert_eq!(allowances.open(&tenant("a")), 0);
}

#[test]
fn tenants_that_rest_or_have_no_limits_take_no_memory() {
    let clock = FakeRelativeClock::default();
    let allowances = Allowances::by(clock.clone());
    let some = limits(&[(Operation::Any, rate(60, Period::Minute, Some(2)))]);
    for number in 0..500 {
        drop(allowances.enter(&tenant(&format!("t{number}")), &some, Operation::Read).unwrap());
        drop(allowances.enter(&tenant("free"), &RequestLimits::default(), Operation::Read).unwrap());
    }
    assert_eq!(allowances.lock().len(), 500);
    let held = allowances.enter(&tenant("t0"), &some, Operation::Read).unwrap();
    clock.advance(Duration::from_secs(2));
    drop(allowances.enter(&tenant("late"), &some, Operation::Read).unwrap());
    let left: Vec<String> = allowances.lock().keys().map(ToString::to_string).collect();
    assert_eq!(left, ["late", "t0"], "what is under way, and who has just asked");
    drop(held);
}

#[test]
fn racing_requests_get_exactly_what_there_is() {
    let allowances = Arc::new(Allowances::by(FakeRelativeClock::default()));
    let limits = limits(&[(Operation::Create, rate(7, Period::Hour, None))]);
    let let_in: usize = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let ask = || allowances.enter(&tenant("a"), &limits, Operation::Create);
                    (0..50).filter(|_| ask().is_ok()).count()
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    assert_eq!(let_in, 7);
}
