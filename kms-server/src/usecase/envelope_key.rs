//! Makes an envelope key: 32 random bytes, sealed `direct`, returned in plaintext only where it was asked for.

use kms_core::secret::DataKey;

use super::data_key_ids;
use super::refused::Refused;
use super::seal::{Sealed, seal_under};
use crate::binding::Binding;
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::keyring::Keyring;

/// An envelope key, sealed.
#[derive(Debug)]
pub struct EnvelopeKey {
    /// The sealed key; `Decrypt` opens it.
    pub sealed: Sealed,
    /// The key itself, where it was asked for.
    pub plaintext: Option<DataKey>,
}

/// Makes one envelope key.
pub async fn generate(
    permit: Permit<op::GenerateDataKey>,
    keyring: &Keyring,
    binding: &Binding,
    with_plaintext: bool,
) -> Unrecorded<Result<EnvelopeKey, Refused>> {
    let result = async {
        let key = DataKey::random().map_err(Refused::internal)?;
        let sealed = seal_under(keyring, permit.target(), binding, key.expose_secret()).await?;
        if with_plaintext {
            // ORDER: on record before the key leaves.
            let version = keyring.version_of(permit.target(), sealed.id)?;
            data_key_ids::note_envelopes(keyring, &version).await?;
        }
        Ok(EnvelopeKey { sealed, plaintext: with_plaintext.then_some(key) })
    }
    .await;
    let versions = result.iter().map(|made: &EnvelopeKey| made.sealed.id).collect();
    permit.finish(result, Note { versions, ..Note::default() })
}
