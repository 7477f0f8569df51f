//! What every route has in common, put into the description of each: headers that are taken, who may ask, and how
//! errors look.

use utoipa::Modify;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder, response::Response};

use super::problem::MEDIA_TYPE;

/// What the way in by a token is called.
const TOKEN: &str = "token";

/// Adds what all routes have in common.
pub(super) struct Common;

impl Modify for Common {
    fn modify(&self, api: &mut OpenApi) {
        let components = api.components.get_or_insert_default();
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme(TOKEN, scheme);
        // None is needed on the unix socket, where the kernel says who asks.
        api.security =
            Some(vec![SecurityRequirement::default(), SecurityRequirement::new(TOKEN, Vec::<String>::new())]);
    }
}

/// Adds what every operation takes and may answer.
pub(super) fn complete(api: &mut OpenApi) {
    for item in api.paths.paths.values_mut() {
        for (operation, changes) in [
            (&mut item.get, false),
            (&mut item.post, true),
            (&mut item.delete, true),
            (&mut item.put, true),
            (&mut item.patch, true),
        ] {
            if let Some(operation) = operation {
                complete_one(operation, changes);
            }
        }
    }
}

fn complete_one(operation: &mut Operation, changes: bool) {
    let parameters = operation.parameters.get_or_insert_default();
    parameters.push(header("X-Request-Id", "Names the conversation; comes back in the answer"));
    parameters.push(header(
        "traceparent",
        "Names the conversation if `X-Request-Id` is absent (W3C Trace Context)",
    ));
    if changes {
        parameters.push(header(
            "Idempotency-Key",
            "1 to 128 visible ASCII characters: a retry with the same key and the same request gets the first answer",
        ));
    }
    let responses = &mut operation.responses.responses;
    responses.entry("default".to_owned()).or_insert_with(|| RefOr::T(problem()));
}

fn header(name: &str, description: &str) -> RefOr<Parameter> {
    let header = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(utoipa::openapi::Required::False)
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build();
    RefOr::T(header)
}

fn problem() -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new()
        .description("any error: its `code` says which, see docs/api.md")
        .content(MEDIA_TYPE, content)
        .build()
}
