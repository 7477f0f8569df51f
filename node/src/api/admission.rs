//! What every request passes before it is handled: who it is from, how many there may be, and the count of it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, SizeHint};
use purser_actors::port::Ids;
use purser_events::Principal;
use tokio::sync::Semaphore;

use super::caller::{self, Caller, REQUEST_ID};
use super::problem::Problem;
use super::state::BODY_LEN_MAX;
use super::token::Tokens;
use crate::agents::Members;
use crate::metrics::request;

/// Callers that are remembered before those with a full allowance are forgotten.
const CALLERS_MAX: usize = 1_024;

/// Routes that are answered however many requests are open: whoever watches the service must see that it is full.
const WATCHED: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// How long the body of a refused request is waited for.
const DRAIN_WITHIN: Duration = Duration::from_secs(1);

/// Where a connection came in; says how its caller is known.
#[derive(Clone)]
pub enum Entrance {
    /// The unix socket: the kernel says who connected.
    Socket(Principal),
    /// TCP: each request must have a token.
    Tcp(Arc<Tokens>),
    /// The agents' socket: each request must have the token of a pool's member.
    Agents(Arc<Members>),
}

/// The gate before the routes.
pub struct Gate {
    ids: Arc<dyn Ids>,
    allowance: DefaultKeyedRateLimiter<Principal>,
    open: Arc<Semaphore>,
    /// Places among the open requests that one caller may take.
    share: usize,
    shares: Mutex<BTreeMap<Principal, Arc<Semaphore>>>,
    clock: DefaultClock,
}

/// How many requests there may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A second, of one caller, on average.
    pub per_second: NonZeroU32,
    /// At once, of one caller, after a pause.
    pub burst: NonZeroU32,
    /// Open at the same time, of all callers.
    pub open_max: NonZeroU32,
    /// Open at the same time, of one caller; half of all if it is not said.
    pub open_each: Option<NonZeroU32>,
}

impl Gate {
    /// A gate with these limits that draws names of conversations from `ids`.
    #[must_use]
    pub fn new(limits: Limits, ids: Arc<dyn Ids>) -> Gate {
        let quota = Quota::per_second(limits.per_second).allow_burst(limits.burst);
        let open_max = limits.open_max.get() as usize;
        Gate {
            ids,
            allowance: RateLimiter::keyed(quota),
            open: Arc::new(Semaphore::new(open_max)),
            share: limits.open_each.map_or(open_max.div_ceil(2), |each| each.get() as usize),
            shares: Mutex::default(),
            clock: DefaultClock::default(),
        }
    }

    fn identify(&self, request: &Request) -> Result<Caller, Problem> {
        let entrance = request.extensions().get::<Entrance>();
        let principal = match entrance.expect("every connection is given its entrance when it is accepted") {
            Entrance::Socket(principal) => principal.clone(),
            Entrance::Tcp(tokens) => principal_of_token(tokens, request.headers())?,
            Entrance::Agents(members) => members.principal(bearer(request.headers()))?,
        };
        let correlation = caller::correlation(request.headers(), self.ids.as_ref())?;
        Ok(Caller { principal, correlation })
    }

    fn check_rate(&self, principal: &Principal) -> Result<(), Problem> {
        if self.allowance.len() > CALLERS_MAX {
            self.allowance.retain_recent();
        }
        self.allowance.check_key(principal).map_err(|refused| {
            let wait = refused.wait_time_from(self.clock.now());
            let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            let detail = "the caller's allowance is used up; wait, or raise `api.requests-per-second`";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", detail).retry_after(ms)
        })
    }

    /// Takes a place among the open requests, if the caller's share and the whole have one left.
    fn take_place(&self, principal: &Principal) -> Result<Place, Problem> {
        let full = |detail| {
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-open-requests", detail).retry_after(1_000)
        };
        let of_caller = self.share_of(principal).try_acquire_owned().map_err(|_| {
            full("the caller has as many requests open as one may: half of `api.requests-open-max`")
        })?;
        let of_all = Arc::clone(&self.open)
            .try_acquire_owned()
            .map_err(|_| full("as many requests are open as `api.requests-open-max` allows"))?;
        Ok(Place { _of_caller: of_caller, _of_all: of_all })
    }

    fn share_of(&self, principal: &Principal) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if shares.len() > CALLERS_MAX {
            shares.retain(|_, share| share.available_permits() < self.share);
        }
        let share = shares.entry(principal.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.share)));
        Arc::clone(share)
    }
}

/// The token that a request shows, if it shows one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let shown = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ');
    shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim())
}

fn principal_of_token(tokens: &Tokens, headers: &HeaderMap) -> Result<Principal, Problem> {
    let name = bearer(headers).and_then(|token| tokens.name_of(token)).ok_or_else(|| {
        let detail = "send `Authorization: Bearer <token>` with a token of the node's token file";
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    })?;
    Ok(Principal::new(&format!("token:{name}")))
}

