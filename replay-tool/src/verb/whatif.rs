//! `whatif`: what the ledger would have decided by other rules about what was asked of it, and how pools would have fared
//! by other rules, and which violations there would have been.
//!
//! For the ledger the loop is open: when pods came, what they asked for and when they went is taken as recorded. For pools
//! it is closed, see [`crate::scaling`]. Violations are judged by what is on record of them, see [`crate::rejudged`].

use std::path::Path;

use purser_events::ledger::{Ledger, LedgerCommand, LedgerEvent, LedgerPolicy, WhenFull};
use purser_events::node::NodeEvent;
use purser_events::{Context, Decider, Event, Header, StreamKind};
use purser_storage::StoredRecord;
use serde_json::json;

use crate::cli::{Output, WhatifArgs};
use crate::compared::Compared;
use crate::decisions::{self, About, Circumstances, Outcome};
use crate::failure::{Exit, Failure};
use crate::fold::Folded;
use crate::overlay::{Overlay, OverlayError};
use crate::reading::Reading;
use crate::rejudged::Rejudged;
use crate::scaling::Pools;
use crate::source::Place;
use crate::{Console, render, scaling};

/// Most records of one decision.
const DECISION_LEN_MAX: usize = 20_000;

const OPEN_LOOP: &str = "open loop: when pods came, what they asked for and when they went is as recorded, whatever the \
                         other rules decided; what was refused then is not on record, and not asked again";

struct Whatif<'a> {
    overlay: &'a Overlay,
    /// The node as it was.
    folded: Folded,
    /// The ledger as it would have been.
    other: Ledger,
    /// Whether the other rules are in force.
    is_in_force: bool,
    slack_us: i64,
    compared: Compared,
    decisions: u64,
    /// Records of the ledger of which it cannot be told what led to them.
    untold: u64,
}

pub(crate) fn run(args: &WhatifArgs, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let overlay = Overlay::of(args.preset.map(Into::into), args.policy.as_deref())?;
    let mut reading = Reading::whole(place)?;
    let slack_us = i64::try_from(args.slack.0).unwrap_or(i64::MAX);
    let mut whatif = Whatif {
        overlay: &overlay,
        folded: Folded::default(),
        other: Ledger::default(),
        is_in_force: false,
        slack_us,
        compared: Compared::default(),
        decisions: 0,
        untold: 0,
    };
    let named = args.policy.as_deref().unwrap_or(Path::new("--preset"));
    let refused = |error: OverlayError| Failure::Policy { path: named.to_owned(), source: Box::new(error) };
    let mut pools = Pools::of(&overlay);
    let mut rejudged = Rejudged::new(&overlay);
    let mut group: Vec<StoredRecord> = Vec::new();
    while let Some(stored) = reading.next() {
        let is_ledgers = stored.header.stream.kind == StreamKind::Ledger;
        let goes_on = group.first().is_some_and(|first| {
            let (first, next) = (&first.header, &stored.header);
            is_ledgers && first.origin == next.origin && first.epoch == next.epoch
        });
        if !goes_on || group.len() == DECISION_LEN_MAX {
            whatif.decide(std::mem::take(&mut group), console).map_err(refused)?;
        }
        if is_ledgers {
            pools.note(&stored.header, None)?;
            group.push(stored);
        } else {
            // Only whether the node takes pods concerns the ledger: nobody else need be folded.
            let event = reading.event(&stored);
            pools.note(&stored.header, event.as_ref())?;
            if let Some(event) = &event {
                rejudged.note(&stored.header, event).map_err(refused)?;
            }
            whatif.pass(stored, event, console);
        }
    }
    whatif.decide(group, console).map_err(refused)?;
    whatif.compared.end();
    // Of a part of the journal, nothing can be said about how pools fared.
    let outcomes =
        if reading.is_sound() { pools.decide_again(&overlay).map_err(refused)? } else { Vec::new() };
    whatif.tell(args.output, &outcomes, &rejudged, console)?;
    let is_same = whatif.compared.is_same() && !outcomes.iter().any(scaling::Outcome::differs);
    let is_same = is_same && rejudged.is_same();
    let found = if is_same { Exit::NothingMatched } else { Exit::Ok };
    reading.end(found.or_worse(whatif.folded.exit), console)
}

