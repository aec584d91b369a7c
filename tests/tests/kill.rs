//! `kill -9` at random, 200 times, under creates, rotations and destroys by concurrent operators.
//!
//! A model holds what was acknowledged. After each restart it must be there, wholly; of what was under way at the kill either all or
//! nothing is there, and the same request, sent again, does the rest once; what was destroyed opens never again.
//!
//! `KMS_SEED` repeats a run's choices (not its timing), `KMS_KILLS` makes it longer or shorter.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "where a test's setting up fails, the test has failed"
)]

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use kms_proto::{reason::Reason, refusal, v1};
use kms_server::audit::{self, VerifyOptions};
use kms_tests::{
    Api, Place,
    api::{context, destroy, fresh},
};
use tokio::sync::watch;
use tonic::{Response, Status};

const KILLS: u64 = 200;
/// Operators at work at once: two identities, two tasks each.
const WORKERS: usize = 4;
const MOST_KEYS: usize = 3;
/// Living and destroyed; then the tenant goes, so that a look at everything stays short.
const MOST_KEYS_EVER: usize = 5;
const MOST_LIVE: usize = 4;

/// splitmix64 (Steele, Lea, Flood, OOPSLA 2014): repeatable, and that is all it must be.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// A key version as it was acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Version {
    live: bool,
    /// What it sealed, while it was the active one.
    sealed: Option<Vec<u8>>,
}

/// Versions by number.
type Key = BTreeMap<u32, Version>;

/// One tenant and its keys; each worker has one of its own and never meets another's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tenant {
    name: String,
    exists: bool,
    destroyed: bool,
    keys: BTreeMap<String, Key>,
}

/// A request, kept until its reply has come.
#[derive(Debug, Clone)]
enum Step {
    CreateTenant(v1::CreateTenantRequest),
    CreateKey(v1::CreateKeyRequest),
    Rotate(v1::RotateKeyRequest),
    Destroy(v1::DestroyKeyRequest),
    DestroyTenant(v1::DestroyTenantRequest),
}

/// `None`: the connection ended before the reply.
fn acknowledged<T>(called: Result<Response<T>, Status>) -> Option<T> {
    match called {
        Ok(response) => Some(response.into_inner()),
        Err(status) => {
            let reason = refusal::read(&status).reason;
            assert_eq!(reason, None, "refused: {status:?}");
            None
        }
    }
}

impl Tenant {
    fn next(worker: usize, generation: u64) -> Self {
        Self { name: format!("w{worker}-{generation}"), ..Self::default() }
    }

    fn choose(&self, dice: &mut Dice) -> Step {
        let (tenant, request_id) = (self.name.clone(), fresh());
        if !self.exists {
            return Step::CreateTenant(v1::CreateTenantRequest { request_id, tenant, label: String::new() });
        }
        let living: Vec<_> = self.keys.iter().filter(|(_, key)| live(key).count() > 0).collect();
        if living.is_empty() || living.len() < MOST_KEYS && dice.roll(4) == 0 {
            let key = format!("key-{}", self.keys.len());
            return Step::CreateKey(v1::CreateKeyRequest {
                request_id,
                tenant,
                key,
                ..v1::CreateKeyRequest::default()
            });
        }
        if dice.roll(60) == 0 || self.keys.len() > MOST_KEYS_EVER {
            let reason = v1::DestroyReason::Test.into();
            return Step::DestroyTenant(v1::DestroyTenantRequest {
                request_id,
                tenant,
                reason,
                ..v1::DestroyTenantRequest::default()
            });
        }
        let (name, key) = living[dice.roll(living.len() as u64) as usize];
        let numbers: Vec<u32> = live(key).collect();
        match dice.roll(10) {
            0 => Step::Destroy(destroy(&tenant, name, None)),
            roll if roll < 5 || numbers.len() > MOST_LIVE => {
                let any = numbers[dice.roll(numbers.len() as u64) as usize];
                let force = true;
                Step::Destroy(v1::DestroyKeyRequest { force, ..destroy(&tenant, name, Some(any)) })
            }
            _ => Step::Rotate(v1::RotateKeyRequest {
                request_id,
                tenant,
                key: name.clone(),
                ..v1::RotateKeyRequest::default()
            }),
        }
    }

    /// The tenant as it is once the step was done.
    fn after(&self, step: &Step) -> Self {
        let mut after = self.clone();
        match step {
            Step::CreateTenant(_) => after.exists = true,
            Step::CreateKey(message) => {
                after.keys.insert(message.key.clone(), BTreeMap::from([(1, fresh_version())]));
            }
            Step::Rotate(message) => {
                let key = after.keys.get_mut(&message.key).unwrap();
                let number = key.len() as u32 + 1;
                key.insert(number, fresh_version());
            }
            Step::Destroy(message) => {
                let key = after.keys.get_mut(&message.key).unwrap();
                let all = key.iter_mut().filter(|(number, _)| match message.target {
                    Some(v1::destroy_key_request::Target::Version(one)) => **number == one,
                    _ => true,
                });
                all.for_each(|(_, version)| version.live = false);
            }
            Step::DestroyTenant(_) => {
                after.destroyed = true;
                after.keys.values_mut().flat_map(Key::values_mut).for_each(|version| version.live = false);
            }
        }
        after
    }

