//! What the server does by itself when its time has come, and the running time that it is counted in.

use kms_core::id::Uid;
use kms_proto::storage as stored;

use super::Table;

/// What is to be done by itself, in order of time.
pub enum Due {}

/// Something that is done by itself when its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Destroys one version.
    DestroyVersion,
    /// Destroys a key.
    DestroyKey,
    /// Destroys a tenant.
    DestroyTenant,
    /// Rotates a key.
    RotateKey,
}

impl Work {
    const ALL: [Self; 4] = [Self::DestroyVersion, Self::DestroyKey, Self::DestroyTenant, Self::RotateKey];

    fn number(self) -> u8 {
        match self {
            Self::DestroyVersion => 1,
            Self::DestroyKey => 2,
            Self::DestroyTenant => 3,
            Self::RotateKey => 4,
        }
    }
}

/// When what is to be done to which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueKey {
    /// Milliseconds since 1970 in UTC.
    pub at_ms: u64,
    /// What.
    pub work: Work,
    /// The version, key or tenant.
    pub uid: Uid,
}

impl Table for Due {
    type Key = DueKey;
    type Group = ();
    type Value = stored::DueRecord;
    const PREFIX: u8 = 0x18;
    const NAME: &'static str = "due";

    fn write_key(key: &DueKey, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.at_ms.to_be_bytes());
        out.push(key.work.number());
        out.extend_from_slice(&key.uid.0);
    }
    fn write_group((): &(), _: &mut Vec<u8>) {}
    fn parse_key(bytes: &[u8]) -> Option<DueKey> {
        let (at, rest) = bytes.split_first_chunk::<8>()?;
        let (number, uid) = rest.split_first()?;
        let work = Work::ALL.into_iter().find(|work| work.number() == *number)?;
        Some(DueKey { at_ms: u64::from_be_bytes(*at), work, uid: Uid(uid.try_into().ok()?) })
    }
}

/// How long the server has run: one record.
pub enum RunningTimes {}

impl Table for RunningTimes {
    type Key = ();
    type Group = ();
    type Value = stored::RunningTimeRecord;
    const PREFIX: u8 = 0x19;
    const NAME: &'static str = "running time";

    fn write_key((): &(), _: &mut Vec<u8>) {}
    fn write_group((): &(), _: &mut Vec<u8>) {}
    fn parse_key(bytes: &[u8]) -> Option<()> {
        bytes.is_empty().then_some(())
    }
}
