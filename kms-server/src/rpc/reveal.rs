//! `Reveal` and `RevealBatch` of service `kms.v1.Crypto`: masked forms. Where the key named is a family, each value is revealed with
//! leave for the subject that sealed it.
//!
//! ATTACK: a value of a subject that policy denies and one of no key of the family are answered alike, are denials alike on record, and
//! count alike against the caller's denials.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use kms_core::field::Header;
use kms_core::id::VersionId;
use kms_core::names::{KeyName, TenantName};
use kms_proto::v1;

use super::Core;
use super::batch::{Batch, Group};
use super::convert::{self, MAX_ITEMS};
use super::status::Failure;
use crate::binding::Binding;
use crate::gate::items::Refusal;
use crate::gate::permit::op;
use crate::gate::{Caller, Denied, Permit};
use crate::keyring::{KeyEntry, Keyring, LookupError};
use crate::operation::Operation;
use crate::policy::Masks;
use crate::usecase::open::OpenRefused;
use crate::usecase::reveal::{self, Revealed};

/// Keys of one call whose lines wait for the audit at a time: they share its writes and its syncs.
const LINES_AT_ONCE: usize = 256;
/// Decisions of one call after which others get their turn.
const DECISIONS_AT_ONCE: usize = 64;

/// What came of the items of a group.
type Outcome = Result<Vec<Result<Revealed, OpenRefused>>, Failure>;

impl Core {
    pub(super) async fn reveal(
        &self,
        caller: &Caller,
        message: v1::RevealRequest,
    ) -> Result<v1::RevealResponse, Failure> {
        let ciphertext = convert::ciphertext(&message.ciphertext)?;
        let binding = convert::binding(message.binding)?;
        let purpose = binding.purpose_or(&message.purpose);
        let names = (&*message.tenant, &*message.key);
        let sealed_by = SealedBy::of(&self.keyring, names, version(ciphertext));
        let permit = self.leave_to_reveal(caller, names, sealed_by, purpose).await?;
        let (masks, _) = self.gate.policy().masks();
        let revealed = reveal::reveal(permit, &self.keyring, &masks, (&binding, ciphertext));
        let revealed = self.gate.record(revealed).await??;
        Ok(v1::RevealResponse { masked: Some(masked(revealed)), store_revision: self.revision() })
    }

    pub(super) async fn reveal_batch(
        &self,
        caller: &Caller,
        mut message: v1::RevealBatchRequest,
    ) -> Result<v1::RevealBatchResponse, Failure> {
        use v1::reveal_batch_response::{Item, item::Outcome};
        let sizes = message.items.iter().map(|item| item.ciphertext.len());
        convert::batch(message.items.len(), MAX_ITEMS, sizes)?;
        let names = (&*message.tenant, &*message.key);
        let versions = message.items.iter().map(|item| version(&item.ciphertext)).collect();
        let sealed_by = self.sealed_by(names, versions).await?;
        let parsed = message.items.iter_mut().zip(sealed_by).map(|(item, sealed_by)| {
            let binding = convert::binding(item.binding.take())?;
            Ok(ToReveal { binding, ciphertext: convert::ciphertext(&item.ciphertext)?, sealed_by })
        });
        let mut batch = Batch::new(parsed, |item| item.seen(&message.purpose));
        let groups = batch.take_groups_to_ask();
        // One set for the whole call, whatever is loaded meanwhile.
        let (masks, _) = self.gate.policy().masks();
        match &groups[..] {
            [group] => {
                let revealed = self.reveal_group(caller, names, &masks, group).await;
                batch.answer(&groups, group, revealed)?;
            }
            _ => self.reveal_groups(caller, names, &masks, &groups, &mut batch).await?,
        }
        let items = batch.finish(|result| Item {
            outcome: Some(result.map_or_else(Outcome::Error, |revealed| Outcome::Masked(masked(revealed)))),
        });
        Ok(v1::RevealBatchResponse { items, store_revision: self.revision() })
    }

