//! The census as it is stored: what clients said on one day, of one version, or of the versions of a family's subjects together.

use kms_core::id::{Uid, VersionId};
use kms_proto::storage as stored;

use super::{Table, Versions};

/// What clients said of a version, a day each.
pub enum Uses {}
/// What clients said of the versions of a family's subjects, a day each: of those together that were made after as many rotations of it.
pub enum SubjectUses {}

impl Table for Uses {
    /// The version, and the day since 1970 in UTC.
    type Key = (VersionId, u32);
    type Group = VersionId;
    type Value = stored::UsesRecord;
    const PREFIX: u8 = 0x1C;
    const NAME: &'static str = "uses";

    fn write_key((version, day): &Self::Key, out: &mut Vec<u8>) {
        Versions::write_key(version, out);
        out.extend_from_slice(&day.to_be_bytes());
    }
    fn write_group(version: &VersionId, out: &mut Vec<u8>) {
        Versions::write_key(version, out);
    }
    fn parse_key(bytes: &[u8]) -> Option<Self::Key> {
        let (version, day) = bytes.split_first_chunk::<8>()?;
        Some((VersionId::from(u64::from_be_bytes(*version)), u32::from_be_bytes(day.try_into().ok()?)))
    }
}

impl Table for SubjectUses {
    /// The family's uid, how often it had been rotated when the versions were made, and the day since 1970 in UTC.
    type Key = (Uid, u64, u32);
    type Group = Uid;
    type Value = stored::UsesRecord;
    const PREFIX: u8 = 0x1D;
    const NAME: &'static str = "uses of subjects";

    fn write_key((family, rotations, day): &Self::Key, out: &mut Vec<u8>) {
        out.extend_from_slice(&family.0);
        out.extend_from_slice(&rotations.to_be_bytes());
        out.extend_from_slice(&day.to_be_bytes());
    }
    fn write_group(family: &Uid, out: &mut Vec<u8>) {
        out.extend_from_slice(&family.0);
    }
    fn parse_key(bytes: &[u8]) -> Option<Self::Key> {
        let (family, rest) = bytes.split_first_chunk::<16>()?;
        let (rotations, day) = rest.split_first_chunk::<8>()?;
        Some((Uid(*family), u64::from_be_bytes(*rotations), u32::from_be_bytes(day.try_into().ok()?)))
    }
}