    /// Tenant and keys as the server describes them, with what was sealed filled in from the model.
    async fn observed(&self, operator: &Api) -> Self {
        let mut seen = Self { name: self.name.clone(), ..Self::default() };
        let message = v1::DescribeTenantRequest { tenant: self.name.clone() };
        match operator.keys().describe_tenant(message).await {
            Ok(tenant) => {
                seen.exists = true;
                seen.destroyed = is_destroyed(tenant.into_inner().state());
            }
            Err(status) => {
                assert_eq!(kms_tests::api::reason(&status), Reason::TenantNotAccessible);
                return seen;
            }
        }
        let message = v1::ListKeysRequest {
            tenant: self.name.clone(),
            page_size: 1_000,
            ..v1::ListKeysRequest::default()
        };
        for listed in operator.keys().list_keys(message).await.unwrap().into_inner().keys {
            let described = operator.describe_key(&self.name, &listed.name).await.unwrap();
            let known = self.keys.get(&listed.name);
            let version = |version: &v1::KeyVersion| {
                let live = !is_destroyed(version.state());
                let known = known.and_then(|key| key.get(&version.version));
                (version.version, Version { live, sealed: known.and_then(|version| version.sealed.clone()) })
            };
            let key: Key = described.versions.iter().map(version).collect();
            let active = key.get(&described.active_version);
            assert!(
                described.active_version == 0 || active.is_some_and(|version| version.live),
                "{described:?}"
            );
            seen.keys.insert(listed.name, key);
        }
        seen
    }

    /// What live versions sealed opens, and what destroyed ones sealed does not.
    async fn check_values(&self, service: &Api) {
        for (name, key) in &self.keys {
            let sealed: Vec<_> = key.iter().filter(|(_, version)| version.sealed.is_some()).collect();
            let ciphertexts = sealed.iter().map(|(_, version)| version.sealed.clone().unwrap());
            let opened = service.decrypt_each(&self.name, name, ciphertexts, &context(&[])).await;
            for ((number, version), opened) in sealed.iter().zip(opened) {
                let place = format!("{}/{name} version {number}", self.name);
                match (version.live, opened) {
                    (true, opened) => assert_eq!(opened, Ok(place.clone().into_bytes()), "{place}"),
                    (false, Ok(_)) => panic!("{place} was destroyed and opens"),
                    (false, Err(reason)) => assert!(
                        [Reason::KeyDestroyed, Reason::TenantDestroyed].contains(&reason),
                        "{place}: {reason:?}"
                    ),
                }
            }
        }
    }
}

fn fresh_version() -> Version {
    Version { live: true, sealed: None }
}

fn live(key: &Key) -> impl Iterator<Item = u32> {
    key.iter().filter(|(_, version)| version.live).map(|(number, _)| *number)
}

impl Step {
    async fn send(&self, operator: &Api) -> Option<()> {
        let mut keys = operator.keys();
        match self.clone() {
            Self::CreateTenant(message) => acknowledged(keys.create_tenant(message).await).map(drop),
            Self::CreateKey(message) => acknowledged(keys.create_key(message).await).map(drop),
            Self::Rotate(message) => acknowledged(keys.rotate_key(message).await).map(drop),
            Self::Destroy(message) => acknowledged(keys.destroy_key(message).await).map(drop),
            Self::DestroyTenant(message) => acknowledged(keys.destroy_tenant(message).await).map(drop),
        }
    }

    /// The key that has a new active version once this was done.
    fn renewed(&self) -> Option<&str> {
        match self {
            Self::CreateKey(message) => Some(&message.key),
            Self::Rotate(message) => Some(&message.key),
            _ => None,
        }
    }
}

struct Worker {
    number: usize,
    generation: u64,
    tenant: Tenant,
    /// Destroyed ones before it.
    old: Vec<Tenant>,
    /// Sent, and not acknowledged when the server died.
    pending: Option<Step>,
    dice: Dice,
}

impl Worker {
    /// Changes things until the server is gone.
    async fn work(mut self, operator: Api, service: Api, done: Arc<watch::Sender<u64>>) -> Self {
        loop {
            if self.tenant.destroyed {
                self.generation += 1;
                let next = Tenant::next(self.number, self.generation);
                self.old.push(std::mem::replace(&mut self.tenant, next));
            }
            let step = self.tenant.choose(&mut self.dice);
            if step.send(&operator).await.is_none() {
                self.pending = Some(step);
                return self;
            }
            self.tenant = self.tenant.after(&step);
            done.send_modify(|done| *done += 1);
            if let Some(key) = step.renewed()
                && self.seal(key, &service).await.is_none()
            {
                return self;
            }
        }
    }

