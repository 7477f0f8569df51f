//! What the ledger says now, as metrics.

use metrics::gauge;
use purser_actors::metric;
use purser_actors::service::Service;
use purser_events::World;
use purser_events::ledger::event::Drift;
use purser_events::ledger::{Ledger, ResourceKind};

use super::process::exact;
use crate::api::ledger::resources::{ManagerView, ResourcesView};
use crate::api::ledger::tenants::known;

/// Tenants that are shown; more would be series without end.
const TENANTS_MAX: usize = 100;

/// The words for how a manager stands.
const HEALTH: [&str; 4] = ["Healthy", "Degraded", "Unhealthy", "Stopped"];

/// Puts the figures of the ledger into the recorder in force.
pub(super) fn record(service: &Service) {
    // Cloned: nothing is committed while the world is read.
    let world = service.world(World::clone);
    let view = ResourcesView::of(&world, service);
    view.managers.iter().for_each(record_manager);
    record_tenants(&world);
    gauge!(metric::ADMISSION_WAITING.name).set(exact(view.waiting as u64));
    gauge!(metric::RESERVATIONS.name).set(exact(view.reservations as u64));
    for kind in Drift::WORDS {
        let found = view.drifts.iter().filter(|drift| drift.kind == kind).count();
        gauge!(metric::DRIFT.name, "kind" => kind).set(exact(found as u64));
    }
}

fn record_manager(manager: &ManagerView) {
    for word in HEALTH {
        let labels = [("resource", manager.name.clone()), ("state", word.to_owned())];
        gauge!(metric::RESOURCE_HEALTH.name, &labels).set(f64::from(u8::from(manager.health == word)));
    }
    for resource in &manager.resources {
        let figures = [
            (metric::RESOURCE_CAPACITY, resource.capacity),
            (metric::RESOURCE_ALLOCATABLE, resource.allocatable),
            (metric::RESOURCE_ALLOCATED, resource.allocated),
            (metric::RESOURCE_RESERVED, resource.reserved),
        ];
        for (metric, amount) in figures {
            gauge!(metric.name, "resource" => resource.kind.clone()).set(exact(amount));
        }
    }
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
    }
}
