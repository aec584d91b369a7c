//! Masked forms: what may be seen of a value by those who may not see it. The server opens, masks and answers; the form is its own.

use std::fmt;

use kms_core::names::{ColumnName, FamilyName, KeyName, TableName, TenantName};
use kms_proto::v1::{self, policy_client::PolicyClient, reveal_batch_response};

use super::{
    batch::{bound, results},
    binding::Binding,
    crypto::{ToOpen, client, split},
    list::{self, Items, Page, PageRequest},
};
use crate::{error::Error, kms::Kms};

/// What may be seen of a value.
#[derive(Clone, PartialEq, Eq)]
pub struct Masked {
    /// For people to read, as `138****1234`; `Display` writes it too.
    pub text: String,
    /// The form that the server used: `phone`, `name`, …
    pub form: String,
    /// Number of the version that had sealed the value.
    pub version: u32,
}

impl fmt::Display for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// Part of the text is part of the value.
impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text: _, form, version } = self;
        f.debug_struct("Masked").field("form", form).field("version", version).finish_non_exhaustive()
    }
}

/// Which form the server shows of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredMask {
    /// Name of the key, or of the family.
    pub key: FamilyName,
    /// The table.
    pub table: TableName,
    /// The column.
    pub column: ColumnName,
    /// The form: `phone`, `name`, …
    pub form: String,
    /// What the form was told beyond its name, in words; mostly empty.
    pub terms: String,
}

impl Kms {
    /// The masked form of one value. `key` may be a family whose subject sealed it.
    pub async fn reveal(
        &self,
        tenant: &TenantName,
        key: &KeyName,
        binding: &Binding,
        ciphertext: &[u8],
    ) -> Result<Masked, Error> {
        let message = v1::RevealRequest {
            tenant: tenant.to_string(),
            key: key.to_string(),
            ciphertext: ciphertext.to_vec(),
            binding: Some(binding.into()),
            purpose: self.terms.purpose.to_string(),
        };
        let called =
            self.call(message, |channel, request| async move { client(channel).reveal(request).await });
        called.await?.convert(|answer| answer.masked.map(masked).ok_or("no masked form"))
    }

    /// Masked forms of values, whichever subjects of one family sealed them; results in order.
    pub async fn reveal_batch(
        &self,
        tenant: &TenantName,
        key: &KeyName,
        items: &[ToOpen<'_>],
    ) -> Vec<Result<Masked, Error>> {
        self.reveal_for(tenant, key, &self.terms.purpose, items).await
    }

    /// [`Kms::reveal_batch`], stating another purpose to policy; empty for none.
    pub(crate) async fn reveal_for(
        &self,
        tenant: &TenantName,
        key: &KeyName,
        purpose: &str,
        items: &[ToOpen<'_>],
    ) -> Vec<Result<Masked, Error>> {
        use reveal_batch_response::item::Outcome;
        let mut revealed = Vec::with_capacity(items.len());
        for part in split(items, |item| item.ciphertext.len() + bound(&item.binding)) {
            let item = |item: &ToOpen<'_>| v1::reveal_batch_request::Item {
                ciphertext: item.ciphertext.to_vec(),
                binding: Some((&item.binding).into()),
            };
            let message = v1::RevealBatchRequest {
                tenant: tenant.to_string(),
                key: key.to_string(),
                items: part.iter().map(item).collect(),
                purpose: purpose.to_owned(),
            };
            let called = self
                .call(message, |channel, request| async move { client(channel).reveal_batch(request).await });
            let outcome = |item: reveal_batch_response::Item| {
                item.outcome.map(|outcome| match outcome {
                    Outcome::Masked(answer) => Ok(masked(answer)),
                    Outcome::Error(error) => Err(error),
                })
            };
            revealed.extend(results(called.await, part.len(), |answer| answer.items, outcome));
        }
        revealed
    }

    /// The masks in force on the server, of one key or family or of all, one after the other.
    pub fn list_masks(&self, key: Option<&FamilyName>) -> Items<DeclaredMask> {
        let (kms, key) = (self.clone(), key.cloned());
        list::items(move |page| {
            let (kms, key) = (kms.clone(), key.clone());
            async move { kms.list_masks_page(key.as_ref(), page).await }
        })
    }

    /// One page of masks.
    pub async fn list_masks_page(
        &self,
        key: Option<&FamilyName>,
        page: PageRequest,
    ) -> Result<Page<DeclaredMask>, Error> {
        let key = key.map(ToString::to_string).unwrap_or_default();
        let message = v1::ListMasksRequest { key, page_size: page.size, page_token: page.token };
        let called = self.call(message, |channel, request| async move {
            PolicyClient::new(channel).list_masks(request).await
        });
        called.await?.convert(|page| Page::new(page.masks, declared, page.next_page_token))
    }
}

fn masked(answer: v1::Masked) -> Masked {
    let v1::Masked { text, form, version } = answer;
    Masked { text, form, version }
}

fn declared(answer: v1::DeclaredMask) -> Result<DeclaredMask, &'static str> {
    let v1::DeclaredMask { key, table, column, form, terms } = answer;
    let unnamed = "a mask of something that cannot have that name";
    Ok(DeclaredMask {
        key: key.parse().map_err(|_| unnamed)?,
        table: table.parse().map_err(|_| unnamed)?,
        column: column.parse().map_err(|_| unnamed)?,
        form,
        terms,
    })
}
