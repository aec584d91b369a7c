//! The service `Crypto`. Data keys under lease are in `leases`, what becomes of them in `watch`, masked forms in `reveal`.

use kms_core::secret::DataKey;
use kms_proto::{
    reason::Reason,
    v1::{self, crypto_server::Crypto},
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    super::{
        ledger::{Bound, Place, Resealed},
        refused::Refused,
        rights::Operation,
    },
    Desk, Service, calls, item,
    limits::{self, MAX_ITEMS},
    watch::Events,
};

const MAX_RANDOM: u32 = 64 << 10;

impl Desk<'_> {
    fn encrypt(&mut self, message: v1::EncryptRequest) -> Result<v1::EncryptResponse, Refused> {
        let plaintext = limits::plaintext(&message.plaintext)?;
        let bound = Bound::of(message.binding)?;
        let (names, purpose) = ((&*message.tenant, &*message.key), bound.purpose(&message.purpose));
        let place = self.permit_for(Operation::Encrypt, names, purpose)?;
        let now = self.now;
        let sealed = self.ledger().seal(&place, &bound, plaintext, now)?;
        let store_revision = self.revision();
        Ok(v1::EncryptResponse { ciphertext: sealed.ciphertext, version: sealed.version, store_revision })
    }

    fn decrypt(&mut self, message: v1::DecryptRequest) -> Result<v1::DecryptResponse, Refused> {
        let ciphertext = limits::ciphertext(&message.ciphertext)?;
        let bound = Bound::of(message.binding)?;
        let (names, purpose) = ((&*message.tenant, &*message.key), bound.purpose(&message.purpose));
        let place = self.permit_for(Operation::Decrypt, names, purpose)?;
        let opened = self.ledger().open(&place, &bound, ciphertext)?;
        let (plaintext, store_revision) = (opened.plaintext.expose_vec(), self.revision());
        Ok(v1::DecryptResponse { plaintext, version: opened.version, store_revision })
    }

    fn encrypt_batch(
        &mut self,
        message: v1::EncryptBatchRequest,
    ) -> Result<v1::EncryptBatchResponse, Refused> {
        use v1::encrypt_batch_response::{Item, item::Outcome};
        let sizes = message.items.iter().map(|item| item.plaintext.len());
        limits::batch(message.items.len(), MAX_ITEMS, sizes)?;
        let (names, now) = ((&*message.tenant, &*message.key), self.now);
        let parsed = message.items.iter().map(|asked| {
            let bound = Bound::of(asked.binding.clone())?;
            Ok((bound, limits::plaintext(&asked.plaintext)?))
        });
        let sealed = self.each(
            parsed.collect(),
            |(bound, _)| stated(bound, &message.purpose),
            |desk, purpose| desk.permit_for(Operation::Encrypt, names, purpose.as_deref()),
            |desk, place, (bound, plaintext)| desk.ledger().seal(place, &bound, plaintext, now),
        )?;
        let items = sealed.into_iter().map(|sealed| Item {
            outcome: Some(item(sealed, |sealed| Outcome::Ciphertext(sealed.ciphertext), Outcome::Error)),
        });
        Ok(v1::EncryptBatchResponse { items: items.collect(), store_revision: self.revision() })
    }

    fn decrypt_batch(
        &mut self,
        message: v1::DecryptBatchRequest,
    ) -> Result<v1::DecryptBatchResponse, Refused> {
        use v1::decrypt_batch_response::{Item, item::Outcome};
        let sizes = message.items.iter().map(|item| item.ciphertext.len());
        limits::batch(message.items.len(), MAX_ITEMS, sizes)?;
        let names = (&*message.tenant, &*message.key);
        let parsed = message.items.iter().map(|asked| {
            let bound = Bound::of(asked.binding.clone())?;
            Ok((bound, limits::ciphertext(&asked.ciphertext)?))
        });
        let opened = self.each(
            parsed.collect(),
            |(bound, _)| stated(bound, &message.purpose),
            |desk, purpose| desk.permit_for(Operation::Decrypt, names, purpose.as_deref()),
            |desk, place, (bound, ciphertext)| desk.ledger().open(place, &bound, ciphertext),
        )?;
        let items = opened.into_iter().map(|opened| Item {
            outcome: Some(item(
                opened,
                |opened| Outcome::Plaintext(opened.plaintext.expose_vec()),
                Outcome::Error,
            )),
        });
        Ok(v1::DecryptBatchResponse { items: items.collect(), store_revision: self.revision() })
    }

    fn re_encrypt(&mut self, message: v1::ReEncryptRequest) -> Result<v1::ReEncryptResponse, Refused> {
        let bounds = bounds(message.source_binding, message.destination_binding)?;
        let ciphertext = limits::ciphertext(&message.ciphertext)?;
        let names = (&*message.tenant, &*message.key, &*message.destination_key);
        let purposes = (bounds.0.purpose(&message.purpose), bounds.1.purpose(&message.purpose));
        let places = self.reseals(names, purposes)?;
        let Resealed { sealed, source_version } = self.reseal(&places, &bounds, ciphertext)?;
        Ok(v1::ReEncryptResponse {
            ciphertext: sealed.ciphertext,
            source_version,
            version: sealed.version,
            store_revision: self.revision(),
        })
    }

    fn re_encrypt_batch(
        &mut self,
        message: v1::ReEncryptBatchRequest,
    ) -> Result<v1::ReEncryptBatchResponse, Refused> {
        use v1::re_encrypt_batch_response::{Item, item::Outcome};
        let sizes = message.items.iter().map(|item| item.ciphertext.len());
        limits::batch(message.items.len(), MAX_ITEMS, sizes)?;
        let names = (&*message.tenant, &*message.key, &*message.destination_key);
        let parsed = message.items.iter().map(|asked| {
            let bounds = bounds(asked.source_binding.clone(), asked.destination_binding.clone())?;
            Ok((bounds, limits::ciphertext(&asked.ciphertext)?))
        });
        let resealed = self.each(
            parsed.collect(),
            |((source, destination), _)| {
                (stated(source, &message.purpose), stated(destination, &message.purpose))
            },
            |desk, (source, destination)| desk.reseals(names, (source.as_deref(), destination.as_deref())),
            |desk, places, (bounds, ciphertext)| desk.reseal(places, &bounds, ciphertext),
        )?;
        let items = resealed.into_iter().map(|resealed| Item {
            outcome: Some(item(
                resealed,
                |resealed| Outcome::Ciphertext(resealed.sealed.ciphertext),
                Outcome::Error,
            )),
        });
        Ok(v1::ReEncryptBatchResponse { items: items.collect(), store_revision: self.revision() })
    }

    /// Leave for the source, and leave for the destination, which is the source where none is named.
    fn reseals(
        &self,
        (tenant, source, destination): (&str, &str, &str),
        (source_purpose, destination_purpose): (Option<&str>, Option<&str>),
    ) -> Result<(Place, Place), Refused> {
        let destination = if destination.is_empty() { source } else { destination };
        let from = self.permit_for(Operation::ReEncrypt, (tenant, source), source_purpose)?;
        Ok((from, self.permit_for(Operation::Encrypt, (tenant, destination), destination_purpose)?))
    }

    fn reseal(
        &mut self,
        (from, to): &(Place, Place),
        (source, destination): &(Bound, Bound),
        ciphertext: &[u8],
    ) -> Result<Resealed, Refused> {
        let now = self.now;
        let opened = self.ledger().open(from, source, ciphertext)?;
        let sealed = self.ledger().seal(to, destination, opened.plaintext.as_bytes(), now)?;
        Ok(Resealed { sealed, source_version: opened.version })
    }

    fn generate_data_key(
        &mut self,
        message: v1::GenerateDataKeyRequest,
    ) -> Result<v1::GenerateDataKeyResponse, Refused> {
        let bound = Bound::direct(&message.context.unwrap_or_default())?;
        let (names, purpose) = ((&*message.tenant, &*message.key), bound.purpose(&message.purpose));
        let place = self.permit_for(Operation::GenerateDataKey, names, purpose)?;
        let (key, now) = (DataKey::random()?, self.now);
        let sealed = self.ledger().seal(&place, &bound, key.expose_secret(), now)?;
        let shown = !message.without_plaintext;
        Ok(v1::GenerateDataKeyResponse {
            ciphertext: sealed.ciphertext,
            plaintext: if shown { key.expose_secret().to_vec() } else { Vec::new() },
            version: sealed.version,
            store_revision: self.revision(),
            padding: Vec::new(),
        })
    }

    fn generate_random(
        &mut self,
        message: v1::GenerateRandomRequest,
    ) -> Result<v1::GenerateRandomResponse, Refused> {
        self.authorize(Operation::GenerateRandom)?;
        let length = message.length;
        if !(1..=MAX_RANDOM).contains(&length) {
            let words = format!("length is {length}; give 1 to {MAX_RANDOM} bytes");
            return Err(Refused::new(Reason::FieldInvalid, words));
        }
        let mut random = vec![0; length as usize];
        getrandom::fill(&mut random)?;
        Ok(v1::GenerateRandomResponse { random })
    }
}

