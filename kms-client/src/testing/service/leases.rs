//! `OpenDataKeys`: an item that names what is another's, one that names nothing and one that is denied are answered alike.

use kms_core::{
    id::{DataKeyId, VersionId},
    names::TenantName,
};
use kms_proto::{
    reason::Reason,
    v1::{
        self,
        open_data_keys_request::{Current, Existing, Index, item::Item as Asked},
        open_data_keys_response::{Item, item::Outcome},
    },
};
use uuid::Uuid;

use super::{
    super::{
        ledger::{Client, Place},
        refused::Refused,
        rights::Operation,
    },
    Desk, item,
    limits::{self, MAX_IDS},
};

/// An index key counts as many items as it may bring data keys.
const INDEX_WEIGHT: usize = 100;

impl Desk<'_> {
    pub(super) fn open_data_keys(
        &mut self,
        message: v1::OpenDataKeysRequest,
    ) -> Result<v1::OpenDataKeysResponse, Refused> {
        let weight = |item: &v1::open_data_keys_request::Item| match item.item {
            Some(Asked::Index(_)) => INDEX_WEIGHT,
            _ => 1,
        };
        limits::batch(message.items.iter().map(weight).sum(), MAX_IDS, std::iter::empty())?;
        TenantName::try_from(&*message.tenant)?;
        let client = client(self.client, &message.client_instance)?;
        // Before anything is leased: what is destroyed from here on has a later one.
        let store_revision = self.revision();
        let purpose = (!message.purpose.is_empty()).then_some(&*message.purpose);
        let whose = (&*message.tenant, purpose);
        let mut lease = |asked: v1::open_data_keys_request::Item| Item {
            outcome: Some(item(
                self.lease(whose, asked.item, client.as_ref()),
                |leased| leased,
                Outcome::Error,
            )),
        };
        let items = message.items.into_iter().map(&mut lease).collect();
        let (name, now) = (self.client, self.now);
        self.ledger().reported(name, &message.tenant, message.uses, now);
        let client_instance = self.state.run.as_ref().map(|(run, _)| run.to_string()).unwrap_or_default();
        Ok(v1::OpenDataKeysResponse { items, store_revision, client_instance, padding: Vec::new() })
    }

    fn lease(
        &mut self,
        whose: (&str, Option<&str>),
        asked: Option<Asked>,
        client: Option<&Client>,
    ) -> Result<Outcome, Refused> {
        let ((tenant, purpose), now) = (whose, self.now);
        match asked.ok_or_else(|| Refused::required("item"))? {
            Asked::Current(Current { key, deterministic }) => {
                let place = self.leasable(Operation::LeaseToSeal, whose, &key)?;
                let asked = (&place, &*key);
                let leased = self.ledger().lease_to_seal(asked, deterministic, client, now);
                self.counted(&place, leased)
            }
            Asked::Existing(Existing { version_id, data_key_id, key }) => {
                let version = VersionId::from(version_id);
                let place = self.state.ledger.place_of(tenant, version).ok_or(Reason::KeyNotAccessible)?;
                // Naming a key that one may open must not open the values of another.
                if !key.is_empty() && self.state.ledger.place(tenant, &key).as_ref() != Some(&place) {
                    return Err(Reason::KeyNotAccessible.into());
                }
                self.authorize_place(Operation::LeaseToOpen, tenant, &place, purpose)?;
                let name = if key.is_empty() { place.key.to_string() } else { key };
                let wanted = (version, DataKeyId::from(data_key_id));
                let leased = self.ledger().lease_to_open((&place, &name), wanted, client, now);
                self.counted(&place, leased)
            }
            Asked::Index(Index { key }) => {
                let place = self.leasable(Operation::LeaseToOpen, whose, &key)?;
                self.ledger().lease_index((&place, &key), client, now).map(Outcome::Index)
            }
        }
    }

    /// Who was leased a data key can say afterwards what it did with it.
    fn counted(
        &mut self,
        place: &Place,
        leased: Result<v1::LeasedDataKey, Refused>,
    ) -> Result<Outcome, Refused> {
        let leased = leased?;
        let (client, now) = (self.client, self.now);
        self.ledger().leased_to(client, place, leased.version_id.into(), now);
        Ok(Outcome::Leased(leased))
    }

    /// As [`Desk::permit`], where also what is no name is as good as no key.
    fn leasable(
        &self,
        operation: Operation,
        (tenant, purpose): (&str, Option<&str>),
        key: &str,
    ) -> Result<Place, Refused> {
        let place = self.state.ledger.place(tenant, key).ok_or(Reason::KeyNotAccessible)?;
        self.authorize_place(operation, tenant, &place, purpose).map(|()| place)
    }
}

/// The client that data keys are leased to; none where it does not say.
pub(super) fn client(name: &str, instance: &str) -> Result<Option<Client>, Refused> {
    if instance.is_empty() {
        return Ok(None);
    }
    let instance = Uuid::try_parse(instance).ok().filter(|instance| !instance.is_nil());
    let instance = instance.ok_or_else(|| Refused::invalid("`client_instance` must be a random UUID"))?;
    Ok(Some(Client { name: name.to_owned(), instance }))
}
