//! `bill`: what tenants had, kept and used, times a table of prices. The same journal and the same table give the same
//! bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use purser_events::ledger::event::UseRecorded;
use purser_events::ledger::{HolderId, Holding, Ledger, LedgerEvent, ResourceKind, TenantId};
use purser_events::{Event, PodUid, Timestamp};
use serde_json::{Value, json};

use crate::cli::{BillArgs, BillOutput, Period};
use crate::failure::{Exit, Failure};
use crate::holdings::{self, Change};
use crate::prices::{Basis, Prices, unit_hours, unit_hours_to_check, unit_word};
use crate::reading::Reading;
use crate::source::Place;
use crate::{Console, render};

const HOUR_US: i64 = 3_600_000_000;
/// Most lines of a bill: they are all kept until the last record is read.
const LINES_MAX: usize = 500_000;

/// What a line is about: its tenant, the beginning of its time, what is paid for and of which resource.
type Key = (TenantId, i64, Basis, ResourceKind);

/// What is kept while the records pass.
struct Bill {
    prices: Prices,
    /// Length of the time that a line is for; none for all.
    period_us: Option<i64>,
    since: i64,
    until: i64,
    ledger: Ledger,
    /// Who holds what, and since when.
    open: BTreeMap<HolderId, (Arc<Holding>, i64)>,
    /// On whose account each pod went that is on the ledger, or was when its use was measured last.
    tenants: BTreeMap<PodUid, (TenantId, bool)>,
    /// Amounts times microseconds.
    sums: BTreeMap<Key, u128>,
    /// The latest time so far.
    now: i64,
    /// The earliest.
    first: Option<i64>,
}

pub(crate) fn run(
    args: &BillArgs,
    place: &Place,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let prices = Prices::read(&args.prices)?;
    let period_us = match args.by {
        Period::All => None,
        Period::Hour => Some(HOUR_US),
        Period::Day => Some(24 * HOUR_US),
    };
    let (ledger, open, tenants, sums) = <_>::default();
    let since = args.since.map_or(i64::MIN, |since| since.seen_from(now).0);
    let until = args.until.map_or(i64::MAX, |until| until.seen_from(now).0);
    let mut bill =
        Bill { prices, period_us, since, until, ledger, open, tenants, sums, now: i64::MIN, first: None };
    let mut reading = Reading::whole(place)?;
    while let Some(stored) = reading.next() {
        let time = stored.header.time.0;
        bill.now = bill.now.max(time);
        bill.first = Some(bill.first.map_or(time, |first| first.min(time)));
        if let Some(Event::Ledger(event)) = reading.event(&stored) {
            match holdings::follow(&mut bill.ledger, &event) {
                Ok(changes) => bill.note(&event, changes)?,
                // A bill of what the ledger gave before it would look like one of all.
                Err(source) => return Err(Failure::Illegal { seq: stored.header.seq, source }),
            }
        }
    }
    if !reading.is_sound() {
        // A bill for a part of the time would look like one for all of it.
        return reading.end(Exit::Integrity, console);
    }
    bill.close()?;
    let found = if bill.sums.is_empty() { Exit::NothingMatched } else { Exit::Ok };
    bill.show(args.output, console)?;
    reading.end(found, console)
}

impl Bill {
    fn note(&mut self, event: &LedgerEvent, changes: Vec<Change>) -> Result<(), Failure> {
        let now = self.now;
        for Change { holder, was: _, is } in changes {
            if let Some((holding, since)) = self.open.remove(&holder) {
                self.charge_holding(holder, &holding, since, now)?;
            }
            if let HolderId::Pod(pod) = holder {
                match &is {
                    Some(holding) => {
                        self.tenants.insert(pod, (holding.tenant.clone(), true));
                    }
                    None => {
                        // What it used until now is still to be recorded.
                        self.tenants.entry(pod).and_modify(|(_, is_there)| *is_there = false);
                    }
                }
            }
            if let Some(holding) = is {
                self.open.insert(holder, (holding, now));
            }
        }
        match event {
            LedgerEvent::UseRecorded(part) => self.charge_use(part),
            _ => Ok(()),
        }
    }

    fn charge_holding(
        &mut self,
        holder: HolderId,
        holding: &Holding,
        from: i64,
        to: i64,
    ) -> Result<(), Failure> {
        let basis = match holder {
            HolderId::Pod(_) => Basis::Allocated,
            HolderId::Reservation(_) => Basis::Reserved,
        };
        let one = [(&ResourceKind::Pods, 1)];
        let amounts = holding.grant.amounts();
        for (kind, amount) in amounts.iter().chain(one) {
            self.charge(&holding.tenant, basis, kind, amount, from, to)?;
        }
        Ok(())
    }

