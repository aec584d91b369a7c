//! Service `kms.v1.Crypto`. Data keys under lease are in `leases`, what becomes of them in `watch`, masked forms in `reveal`.

use std::sync::Arc;

use kms_core::names::{KeyName, TenantName};
use kms_proto::v1;
use kms_proto::v1::crypto_server::Crypto;
use tonic::{Request, Response, Status, Streaming};

use super::batch::Batch;
use super::convert::{self, MAX_ITEMS};
use super::status::Failure;
use super::{Core, accept, answer, calls, watch};
use crate::binding::Binding;
use crate::gate::{Caller, Op, Permit, target};
use crate::keyring::{KeyEntry, LookupError};
use crate::operation::Operation;
use crate::usecase::open::OpenRefused;
use crate::usecase::refused::Refused;
use crate::usecase::{envelope_key, open, random, reencrypt, seal};

/// The service.
pub struct CryptoService(pub Core);

impl Core {
    /// Leave for one operation on a key named in a request. A key that does not exist is denied as one that is not the caller's.
    pub(super) async fn permit<O: Op<Target = Arc<KeyEntry>>>(
        &self,
        caller: &Caller,
        (tenant, key): (&str, &str),
        purpose: Option<&str>,
    ) -> Result<Permit<O>, Failure> {
        let entry = self.entry(caller, O::OPERATION, (tenant, key), purpose).await?;
        Ok(self.gate.authorize::<O>(caller, entry, purpose).await?)
    }

