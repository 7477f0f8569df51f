//! Serving agents: the socket that every member's folder has a link to, and the upkeep of what tasks have printed.

use std::num::NonZeroU32;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use purser_actors::Service;
use purser_events::pool::Pool;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::folder::SOCKET;
use super::output::TaskOutputs;
use super::routes::{AgentsApi, router};
use super::{Agents, Members};
use crate::adapter::clock::UuidV7;
use crate::api::admission::{Entrance, Gate, Limits};
use crate::api::listen::{ListenError, Server, bind_socket};

/// Time between two looks for output whose task is forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Requests a second of one agent, on average: more than 64 slots with short tasks come to.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(200).expect("not zero");
/// Requests of one agent at once after a pause.
const BURST: NonZeroU32 = NonZeroU32::new(400).expect("not zero");
/// Requests of all agents that may be open: one that waits for orders of each of the most pods, and a few more.
const OPEN_MAX: NonZeroU32 = NonZeroU32::new(16_384).expect("not zero");
/// Requests of one agent that may be open.
const OPEN_EACH: NonZeroU32 = NonZeroU32::new(16).expect("not zero");

/// Binds the socket, and leads every member's folder to it.
///
/// # Errors
/// It cannot be bound, or the folders cannot be read.
pub async fn bind(agents: &Agents) -> Result<UnixListener, ListenError> {
    let path = agents.socket();
    let failed = |source| ListenError::Io { place: path.display().to_string(), source };
    // By way of its folder, however long the folder's path is: a socket's own may have 107 bytes.
    let folder = std::fs::File::open(path.parent().unwrap_or(&path)).map_err(failed)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(SOCKET);
    let listener = bind_socket(&short, None).await?;
    // Who may connect is a matter of the folder that one is given, and of the token.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).map_err(failed)?;
    agents.link_all().map_err(failed)?;
    Ok(listener)
}

/// What it takes to serve agents.
pub struct Serving {
    /// The agents' place.
    pub agents: Agents,
    /// The node.
    pub service: Service,
    /// What tasks print.
    pub outputs: TaskOutputs,
    /// Time within which the head of a request must have come, and again its body.
    pub head_timeout: Duration,
    /// Turns true when no more is to be served.
    pub stop: watch::Receiver<bool>,
    /// The connections that are open.
    pub connections: TaskTracker,
}

/// Serves agents until told to stop.
pub async fn serve(serving: Serving, listener: UnixListener) {
    let Serving { agents, service, outputs, head_timeout, stop, connections } = serving;
    let limits =
        Limits { per_second: PER_SECOND, burst: BURST, open_max: OPEN_MAX, open_each: Some(OPEN_EACH) };
    let gate = Arc::new(Gate::new(limits, Arc::new(UuidV7)));
    let api = AgentsApi {
        service: service.clone(),
        outputs,
        agents: agents.clone(),
        body_within: head_timeout,
        stop: stop.clone(),
    };
    let server = Server { router: router(api, gate), head_timeout, stop, connections };
    let members = Arc::new(Members { agents, service });
    server.serve(listener, move |_| Entrance::Agents(Arc::clone(&members))).await;
}

/// Removes the output of tasks that are forgotten; never returns.
pub async fn keep_outputs(service: Service, outputs: TaskOutputs) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let (service, outputs) = (service.clone(), outputs.clone());
        let swept = tokio::task::spawn_blocking(move || {
            // Asked after the folders were listed: a task is on record before it prints.
            outputs.sweep(|pool, task| {
                let knows = |pool: &Pool| pool.task(task).is_some();
                service.world(|world| {
                    // Nothing is certain of a pool whose records cannot be followed.
                    world.pools.get(pool).is_some_and(knows) || world.quarantined.contains_key(&pool.stream())
                })
            })
        });
        match swept.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "failed to remove the output of tasks that are forgotten");
            }
            Err(error) => tracing::warn!(%error, "failed to look after the output of tasks"),
        }
    }
}