    fn charge_use(&mut self, part: &UseRecorded) -> Result<(), Failure> {
        for used in &part.pods {
            let Some((tenant, _)) = self.tenants.get(&used.pod).cloned() else { continue };
            let amounts = [
                (ResourceKind::Cpu, used.cpu_mean.0),
                (ResourceKind::Memory, used.memory_mean.0),
                (ResourceKind::Disk, used.disk.0),
                (ResourceKind::GpuShare, used.gpus.share.map_or(0, |share| share.mean)),
                (ResourceKind::GpuMemory, used.gpus.memory.map_or(0, |memory| memory.mean)),
            ];
            for (kind, amount) in amounts {
                self.charge(&tenant, Basis::Used, &kind, amount, part.from.0, part.to.0)?;
            }
        }
        self.tenants.retain(|_, (_, is_there)| *is_there);
        Ok(())
    }

    /// Adds an amount that was there from one moment to another to the lines of that time.
    fn charge(
        &mut self,
        tenant: &TenantId,
        basis: Basis,
        kind: &ResourceKind,
        amount: u64,
        from: i64,
        to: i64,
    ) -> Result<(), Failure> {
        if amount == 0 || self.prices.of(basis, kind).is_none() {
            return Ok(());
        }
        let (mut from, to) = (from.max(self.since), to.min(self.until));
        while from < to {
            let (begin, end) = match self.period_us {
                Some(period) => {
                    let begin = from.saturating_sub(from.rem_euclid(period));
                    (begin, begin.saturating_add(period).min(to))
                }
                None => (i64::MIN, to),
            };
            let us = u128::from(end.abs_diff(from));
            let key = (tenant.clone(), begin, basis, kind.clone());
            if self.sums.len() >= LINES_MAX && !self.sums.contains_key(&key) {
                return Err(Failure::BillTooLong { max: LINES_MAX });
            }
            let sum = self.sums.entry(key).or_default();
            let more = u128::from(amount).checked_mul(us).ok_or(Failure::Overflow)?;
            *sum = sum.checked_add(more).ok_or(Failure::Overflow)?;
            from = end;
        }
        Ok(())
    }

    /// What is held still is charged until the last record.
    fn close(&mut self) -> Result<(), Failure> {
        let now = self.now;
        for (holder, (holding, since)) in std::mem::take(&mut self.open) {
            self.charge_holding(holder, &holding, since, now)?;
        }
        Ok(())
    }

    /// Begin and end of a line's time.
    fn span(&self, begin: i64) -> (Timestamp, Timestamp) {
        let (first, last) = (self.since.max(self.first.unwrap_or_default()), self.until.min(self.now));
        match self.period_us {
            Some(period) => (Timestamp(begin.max(first)), Timestamp(begin.saturating_add(period).min(last))),
            None => (Timestamp(first), Timestamp(last)),
        }
    }

    fn show(&self, output: BillOutput, console: &mut Console<'_>) -> Result<(), Failure> {
        let currency = &self.prices.currency;
        let mut totals: BTreeMap<&TenantId, u128> = BTreeMap::new();
        let mut rows = Vec::new();
        if output == BillOutput::Csv {
            console.line(format_args!("tenant,from,to,basis,resource,unit_hours,price,cost,currency\r"))?;
        }
        for (key, amount_us) in &self.sums {
            let (tenant, begin, basis, kind) = key;
            let Some(price) = self.prices.of(*basis, kind) else { continue };
            let cost = self.prices.cost(kind, *amount_us, price).ok_or(Failure::Overflow)?;
            let total = totals.entry(tenant).or_default();
            // Lines are rounded, and sums are of lines.
            *total = total.checked_add(cost).ok_or(Failure::Overflow)?;
            let (from, to) = self.span(*begin);
            let (hours, basis) = (unit_hours_to_check(kind, *amount_us), basis.word());
            let unit = unit_word(kind);
            let (price, money) = (Prices::price(price), self.prices.money(cost));
            match output {
                BillOutput::Text => console.line(format_args!(
                    "{tenant}  {from} to {to}  {kind} {basis}  {hours} {unit} h at {price} {currency} a {unit} h  {money} \
                     {currency}"
                ))?,
                BillOutput::Csv => console.line(format_args!(
                    "{tenant},{from},{to},{basis},{kind},{hours},{price},{money},{currency}\r"
                ))?,
                BillOutput::Json => rows.push(json!({
                    "tenant": tenant, "from": from, "to": to, "basis": basis, "resource": kind,
                    "amountMicroseconds": amount_us.to_string(), "unitHours": unit_hours(kind, *amount_us), "unit": unit,
                    "price": price, "cost": money,
                })),
            }
        }
        let sum = totals.values().try_fold(0_u128, |sum, total| sum.checked_add(*total));
        let sum = self.prices.money(sum.ok_or(Failure::Overflow)?);
        let totals: BTreeMap<&str, String> =
            totals.iter().map(|(tenant, total)| (tenant.as_str(), self.prices.money(*total))).collect();
        match output {
            BillOutput::Text => {
                for (tenant, total) in &totals {
                    console.line(format_args!("{tenant}  total  {total} {currency}"))?;
                }
                console.line(format_args!("total  {sum} {currency}"))
            }
            BillOutput::Csv => Ok(()),
            BillOutput::Json => {
                let all: Value =
                    json!({ "currency": currency, "lines": rows, "totals": totals, "total": sum });
                console.line(format_args!("{}", render::pretty(&all)))
            }
        }
    }
}
