//! Limits of a resource: how they are shown, and how they are put in force.

use axum::Json;
use axum::extract::State;
use purser_actors::service::ServiceError;
use purser_events::ledger::policy::Preset;
use purser_events::ledger::{LedgerRejection, Limits, ResourceKind, Usage};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::LedgerAccepted;
use super::body::wrong;
use super::resources::KindPath;
use crate::api::problem::Problem;
use crate::api::state::{Api, Change};
use crate::limits::Written;

/// Limits of a resource as they hold. Amounts are in the resource's unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitsView {
    /// Most of what is there that is used at all; all of it if null.
    pub hard: Option<u64>,
    /// From here on the resource counts as degraded.
    pub soft: Option<u64>,
    /// How much is given out of what is there, in percent.
    pub overcommit_percent: u32,
    /// What is kept for the system, in percent.
    pub reserve_percent: u32,
    /// What `soft` follows from, in percent of the hard limit, if it was not given as an amount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft_percent: Option<u32>,
}

impl LimitsView {
    /// The limits of a resource.
    #[must_use]
    pub fn of(limits: Limits, usage: Usage) -> LimitsView {
        let Limits { hard, overcommit_percent, reserve_percent, soft_percent, .. } = limits;
        let soft = limits.soft_of(usage.capacity);
        LimitsView { hard, soft, overcommit_percent, reserve_percent, soft_percent }
    }
}

/// Limits of a resource. What is absent has its default: no hard or soft limit, 100 and 0 percent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LimitsRequest {
    /// Most of what is there that is used at all, as in `64Gi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard: Option<String>,
    /// From here on the resource counts as degraded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft: Option<String>,
    /// How much is given out of what is there, in percent: 100 to 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overcommit_percent: Option<u32>,
    /// What is kept for the system, in percent of what is there: 0 to 90.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve_percent: Option<u32>,
    /// The soft limit in percent of the hard one, 1 to 100, in place of `soft`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_percent: Option<u32>,
}

impl<'a> From<&'a LimitsRequest> for Written<'a> {
    fn from(request: &'a LimitsRequest) -> Written<'a> {
        Written {
            hard: request.hard.as_deref(),
            soft: request.soft.as_deref(),
            overcommit_percent: request.overcommit_percent,
            reserve_percent: request.reserve_percent,
            soft_percent: request.soft_percent,
        }
    }
}

/// Puts limits of a resource in force. What is given out stays given.
#[utoipa::path(
    put, path = "/v1/resources/{kind}/limits", tag = "resources", request_body = LimitsRequest,
    params(("kind" = String, Path, description = "the resource; a slash in it is written %2F")),
    responses(
        (status = 200, description = "so it is", body = LedgerAccepted),
        (status = 404, description = "there is none", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "they cannot be", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn set_limits(
    State(api): State<Api>,
    KindPath(kind): KindPath,
    change: Change,
) -> Result<Json<LedgerAccepted>, Problem> {
    let request: LimitsRequest = change.required()?;
    let limits = read(&request, &kind)?;
    let done = api.service.set_limits(kind, limits, change.by).await;
    Ok(Json(done.map_err(|error| problem(error, |_, field| field.to_owned()))?.into()))
}

/// A named set of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PresetRequest {
    /// `conservative`, `moderate` or `aggressive`.
    #[schema(value_type = String)]
    pub preset: Preset,
}

/// Puts a named set of limits in force for processors, memory and disk. Their hard limits stay, and so does what is given
/// out.
#[utoipa::path(
    put, path = "/v1/policy/resources/preset", tag = "resources", request_body = PresetRequest,
    responses(
        (status = 200, description = "so it is", body = LedgerAccepted),
        (status = 422, description = "it cannot be", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn set_preset(
    State(api): State<Api>,
    change: Change,
) -> Result<Json<LedgerAccepted>, Problem> {
    let PresetRequest { preset } = change.required()?;
    let done = api.service.set_preset(preset, change.by).await;
    Ok(Json(done.map_err(|error| problem(error, |kind, field| format!("limits.{kind}.{field}")))?.into()))
}

fn read(request: &LimitsRequest, kind: &ResourceKind) -> Result<Limits, Problem> {
    let read = Written::from(request).read(kind);
    read.map_err(|errors| Problem::invalid(errors.all().map(|(field, error)| wrong(field, error))))
}

/// The answer to a change that was refused, with the field that is wrong; of limits `path` makes it of the resource and
/// the field of its limits.
pub(super) fn problem(error: ServiceError, path: impl Fn(&ResourceKind, &str) -> String) -> Problem {
    let field = match &error {
        ServiceError::Ledger(LedgerRejection::Limits { error }) => {
            let (kind, field) = error.place();
            Some(path(kind, field.unwrap_or_default()))
        }
        ServiceError::Ledger(LedgerRejection::BadPriority { .. }) => Some("defaultPriorityMax".to_owned()),
        ServiceError::Ledger(LedgerRejection::BadGrace { .. }) => Some("preemptionGraceS".to_owned()),
        _ => None,
    };
    let problem = Problem::from(error);
    match field {
        Some(field) => Problem { errors: [wrong(field, problem.detail.clone())].into(), ..problem },
        None => problem,
    }
}
