//! Tenants: what each may have, what it has, and how often it may ask.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use purser_events::World;
use purser_events::ledger::tenant::{Operation, Rate, RequestLimits};
use purser_events::ledger::{Amounts, Tenant, TenantId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::LedgerAccepted;
use super::body::{completed, read_amounts};
use crate::api::problem::Problem;
use crate::api::state::{Api, Change, name_problem, path};

/// A tenant. Amounts are in the resource's unit: thousandths of a core, bytes, percent of one GPU, or pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantView {
    /// Its name.
    pub id: String,
    /// What was set for it; null if nothing was.
    #[schema(value_type = Option<Object>)]
    pub tenant: Option<Tenant>,
    /// Most that its pods may have together; a resource that is absent is unbounded.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub quota: Amounts,
    /// Whether that is the node's default.
    pub is_default: bool,
    /// What its pods and reservations have.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub used: Amounts,
    /// Resources of which it uses more than its alert says.
    pub alerts: Vec<String>,
    /// How often it may ask.
    pub requests: RequestsView,
    /// How much its pods may matter.
    #[serde(default)]
    pub priority: PriorityView,
}

/// How much pods of a tenant may matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PriorityView {
    /// Whether that is the node's default, since the tenant has no `priorityMax`.
    pub is_default: bool,
    /// The highest priority that its pods may have; null if any.
    pub max: Option<i32>,
}

/// How often a tenant may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestsView {
    /// Whether that is the node's default, since nothing was set for it.
    #[serde(default)]
    pub is_default: bool,
    /// Rates by operation: `any`, `create`, `delete`, `change`, `read`.
    #[schema(value_type = Object)]
    pub rates: BTreeMap<Operation, Rate>,
    /// Most requests under way at once.
    pub concurrent: Option<u32>,
    /// Requests under way now.
    pub open: u32,
}

/// The tenants that were set or have something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantList {
    /// The record up to which this speaks.
    pub seq: u64,
    /// The tenants by name.
    pub items: Vec<TenantView>,
}

impl TenantView {
    fn of(world: &World, api: &Api, id: &TenantId) -> TenantView {
        let ledger = &world.ledger;
        let (tenant, held) = (ledger.tenants.get(id), ledger.quota(id));
        let (limits, is_default) = ledger.requests(id);
        let RequestLimits { rates, concurrent } = limits.clone();
        let (max, is_default_max) = ledger.priority_max(id);
        let alerts = ledger.alerts.iter().filter(|(of, _)| of == id);
        TenantView {
            id: id.to_string(),
            tenant: tenant.map(|tenant| Tenant::clone(tenant)),
            quota: held.quota.clone(),
            is_default: held.is_default,
            used: ledger.used.get(id).map(|used| Amounts::clone(used)).unwrap_or_default(),
            alerts: alerts.map(|(_, kind)| kind.to_string()).collect(),
            requests: RequestsView { is_default, rates, concurrent, open: api.allowances.open(id) },
            priority: PriorityView { is_default: is_default_max, max },
        }
    }
}

/// The tenants that were set or have something, by name.
#[must_use]
pub fn known(world: &World) -> BTreeSet<TenantId> {
    let ledger = &world.ledger;
    let using = ledger.used.iter().filter(|(_, used)| !used.is_empty());
    ledger.tenants.keys().chain(using.map(|(id, _)| id)).cloned().collect()
}

/// Lists the tenants that were set or have something.
#[utoipa::path(
    get, path = "/v1/tenants", tag = "tenants",
    responses((status = 200, description = "the tenants", body = TenantList))
)]
pub(in crate::api) async fn list(State(api): State<Api>) -> Json<TenantList> {
    let world = api.service.world(World::clone);
    let items = known(&world).iter().map(|id| TenantView::of(&world, &api, id)).collect();
    Json(TenantList { seq: world.head.0, items })
}

/// The tenant that a path names.
pub(in crate::api) struct TenantPath(TenantId);

impl<S: Send + Sync> FromRequestParts<S> for TenantPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<TenantPath, Problem> {
        let name: String = path(parts, state).await?;
        TenantId::new(&name).map(TenantPath).map_err(|error| name_problem("tenant", &error))
    }
}

/// Shows a tenant. One for which nothing was set is shown with the node's default.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}", tag = "tenants", params(("tenant" = String, Path)),
    responses((status = 200, description = "the tenant", body = TenantView))
)]
pub(in crate::api) async fn show(State(api): State<Api>, TenantPath(id): TenantPath) -> Json<TenantView> {
    let world = api.service.world(World::clone);
    Json(TenantView::of(&world, &api, &id))
}

/// Says what a tenant may have, all of it at once: `namespaces`, `quota`, `alertPercent`, `podMax`, `podDefault`,
/// `priorityMax` and `requests`. Amounts are text, as in `64Gi`, or numbers in the resource's unit.
#[utoipa::path(
    put, path = "/v1/tenants/{tenant}", tag = "tenants", params(("tenant" = String, Path)),
    request_body = Object,
    responses(
        (status = 200, description = "so it is", body = LedgerAccepted),
        (status = 409, description = "a namespace is another's", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "fields are wrong", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn set(
    State(api): State<Api>,
    TenantPath(id): TenantPath,
    change: Change,
) -> Result<Json<LedgerAccepted>, Problem> {
    let tenant = read(change.required()?)?;
    let done = api.service.set_tenant(id, tenant, change.by).await?;
    Ok(Json(done.into()))
}

/// A tenant as it is written in a body.
fn read(mut given: Map<String, Value>) -> Result<Tenant, Problem> {
    let mut errors = vec![];
    for field in ["quota", "podMax", "podDefault"] {
        if let Some(amounts) = given.get_mut(field) {
            errors.extend(read_amounts(field, amounts).err().into_iter().flatten());
        }
    }
    if errors.is_empty() { completed(given) } else { Err(Problem::invalid(errors)) }
}

/// Has the node's default hold for a tenant again.
#[utoipa::path(
    delete, path = "/v1/tenants/{tenant}", tag = "tenants", params(("tenant" = String, Path)),
    responses(
        (status = 200, description = "so it is", body = LedgerAccepted),
        (status = 404, description = "nothing was set for it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn remove(
    State(api): State<Api>,
    TenantPath(id): TenantPath,
    change: Change,
) -> Result<Json<LedgerAccepted>, Problem> {
    let done = api.service.remove_tenant(id, change.by).await?;
    Ok(Json(done.into()))
}

#[cfg(test)]
mod tests {
    use purser_events::ledger::ResourceKind;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tenant_is_what_was_written_and_defaults() {
        let Value::Object(body) = json!({
            "quota": { "memory": "2Gi", "pods": 4 },
            "requests": { "rates": { "create": { "count": 5, "per": "hour" } }, "concurrent": 2 },
        }) else {
            unreachable!("it is an object")
        };
        let tenant = read(body).unwrap();
        assert_eq!(tenant.quota.unwrap().get(&ResourceKind::Memory), 2 << 30);
        assert_eq!(tenant.requests.rates[&Operation::Create].burst, None);
        assert_eq!((tenant.requests.concurrent, tenant.alert_percent), (Some(2), None));
    }
}