    /// Finds the keys that sealed the values, where a family is named; no material is opened before policy is asked.
    async fn sealed_by(
        &self,
        (tenant, key): (&str, &str),
        versions: Vec<Option<VersionId>>,
    ) -> Result<Vec<SealedBy>, Failure> {
        let (tenant, key, count) = (tenant.to_owned(), key.to_owned(), versions.len());
        let find = move |keyring: &Keyring| {
            versions.into_iter().map(|version| SealedBy::of(keyring, (&*tenant, &*key), version)).collect()
        };
        Ok(self.keyring.read_many(count, find).await?)
    }

    async fn leave_to_reveal(
        &self,
        caller: &Caller,
        names: (&str, &str),
        sealed_by: SealedBy,
        purpose: Option<&str>,
    ) -> Result<Permit<op::Reveal>, Failure> {
        match sealed_by {
            SealedBy::Named => self.permit(caller, names, purpose).await,
            SealedBy::Subject(subject) => Ok(self.gate.authorize(caller, subject, purpose).await?),
            SealedBy::Other => {
                let names = (TenantName::try_from(names.0)?, KeyName::try_from(names.1)?);
                Err(self.gate.deny_unknown(caller, Operation::Reveal, names, purpose).await.into())
            }
        }
    }

    /// The one group of a call: a denial is the call's.
    async fn reveal_group(
        &self,
        caller: &Caller,
        names: (&str, &str),
        masks: &Masks,
        group: &Asked<'_>,
    ) -> Outcome {
        let purpose = group.seen.purpose.as_deref();
        let permit = self.leave_to_reveal(caller, names, sealed_by(group), purpose).await?;
        let _held = self.keyring.warm(wanted(permit.target(), group)).await;
        self.open_and_mask(permit, masks, group).await
    }

    /// Several groups: the denied ones share a line and fail in their places.
    async fn reveal_groups<'i>(
        &self,
        caller: &Caller,
        names: (&str, &str),
        masks: &Masks,
        groups: &[Asked<'i>],
        batch: &mut Batch<ToReveal<'i>, Seen, Revealed>,
    ) -> Result<(), Failure> {
        let (mut leave, mut refusals, mut denied) = (Vec::new(), Vec::new(), 0);
        for (number, group) in groups.iter().enumerate() {
            match self.ask_to_reveal(caller, names, group)? {
                Ok(permit) => leave.push((group, permit)),
                Err(refusal) => {
                    refusals.push(refusal);
                    denied += group.items.len();
                    batch.fail(group, &Failure::Denied(Denied::KeyNotAccessible));
                }
            }
            if number % DECISIONS_AT_ONCE == DECISIONS_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
        }
        // ORDER: the denials first: where they cannot be recorded the call fails, and nothing was opened.
        match self.gate.deny_items(caller, refusals, u32::try_from(denied).unwrap_or(u32::MAX)).await {
            None => {}
            Some(Denied::KeyNotAccessible) if !leave.is_empty() => {}
            Some(denied) => return Err(denied.into()),
        }
        let _held =
            self.keyring.warm(leave.iter().flat_map(|(group, permit)| wanted(permit.target(), group))).await;
        let (asked, permits): (Vec<_>, Vec<_>) = leave.into_iter().unzip();
        let work =
            permits.into_iter().zip(&asked).map(|(permit, group)| self.open_and_mask(permit, masks, group));
        let mut outcomes = stream::iter(work.collect::<Vec<_>>()).buffered(LINES_AT_ONCE);
        for group in &asked {
            if let Some(outcome) = outcomes.next().await {
                batch.answer(groups, group, outcome)?;
            }
        }
        Ok(())
    }

