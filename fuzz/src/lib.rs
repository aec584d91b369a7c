//! What each fuzz target does with its bytes. The unit tests of `kms-core` include this file, and replay the corpus through it.
//!
//! Nothing may panic, and what a parser reads it must write again byte by byte: one value, one spelling.

use kms_core::{
    canonical::{Instant, Text, Value},
    certificate::{
        Certificate,
        check::{Given, Verdict, verify},
    },
    event::Entry,
    field, file, record,
    secret::WrappingKey,
    transparency::{
        Checkpoint, Note, NoteSignature, SignedCheckpoint, VerifierKey, WitnessKey, bundle, tile::Tile,
    },
    tree::payload,
};

/// A certificate, read and judged.
pub fn certificate(bytes: &[u8]) {
    let outcome = verify(bytes, &Given::default());
    let failures = outcome.failures().count();
    assert_eq!(outcome.verdict == Verdict::Invalid, failures > 0);
    if let Ok(certificate) = Certificate::from_file(bytes) {
        assert_eq!(certificate.to_file(), bytes);
        let completed = certificate.certificate.clone().completed();
        assert_eq!(completed.clone().completed(), completed);
    }
}

/// A note, a checkpoint, a key, the path of a tile.
pub fn checkpoint(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        written_again::<VerifierKey>(text);
        written_again::<WitnessKey>(text);
        written_again::<Tile>(text);
        written_again::<Instant>(text);
        written_again::<Text>(text);
        if let Some(signature) = NoteSignature::parse(text) {
            assert_eq!(signature.to_string(), text);
        }
        if let Ok(head) = Checkpoint::parse(text) {
            assert!(text.starts_with(&head.to_string()));
        }
    }
    let Ok(note) = Note::parse(bytes) else { return };
    assert_eq!(note.to_string().as_bytes(), bytes);
    let (log, witness) = keys();
    if let Ok(head) = Checkpoint::parse(note.text())
        && let Ok(signed) = SignedCheckpoint::open(bytes, &head.origin, &log)
    {
        assert_eq!(signed.to_string().as_bytes(), bytes);
        for witness in witness {
            drop(witness.cosignature(&signed));
        }
    }
}

/// The keys of the checkpoints in the corpus.
fn keys() -> (Vec<VerifierKey>, Vec<WitnessKey>) {
    let log = "example.com/behind-the-sofa+252b74d2+AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs";
    let witness = "witness.example.com/w1+9582033c+BBOY9ixtGkV8UbpqS189vS9p/KkyFiGNyJl+QWvRfZPK";
    (log.parse().into_iter().collect(), witness.parse().into_iter().collect())
}

fn written_again<T: std::str::FromStr + std::fmt::Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text);
    }
}

/// An entry of the log, canonical JSON, a bundle of entries.
pub fn entry(bytes: &[u8]) {
    if let Ok(value) = Value::from_compact(bytes) {
        assert_eq!(value.compact().as_bytes(), bytes);
    }
    if let Ok(value) = Value::from_pretty(bytes) {
        assert_eq!(value.pretty().as_bytes(), bytes);
    }
    if let Ok(entry) = Entry::from_bytes(bytes) {
        assert_eq!(entry.to_bytes(), bytes);
    }
    if let Ok(entries) = bundle::decode(bytes) {
        assert_eq!(bundle::encode(&entries).as_deref(), Ok(bytes));
        for entry in entries {
            drop(Entry::from_bytes(entry));
        }
    }
}

/// A wrapped record and what may be in one, a sealed value, the head of a sealed file.
pub fn record(bytes: &[u8]) {
    if let (Ok(header), Some(key)) = (record::header(bytes), WrappingKey::copied_from(&[7; 32])) {
        drop(record::unwrap(&key, &header, bytes));
    }
    if let Ok(children) = payload::decode_node(bytes) {
        let again = payload::encode_node(|slot| children.get(slot).and_then(Option::as_ref));
        assert_eq!(again.as_bytes(), bytes);
    }
    if let Ok(leaf) = payload::LeafPayload::decode(bytes) {
        assert_eq!(leaf.encode().as_bytes(), bytes);
    }
    drop(field::Header::parse(bytes));
    drop(file::FileHeader::parse(bytes));
    if let Ok(text) = str::from_utf8(bytes)
        && let Ok(ciphertext) = field::text::decode(text)
    {
        assert_eq!(field::text::encode(&ciphertext), text);
    }
}