    /// The key named in a request that is about to ask leave for it.
    pub(super) async fn entry(
        &self,
        caller: &Caller,
        operation: Operation,
        (tenant, key): (&str, &str),
        purpose: Option<&str>,
    ) -> Result<Arc<KeyEntry>, Failure> {
        match self.keyring.key(tenant, key) {
            Ok(entry) => Ok(entry),
            Err(LookupError::NotThere) => {
                let names = (TenantName::try_from(tenant)?, KeyName::try_from(key)?);
                Err(self.gate.deny_unknown(caller, operation, names, purpose).await.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn revision(&self) -> u64 {
        self.keyring.writer().revision().0
    }

    async fn encrypt(
        &self,
        caller: &Caller,
        message: v1::EncryptRequest,
    ) -> Result<v1::EncryptResponse, Failure> {
        let plaintext = convert::plaintext(&message.plaintext)?;
        let binding = convert::binding(message.binding)?;
        let purpose = binding.purpose_or(&message.purpose);
        let permit = self.permit(caller, (&message.tenant, &message.key), purpose).await?;
        let result = seal::seal(permit, &self.keyring, &binding, plaintext).await;
        let seal::Sealed { ciphertext, version, .. } = self.gate.record(result).await??;
        Ok(v1::EncryptResponse { ciphertext, version, store_revision: self.revision() })
    }

    async fn decrypt(
        &self,
        caller: &Caller,
        message: v1::DecryptRequest,
    ) -> Result<v1::DecryptResponse, Failure> {
        let ciphertext = convert::ciphertext(&message.ciphertext)?;
        let binding = convert::binding(message.binding)?;
        let purpose = binding.purpose_or(&message.purpose);
        let permit = self.permit(caller, (&message.tenant, &message.key), purpose).await?;
        let result = open::open(permit, &self.keyring, &binding, ciphertext);
        let open::Opened { plaintext, version, .. } = self.gate.record(result).await??;
        Ok(v1::DecryptResponse {
            plaintext: plaintext.expose_vec(),
            version,
            store_revision: self.revision(),
        })
    }

    async fn encrypt_batch(
        &self,
        caller: &Caller,
        mut message: v1::EncryptBatchRequest,
    ) -> Result<v1::EncryptBatchResponse, Failure> {
        use v1::encrypt_batch_response::{Item, item::Outcome};
        convert::batch(
            message.items.len(),
            MAX_ITEMS,
            message.items.iter().map(|item| item.plaintext.len()),
        )?;
        let parsed = message
            .items
            .iter_mut()
            .map(|item| Ok((convert::binding(item.binding.take())?, convert::plaintext(&item.plaintext)?)));
        let mut batch = Batch::new(parsed, |(binding, _)| purpose(binding, &message.purpose));
        let groups = batch.take_groups_to_ask();
        for group in &groups {
            let names = (&*message.tenant, &*message.key);
            let sealed = self.seal_group(caller, names, group.seen.as_deref(), &group.items).await;
            batch.answer(&groups, group, sealed)?;
        }
        let items = batch.finish(|result| Item {
            outcome: Some(
                result.map_or_else(Outcome::Error, |sealed| Outcome::Ciphertext(sealed.ciphertext)),
            ),
        });
        Ok(v1::EncryptBatchResponse { items, store_revision: self.revision() })
    }

    /// Seals items that policy cannot tell apart.
    async fn seal_group(
        &self,
        caller: &Caller,
        names: (&str, &str),
        purpose: Option<&str>,
        items: &[(Binding, &[u8])],
    ) -> Result<Vec<Result<seal::Sealed, Refused>>, Failure> {
        let permit = self.permit(caller, names, purpose).await?;
        let sealed = seal::seal_batch(permit, &self.keyring, items).await;
        Ok(self.gate.record(sealed).await??)
    }

    /// Opens items that policy cannot tell apart.
    async fn open_group(
        &self,
        caller: &Caller,
        names: (&str, &str),
        purpose: Option<&str>,
        items: &[(Binding, &[u8])],
    ) -> Result<Vec<Result<open::Opened, OpenRefused>>, Failure> {
        let permit = self.permit(caller, names, purpose).await?;
        let opened = open::open_batch(permit, &self.keyring, items).await;
        Ok(self.gate.record(opened).await??)
    }

    async fn decrypt_batch(
        &self,
        caller: &Caller,
        mut message: v1::DecryptBatchRequest,
    ) -> Result<v1::DecryptBatchResponse, Failure> {
        use v1::decrypt_batch_response::{Item, item::Outcome};
        convert::batch(
            message.items.len(),
            MAX_ITEMS,
            message.items.iter().map(|item| item.ciphertext.len()),
        )?;
        let parsed = message
            .items
            .iter_mut()
            .map(|item| Ok((convert::binding(item.binding.take())?, convert::ciphertext(&item.ciphertext)?)));
        let mut batch = Batch::new(parsed, |(binding, _)| purpose(binding, &message.purpose));
        let groups = batch.take_groups_to_ask();
        for group in &groups {
            let names = (&*message.tenant, &*message.key);
            let opened = self.open_group(caller, names, group.seen.as_deref(), &group.items).await;
            batch.answer(&groups, group, opened)?;
        }
        let items = batch.finish(|result| Item {
            outcome: Some(
                result
                    .map_or_else(Outcome::Error, |opened| Outcome::Plaintext(opened.plaintext.expose_vec())),
            ),
        });
        Ok(v1::DecryptBatchResponse { items, store_revision: self.revision() })
    }

    async fn re_encrypt(
        &self,
        caller: &Caller,
        message: v1::ReEncryptRequest,
    ) -> Result<v1::ReEncryptResponse, Failure> {
        let item = reseal_item(&message.ciphertext, message.source_binding, message.destination_binding)?;
        let destination =
            if message.destination_key.is_empty() { &message.key } else { &message.destination_key };
        let names = (&*message.tenant, &*message.key, &**destination);
        let purposes =
            (item.source.purpose_or(&message.purpose), item.destination.purpose_or(&message.purpose));
        let resealed = self.reseal_group(caller, names, purposes, std::slice::from_ref(&item)).await?;
        let Some(resealed) = resealed.into_iter().next() else { return Err(Failure::unanswered()) };
        let reencrypt::Resealed { sealed, source_version, .. } = resealed?;
        Ok(v1::ReEncryptResponse {
            ciphertext: sealed.ciphertext,
            source_version,
            version: sealed.version,
            store_revision: self.revision(),
        })
    }

    async fn re_encrypt_batch(
        &self,
        caller: &Caller,
        message: v1::ReEncryptBatchRequest,
    ) -> Result<v1::ReEncryptBatchResponse, Failure> {
        use v1::re_encrypt_batch_response::{Item, item::Outcome};
        convert::batch(
            message.items.len(),
            MAX_ITEMS,
            message.items.iter().map(|item| item.ciphertext.len()),
        )?;
        let destination =
            if message.destination_key.is_empty() { &message.key } else { &message.destination_key };
        let names = (&*message.tenant, &*message.key, &**destination);
        let parsed = message.items.iter().map(|item| {
            reseal_item(&item.ciphertext, item.source_binding.clone(), item.destination_binding.clone())
        });
        let mut batch = Batch::new(parsed, |item| {
            (purpose(&item.source, &message.purpose), purpose(&item.destination, &message.purpose))
        });
        let groups = batch.take_groups_to_ask();
        for group in &groups {
            let purposes = (group.seen.0.as_deref(), group.seen.1.as_deref());
            let resealed = self.reseal_group(caller, names, purposes, &group.items).await;
            batch.answer(&groups, group, resealed)?;
        }
        let items = batch.finish(|result| Item {
            outcome: Some(
                result
                    .map_or_else(Outcome::Error, |resealed| Outcome::Ciphertext(resealed.sealed.ciphertext)),
            ),
        });
        Ok(v1::ReEncryptBatchResponse { items, store_revision: self.revision() })
    }

    /// Seals items again that policy cannot tell apart: leave for the source, leave for the destination, a line for each.
    async fn reseal_group(
        &self,
        caller: &Caller,
        (tenant, source, destination): (&str, &str, &str),
        (source_purpose, destination_purpose): (Option<&str>, Option<&str>),
        items: &[reencrypt::Item<'_>],
    ) -> Result<Vec<Result<reencrypt::Resealed, OpenRefused>>, Failure> {
        let from = self.permit(caller, (tenant, source), source_purpose).await?;
        let to = self.permit(caller, (tenant, destination), destination_purpose).await?;
        let (read, written) = reencrypt::reencrypt(from, to, &self.keyring, items).await;
        self.gate.record(read).await??;
        Ok(self.gate.record(written).await??)
    }

    async fn generate_data_key(
        &self,
        caller: &Caller,
        message: v1::GenerateDataKeyRequest,
    ) -> Result<v1::GenerateDataKeyResponse, Failure> {
        let binding = Binding::Direct(convert::context(message.context)?);
        let purpose = binding.purpose_or(&message.purpose);
        let permit = self.permit(caller, (&message.tenant, &message.key), purpose).await?;
        let made = envelope_key::generate(permit, &self.keyring, &binding, !message.without_plaintext).await;
        let envelope_key::EnvelopeKey { sealed, plaintext } = self.gate.record(made).await??;
        Ok(v1::GenerateDataKeyResponse {
            ciphertext: sealed.ciphertext,
            plaintext: plaintext.map(|key| key.expose_secret().to_vec()).unwrap_or_default(),
            version: sealed.version,
            store_revision: self.revision(),
            padding: convert::padding(),
        })
    }

    async fn generate_random(
        &self,
        caller: &Caller,
        message: v1::GenerateRandomRequest,
    ) -> Result<v1::GenerateRandomResponse, Failure> {
        let permit = self.gate.authorize(caller, target::System, None).await?;
        let random = self.gate.record(random::generate(permit, message.length)).await??;
        Ok(v1::GenerateRandomResponse { random: random.expose_vec() })
    }
}

fn reseal_item(
    ciphertext: &[u8],
    source: Option<v1::Binding>,
    destination: Option<v1::Binding>,
) -> Result<reencrypt::Item<'_>, Failure> {
    let source = convert::binding(source)?;
    let destination = match destination {
        Some(destination) => convert::binding(Some(destination))?,
        None => source.clone(),
    };
    Ok(reencrypt::Item { ciphertext: convert::ciphertext(ciphertext)?, source, destination })
}

fn purpose(binding: &Binding, stated: &str) -> Option<Box<str>> {
    binding.purpose_or(stated).map(Box::from)
}

calls! {
    CryptoService: Crypto {
        encrypt(EncryptRequest) -> v1::EncryptResponse;
        decrypt(DecryptRequest) -> v1::DecryptResponse;
        re_encrypt(ReEncryptRequest) -> v1::ReEncryptResponse;
        reveal(RevealRequest) -> v1::RevealResponse;
        encrypt_batch(EncryptBatchRequest) -> v1::EncryptBatchResponse;
        decrypt_batch(DecryptBatchRequest) -> v1::DecryptBatchResponse;
        re_encrypt_batch(ReEncryptBatchRequest) -> v1::ReEncryptBatchResponse;
        reveal_batch(RevealBatchRequest) -> v1::RevealBatchResponse;
        generate_data_key(GenerateDataKeyRequest) -> v1::GenerateDataKeyResponse;
        open_data_keys(OpenDataKeysRequest) -> v1::OpenDataKeysResponse;
        generate_random(GenerateRandomRequest) -> v1::GenerateRandomResponse;
    }

    type WatchKeysStream = watch::Events;
    async fn watch_keys(
        &self,
        request: Request<Streaming<v1::WatchKeysRequest>>,
    ) -> Result<Response<watch::Events>, Status> {
        self.0.watch_keys(request).await
    }
}