impl Whatif<'_> {
    fn pass(&mut self, stored: StoredRecord, event: Option<Event>, console: &mut Console<'_>) {
        if let Some(Event::Node(NodeEvent::Started(_) | NodeEvent::Cordoned(_) | NodeEvent::Uncordoned(_))) =
            event
        {
            self.folded.apply(stored, console);
        }
    }

    fn decide(&mut self, group: Vec<StoredRecord>, console: &mut Console<'_>) -> Result<(), OverlayError> {
        let mut left = group;
        while let Some(header) = left.first().map(|first| first.header.clone()) {
            let events: Vec<LedgerEvent> = left
                .iter()
                .map_while(|stored| match stored.event() {
                    Ok(Event::Ledger(event)) => Some(event),
                    _ => None,
                })
                .collect();
            let world = &self.folded.world;
            let contexts = vec![decisions::context(world, header.time)];
            let circumstances = Circumstances { contexts, slack_us: self.slack_us };
            let about = About { time: header.time, cause: header.origin.cause };
            let outcome = decisions::again(&world.ledger, &events, about, &circumstances);
            let len = match outcome {
                Some(Outcome::Same { len, command, context }) => {
                    let recorded = events.get(..len).unwrap_or_default();
                    self.answer(&header, command, recorded, &context)?;
                    len
                }
                Some(Outcome::Other { command, .. }) => {
                    // The likeliest question is asked all the same: what became of it is compared with what is on record.
                    let context = decisions::context(world, header.time);
                    self.answer(&header, command, &events, &context)?;
                    self.untold += events.len() as u64;
                    events.len()
                }
                None => {
                    self.untold += 1;
                    1
                }
            };
            let rest = left.split_off(len.clamp(1, left.len()));
            left.into_iter().for_each(|stored| self.folded.apply(stored, console));
            left = rest;
        }
        Ok(())
    }

    /// What the other ledger answers.
    fn answer(
        &mut self,
        header: &Header,
        command: LedgerCommand,
        recorded: &[LedgerEvent],
        context: &Context,
    ) -> Result<(), OverlayError> {
        self.decisions += 1;
        let is_capacity = matches!(command, LedgerCommand::SetCapacity(_));
        let asked = self.in_other_terms(command)?;
        let answered = self.other.decide(&asked, context);
        let (mut events, refused) = match answered {
            Ok(events) => (events, None),
            Err(rejection) => (Vec::new(), Some(rejection.to_string())),
        };
        self.follow(&events);
        if is_capacity && !self.is_in_force {
            events.extend(self.put_in_force(context)?);
        }
        self.compared.note(header, recorded, &events, refused);
        Ok(())
    }

    fn follow(&mut self, events: &[LedgerEvent]) {
        for event in events {
            self.other.follow(event).expect("a decider only emits events that its state can follow");
        }
    }

    /// The other rules, as soon as the ledger knows what there is.
    fn put_in_force(&mut self, context: &Context) -> Result<Vec<LedgerEvent>, OverlayError> {
        self.is_in_force = true;
        let policy = self.overlay.policy(&LedgerPolicy::default())?;
        let mut all = self.other.decide(&LedgerCommand::SetPolicy(Box::new(policy)), context)?;
        self.follow(&all);
        for id in self.overlay.tenants.keys() {
            let tenant = Box::new(self.overlay.tenant(id, &purser_events::ledger::Tenant::default())?);
            let events = self.other.decide(&LedgerCommand::SetTenant { id: id.clone(), tenant }, context)?;
            self.follow(&events);
            all.extend(events);
        }
        Ok(all)
    }

    /// The same question to the other ledger.
    fn in_other_terms(&self, command: LedgerCommand) -> Result<LedgerCommand, OverlayError> {
        use LedgerCommand as C;
        Ok(match command {
            C::SetPolicy(policy) | C::Configure(policy) => {
                C::SetPolicy(Box::new(self.overlay.policy(&policy)?))
            }
            C::SetTenant { id, tenant } => {
                let tenant = Box::new(self.overlay.tenant(&id, &tenant)?);
                C::SetTenant { id, tenant }
            }
            // What is set here is not given up.
            C::RemoveTenant { id } if self.overlay.tenants.contains_key(&id) => {
                let tenant = Box::new(self.overlay.tenant(&id, &purser_events::ledger::Tenant::default())?);
                C::SetTenant { id, tenant }
            }
            C::Admit(mut admit) => {
                // By the rules of then it would have waited if nothing else was said, which is likelier.
                if admit.when_full == WhenFull::Wait && !self.folded.world.ledger.policy.refuse_when_full {
                    admit.when_full = WhenFull::AsPolicy;
                }
                if let Some((reservation, _)) = &mut admit.reservation {
                    reservation.token = self.token_of(reservation.id).unwrap_or(reservation.token);
                }
                C::Admit(admit)
            }
            C::Cancel { mut reservation, owner } => {
                reservation.token = self.token_of(reservation.id).unwrap_or(reservation.token);
                C::Cancel { reservation, owner }
            }
            other => other,
        })
    }

    /// The token that a reservation has there, if it has the one here that shows it.
    fn token_of(&self, id: uuid::Uuid) -> Option<u64> {
        self.folded.world.ledger.reservations.get(&id)?;
        self.other.reservations.get(&id).map(|held| held.token)
    }

    fn tell(
        &self,
        output: Output,
        pools: &[scaling::Outcome],
        rejudged: &Rejudged<'_>,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        if output == Output::Json {
            let mut value = self.compared.json();
            value["loop"] = json!("open");
            value["decisions"] = json!(self.decisions);
            value["untold"] = json!(self.untold);
            if !self.overlay.pools.is_empty() {
                value["pools"] = pools.iter().map(scaling::Outcome::json).collect();
            }
            if rejudged.is_asked() {
                value["violations"] = rejudged.json();
            }
            return console.line(format_args!("{}", render::pretty(&value)));
        }
        console.line(format_args!("{OPEN_LOOP}"))?;
        console.line(format_args!("decisions  {} of the ledger", self.decisions))?;
        if self.untold > 0 {
            console.line(format_args!("untold     {} records do not say what led to them", self.untold))?;
        }
        self.compared.tell(console)?;
        pools.iter().try_for_each(|pool| pool.tell(console))?;
        rejudged.tell(console)
    }
}
