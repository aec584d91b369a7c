//! What checking a version's certificate costs over one Ed25519 verification, which it needs two of: ratios within one run are what counts.
//!
//! The log has 1,000,000 entries; those that the certificate does not carry are random leaf hashes, which make the same proof. The states
//! around its epoch are as deep as trees of a million slots each, with no empty subtree beside the path: as large as such a proof gets.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails should stop")]

use std::{collections::BTreeMap, hint::black_box};

use criterion::{Criterion, criterion_group, criterion_main};
use kms_core::{
    canonical::{Instant, Text},
    certificate::{
        Certificate, body,
        body::Body,
        check::{Given, Verdict, verify},
        proofs::{IndexedEntry, Proofs, Siblings, SignedCheckpoint as Head, State, States, TenantProof},
        sanitization::Sanitization,
    },
    commitment::{EMPTY, Hash, leaf_hash as slot_leaf, state_root, tenant_hash},
    event::{DestroyVersion, Entry, EpochCommit, EpochEffaced, Event, KeyCreate, Origin, Secrets},
    id::{Attempt, CommitNumber, Epoch, InstanceId, LeafSlot, TenantSlot, Uid},
    secret::SigningSeed,
    state::{DestroyReason, KeyClass},
    transparency::{
        Checkpoint, MultiProof, NoteSigner, SignedCheckpoint, Subtrees, leaf_hash, node_hash, slots,
        tree_root,
    },
};

const ENTRIES: u64 = 1_000_000;
const CREATED: u64 = 123_456;
const DESTROYED: u64 = 900_000;
const COMMITTED: u64 = 900_001;
const EFFACED: u64 = 950_003;
/// Levels of fan-out 32 that hold a million slots.
const HEIGHT: u8 = 4;
const LIVE: u64 = 1_000_000;
const SLOT: LeafSlot = LeafSlot(543_210);
const TENANT: TenantSlot = TenantSlot(654_321);
/// Most bytes of a version's certificate.
const MOST: usize = 64 << 10;

/// Every complete subtree, by level.
struct Log(Vec<Vec<Hash>>);

impl Log {
    fn of(leaves: Vec<Hash>) -> Self {
        let mut levels = vec![leaves];
        while let Some(below) = levels.last().filter(|below| below.len() > 1) {
            let pairs = below.as_chunks::<2>().0;
            levels.push(pairs.iter().map(|[left, right]| node_hash(left, right)).collect());
        }
        Self(levels)
    }
}

impl Subtrees for Log {
    fn subtree(&self, level: u32, index: u64) -> Option<Hash> {
        self.0.get(level as usize)?.get(usize::try_from(index).ok()?).copied()
    }
}

/// A state, and what it commits to, in which `leaf` stands in the version's slot.
fn state(leaf: Hash, live: u64, siblings: &Siblings) -> (State, Hash) {
    let root = |slot: u32, value| {
        slots::root(5 * usize::from(HEIGHT), &BTreeMap::from([(slot.into(), value)]), siblings).unwrap()
    };
    let tenant = tenant_hash(Uid([1; 16]), HEIGHT, &root(SLOT.0, leaf));
    let commitment = state_root(HEIGHT, &root(TENANT.0, tenant), live);
    let proof = TenantProof::Slots { height: HEIGHT, slots: siblings.clone() };
    (State { live, top_height: HEIGHT, top: siblings.clone(), tenant: proof }, commitment)
}

fn at(index: u64) -> Instant {
    Instant::from_millis(1_795_766_400_000 + i64::try_from(index).unwrap())
}

fn entry(index: u64, event: impl Into<Event>) -> (u64, Entry) {
    let by = Text::lossy("spiffe://example.org/a/service/with/a/name/of/usual/length");
    (index, Entry { at: at(index), by, commit: CommitNumber(index), event: event.into() })
}

