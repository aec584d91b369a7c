//! Seal and open on the server; envelope keys; random bytes. Batches of any size are sent in calls that the server takes.

use kms_core::{
    id::CommitNumber,
    names::{Context, KeyName, TenantName},
    secret::Plaintext,
};
use kms_proto::v1::{self, crypto_client::CryptoClient};
use tonic::transport::Channel;

use super::binding::{Binding, context_message};
use crate::{error::Error, kms::Kms};

/// Most bytes of a message, on both ends.
pub(crate) const MAX_MESSAGE: usize = 5 << 20;
/// Most items of a batch that carries payloads.
pub(crate) const MAX_ITEMS: usize = 1_000;
/// Most bytes of payloads in one call.
pub(crate) const MAX_SUM: usize = 4 << 20;
/// What an item costs in a message beside its payload and binding.
const ITEM_OVERHEAD: usize = 32;

/// A value sealed by the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// KF1.
    pub ciphertext: Vec<u8>,
    /// Number of the version that sealed it.
    pub version: u32,
    /// The store's revision at that time.
    pub store_revision: CommitNumber,
}

/// A value opened by the server.
#[derive(Debug)]
pub struct Opened {
    /// What was sealed; wiped on drop.
    pub plaintext: Plaintext,
    /// Number of the version that had sealed it.
    pub version: u32,
    /// The store's revision at that time.
    pub store_revision: CommitNumber,
}

/// A value opened and sealed again by the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReSealed {
    /// KF1.
    pub ciphertext: Vec<u8>,
    /// Number of the version that had sealed it.
    pub source_version: u32,
    /// Number of the version that seals it now.
    pub version: u32,
    /// The store's revision at that time.
    pub store_revision: CommitNumber,
}

/// One value of a batch to seal.
#[derive(Debug, Clone)]
pub struct ToSeal<'a> {
    /// The value.
    pub plaintext: &'a [u8],
    /// What it is to be bound to.
    pub binding: Binding,
}

/// One value of a batch to open.
#[derive(Debug, Clone)]
pub struct ToOpen<'a> {
    /// KF1.
    pub ciphertext: &'a [u8],
    /// What it is bound to.
    pub binding: Binding,
}

/// Where a value is bound now, and where it is to go.
#[derive(Debug, Clone)]
pub struct ReEncrypt {
    /// What it is bound to.
    pub source_binding: Binding,
    /// `None`: the same key, under its active version.
    pub destination_key: Option<KeyName>,
    /// `None`: the same binding.
    pub destination_binding: Option<Binding>,
}

/// One value of a batch to seal again.
#[derive(Debug, Clone)]
pub struct ToReEncrypt<'a> {
    /// KF1.
    pub ciphertext: &'a [u8],
    /// What it is bound to.
    pub source_binding: Binding,
    /// `None`: the same binding.
    pub destination_binding: Option<Binding>,
}

/// An envelope key: made by the server, opened by [`Kms::decrypt`] with the same context.
#[derive(Debug)]
pub struct EnvelopeKey {
    /// KF1, to be stored beside the data.
    pub ciphertext: Vec<u8>,
    /// 32 bytes, wiped on drop; `None` where it was not asked for.
    pub plaintext: Option<Plaintext>,
    /// Number of the version that sealed it.
    pub version: u32,
}

pub(crate) fn client(channel: Channel) -> CryptoClient<Channel> {
    CryptoClient::new(channel).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
}

impl Kms {
    /// Seals one value on the server.
    pub async fn encrypt(
        &self,
        tenant: &TenantName,
        key: &KeyName,
        binding: &Binding,
        plaintext: &[u8],
    ) -> Result<Sealed, Error> {
        let message = v1::EncryptRequest {
            tenant: tenant.to_string(),
            key: key.to_string(),
            plaintext: plaintext.to_vec(),
            binding: Some(binding.into()),
            purpose: self.terms.purpose.to_string(),
        };
        let called =
            self.call(message, |channel, request| async move { client(channel).encrypt(request).await });
        let v1::EncryptResponse { ciphertext, version, store_revision } = called.await?.answer;
        Ok(Sealed { ciphertext, version, store_revision: CommitNumber(store_revision) })
    }