    fn ask_to_reveal(
        &self,
        caller: &Caller,
        (tenant, key): (&str, &str),
        group: &Asked<'_>,
    ) -> Result<Result<Permit<op::Reveal>, Refusal>, Failure> {
        let purpose = group.seen.purpose.as_deref();
        let found = match sealed_by(group) {
            SealedBy::Named => self.keyring.key(tenant, key),
            SealedBy::Subject(subject) => Ok(subject),
            SealedBy::Other => Err(LookupError::NotThere),
        };
        let tenant = TenantName::try_from(tenant)?;
        match found {
            Ok(entry) => Ok(self.gate.ask(caller, &tenant, entry, purpose)),
            Err(LookupError::NotThere) => {
                let name = Some(KeyName::try_from(key)?);
                Ok(Err(self.gate.ask_unknown(caller, Operation::Reveal, (tenant, name), purpose)))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn open_and_mask(&self, permit: Permit<op::Reveal>, masks: &Masks, group: &Asked<'_>) -> Outcome {
        let items = group.items.iter().map(|item| (&item.binding, item.ciphertext));
        let revealed = reveal::reveal_batch(permit, &self.keyring, masks, items);
        Ok(self.gate.record(revealed).await??)
    }
}

/// One value of a batch.
struct ToReveal<'a> {
    binding: Binding,
    ciphertext: &'a [u8],
    sealed_by: SealedBy,
}

type Asked<'a> = Group<ToReveal<'a>, Seen>;

/// What policy sees of an item.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
struct Seen {
    key: SeenKey,
    purpose: Option<Box<str>>,
}

#[derive(Clone, PartialEq, Eq, Hash, Default)]
enum SeenKey {
    #[default]
    Named,
    /// Told apart by its entry.
    Subject(usize),
    Other,
}

impl ToReveal<'_> {
    fn seen(&self, purpose: &str) -> Seen {
        Seen {
            key: match &self.sealed_by {
                SealedBy::Named => SeenKey::Named,
                SealedBy::Subject(key) => SeenKey::Subject(Arc::as_ptr(key).addr()),
                SealedBy::Other => SeenKey::Other,
            },
            purpose: self.binding.purpose_or(purpose).map(Box::from),
        }
    }
}

/// The version that a ciphertext names.
fn version(ciphertext: &[u8]) -> Option<VersionId> {
    Some(Header::parse(ciphertext).ok()?.version)
}

/// What sealed a value, as far as the key named decides on it.
#[derive(Clone)]
enum SealedBy {
    /// The key named, which is no family; or that is not known: it is met again when the value does not open in that one's name.
    Named,
    /// A subject of the family named.
    Subject(Arc<KeyEntry>),
    /// A family is named, and none of its subjects.
    Other,
}

impl SealedBy {
    fn of(keyring: &Keyring, (tenant, named): (&str, &str), version: Option<VersionId>) -> Self {
        let Some(version) = version else { return Self::Named };
        let Ok(family) = keyring.key(tenant, named) else { return Self::Named };
        if !family.is_family {
            return Self::Named;
        }
        match keyring.key_of(version, tenant) {
            Ok(entry) if entry.name.subject().is_some() && entry.name.family() == family.name.family() => {
                Self::Subject(entry)
            }
            Ok(_) | Err(LookupError::NotThere) => Self::Other,
            Err(_) => Self::Named,
        }
    }
}

/// What sealed the values of a group: the same for all.
fn sealed_by(group: &Asked<'_>) -> SealedBy {
    group.items.first().map_or(SealedBy::Named, |item| item.sealed_by.clone())
}

/// The versions whose material a group takes.
fn wanted<'a>(
    key: &'a Arc<KeyEntry>,
    group: &'a Asked<'_>,
) -> impl Iterator<Item = (&'a Arc<KeyEntry>, VersionId)> {
    group.items.iter().filter_map(move |item| Some((key, version(item.ciphertext)?)))
}

fn masked(revealed: Revealed) -> v1::Masked {
    let Revealed { masked, form, version, .. } = revealed;
    v1::Masked { text: masked.into_string(), form: form.to_string(), version }
}
