//! One identity that takes all it can: others must not notice.

use std::time::Duration;

use kms_proto::{reason::Reason, v1};
use kms_tests::{
    Api, Place,
    api::{KEY, TENANT, answer, context},
};
use tonic::{Request, client::Grpc, codegen::http::uri::PathAndQuery};
use tonic_prost::ProstCodec;

/// A call whose headers arrive and whose body never does.
async fn hold_open(api: &Api) {
    let mut grpc = Grpc::new(api.channel());
    grpc.ready().await.unwrap();
    let body = Request::new(tokio_stream::pending::<v1::EncryptRequest>());
    let path = PathAndQuery::from_static("/kms.v1.Crypto/Encrypt");
    let codec = ProstCodec::<v1::EncryptRequest, v1::EncryptResponse>::default();
    drop(grpc.client_streaming(body, path, codec).await);
}

async fn may_call(api: &Api) -> Result<(), Reason> {
    answer(api.audit().query_audit(v1::QueryAuditRequest::default()).await).map(drop)
}

#[tokio::test]
async fn calls_without_a_body_take_no_more_than_their_identitys_share() {
    let place = Place::new();
    let _server = place.start_with(&["--set", "limits.in_flight=8"]);
    let (operator, attendance) = Api::ground(&place).await;
    let hog = Api::of(&place, "compliance").await;
    let mut held = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let hog = hog.clone();
        // Refused, it tries again: it takes every place that it can.
        held.spawn(async move {
            loop {
                hold_open(&hog).await;
            }
        });
    }
    let refused = async { while may_call(&hog).await != Err(Reason::RateLimited) {} };
    tokio::time::timeout(Duration::from_secs(20), refused).await.unwrap();
    for _ in 0..20 {
        assert!(attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.is_ok());
        assert!(operator.describe_key(TENANT, KEY).await.is_ok());
    }
    held.shutdown().await;
    let served = async { while may_call(&hog).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), served).await.unwrap();
}
