//! Data keys handed out under a lease.

use kms_core::{
    id::{DataKeyId, VersionId},
    names::KeyName,
};
use kms_proto::{reason::Reason, v1};
use uuid::Uuid;

use super::{
    super::{holders::Held, refused::Refused},
    Ledger, Moment, Place, Tenant,
    key::{Indexing, ToSeal},
    view::{class, duration},
};

/// Seals that one lease allows under one field key.
const BUDGET: u64 = 1 << 20;

/// A client that data keys are leased to: who it is, and which run of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in super::super) struct Client {
    pub(in super::super) name: String,
    pub(in super::super) instance: Uuid,
}

impl Ledger {
    /// Leases the current data key of a key, to seal with. `asked`: its name as it was given.
    pub(in super::super) fn lease_to_seal(
        &mut self,
        (place, asked): (&Place, &str),
        deterministic: bool,
        client: Option<&Client>,
        now: Moment,
    ) -> Result<v1::LeasedDataKey, Refused> {
        check_class(self.tenant(place.tenant)?, &place.key)?;
        self.follow_family(place, now)?;
        let tenant = self.tenant_mut(place.tenant)?;
        let (kind, number) = match deterministic {
            true => (ToSeal::Deterministic, tenant.deterministic_version(&place.key)?),
            false => (ToSeal::Randomized, tenant.sealing_version(&place.key)?),
        };
        let until = now.after(tenant.settings(&place.key)?.lease);
        let version = tenant.key_mut(&place.key)?.version_mut(number).ok_or(Reason::Internal)?;
        version.note_sealing(kind, until);
        let data_key = version.sealing_data_key(kind);
        self.leased((place, asked), number, data_key, BUDGET, (client, Some(kind)), now)
    }

    /// Leases the data key that a ciphertext names, to open with.
    pub(in super::super) fn lease_to_open(
        &mut self,
        (place, asked): (&Place, &str),
        (version, data_key): (VersionId, DataKeyId),
        client: Option<&Client>,
        now: Moment,
    ) -> Result<v1::LeasedDataKey, Refused> {
        let tenant = self.tenant(place.tenant)?;
        check_class(tenant, &place.key)?;
        if place.key.is_index() {
            // The same as for sealing.
            tenant.sealing_version(&place.key)?;
        }
        if data_key.is_server_own() {
            return Err(Reason::ServerOwnDataKey.into());
        }
        let version = tenant.version_of(&place.key, version)?;
        tenant.check_opens(&place.key)?;
        if !version.was_leased(data_key) {
            return Err(Reason::CiphertextRejected.into());
        }
        let number = version.number;
        self.leased((place, asked), number, data_key, 0, (client, None), now)
    }

    /// Leases every live version of an index key.
    pub(in super::super) fn lease_index(
        &mut self,
        (place, asked): (&Place, &str),
        client: Option<&Client>,
        now: Moment,
    ) -> Result<v1::LeasedIndex, Refused> {
        let tenant = self.tenant_mut(place.tenant)?;
        check_class(tenant, &place.key)?;
        if !place.key.is_index() {
            let words =
                format!("key `{}` makes no blind indexes; create one named `*.index` for them", place.key);
            return Err(Refused::new(Reason::KeyUseMismatch, words));
        }
        tenant.check_opens(&place.key)?;
        let takes_new = tenant.active_version(&place.key).is_ok();
        let lease = tenant.settings(&place.key)?.lease;
        let until = now.after(lease);
        let key = tenant.key_mut(&place.key)?;
        let Indexing { writes_under, settles } = key.indexing(now, takes_new);
        // Where the newest settles while the lease runs, rows are written under both, one after the other.
        let settling = settles.filter(|(_, left)| *left < lease).map(|(newest, _)| newest);
        let numbers: Vec<u32> = key.live().rev().map(|version| version.number).collect();
        for version in &mut key.versions {
            version.leased_deterministic |= version.material.is_some();
            if [writes_under, settling].contains(&Some(version.id)) {
                version.note_sealing(ToSeal::Deterministic, until);
            }
        }
        let lease = |number: &u32| {
            self.leased((place, asked), *number, DataKeyId::DETERMINISTIC, 0, (client, None), now)
        };
        Ok(v1::LeasedIndex {
            versions: numbers.iter().map(lease).collect::<Result<_, _>>()?,
            writes_under: writes_under.map(VersionId::get),
            settles_in: settles.map(|(_, left)| duration(left)),
            settles_under: settles.map(|(newest, _)| newest.get()),
        })
    }

    /// Hands a data key out, and notes to whom.
    fn leased(
        &mut self,
        (place, asked): (&Place, &str),
        number: u32,
        data_key_id: DataKeyId,
        budget: u64,
        (client, to_seal): (Option<&Client>, Option<ToSeal>),
        now: Moment,
    ) -> Result<v1::LeasedDataKey, Refused> {
        let tenant = self.tenant(place.tenant)?;
        let (key, settings) = (tenant.key(&place.key)?, tenant.settings(&place.key)?);
        let (lease, class_of_key) = (settings.lease, settings.class);
        let version = key.version(number).ok_or(Reason::Internal)?;
        let leased = v1::LeasedDataKey {
            version_id: version.id.get(),
            data_key_id: data_key_id.get(),
            data_key: version.data_key(&place.key, data_key_id)?.expose_secret().to_vec(),
            lease: Some(duration(lease)),
            budget,
            revision: key.revision,
            key: asked.to_owned(),
            version: number,
            key_class: class(class_of_key).into(),
        };
        let held = Held { place: place.clone(), to_seal, until: now.after(lease) };
        let id = version.id;
        self.holders.note(client, id, held);
        Ok(leased)
    }
}

fn check_class(tenant: &Tenant, name: &KeyName) -> Result<(), Refused> {
    if tenant.settings(name)?.class.releases_data_keys() {
        return Ok(());
    }
    let words = format!(
        "key `{name}` is of class L4, which releases no data keys; let the server seal and open each value"
    );
    Err(Refused::new(Reason::ClassReleasesNoDataKeys, words))
}