/// Lets a request in or refuses it, and counts it either way. To be layered around every route.
pub async fn admit(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let answer = match enter(&gate, &mut request, route.as_deref()) {
        Ok((caller, place)) => {
            let mut answer = next.run(request).await;
            let id = HeaderValue::from_str(&caller.correlation.to_string());
            answer.headers_mut().insert(REQUEST_ID, id.expect("a uuid is visible ASCII"));
            // An answer that streams counts as open until its last byte is sent.
            answer.map(|body| Body::new(Held { body, _until: place }))
        }
        Err(problem) => {
            drain(request).await;
            refuse(problem)
        }
    };
    request::count(&method, route.as_deref().unwrap_or("none"), answer.status(), begun.elapsed());
    answer
}

type Permit = tokio::sync::OwnedSemaphorePermit;

/// A place among the open requests.
struct Place {
    _of_caller: Permit,
    _of_all: Permit,
}

fn enter(
    gate: &Gate,
    request: &mut Request,
    route: Option<&str>,
) -> Result<(Caller, Option<Place>), Problem> {
    let caller = gate.identify(request)?;
    gate.check_rate(&caller.principal)?;
    let watched = route.is_some_and(|route| WATCHED.contains(&route));
    let place = if watched { None } else { Some(gate.take_place(&caller.principal)?) };
    request.extensions_mut().insert(caller.clone());
    Ok((caller, place))
}

/// Reads what a refused request has brought along: closed before it is read, the connection would break under a
/// caller that still writes, and the answer would be lost.
pub(super) async fn drain(request: Request) {
    let waits = request.headers().contains_key(header::EXPECT);
    let mut body = request.into_body();
    // One that asks first sends nothing, and one of unknown length may never end.
    if waits || body.size_hint().exact().is_none_or(|len| len > BODY_LEN_MAX as u64) {
        return;
    }
    let whole = async { while let Some(Ok(_)) = body.frame().await {} };
    if tokio::time::timeout(DRAIN_WITHIN, whole).await.is_err() {
        tracing::debug!("the body of a refused request did not come");
    }
}

/// A body that holds what its request has taken for as long as it is there.
pub(super) struct Held<P> {
    /// The body.
    pub(super) body: Body,
    /// What is given back when it has been sent.
    pub(super) _until: P,
}

impl<P: Unpin> hyper::body::Body for Held<P> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn refuse(problem: Problem) -> Response {
    let unauthorized = problem.status == StatusCode::UNAUTHORIZED.as_u16();
    let mut answer = problem.into_response();
    if unauthorized {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;
    use crate::adapter::clock::UuidV7;

    fn router(per_second: u32, burst: u32, open_max: u32) -> Router {
        let number = |value| NonZeroU32::new(value).unwrap();
        let limits = Limits {
            per_second: number(per_second),
            burst: number(burst),
            open_max: number(open_max),
            open_each: None,
        };
        let gate = Arc::new(Gate::new(limits, Arc::new(UuidV7)));
        let route = get(async |request: Request| {
            request.extensions().get::<Caller>().unwrap().principal.as_str().to_owned()
        });
        Router::new()
            .route("/", route.clone())
            .route("/healthz", route)
            .layer(axum::middleware::from_fn_with_state(gate, admit))
    }

    async fn ask(router: &Router, uid: u32) -> Response {
        ask_for(router, "/", uid).await
    }

    async fn ask_for(router: &Router, path: &str, uid: u32) -> Response {
        let mut request = Request::get(path).body(Body::empty()).unwrap();
        request.extensions_mut().insert(Entrance::Socket(Principal::new(&format!("uid:{uid}"))));
        router.clone().oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_caller_over_its_allowance_is_told_when_to_come_back() {
        let router = router(1, 2, 10);
        assert_eq!(ask(&router, 7).await.status(), 200);
        assert_eq!(ask(&router, 7).await.status(), 200);
        // In a second that passes meanwhile one more is allowed.
        let mut refused = ask(&router, 7).await;
        for _ in 0..10 {
            if refused.status() != 200 {
                break;
            }
            refused = ask(&router, 7).await;
        }
        assert_eq!(refused.status(), 429);
        assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
        assert_eq!(refused.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(ask(&router, 8).await.status(), 200, "another caller has its own allowance");
    }

    #[tokio::test]
    async fn an_answer_counts_as_open_until_it_is_read() {
        let router = router(100, 100, 1);
        let first = ask(&router, 7).await;
        assert_eq!(ask(&router, 7).await.status(), 429);
        first.into_body().collect().await.unwrap();
        assert_eq!(ask(&router, 7).await.status(), 200);
    }

    #[tokio::test]
    async fn one_caller_gets_half_of_the_places_and_who_watches_needs_none() {
        let router = router(100, 100, 4);
        let held = [ask(&router, 7).await, ask(&router, 7).await];
        assert_eq!(ask(&router, 7).await.status(), 429, "the caller's share is used up");
        let others = [ask(&router, 8).await, ask(&router, 8).await];
        for answer in held.iter().chain(&others) {
            assert_eq!(answer.status(), 200);
        }
        assert_eq!(ask(&router, 9).await.status(), 429, "all places are taken");
        assert_eq!(ask_for(&router, "/healthz", 7).await.status(), 200);
        drop(held);
        assert_eq!(ask(&router, 9).await.status(), 200);
        assert_eq!(ask(&router, 7).await.status(), 200);
    }
}
