//! Data keys: what a version derives for sealing, leased to clients or kept by the server.
//!
//! No name enters the derivation: the server does not know subjects' names.

use crate::{
    id::{DataKeyId, VersionId},
    kdf,
    secret::{DataKey, VersionMaterial},
};

impl VersionMaterial {
    /// `HKDF(salt "", material, "kms/data-key/v1" || version id || data-key id)`
    ///
    /// The ids are those under which the ciphertext's header addresses it; the material must be that version's.
    pub fn data_key(&self, version: VersionId, id: DataKeyId) -> DataKey {
        const LABEL: &[u8] = b"kms/data-key/v1";
        let info = [LABEL, &version.get().to_be_bytes(), &id.get().to_be_bytes()];
        DataKey::derived(|okm| kdf::derive(b"", self.expose_secret(), &info, okm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    #[test]
    fn a_data_key_is_as_in_the_vectors() {
        let key = VersionMaterial::copied_from(&[0xAA; 32]).unwrap();
        let found = key.data_key(VersionId::from(5 << 32 | 288), DataKeyId::from(19));
        assert_eq!(found.expose_secret().as_slice(), vectors::reference("data_key"));
    }

    #[test]
    fn another_version_or_id_gives_another_data_key() {
        let material = VersionMaterial::copied_from(&[0xAA; 32]).unwrap();
        let derive =
            |version, id| *material.data_key(VersionId::from(version), DataKeyId::from(id)).expose_secret();
        assert_ne!(derive(1, 1), derive(2, 1));
        assert_ne!(derive(1, 1), derive(1, 2));
        assert_ne!(derive(1, 1), derive(1, 1 << 31 | 1));
    }
}
