//! Opens under one binding and seals under another, or under a newer version, without showing the value.

use std::sync::Arc;

use kms_core::id::VersionId;

use super::open::{OpenRefused, open_under, warm};
use super::refused::Refused;
use super::seal::{Sealed, seal_under};
use crate::binding::Binding;
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::keyring::{KeyEntry, Keyring};

/// One value to seal again.
pub struct Item<'a> {
    /// What it is sealed as.
    pub ciphertext: &'a [u8],
    /// What it is bound to.
    pub source: Binding,
    /// What it is to be bound to.
    pub destination: Binding,
}

/// A value sealed again.
#[derive(Debug)]
pub struct Resealed {
    /// The new ciphertext.
    pub sealed: Sealed,
    /// Address of the version it was sealed under before.
    pub source: VersionId,
    /// Its number.
    pub source_version: u32,
}

/// Seals values again: with leave to re-encrypt from the source key, and to seal with the destination key. Two lines are
/// written, one for each key; the results wait for both.
pub async fn reencrypt(
    source: Permit<op::ReEncrypt>,
    destination: Permit<op::Encrypt>,
    keyring: &Arc<Keyring>,
    items: &[Item<'_>],
) -> (Unrecorded<Result<(), Refused>>, Unrecorded<Result<Vec<Result<Resealed, OpenRefused>>, Refused>>) {
    let _held = warm(keyring, source.target(), items.iter().map(|item| item.ciphertext)).await;
    let mut results = Vec::with_capacity(items.len());
    for item in items {
        results.push(one(keyring, source.target(), destination.target(), item).await);
    }
    let read = Note::of_batch(&results, |resealed| resealed.source);
    let written = Note::of_batch(&results, |resealed| resealed.sealed.id);
    (source.finish(Ok(()), read), destination.finish(Ok(results), written))
}

async fn one(
    keyring: &Keyring,
    source: &KeyEntry,
    destination: &KeyEntry,
    item: &Item<'_>,
) -> Result<Resealed, OpenRefused> {
    let opened = open_under(keyring, source, &item.source, item.ciphertext)?;
    let sealed = seal_under(keyring, destination, &item.destination, &opened.plaintext).await?;
    Ok(Resealed { sealed, source: opened.id, source_version: opened.version })
}
