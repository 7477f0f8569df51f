//! Reservations: something is kept for whoever asked, until it is taken up, given up or over.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use nix::unistd::Uid;
use purser_actors::service::ledger::{ReservationMade, ReserveRequest};
use purser_events::ledger::tenant::Operation;
use purser_events::ledger::{HolderId, Reservation, ReservationRef};
use purser_events::{Principal, Timestamp, World};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::LedgerAccepted;
use super::gate::DEFAULT_NAMESPACE;
use super::grant::{GrantView, asked};
use super::shortage::told;
use super::wish::Wish;
use crate::api::problem::Problem;
use crate::api::state::{Api, By, Change, Params, path};

/// What is to be kept, for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReserveBody {
    /// The namespace of the pod to be, which says on whose account; `default` if absent.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// For how long, in milliseconds: 1 to 30 days.
    pub ttl_ms: u64,
    /// What.
    pub resources: Wish,
}

fn default_namespace() -> String {
    DEFAULT_NAMESPACE.to_owned()
}

/// A reservation that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReservationMadeView {
    /// Which.
    pub id: String,
    /// Shows that one has it.
    pub token: u64,
    /// From when on it is over.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// The record that says so.
    pub seq: u64,
}

impl From<ReservationMade> for ReservationMadeView {
    fn from(made: ReservationMade) -> ReservationMadeView {
        let ReservationMade { id, token, expires_at, seq } = made;
        ReservationMadeView { id: id.to_string(), token, expires_at, seq: seq.0 }
    }
}

/// A reservation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReservationView {
    /// Which.
    pub id: String,
    /// Who may take it up or give it up.
    pub owner: String,
    /// On whose account.
    pub tenant: Option<String>,
    /// Shows that one has it; told to its owner alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// Since when.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// From when on it is over.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// What was asked for, by resource.
    pub asked: BTreeMap<String, String>,
    /// What is kept.
    pub resources: GrantView,
}

/// The reservations that are in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReservationList {
    /// The record up to which this speaks.
    pub seq: u64,
    /// The reservations.
    pub items: Vec<ReservationView>,
}

impl ReservationView {
    fn of(world: &World, id: Uuid, reservation: &Reservation, principal: &Principal) -> ReservationView {
        let holding = world.ledger.holdings.get(&HolderId::Reservation(id));
        let is_own = reservation.owner == principal.as_str();
        ReservationView {
            id: id.to_string(),
            owner: reservation.owner.clone(),
            tenant: holding.map(|holding| holding.tenant.to_string()),
            token: is_own.then_some(reservation.token),
            since: holding.map(|holding| holding.since),
            expires_at: reservation.expires_at,
            asked: asked(&reservation.demand),
            resources: holding.map(|holding| GrantView::of(world, &holding.grant)).unwrap_or_default(),
        }
    }
}

/// Keeps something for whoever asks, at once or not at all. A pod takes it up with the id and the token.
#[utoipa::path(
    post, path = "/v1/reservations", tag = "reservations", request_body = ReserveBody,
    responses(
        (status = 201, description = "it is kept", body = ReservationMadeView),
        (status = 409, description = "there is too little", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "fields are wrong", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn reserve(
    State(api): State<Api>,
    change: Change,
) -> Result<(StatusCode, Json<ReservationMadeView>), Problem> {
    let ReserveBody { namespace, ttl_ms, resources } = change.required()?;
    let _permit = api.enter(&namespace, Operation::Create)?;
    let demand = resources.demand().map_err(Problem::invalid)?;
    let wish = ReserveRequest { namespace, demand, ttl_ms };
    let made = api.service.reserve(wish, change.by).await.map_err(|error| told(&api.service, error))?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Lists the reservations that are in force.
#[utoipa::path(
    get, path = "/v1/reservations", tag = "reservations",
    responses((status = 200, description = "the reservations", body = ReservationList))
)]
pub(in crate::api) async fn list(State(api): State<Api>, By(caller): By) -> Json<ReservationList> {
    let world = api.service.world(World::clone);
    let view = |(id, reservation): (&Uuid, &std::sync::Arc<Reservation>)| {
        ReservationView::of(&world, *id, reservation, &caller.principal)
    };
    Json(ReservationList { seq: world.head.0, items: world.ledger.reservations.iter().map(view).collect() })
}

/// The reservation that a path names.
pub(in crate::api) struct ReservationPath(Uuid);

impl<S: Send + Sync> FromRequestParts<S> for ReservationPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<ReservationPath, Problem> {
        let id: String = path(parts, state).await?;
        let malformed = |_| Problem::bad_request("malformed-name", "a reservation's id is a UUID");
        Uuid::try_parse(&id).map(ReservationPath).map_err(malformed)
    }
}

