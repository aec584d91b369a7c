//! What a certificate says: who and what was destroyed, at whose request, and how. See `docs/verifying.md`, "The certificate".

use std::collections::BTreeSet;

use super::{
    part::{Flat, NoPart, Part as _, put, sections, take, words},
    proofs::Proofs,
    risks::{self, Risk},
    sanitization::{self, Sanitization},
    words::Words,
};
use crate::{
    canonical::{Instant, Members, Text},
    commitment::Hash,
    event::Origin,
    id::{Attempt, Epoch, InstanceId, LeafSlot, TenantSlot, Uid},
    names::{KeyName, TenantName},
    state::{DestroyReason, KeyClass},
};

/// Version of the layout.
pub const VERSION: u64 = 1;

words! {
    /// What a certificate is about, and how far a destruction reached.
    Scope {
        /// One version of a key.
        Version = "version",
        /// Every version of a key.
        Key = "key",
        /// A tenant with all its keys.
        Tenant = "tenant",
    }
    /// How far an erasure has come.
    Status {
        /// Every secret that led to it is effaced, and every lease has ended.
        Erased = "erased",
        /// Something is still to come.
        Pending = "pending",
    }
    /// Until when a backup could be opened.
    Horizon {
        /// No backup can be opened.
        None = "none",
    }
    /// What overwriting a medium is worth; a better one is greater.
    MediumClass {
        /// No standard is claimed.
        None = "none",
        /// A token that says that it destroyed the key.
        Token = "token",
        /// Overwritten in place on a disk that keeps its places.
        Clear = "clear",
    }
}

sections! {
    /// All that is signed.
    Body {
        /// Layout: [`VERSION`].
        v: u64,
        /// What it is about.
        kind: Scope,
        /// When it was issued.
        issued: Instant,
        /// By which key centre.
        instance: InstanceId,
        /// The log that its entries stand in.
        log: Log,
        /// What was destroyed.
        subject: Subject,
        /// Who asked, one for each destruction entry, by rising index.
        request: Vec<Request>,
        /// The epochs that did it.
        erasure: Erasure,
        /// What was done to the medium, one for each effacement that `erasure` names, by rising index.
        effaceable: Vec<Effaceable>,
        /// The fields of NIST SP 800-88r2, section 4.6.
        sanitization: Sanitization,
        /// What all of this is computed from.
        proofs: Proofs,
        /// Sentences for people: what the proofs show.
        proven: Vec<Text>,
        /// Sentences for people: what the key centre says.
        attested: Vec<Text>,
        /// Sentences for people: what nobody can show.
        assumed: Vec<Text>,
        /// What it leaves open, sorted by name.
        risks: Vec<Risk>,
    }
    /// The log.
    Log {
        /// Its C2SP verifier key, `ORIGIN+KEYID+BASE64`.
        key: Text,
    }
    /// What was destroyed.
    Subject {
        /// The tenant's name.
        tenant: TenantName,
        /// Its uid.
        tenant_uid: Uid,
        /// Its slot in the top tree.
        tenant_slot: TenantSlot,
        .. {
            /// The versions of a key, or all of the tenant.
            destroyed: Destroyed,
        }
    }
    /// A key, with all its versions or one.
    KeySubject {
        /// Its name.
        key: KeyName,
        /// Its uid.
        key_uid: Uid,
        /// Its class.
        class: KeyClass,
        /// Its versions, by rising number.
        versions: Vec<Version>,
        .. {
            /// Of a subject's key, where whoever asked for the certificate said the name.
            name: Option<SaltedName>,
        }
    }
    /// Whose key it was, for those who have the salt.
    SaltedName {
        /// The name, salted: [`crate::commitment::salted_name`].
        subject_name: Hash,
    }
    /// A version of a key.
    Version {
        /// Its number.
        number: u32,
        /// Its uid.
        uid: Uid,
        /// Its slot in the tenant's tree.
        slot: LeafSlot,
        /// Its algorithm.
        alg: u16,
        /// The commitment to its material.
        kc: Hash,
        /// Where the material came from.
        origin: Origin,
        /// Index of the entry that made it.
        created: u64,
        /// Index of the entry that destroyed it.
        destroyed: u64,
        /// The epoch that destroyed it.
        epoch: Epoch,
        /// How many data keys it gave out.
        data_keys_issued: u64,
    }
    /// Who asked for a destruction.
    Request {
        /// Index of the entry.
        destroy: u64,
        /// Who.
        by: Text,
        /// When.
        at: Instant,
        /// How far it reached.
        scope: Scope,
        /// Why.
        reason: DestroyReason,
        /// Reference into the operator's ticket system; empty where none was given.
        ticket: Text,
        /// Who agreed.
        approvals: Vec<Text>,
    }
    /// The epochs that did it.
    Erasure {
        /// How far it has come.
        status: Status,
        /// Until when a backup could be opened.
        horizon: Horizon,
        /// By rising number.
        epochs: Vec<ErasureEpoch>,
    }
    /// An epoch that destroyed some of the subject.
    ErasureEpoch {
        /// Its number.
        epoch: Epoch,
        /// The try at it that came to be.
        attempt: Attempt,
        /// Index of its `EPOCH_COMMIT`.
        commit: u64,
        /// When that was.
        committed: Instant,
        /// When the last lease ended or was confirmed to be purged, or will have.
        quiesced: Instant,
        .. {
            /// How that came; absent while pending, and where not every client that held a data key is known.
            clients: Option<Clients>,
            /// Absent while pending.
            effacement: Option<Effacement>,
        }
    }
    /// The clients that held a data key of anything that the epoch destroyed, this key's or another's, when it was committed.
    Clients {
        /// How many confirmed that they had purged all they held of it, while their lease ran.
        clients_confirmed: u64,
        /// Of how many the lease simply ended.
        clients_ended: u64,
    }
    /// That the secrets before an epoch were effaced.
    Effacement {
        /// Index of the `EPOCH_EFFACED`.
        effacement: u64,
        /// When that was.
        effaced: Instant,
    }
    /// What was done to the medium in an effacement.
    Effaceable {
        /// Index of the `EPOCH_EFFACED`.
        effacement: u64,
        /// What the medium's overwriting is worth.
        class: MediumClass,
        /// What that rests on.
        assurance: Text,
        /// What was done.
        technique: Text,
        /// The media.
        media: Text,
        /// What was looked at afterwards.
        verification: Text,
    }
}

