//! Requests as they are answered.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use metrics::{counter, histogram};
use purser_actors::metric;

/// Counts one request. The route is a pattern, never a path: paths hold names, and would be series without end.
pub fn count(method: &Method, route: &str, status: StatusCode, elapsed: Duration) {
    let (route, method) = (route.to_owned(), word(method));
    let status = status.as_u16().to_string();
    let labels = [("route", route.clone()), ("method", method.to_owned()), ("status", status)];
    counter!(metric::API_REQUESTS.name, &labels).increment(1);
    let labels = [("route", route), ("method", method.to_owned())];
    histogram!(metric::API_SECONDS.name, &labels).record(elapsed.as_secs_f64());
}

/// The method; those that nothing here takes are one word, for the same reason.
fn word(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        _ => "other",
    }
}
