//! Versions of keys, written as the use case writes them: what the benchmarks of the writer and of the start have in common.

#![allow(dead_code, reason = "each benchmark uses its own part")]

use kms_core::id::{TenantSlot, Uid, VersionId};
use kms_proto::storage::{KeyRecord, VersionPointer, VersionRecord};
use kms_server::{
    erasure::{Change, ChangeError, Writer},
    records::{KeyRef, Keys, VersionNumbers, Versions},
};

/// What a rotation writes, as the use case does.
pub(crate) fn rotate(
    change: &mut Change<'_>,
    tenant: TenantSlot,
    key: &KeyRef,
) -> Result<VersionId, ChangeError> {
    let name = (tenant, key.clone());
    let mut record = change.get::<Keys>(&name)?.unwrap_or_default();
    record = KeyRecord { versions: record.versions + 1, active_version: record.versions + 1, ..record };
    let uid = Uid::random()?;
    let leaf = change.create_leaf(tenant, uid)?;
    let version = VersionRecord {
        tenant_slot: tenant.0,
        leaf_slot: leaf.version.leaf_slot().0,
        key: key.to_string(),
        version: record.versions,
        uid: uid.0.to_vec(),
        key_commitment: leaf.key_commitment.to_vec(),
        ..VersionRecord::default()
    };
    let pointer = VersionPointer { leaf_slot: version.leaf_slot };
    change.put::<VersionNumbers>(&(tenant, key.clone(), record.versions), &pointer);
    change.put::<Versions>(&leaf.version, &version);
    change.put::<Keys>(&name, &record);
    Ok(leaf.version)
}

/// A key's name.
pub(crate) fn key(name: &str) -> KeyRef {
    name.parse().expect("a key name")
}

/// A tenant's tree.
pub(crate) async fn tenant(writer: &Writer) -> TenantSlot {
    writer
        .commit(|change| Ok::<_, ChangeError>(change.create_tenant_tree(Uid::random()?)?.slot))
        .await
        .expect("a tenant")
        .value
}

/// Fills a tenant with versions, many a commit.
pub(crate) async fn fill(writer: &Writer, tenant: TenantSlot, count: u32) -> Vec<VersionId> {
    let mut made = Vec::new();
    for first in (0..count).step_by(500) {
        let some = writer.commit(move |change| {
            let some = first..(first + 500).min(count);
            some.map(|number| rotate(change, tenant, &key(&format!("k{number}"))))
                .collect::<Result<Vec<_>, _>>()
        });
        made.extend(some.await.expect("a commit").value);
    }
    made
}
