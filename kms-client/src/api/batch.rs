//! Batches on the server: a result for each item, in order, however many calls it takes.

use kms_core::{
    names::{KeyName, TenantName},
    secret::Plaintext,
};
use kms_proto::v1::{self, decrypt_batch_response, encrypt_batch_response, re_encrypt_batch_response};

use super::{
    binding::Binding,
    crypto::{ToOpen, ToReEncrypt, ToSeal, client, split},
};
use crate::{call::Answered, error::Error, kms::Kms};

const MISSING: &str = "a batch has fewer results than items";

/// Bytes that a binding takes in a message.
pub(super) fn bound(binding: &Binding) -> usize {
    match binding {
        Binding::Direct(context) => {
            context.pairs().map(|(name, value)| name.as_str().len() + value.len() + 8).sum()
        }
        Binding::Field { table, column, record } => {
            table.as_str().len() + column.as_str().len() + record.as_bytes().len()
        }
    }
}

/// Turns the answer for one call into results, in order; where the call itself failed, each of its items did.
pub(super) fn results<A, I, T>(
    called: Result<Answered<A>, Error>,
    asked: usize,
    items: impl FnOnce(A) -> Vec<I>,
    outcome: impl Fn(I) -> Option<Result<T, v1::ItemError>>,
) -> Vec<Result<T, Error>> {
    let Answered { answer, request_id } = match called {
        Ok(answered) => answered,
        Err(error) => return std::iter::repeat_with(|| Err(error.clone())).take(asked).collect(),
    };
    let unclear = || Error::Answer { what: MISSING, request_id: request_id.clone() };
    let one = |item| match outcome(item) {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(Error::item(error, &request_id)),
        None => Err(unclear()),
    };
    let mut results: Vec<_> = items(answer).into_iter().take(asked).map(one).collect();
    results.resize_with(asked, || Err(unclear()));
    results
}

impl Kms {
    /// Seals values on the server; results in order.
    pub async fn encrypt_batch(
        &self,
        tenant: &TenantName,
        key: &KeyName,
        items: &[ToSeal<'_>],
    ) -> Vec<Result<Vec<u8>, Error>> {
        self.encrypt_for(tenant, key, &self.terms.purpose, items).await
    }

    /// [`Kms::encrypt_batch`], stating another purpose to policy; empty for none.
    pub(crate) async fn encrypt_for(
        &self,
        tenant: &TenantName,
        key: &KeyName,
        purpose: &str,
        items: &[ToSeal<'_>],
    ) -> Vec<Result<Vec<u8>, Error>> {
        use encrypt_batch_response::item::Outcome;
        let mut sealed = Vec::with_capacity(items.len());
        for part in split(items, |item| item.plaintext.len() + bound(&item.binding)) {
            let item = |item: &ToSeal<'_>| v1::encrypt_batch_request::Item {
                plaintext: item.plaintext.to_vec(),
                binding: Some((&item.binding).into()),
            };
            let message = v1::EncryptBatchRequest {
                tenant: tenant.to_string(),
                key: key.to_string(),
                items: part.iter().map(item).collect(),
                purpose: purpose.to_owned(),
            };
            let called =
                self.call(
                    message,
                    |channel, request| async move { client(channel).encrypt_batch(request).await },
                );
            let outcome = |item: encrypt_batch_response::Item| {
                item.outcome.map(|outcome| match outcome {
                    Outcome::Ciphertext(ciphertext) => Ok(ciphertext),
                    Outcome::Error(error) => Err(error),
                })
            };
            sealed.extend(results(called.await, part.len(), |answer| answer.items, outcome));
        }
        sealed
    }

    /// Opens values on the server; results in order.
    pub async fn decrypt_batch(
        &self,
        tenant: &TenantName,
        key: &KeyName,
        items: &[ToOpen<'_>],
    ) -> Vec<Result<Plaintext, Error>> {
        self.decrypt_for(tenant, key, &self.terms.purpose, items).await
    }

    /// [`Kms::decrypt_batch`], stating another purpose to policy; empty for none.
    pub(crate) async fn decrypt_for(
        &self,
        tenant: &TenantName,
        key: &KeyName,
        purpose: &str,
        items: &[ToOpen<'_>],
    ) -> Vec<Result<Plaintext, Error>> {
        use decrypt_batch_response::item::Outcome;
        let mut opened = Vec::with_capacity(items.len());
        for part in split(items, |item| item.ciphertext.len() + bound(&item.binding)) {
            let item = |item: &ToOpen<'_>| v1::decrypt_batch_request::Item {
                ciphertext: item.ciphertext.to_vec(),
                binding: Some((&item.binding).into()),
            };
            let message = v1::DecryptBatchRequest {
                tenant: tenant.to_string(),
                key: key.to_string(),
                items: part.iter().map(item).collect(),
                purpose: purpose.to_owned(),
            };
            let called =
                self.call(
                    message,
                    |channel, request| async move { client(channel).decrypt_batch(request).await },
                );
            let outcome = |item: decrypt_batch_response::Item| {
                item.outcome.map(|outcome| match outcome {
                    Outcome::Plaintext(plaintext) => Ok(Plaintext::from(plaintext)),
                    Outcome::Error(error) => Err(error),
                })
            };
            opened.extend(results(called.await, part.len(), |answer| answer.items, outcome));
        }
        opened
    }

    /// Opens values and seals them again on the server, which does not show them; results in order.
    pub async fn reencrypt_batch(
        &self,
        tenant: &TenantName,
        key: &KeyName,
        destination_key: Option<&KeyName>,
        items: &[ToReEncrypt<'_>],
    ) -> Vec<Result<Vec<u8>, Error>> {
        use re_encrypt_batch_response::item::Outcome;
        let size = |item: &ToReEncrypt<'_>| {
            item.ciphertext.len()
                + bound(&item.source_binding)
                + item.destination_binding.as_ref().map_or(0, bound)
        };
        let mut sealed = Vec::with_capacity(items.len());
        for part in split(items, size) {
            let item = |item: &ToReEncrypt<'_>| v1::re_encrypt_batch_request::Item {
                ciphertext: item.ciphertext.to_vec(),
                source_binding: Some((&item.source_binding).into()),
                destination_binding: item.destination_binding.as_ref().map(Into::into),
            };
            let message = v1::ReEncryptBatchRequest {
                tenant: tenant.to_string(),
                key: key.to_string(),
                destination_key: destination_key.map(ToString::to_string).unwrap_or_default(),
                items: part.iter().map(item).collect(),
                purpose: self.terms.purpose.to_string(),
            };
            let called = self.call(message, |channel, request| async move {
                client(channel).re_encrypt_batch(request).await
            });
            let outcome = |item: re_encrypt_batch_response::Item| {
                item.outcome.map(|outcome| match outcome {
                    Outcome::Ciphertext(ciphertext) => Ok(ciphertext),
                    Outcome::Error(error) => Err(error),
                })
            };
            sealed.extend(results(called.await, part.len(), |answer| answer.items, outcome));
        }
        sealed
    }
}
