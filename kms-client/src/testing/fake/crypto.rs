//! The service `Crypto`: leases as a key centre would give them, and class L4 sealed by the server. Masked forms are in `reveal`.

use std::sync::atomic::Ordering::Relaxed;

use kms_core::{
    field::{DirectCipher, Header},
    id::{DataKeyId, VersionId},
    names::Context,
    secret::{DataKey, VersionMaterial},
};
use kms_proto::{
    reason::Reason,
    refusal,
    v1::{self, crypto_server::Crypto, *},
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::server::{FakeKey, FakeWatch, State};

type Answer<A> = Result<Response<A>, Status>;

/// Material of a version: any bytes will do, the same each time.
pub(super) fn data_key(version: VersionId, id: DataKeyId) -> DataKey {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&version.get().to_be_bytes());
    VersionMaterial::copied_from(&bytes).unwrap().data_key(version, id)
}

fn item_error(reason: Reason) -> ItemError {
    ItemError { code: reason.code().into(), reason: reason.to_string(), message: String::new() }
}

fn direct(binding: Option<Binding>) -> Result<Context, Reason> {
    match binding.and_then(|binding| binding.binding) {
        Some(binding::Binding::Direct(context)) => {
            let pairs = context.pairs.iter().map(|pair| (pair.name.as_str(), pair.value.as_slice()));
            Context::new(pairs).map_err(|_| Reason::ContextInvalid)
        }
        _ => Err(Reason::BindingInvalid),
    }
}

impl State {
    pub(super) fn key(&self, name: &str) -> Result<FakeKey, Reason> {
        let key = self.keys.lock().get(name).cloned().ok_or(Reason::KeyNotAccessible)?;
        key.refuses.map_or(Ok(key), Err)
    }

    fn current(&self, name: &str, deterministic: bool) -> Result<LeasedDataKey, Reason> {
        let key = self.key(name)?;
        let (version, id) = if deterministic { (1, 0) } else { (key.version, 5) };
        self.leased(name, &key, version, id.into(), key.budget)
    }

    /// Every version of an index key; the newest takes new rows where the test says that it has settled.
    fn index(&self, name: &str) -> Result<LeasedIndex, Reason> {
        let key = self.key(name)?;
        let versions: Vec<u32> = (1..=key.version).filter(|number| !key.destroyed.contains(number)).collect();
        let leased =
            versions.iter().rev().map(|number| self.leased(name, &key, *number, DataKeyId::DETERMINISTIC, 0));
        let leased = leased.collect::<Result<Vec<_>, _>>()?;
        if !name.ends_with(".index") {
            return Err(Reason::KeyUseMismatch);
        }
        let settled = versions.iter().rev().find(|number| **number <= key.settled).or(versions.first());
        let writes_under = settled.map(|number| key.id(*number).get());
        let unsettled = writes_under != versions.last().map(|number| key.id(*number).get());
        let settles_in = unsettled.then(|| key.lease.try_into().unwrap());
        let newest = versions.last().filter(|_| unsettled).map(|number| key.id(*number).get());
        let mut leased = LeasedIndex { versions: leased, writes_under, settles_in, settles_under: newest };
        if let Some(twist) = *self.twist_index.lock() {
            twist(&mut leased);
        }
        Ok(leased)
    }

    fn existing(&self, version: VersionId, id: DataKeyId) -> Result<LeasedDataKey, Reason> {
        let keys = self.keys.lock().clone();
        let of_version = |(name, key): (&String, &FakeKey)| {
            (1..=key.version).find(|number| key.id(*number) == version).map(|number| (name.clone(), number))
        };
        let (name, number) = keys.iter().find_map(of_version).ok_or(Reason::KeyNotAccessible)?;
        self.leased(&name, &self.key(&name)?, number, id, 0)
    }

    fn leased(
        &self,
        name: &str,
        key: &FakeKey,
        number: u32,
        id: DataKeyId,
        budget: u64,
    ) -> Result<LeasedDataKey, Reason> {
        if name.ends_with(".index") && (budget > 0 || id != DataKeyId::DETERMINISTIC) {
            return Err(Reason::KeyUseMismatch);
        }
        if key.class_l4 {
            return Err(Reason::ClassReleasesNoDataKeys);
        }
        let mut leased = LeasedDataKey {
            version_id: key.id(number).get(),
            data_key_id: id.get(),
            data_key: data_key(key.id(number), id).expose_secret().to_vec(),
            lease: Some(key.lease.try_into().unwrap()),
            budget,
            revision: 1,
            key: name.into(),
            version: number,
        };
        if let Some(twist) = *self.twist.lock() {
            twist(&mut leased);
        }
        Ok(leased)
    }