/// A certificate over such a log, and the key that signed it.
fn certificate() -> (Vec<u8>, NoteSigner) {
    let instance = InstanceId([3; 16]);
    let name = format!("keycentre/{instance}").parse().unwrap();
    let signer = NoteSigner::new(name, SigningSeed::random().unwrap()).unwrap();
    let (tenant_uid, key_uid, version_uid, attempt) =
        (Uid([1; 16]), Uid([4; 16]), Uid([5; 16]), Attempt([6; 16]));
    let (epoch, kc, alg, class, origin) = (Epoch(77_777), [8; 32], 1, KeyClass::L3, Origin::Generated);
    let (reason, ticket) = (DestroyReason::RetentionEnded, Text::lossy("RETENTION-2026-000123"));
    let key = || "customers/0190b5a2-7c1e-7d3a-9c55-1f2e3d4c5b6a".parse().unwrap();

    let siblings: Siblings = (0..20).map(|_| Some(random())).collect();
    let (before, state_root_before) = state(slot_leaf(version_uid, SLOT, alg, &kc), LIVE, &siblings);
    let (after, state_root) = state(EMPTY, LIVE - 1, &siblings);
    let entries = BTreeMap::from([
        entry(
            CREATED,
            KeyCreate {
                tenant_uid,
                key: key(),
                key_uid,
                class,
                number: 1,
                version_uid,
                slot: SLOT,
                alg,
                kc,
                origin,
            },
        ),
        entry(
            DESTROYED,
            DestroyVersion {
                tenant_uid,
                key: key(),
                key_uid,
                number: 1,
                version_uid,
                slot: SLOT,
                last: 1,
                live: 0,
                epoch,
                reason,
                ticket: ticket.clone(),
            },
        ),
        entry(
            COMMITTED,
            EpochCommit {
                epoch,
                attempt,
                state_root_before,
                state_root,
                live: LIVE - 1,
                first: DESTROYED,
                last: DESTROYED,
            },
        ),
        entry(
            EFFACED,
            EpochEffaced {
                epoch,
                attempt,
                effaced: Secrets(vec![(Epoch(epoch.0 - 1), Attempt([7; 16]))]),
                class: Text::lossy("clear"),
                assurance: Text::lossy("the operator declares a physical magnetic disk"),
                technique: Text::lossy("overwritten in place, read back past the page cache"),
                media: Text::lossy("file on ST4000NM0035, serial ZC10A1B2"),
                verification: Text::lossy("read back with O_DIRECT, extents unchanged"),
            },
        ),
    ]);

    let leaf = |index| entries.get(&index).map_or_else(random, |entry| leaf_hash(&entry.to_bytes()));
    let log = Log::of((0..ENTRIES).map(leaf).collect());
    let root = tree_root(&log, ENTRIES).unwrap();
    let origin_line = signer.verifier().name().as_str().parse().unwrap();
    let head =
        SignedCheckpoint::sign(Checkpoint { origin: origin_line, size: ENTRIES, root }, &signer).unwrap();
    let line = &head.note().signatures()[0];
    let signature = [&line.id().0, line.bytes()].concat().try_into().unwrap();
    let inclusion = MultiProof::prove(&log, ENTRIES, &entries.keys().copied().collect()).unwrap().hashes;
    let Some(Event::EpochEffaced(done)) = entries.get(&EFFACED).map(|entry| entry.event.clone()) else {
        unreachable!()
    };
    let body = Body {
        v: body::VERSION,
        kind: body::Scope::Version,
        issued: at(ENTRIES),
        instance,
        log: body::Log { key: signer.verifier().to_string().parse().unwrap() },
        subject: body::Subject {
            tenant: "example-tenant".parse().unwrap(),
            tenant_uid,
            tenant_slot: TENANT,
            destroyed: body::Destroyed::Key(body::KeySubject {
                key: key(),
                key_uid,
                class,
                versions: vec![body::Version {
                    number: 1,
                    uid: version_uid,
                    slot: SLOT,
                    alg,
                    kc,
                    origin,
                    created: CREATED,
                    destroyed: DESTROYED,
                    epoch,
                    data_keys_issued: 12,
                }],
                name: None,
            }),
        },
        request: vec![body::Request {
            destroy: DESTROYED,
            by: entries[&DESTROYED].by.clone(),
            at: at(DESTROYED),
            scope: body::Scope::Version,
            reason,
            ticket,
            approvals: Vec::new(),
        }],
        erasure: body::Erasure {
            status: body::Status::Erased,
            horizon: body::Horizon::None,
            epochs: vec![body::ErasureEpoch {
                epoch,
                attempt,
                commit: COMMITTED,
                committed: at(COMMITTED),
                quiesced: at(EFFACED),
                clients: None,
                effacement: Some(body::Effacement { effacement: EFFACED, effaced: at(EFFACED) }),
            }],
        },
        effaceable: vec![body::Effaceable {
            effacement: EFFACED,
            class: body::MediumClass::Clear,
            assurance: done.assurance,
            technique: done.technique,
            media: done.media,
            verification: done.verification,
        }],
        sanitization: Sanitization::default(),
        proofs: Proofs {
            checkpoint: Head { size: ENTRIES, root, signature, cosignatures: Vec::new() },
            entries: entries.into_iter().map(|(index, entry)| IndexedEntry { index, entry }).collect(),
            inclusion,
            consistency: Vec::new(),
            states: vec![States { epoch, before, after }],
        },
        proven: Vec::new(),
        attested: Vec::new(),
        assumed: Vec::new(),
        risks: Vec::new(),
    };
    let signed = Certificate::sign(body.completed(), |message| {
        signer.sign(std::str::from_utf8(message).unwrap()).bytes().try_into().unwrap()
    });
    (signed.to_file(), signer)
}

fn random() -> Hash {
    let mut hash = [0; 32];
    getrandom::fill(&mut hash).unwrap();
    hash
}

fn bench(criterion: &mut Criterion) {
    let (file, signer) = certificate();
    let outcome = verify(&file, &Given::default());
    assert_eq!(outcome.verdict, Verdict::Residual, "{:?}", outcome.failures().collect::<Vec<_>>());
    eprintln!("certificate of a version, log of {ENTRIES} entries: {} bytes of at most {MOST}", file.len());
    assert!(file.len() <= MOST);
    let mut group = criterion.benchmark_group("verify");
    let text = "a text that is signed\n";
    let line = signer.sign(text);
    group.bench_function("one_signature", |bench| {
        bench.iter(|| signer.verifier().verify(black_box(text), &line).unwrap());
    });
    group.bench_function("certificate", |bench| bench.iter(|| verify(black_box(&file), &Given::default())));
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
