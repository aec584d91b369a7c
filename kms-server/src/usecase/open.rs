//! Opens values, one or many. The version comes from the ciphertext; the names the request gave are checked against it before.

use std::sync::Arc;

use kms_core::field::Header;
use kms_core::id::VersionId;
use kms_core::secret::Plaintext;

use super::refused::Refused;
use super::seal::destroyed;
use crate::binding::Binding;
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::keyring::version::OpenFailure;
use crate::keyring::warm::Held;
use crate::keyring::{KeyEntry, Keyring, LookupError};

/// An opened value.
#[derive(Debug)]
pub struct Opened {
    /// What was sealed.
    pub plaintext: Plaintext,
    /// Address of the version that had sealed it.
    pub id: VersionId,
    /// Its number.
    pub version: u32,
}

/// Why a ciphertext did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenRefused {
    /// It belongs to a key that the request does not name: answered as "no such key".
    #[error("the ciphertext belongs to another key than the request names")]
    OtherKey,
    /// Anything else.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl From<&OpenRefused> for kms_proto::reason::Reason {
    fn from(refused: &OpenRefused) -> Self {
        match refused {
            OpenRefused::OtherKey => Self::KeyNotAccessible,
            OpenRefused::Refused(refused) => refused.reason(),
        }
    }
}

/// Opens one value.
pub fn open(
    permit: Permit<op::Decrypt>,
    keyring: &Keyring,
    binding: &Binding,
    ciphertext: &[u8],
) -> Unrecorded<Result<Opened, OpenRefused>> {
    let result = open_under(keyring, permit.target(), binding, ciphertext);
    let versions = result.iter().map(|opened| opened.id).collect();
    permit.finish(result, Note { versions, ..Note::default() })
}

/// Opens each item; one that fails leaves the others alone.
pub async fn open_batch(
    permit: Permit<op::Decrypt>,
    keyring: &Arc<Keyring>,
    items: &[(Binding, &[u8])],
) -> Unrecorded<Result<Vec<Result<Opened, OpenRefused>>, Refused>> {
    let _held = warm(keyring, permit.target(), items.iter().map(|(_, ciphertext)| *ciphertext)).await;
    let open =
        |(binding, ciphertext): &(Binding, &[u8])| open_under(keyring, permit.target(), binding, ciphertext);
    let results: Vec<_> = items.iter().map(open).collect();
    let note = Note::of_batch(&results, |opened| opened.id);
    permit.finish(Ok(results), note)
}

/// Makes the versions warm that the ciphertexts of a batch name.
pub(super) async fn warm(
    keyring: &Arc<Keyring>,
    key: &Arc<KeyEntry>,
    ciphertexts: impl Iterator<Item = &[u8]>,
) -> Held {
    let named = |ciphertext| Some((key, Header::parse(ciphertext).ok()?.version));
    keyring.warm(ciphertexts.filter_map(named)).await
}

/// Opens a value of a key that the caller has leave to open with.
pub(super) fn open_under(
    keyring: &Keyring,
    key: &KeyEntry,
    binding: &Binding,
    ciphertext: &[u8],
) -> Result<Opened, OpenRefused> {
    let header = Header::parse(ciphertext).map_err(|_| Refused::CiphertextMalformed)?;
    let version = match keyring.version_of(key, header.version) {
        Err(LookupError::NotThere) => return Err(OpenRefused::OtherKey),
        version => version.map_err(Refused::from)?,
    };
    key.check_opens().map_err(Refused::from)?;
    let prepared = version.prepared_ciphers();
    let plaintext = version.open(&header, binding, ciphertext).map_err(|failure| match failure {
        OpenFailure::Retired(_) => destroyed(&key.name, version.number),
        OpenFailure::Rejected(_) | OpenFailure::OtherKind => Refused::CiphertextRejected,
    })?;
    if version.prepared_ciphers() != prepared {
        keyring.reweigh(&version);
    }
    Ok(Opened { plaintext, id: version.id(), version: version.number })
}