/// The versions of a key, or all of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destroyed {
    /// Versions of a key.
    Key(KeySubject),
    /// The tenant, with this many live versions.
    Tenant {
        /// How many.
        live: u64,
    },
}

impl Flat for Destroyed {
    fn put(&self, members: &mut Members) {
        match self {
            Self::Key(key) => key.put(members),
            Self::Tenant { live } => put(members, "live", live),
        }
    }
    fn take(members: &mut Members) -> Result<Self, NoPart> {
        match members.contains_key("live") {
            true => Ok(Self::Tenant { live: take(members, "live")? }),
            false => KeySubject::take(members).map(Self::Key),
        }
    }
}

impl Flat for Option<SaltedName> {
    fn put(&self, members: &mut Members) {
        if let Some(name) = self {
            name.put(members);
        }
    }
    fn take(members: &mut Members) -> Result<Self, NoPart> {
        match members.contains_key("subject_name") {
            true => SaltedName::take(members).map(Some),
            false => Ok(None),
        }
    }
}

impl Flat for Option<Clients> {
    fn put(&self, members: &mut Members) {
        if let Some(clients) = self {
            clients.put(members);
        }
    }
    fn take(members: &mut Members) -> Result<Self, NoPart> {
        match members.contains_key("clients_confirmed") {
            true => Clients::take(members).map(Some),
            false => Ok(None),
        }
    }
}

impl Flat for Option<Effacement> {
    fn put(&self, members: &mut Members) {
        if let Some(effacement) = self {
            effacement.put(members);
        }
    }
    fn take(members: &mut Members) -> Result<Self, NoPart> {
        match members.contains_key("effacement") {
            true => Effacement::take(members).map(Some),
            false => Ok(None),
        }
    }
}

impl Body {
    /// The versions that it is about; none for a tenant.
    pub fn versions(&self) -> &[Version] {
        self.key().map_or(&[], |key| &key.versions)
    }

    /// The key, unless it is about a tenant.
    pub fn key(&self) -> Option<&KeySubject> {
        match &self.subject.destroyed {
            Destroyed::Key(key) => Some(key),
            Destroyed::Tenant { .. } => None,
        }
    }

    /// The lowest class of its media; `None` where nothing is effaced yet.
    pub fn medium_class(&self) -> Option<MediumClass> {
        self.effaceable.iter().map(|medium| medium.class).min()
    }

    /// The same with everything that follows from the rest: the risks beside those already named, sentences, sanitization fields.
    pub fn completed(mut self) -> Self {
        let risks: BTreeSet<Risk> = self.risks.iter().copied().chain(risks::follow(&self)).collect();
        self.risks = risks.into_iter().collect();
        self.sanitization = sanitization::fields(&self);
        let Words { proven, attested, assumed } = Words::about(&self);
        (self.proven, self.attested, self.assumed) = (proven, attested, assumed);
        self
    }

    /// What the signature is over.
    pub fn message(&self) -> Vec<u8> {
        format!("kms/certificate/v1\n{}", self.to_value().pretty()).into_bytes()
    }
}
