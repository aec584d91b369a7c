//! What sealing and opening allocate, counted: the output, and nothing else.

use allocation_counter::{AllocationInfo, measure};
use kms_core::{
    field::{Column, DirectCipher, FieldCipher, Kind},
    id::{DataKeyId, VersionId},
    names::{Context, RecordId},
    secret::DataKey,
};

const VALUE: [u8; 64] = [0x61; 64];

/// The second call of two, so that what a thread keeps is there.
fn counted<R>(mut call: impl FnMut() -> R) -> AllocationInfo {
    drop(call());
    measure(|| drop(call()))
}

#[test]
fn a_randomized_value_costs_one_allocation_to_seal_and_one_to_open() {
    let (tenant, table, column) =
        ("tenant-a".parse().unwrap(), "customers".parse().unwrap(), "ssn".parse().unwrap());
    let place = Column { tenant: &tenant, table: &table, column: &column };
    let id = DataKeyId::leased(19).unwrap();
    let cipher = FieldCipher::new(&DataKey::copied_from(&[7; 32]).unwrap(), VersionId::from(1), id, place);
    for record in [&b"row-42"[..], &[0x62; 1024]] {
        let record = RecordId::try_from(record).unwrap();
        let sealing = counted(|| cipher.seal(&record, &VALUE).unwrap());
        assert_eq!(sealing.count_total, 1);
        assert_eq!(sealing.bytes_total, (VALUE.len() + Kind::Randomized.overhead()) as u64);
        let sealed = cipher.seal(&record, &VALUE).unwrap();
        assert_eq!(counted(|| cipher.open(&record, &sealed).unwrap()).count_total, 1);
    }
}

#[test]
fn a_direct_value_costs_one_allocation_to_seal_and_one_to_open() {
    let id = DataKeyId::server_own(19).unwrap();
    let cipher = DirectCipher::new(&DataKey::copied_from(&[7; 32]).unwrap(), VersionId::from(1), id);
    let context = Context::new([("actor", &b"svc"[..]), ("purpose", b"billing")]).unwrap();
    let sealed = cipher.seal(&context, &VALUE).unwrap();
    assert_eq!(counted(|| cipher.seal(&context, &VALUE).unwrap()).count_total, 1);
    assert_eq!(counted(|| cipher.open(&context, &sealed).unwrap()).count_total, 1);
}
