//! Keys read back as they were written, order as they should, and no table's keys stand in another's.

use kms_core::{
    id::{Epoch, KeyGen, LeafSlot, RecordVer, TenantSlot, Uid, VersionId},
    names::{FamilyName, TenantName},
    tree::{Address, Place, TreeName},
};

use super::{tree::*, uses::*, *};
use crate::{identity::IdentityName, operation::Operation};

fn round<T: Table>(key: T::Key, group: T::Group)
where
    T::Key: PartialEq + std::fmt::Debug,
{
    let bytes = key_bytes::<T>(&key);
    assert_eq!(parse_key::<T>(&bytes), Some(key), "{}", T::NAME);
    assert!(bytes.starts_with(&group_bytes::<T>(&group)), "{}", T::NAME);
    let mut other = bytes;
    other[0] ^= 0x80;
    assert_eq!(parse_key::<T>(&other), None, "{}", T::NAME);
}

#[test]
fn keys_read_back_as_they_were_written() {
    let (tenant, name) = (TenantSlot(5), KeyRef::try_from("attendance").unwrap());
    let subject = KeyRef::of_subject(name.family().clone(), Uid([0; 16]));
    let place = Place { tree: TreeName::Tenant(tenant), level: 2, index: 9 };
    let top = Place { tree: TreeName::Top, ..place };
    round::<Tenants>(TenantName::try_from("acme").unwrap(), ());
    round::<TenantsBySlot>(tenant, ());
    round::<Keys>((tenant, name.clone()), KeyGroup::Tenant(tenant));
    round::<Keys>((tenant, subject.clone()), KeyGroup::Tenant(tenant));
    round::<Keys>((tenant, subject.clone()), KeyGroup::Subjects(tenant, name.family().clone()));
    round::<VersionNumbers>((tenant, name.clone(), 300), (tenant, name));
    round::<VersionNumbers>((tenant, subject.clone(), 300), (tenant, subject));
    round::<Subjects>((tenant, [9; 32]), tenant);
    round::<Versions>(VersionId::new(tenant, LeafSlot(288)), tenant);
    round::<DataKeyIds>(VersionId::new(tenant, LeafSlot(288)), tenant);
    round::<RequestTimes>((1_700_000_000_000, [9; 16]), ());
    for work in [Work::DestroyVersion, Work::DestroyKey, Work::DestroyTenant, Work::RotateKey] {
        round::<Due>(DueKey { at_ms: 1_700_000_000_000, work, uid: Uid([9; 16]) }, ());
    }
    round::<Uses>((VersionId::new(tenant, LeafSlot(288)), 20_000), VersionId::new(tenant, LeafSlot(288)));
    round::<SubjectUses>((Uid([9; 16]), 300, 20_000), Uid([9; 16]));
    round::<RunningTimes>((), ());
    for identity in ["spiffe://dev.local/operator".parse().unwrap(), IdentityName::Spki([0xAB; 32])] {
        round::<Requests>(RequestKey::new(&identity, Operation::RotateKey, [7; 16]), ());
    }
    for place in [place, top] {
        let address = Address { place, key_gen: KeyGen(3), record_ver: RecordVer(4) };
        round::<Nodes>(address, (place, KeyGen(3)));
        round::<Hashes>((place, KeyGen(3)), (place.tree, 2));
    }
    round::<TenantTrees>(tenant, ());
    round::<Garbage>((7, 1), ());
    round::<Staged>((7, 1), ());
    round::<Epochs>(Epoch(7), ());
}

#[test]
fn the_longest_identity_fits_a_key_of_the_store_and_no_two_share_one() {
    let named = |path: &str| IdentityName::Spiffe(format!("spiffe://dev.local/{path}").into());
    let longest = "a".repeat(2048 - "spiffe://dev.local/".len());
    let key = |identity| key_bytes::<Requests>(&RequestKey::new(&identity, Operation::CreateKey, [7; 16]));
    assert!(key(named(&longest)).len() <= crate::store::MAX_KEY);
    assert_ne!(key(named(&longest)), key(named("a")));
}

#[test]
fn a_key_does_not_list_the_versions_of_another_that_begins_like_it() {
    let (tenant, name) = (TenantSlot(1), |name: &str| KeyRef::try_from(name).unwrap());
    let group = group_bytes::<VersionNumbers>(&(tenant, name("log")));
    assert!(!key_bytes::<VersionNumbers>(&(tenant, name("login"), 1)).starts_with(&group));
    assert!(key_bytes::<VersionNumbers>(&(tenant, name("log"), 1)).starts_with(&group));
}

#[test]
fn keys_of_subjects_are_listed_after_every_other_and_a_familys_apart_from_those_of_one_that_begins_like_it() {
    let (tenant, family) = (TenantSlot(1), |name: &str| name.parse::<FamilyName>().unwrap());
    let subject = |name| key_bytes::<Keys>(&(tenant, KeyRef::of_subject(family(name), Uid([0; 16]))));
    assert!(subject("a") > key_bytes::<Keys>(&(tenant, family(&"z".repeat(63)).into())));
    let group = group_bytes::<Keys>(&KeyGroup::Subjects(tenant, family("log")));
    assert!(subject("log").starts_with(&group) && !subject("login").starts_with(&group));
}

#[test]
fn versions_and_writes_order_by_number() {
    let key = |number| key_bytes::<VersionNumbers>(&(TenantSlot(1), "log".parse().unwrap(), number));
    assert!(key(2) < key(10) && key(255) < key(256));
    let write = |key_gen, record_ver| {
        let place = Place::leaf(TenantSlot(1), LeafSlot(2));
        key_bytes::<Nodes>(&Address { place, key_gen: KeyGen(key_gen), record_ver: RecordVer(record_ver) })
    };
    assert!(write(1, 9) < write(1, 10) && write(1, 256) < write(2, 1));
}

#[test]
fn every_table_has_a_prefix_of_its_own() {
    let mut prefixes = vec![
        Schema::PREFIX,
        Head::PREFIX,
        AUDIT_HEAD[0],
        Tenants::PREFIX,
        TenantsBySlot::PREFIX,
        Keys::PREFIX,
        Versions::PREFIX,
        VersionNumbers::PREFIX,
        DataKeyIds::PREFIX,
        Subjects::PREFIX,
        Requests::PREFIX,
        RequestTimes::PREFIX,
        Due::PREFIX,
        Uses::PREFIX,
        SubjectUses::PREFIX,
        RunningTimes::PREFIX,
        Nodes::PREFIX,
        Hashes::PREFIX,
        TenantTrees::PREFIX,
        Garbage::PREFIX,
        Epochs::PREFIX,
        Staged::PREFIX,
    ];
    let all = prefixes.len();
    prefixes.sort_unstable();
    prefixes.dedup();
    assert_eq!(prefixes.len(), all);
}
