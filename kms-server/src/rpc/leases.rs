//! `OpenDataKeys` of service `kms.v1.Crypto`: data keys under lease, for items that each name a key of their own.
//!
//! ATTACK: an item that names what is another tenant's, one that names nothing, and one that policy denies are answered alike: each
//! with the same words in its place, all of a call with one line and one count against the caller's denials.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use kms_core::id::{DataKeyId, VersionId};
use kms_core::names::{KeyName, TenantName};
use kms_proto::reason::Reason;
use kms_proto::v1;

use super::Core;
use super::batch::{Batch, Group};
use super::convert::{self, MAX_IDS};
use super::status::Failure;
use crate::gate::items::Refusal;
use crate::gate::permit::op;
use crate::gate::{Caller, Denied, Permit};
use crate::keyring::census::MOST_REPORTS;
use crate::keyring::holders::Client;
use crate::keyring::indexing::MAX_INDEX_VERSIONS;
use crate::keyring::{KeyEntry, Keyring, LookupError};
use crate::operation::Operation;
use crate::usecase::refused::Refused;
use crate::usecase::{lease, lease_index};

/// Keys of one call whose lines wait for the audit at a time: they share its writes and its syncs, which would otherwise add up.
const LINES_AT_ONCE: usize = 256;
/// Decisions of one call after which others get their turn: one that is not cached takes some 40 µs.
const DECISIONS_AT_ONCE: usize = 64;

impl Core {
    pub(super) async fn open_data_keys(
        &self,
        caller: &Caller,
        message: v1::OpenDataKeysRequest,
    ) -> Result<v1::OpenDataKeysResponse, Failure> {
        use v1::open_data_keys_response::{Item, item::Outcome};
        convert::batch(message.items.iter().map(weight).sum(), MAX_IDS, std::iter::empty())?;
        let purpose = (!message.purpose.is_empty()).then_some(&*message.purpose);
        let tenant = TenantName::try_from(&*message.tenant)?;
        self.note_uses(caller, &tenant, message.uses).await;
        let client = client(caller, &message.client_instance)?;
        // ORDER: before anything is leased: what is destroyed from here on has a later one.
        let store_revision = self.revision();
        let asked = self.look_up(tenant.clone(), message.items).await?;
        let mut batch = Batch::new(asked.into_iter(), Asked::seen);
        let groups = batch.take_groups();

        let (mut leave, mut refusals) = (Vec::new(), Vec::new());
        let mut denied = 0;
        for (number, group) in groups.iter().enumerate() {
            match self.ask_leave(caller, &tenant, purpose, group) {
                Some(Ok(permit)) => leave.push((group, permit)),
                Some(Err(refusal)) => {
                    refusals.push(refusal);
                    denied += group.items.len();
                    batch.fail(group, &Failure::Denied(Denied::KeyNotAccessible));
                }
                None => {}
            }
            if number % DECISIONS_AT_ONCE == DECISIONS_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
        }
        // ORDER: the denials first: where they cannot be recorded the call fails, and nothing was leased.
        let denied = u32::try_from(denied).unwrap_or(u32::MAX);
        match self.gate.deny_items(caller, refusals, denied).await {
            None | Some(Denied::KeyNotAccessible) => {}
            Some(other) => return Err(other.into()),
        }

        let mut wanted = Vec::new();
        for (group, _) in &leave {
            group.items.iter().for_each(|item| item.add_versions(&mut wanted));
        }
        let _held = self.keyring.warm(wanted.into_iter()).await;
        if leave.len() > 1 {
            let to_seal = leave.iter().filter_map(|(group, leave)| Some((leave.to_seal()?, group)));
            let to_seal = to_seal.flat_map(|(permit, group)| {
                group.items.iter().filter_map(Asked::to_seal).map(move |kind| (permit, kind))
            });
            lease::prepare(&self.keyring, to_seal, client.as_ref()).await;
        }
        let (leased_to, permits): (Vec<_>, Vec<_>) = leave.into_iter().unzip();
        let leases = permits
            .into_iter()
            .zip(&leased_to)
            .map(|(permit, group)| self.lease(caller, permit, &group.items, client.as_ref()));
        let mut leases = stream::iter(leases.collect::<Vec<_>>()).buffered(LINES_AT_ONCE);
        for group in &leased_to {
            if let Some(leased) = leases.next().await {
                batch.answer(&groups, group, leased)?;
            }
        }
        drop(leases);
        let items = batch.finish(|result| Item {
            outcome: Some(result.map_or_else(Outcome::Error, |leased| match leased {
                Handed::DataKey(leased) => Outcome::Leased(leased_to_wire(&leased)),
                Handed::Index(leased) => Outcome::Index(index_to_wire(&leased)),
            })),
        });
        let client_instance = self.keyring.instance().to_owned();
        let padding = convert::padding();
        Ok(v1::OpenDataKeysResponse { items, store_revision, client_instance, padding })
    }

