//! The calls that are measured, each made as the generated client makes it.

use std::sync::Arc;

use kms_client::{NameError, RecordId, api::Binding};
use kms_proto::v1::{self, crypto_client::CryptoClient};
use tonic::{Status, transport::Channel};

use super::KEY;
use crate::args::{self, BenchCall};

/// Makes one call over a connection.
pub(super) type Calling = Arc<dyn Fn(Channel) -> tonic::codegen::BoxFuture<(), Status> + Send + Sync>;

/// What the calls are about.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) tenant: String,
    pub(super) plaintext: Vec<u8>,
    /// The plaintext, sealed.
    pub(super) sealed: Vec<u8>,
    /// The plaintext, sealed in a column that the example masks declare.
    pub(super) revealed: Vec<u8>,
    /// Id of the version that sealed it.
    pub(super) version: u64,
}

/// As it is typed and reported.
pub(super) fn name(call: BenchCall) -> &'static str {
    match call {
        BenchCall::Encrypt => "encrypt",
        BenchCall::Decrypt => "decrypt",
        BenchCall::Reveal => "reveal",
        BenchCall::Reencrypt => "reencrypt",
        BenchCall::OpenDataKeys => "open-data-keys",
        BenchCall::GenerateDataKey => "generate-data-key",
        BenchCall::GenerateRandom => "generate-random",
    }
}

fn binding() -> Option<v1::Binding> {
    Some(v1::Binding { binding: Some(v1::binding::Binding::Direct(v1::Context::default())) })
}

/// A column with a custom mask, which any text has a masked form of.
pub(super) fn masked_column() -> Result<Binding, NameError> {
    let record = RecordId::try_from(&b"1"[..])?;
    Ok(Binding::Field { table: "checkins".parse()?, column: "badge".parse()?, record })
}

fn masked_binding() -> Option<v1::Binding> {
    masked_column().ok().map(|binding| (&binding).into())
}

/// A call as the generated client makes it, so that both sides of the comparison have the same client.
pub(super) fn calling(call: BenchCall, command: &args::Bench, subject: &Subject) -> Calling {
    let Subject { tenant, plaintext, sealed: ciphertext, revealed, version } = subject.clone();
    let key = KEY.to_owned();
    let batch = command.batch as usize;
    macro_rules! call {
        ($method:ident, $message:expr) => {{
            let message = $message;
            Arc::new(move |channel: Channel| {
                let message = message.clone();
                Box::pin(async move {
                    let mut client = CryptoClient::new(channel).max_decoding_message_size(5 << 20);
                    failed_item(client.$method(message).await?.into_inner())
                })
            })
        }};
    }
    match call {
        BenchCall::Encrypt if batch > 1 => {
            let item = v1::encrypt_batch_request::Item { plaintext, binding: binding() };
            call!(
                encrypt_batch,
                v1::EncryptBatchRequest { tenant, key, items: vec![item; batch], purpose: String::new() }
            )
        }
        BenchCall::Encrypt => {
            call!(
                encrypt,
                v1::EncryptRequest { tenant, key, plaintext, binding: binding(), purpose: String::new() }
            )
        }
        BenchCall::Decrypt if batch > 1 => {
            let item = v1::decrypt_batch_request::Item { ciphertext, binding: binding() };
            call!(
                decrypt_batch,
                v1::DecryptBatchRequest { tenant, key, items: vec![item; batch], purpose: String::new() }
            )
        }
        BenchCall::Decrypt => {
            call!(
                decrypt,
                v1::DecryptRequest { tenant, key, ciphertext, binding: binding(), purpose: String::new() }
            )
        }
        BenchCall::Reveal if batch > 1 => {
            let item = v1::reveal_batch_request::Item { ciphertext: revealed, binding: masked_binding() };
            let (items, purpose) = (vec![item; batch], String::new());
            call!(reveal_batch, v1::RevealBatchRequest { tenant, key, items, purpose })
        }
        BenchCall::Reveal => call!(
            reveal,
            v1::RevealRequest {
                tenant,
                key,
                ciphertext: revealed,
                binding: masked_binding(),
                purpose: String::new()
            }
        ),
        BenchCall::Reencrypt if batch > 1 => {
            let source_binding = binding();
            let item =
                v1::re_encrypt_batch_request::Item { ciphertext, source_binding, ..Default::default() };
            let items = vec![item; batch];
            call!(
                re_encrypt_batch,
                v1::ReEncryptBatchRequest { tenant, key, items, ..v1::ReEncryptBatchRequest::default() }
            )
        }
        BenchCall::Reencrypt => call!(
            re_encrypt,
            v1::ReEncryptRequest {
                tenant,
                key,
                ciphertext,
                source_binding: binding(),
                ..v1::ReEncryptRequest::default()
            }
        ),
        BenchCall::OpenDataKeys => {
            use v1::open_data_keys_request::{Existing, Item, item};
            let existing = |n| Item {
                item: Some(item::Item::Existing(Existing {
                    version_id: version,
                    data_key_id: n,
                    key: String::new(),
                })),
            };
            let items = (1..=command.batch).map(existing).collect();
            call!(open_data_keys, v1::OpenDataKeysRequest { tenant, items, ..Default::default() })
        }
        BenchCall::GenerateDataKey => {
            call!(generate_data_key, v1::GenerateDataKeyRequest { tenant, key, ..Default::default() })
        }
        BenchCall::GenerateRandom => {
            call!(generate_random, v1::GenerateRandomRequest { length: command.payload.max(1) })
        }
    }
}

/// A batch in which an item failed measures nothing.
fn failed_item<A: Answer>(answer: A) -> Result<(), Status> {
    match answer.first_failure() {
        Some(reason) => Err(Status::unknown(format!("an item failed: {reason}"))),
        None => Ok(()),
    }
}

trait Answer {
    fn first_failure(self) -> Option<String>
    where
        Self: Sized,
    {
        None
    }
}

impl Answer for v1::EncryptResponse {}
impl Answer for v1::DecryptResponse {}
impl Answer for v1::RevealResponse {}
impl Answer for v1::ReEncryptResponse {}
impl Answer for v1::GenerateDataKeyResponse {}
impl Answer for v1::GenerateRandomResponse {}
macro_rules! batch_answers {
    ($($answer:ident $items:ident),*) => {$(
        impl Answer for v1::$answer {
            fn first_failure(self) -> Option<String> {
                self.items.into_iter().find_map(|item| match item.outcome {
                    Some(v1::$items::item::Outcome::Error(error)) => Some(error.reason),
                    _ => None,
                })
            }
        }
    )*};
}
batch_answers!(
    EncryptBatchResponse encrypt_batch_response,
    DecryptBatchResponse decrypt_batch_response,
    RevealBatchResponse reveal_batch_response,
    ReEncryptBatchResponse re_encrypt_batch_response,
    OpenDataKeysResponse open_data_keys_response
);
