//! Calls against a real listener: retries, deadlines, ids.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use kms_proto::refusal;
use tonic::Status;

use super::{Change, CreateTenant};
use crate::{
    Error, Reason,
    testing::{TENANT, scene, scene_with},
};

fn refuse(reason: Reason, wait: Option<Duration>) -> Status {
    refusal::status(reason, "words", None, wait)
}

#[tokio::test]
async fn a_change_is_tried_again_under_the_same_ids() {
    let scene = scene();
    let state = &scene.server.state;
    state.failures.lock().extend([refuse(Reason::Overloaded, None), refuse(Reason::ShuttingDown, None)]);
    scene.kms.create_tenant(&TENANT.parse().unwrap(), CreateTenant::default()).await.unwrap();
    for ids in [state.change_ids.lock().clone(), state.request_ids.lock().clone()] {
        assert_eq!(ids.len(), 3);
        assert!(ids.iter().all(|id| *id == ids[0] && !id.is_empty()), "{ids:?}");
    }
    let other = uuid::Uuid::new_v4();
    let change = Change { request_id: Some(other), ..Change::default() };
    let how = CreateTenant { change, ..CreateTenant::default() };
    scene.kms.create_tenant(&TENANT.parse().unwrap(), how).await.unwrap();
    assert_eq!(state.change_ids.lock().last().unwrap(), &other.to_string());
}

#[tokio::test]
async fn a_denial_is_not_tried_again_and_names_the_request() {
    let scene = scene();
    scene.server.state.failures.lock().push_back(refuse(Reason::KeyNotAccessible, None));
    let error = scene.kms.generate_random(1).await.unwrap_err();
    assert_eq!((error.reason(), error.exit_code()), (Some(Reason::KeyNotAccessible), 5));
    assert_eq!(scene.kms.server_calls(), 1);
    assert_eq!(error.request_id(), Some(scene.server.state.request_ids.lock()[0].as_str()));
}

#[tokio::test]
async fn a_limited_caller_waits_as_long_as_it_is_told() {
    let scene = scene();
    let wait = Duration::from_millis(300);
    scene.server.state.failures.lock().push_back(refuse(Reason::RateLimited, Some(wait)));
    let start = Instant::now();
    scene.kms.generate_random(1).await.unwrap();
    assert!(start.elapsed() >= wait);
    assert_eq!(scene.kms.server_calls(), 2);
}

#[tokio::test]
async fn no_try_starts_after_the_deadline() {
    let scene = scene_with(|builder| builder.deadline(Duration::from_secs(2)));
    scene.server.state.failures.lock().push_back(refuse(Reason::RateLimited, Some(Duration::from_secs(60))));
    let start = Instant::now();
    let error = scene.kms.generate_random(1).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(2), "it does not wait in vain");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(60)));
    assert_eq!(scene.kms.server_calls(), 1);
}

#[tokio::test]
async fn tries_are_bounded() {
    let scene = scene();
    let failures = std::iter::repeat_with(|| refuse(Reason::Overloaded, None)).take(20);
    scene.server.state.failures.lock().extend(failures);
    let error = scene.kms.generate_random(1).await.unwrap_err();
    assert_eq!((error.reason(), scene.kms.server_calls()), (Some(Reason::Overloaded), 6));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_at_the_deadline() {
    let scene = scene_with(|builder| builder.deadline(Duration::from_millis(300)));
    scene.server.state.open.send_replace(false);
    let error = scene.kms.generate_random(1).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert_eq!(scene.kms.server_calls(), 1);
    scene.server.state.open.send_replace(true);
}

#[tokio::test]
async fn a_list_runs_over_all_pages() {
    let scene = scene();
    let tenants: Vec<_> = scene.kms.list_tenants().try_collect().await.unwrap();
    let names: Vec<_> = tenants.iter().map(|tenant| tenant.name.as_str()).collect();
    assert_eq!(names, ["t0", "t1", "t2", "t3", "t4", "t5"]);
    assert_eq!(scene.kms.server_calls(), 3);
}

#[tokio::test]
async fn an_answer_with_an_unknown_state_is_an_error_not_a_guess() {
    let scene = scene();
    let error = scene.kms.describe_tenant(&TENANT.parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, Error::Answer { what: "an unknown state", .. }), "{error}");
    assert_eq!(error.exit_code(), 1);
}
