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

/// Limits that were set for the tenant.
fn own(limits: &RequestLimits) -> InForce<'_> {
    InForce { limits, is_default: false }
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
    let ask = || allowances.enter(&tenant("ml"), own(&limits), Operation::Create);
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
        let ask = || allowances.enter(&tenant("a"), own(&limits), Operation::Read);
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
            assert!(allowances.enter(&tenant("a"), own(&limits), Operation::Read).is_ok(), "{count} {per:?}");
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
    let ask = |operation| allowances.enter(&tenant("a"), own(&limits), operation);
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
    assert!(allowances.enter(&tenant("a"), own(&one), Operation::Read).is_ok());
    assert!(allowances.enter(&tenant("a"), own(&one), Operation::Read).is_err());
    assert!(allowances.enter(&tenant("b"), own(&one), Operation::Read).is_ok());
    assert!(
        allowances.enter(&tenant("a"), own(&two), Operation::Read).is_ok(),
        "the new limit begins afresh"
    );
    let none = RequestLimits::default();
    for _ in 0..100 {
        assert!(allowances.enter(&tenant("a"), own(&none), Operation::Read).is_ok());
    }
}

#[test]
fn as_many_are_under_way_as_may_be() {
    let allowances = Allowances::by(FakeRelativeClock::default());
    let limits = RequestLimits { concurrent: Some(2), ..RequestLimits::default() };
    let ask = || allowances.enter(&tenant("a"), own(&limits), Operation::Read);
    let held = [ask().unwrap(), ask().unwrap()];
    assert_eq!(ask().unwrap_err(), Refused::Concurrent { tenant: tenant("a"), most: 2 });
    assert_eq!(allowances.open(&tenant("a")), 2);
    drop(held);
    assert!(ask().is_ok());
    assert_eq!(allowances.open(&tenant("a")), 0);
}

#[test]
fn what_is_under_way_is_counted_whatever_the_limits_were_when_it_began() {
    let allowances = Allowances::by(FakeRelativeClock::default());
    let two = RequestLimits { concurrent: Some(2), ..RequestLimits::default() };
    let none = RequestLimits::default();
    let limited = allowances.enter(&tenant("a"), own(&two), Operation::Read).unwrap();
    let free = allowances.enter(&tenant("a"), own(&none), Operation::Read).unwrap();
    assert_eq!(allowances.open(&tenant("a")), 2);
    let more = allowances.enter(&tenant("a"), own(&two), Operation::Read);
    assert_eq!(more.unwrap_err(), Refused::Concurrent { tenant: tenant("a"), most: 2 });
    drop(limited);
    let third = allowances.enter(&tenant("a"), own(&two), Operation::Read).unwrap();
    drop((free, third));
    assert_eq!(allowances.open(&tenant("a")), 0);
}

#[test]
fn tenants_that_rest_take_no_memory() {
    let clock = FakeRelativeClock::default();
    let allowances = Allowances::by(clock.clone());
    let some = limits(&[(Operation::Any, rate(60, Period::Minute, Some(2)))]);
    let none = RequestLimits::default();
    let ask = |name: &str, limits| allowances.enter(&tenant(name), own(limits), Operation::Read).unwrap();
    for number in 0..500 {
        drop(ask(&format!("t{number}"), &some));
        drop(ask(&format!("free{number}"), &none));
    }
    let there = allowances.lock().of.len();
    assert!((500..1_000).contains(&there), "{there}: those without limits are forgotten now and then");
    let held = ask("t0", &some);
    clock.advance(Duration::from_secs(2));
    let sweep_at = allowances.lock().sweep_at;
    for number in there..=sweep_at {
        drop(ask(&format!("late{number}"), &some));
    }
    let accounts = allowances.lock();
    let is_old =
        |tenant: &&Option<TenantId>| tenant.as_ref().is_some_and(|it| !it.as_str().starts_with("late"));
    let left: Vec<String> = accounts.of.keys().filter(is_old).flatten().map(ToString::to_string).collect();
    assert_eq!(left, ["t0"], "what is under way");
    drop(accounts);
    drop(held);
}

#[test]
fn made_up_names_end_up_in_one_account() {
    let allowances = Allowances::by(FakeRelativeClock::default());
    let one = limits(&[(Operation::Any, rate(1, Period::Hour, None))]);
    let as_default = InForce { limits: &one, is_default: true };
    let ask = |number: usize| allowances.enter(&tenant(&format!("t{number}")), as_default, Operation::Read);
    assert!((0..=ACCOUNTS_MAX).all(|number| ask(number).is_ok()));
    assert!(ask(ACCOUNTS_MAX + 1).is_err(), "the one for all others is used up");
    assert_eq!(allowances.lock().of.len(), ACCOUNTS_MAX + 1);
    assert!(allowances.enter(&tenant("set"), own(&one), Operation::Read).is_ok());
}

#[test]
fn racing_requests_get_exactly_what_there_is() {
    let allowances = Arc::new(Allowances::by(FakeRelativeClock::default()));
    let limits = limits(&[(Operation::Create, rate(7, Period::Hour, None))]);
    let let_in: usize = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let ask = || allowances.enter(&tenant("a"), own(&limits), Operation::Create);
                    (0..50).filter(|_| ask().is_ok()).count()
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    assert_eq!(let_in, 7);
}
