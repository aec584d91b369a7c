//! Secrets, typed by role: each key has only the verbs of its role, is boxed, filled in place, wiped on drop, and never
//! cloned, compared, printed or serialized.

use std::{fmt, ops::Deref};

use zeroize::{Zeroize, Zeroizing};

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name(Box<[u8; 32]>);

        impl $name {
            /// Draws one from the operating system.
            ///
            /// # Errors
            /// Where the operating system has no randomness to give.
            pub fn random() -> Result<Self, getrandom::Error> {
                Self::filled(|bytes| getrandom::fill(bytes))
            }

            /// Lets `fill` write the 32 bytes where they will stay, so that no copy is left behind.
            ///
            /// # Errors
            /// Those of `fill`.
            pub fn filled<E>(fill: impl FnOnce(&mut [u8; 32]) -> Result<(), E>) -> Result<Self, E> {
                let mut secret = Self(Box::new([0; 32]));
                fill(&mut secret.0)?;
                Ok(secret)
            }

            /// Lets a derivation write the 32 bytes where they will stay.
            pub fn derived(fill: impl FnOnce(&mut [u8; 32])) -> Self {
                let mut secret = Self(Box::new([0; 32]));
                fill(&mut secret.0);
                secret
            }

            /// Copies 32 bytes in; `None` for any other length. The caller wipes its own copy.
            pub fn copied_from(bytes: &[u8]) -> Option<Self> {
                let bytes: &[u8; 32] = bytes.try_into().ok()?;
                let mut secret = Self(Box::new([0; 32]));
                secret.0.copy_from_slice(bytes);
                Some(secret)
            }

            /// The bytes. Every caller is a place to review.
            pub fn expose_secret(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                self.0.zeroize();
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

secret!(
    /// S: the seal's master secret.
    SealSecret
);
secret!(
    /// E: the secret of one epoch and attempt, kept in an effaceable medium.
    EpochSecret
);
secret!(
    /// Wraps one record at a time: the root record, a tree node or a leaf.
    WrappingKey
);
secret!(
    /// Material of one key version.
    VersionMaterial
);
secret!(
    /// Hides the material inside its public commitment.
    Blind
);
secret!(
    /// Derived from one version; seals and opens, and may be leased to a client.
    DataKey
);
secret!(
    /// Signs notes: an Ed25519 seed (RFC 8032).
    SigningSeed
);
secret!(
    /// Makes blind indexes; versioned apart from the keys that seal.
    IndexKey
);

/// Bytes that were sealed: wiped on drop, shown only as a length.
pub struct Plaintext(Vec<u8>);

impl Plaintext {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Hands the bytes to someone who must send them on, and wipes them no more.
    pub fn expose_vec(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }

    /// For opening in place; it must not grow, which would leave a copy behind.
    pub(crate) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl From<Vec<u8>> for Plaintext {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<Zeroizing<Vec<u8>>> for Plaintext {
    fn from(mut bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(std::mem::take(&mut *bytes))
    }
}

impl Drop for Plaintext {
    fn drop(&mut self) {
        // The whole allocation as spare capacity: wiped in words, where elements would be wiped byte after byte.
        self.0.clear();
        self.0.spare_capacity_mut().zeroize();
    }
}

impl Deref for Plaintext {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Plaintext {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plaintext(<{} bytes>)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_secrets_shows_nothing_of_them() {
        macro_rules! shown {
            ($($name:ident),*) => { vec![$(format!("{:?}", $name::copied_from(&[0xC7; 32]).unwrap())),*] };
        }
        let mut all = shown!(SealSecret, EpochSecret, WrappingKey, VersionMaterial, Blind, DataKey, IndexKey);
        all.push(format!("{:#?}", Plaintext::from(vec![0xC7; 32])));
        for shown in all {
            assert!(!shown.contains("199") && !shown.to_lowercase().contains("c7"), "{shown}");
        }
    }

    #[test]
    fn a_key_is_32_bytes_and_nothing_else() {
        for len in [0, 31, 33, 64] {
            assert!(DataKey::copied_from(&vec![1; len]).is_none());
        }
    }
}
