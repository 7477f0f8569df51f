//! Time that stands still until it is moved on, and ids that a seed repeats.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use purser_actors::port::{Clock, Ids};
use purser_events::Timestamp;
use uuid::Uuid;

/// 2026-03-01T12:00:00Z, in microseconds since 1970.
const START: i64 = 1_772_366_400_000_000;

/// What a timer waits for, in microseconds.
#[derive(Debug, Clone, Copy)]
enum Until {
    /// By the clock that never jumps.
    Passed(i64),
    /// By the clock on the wall.
    Shown(i64),
}

#[derive(Debug, Default)]
struct State {
    passed: i64,
    /// What the clock on the wall was set forward by, or back.
    set_by: i64,
    next_timer: u64,
    timers: BTreeMap<u64, (Until, Option<Waker>)>,
    ids: u64,
    last_id_ms: u64,
}

impl State {
    fn shown(&self) -> i64 {
        START + self.passed + self.set_by
    }

    /// How long until then; not at all if it has come.
    fn left(&self, until: Until) -> i64 {
        match until {
            Until::Passed(moment) => (moment - self.passed).max(0),
            Until::Shown(moment) => (moment - self.shown()).max(0),
        }
    }
}

/// The clock. Clones are the same clock.
#[derive(Debug, Clone, Default)]
pub(super) struct SimClock(Arc<Mutex<State>>);

impl SimClock {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long until the next timer is due.
    pub(super) fn next_timer(&self) -> Option<Duration> {
        let state = self.state();
        let next = state.timers.values().map(|(until, _)| state.left(*until)).min();
        next.map(|micros| Duration::from_micros(micros.unsigned_abs()))
    }

    /// Lets time pass.
    pub(super) fn advance(&self, time: Duration) {
        self.state().passed += micros(time);
        self.wake();
    }

    /// Sets the clock on the wall forward, or back.
    pub(super) fn set_by(&self, ms: i64) {
        self.state().set_by += ms * 1_000;
        self.wake();
    }

    fn wake(&self) {
        let mut state = self.state();
        let due: Vec<u64> = state
            .timers
            .iter()
            .filter(|(_, (until, _))| state.left(*until) == 0)
            .map(|(timer, _)| *timer)
            .collect();
        let wakers: Vec<Waker> =
            due.iter().filter_map(|timer| state.timers.get_mut(timer)?.1.take()).collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn timer(&self, until: Until) -> Timer {
        let mut state = self.state();
        let number = state.next_timer;
        state.next_timer += 1;
        state.timers.insert(number, (until, None));
        Timer { clock: self.clone(), number }
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).expect("no wait is that long")
}

struct Timer {
    clock: SimClock,
    number: u64,
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.state();
        let Some((until, _)) = state.timers.get(&self.number) else { return Poll::Ready(()) };
        if state.left(*until) == 0 {
            return Poll::Ready(());
        }
        if let Some((_, waker)) = state.timers.get_mut(&self.number) {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.clock.state().timers.remove(&self.number);
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.state().shown())
    }

    fn passed(&self) -> Duration {
        Duration::from_micros(self.state().passed.unsigned_abs())
    }

    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let until = Until::Passed(self.state().passed + micros(time));
        Box::pin(self.timer(until))
    }

    async fn sleep_until(&self, moment: Timestamp) {
        self.timer(Until::Shown(moment.0)).await;
    }
}

impl Ids for SimClock {
    fn uuid(&self) -> Uuid {
        let mut state = self.state();
        let shown_ms = u64::try_from(state.shown() / 1_000).unwrap_or_default();
        state.last_id_ms = state.last_id_ms.max(shown_ms);
        state.ids += 1;
        let mut bytes = [0; 10];
        bytes[2..].copy_from_slice(&(state.ids & 0x3fff_ffff_ffff_ffff).to_be_bytes());
        uuid::Builder::from_unix_timestamp_millis(state.last_id_ms, &bytes).into_uuid()
    }
}
