//! Tables of the erasure tree. Only `erasure` writes them.
//!
//! A node or leaf stands under (tenant, level, index, key_gen, record_ver) and is never overwritten; the current one is the
//! highest record_ver of the key_gen that its parent names. A subtree hash stands under (tenant, level, index, key_gen).

use kms_core::id::{Epoch, KeyGen, RecordVer, TenantSlot};
use kms_core::tree::{Address, Place, TreeName};
use kms_proto::storage as stored;

use super::{Table, Touched};

/// The layout of the records: one record.
pub enum Schema {}
/// What the last commit left: one record.
pub enum Head {}
/// The head of the audit log, written with every commit: one record, whose value is the audit log's own.
pub const AUDIT_HEAD: [u8; 1] = [0x03];
/// Nodes and leaves.
pub enum Nodes {}
/// Hash of the slots below a node.
pub enum Hashes {}
/// Shapes of the tenants' trees.
pub enum TenantTrees {}
/// What nothing reaches any more.
pub enum Garbage {}
/// What a staged commit of an epoch wrote; removed by the commit that ends the epoch, collected where none does.
pub enum Staged {}
/// Committed epochs.
pub enum Epochs {}
/// Public hashes below the nodes that an epoch touched: what its certificates prove from.
pub enum EpochNodes {}
/// Tenants that an epoch touched.
pub enum EpochTenants {}
/// Epochs of which leases may run.
pub enum RunningLeases {}
/// Entries of the log, by index.
pub enum LogEntries {}
/// Hashes of complete subtrees of the log, at levels that are multiples of 8 from 8 on.
pub enum LogHashes {}

macro_rules! single {
    ($table:ident, $value:ident, $prefix:literal, $name:literal) => {
        impl Table for $table {
            type Key = ();
            type Group = ();
            type Value = stored::$value;
            const PREFIX: u8 = $prefix;
            const NAME: &'static str = $name;

            fn write_key((): &(), _: &mut Vec<u8>) {}
            fn write_group((): &(), _: &mut Vec<u8>) {}
            fn parse_key(bytes: &[u8]) -> Option<()> {
                bytes.is_empty().then_some(())
            }
        }
    };
}

single!(Schema, SchemaRecord, 0x01, "schema");
single!(Head, HeadRecord, 0x02, "head");

const PLACE: usize = 8 + 1 + 8;

fn write_place(place: Place, out: &mut Vec<u8>) {
    out.extend_from_slice(&place.tree.number().to_be_bytes());
    out.push(place.level);
    out.extend_from_slice(&place.index.to_be_bytes());
}

fn parse_place(bytes: &[u8; PLACE]) -> Option<Place> {
    let (tree, rest) = bytes.split_first_chunk::<8>()?;
    let (level, index) = rest.split_first()?;
    let tree = TreeName::from_number(u64::from_be_bytes(*tree))?;
    Some(Place { tree, level: *level, index: u64::from_be_bytes(index.try_into().ok()?) })
}

impl Table for Nodes {
    type Key = Address;
    /// Every write of a place under one key generation.
    type Group = (Place, KeyGen);
    type Value = stored::TreeRecord;
    const PREFIX: u8 = 0x20;
    const NAME: &'static str = "tree node";

    fn write_key(address: &Address, out: &mut Vec<u8>) {
        Self::write_group(&(address.place, address.key_gen), out);
        out.extend_from_slice(&address.record_ver.0.to_be_bytes());
    }
    fn write_group((place, key_gen): &Self::Group, out: &mut Vec<u8>) {
        write_place(*place, out);
        out.extend_from_slice(&key_gen.0.to_be_bytes());
    }
    fn parse_key(bytes: &[u8]) -> Option<Address> {
        let (place, rest) = bytes.split_first_chunk::<PLACE>()?;
        let (key_gen, record_ver) = rest.split_first_chunk::<8>()?;
        let record_ver = RecordVer(u64::from_be_bytes(record_ver.try_into().ok()?));
        let key_gen = KeyGen(u64::from_be_bytes(*key_gen));
        Some(Address { place: parse_place(place)?, key_gen, record_ver })
    }
}

/// Every record of one tenant's tree.
pub fn tree_prefix(tree: TreeName) -> Vec<u8> {
    let mut prefix = vec![Nodes::PREFIX];
    prefix.extend_from_slice(&tree.number().to_be_bytes());
    prefix
}

/// Every hash of one tenant's tree.
pub fn hash_prefix(tree: TreeName) -> Vec<u8> {
    let mut prefix = vec![Hashes::PREFIX];
    prefix.extend_from_slice(&tree.number().to_be_bytes());
    prefix
}

impl Table for Hashes {
    type Key = (Place, KeyGen);
    /// The hashes of a level, in order of index.
    type Group = (TreeName, u8);
    type Value = stored::HashRecord;
    const PREFIX: u8 = 0x21;
    const NAME: &'static str = "subtree hash";

    fn write_key((place, key_gen): &Self::Key, out: &mut Vec<u8>) {
        write_place(*place, out);
        out.extend_from_slice(&key_gen.0.to_be_bytes());
    }
    fn write_group((tree, level): &Self::Group, out: &mut Vec<u8>) {
        out.extend_from_slice(&tree.number().to_be_bytes());
        out.push(*level);
    }
    fn parse_key(bytes: &[u8]) -> Option<Self::Key> {
        let (place, key_gen) = bytes.split_first_chunk::<PLACE>()?;
        Some((parse_place(place)?, KeyGen(u64::from_be_bytes(key_gen.try_into().ok()?))))
    }
}

