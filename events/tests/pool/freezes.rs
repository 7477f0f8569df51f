//! Freeze windows: overnight, overlapping, thawed, and where clocks change.

use jiff::Timestamp as Moment;
use jiff::tz::TimeZone;
use purser_events::pool::{
    FreezeWindow, LocalTime, PoolCommand, PoolRejection, PoolSpec, ScaleRule, SlotRule, TaskKind, Wait,
    Weekday,
};

use super::support::{Lived, NOON, id, spec, task};

fn window(days: &[Weekday], from_minute: u16, to_minute: u16) -> FreezeWindow {
    FreezeWindow { days: days.to_vec(), from_minute, to_minute }
}

fn at(weekday: Weekday, hour: u16, minute: u16) -> LocalTime {
    LocalTime { weekday, minute: hour * 60 + minute, offset_s: 0 }
}

#[test]
fn a_window_of_the_night_is_of_the_day_on_which_it_begins() {
    let night = window(&[Weekday::Fri], 22 * 60, 6 * 60);
    let cases = [
        (at(Weekday::Fri, 21, 59), false),
        (at(Weekday::Fri, 22, 0), true),
        (at(Weekday::Sat, 0, 0), true),
        (at(Weekday::Sat, 5, 59), true),
        (at(Weekday::Sat, 6, 0), false),
        (at(Weekday::Sat, 23, 0), false),
        (at(Weekday::Fri, 3, 0), false),
    ];
    for (local, expected) in cases {
        assert_eq!(night.has(local), expected, "{local:?}");
    }
    let sunday = window(&[Weekday::Sun], 22 * 60, 6 * 60);
    assert!(sunday.has(at(Weekday::Mon, 5, 0)), "the week goes round");
}

#[test]
fn a_whole_day_is_from_its_first_minute_to_its_last() {
    let day = window(&[Weekday::Wed], 0, 1_440);
    assert!(day.has(at(Weekday::Wed, 0, 0)) && day.has(at(Weekday::Wed, 23, 59)));
    assert!(!day.has(at(Weekday::Tue, 23, 59)) && !day.has(at(Weekday::Thu, 0, 0)));
}

/// In which minutes of a day in central Europe a window is, by UTC from its local midnight on.
fn minutes_in(window: &FreezeWindow, midnight: &str) -> usize {
    let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let from = midnight.parse::<Moment>().unwrap().as_second();
    let local = |minute: i64| {
        let civil = Moment::from_second(from + minute * 60).unwrap().to_zoned(zone.clone());
        let day = usize::try_from(civil.weekday().to_monday_zero_offset()).unwrap();
        let minute = u16::try_from(i32::from(civil.hour()) * 60 + i32::from(civil.minute())).unwrap();
        LocalTime { weekday: Weekday::ALL[day], minute, offset_s: civil.offset().seconds() }
    };
    (0..1_440).filter(|minute| window.has(local(*minute))).count()
}

#[test]
fn a_window_is_what_the_clock_on_the_wall_says_also_when_it_is_changed() {
    let early = window(&[Weekday::Sun], 90, 150);
    let usual = "2025-06-14T22:00:00Z";
    assert_eq!(minutes_in(&early, usual), 60);
    // 30 March 2025: after 01:59 comes 03:00.
    assert_eq!(minutes_in(&early, "2025-03-29T23:00:00Z"), 30);
    assert_eq!(minutes_in(&window(&[Weekday::Sun], 120, 180), "2025-03-29T23:00:00Z"), 0);
    // 26 October 2025: 02:00 to 02:59 comes twice.
    assert_eq!(minutes_in(&early, "2025-10-25T22:00:00Z"), 90);
    assert_eq!(minutes_in(&window(&[Weekday::Sun], 120, 180), "2025-10-25T22:00:00Z"), 120);
}

fn frozen_afternoons() -> PoolSpec {
    let mut spec = spec(SlotRule::Seed, 3);
    let monday = [Weekday::Mon];
    spec.tasks.timeout_s = 86_400;
    spec.scaling.freezes = vec![window(&monday, 13 * 60, 15 * 60), window(&monday, 14 * 60, 16 * 60)];
    spec
}

const HOUR_MS: u64 = 3_600_000;

#[test]
fn in_a_freeze_idle_pods_go_busy_ones_stay_and_nothing_is_begun() {
    let mut lived = Lived::with_members(frozen_afternoons(), 3);
    lived.submit(task(1, TaskKind::Plan));
    assert_eq!(lived.place(1), Some((1, 2)));
    // Windows that overlap are one.
    for hour in 1..=3 {
        lived.now = NOON.plus_ms(hour * HOUR_MS);
        lived.tick();
        assert_eq!(lived.pool.scaling.verdict().unwrap().rule, ScaleRule::Frozen, "hour {hour}");
    }
    let words: Vec<&str> = lived.pool.members.values().map(|member| member.word()).collect();
    assert_eq!(words, ["connected", "removing", "removing"]);
    lived.submit(task(2, TaskKind::Plan));
    assert_eq!(lived.pool.why_waits(id(2), lived.now), Some(Wait::Frozen));
    lived.finish(1, 0);
    lived.tick();
    assert_eq!(lived.pool.member(1).unwrap().word(), "removing");
    lived.now = NOON.plus_ms(4 * HOUR_MS);
    lived.tick();
    let rule = lived.pool.scaling.verdict().unwrap().rule;
    assert_eq!((rule, lived.pool.live_members().count()), (ScaleRule::ColdStart, 3));
}

#[test]
fn a_plan_that_is_confirmed_in_a_freeze_is_applied_after_it() {
    let mut lived = Lived::with_members(frozen_afternoons(), 1);
    for number in [1, 2] {
        lived.submit(task(number, TaskKind::PlanAndApply));
    }
    lived.plan(1, true);
    lived.now = NOON.plus_ms(HOUR_MS);
    lived.tick();
    lived.ask(PoolCommand::Confirm { task: id(1) }).unwrap();
    lived.tick();
    assert_eq!((lived.word(1), lived.place(1)), ("apply_pending", Some((1, 0))), "its slot is kept");
    lived.now = NOON.plus_ms(4 * HOUR_MS);
    lived.tick();
    assert_eq!((lived.word(1), lived.place(1)), ("running", Some((1, 0))), "and nobody asks again");
    lived.finish(1, 0);
    assert_eq!((lived.word(1), lived.place(2)), ("applied", Some((1, 0))));
}

#[test]
fn who_unfreezes_a_pool_has_it_until_then() {
    let mut lived = Lived::with_members(frozen_afternoons(), 1);
    lived.submit(task(1, TaskKind::Apply));
    lived.now = NOON.plus_ms(HOUR_MS);
    lived.tick();
    lived.submit(task(2, TaskKind::Plan));
    assert_eq!(lived.word(2), "pending");
    let past = lived.ask(PoolCommand::Unfreeze { until: NOON });
    assert_eq!(past, Err(PoolRejection::BadUntil));
    let until = lived.now.plus_ms(HOUR_MS);
    lived.ask(PoolCommand::Unfreeze { until }).unwrap();
    assert_eq!(lived.word(2), "running", "in the same decision");
    lived.tick();
    assert_ne!(lived.pool.scaling.verdict().unwrap().rule, ScaleRule::Frozen);
    lived.now = until;
    lived.tick();
    assert_eq!(lived.pool.word(), "frozen");
}
