//! What a decision costs: found in the cache, and evaluated.
//!
//! `cargo bench -p kms-server --bench policy`. The goal for a cached one is under 200 ns.

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use kms_core::{
    names::{KeyName, TenantName},
    state::KeyClass,
};
use kms_server::{
    identity::{IdentityName, KeyExchangeGroup},
    operation::Operation,
    policy::{EXAMPLES, Options, PolicyEngine, PolicyRequest, Resource},
};
use rustix::time::{ClockId, clock_gettime};

fn decisions(criterion: &mut Criterion) {
    let Ok(engine) = PolicyEngine::of(EXAMPLES, Options::default()) else { return };
    let (Ok(tenant), Ok(key)) = (TenantName::try_from("acme"), KeyName::try_from("attendance")) else {
        return;
    };
    let principal = IdentityName::Spiffe("spiffe://dev.local/attendance".into());
    let purposes: [Arc<str>; 0] = [];
    let request = |revision| PolicyRequest {
        principal: &principal,
        operation: Operation::Encrypt,
        resource: Resource::Key {
            tenant: &tenant,
            name: (&key).into(),
            class: KeyClass::L2,
            purposes: &purposes,
            key_revision: revision,
        },
        purpose: None,
        group: KeyExchangeGroup::X25519MlKem768,
        window: Duration::ZERO,
    };

    criterion.bench_function("decide, cached", |bencher| {
        measure(bencher, || engine.decide(black_box(&request(0))));
    });
    let mut revision = 0;
    criterion.bench_function("decide, evaluated", |bencher| {
        measure(bencher, || {
            revision += 1;
            engine.decide(black_box(&request(revision)))
        });
    });
    criterion.bench_function("explain", |bencher| {
        measure(bencher, || engine.explain(black_box(&request(0))));
    });
}

/// As above with 1,000 tenants that have two policies each: shards keep an evaluation from growing with them.
fn many_tenants(criterion: &mut Criterion) {
    let mut policies = String::new();
    for tenant in 0..1_000 {
        for action in ["seals", "opens"] {
            policies += &format!(
                "@id(\"t{tenant}-{action}\") @says(\"a service of one tenant {action}\") permit (principal == \
                 Service::\"spiffe://dev.local/s{tenant}\", action in Action::\"{action}\", resource in \
                 Tenant::\"t{tenant}\");\n"
            );
        }
    }
    let Ok(engine) = PolicyEngine::of(&[("many.cedar", &policies)], Options::default()) else { return };
    let (Ok(tenant), Ok(key)) = (TenantName::try_from("t77"), KeyName::try_from("k")) else { return };
    let principal = IdentityName::Spiffe("spiffe://dev.local/s77".into());
    let mut key_revision = 0;
    criterion.bench_function("decide, evaluated among 2,000 policies", |bencher| {
        measure(bencher, || {
            key_revision += 1;
            let resource = Resource::Key {
                tenant: &tenant,
                name: (&key).into(),
                class: KeyClass::L2,
                purposes: &[],
                key_revision,
            };
            engine.decide(black_box(&PolicyRequest {
                principal: &principal,
                operation: Operation::Encrypt,
                resource,
                purpose: None,
                group: KeyExchangeGroup::X25519,
                window: Duration::ZERO,
            }))
        });
    });
}

fn measure<T>(bencher: &mut Bencher<'_>, mut call: impl FnMut() -> T) {
    bencher.iter_custom(|calls| {
        let start = cpu();
        for _ in 0..calls {
            black_box(call());
        }
        cpu() - start
    });
}

/// CPU time of this thread: what counts on a machine that others use too.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

criterion_group!(benches, decisions, many_tenants);
criterion_main!(benches);
