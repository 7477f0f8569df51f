//! Who asks, for which conversation, and whether it is a retry: read from the connection and the headers.

use axum::http::{HeaderMap, Method, Uri};
use purser_actors::port::Ids;
use purser_events::{CommandId, Principal};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::problem::Problem;

/// The header that names a request so that a retry gets the first answer.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The header that names the conversation, in the request and in the answer.
pub const REQUEST_ID: &str = "x-request-id";

/// Longest key or request id, in bytes.
const NAME_LEN_MAX: usize = 128;

/// Who makes a request and to which conversation it belongs; put into every request before it is handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// On whose behalf.
    pub principal: Principal,
    /// Everything that this request sets off has the same.
    pub correlation: Uuid,
}

/// Names a conversation: by `X-Request-Id`, or by the trace of `traceparent`, or anew.
///
/// # Errors
/// `X-Request-Id` is there and cannot be used.
pub fn correlation(headers: &HeaderMap, ids: &dyn Ids) -> Result<Uuid, Problem> {
    if let Some(text) = visible(headers, REQUEST_ID)? {
        return Ok(Uuid::try_parse(text).unwrap_or_else(|_| derived(&[b"request-id", text.as_bytes()])));
    }
    let trace = headers.get("traceparent").and_then(|value| value.to_str().ok()).and_then(trace_id);
    Ok(trace.unwrap_or_else(|| ids.uuid()))
}

/// The trace id of a W3C `traceparent`; one that is malformed counts as absent, as that standard says.
fn trace_id(text: &str) -> Option<Uuid> {
    let mut parts = text.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let hex = trace.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let fine = version.len() == 2 && version != "ff" && trace.len() == 32 && hex;
    fine.then(|| Uuid::try_parse(trace).ok()).flatten().filter(|id| !id.is_nil())
}

/// What a retry of a request has in common with the first try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The command's id: the caller's key, kept apart from the keys of other callers.
    pub id: CommandId,
    /// What was asked: another request with the same key is an error of the caller.
    pub fingerprint: [u8; 32],
}

/// The key of a request, if it has one.
///
/// # Errors
/// The header is there and cannot be used.
pub fn key(
    principal: &Principal,
    headers: &HeaderMap,
    method: &Method,
    uri: &Uri,
    body: &[u8],
) -> Result<Option<Key>, Problem> {
    let Some(text) = visible(headers, IDEMPOTENCY_KEY)? else { return Ok(None) };
    let id = CommandId(derived(&[b"idempotency-key", principal.as_str().as_bytes(), text.as_bytes()]));
    let query = uri.query().unwrap_or_default().as_bytes();
    let fingerprint = hash(&[method.as_str().as_bytes(), uri.path().as_bytes(), query, body]);
    Ok(Some(Key { id, fingerprint }))
}

fn visible<'headers>(headers: &'headers HeaderMap, name: &str) -> Result<Option<&'headers str>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| {
        (1..=NAME_LEN_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    });
    let wrong = || {
        let detail = format!("`{name}` must have 1 to {NAME_LEN_MAX} visible ASCII characters");
        Problem::bad_request("malformed-header", detail)
    };
    text.ok_or_else(wrong).map(Some)
}

/// Hashes parts such that no two lists of parts are the same bytes.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn derived(parts: &[&[u8]]) -> Uuid {
    let digest = hash(parts);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::adapter::clock::UuidV7;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    fn key_of(principal: &str, key: &'static str, body: &[u8]) -> Key {
        let headers = headers(&[(IDEMPOTENCY_KEY, key)]);
        let uri = Uri::from_static("/v1/pods?a=b");
        super::key(&Principal::new(principal), &headers, &Method::POST, &uri, body).unwrap().unwrap()
    }

    #[test]
    fn a_retry_has_the_same_key_and_another_request_another_fingerprint() {
        let first = key_of("uid:1", "k", b"x");
        assert_eq!(first, key_of("uid:1", "k", b"x"));
        assert_eq!(first.id, key_of("uid:1", "k", b"y").id);
        assert_ne!(first.fingerprint, key_of("uid:1", "k", b"y").fingerprint);
        assert_ne!(first.id, key_of("uid:2", "k", b"x").id);
    }

    #[test]
    fn keys_that_cannot_be_used_are_refused() {
        for value in ["", "with space", &"k".repeat(129)] {
            let mut map = HeaderMap::new();
            map.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(value).unwrap());
            let uri = Uri::from_static("/");
            assert!(super::key(&Principal::node(), &map, &Method::POST, &uri, b"").is_err(), "{value:?}");
        }
    }

    #[test]
    fn conversations_are_taken_from_the_headers() {
        let id = "0192f0c1-2a3b-7c4d-8e5f-001122334455";
        let of = |pairs: &[_]| correlation(&headers(pairs), &UuidV7).unwrap();
        assert_eq!(of(&[(REQUEST_ID, id)]).to_string(), id);
        assert_eq!(of(&[(REQUEST_ID, "order-7")]), of(&[(REQUEST_ID, "order-7")]));
        let trace = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")];
        assert_eq!(of(&trace).simple().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        for malformed in ["", "00-xyz-1-1", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
            assert_eq!(of(&[("traceparent", malformed)]).get_version_num(), 7, "{malformed}");
        }
    }
}
