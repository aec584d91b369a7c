//! What the layers around each call cost: the same service bare, with limits, and with limits and a request id.
//!
//! `cargo bench -p kms-server --bench limits`. The goal for all layers together is under 0.5 µs.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use criterion::{Criterion, criterion_group, criterion_main};
use http::{Request, Response};
use kms_server::{
    identity::{Identity, IdentityName, KeyExchangeGroup},
    rate::{PerIdentity, Rate},
    rpc::{
        limits::{Limits, Options},
        request_id::RequestIdLayer,
    },
    tls::Peer,
};
use rustix::time::{ClockId, clock_gettime};
use tonic::body::Body;
use tower::{Layer as _, Service};

#[derive(Clone)]
struct Bare;

impl Service<Request<()>> for Bare {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(Body::empty())))
    }
}

fn request() -> Request<()> {
    let identity = Identity {
        name: IdentityName::Spiffe("spiffe://dev.local/attendance".into()),
        certificate: [0; 32],
        group: KeyExchangeGroup::X25519MlKem768,
        not_after: SystemTime::now(),
    };
    let mut request = Request::new(());
    request.extensions_mut().insert(Peer {
        identity: Arc::new(identity),
        remote: ([127, 0, 0, 1], 1).into(),
        share: Arc::default(),
    });
    request
}

fn layers(criterion: &mut Criterion) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
    let endless = Rate::new(1_000_000_000, 1_000_000_000);
    let limits = Limits::new(Options { calls: endless, ..Options::default() });
    let asked = request();

    macro_rules! bench {
        ($name:literal, $service:expr) => {
            let mut service = $service;
            criterion.bench_function($name, |bencher| {
                bencher.iter_custom(|calls| {
                    runtime.block_on(async {
                        let start = cpu();
                        for _ in 0..calls {
                            black_box(service.call(black_box(asked.clone())).await).ok();
                        }
                        cpu() - start
                    })
                });
            });
        };
    }
    bench!("call, bare", Bare);
    bench!("call, limits", limits.layer(Bare));
    bench!("call, limits and request id", RequestIdLayer.layer(limits.layer(Bare)));

    let few = Limits::new(Options { calls: Rate::new(1, 1), ..Options::default() });
    bench!("call, refused", few.layer(Bare));

    let rates = PerIdentity::new(endless);
    let name = IdentityName::Spiffe("spiffe://dev.local/attendance".into());
    criterion.bench_function("rate of one identity", |bencher| {
        bencher.iter_custom(|calls| {
            let start = cpu();
            for _ in 0..calls {
                black_box(rates.take(black_box(&name))).ok();
            }
            cpu() - start
        });
    });
}

/// CPU time of this thread: what counts on a machine that others use too.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

criterion_group!(benches, layers);
criterion_main!(benches);
