//! When a group is closed, and for how long it is held open.

use tokio::sync::oneshot;

use super::*;
use crate::journal::CommandWrite;
use crate::request::Prepared;
use crate::terms::Terms;

const PACE: Duration = Duration::from_micros(200);
const WAIT_MAX: Duration = Duration::from_micros(500);

/// A request that somebody waits for.
fn asking(class: Class) -> Request {
    let id = purser_events::CommandId(uuid::Uuid::nil());
    let command = CommandWrite { id, fingerprint: [0; 32], answer: Vec::new() };
    let append = Prepared { command: Some(command), ..Prepared::empty(Terms::sync(class)) };
    Request { append, reply: oneshot::channel().0 }
}

/// A group with so many requests, after one in which `expected` were met.
fn group(expected: usize, len: usize) -> Gathering {
    let mut gathering = Gathering::new(WAIT_MAX);
    gathering.begin();
    gathering.add(&asking(Class::Lifecycle));
    gathering.note_served(PACE, expected - 1);
    gathering.begin();
    (0..len).for_each(|_| gathering.add(&asking(Class::Lifecycle)));
    gathering
}

/// How long it is held open if it was begun just now.
fn held(gathering: &mut Gathering) -> Duration {
    let now = Instant::now();
    gathering.open_until(now, now).map_or(Duration::ZERO, |until| until - now)
}

#[test]
fn a_group_is_closed_once_as_many_have_come_as_may_come() {
    assert_eq!(held(&mut group(64, 63)), PACE / PATIENCE_PART);
    assert_eq!(held(&mut group(64, 64)), Duration::ZERO);
    assert_eq!(held(&mut group(1, 1)), Duration::ZERO, "who comes alone does not wait");
    assert_eq!(held(&mut Gathering::new(WAIT_MAX)), Duration::ZERO);
}

#[test]
fn what_is_urgent_or_full_is_not_held_open() {
    let mut urgent = group(64, 1);
    urgent.add(&asking(Class::Safety));
    assert_eq!(held(&mut urgent), Duration::ZERO);
    let mut full = group(GROUP_LEN_MAX, GROUP_LEN_MAX);
    assert!(full.is_full());
    assert_eq!(held(&mut full), Duration::ZERO);
}

#[test]
fn it_is_held_open_for_a_short_time_in_all() {
    let mut slow = group(64, 1);
    slow.note_served(Duration::from_secs(1), 63);
    slow.begin();
    assert_eq!(held(&mut slow), PATIENCE_MAX);
    let (since, almost) = (Instant::now(), WAIT_MAX - Duration::from_micros(1));
    let until = slow.open_until(since, since + almost);
    assert_eq!(until, Some(since + WAIT_MAX));
    assert_eq!(slow.open_until(since, since + WAIT_MAX), None);
}

#[test]
fn who_stays_away_is_waited_for_less_and_less_and_then_again() {
    let mut gathering = group(64, 1);
    let whole = held(&mut gathering);
    gathering.note_vain();
    assert_eq!(held(&mut gathering), whole / 2);
    (1..VAIN_MAX - 1).for_each(|_| gathering.note_vain());
    assert_eq!(held(&mut gathering), Duration::ZERO);
    gathering.note_vain();
    assert_eq!(held(&mut gathering), whole);
    gathering.note_vain();
    (0..63).for_each(|_| gathering.add(&asking(Class::Lifecycle)));
    assert_eq!(held(&mut gathering), Duration::ZERO);
    gathering.begin();
    assert_eq!(held(&mut gathering), whole, "all came, so it pays again");
}
