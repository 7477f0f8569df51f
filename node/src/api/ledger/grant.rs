//! What a holder has or waits for, as people read it.

use std::collections::{BTreeMap, BTreeSet};

use purser_actors::service::ledger::name_of;
use purser_events::ledger::{Demand, GpuGrant, Grant, HolderId, Place, Port, ResourceKind, Shortage};
use purser_events::{PodUid, Timestamp, World};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::shortage::ShortageView;

/// What a holder was given. What it has none of is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GrantView {
    /// Amounts by resource, as in `"cpu": "1500m"`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub amounts: BTreeMap<String, String>,
    /// Processors that it has alone, as in `0-1,4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<String>,
    /// GPUs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuView>,
    /// Ports that it named, as in `8080/TCP`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fixed_ports: Vec<String>,
    /// Ports that were chosen for it.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub ports: BTreeSet<u16>,
    /// Its subnet, as in `10.88.3.0/24`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
}

/// What a holder was given of one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GpuView {
    /// Which.
    pub uuid: String,
    /// Percent of its compute.
    pub share_percent: u32,
    /// Of its memory, as in `20Gi`.
    pub memory: String,
    /// Whether nobody else has it.
    pub whole: bool,
}

impl GrantView {
    /// A grant on a node.
    #[must_use]
    pub fn of(world: &World, grant: &Grant) -> GrantView {
        let subnets = world.ledger.managers.network.subnet_range();
        GrantView {
            amounts: shown(grant.amounts().iter()),
            cpus: grant.cpus.as_ref().map(ToString::to_string),
            gpus: grant.gpus.iter().map(GpuView::from).collect(),
            fixed_ports: ports(&grant.fixed_ports),
            ports: grant.ports.clone(),
            subnet: grant.subnet.and_then(|index| subnets.show(index)),
        }
    }
}

impl From<&GpuGrant> for GpuView {
    fn from(gpu: &GpuGrant) -> GpuView {
        let GpuGrant { uuid, share, memory, whole } = gpu;
        GpuView { uuid: uuid.to_string(), share_percent: *share, memory: memory.to_string(), whole: *whole }
    }
}

/// What was asked for, by resource, as in `"cpu": "1500m"`.
#[must_use]
pub fn asked(demand: &Demand) -> BTreeMap<String, String> {
    shown(demand.amounts().iter())
}

fn shown<'a>(amounts: impl Iterator<Item = (&'a ResourceKind, u64)>) -> BTreeMap<String, String> {
    amounts.map(|(kind, amount)| (kind.to_string(), kind.show(amount))).collect()
}

fn ports(ports: &BTreeSet<Port>) -> Vec<String> {
    ports.iter().map(|port| format!("{}/{}", port.number, port.protocol)).collect()
}

/// Why a pod waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingView {
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// How many wait in front of it.
    pub rank: usize,
    /// All that it is short of now, while what those in front wait for is kept for them.
    pub shortages: Vec<ShortageView>,
    /// Pods that were made to end for it and have not yet, as `namespace/name`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub make_way: Vec<String>,
}

impl WaitingView {
    fn of(world: &World, place: &Place) -> WaitingView {
        let waiting = world.ledger.waits(place.pod).map(|(_, waiting)| waiting);
        let view = |it: &Shortage| {
            let in_front = place.kept.contains(&it.kind).then_some(place.in_front);
            ShortageView::of(world, it, in_front)
        };
        let victims = waiting.into_iter().flat_map(|waiting| &waiting.victims);
        WaitingView {
            since: place.since,
            rank: place.in_front,
            shortages: place.shortages.iter().map(view).collect(),
            make_way: victims.map(|pod| name_of(world, HolderId::Pod(*pod))).collect(),
        }
    }
}

/// How a pod stands to the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Standing {
    /// It has nothing there.
    #[default]
    None,
    /// It has this.
    Holds(GrantView),
    /// It waits.
    Waits(WaitingView),
}

impl Standing {
    /// How a pod stands.
    #[must_use]
    pub fn of(world: &World, pod: PodUid) -> Standing {
        match world.ledger.grant(pod) {
            Some(grant) => Standing::Holds(GrantView::of(world, grant)),
            None => match world.ledger.place(pod) {
                Some(place) => Standing::Waits(WaitingView::of(world, &place)),
                None => Standing::None,
            },
        }
    }

    /// How every pod stands that waits: the queue is gone through once.
    #[must_use]
    pub fn of_queue(world: &World) -> BTreeMap<PodUid, Standing> {
        let places = world.ledger.queue();
        places.iter().map(|place| (place.pod, Standing::Waits(WaitingView::of(world, place)))).collect()
    }
}
