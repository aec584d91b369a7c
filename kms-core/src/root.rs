//! The key that wraps the root record: made of the seal's secret and one epoch's secret, used once.
//!
//! Without the epoch secret, which is effaced, nobody can make it again, whatever else they hold.

use zeroize::Zeroizing;

use crate::{
    id::{Attempt, Epoch, InstanceId},
    kdf,
    secret::{EpochSecret, SealSecret, WrappingKey},
};

/// `HKDF(salt "kms/root-kek/v1", LP(S) || LP(E), instance || epoch || attempt)`
pub fn kek(
    seal: &SealSecret,
    epoch_secret: &EpochSecret,
    instance: InstanceId,
    epoch: Epoch,
    attempt: Attempt,
) -> WrappingKey {
    const LABEL: &[u8] = b"kms/root-kek/v1";
    const LENGTH: [u8; 4] = 32u32.to_be_bytes();
    let mut ikm = Zeroizing::new([0; 2 * (4 + 32)]);
    ikm[..4].copy_from_slice(&LENGTH);
    ikm[4..36].copy_from_slice(seal.expose_secret());
    ikm[36..40].copy_from_slice(&LENGTH);
    ikm[40..].copy_from_slice(epoch_secret.expose_secret());
    let info: [&[u8]; 3] = [&instance.0, &epoch.0.to_be_bytes(), &attempt.0];
    WrappingKey::derived(|okm| kdf::derive(LABEL, &*ikm, &info, okm))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    fn key(seal: u8, secret: u8, instance: u8, epoch: u64, attempt: u8) -> [u8; 32] {
        let seal = SealSecret::copied_from(&[seal; 32]).unwrap();
        let secret = EpochSecret::copied_from(&[secret; 32]).unwrap();
        *kek(&seal, &secret, InstanceId([instance; 16]), Epoch(epoch), Attempt([attempt; 16])).expose_secret()
    }

    #[test]
    fn the_root_kek_is_as_in_the_vectors() {
        assert_eq!(key(0x33, 0x44, 0x11, 7, 0x55).as_slice(), vectors::reference("root_kek"));
    }

    #[test]
    fn each_part_changes_the_key() {
        let here = key(1, 2, 3, 4, 5);
        for other in [
            key(9, 2, 3, 4, 5),
            key(1, 9, 3, 4, 5),
            key(1, 2, 9, 4, 5),
            key(1, 2, 3, 9, 5),
            key(1, 2, 3, 4, 9),
        ] {
            assert_ne!(here, other);
        }
        assert_ne!(key(1, 2, 3, 4, 5), key(2, 1, 3, 4, 5), "the seal does not stand for the epoch secret");
    }
}
