//! Every route, each described where it is handled: a route without a description cannot be added.

use std::sync::Arc;

use axum::http::{Method, StatusCode, Uri};
use axum::{Json, Router};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::admission::{Gate, admit};
use super::description::{self, Common};
use super::ledger::{advice, gate, limits, reservations, resources, tenants};
use super::pools::{log as task_log, routes as pool_routes, task_routes};
use super::problem::Problem;
use super::state::Api;
use super::{
    exec, export, feed, gpu, gpus, history, images, logs, node, pods, processes, projections, resize,
    violations,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Purser",
        description = "Runs and watches pods on one node, and remembers every state transition.",
        license(name = "MIT OR Apache-2.0")
    ),
    components(schemas(Problem)),
    modifiers(&Common),
    tags(
        (name = "pods", description = "Pods and what runs in them"),
        (name = "resources", description = "What the node gives out, and by which rules"),
        (name = "tenants", description = "Who may have how much, and ask how often"),
        (name = "reservations", description = "What is kept for somebody"),
        (name = "pools", description = "Pods with slots, as many as are needed"),
        (name = "tasks", description = "What is done in the slots of pools"),
        (name = "images", description = "What containers are made of"),
        (name = "journal", description = "What happened"),
        (name = "node", description = "The node itself"),
        (name = "probes", description = "For whatever watches the service")
    )
)]
struct Description;

fn described() -> OpenApiRouter<Api> {
    let mut routes = routes();
    description::complete(routes.get_openapi_mut());
    routes
}

fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(pods::apply, pods::list))
        .routes(routes!(pods::show, pods::delete))
        .routes(routes!(pods::stop))
        .routes(routes!(pods::start))
        .routes(routes!(resize::resize))
        .routes(routes!(logs::log))
        .routes(routes!(exec::exec))
        .routes(routes!(resources::resources))
        .routes(routes!(gpus::gpus))
        .routes(routes!(gpu::show))
        .routes(routes!(gpu::cordon))
        .routes(routes!(gpu::uncordon))
        .routes(routes!(gpu::drain))
        .routes(routes!(gpu::forget))
        .routes(routes!(gpu::policy, gpu::set_policy))
        .routes(routes!(processes::show))
        .routes(routes!(limits::set_limits))
        .routes(routes!(resources::stop))
        .routes(routes!(resources::start))
        .routes(routes!(resources::policy, resources::set_policy))
        .routes(routes!(limits::set_preset))
        .routes(routes!(tenants::list))
        .routes(routes!(tenants::show, tenants::set, tenants::remove))
        .routes(routes!(reservations::reserve, reservations::list))
        .routes(routes!(reservations::show, reservations::cancel))
        .routes(routes!(pool_routes::list))
        .routes(routes!(pool_routes::show, pool_routes::set, pool_routes::remove))
        .routes(routes!(pool_routes::unfreeze))
        .routes(routes!(task_routes::submit))
        .routes(routes!(task_routes::list))
        .routes(routes!(task_routes::show))
        .routes(routes!(task_routes::confirm))
        .routes(routes!(task_routes::discard))
        .routes(routes!(task_routes::cancel))
        .routes(routes!(task_log::log))
        .routes(routes!(images::load))
        .routes(routes!(feed::events))
        .routes(routes!(export::export))
        .routes(routes!(history::history))
        .routes(routes!(advice::list))
        .routes(routes!(projections::list))
        .routes(routes!(projections::rebuild))
        .routes(routes!(violations::list))
        .routes(routes!(violations::policy, violations::set_policy))
        .routes(routes!(node::status))
        .routes(routes!(node::cordon))
        .routes(routes!(node::uncordon))
        .routes(routes!(node::healthz))
        .routes(routes!(node::readyz))
        .routes(routes!(node::metrics))
}

/// The description of every route, as OpenAPI 3.1.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    described().into_openapi()
}

/// The routes behind the gate.
pub fn router(api: Api, passed: Arc<Gate>) -> Router {
    let (router, description) = described().split_for_parts();
    // The description of the description would describe itself: it is the one route without.
    let description = Arc::new(description);
    let serve = axum::routing::get(async move || Json(Arc::unwrap_or_clone(description)));
    router
        .route("/openapi.json", serve)
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(api.clone(), gate::limit))
        .layer(axum::middleware::from_fn_with_state(passed, admit))
        .with_state(api)
}

async fn no_such_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(256).collect();
    let detail = format!("`{path}` is no path of this API; see /openapi.json");
    Problem::new(StatusCode::NOT_FOUND, "no-such-route", detail)
}

async fn method_not_allowed(method: Method) -> Problem {
    let detail = format!("{method} is not taken here; see /openapi.json");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_can_be_retried_and_every_route_can_fail() {
        let description = serde_json::to_value(openapi()).unwrap();
        assert_eq!(description["components"]["securitySchemes"]["token"]["scheme"], "bearer");
        for (path, methods) in description["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let takes = |name: &str| {
                    let parameters = operation["parameters"].as_array();
                    parameters.is_some_and(|all| all.iter().any(|parameter| parameter["name"] == name))
                };
                assert!(takes("X-Request-Id"), "{method} {path}");
                assert_eq!(takes("Idempotency-Key"), method != "get", "{method} {path}");
                assert!(operation["responses"]["default"].is_object(), "{method} {path}");
            }
        }
    }

    #[test]
    fn the_manual_names_every_route() {
        let page = include_str!("../../../docs/api.md");
        for (path, item) in openapi().paths.paths {
            let methods = [
                ("GET", item.get.is_some()),
                ("POST", item.post.is_some()),
                ("PUT", item.put.is_some()),
                ("DELETE", item.delete.is_some()),
                ("PATCH", item.patch.is_some()),
            ];
            for (method, _) in methods.iter().filter(|(_, there)| *there) {
                assert!(
                    page.contains(&format!("| `{method} {path}` |")),
                    "docs/api.md lacks `{method} {path}`"
                );
            }
        }
    }
}