    /// Notes for the census what the client says that it did, beside the call: that neither waits for it nor fails for it. Where too
    /// much is noted already it does wait, so that no more comes than can be looked up.
    async fn note_uses(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        mut uses: Vec<v1::open_data_keys_request::UseReport>,
    ) {
        if uses.is_empty() {
            return;
        }
        uses.truncate(MOST_REPORTS);
        let (keyring, tenant, identity) =
            (Arc::clone(&self.keyring), tenant.clone(), caller.identity.name.clone());
        let place = keyring.census().beside.place();
        let is_beside = place.is_some();
        let note = async move {
            let counted = keyring.read_many(uses.len(), move |keyring| -> Vec<_> {
                let counted = |of: v1::open_data_keys_request::UseReport| {
                    Some((keyring.counted(of.version_id.into(), tenant.as_str())?, of))
                };
                uses.into_iter().filter_map(counted).collect()
            });
            match counted.await {
                Ok(counted) => keyring.census().reported(&identity, counted),
                Err(error) => tracing::warn!("what a client said for the census is lost: {error}"),
            }
            // ORDER: noted first: whoever waits for the place finds it.
            drop(place);
        };
        match is_beside {
            true => drop(tokio::spawn(note)),
            false => note.await,
        }
    }

    /// Finds the keys that items name; no material is opened before policy is asked.
    async fn look_up(
        &self,
        tenant: TenantName,
        items: Vec<v1::open_data_keys_request::Item>,
    ) -> Result<Vec<Result<Asked, Failure>>, Failure> {
        let count = items.len();
        let find = move |keyring: &Keyring| {
            items.into_iter().map(|item| Asked::of(keyring, tenant.as_str(), item.item)).collect()
        };
        Ok(self.keyring.read_many(count, find).await?)
    }

    /// Leave for the items of a group, which name one key.
    fn ask_leave(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        purpose: Option<&str>,
        group: &Group<Asked, Seen>,
    ) -> Option<Result<Leave, Refusal>> {
        Some(match group.items.first()? {
            Asked::Seal(key, _) => self.gate.ask(caller, tenant, Arc::clone(key), purpose).map(Leave::Seal),
            Asked::Open(key, _) => self.gate.ask(caller, tenant, Arc::clone(key), purpose).map(Leave::Open),
            Asked::Index(key) => self.gate.ask(caller, tenant, Arc::clone(key), purpose).map(Leave::Index),
            Asked::Unknown(operation, key) => {
                Err(self.gate.ask_unknown(caller, *operation, (tenant.clone(), key.clone()), purpose))
            }
        })
    }

    async fn lease(
        &self,
        caller: &Caller,
        leave: Leave,
        items: &[Asked],
        client: Option<&Client>,
    ) -> Result<Vec<Result<Handed, Refused>>, Failure> {
        let leased = match leave {
            Leave::Index(permit) => {
                let leased = lease_index::to_index(permit, &self.keyring, items.len(), client).await;
                let leased = self.gate.record(leased).await??;
                return Ok(leased.into_iter().map(|leased| leased.map(Handed::Index)).collect());
            }
            Leave::Seal(permit) => {
                let asks: Vec<_> = items.iter().filter_map(Asked::to_seal).collect();
                lease::to_seal(permit, &self.keyring, &asks, client).await
            }
            Leave::Open(permit) => {
                let asks: Vec<_> = items.iter().filter_map(Asked::to_open).collect();
                lease::to_open(permit, &self.keyring, &asks, client)
            }
        };
        let leased = self.gate.record(leased).await??;
        let counted = leased.iter().flatten().map(|leased| leased.counted);
        self.keyring.census().leased(&caller.identity.name, counted);
        Ok(leased.into_iter().map(|leased| leased.map(Handed::DataKey)).collect())
    }
}

/// The client that data keys are leased to; none where it does not say.
///
/// # Errors
/// Where what it says is no UUID.
pub(super) fn client(caller: &Caller, instance: &str) -> Result<Option<Client>, Failure> {
    if instance.is_empty() {
        return Ok(None);
    }
    let instance = uuid::Uuid::try_parse(instance).ok().filter(|instance| !instance.is_nil());
    let instance = instance.ok_or_else(|| {
        Failure::message(Reason::FieldInvalid, "`client_instance` must be a random UUID".to_owned())
    })?;
    Ok(Some(Client { identity: caller.identity.name.clone(), instance }))
}

type WireItem = v1::open_data_keys_request::item::Item;

/// What an item asks for.
enum Asked {
    Seal(Arc<KeyEntry>, lease::ToSeal),
    Open(Arc<KeyEntry>, lease::ToOpen),
    Index(Arc<KeyEntry>),
    /// Of a key or version that is not there, by the name that was given.
    Unknown(Operation, Option<KeyName>),
}

/// What policy sees of an item. Keys are told apart by their entry.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Seen {
    Key(Operation, usize),
    Index(usize),
    Unknown(Operation, Option<KeyName>),
}

/// Leave for a group.
enum Leave {
    Seal(Permit<op::LeaseToSeal>),
    Open(Permit<op::LeaseToOpen>),
    Index(Permit<op::LeaseToOpen>),
}

