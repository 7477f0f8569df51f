//! The limits of tenants before the routes: a request whose path names a namespace counts against its tenant. Those that
//! name it in their body come to the same limits in their handlers.

use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::counter;
use purser_actors::metric;
use purser_events::ledger::TenantId;
use purser_events::ledger::tenant::Operation;

use super::allowance::{Permit, Refused};
use crate::api::admission::{Held, drain};
use crate::api::problem::Problem;
use crate::api::state::Api;

/// How soon a caller is told to try again when another request must end first, in milliseconds.
const CONCURRENT_RETRY_MS: u64 = 1_000;

/// Lets a request in or refuses it. To be layered around every route.
pub(in crate::api) async fn limit(State(api): State<Api>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    // A path that leads nowhere has none.
    let params = RawPathParams::from_request_parts(&mut parts, &()).await.ok();
    let request = Request::from_parts(parts, body);
    let namespace = params.as_ref().and_then(|params| {
        params.iter().find(|(name, _)| *name == "namespace").map(|(_, namespace)| namespace)
    });
    let Some(namespace) = namespace else { return next.run(request).await };
    match api.enter(namespace, operation(request.method())) {
        // An answer that streams is under way until its last byte is sent.
        Ok(permit) => next.run(request).await.map(|body| Body::new(Held { body, _until: permit })),
        Err(problem) => {
            drain(request).await;
            problem.into_response()
        }
    }
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
        let limits = self.service.world(|world| world.ledger.tenants.get(tenant).cloned());
        let limits = limits.map(|tenant| tenant.requests.clone()).unwrap_or_default();
        self.allowances.enter(tenant, &limits, operation).map_err(|refused| problem(&refused))
    }
}

/// The answer to a request that is not let in, which is counted.
fn problem(refused: &Refused) -> Problem {
    let (code, tenant, operation, retry_after_ms) = match refused {
        Refused::Rate { tenant, operation, retry_after_ms, .. } => {
            ("tenant-rate-limited", tenant, operation.word(), *retry_after_ms)
        }
        Refused::Concurrent { tenant, .. } => {
            ("tenant-too-many-requests", tenant, "concurrent", CONCURRENT_RETRY_MS)
        }
    };
    let labels = [("tenant", tenant.to_string()), ("operation", operation.to_owned())];
    counter!(metric::TENANT_REFUSED.name, &labels).increment(1);
    Problem::new(StatusCode::TOO_MANY_REQUESTS, code, refused.to_string()).retry_after(retry_after_ms)
}
