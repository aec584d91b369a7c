//! Seals values under the active version of a key, one or many.

use kms_core::id::VersionId;

use super::data_key_ids::{self, Today};
use super::follow_family::up_to_date;
use super::refused::Refused;
use crate::audit::Counts;
use crate::binding::Binding;
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::keyring::version::SealFailure;
use crate::keyring::{KeyEntry, Keyring};
use crate::records::KeyRef;

/// A sealed value.
#[derive(Debug)]
pub struct Sealed {
    /// KF1.
    pub ciphertext: Vec<u8>,
    /// Address of the version that sealed it.
    pub id: VersionId,
    /// Its number.
    pub version: u32,
}

/// Seals one value.
pub async fn seal(
    permit: Permit<op::Encrypt>,
    keyring: &Keyring,
    binding: &Binding,
    plaintext: &[u8],
) -> Unrecorded<Result<Sealed, Refused>> {
    let result = seal_under(keyring, permit.target(), binding, plaintext).await;
    let versions = result.iter().map(|sealed| sealed.id).collect();
    permit.finish(result, Note { versions, ..Note::default() })
}

/// Seals each item; one that fails leaves the others alone.
pub async fn seal_batch(
    permit: Permit<op::Encrypt>,
    keyring: &Keyring,
    items: &[(Binding, &[u8])],
) -> Unrecorded<Result<Vec<Result<Sealed, Refused>>, Refused>> {
    let mut results = Vec::with_capacity(items.len());
    for (binding, plaintext) in items {
        results.push(seal_under(keyring, permit.target(), binding, plaintext).await);
    }
    let note = Note::of_batch(&results, |sealed| sealed.id);
    permit.finish(Ok(results), note)
}

/// Seals under the active version of a key that the caller has leave to seal with.
pub(super) async fn seal_under(
    keyring: &Keyring,
    key: &KeyEntry,
    binding: &Binding,
    plaintext: &[u8],
) -> Result<Sealed, Refused> {
    let current = up_to_date(keyring, key).await?;
    let key = current.as_deref().unwrap_or(key);
    let version = keyring.version_of(key, key.sealing_version()?)?;
    let prepared = version.prepared_ciphers();
    let ciphertext = loop {
        let today = Today::now();
        match version.seal(binding, plaintext, today) {
            Ok(ciphertext) => break ciphertext,
            Err(SealFailure::NeedsDataKey) => data_key_ids::reserve_own(keyring, &version, today).await?,
            Err(SealFailure::Retired(_)) => return Err(destroyed(&key.name, version.number)),
            Err(SealFailure::Cipher(error)) => return Err(Refused::internal(error)),
        }
    };
    if version.prepared_ciphers() != prepared {
        keyring.reweigh(&version);
    }
    Ok(Sealed { ciphertext, id: version.id(), version: version.number })
}

pub(super) fn destroyed(key: &KeyRef, version: u32) -> Refused {
    Refused::VersionDestroyed { key: key.clone(), version }
}

impl Note {
    /// The note of a batch: distinct versions used, items, failures.
    pub(super) fn of_batch<T, E>(results: &[Result<T, E>], version: impl Fn(&T) -> VersionId) -> Self {
        Self::of_batch_each(results, |done| [version(done)])
    }

    /// The same, where a result has several versions.
    pub(super) fn of_batch_each<T, E, V: IntoIterator<Item = VersionId>>(
        results: &[Result<T, E>],
        versions: impl Fn(&T) -> V,
    ) -> Self {
        let mut versions: Vec<VersionId> = results.iter().flatten().flat_map(versions).collect();
        versions.sort_unstable();
        versions.dedup();
        let count = |items: usize| u32::try_from(items).unwrap_or(u32::MAX);
        let failed = results.iter().filter(|result| result.is_err()).count();
        let counts = Counts { items: count(results.len()), failed: count(failed) };
        Self { versions, counts: Some(counts), ..Self::default() }
    }
}
