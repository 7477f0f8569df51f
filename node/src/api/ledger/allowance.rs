//! How often each tenant may ask. Whether a request is let in and the record that it was are one step: either it counts
//! against every limit that holds for it, or against none.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use purser_events::ledger::TenantId;
use purser_events::ledger::tenant::{Operation, Rate, RequestLimits};

/// Accounts from which on tenants for which nothing was set share one, until others have rested: their names are those
/// of whoever asks.
const ACCOUNTS_MAX: usize = 10_000;
/// Accounts from which on it is looked which of them have rested.
const SWEEP_MIN: usize = 64;

/// What all tenants have used of their limits. Requests that are under way are counted for those without limits too, so
/// that a limit which is set or taken away meanwhile knows of them. Tenants that have rested so long that it would change
/// no answer are forgotten.
#[derive(Debug)]
pub struct Allowances<C: Clock = DefaultClock> {
    clock: C,
    accounts: Mutex<Accounts<C>>,
}

/// The accounts by tenant; that without a name is of all others.
#[derive(Debug)]
struct Accounts<C: Clock> {
    of: BTreeMap<Option<TenantId>, Account<C>>,
    sweep_at: usize,
}

/// The limits that hold for a tenant.
#[derive(Debug, Clone, Copy)]
pub struct InForce<'a> {
    /// How often it may ask.
    pub limits: &'a RequestLimits,
    /// Whether that is the node's default, since nothing was set for it.
    pub is_default: bool,
}

/// A request that is under way; it ends when this is dropped.
#[derive(Debug, Default)]
pub struct Permit(Option<Arc<AtomicU32>>);

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(open) = &self.0 {
            open.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Why a request is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It comes too soon after others.
    #[error("tenant {tenant} may make {}, and this is one more; wait {} ms", shown(*operation, *rate), retry_after_ms)]
    Rate {
        /// Whose limit it is.
        tenant: TenantId,
        /// What is limited.
        operation: Operation,
        /// The limit.
        rate: Rate,
        /// Milliseconds until it would be let in, if nobody else asks.
        retry_after_ms: u64,
    },
    /// Too many are under way.
    #[error("tenant {tenant} may have {most} requests under way at once, and has; wait until one has ended")]
    Concurrent {
        /// Whose limit it is.
        tenant: TenantId,
        /// The limit.
        most: u32,
    },
}

/// A limit in words.
fn shown(operation: Operation, rate: Rate) -> String {
    use purser_events::ledger::tenant::Period;
    let requests = match operation {
        Operation::Any => "requests of any kind".to_owned(),
        Operation::Create | Operation::Delete | Operation::Change | Operation::Read => {
            format!("`{}` requests", operation.word())
        }
    };
    let period = match rate.per {
        Period::Second => "a second",
        Period::Minute => "a minute",
        Period::Hour => "an hour",
    };
    format!("{} {requests} {period}, {} at once", rate.count, rate.burst.unwrap_or(rate.count))
}

impl Allowances {
    /// Allowances by this machine's clock.
    #[must_use]
    pub fn new() -> Allowances {
        Allowances::by(DefaultClock::default())
    }
}

impl Default for Allowances {
    fn default() -> Allowances {
        Allowances::new()
    }
}

impl<C: Clock + Clone> Allowances<C> {
    /// Allowances by this clock.
    pub fn by(clock: C) -> Allowances<C> {
        Allowances { clock, accounts: Mutex::new(Accounts { of: BTreeMap::new(), sweep_at: SWEEP_MIN }) }
    }

    /// Lets a request in, or refuses it. A change of the limits takes effect with the next request.
    ///
    /// # Errors
    /// Names the limit that holds longest.
    pub fn enter(
        &self,
        tenant: &TenantId,
        in_force: InForce<'_>,
        operation: Operation,
    ) -> Result<Permit, Refused> {
        let now = self.clock.now();
        let mut accounts = self.lock();
        let account = accounts.account(tenant, in_force.is_default, now);
        account.follow(&in_force.limits.rates, &self.clock);
        account.enter(tenant, in_force.limits.concurrent, operation, now)
    }

    /// Requests of a tenant that are under way.
    pub fn open(&self, tenant: &TenantId) -> u32 {
        let accounts = self.lock();
        accounts.of.get(&Some(tenant.clone())).map_or(0, |account| account.open.load(Ordering::Acquire))
    }

    fn lock(&self) -> MutexGuard<'_, Accounts<C>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Clock + Clone> Accounts<C> {
    /// A tenant's account, which is opened if there is none.
    fn account(&mut self, tenant: &TenantId, is_default: bool, now: C::Instant) -> &mut Account<C> {
        let mut key = Some(tenant.clone());
        if !self.of.contains_key(&key) {
            if self.sweep_at <= self.of.len() {
                self.of.retain(|_, account| !account.is_idle(now));
                self.sweep_at = SWEEP_MIN.max(self.of.len().saturating_mul(2)).min(ACCOUNTS_MAX);
            }
            if is_default && ACCOUNTS_MAX <= self.of.len() {
                key = None;
            }
        }
        self.of.entry(key).or_insert_with(|| Account::new(now))
    }
}

