//! The limits of tenants before the routes: a request whose path names a namespace counts against its tenant, and so does
//! one that looks at the pods of the namespace in its query, or that changes a pool or a task by its name. One that looks
//! and names none counts against the tenant of the namespace `default`, as does one that names a pool or task that is not
//! there. Those that name it in their body, or by a reservation, come to the same limits in their handlers. What operators
//! alone change, as limits and whether the node takes pods, is on no tenant's account: none of them is to keep it from
//! being changed.

use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, Query, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::counter;
use purser_actors::metric;
use purser_events::ledger::TenantId;
use purser_events::ledger::tenant::Operation;
use purser_events::pool::{PoolName, TaskId};
use serde::Deserialize;
use uuid::Uuid;

use super::allowance::{InForce, Permit, Refused};
use crate::api::admission::{Held, drain};
use crate::api::problem::Problem;
use crate::api::state::Api;

/// Tenants that were never set, in metrics.
const OTHERS: &str = "other";
/// How soon a caller is told to try again when another request must end first, in milliseconds.
const CONCURRENT_RETRY_MS: u64 = 1_000;

/// The namespace on whose account a request is that names none.
pub(in crate::api) const DEFAULT_NAMESPACE: &str = "default";

/// Where one may always look: at whether the service works, and at the limits themselves, so that whoever has set them too
/// low sees it and can set them otherwise.
const ALWAYS: [&str; 8] = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/v1/status",
    "/v1/tenants",
    "/v1/tenants/{tenant}",
    "/v1/policy/resources",
];

/// Lets a request in or refuses it. To be layered around every route.
pub(in crate::api) async fn limit(State(api): State<Api>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let namespace = account(&api, &mut parts).await;
    let request = Request::from_parts(parts, body);
    let Some(namespace) = namespace else { return next.run(request).await };
    match api.enter(&namespace, operation(request.method())) {
        // An answer that streams is under way until its last byte is sent.
        Ok(permit) => next.run(request).await.map(|body| Body::new(Held { body, _until: permit })),
        Err(problem) => {
            drain(request).await;
            problem.into_response()
        }
    }
}

#[derive(Deserialize)]
struct Named {
    namespace: Option<String>,
}

/// The namespace on whose account a request is, if that is told by its head.
async fn account(api: &Api, parts: &mut Parts) -> Option<String> {
    // A path that leads nowhere has none.
    let params = RawPathParams::from_request_parts(parts, &()).await.ok();
    let named = |wanted: &str| {
        let mut all = params.as_ref()?.iter();
        all.find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned())
    };
    if let Some(namespace) = named("namespace") {
        return Some(namespace);
    }
    let route = parts.extensions.get::<MatchedPath>()?;
    let or_default = |found: Option<String>| Some(found.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()));
    match (operation(&parts.method), route.as_str()) {
        (_, route) if ALWAYS.contains(&route) => None,
        (Operation::Read, _) => {
            // A query that cannot be read is refused by what reads it.
            let query = Query::<Named>::from_request_parts(parts, &()).await.ok();
            or_default(query.and_then(|Query(named)| named.namespace))
        }
        (Operation::Delete, "/v1/pools/{name}") | (_, "/v1/pools/{name}/unfreeze") => {
            or_default(named("name").and_then(|name| of_pool(api, &name)))
        }
        (_, "/v1/tasks/{id}/confirm" | "/v1/tasks/{id}/discard" | "/v1/tasks/{id}/cancel") => {
            or_default(named("id").and_then(|id| of_task(api, &id)))
        }
        _ => None,
    }
}

/// The namespace of a pool, if there is one of that name.
fn of_pool(api: &Api, name: &str) -> Option<String> {
    let name = PoolName::new(name).ok()?;
    api.service.world(|world| Some(world.pools.get(&name)?.spec.as_ref()?.namespace.clone()))
}

/// The namespace of the pool that has a task, if there is one.
fn of_task(api: &Api, id: &str) -> Option<String> {
    let id = TaskId(Uuid::try_parse(id).ok()?);
    api.service.world(|world| {
        let pool = world.pools.values().find(|pool| pool.task(id).is_some())?;
        Some(pool.spec.as_ref()?.namespace.clone())
    })
}

fn operation(method: &Method) -> Operation {
    match *method {
        Method::GET | Method::HEAD => Operation::Read,
        Method::DELETE => Operation::Delete,
        _ => Operation::Change,
    }
}

impl Api {
    /// Counts a request against the limits of a namespace's tenant. It is under way until the permit is dropped.
    ///
    /// # Errors
    /// One of the limits holds it back.
    pub(in crate::api) fn enter(&self, namespace: &str, operation: Operation) -> Result<Permit, Problem> {
        // What is no tenant's name is refused by what reads it.
        let tenant = self.service.world(|world| world.ledger.tenant_of(namespace));
        tenant.map_or_else(|| Ok(Permit::default()), |tenant| self.enter_as(&tenant, operation))
    }

    /// Counts a request against the limits of a tenant.
    ///
    /// # Errors
    /// One of the limits holds it back.
    pub(in crate::api) fn enter_as(
        &self,
        tenant: &TenantId,
        operation: Operation,
    ) -> Result<Permit, Problem> {
        let (limits, is_default) = self.service.world(|world| {
            let (limits, is_default) = world.ledger.requests(tenant);
            (limits.clone(), is_default)
        });
        let in_force = InForce { limits: &limits, is_default };
        self.allowances.enter(tenant, in_force, operation).map_err(|refused| problem(&refused, is_default))
    }
}

/// The answer to a request that is not let in, which is counted: under one name for all tenants that were never set, or
/// whoever makes names up would make as many series.
fn problem(refused: &Refused, is_default: bool) -> Problem {
    let (code, tenant, operation, retry_after_ms) = match refused {
        Refused::Rate { tenant, operation, retry_after_ms, .. } => {
            ("tenant-rate-limited", tenant, operation.word(), *retry_after_ms)
        }
        Refused::Concurrent { tenant, .. } => {
            ("tenant-too-many-requests", tenant, "concurrent", CONCURRENT_RETRY_MS)
        }
    };
    let tenant = if is_default { OTHERS.to_owned() } else { tenant.to_string() };
    let labels = [("tenant", tenant), ("operation", operation.to_owned())];
    counter!(metric::TENANT_REFUSED.name, &labels).increment(1);
    Problem::new(StatusCode::TOO_MANY_REQUESTS, code, refused.to_string()).retry_after(retry_after_ms)
}
