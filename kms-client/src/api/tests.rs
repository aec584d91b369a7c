//! Calls against a key centre in memory: retries, deadlines, ids.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use kms_proto::{refusal, v1};
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
    let change_ids = || {
        let asked = scene.faults().asked::<v1::CreateTenantRequest>();
        asked.into_iter().map(|asked| asked.request_id).collect::<Vec<_>>()
    };
    scene.fail([refuse(Reason::Overloaded, None), refuse(Reason::ShuttingDown, None)]);
    scene.kms.create_tenant(&"globex".parse().unwrap(), CreateTenant::default()).await.unwrap();
    for ids in [change_ids(), scene.faults().request_ids()] {
        assert_eq!(ids.len(), 3);
        assert!(ids.iter().all(|id| *id == ids[0] && !id.is_empty()), "{ids:?}");
    }
    let other = uuid::Uuid::new_v4();
    let change = Change { request_id: Some(other), ..Change::default() };
    let how = CreateTenant { change, ..CreateTenant::default() };
    scene.kms.create_tenant(&"initech".parse().unwrap(), how).await.unwrap();
    assert_eq!(change_ids().last().unwrap(), &other.to_string());
}

#[tokio::test]
async fn a_denial_is_not_tried_again_and_names_the_request() {
    let scene = scene();
    scene.fail([refuse(Reason::KeyNotAccessible, None)]);
    let error = scene.kms.generate_random(1).await.unwrap_err();
    assert_eq!((error.reason(), error.exit_code()), (Some(Reason::KeyNotAccessible), 5));
    assert_eq!(scene.kms.server_calls(), 1);
    assert_eq!(error.request_id(), Some(scene.faults().request_ids()[0].as_str()));
}

#[tokio::test]
async fn a_limited_caller_waits_as_long_as_it_is_told() {
    let scene = scene();
    let wait = Duration::from_millis(300);
    scene.fail([refuse(Reason::RateLimited, Some(wait))]);
    let start = Instant::now();
    scene.kms.generate_random(1).await.unwrap();
    assert!(start.elapsed() >= wait);
    assert_eq!(scene.kms.server_calls(), 2);
}

#[tokio::test]
async fn no_try_starts_after_the_deadline() {
    let scene = scene_with(|builder| builder.deadline(Duration::from_secs(2)));
    scene.fail([refuse(Reason::RateLimited, Some(Duration::from_secs(60)))]);
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
    scene.fail(failures);
    let error = scene.kms.generate_random(1).await.unwrap_err();
    assert_eq!((error.reason(), scene.kms.server_calls()), (Some(Reason::Overloaded), 6));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_at_the_deadline() {
    let scene = scene_with(|builder| builder.deadline(Duration::from_millis(300)));
    scene.hold_calls();
    let error = scene.kms.generate_random(1).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert_eq!(scene.kms.server_calls(), 1);
    scene.release_calls();
}

#[tokio::test]
async fn a_list_runs_over_all_pages() {
    let scene = scene();
    let mut names: Vec<_> = (0..250).map(|n| format!("t{n:03}")).collect();
    names.iter().for_each(|name| scene.centre.create_tenant(name).unwrap());
    names.insert(0, TENANT.into());
    let tenants: Vec<_> = scene.kms.list_tenants().try_collect().await.unwrap();
    assert!(tenants.iter().map(|tenant| tenant.name.as_str()).eq(names));
    assert_eq!(scene.kms.server_calls(), 3);
}

#[tokio::test]
async fn an_answer_with_an_unknown_state_is_an_error_not_a_guess() {
    let scene = scene();
    scene.faults().twist(|tenant: &mut v1::Tenant| tenant.state = v1::LifecycleState::Unspecified.into());
    let error = scene.kms.describe_tenant(&TENANT.parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, Error::Answer { what: "an unknown state", .. }), "{error}");
    assert_eq!(error.exit_code(), 1);
}