impl Leave {
    fn to_seal(&self) -> Option<&Permit<op::LeaseToSeal>> {
        match self {
            Self::Seal(permit) => Some(permit),
            _ => None,
        }
    }
}

/// What an item brings.
enum Handed {
    DataKey(lease::Leased),
    Index(lease_index::LeasedIndex),
}

/// How many items of the batch one counts as: as many as it may bring data keys.
fn weight(item: &v1::open_data_keys_request::Item) -> usize {
    match item.item {
        Some(WireItem::Index(_)) => MAX_INDEX_VERSIONS as usize,
        _ => 1,
    }
}

impl Asked {
    fn of(keyring: &Keyring, tenant: &str, item: Option<WireItem>) -> Result<Self, Failure> {
        let (operation, name, found) = match item.ok_or_else(|| Failure::required("item"))? {
            WireItem::Current(v1::open_data_keys_request::Current { key, deterministic }) => {
                let kind =
                    if deterministic { lease::ToSeal::Deterministic } else { lease::ToSeal::Randomized };
                let found = keyring.key(tenant, &key).map(|key| Self::Seal(key, kind));
                (Operation::LeaseToSeal, KeyName::try_from(&*key).ok(), found)
            }
            WireItem::Existing(v1::open_data_keys_request::Existing { version_id, data_key_id, key }) => {
                let (version, data_key) = (VersionId::from(version_id), DataKeyId::from(data_key_id));
                let asked = |key| Self::Open(key, lease::ToOpen { version, data_key });
                let found = match &*key {
                    "" => keyring.key_of(version, tenant),
                    named => named_key_of(keyring, tenant, version, named),
                };
                (Operation::LeaseToOpen, None, found.map(asked))
            }
            WireItem::Index(v1::open_data_keys_request::Index { key }) => {
                let found = keyring.key(tenant, &key).map(Self::Index);
                (Operation::LeaseToOpen, KeyName::try_from(&*key).ok(), found)
            }
        };
        match found {
            Err(LookupError::NotThere) => Ok(Self::Unknown(operation, name)),
            found => Ok(found?),
        }
    }

    fn seen(&self) -> Seen {
        match self {
            Self::Seal(key, _) => Seen::Key(Operation::LeaseToSeal, Arc::as_ptr(key).addr()),
            Self::Open(key, _) => Seen::Key(Operation::LeaseToOpen, Arc::as_ptr(key).addr()),
            Self::Index(key) => Seen::Index(Arc::as_ptr(key).addr()),
            Self::Unknown(operation, key) => Seen::Unknown(*operation, key.clone()),
        }
    }

    /// Adds the versions whose material it takes.
    fn add_versions<'a>(&'a self, wanted: &mut Vec<(&'a Arc<KeyEntry>, VersionId)>) {
        match self {
            Self::Seal(key, lease::ToSeal::Randomized) => {
                wanted.extend(key.sealing_version().ok().map(|id| (key, id)));
            }
            Self::Seal(key, lease::ToSeal::Deterministic) => {
                wanted.extend(key.deterministic_version().ok().map(|id| (key, id)));
            }
            Self::Open(key, asked) => wanted.push((key, asked.version)),
            Self::Index(key) => wanted.extend(key.indexing().map(|id| (key, id))),
            Self::Unknown(..) => {}
        }
    }

    fn to_seal(&self) -> Option<lease::ToSeal> {
        match self {
            Self::Seal(_, asked) => Some(*asked),
            _ => None,
        }
    }

    fn to_open(&self) -> Option<lease::ToOpen> {
        match self {
            Self::Open(_, asked) => Some(*asked),
            _ => None,
        }
    }
}

/// The key that is named, where the version is one of it.
fn named_key_of(
    keyring: &Keyring,
    tenant: &str,
    version: VersionId,
    key: &str,
) -> Result<Arc<KeyEntry>, LookupError> {
    let (named, own) = (keyring.key(tenant, key)?, keyring.key_of(version, tenant)?);
    // ATTACK: naming a subject that one may open must not open the values of another.
    if named.name == own.name { Ok(named) } else { Err(LookupError::NotThere) }
}

fn leased_to_wire(leased: &lease::Leased) -> v1::LeasedDataKey {
    v1::LeasedDataKey {
        version_id: leased.version_id.get(),
        data_key_id: leased.data_key_id.get(),
        data_key: leased.data_key.expose_secret().to_vec(),
        lease: Some(convert::duration_to_wire(leased.lease)),
        budget: leased.budget,
        revision: leased.revision,
        key: leased.key.to_string(),
        version: leased.version,
        key_class: convert::class_to_wire(leased.class).into(),
    }
}

fn index_to_wire(leased: &lease_index::LeasedIndex) -> v1::LeasedIndex {
    let versions = leased.versions.iter().map(leased_to_wire).collect();
    v1::LeasedIndex {
        versions,
        writes_under: leased.writes_under.map(VersionId::get),
        settles_in: leased.settles_in.map(convert::duration_to_wire),
        settles_under: leased.settles_under.map(VersionId::get),
    }
}
