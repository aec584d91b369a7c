//! What is let through and what is refused, each with its reason.

use std::{convert::Infallible, future, time::SystemTime};

use http::HeaderValue;
use tonic::{Code, Status};
use tower::{ServiceExt as _, service_fn};

use super::*;
use crate::identity::{Identity, IdentityName, KeyExchangeGroup};

fn peer(name: &str) -> Peer {
    let name = IdentityName::Spiffe(name.into());
    let (group, not_after) = (KeyExchangeGroup::X25519, SystemTime::now() + Duration::from_secs(60));
    let identity = Arc::new(Identity { name, certificate: [0; 32], group, not_after });
    Peer { identity, remote: ([127, 0, 0, 1], 1).into(), share: Arc::default() }
}

fn request(name: &str, path: &str) -> Request<()> {
    let mut request = Request::builder().uri(path).body(()).unwrap();
    request.extensions_mut().insert(peer(name));
    request.extensions_mut().insert(Arc::new(RequestId::try_from("id-1").unwrap()));
    request
}

const PATH: &str = "/kms.v1.Crypto/Encrypt";

/// Code, reason and wait of an answer; a good answer is `Code::Ok`.
fn read(response: &Response<Body>) -> (Code, Option<Reason>, Option<Duration>) {
    match Status::from_header_map(response.headers()) {
        None => (Code::Ok, None, None),
        Some(status) => {
            let refusal = refusal::read(&status);
            assert_eq!(refusal.request_id.as_deref(), refusal.reason.map(|_| "id-1"));
            (status.code(), refusal.reason, refusal.retry_after)
        }
    }
}

async fn ask(limits: &Limits, request: Request<()>) -> (Code, Option<Reason>, Option<Duration>) {
    let answers = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
    read(&limits.layer(answers).oneshot(request).await.unwrap())
}

async fn ask_forever(limits: &Limits, request: Request<()>) -> (Code, Option<Reason>, Option<Duration>) {
    let waits = service_fn(|_| future::pending::<Result<Response<Body>, Infallible>>());
    read(&limits.layer(waits).oneshot(request).await.unwrap())
}

#[tokio::test]
async fn a_call_within_the_limits_passes() {
    let limits = Limits::new(Options::default());
    assert_eq!(ask(&limits, request("a", PATH)).await.0, Code::Ok);
    assert_eq!(limits.in_flight(), 0);
}

#[tokio::test]
async fn a_call_without_an_identity_is_refused() {
    let limits = Limits::new(Options::default());
    let mut nobody = request("a", PATH);
    nobody.extensions_mut().remove::<Peer>();
    assert_eq!(ask(&limits, nobody).await, (Code::Unauthenticated, Some(Reason::IdentityMissing), None));
}

#[tokio::test]
async fn an_identity_over_its_rate_is_told_when_to_come_back_and_others_are_not_touched() {
    let limits = Limits::new(Options { calls: Rate::new(1, 2), ..Options::default() });
    assert_eq!(ask(&limits, request("a", PATH)).await.0, Code::Ok);
    assert_eq!(ask(&limits, request("a", PATH)).await.0, Code::Ok);
    let (code, reason, wait) = ask(&limits, request("a", PATH)).await;
    assert_eq!((code, reason), (Code::ResourceExhausted, Some(Reason::RateLimited)));
    assert!(wait.unwrap() > Duration::ZERO && wait.unwrap() <= Duration::from_secs(1), "{wait:?}");
    assert_eq!(ask(&limits, request("b", PATH)).await.0, Code::Ok);
}

#[tokio::test]
async fn calls_over_the_cap_are_refused_and_health_is_not() {
    let limits = Limits::new(Options { in_flight: 1, ..Options::default() });
    let waits = service_fn(|_| future::pending::<Result<Response<Body>, Infallible>>());
    let mut service = limits.layer(waits);
    let held = service.call(request("a", PATH));
    assert_eq!(limits.in_flight(), 1);
    assert_eq!(
        ask(&limits, request("a", PATH)).await,
        (Code::Unavailable, Some(Reason::Overloaded), Some(ROOM_AGAIN))
    );
    assert_eq!(ask(&limits, request("a", "/grpc.health.v1.Health/Check")).await.0, Code::Ok);
    drop(held);
    assert_eq!(limits.in_flight(), 0, "a call that its caller gave up is no longer in hand");
    assert_eq!(ask(&limits, request("a", PATH)).await.0, Code::Ok);
}

