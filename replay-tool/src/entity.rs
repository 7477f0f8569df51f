//! One entity out of the world, as it is shown.

use purser_events::view::World;
use purser_events::{PodUid, StreamId, StreamKind, WorkerUid};
use serde_json::{Value, json};

use crate::cli::PodName;

/// One entity, ready to be shown.
pub(crate) struct Entity {
    /// What it is called.
    pub(crate) title: String,
    /// What it is.
    pub(crate) state: Value,
}

impl Entity {
    /// The entity of a stream, if the world knows it.
    pub(crate) fn of_stream(world: &World, stream: StreamId) -> Option<Entity> {
        let state = match stream.kind {
            StreamKind::Node => world.node_uid.filter(|uid| uid.0 == stream.id).map(|_| json!(world.node)),
            StreamKind::Pod => {
                let uid = PodUid(stream.id);
                let withheld = || world.withheld.contains(&uid).then(|| json!({ "withheld": true }));
                world.pods.get(&uid).map(|pod| json!(pod)).or_else(withheld)
            }
            StreamKind::Ledger => {
                world.node_uid.filter(|uid| uid.0 == stream.id).map(|_| json!(world.ledger))
            }
            StreamKind::Gpu => {
                let (uuid, gpu) = world.gpus.iter().find(|(uuid, _)| uuid.stream() == stream)?;
                return Some(Entity { title: format!("gpu/{uuid}"), state: json!(gpu) });
            }
            StreamKind::Pool => {
                let (name, pool) = world.pools.iter().find(|(name, _)| name.stream() == stream)?;
                return Some(Entity { title: format!("pool/{name}"), state: json!(pool) });
            }
            StreamKind::Worker => world.workers.get(&WorkerUid(stream.id)).map(|worker| json!(worker)),
        };
        state.map(|state| Entity { title: stream.to_string(), state })
    }

    /// The pod that is meant, if the world knows it.
    pub(crate) fn of_pod(world: &World, pod: &PodName) -> Option<Entity> {
        let uid = match pod {
            PodName::Incarnation(uid) => Some(*uid),
            PodName::Name(id) => world.registry.entries.get(id).map(|entry| entry.uid),
        };
        Entity::of_stream(world, uid?.stream())
    }
}