    fn seal_direct(&self, key: &str, plaintext: &[u8], binding: Option<Binding>) -> Result<Vec<u8>, Reason> {
        let key = self.key(key)?;
        let (version, id) = (key.id(key.version), DataKeyId::server_own(3).unwrap());
        let cipher = DirectCipher::new(&data_key(version, id), version, id);
        cipher.seal(&direct(binding)?, plaintext).map_err(|_| Reason::Internal)
    }

    pub(super) fn open_direct(
        &self,
        key: &str,
        ciphertext: &[u8],
        binding: Option<Binding>,
    ) -> Result<Vec<u8>, Reason> {
        let key = self.key(key)?;
        let header = Header::parse(ciphertext).map_err(|_| Reason::CiphertextMalformed)?;
        if !(1..=key.version).any(|number| key.id(number) == header.version) {
            return Err(Reason::KeyNotAccessible);
        }
        let cipher =
            DirectCipher::new(&data_key(header.version, header.data_key), header.version, header.data_key);
        let opened = cipher.open(&direct(binding)?, ciphertext).map_err(|_| Reason::CiphertextRejected)?;
        Ok(opened.expose_vec())
    }
}

#[tonic::async_trait]
impl Crypto for State {
    async fn open_data_keys(&self, request: Request<OpenDataKeysRequest>) -> Answer<OpenDataKeysResponse> {
        use open_data_keys_request::item::Item as Asked;
        self.enter("OpenDataKeys", &request).await?;
        let request = request.into_inner();
        let store_revision = self.revision.load(Relaxed);
        // The answer is on its way from here on, although it arrives later.
        let mut under_way = self.under_way.subscribe();
        self.reports.lock().extend(request.reports);
        let other_tenant = request.tenant != super::TENANT;
        let item = |item: open_data_keys_request::Item| {
            use open_data_keys_response::item::Outcome;
            let outcome = match item.item.unwrap() {
                _ if other_tenant => Err(Reason::KeyNotAccessible),
                Asked::Current(current) => {
                    self.current(&current.key, current.deterministic).map(Outcome::Leased)
                }
                Asked::Existing(existing) => self
                    .existing(existing.version_id.into(), existing.data_key_id.into())
                    .map(Outcome::Leased),
                Asked::Index(index) => self.index(&index.key).map(Outcome::Index),
            };
            let outcome = outcome.unwrap_or_else(|reason| Outcome::Error(item_error(reason)));
            open_data_keys_response::Item { outcome: Some(outcome) }
        };
        self.instances.lock().push(request.client_instance);
        let items = request.items.into_iter().map(item).collect();
        let (client_instance, padding) = ("c".into(), Vec::new());
        under_way.wait_for(|under_way| !under_way).await.unwrap();
        Ok(Response::new(OpenDataKeysResponse { items, store_revision, client_instance, padding }))
    }

    type WatchKeysStream = UnboundedReceiverStream<Result<WatchKeysResponse, Status>>;
    async fn watch_keys(
        &self,
        request: Request<Streaming<WatchKeysRequest>>,
    ) -> Answer<Self::WatchKeysStream> {
        use watch_keys_request::Request as Said;
        use watch_keys_response::{Opened, Response as Told};
        *self.calls.lock().entry("WatchKeys").or_default() += 1;
        let mut said = request.into_inner();
        let first = said.message().await?.unwrap().request;
        let Some(Said::Open(open)) = first else { return Err(Status::invalid_argument("")) };
        let (events, told) = mpsc::unbounded_channel();
        let opened = Opened { server_instance: "s".into(), stale: self.stale.load(Relaxed) };
        events.send(Ok(WatchKeysResponse { response: Some(Told::Opened(opened)) })).unwrap();
        let (confirm, confirmed) = watch::channel(0);
        let instance = open.client_instance;
        self.watches.lock().push(FakeWatch { instance, events, confirmed });
        tokio::spawn(async move {
            while let Ok(Some(WatchKeysRequest { request: Some(Said::Confirm(said)) })) = said.message().await
            {
                confirm.send_replace(said.number);
            }
        });
        Ok(Response::new(UnboundedReceiverStream::new(told)))
    }