#[tokio::test]
async fn a_change_is_in_hand_until_its_task_ends_though_its_caller_left() {
    let limits = Limits::new(Options::default());
    let (sender, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let mut service = limits.layer(service_fn(move |mut request: Request<()>| {
        sender.send(request.extensions_mut().remove::<Held>()).unwrap();
        future::pending::<Result<Response<Body>, Infallible>>()
    }));
    drop(service.call(request("a", PATH)));
    assert!(taken.recv().await.unwrap().is_none(), "what changes nothing ends with its caller");
    assert_eq!(limits.in_flight(), 0);
    drop(service.call(request("a", "/kms.v1.Keys/DestroyKey")));
    let held = taken.recv().await.unwrap();
    assert_eq!((held.is_some(), limits.in_flight()), (true, 1));
    drop(held);
    assert_eq!(limits.in_flight(), 0);
}

#[tokio::test]
async fn one_identity_never_takes_the_places_of_others() {
    let limits = Limits::new(Options { in_flight: 4, in_flight_per_identity: 1, ..Options::default() });
    let mut service = limits.layer(service_fn(|_| future::pending::<Result<Response<Body>, Infallible>>()));
    // Two connections of one identity share what it holds.
    let share = peer("a").share;
    let asked = |path| {
        let mut asked = request("a", path);
        asked.extensions_mut().get_mut::<Peer>().unwrap().share = Arc::clone(&share);
        asked
    };
    let held = service.call(asked(PATH));
    let refused = (Code::ResourceExhausted, Some(Reason::RateLimited), Some(ROOM_AGAIN));
    assert_eq!(ask(&limits, asked(PATH)).await, refused);
    assert_eq!(ask(&limits, asked("/grpc.health.v1.Health/Check")).await.0, Code::Ok);
    assert_eq!(ask(&limits, request("b", PATH)).await.0, Code::Ok);
    drop(held);
    assert_eq!(ask(&limits, asked(PATH)).await.0, Code::Ok);
    assert_eq!(limits.in_flight(), 0);
}

#[tokio::test]
async fn a_draining_server_takes_no_new_call() {
    let limits = Limits::new(Options::default());
    limits.drain();
    assert_eq!(
        ask(&limits, request("a", PATH)).await,
        (Code::Unavailable, Some(Reason::ShuttingDown), Some(SERVER_AGAIN))
    );
}

#[tokio::test]
async fn the_layers_fit_around_a_tonic_server() {
    let limits = Limits::new(Options::default());
    let health = crate::rpc::health::HealthState::new().service();
    let server = tonic::transport::Server::builder()
        .layer(crate::rpc::request_id::RequestIdLayer)
        .layer(limits)
        .add_service(health);
    // That it compiles is the claim; it is never polled.
    drop(server.serve(([127, 0, 0, 1], 0).into()));
}

#[test]
fn the_deadline_is_the_servers_or_the_callers_if_that_is_sooner() {
    let limits = Limits::new(Options { deadline: Duration::from_secs(5), ..Options::default() });
    for (asked, expected) in [("", 5_000), ("1S", 997), ("4m", 2), ("9H", 5_000), ("5000m", 4_997)] {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", HeaderValue::from_static(asked));
        assert_eq!(limits.deadline(&headers), Duration::from_millis(expected), "{asked}");
    }
}

#[tokio::test]
async fn a_call_that_takes_longer_than_its_deadline_ends_with_a_reason() {
    let limits = Limits::new(Options { deadline: Duration::from_millis(5), ..Options::default() });
    let answer = ask_forever(&limits, request("a", PATH)).await;
    assert_eq!(answer, (Code::DeadlineExceeded, Some(Reason::DeadlineExceeded), None));
    assert_eq!(limits.in_flight(), 0);
}

#[test]
fn a_timeout_is_read_as_grpc_writes_it() {
    let read = |text: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", HeaderValue::from_static(text));
        grpc_timeout(&headers)
    };
    assert_eq!(read("250m"), Some(Duration::from_millis(250)));
    assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
    assert_eq!(read("7u"), Some(Duration::from_micros(7)));
    for odd in ["", "S", "1", "1x", "123456789S", "-1S", "+1S", "1.5S"] {
        assert_eq!(read(odd), None, "{odd}");
    }
}
