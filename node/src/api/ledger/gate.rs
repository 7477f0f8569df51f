//! The limits of tenants before the routes: a request whose path names a namespace counts against its tenant, and so does
//! one that looks at the pods of the namespace in its query. One that looks and names none counts against the tenant of
//! the namespace `default`. Those that name it in their body come to the same limits in their handlers.

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
use serde::Deserialize;

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
    let namespace = account(&mut parts).await;
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
async fn account(parts: &mut Parts) -> Option<String> {
    // A path that leads nowhere has none.
    let params = RawPathParams::from_request_parts(parts, &()).await.ok();
    let in_path = params.as_ref().and_then(|params| params.iter().find(|(name, _)| *name == "namespace"));
    if let Some((_, namespace)) = in_path {
        return Some(namespace.to_owned());
    }
    let route = parts.extensions.get::<MatchedPath>()?;
    if operation(&parts.method) != Operation::Read || ALWAYS.contains(&route.as_str()) {
        return None;
    }
    // A query that cannot be read is refused by what reads it.
    let query = Query::<Named>::from_request_parts(parts, &()).await.ok();
    let in_query = query.and_then(|Query(named)| named.namespace);
    Some(in_query.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()))
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