    /// Opens one value on the server.
    pub async fn decrypt(
        &self,
        tenant: &TenantName,
        key: &KeyName,
        binding: &Binding,
        ciphertext: &[u8],
    ) -> Result<Opened, Error> {
        let message = v1::DecryptRequest {
            tenant: tenant.to_string(),
            key: key.to_string(),
            ciphertext: ciphertext.to_vec(),
            binding: Some(binding.into()),
            purpose: self.terms.purpose.to_string(),
        };
        let called =
            self.call(message, |channel, request| async move { client(channel).decrypt(request).await });
        let v1::DecryptResponse { plaintext, version, store_revision } = called.await?.answer;
        Ok(Opened { plaintext: plaintext.into(), version, store_revision: CommitNumber(store_revision) })
    }

    /// Opens a value and seals it again on the server, which does not show it.
    pub async fn reencrypt(
        &self,
        tenant: &TenantName,
        key: &KeyName,
        ciphertext: &[u8],
        how: &ReEncrypt,
    ) -> Result<ReSealed, Error> {
        let message = v1::ReEncryptRequest {
            tenant: tenant.to_string(),
            key: key.to_string(),
            ciphertext: ciphertext.to_vec(),
            source_binding: Some((&how.source_binding).into()),
            destination_key: how.destination_key.as_ref().map(ToString::to_string).unwrap_or_default(),
            destination_binding: how.destination_binding.as_ref().map(Into::into),
            purpose: self.terms.purpose.to_string(),
        };
        let called =
            self.call(message, |channel, request| async move { client(channel).re_encrypt(request).await });
        let v1::ReEncryptResponse { ciphertext, source_version, version, store_revision } =
            called.await?.answer;
        Ok(ReSealed { ciphertext, source_version, version, store_revision: CommitNumber(store_revision) })
    }

    /// Makes an envelope key, with or without showing it.
    pub async fn generate_data_key(
        &self,
        tenant: &TenantName,
        key: &KeyName,
        context: &Context,
        with_plaintext: bool,
    ) -> Result<EnvelopeKey, Error> {
        let message = v1::GenerateDataKeyRequest {
            tenant: tenant.to_string(),
            key: key.to_string(),
            context: Some(context_message(context)),
            without_plaintext: !with_plaintext,
            purpose: self.terms.purpose.to_string(),
        };
        let called =
            self.call(
                message,
                |channel, request| async move { client(channel).generate_data_key(request).await },
            );
        called.await?.convert(|made| {
            let plaintext = Plaintext::from(made.plaintext);
            match (with_plaintext, plaintext.len()) {
                (true, 32) | (false, 0) => {}
                _ => return Err("an envelope key of another length than asked"),
            }
            let plaintext = with_plaintext.then_some(plaintext);
            Ok(EnvelopeKey { ciphertext: made.ciphertext, plaintext, version: made.version })
        })
    }

    /// Random bytes of the server's operating system, at most 64 KiB.
    pub async fn generate_random(&self, length: u32) -> Result<Plaintext, Error> {
        let message = v1::GenerateRandomRequest { length };
        let called = self
            .call(message, |channel, request| async move { client(channel).generate_random(request).await });
        called.await?.convert(|made| Ok(made.random.into()))
    }
}

/// Cuts items into calls that the server takes: by number, and by the bytes that `size` gives.
pub(crate) fn split<T>(items: &[T], size: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut calls = Vec::new();
    let (mut start, mut sum) = (0, 0);
    for (at, item) in items.iter().enumerate() {
        let size = size(item) + ITEM_OVERHEAD;
        if at > start && (at - start == MAX_ITEMS || sum + size > MAX_SUM) {
            calls.push(&items[start..at]);
            (start, sum) = (at, 0);
        }
        sum += size;
    }
    if start < items.len() {
        calls.push(&items[start..]);
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_cut_by_number_and_by_bytes_and_loses_nothing() {
        let items: Vec<usize> = (0..2_500).collect();
        let calls = split(&items, |_| 10);
        assert_eq!(calls.iter().map(|call| call.len()).collect::<Vec<_>>(), [1_000, 1_000, 500]);
        assert_eq!(calls.concat(), items);

        let calls = split(&items[..200], |_| 64 << 10);
        assert!(calls.iter().all(|call| call.len() <= 64), "{}", calls[0].len());
        assert_eq!(calls.concat(), items[..200]);
        assert!(split(&items[..0], |_| 1).is_empty());
        assert_eq!(split(&[0], |_| MAX_SUM * 2).len(), 1);
    }
}