/// Shows a reservation that is in force.
#[utoipa::path(
    get, path = "/v1/reservations/{id}", tag = "reservations", params(("id" = String, Path)),
    responses(
        (status = 200, description = "the reservation", body = ReservationView),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn show(
    State(api): State<Api>,
    ReservationPath(id): ReservationPath,
    By(caller): By,
) -> Result<Json<ReservationView>, Problem> {
    let view = api.service.world(|world| {
        let reservation = world.ledger.reservations.get(&id)?;
        Some(ReservationView::of(world, id, reservation, &caller.principal))
    });
    view.map(Json).ok_or_else(|| absent(id))
}

fn absent(id: Uuid) -> Problem {
    let detail = format!("there is no reservation {id}, or not any more");
    Problem::new(StatusCode::NOT_FOUND, "no-such-reservation", detail)
}

/// What shows that one has a reservation, or is to do without.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct CancelParams {
    /// The token that came with it; absent with `force`.
    token: Option<u64>,
    /// Give it up in its owner's place: for root and the user of the service, over the unix socket.
    #[serde(default)]
    force: bool,
}

/// Gives a reservation up. Whoever shows a token that is not the reservation's is refused, which is recorded. An operator
/// needs no token.
#[utoipa::path(
    delete, path = "/v1/reservations/{id}", tag = "reservations",
    params(("id" = String, Path), CancelParams),
    responses(
        (status = 200, description = "it is given up", body = LedgerAccepted),
        (status = 403, description = "the caller may not force it", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is none to be forced", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "the token is stale", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn cancel(
    State(api): State<Api>,
    ReservationPath(id): ReservationPath,
    Params(CancelParams { token, force }): Params<CancelParams>,
    change: Change,
) -> Result<Json<LedgerAccepted>, Problem> {
    let holder = HolderId::Reservation(id);
    let tenant = api.service.world(|world| Some(world.ledger.holdings.get(&holder)?.tenant.clone()));
    // Whoever speaks for one that is not there counts as one who names no namespace.
    let _permit = match tenant {
        Some(tenant) => api.enter_as(&tenant, Operation::Delete)?,
        None => api.enter(DEFAULT_NAMESPACE, Operation::Delete)?,
    };
    let done = match token {
        Some(token) if !force => {
            api.service.cancel_reservation(ReservationRef { id, token }, change.by).await?
        }
        None if force => {
            check_operator(&change.by.principal)?;
            if api.service.world(|world| !world.ledger.reservations.contains_key(&id)) {
                return Err(absent(id));
            }
            api.service.revoke_reservation(id, change.by).await?
        }
        Some(_) | None => {
            let detail = "name either `token`, or `force=true` in its owner's place";
            return Err(Problem::bad_request("malformed-query", detail));
        }
    };
    Ok(Json(done.into()))
}

/// Whether somebody may act in another's place: whoever could do all that the service does.
fn check_operator(principal: &Principal) -> Result<(), Problem> {
    let operators = [Uid::from_raw(0), Uid::effective()].map(|uid| format!("uid:{uid}"));
    if operators.iter().any(|operator| operator == principal.as_str()) {
        return Ok(());
    }
    let detail =
        format!("{principal} may not give up what is another's: only root and the service's own user may");
    Err(Problem::new(StatusCode::FORBIDDEN, "not-permitted", detail))
}
