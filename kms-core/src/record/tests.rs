use proptest::prelude::*;

use super::*;
use crate::vectors;

const INSTANCE: InstanceId = InstanceId([0x11; 16]);

fn key(byte: u8) -> WrappingKey {
    WrappingKey::copied_from(&[byte; 32]).unwrap()
}

fn leaf() -> Header {
    Header {
        kind: RecordKind::Leaf,
        level: 0,
        instance: INSTANCE,
        tenant: 5,
        index: 288,
        key_gen: KeyGen(1),
        record_ver: RecordVer(1),
        epoch: Epoch(7),
    }
}

/// Wraps as the vector was wrapped, compares, and opens it again.
fn agrees(name: &str, key: &WrappingKey, header: &Header, fill: u8, plaintext: &[u8]) {
    let record = wrap_with(key, header, &[fill; SALT], &[fill + 1; NONCE], plaintext).unwrap();
    assert_eq!(record, vectors::reference(name), "{name}");
    assert_eq!(super::header(&record).unwrap(), *header, "{name}");
    assert_eq!(unwrap(key, header, &record).unwrap().as_bytes(), plaintext, "{name}");
}

#[test]
fn root_node_and_leaf_records_are_as_in_the_vectors() {
    let kek = WrappingKey::copied_from(&vectors::reference("root_kek")).unwrap();
    let root = Header {
        kind: RecordKind::Root,
        tenant: NO_TENANT,
        index: 0,
        key_gen: KeyGen(7),
        record_ver: RecordVer(1),
        ..leaf()
    };
    agrees("root_record", &kek, &root, 1, &[0x66; 32]);

    let node = Header {
        kind: RecordKind::TenantNode,
        level: 1,
        index: 9,
        key_gen: KeyGen(3),
        record_ver: RecordVer(4),
        ..leaf()
    };
    let mut children = vec![1, 32, 0, 0];
    children.extend(0x8000_0001u32.to_be_bytes());
    for (generation, fill) in [(1u64, 0x88), (2, 0x99)] {
        children.extend(generation.to_be_bytes());
        children.extend([fill; 32]);
    }
    agrees("node_record", &key(0x77), &node, 3, &children);

    let mut payload = vec![1, 0, 0, 1, 0, 0, 0, 32];
    payload.extend([0xAA; 32]);
    payload.extend([0xBB; 32]);
    agrees("leaf_record", &key(0x88), &leaf(), 5, &payload);
}

#[test]
fn two_wraps_of_the_same_share_neither_salt_nor_iv() {
    let one = wrap(&key(1), &leaf(), b"same").unwrap();
    let other = wrap(&key(1), &leaf(), b"same").unwrap();
    assert_ne!(one[HEADER..IV_AT], other[HEADER..IV_AT]);
    assert_ne!(one[IV_AT..COMMITMENT_AT], other[IV_AT..COMMITMENT_AT]);
    assert_eq!(one.len(), OVERHEAD + 4);
}

#[test]
fn a_record_does_not_open_where_another_is_expected() {
    let record = wrap(&key(1), &leaf(), b"content").unwrap();
    let others = [
        Header { kind: RecordKind::Metadata, ..leaf() },
        Header { level: 1, ..leaf() },
        Header { instance: InstanceId([0x12; 16]), ..leaf() },
        Header { tenant: 6, ..leaf() },
        Header { index: 289, ..leaf() },
        Header { key_gen: KeyGen(2), ..leaf() },
        Header { record_ver: RecordVer(2), ..leaf() },
        Header { epoch: Epoch(8), ..leaf() },
    ];
    for other in others {
        assert_eq!(unwrap(&key(1), &other, &record).err(), Some(UnwrapError::OtherRecord));
        let moved = [&other.to_bytes()[..], &record[HEADER..]].concat();
        assert_eq!(
            unwrap(&key(1), &other, &moved).err(),
            Some(UnwrapError::WrongKey),
            "the header is part of the derivation"
        );
    }
}

#[test]
fn another_key_is_told_from_changed_bytes() {
    let mut record = wrap(&key(1), &leaf(), b"content").unwrap();
    assert_eq!(unwrap(&key(2), &leaf(), &record).err(), Some(UnwrapError::WrongKey));
    *record.last_mut().unwrap() ^= 1;
    assert_eq!(unwrap(&key(1), &leaf(), &record).err(), Some(UnwrapError::Changed));
}

#[test]
fn a_later_suite_kind_or_flag_is_refused_not_guessed() {
    let record = wrap(&key(1), &leaf(), b"content").unwrap();
    for (at, value) in [(4, 0), (4, 7), (5, 0), (5, 2), (7, 1)] {
        let mut later = record.clone();
        later[at] = value;
        assert!(matches!(super::header(&later), Err(HeaderError::Unknown { .. })), "byte {at} = {value}");
    }
}

proptest! {
    #[test]
    fn what_was_wrapped_unwraps(fill: u8, plaintext in prop::collection::vec(any::<u8>(), 0..3000)) {
        let record = wrap(&key(fill), &leaf(), &plaintext).unwrap();
        prop_assert_eq!(record.len(), OVERHEAD + plaintext.len());
        let opened = unwrap(&key(fill), &leaf(), &record).unwrap();
        prop_assert_eq!(opened.as_bytes(), plaintext.as_slice());
    }

    #[test]
    fn no_flipped_bit_and_no_cut_opens(plaintext in prop::collection::vec(any::<u8>(), 0..100), bit: prop::sample::Index) {
        let record = wrap(&key(1), &leaf(), &plaintext).unwrap();
        let bit = bit.index(record.len() * 8);
        let mut flipped = record.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(unwrap(&key(1), &leaf(), &flipped).is_err());
        for len in 0..record.len() {
            prop_assert_eq!(unwrap(&key(1), &leaf(), &record[..len]).err(), Some(HeaderError::NotARecord.into()));
        }
        let longer = [&record[..], &[0]].concat();
        prop_assert_eq!(unwrap(&key(1), &leaf(), &longer).err(), Some(HeaderError::NotARecord.into()));
    }

    #[test]
    fn reading_a_header_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        super::header(&bytes).ok();
        let marked = [&b"KMR1"[..], &bytes].concat();
        super::header(&marked).ok();
    }
}