impl Table for TenantTrees {
    type Key = TenantSlot;
    type Group = ();
    type Value = stored::TenantTreeRecord;
    const PREFIX: u8 = 0x22;
    const NAME: &'static str = "tenant tree";

    fn write_key(slot: &TenantSlot, out: &mut Vec<u8>) {
        out.extend_from_slice(&slot.0.to_be_bytes());
    }
    fn write_group((): &(), _: &mut Vec<u8>) {}
    fn parse_key(bytes: &[u8]) -> Option<TenantSlot> {
        Some(TenantSlot(u32::from_be_bytes(bytes.try_into().ok()?)))
    }
    fn touched(slot: &TenantSlot) -> Option<Touched> {
        Some(Touched::Tenant(*slot))
    }
}

/// Numbered records of a commit or an epoch.
macro_rules! numbered {
    ($table:ident, $value:ident, $prefix:literal, $name:literal) => {
        impl Table for $table {
            type Key = (u64, u32);
            type Group = ();
            type Value = stored::$value;
            const PREFIX: u8 = $prefix;
            const NAME: &'static str = $name;

            fn write_key((number, part): &Self::Key, out: &mut Vec<u8>) {
                out.extend_from_slice(&number.to_be_bytes());
                out.extend_from_slice(&part.to_be_bytes());
            }
            fn write_group((): &(), _: &mut Vec<u8>) {}
            fn parse_key(bytes: &[u8]) -> Option<Self::Key> {
                let (number, part) = bytes.split_first_chunk::<8>()?;
                Some((u64::from_be_bytes(*number), u32::from_be_bytes(part.try_into().ok()?)))
            }
        }
    };
}

numbered!(Garbage, GarbageRecord, 0x23, "garbage");
numbered!(Staged, GarbageRecord, 0x25, "staged");

/// One record an epoch.
macro_rules! by_epoch {
    ($table:ident, $value:ident, $prefix:literal, $name:literal) => {
        impl Table for $table {
            type Key = Epoch;
            type Group = ();
            type Value = stored::$value;
            const PREFIX: u8 = $prefix;
            const NAME: &'static str = $name;

            fn write_key(epoch: &Epoch, out: &mut Vec<u8>) {
                out.extend_from_slice(&epoch.0.to_be_bytes());
            }
            fn write_group((): &(), _: &mut Vec<u8>) {}
            fn parse_key(bytes: &[u8]) -> Option<Epoch> {
                Some(Epoch(u64::from_be_bytes(bytes.try_into().ok()?)))
            }
        }
    };
}

by_epoch!(Epochs, EpochRecord, 0x24, "epoch");
by_epoch!(RunningLeases, RunningLeasesRecord, 0x28, "running leases");

impl Table for EpochNodes {
    type Key = (Epoch, Place);
    type Group = Epoch;
    type Value = stored::EpochNodeRecord;
    const PREFIX: u8 = 0x26;
    const NAME: &'static str = "epoch's node";

    fn write_key((epoch, place): &Self::Key, out: &mut Vec<u8>) {
        out.extend_from_slice(&epoch.0.to_be_bytes());
        write_place(*place, out);
    }
    fn write_group(epoch: &Epoch, out: &mut Vec<u8>) {
        out.extend_from_slice(&epoch.0.to_be_bytes());
    }
    fn parse_key(bytes: &[u8]) -> Option<Self::Key> {
        let (epoch, place) = bytes.split_first_chunk::<8>()?;
        Some((Epoch(u64::from_be_bytes(*epoch)), parse_place(place.try_into().ok()?)?))
    }
}

impl Table for EpochTenants {
    type Key = (Epoch, TenantSlot);
    type Group = Epoch;
    type Value = stored::EpochTenantRecord;
    const PREFIX: u8 = 0x27;
    const NAME: &'static str = "epoch's tenant";

    fn write_key((epoch, tenant): &Self::Key, out: &mut Vec<u8>) {
        out.extend_from_slice(&epoch.0.to_be_bytes());
        out.extend_from_slice(&tenant.0.to_be_bytes());
    }
    fn write_group(epoch: &Epoch, out: &mut Vec<u8>) {
        out.extend_from_slice(&epoch.0.to_be_bytes());
    }
    fn parse_key(bytes: &[u8]) -> Option<Self::Key> {
        let (epoch, tenant) = bytes.split_first_chunk::<8>()?;
        let tenant = TenantSlot(u32::from_be_bytes(tenant.try_into().ok()?));
        Some((Epoch(u64::from_be_bytes(*epoch)), tenant))
    }
}

impl Table for LogEntries {
    type Key = u64;
    type Group = ();
    type Value = stored::LogEntryRecord;
    const PREFIX: u8 = 0x30;
    const NAME: &'static str = "log entry";

    fn write_key(index: &u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&index.to_be_bytes());
    }
    fn write_group((): &(), _: &mut Vec<u8>) {}
    fn parse_key(bytes: &[u8]) -> Option<u64> {
        Some(u64::from_be_bytes(bytes.try_into().ok()?))
    }
}

impl Table for LogHashes {
    /// Level and index.
    type Key = (u8, u64);
    type Group = u8;
    type Value = stored::HashRecord;
    const PREFIX: u8 = 0x31;
    const NAME: &'static str = "log hash";

    fn write_key((level, index): &Self::Key, out: &mut Vec<u8>) {
        out.push(*level);
        out.extend_from_slice(&index.to_be_bytes());
    }
    fn write_group(level: &u8, out: &mut Vec<u8>) {
        out.push(*level);
    }
    fn parse_key(bytes: &[u8]) -> Option<Self::Key> {
        let (level, index) = bytes.split_first()?;
        Some((*level, u64::from_be_bytes(index.try_into().ok()?)))
    }
}
