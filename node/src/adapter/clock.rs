//! Wall clock and ids: the only place of the node that asks the host for the time.

use std::pin::Pin;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use purser_actors::port::{Clock, Ids};
use purser_events::Timestamp;
use uuid::Uuid;

/// Longest single sleep: after it the clock is asked again, so that a clock that was set is noticed.
const NAP_MAX: Duration = Duration::from_secs(30);

/// The host's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the adapter that asks the wall clock")]
    fn now(&self) -> Timestamp {
        let us = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => Timestamp(us(after)),
            Err(before) => Timestamp(-us(before.duration())),
        }
    }

    fn passed(&self) -> Duration {
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        BEGAN.elapsed()
    }

    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(time))
    }

    async fn sleep_until(&self, moment: Timestamp) {
        loop {
            let left = moment.ms_since(self.now());
            if moment <= self.now() {
                return;
            }
            // Rounded up: waking early would only mean another turn.
            tokio::time::sleep(Duration::from_millis(left + 1).min(NAP_MAX)).await;
        }
    }
}

/// Draws UUIDv7 from the host's clock and random numbers; a counter keeps those of one millisecond in order.
#[derive(Debug, Clone, Copy, Default)]
pub struct UuidV7;

impl Ids for UuidV7 {
    #[expect(clippy::disallowed_methods, reason = "this is the source of ids; its counter never goes back")]
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_only_grow() {
        let ids: Vec<Uuid> = (0..10_000).map(|_| UuidV7.uuid()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[tokio::test]
    async fn a_sleep_ends_when_its_moment_has_come() {
        let moment = SystemClock.now().plus_ms(5);
        SystemClock.sleep_until(moment).await;
        assert!(moment <= SystemClock.now());
    }
}
