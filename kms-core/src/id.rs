//! Numbers and random identifiers, each a type of its own so that one cannot stand where another belongs.

use std::{fmt, str::FromStr};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            /// The one after this.
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A tenant's place in the top tree, never used twice.
    TenantSlot(u32)
);
number!(
    /// A leaf's place in its tenant's tree, never used twice.
    LeafSlot(u32)
);
number!(
    /// Number of the root in force; rises with each destroying commit.
    Epoch(u64)
);
number!(
    /// Number of a store commit: each carries the next one.
    CommitNumber(u64)
);
number!(
    /// Generation of the key of one tree node; a new one with each epoch that passes through it.
    KeyGen(u64)
);
number!(
    /// Write count of one record under one key generation.
    RecordVer(u64)
);

/// A key version's address in the erasure tree, as it stands in every ciphertext header: tenant slot, leaf slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId(u64);

impl VersionId {
    /// The id of a leaf.
    pub const fn new(tenant: TenantSlot, leaf: LeafSlot) -> Self {
        Self((tenant.0 as u64) << 32 | leaf.0 as u64)
    }

    /// The id as it is written, big-endian, in headers.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Where the tenant stands.
    pub fn tenant_slot(self) -> TenantSlot {
        TenantSlot((self.0 >> 32) as u32)
    }

    /// Where the leaf stands in the tenant's tree.
    pub fn leaf_slot(self) -> LeafSlot {
        LeafSlot(self.0 as u32)
    }
}

impl From<u64> for VersionId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which data key of a version: ids with the top bit are the server's own and never leave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataKeyId(u32);

impl DataKeyId {
    /// The data key of deterministic columns.
    pub const DETERMINISTIC: Self = Self(0);
    const SERVER: u32 = 1 << 31;

    /// A data key that clients may be leased: 1 to 2^31 − 1.
    pub fn leased(number: u32) -> Option<Self> {
        (number != 0 && number < Self::SERVER).then_some(Self(number))
    }

    /// A data key that only the server seals with: the number with the top bit set.
    pub fn server_own(number: u32) -> Option<Self> {
        (number < Self::SERVER).then_some(Self(number | Self::SERVER))
    }

    /// Whether only the server seals and opens under it.
    pub fn is_server_own(self) -> bool {
        self.0 & Self::SERVER != 0
    }

    /// The id as it is written, big-endian, in headers.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl From<u32> for DataKeyId {
    fn from(id: u32) -> Self {
        Self(id)
    }
}

impl fmt::Display for DataKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// Draws one from the operating system.
            ///
            /// # Errors
            /// Where the operating system has no randomness to give.
            pub fn random() -> Result<Self, getrandom::Error> {
                let mut bytes = [0; 16];
                getrandom::fill(&mut bytes)?;
                Ok(Self(bytes))
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = std::array::TryFromSliceError;
            fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
                bytes.try_into().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

random_id!(
    /// One installation of the key centre.
    InstanceId
);
random_id!(
    /// A tenant, key or version, named so for ever.
    Uid
);
random_id!(
    /// One try at one epoch: a failed try's secret is never taken for the next one's.
    Attempt
);

impl FromStr for VersionId {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_id_is_tenant_slot_then_leaf_slot() {
        let id = VersionId::new(TenantSlot(5), LeafSlot(288));
        assert_eq!(id.get(), 5 << 32 | 288);
        assert_eq!((id.tenant_slot(), id.leaf_slot()), (TenantSlot(5), LeafSlot(288)));
    }

    #[test]
    fn a_leased_data_key_never_has_the_top_bit() {
        assert_eq!(DataKeyId::leased(0), None);
        assert_eq!(DataKeyId::leased(1 << 31), None);
        assert!(DataKeyId::server_own(0x13).unwrap().is_server_own());
        assert!(!DataKeyId::leased(0x13).unwrap().is_server_own());
    }
}
