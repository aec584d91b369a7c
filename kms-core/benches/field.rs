//! What sealing costs over the bare AEAD call: ratios within one run are what counts.
//!
//! `bare` is AES-256-GCM of the faster linked library over the same plaintext with the same additional data, in place, in a
//! buffer that is there already: no nonce, no output, no commitment. `bare_output` also makes the output anew each time.
//! `bare_rust` is the other library, so that the choice between them can be seen.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails should stop")]

use std::hint::black_box;

use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use kms_core::{
    field::{Column, FieldCipher},
    id::{DataKeyId, Epoch, InstanceId, KeyGen, RecordVer, VersionId},
    names::RecordId,
    nonce,
    record::{self, RecordKind},
    secret::{DataKey, WrappingKey},
};

const HEADER: usize = 14;

fn prepared() -> (FieldCipher, RecordId, Vec<u8>) {
    let tenant = "tenant-a".parse().unwrap();
    let table = "customers".parse().unwrap();
    let column = "ssn".parse().unwrap();
    let place = Column { tenant: &tenant, table: &table, column: &column };
    let id = DataKeyId::leased(19).unwrap();
    let key = DataKey::copied_from(&[7; 32]).unwrap();
    let cipher = FieldCipher::new(&key, VersionId::from(5 << 32 | 288), id, place);
    let record = RecordId::try_from(&b"0190b5a2-7c1e-7d3a-9c55-1f2e3d4c5b6a"[..]).unwrap();
    let aad = vec![0x5A; HEADER + 12 + 4 + 8 + 4 + 9 + 4 + 3 + 4 + record.as_bytes().len()];
    (cipher, record, aad)
}

fn aws_lc() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap())
}

fn fixed() -> Nonce {
    Nonce::assume_unique_for_key(black_box([9; 12]))
}

fn seal(criterion: &mut Criterion) {
    let (cipher, record, aad) = prepared();
    let bare = aws_lc();
    let mut group = criterion.benchmark_group("seal");
    for size in [16, 64, 256, 1024, 16 * 1024] {
        let plaintext = vec![0x61; size];
        let mut buffer = plaintext.clone();
        group.bench_function(BenchmarkId::new("bare", size), |bench| {
            bench.iter(|| bare.seal_in_place_separate_tag(fixed(), Aad::from(&aad), &mut buffer).unwrap());
        });
        group.bench_function(BenchmarkId::new("bare_rust", size), |bench| {
            let rust = Aes256Gcm::new(&[7; 32].into());
            bench.iter(|| {
                rust.encrypt_inout_detached(&black_box([9; 12]).into(), &aad, buffer.as_mut_slice().into())
                    .unwrap()
            });
        });
        group.bench_function(BenchmarkId::new("bare_output", size), |bench| {
            bench.iter(|| {
                let mut out = Vec::with_capacity(size + 16);
                out.extend_from_slice(black_box(&plaintext));
                bare.seal_in_place_append_tag(fixed(), Aad::from(&aad), &mut out).unwrap();
                out
            });
        });
        group.bench_function(BenchmarkId::new("field", size), |bench| {
            bench.iter(|| cipher.seal(black_box(&record), black_box(&plaintext)).unwrap());
        });
    }
    group.finish();
}

fn open(criterion: &mut Criterion) {
    let (cipher, record, aad) = prepared();
    let bare = aws_lc();
    let mut group = criterion.benchmark_group("open");
    for size in [16, 64, 256, 1024, 16 * 1024] {
        let plaintext = vec![0x61; size];
        let mut sealed = plaintext.clone();
        bare.seal_in_place_append_tag(fixed(), Aad::from(&aad), &mut sealed).unwrap();
        let mut buffer = vec![0; size];
        group.bench_function(BenchmarkId::new("bare", size), |bench| {
            let (ciphertext, tag) = sealed.split_at(size);
            bench.iter(|| {
                bare.open_separate_gather(fixed(), Aad::from(&aad), black_box(ciphertext), tag, &mut buffer)
                    .unwrap();
            });
        });
        group.bench_function(BenchmarkId::new("bare_output", size), |bench| {
            bench.iter(|| {
                let mut out = black_box(&sealed).clone();
                bare.open_in_place(fixed(), Aad::from(&aad), &mut out).unwrap();
                out
            });
        });
        let ciphertext = cipher.seal(&record, &plaintext).unwrap();
        // With the wiping of the plaintext when it is dropped.
        group.bench_function(BenchmarkId::new("field", size), |bench| {
            bench.iter(|| cipher.open(black_box(&record), black_box(&ciphertext)).unwrap());
        });
    }
    group.finish();
}

fn parts(criterion: &mut Criterion) {
    criterion.bench_function("nonce", |bench| bench.iter(|| nonce::fresh().unwrap()));
    criterion.bench_function("prepare", |bench| bench.iter(prepared));
}

fn wrapped(criterion: &mut Criterion) {
    let key = WrappingKey::copied_from(&[8; 32]).unwrap();
    let header = record::Header {
        kind: RecordKind::TenantNode,
        level: 1,
        instance: InstanceId([1; 16]),
        tenant: 5,
        index: 9,
        key_gen: KeyGen(3),
        record_ver: RecordVer(4),
        epoch: Epoch(7),
    };
    let mut group = criterion.benchmark_group("record");
    for (name, size) in [("root", 32), ("leaf", 72), ("full_node", 1288)] {
        let plaintext = vec![0x61; size];
        group.bench_function(BenchmarkId::new("wrap", name), |bench| {
            bench.iter(|| record::wrap(&key, &header, black_box(&plaintext)).unwrap());
        });
        let wrapped = record::wrap(&key, &header, &plaintext).unwrap();
        group.bench_function(BenchmarkId::new("unwrap", name), |bench| {
            bench.iter_batched(
                || &wrapped,
                |wrapped| record::unwrap(&key, &header, wrapped).unwrap(),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, seal, open, parts, wrapped);
criterion_main!(benches);
