//! What the log and the records say of a destruction: the entries that speak of it, and the epochs that carried it out.

use std::collections::{BTreeMap, BTreeSet};

use kms_core::{
    certificate::body::{Destroyed, KeySubject, Scope, Version},
    event::{Entry, Event, Origin},
    id::{Epoch, LeafSlot, TenantSlot, Uid},
    names::{KeyName, TenantName},
    state::KeyClass,
};
use kms_proto::storage::{EpochRecord, TenantRecord, VersionRecord};

use super::certificate::{Certified, CertifyError};
use crate::{
    erasure::{RecordError, Snapshot},
    records::{Table, name, tree::Epochs, tree::LogEntries, uid},
};

/// What is known of a destruction.
pub(super) struct Facts {
    pub(super) kind: Scope,
    pub(super) tenant: TenantName,
    pub(super) tenant_uid: Uid,
    pub(super) tenant_slot: TenantSlot,
    pub(super) destroyed: Destroyed,
    /// The entries that speak of it.
    pub(super) entries: BTreeMap<u64, Entry>,
    /// The entries that destroyed.
    pub(super) destructions: BTreeSet<u64>,
    /// The epochs, each with the slots that it emptied.
    pub(super) epochs: BTreeMap<Epoch, (EpochRecord, BTreeSet<LeafSlot>)>,
}

impl Facts {
    pub(super) fn gather(
        snapshot: &Snapshot,
        tenant: &TenantRecord,
        certified: &Certified,
    ) -> Result<Self, CertifyError> {
        let mut facts = Self {
            kind: Scope::Tenant,
            tenant: name(&tenant.name)?,
            tenant_uid: uid(&tenant.uid)?,
            tenant_slot: TenantSlot(tenant.slot),
            destroyed: Destroyed::Tenant { live: 0 },
            entries: BTreeMap::new(),
            destructions: BTreeSet::new(),
            epochs: BTreeMap::new(),
        };
        match certified {
            Certified::Tenant => {
                let event = facts.entry(snapshot, tenant.destroyed_entry)?.event.clone();
                let Event::TenantDestroy(destroyed) = event else { return Err(unlike()) };
                facts.destroyed = Destroyed::Tenant { live: destroyed.live };
                facts.destructions.insert(tenant.destroyed_entry);
                facts.epoch(snapshot, Epoch(tenant.destroyed_epoch))?;
            }
            Certified::Versions { key, versions } => {
                facts.kind = if *key { Scope::Key } else { Scope::Version };
                let mut subject: Option<KeySubject> = None;
                for record in versions {
                    let (of, version) = facts.version(snapshot, record)?;
                    subject.get_or_insert(of).versions.push(version);
                }
                facts.destroyed = Destroyed::Key(subject.ok_or_else(unlike)?);
            }
        }
        Ok(facts)
    }

    fn entry(&mut self, snapshot: &Snapshot, index: u64) -> Result<&Entry, CertifyError> {
        let entry = Entry::from_bytes(&snapshot.log_entry(index)?).map_err(|_| unlike())?;
        Ok(self.entries.entry(index).or_insert(entry))
    }

    /// An epoch that destroyed some of it, with what the log says of it.
    fn epoch(&mut self, snapshot: &Snapshot, epoch: Epoch) -> Result<&mut BTreeSet<LeafSlot>, CertifyError> {
        if !self.epochs.contains_key(&epoch) {
            let record = snapshot.get::<Epochs>(&epoch)?.ok_or(RecordError::Damaged(Epochs::NAME))?;
            self.entry(snapshot, record.commit_entry)?;
            if record.effaced.is_some() {
                self.entry(snapshot, record.effaced_entry)?;
            }
            self.epochs.insert(epoch, (record, BTreeSet::new()));
        }
        self.epochs.get_mut(&epoch).map(|(_, slots)| slots).ok_or_else(unlike)
    }

    fn version(
        &mut self,
        snapshot: &Snapshot,
        record: &VersionRecord,
    ) -> Result<(KeySubject, Version), CertifyError> {
        let epoch = Epoch(record.destroyed_epoch);
        if epoch.0 == 0 {
            return Err(CertifyError::WithTenant);
        }
        let made = Made::of(&self.entry(snapshot, record.created_entry)?.event).ok_or_else(unlike)?;
        self.entry(snapshot, record.destroyed_entry)?;
        self.destructions.insert(record.destroyed_entry);
        self.epoch(snapshot, epoch)?.insert(made.version.slot);
        let version = Version {
            created: record.created_entry,
            destroyed: record.destroyed_entry,
            epoch,
            data_keys_issued: record.data_keys_issued.into(),
            ..made.version
        };
        let subject = KeySubject {
            key: made.key,
            key_uid: made.key_uid,
            class: made.class,
            versions: Vec::new(),
            name: None,
        };
        Ok((subject, version))
    }
}

/// What the entry of a version's making says.
struct Made {
    key: KeyName,
    key_uid: Uid,
    class: KeyClass,
    version: Version,
}

impl Made {
    fn of(event: &Event) -> Option<Self> {
        macro_rules! made {
            ($event:expr) => {{
                let event = $event;
                let version = Version {
                    number: event.number,
                    uid: event.version_uid,
                    slot: event.slot,
                    alg: event.alg,
                    kc: event.kc,
                    origin: Origin::Generated,
                    created: 0,
                    destroyed: 0,
                    epoch: Epoch(0),
                    data_keys_issued: 0,
                };
                Some(Self { key: event.key.clone(), key_uid: event.key_uid, class: event.class, version })
            }};
        }
        match event {
            Event::KeyCreate(event) => made!(event),
            Event::KeyRotate(event) => made!(event),
            _ => None,
        }
    }
}

/// A record or an entry is not what others say of it.
pub(super) fn unlike() -> CertifyError {
    RecordError::Damaged(LogEntries::NAME).into()
}
