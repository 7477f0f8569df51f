//! Advice from recorded use, over HTTP.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use purser_actors::service::ledger::name_of;
use purser_events::ledger::Advice;
use purser_events::ledger::HolderId;
use purser_events::ledger::advice::Subject;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::problem::Problem;
use crate::api::state::Api;

/// What recorded use gives reason to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdviceList {
    /// Each piece with the figures that led to it.
    pub items: Vec<AdviceView>,
}

/// One piece of advice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdviceView {
    /// Of whom, as it is called: `node`, `pool/<name>` or `<namespace>/<name>`.
    pub name: String,
    /// Subject, resource, sentence, windows looked at, kind, figures and certainty: see docs/advice.md.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub advice: Advice,
}

/// Says what recorded use gives reason to say: use far from a pod's own past, what will run out, and what is asked for
/// in vain.
///
/// # Errors
/// The journal cannot be read.
#[utoipa::path(get, path = "/v1/advice", tag = "resources", responses((status = 200, body = AdviceList)))]
pub async fn list(State(api): State<Api>) -> Result<Json<AdviceList>, Problem> {
    let service = api.service.clone();
    let found = tokio::task::spawn_blocking(move || service.advice()).await;
    let failed = |detail: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "advice-failed", detail);
    let advice =
        found.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    let items = api.service.world(|world| {
        let view = |advice: Advice| {
            let name = match &advice.subject {
                Subject::Node => "node".to_owned(),
                Subject::Pool(name) => format!("pool/{name}"),
                Subject::Pod(pod) => name_of(world, HolderId::Pod(*pod)),
            };
            AdviceView { name, advice }
        };
        advice.into_iter().map(view).collect()
    });
    Ok(Json(AdviceList { items }))
}