    async fn seal(&mut self, key: &str, service: &Api) -> Option<()> {
        let number = *self.tenant.keys[key].last_key_value().unwrap().0;
        let message = v1::EncryptRequest {
            tenant: self.tenant.name.clone(),
            key: key.into(),
            plaintext: format!("{}/{key} version {number}", self.tenant.name).into_bytes(),
            binding: Some(context(&[])),
            purpose: String::new(),
        };
        let sealed = acknowledged(service.crypto().encrypt(message).await)?;
        assert_eq!(sealed.version, number);
        self.tenant.keys.get_mut(key).unwrap().get_mut(&number).unwrap().sealed = Some(sealed.ciphertext);
        Some(())
    }

    /// After a restart: what was acknowledged is there; what was pending is done wholly or not at all, and is brought to its end.
    async fn settle(&mut self, operator: &Api, service: &Api) {
        let observed = self.tenant.observed(operator).await;
        match self.pending.take() {
            None => assert_eq!(observed, self.tenant),
            Some(step) => {
                let after = self.tenant.after(&step);
                assert!(
                    observed == self.tenant || observed == after,
                    "half done: {step:?}\nbefore: {:?}\nafter: {after:?}\nis: {observed:?}",
                    self.tenant
                );
                step.send(operator).await.unwrap();
                assert_eq!(after.observed(operator).await, after, "{step:?}, sent again");
                self.tenant = after;
            }
        }
        self.tenant.check_values(service).await;
    }
}

/// Two installations side by side, each with half of the kills: most of the time goes into starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_survives_200_kills_and_what_was_destroyed_stays_destroyed() {
    let from_environment = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = from_environment("KMS_SEED").unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    let kills = from_environment("KMS_KILLS").unwrap_or(KILLS);
    // Shown where the test fails.
    println!("KMS_SEED={seed}");
    let half = |seed| tokio::spawn(kill_and_check(seed, kills.div_ceil(2)));
    let (one, other) = (half(seed), half(seed ^ u64::MAX));
    one.await.unwrap();
    other.await.unwrap();
}

async fn kill_and_check(seed: u64, kills: u64) {
    let mut dice = Dice(seed);
    let place = Place::new();
    place.start().kill();
    std::fs::write(
        place.path("policies/kill.cedar"),
        r#"@id("uses-all") @says("the attendance service uses every key") @tenants("any")
           permit (principal == Service::"spiffe://dev.local/attendance",
                   action in [Action::"seals", Action::"opens"], resource);"#,
    )
    .unwrap();
    let mut workers: Vec<_> = (0..WORKERS)
        .map(|number| Worker {
            number,
            generation: 0,
            tenant: Tenant::next(number, 0),
            old: Vec::new(),
            pending: None,
            dice: Dice(dice.roll(u64::MAX)),
        })
        .collect();
    let (mut changes, started) = (0, Instant::now());
    for kill in 0..=kills {
        let server = place.start_with(&["--set", "erasure_interval=10ms"]);
        let service = Api::of(&place, "attendance").await;
        let operators = [Api::of(&place, "operator").await, Api::of(&place, "second-operator").await];
        for worker in &mut workers {
            worker.settle(&operators[worker.number % 2], &service).await;
        }
        if kill % 50 == 0 {
            for tenant in workers.iter().flat_map(|worker| &worker.old) {
                assert_eq!(&tenant.observed(&operators[0]).await, tenant);
                tenant.check_values(&service).await;
            }
        }
        if kill == kills {
            break;
        }
        let (done, mut watched) = watch::channel(0);
        let done = Arc::new(done);
        let working: Vec<_> = workers
            .drain(..)
            .map(|worker| {
                let operator = operators[worker.number % 2].clone();
                tokio::spawn(worker.work(operator, service.clone(), Arc::clone(&done)))
            })
            .collect();
        // At an acknowledgement, or at any other time.
        let (most, soon) = (1 + dice.roll(24), Duration::from_micros(dice.roll(60_000)));
        match dice.roll(2) {
            0 => {
                let reached = watched.wait_for(|done| *done >= most);
                let reached = tokio::time::timeout(Duration::from_secs(60), reached).await;
                assert!(reached.is_ok(), "the server stopped working by itself:\n{}", server.log());
            }
            _ => tokio::time::sleep(soon).await,
        }
        server.kill();
        for worker in working {
            workers.push(worker.await.unwrap());
        }
        changes += *done.borrow();
    }
    let report = audit::verify(&place.path("audit"), &VerifyOptions::default()).unwrap();
    assert!(report.is_sound(), "{report}");
    println!("{changes} changes and {kills} kills in {:.1?}", started.elapsed());
    assert!(changes > kills / 2, "hardly anything was under way");
}

fn is_destroyed(state: v1::LifecycleState) -> bool {
    [v1::LifecycleState::Destroyed, v1::LifecycleState::Erased].contains(&state)
}