    async fn encrypt(&self, request: Request<EncryptRequest>) -> Answer<EncryptResponse> {
        self.enter("Encrypt", &request).await?;
        let request = request.into_inner();
        let sealed = self.seal_direct(&request.key, &request.plaintext, request.binding);
        let ciphertext = sealed.map_err(|reason| refusal::status(reason, "", None, None))?;
        Ok(Response::new(EncryptResponse { ciphertext, version: 1, store_revision: 1 }))
    }

    async fn decrypt(&self, request: Request<DecryptRequest>) -> Answer<DecryptResponse> {
        self.enter("Decrypt", &request).await?;
        let request = request.into_inner();
        let opened = self.open_direct(&request.key, &request.ciphertext, request.binding);
        let plaintext = opened.map_err(|reason| refusal::status(reason, "", None, None))?;
        Ok(Response::new(DecryptResponse { plaintext, version: 1, store_revision: 1 }))
    }

    async fn encrypt_batch(&self, request: Request<EncryptBatchRequest>) -> Answer<EncryptBatchResponse> {
        use encrypt_batch_response::item::Outcome;
        self.enter("EncryptBatch", &request).await?;
        let request = request.into_inner();
        assert!(request.items.len() <= 1_000);
        let item = |item: encrypt_batch_request::Item| encrypt_batch_response::Item {
            outcome: Some(match self.seal_direct(&request.key, &item.plaintext, item.binding) {
                Ok(sealed) => Outcome::Ciphertext(sealed),
                Err(reason) => Outcome::Error(item_error(reason)),
            }),
        };
        let items = request.items.into_iter().map(item).collect();
        Ok(Response::new(EncryptBatchResponse { items, store_revision: 1 }))
    }

    async fn decrypt_batch(&self, request: Request<DecryptBatchRequest>) -> Answer<DecryptBatchResponse> {
        use decrypt_batch_response::item::Outcome;
        self.enter("DecryptBatch", &request).await?;
        let request = request.into_inner();
        let item = |item: decrypt_batch_request::Item| decrypt_batch_response::Item {
            outcome: Some(match self.open_direct(&request.key, &item.ciphertext, item.binding) {
                Ok(opened) => Outcome::Plaintext(opened),
                Err(reason) => Outcome::Error(item_error(reason)),
            }),
        };
        let items = request.items.into_iter().map(item).collect();
        Ok(Response::new(DecryptBatchResponse { items, store_revision: 1 }))
    }

    async fn reveal(&self, request: Request<RevealRequest>) -> Answer<RevealResponse> {
        self.enter("Reveal", &request).await?;
        let RevealRequest { tenant, key, ciphertext, binding, purpose: _ } = request.into_inner();
        let masked = self.reveal_one((&tenant, &key), &ciphertext, binding);
        let masked = masked.map_err(|reason| refusal::status(reason, "", None, None))?;
        Ok(Response::new(RevealResponse { masked: Some(masked), store_revision: 1 }))
    }

    async fn reveal_batch(&self, request: Request<RevealBatchRequest>) -> Answer<RevealBatchResponse> {
        use reveal_batch_response::item::Outcome;
        self.enter("RevealBatch", &request).await?;
        let request = request.into_inner();
        assert!(request.items.len() <= 1_000);
        let names = (&*request.tenant, &*request.key);
        let item = |item: reveal_batch_request::Item| reveal_batch_response::Item {
            outcome: Some(match self.reveal_one(names, &item.ciphertext, item.binding) {
                Ok(masked) => Outcome::Masked(masked),
                Err(reason) => Outcome::Error(item_error(reason)),
            }),
        };
        let items = request.items.into_iter().map(item).collect();
        Ok(Response::new(RevealBatchResponse { items, store_revision: 1 }))
    }

    async fn re_encrypt(&self, _: Request<ReEncryptRequest>) -> Answer<ReEncryptResponse> {
        Err(Status::unimplemented(""))
    }
    async fn re_encrypt_batch(&self, _: Request<ReEncryptBatchRequest>) -> Answer<ReEncryptBatchResponse> {
        Err(Status::unimplemented(""))
    }
    async fn generate_data_key(&self, _: Request<GenerateDataKeyRequest>) -> Answer<GenerateDataKeyResponse> {
        Err(Status::unimplemented(""))
    }
    async fn generate_random(
        &self,
        request: Request<GenerateRandomRequest>,
    ) -> Answer<GenerateRandomResponse> {
        self.enter("GenerateRandom", &request).await?;
        let random = vec![4; request.into_inner().length as usize];
        Ok(Response::new(v1::GenerateRandomResponse { random }))
    }
}
