//! What the ledger says now, as metrics.

use metrics::gauge;
use purser_actors::metric;
use purser_actors::service::Service;
use purser_events::World;
use purser_events::ledger::event::Drift;
use purser_events::ledger::{Figure, Ledger, ResourceKind};

use super::process::exact;
use crate::api::ledger::tenants::known;
use crate::api::ledger::used::seen;

/// Tenants that are shown; more would be series without end.
const TENANTS_MAX: usize = 100;

/// The words for how a manager stands.
const HEALTH: [&str; 4] = ["Healthy", "Degraded", "Unhealthy", "Stopped"];

/// Puts the figures of the ledger into the recorder in force.
pub(super) fn record(service: &Service) {
    // Cloned: nothing is committed while the world is read.
    let world = service.world(World::clone);
    let ledger: &Ledger = &world.ledger;
    let seen = seen(&world, &service.measured());
    for manager in ledger.managers.all() {
        manager.export_telemetry(&seen, ledger.policy.strict, &mut record_figure);
    }
    record_tenants(&world);
    gauge!(metric::ADMISSION_WAITING.name).set(exact(ledger.waiting.size() as u64));
    gauge!(metric::RESERVATIONS.name).set(exact(ledger.reservations.size() as u64));
    for kind in Drift::WORDS {
        let found = ledger.drifts.iter().filter(|drift| drift.word() == kind).count();
        gauge!(metric::DRIFT.name, "kind" => kind).set(exact(found as u64));
    }
}

fn record_figure(kind: &ResourceKind, figure: Figure<'_>) {
    let resource = || kind.to_string();
    let (metric, value) = match figure {
        Figure::Health(health) => {
            for word in HEALTH {
                let labels = [("resource", resource()), ("state", word.to_owned())];
                let is_so = health.word() == word;
                gauge!(metric::RESOURCE_HEALTH.name, &labels).set(f64::from(u8::from(is_so)));
            }
            return;
        }
        Figure::Capacity(amount) => (metric::RESOURCE_CAPACITY, exact(amount)),
        Figure::Allocatable(amount) => (metric::RESOURCE_ALLOCATABLE, exact(amount)),
        Figure::Allocated(amount) => (metric::RESOURCE_ALLOCATED, exact(amount)),
        Figure::Reserved(amount) => (metric::RESOURCE_RESERVED, exact(amount)),
        Figure::Used(amount) => (metric::RESOURCE_USED, exact(amount)),
        Figure::UsedByMachine(amount) => (metric::RESOURCE_USED_BY_MACHINE, exact(amount)),
        Figure::AllocatedOfCapacity { part, whole } => {
            (metric::RESOURCE_ALLOCATED_RATIO, exact(part) / exact(whole))
        }
        Figure::UsedOfAllocated { part, whole } => (metric::RESOURCE_USED_RATIO, exact(part) / exact(whole)),
        Figure::Fragmentation(percent) => (metric::RESOURCE_FRAGMENTATION, f64::from(percent) / 100.0),
    };
    gauge!(metric.name, "resource" => resource()).set(value);
}

fn record_tenants(world: &World) {
    let ledger: &Ledger = &world.ledger;
    for id in known(world).into_iter().take(TENANTS_MAX) {
        let labels = |kind: &ResourceKind| [("tenant", id.to_string()), ("resource", kind.to_string())];
        for (kind, most) in ledger.quota(&id).quota.iter() {
            gauge!(metric::TENANT_QUOTA.name, &labels(kind)).set(exact(most));
        }
        for (kind, used) in ledger.used.get(&id).into_iter().flat_map(|used| used.iter()) {
            gauge!(metric::TENANT_USED.name, &labels(kind)).set(exact(used));
        }
        for (_, kind) in ledger.alerts.iter().filter(|(tenant, _)| *tenant == id) {
            gauge!(metric::TENANT_ALERT.name, &labels(kind)).set(1.0);
        }
    }
}