/// What an item of a batch states to be its purpose.
pub(super) fn stated(bound: &Bound, of_call: &str) -> Option<String> {
    bound.purpose(of_call).map(str::to_owned)
}

fn bounds(source: Option<v1::Binding>, destination: Option<v1::Binding>) -> Result<(Bound, Bound), Refused> {
    let source = Bound::of(source)?;
    let destination = match destination {
        Some(destination) => Bound::of(Some(destination))?,
        None => source.clone(),
    };
    Ok((source, destination))
}

calls! {
    Crypto {
        encrypt(EncryptRequest) -> EncryptResponse;
        decrypt(DecryptRequest) -> DecryptResponse;
        re_encrypt(ReEncryptRequest) -> ReEncryptResponse;
        reveal(RevealRequest) -> RevealResponse;
        encrypt_batch(EncryptBatchRequest) -> EncryptBatchResponse;
        decrypt_batch(DecryptBatchRequest) -> DecryptBatchResponse;
        re_encrypt_batch(ReEncryptBatchRequest) -> ReEncryptBatchResponse;
        reveal_batch(RevealBatchRequest) -> RevealBatchResponse;
        generate_data_key(GenerateDataKeyRequest) -> GenerateDataKeyResponse;
        open_data_keys(OpenDataKeysRequest) -> OpenDataKeysResponse;
        generate_random(GenerateRandomRequest) -> GenerateRandomResponse;
    }

    type WatchKeysStream = Events;
    async fn watch_keys(
        &self,
        request: Request<Streaming<v1::WatchKeysRequest>>,
    ) -> Result<Response<Events>, Status> {
        self.watch(request).await
    }
}
