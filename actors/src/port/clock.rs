//! Time and ids: the only sources of what no two runs have alike.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use purser_events::Timestamp;
use uuid::Uuid;

/// Tells the time and waits for it.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// Time that has passed since a moment that stays the same while the service runs, whatever the clock is set to
    /// meanwhile. Only differences mean something.
    fn passed(&self) -> Duration;

    /// Returns after this time, whatever the clock is set to meanwhile. The time runs from the call.
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Returns once `now` is at least `moment`.
    async fn sleep_until(&self, moment: Timestamp);
}

/// Draws ids that were never drawn before.
pub trait Ids: Send + Sync + 'static {
    /// A new UUIDv7, greater than every one drawn before it by this source.
    fn uuid(&self) -> Uuid;
}