/// What one tenant has used of its limits.
#[derive(Debug)]
struct Account<C: Clock> {
    limiters: BTreeMap<Operation, Limiter<C>>,
    open: Arc<AtomicU32>,
    last: C::Instant,
}

impl<C: Clock + Clone> Account<C> {
    fn new(now: C::Instant) -> Account<C> {
        Account { limiters: BTreeMap::new(), open: Arc::default(), last: now }
    }

    /// Takes over the limits in force: a rate that is as before goes on where it was, another begins afresh.
    fn follow(&mut self, rates: &BTreeMap<Operation, Rate>, clock: &C) {
        self.limiters.retain(|operation, limiter| rates.get(operation) == Some(&limiter.rate));
        for (operation, rate) in rates {
            self.limiters.entry(*operation).or_insert_with(|| Limiter::new(*rate, clock.clone()));
        }
    }

    fn enter(
        &mut self,
        tenant: &TenantId,
        concurrent: Option<u32>,
        operation: Operation,
        now: C::Instant,
    ) -> Result<Permit, Refused> {
        self.last = now;
        if let Some(most) = concurrent.filter(|most| *most <= self.open.load(Ordering::Acquire)) {
            return Err(Refused::Concurrent { tenant: tenant.clone(), most });
        }
        let mut taken: Vec<(&Mark, Option<Nanos>)> = vec![];
        let mut longest: Option<(Duration, Operation, Rate)> = None;
        for operation in [operation, Operation::Any] {
            let Some(limiter) = self.limiters.get(&operation) else { continue };
            let before = limiter.mark.get();
            match limiter.limiter.check() {
                Ok(()) => taken.push((&limiter.mark, before)),
                Err(not_until) => {
                    let wait = not_until.wait_time_from(now);
                    if longest.as_ref().is_none_or(|(longest, ..)| *longest < wait) {
                        longest = Some((wait, operation, limiter.rate));
                    }
                }
            }
        }
        if let Some((wait, operation, rate)) = longest {
            for (mark, before) in taken {
                mark.set(before);
            }
            let whole = wait.as_nanos().div_ceil(1_000_000);
            let retry_after_ms = u64::try_from(whole).unwrap_or(u64::MAX).max(1);
            return Err(Refused::Rate { tenant: tenant.clone(), operation, rate, retry_after_ms });
        }
        self.open.fetch_add(1, Ordering::AcqRel);
        Ok(Permit(Some(Arc::clone(&self.open))))
    }

    /// Whether forgetting it changes no answer: nothing is under way, and every rate has its whole burst again.
    fn is_idle(&self, now: C::Instant) -> bool {
        let full_after = self.limiters.values().map(|limiter| full_after(limiter.rate)).max();
        let rested = Duration::from(now.duration_since(self.last));
        self.open.load(Ordering::Acquire) == 0 && full_after.is_none_or(|full| full <= rested)
    }
}

/// Time between two requests of a rate: exact to the nanosecond, rounded up so that never more get in, and never 0.
fn interval(rate: Rate) -> Duration {
    let count = u64::from(rate.count.max(1));
    Duration::from_nanos(rate.per.ms().saturating_mul(1_000_000).div_ceil(count).max(1))
}

/// How many at once: no more than have come back after [`REFILL_MAX`], which is more than a tenant can be given.
fn burst(rate: Rate) -> NonZeroU32 {
    let most = REFILL_MAX.as_nanos() / interval(rate).as_nanos();
    let most = u32::try_from(most).unwrap_or(u32::MAX);
    NonZeroU32::new(rate.burst.unwrap_or(rate.count).min(most)).unwrap_or(NonZeroU32::MIN)
}

/// Longest time in which a whole burst comes back: what is counted in nanoseconds ends at four times this.
const REFILL_MAX: Duration = Duration::from_secs(146 * 365 * 24 * 3_600);

/// Time after which a rate that was used up has its whole burst again.
fn full_after(rate: Rate) -> Duration {
    interval(rate).saturating_mul(burst(rate).get())
}

/// One limit.
#[derive(Debug)]
struct Limiter<C: Clock> {
    rate: Rate,
    mark: Mark,
    limiter: RateLimiter<NotKeyed, Mark, C, NoOpMiddleware<C::Instant>>,
}

impl<C: Clock> Limiter<C> {
    fn new(rate: Rate, clock: C) -> Limiter<C> {
        let quota = Quota::with_period(interval(rate)).expect("an interval is never 0");
        let mark = Mark::default();
        let limiter = RateLimiter::new(quota.allow_burst(burst(rate)), mark.clone(), clock);
        Limiter { rate, mark, limiter }
    }
}

/// What a limiter remembers: it can be read and put back, so that a request which another limit refuses leaves no trace.
#[derive(Debug, Clone, Default)]
struct Mark(Arc<Mutex<Option<Nanos>>>);

impl Mark {
    fn lock(&self) -> MutexGuard<'_, Option<Nanos>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self) -> Option<Nanos> {
        *self.lock()
    }

    fn set(&self, value: Option<Nanos>) {
        *self.lock() = value;
    }
}

impl StateStore for Mark {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut value = self.lock();
        let (outcome, next) = measure(*value)?;
        *value = Some(next);
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests;
