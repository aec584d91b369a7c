//! What a certificate says, made from the facts of a destruction.

use std::collections::BTreeSet;

use kms_core::{
    canonical::{Instant, Text},
    certificate::{
        Certificate,
        body::{
            Body, Clients, Destroyed, Effaceable, Effacement, Erasure, ErasureEpoch, Horizon, Log,
            MediumClass, Request, SaltedName, Scope, Status, Subject, VERSION,
        },
        proofs::{Consistency, Cosignature as Cosigned, IndexedEntry, Proofs, SignedCheckpoint as Head},
        risks::Risk,
        sanitization::Sanitization,
    },
    event::{Entry, Event},
    id::{Attempt, Epoch, InstanceId},
    state::DestroyReason,
    transparency::{MultiProof, ProveError, SignedCheckpoint, prove_consistency, tree_root},
};
use kms_proto::storage::{EpochRecord, PurgesRecord, TenantRecord, VersionRecord};

use super::{
    LogError, Source, Transparency,
    facts::{Facts, unlike},
    states::{self, StateError},
};
use crate::{
    erasure::{RecordError, Snapshot},
    records::{Damaged, Table, tree::LogEntries},
};

/// Earlier checkpoints that one certificate leads from.
pub const MAX_EARLIER: usize = 16;

/// Versions of one key, each destroyed; or a tenant.
#[derive(Debug, Clone)]
pub enum Certified {
    /// One version, or every one that the key had.
    Versions {
        /// Whether it is about the key.
        key: bool,
        /// The versions, by rising number.
        versions: Vec<VersionRecord>,
    },
    /// The tenant as a whole.
    Tenant,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertifyError {
    /// The version went with its tenant.
    #[error("it was destroyed with its tenant as a whole: get the tenant's certificate")]
    WithTenant,
    /// An earlier checkpoint is none of this log.
    #[error("the log never had {0} entries at a checkpoint before this one")]
    NoSuchSize(u64),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A proof about a state.
    #[error(transparent)]
    State(#[from] StateError),
}

impl From<RecordError> for CertifyError {
    fn from(error: RecordError) -> Self {
        Self::Log(error.into())
    }
}

impl From<Damaged> for CertifyError {
    fn from(damaged: Damaged) -> Self {
        RecordError::from(damaged).into()
    }
}

impl From<ProveError> for CertifyError {
    fn from(error: ProveError) -> Self {
        Self::Log(error.into())
    }
}

impl Transparency {
    /// The file of a certificate, with the subject's name salted where one is given, and whether the erasure is complete. Blocks.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn certify(
        &self,
        tenant: &TenantRecord,
        certified: &Certified,
        name: Option<SaltedName>,
        earlier: &BTreeSet<u64>,
    ) -> Result<(Vec<u8>, bool), CertifyError> {
        // ORDER: the head last: it counts everything that was read before it.
        let snapshot = self.snapshot();
        let mut facts = Facts::gather(&snapshot, tenant, certified)?;
        if let Destroyed::Key(key) = &mut facts.destroyed {
            key.name = name;
        }
        let newest = facts.entries.keys().next_back().copied().unwrap_or_default();
        let pinned = earlier.last().map_or(0, |size| size.saturating_sub(1));
        let head = self.head_for(newest.max(pinned))?;
        let mut body =
            facts.body(&snapshot, self.instance()?, self.verifier().to_string(), &head, earlier)?;
        body.proofs.checkpoint.cosignatures = self.cosignatures(&head);
        let erased = body.erasure.status == Status::Erased;
        let mut signed = true;
        let certificate = Certificate::sign(body.completed(), |message| {
            self.sign(message).unwrap_or_else(|| {
                signed = false;
                [0; 64]
            })
        });
        if !signed {
            return Err(RecordError::Damaged(LogEntries::NAME).into());
        }
        Ok((certificate.to_file(), erased))
    }

    fn cosignatures(&self, head: &SignedCheckpoint) -> Vec<Cosigned> {
        let lines = self.witnessed.cosignatures(head).into_iter();
        let cosigned = lines.filter_map(|(key, line)| {
            let mut signature = [0; 76];
            signature[..4].copy_from_slice(&line.id().0);
            signature.get_mut(4..)?.copy_from_slice(line.bytes().get(..72)?);
            Some(Cosigned { key: Text::lossy(&key.to_string()), signature })
        });
        let mut cosigned: Vec<_> = cosigned.collect();
        cosigned.sort_by(|one, other| one.key.as_str().cmp(other.key.as_str()));
        cosigned
    }

    fn instance(&self) -> Result<InstanceId, RecordError> {
        let name = self.verifier().name().as_str().strip_prefix("keycentre/");
        let bytes = name.and_then(|hex| hex::decode(hex).ok());
        bytes
            .and_then(|bytes| InstanceId::try_from(bytes.as_slice()).ok())
            .ok_or(RecordError::Damaged(LogEntries::NAME))
    }
}

impl Facts {
    fn body(
        &self,
        snapshot: &Snapshot,
        instance: InstanceId,
        key: String,
        head: &SignedCheckpoint,
        earlier: &BTreeSet<u64>,
    ) -> Result<Body, CertifyError> {
        // The log's time never falls: where the clock was ahead once, it is not earlier than what is on record.
        let on_record = self.entries.values().map(|entry| entry.at).max();
        let issued = on_record.map_or_else(now, |at| at.max(now()));
        let epochs: Vec<ErasureEpoch> = self
            .epochs
            .iter()
            .map(|(epoch, (record, _))| self.erasure(*epoch, record, issued))
            .collect::<Result<_, _>>()?;
        let done = |epoch: &ErasureEpoch| epoch.effacement.is_some() && epoch.quiesced <= issued;
        let status = if epochs.iter().all(done) { Status::Erased } else { Status::Pending };
        Ok(Body {
            v: VERSION,
            kind: self.kind,
            issued,
            instance,
            log: Log { key: Text::lossy(&key) },
            subject: Subject {
                tenant: self.tenant.clone(),
                tenant_uid: self.tenant_uid,
                tenant_slot: self.tenant_slot,
                destroyed: self.destroyed.clone(),
            },
            request: self.destructions.iter().map(|index| self.request(*index)).collect::<Result<_, _>>()?,
            effaceable: epochs.iter().filter_map(|epoch| self.effaceable(epoch)).collect(),
            erasure: Erasure { status, horizon: Horizon::None, epochs },
            sanitization: Sanitization::default(),
            proofs: self.proofs(snapshot, head, earlier)?,
            proven: Vec::new(),
            attested: Vec::new(),
            assumed: Vec::new(),
            risks: self.risks(),
        })
    }

    fn erasure(
        &self,
        epoch: Epoch,
        record: &EpochRecord,
        issued: Instant,
    ) -> Result<ErasureEpoch, CertifyError> {
        let at = |index: &u64| self.entries.get(index).map(|entry| entry.at).ok_or_else(unlike);
        let quiesced = match record.quiesced_ms {
            // It will have, at the earliest: after a restart it is counted anew.
            0 => {
                let lease = i64::try_from(record.longest_lease_ms).unwrap_or(i64::MAX);
                record.committed_ms.saturating_add(lease).max(issued.millis().saturating_add(1))
            }
            known => known,
        };
        let effacement = match record.effaced {
            Some(_) => {
                Some(Effacement { effacement: record.effaced_entry, effaced: at(&record.effaced_entry)? })
            }
            None => None,
        };
        Ok(ErasureEpoch {
            epoch,
            attempt: Attempt::try_from(record.attempt.as_slice()).map_err(|_| unlike())?,
            commit: record.commit_entry,
            committed: at(&record.commit_entry)?,
            quiesced: Instant::from_millis(quiesced),
            clients: record.purges.filter(|_| record.quiesced_ms != 0).map(
                |PurgesRecord { confirmed, ended }| Clients {
                    clients_confirmed: confirmed,
                    clients_ended: ended,
                },
            ),
            effacement,
        })
    }

    fn request(&self, index: u64) -> Result<Request, CertifyError> {
        let entry = self.entries.get(&index).ok_or_else(unlike)?;
        let (scope, reason, ticket): (_, DestroyReason, _) = match &entry.event {
            Event::DestroyVersion(event) => (Scope::Version, event.reason, &event.ticket),
            Event::DestroyKey(event) => (Scope::Key, event.reason, &event.ticket),
            Event::TenantDestroy(event) => (Scope::Tenant, event.reason, &event.ticket),
            _ => return Err(unlike()),
        };
        let (by, at, ticket) = (entry.by.clone(), entry.at, ticket.clone());
        Ok(Request { destroy: index, by, at, scope, reason, ticket, approvals: Vec::new() })
    }

    fn effaceable(&self, epoch: &ErasureEpoch) -> Option<Effaceable> {
        let effacement = epoch.effacement.as_ref()?.effacement;
        let Event::EpochEffaced(event) = &self.entries.get(&effacement)?.event else { return None };
        Some(Effaceable {
            effacement,
            class: MediumClass::from_word(event.class.as_str())?,
            assurance: event.assurance.clone(),
            technique: event.technique.clone(),
            media: event.media.clone(),
            verification: event.verification.clone(),
        })
    }

    fn proofs(
        &self,
        snapshot: &Snapshot,
        head: &SignedCheckpoint,
        earlier: &BTreeSet<u64>,
    ) -> Result<Proofs, CertifyError> {
        let (source, checkpoint) = (Source(snapshot), head.checkpoint());
        let indexes = self.entries.keys().copied().collect();
        let inclusion = MultiProof::prove(&source, checkpoint.size, &indexes)?.hashes;
        let entries =
            self.entries.iter().map(|(index, entry)| IndexedEntry { index: *index, entry: entry.clone() });
        let consistency = earlier.iter().filter(|size| **size != checkpoint.size).map(|size| {
            if *size == 0 || *size > checkpoint.size {
                return Err(CertifyError::NoSuchSize(*size));
            }
            let (root, proof) =
                (tree_root(&source, *size)?, prove_consistency(&source, *size, checkpoint.size)?);
            Ok(Consistency { size: *size, root, proof })
        });
        let states = self.epochs.iter().map(|(epoch, (record, slots))| {
            match states::around(snapshot, (*epoch, record), self.tenant_slot, slots) {
                // The tenant went in the same epoch, and took what would prove it along.
                Err(StateError::Nothing) => Err(CertifyError::WithTenant),
                state => state.map_err(CertifyError::from),
            }
        });
        Ok(Proofs {
            checkpoint: Head {
                size: checkpoint.size,
                root: checkpoint.root,
                signature: signature(head).ok_or_else(unlike)?,
                cosignatures: Vec::new(),
            },
            entries: entries.collect(),
            inclusion,
            consistency: consistency.collect::<Result<_, _>>()?,
            states: states.collect::<Result<_, _>>()?,
        })
    }

    /// Those that hold wherever this server destroys something; others follow from what the certificate says. Of a tenant's keys a
    /// certificate does not speak one by one: what may have been done with them is named.
    fn risks(&self) -> Vec<Risk> {
        let mut risks = vec![Risk::ClockUnproven, Risk::MemorySwapCore, Risk::NoRollbackProtection];
        if self.kind == Scope::Tenant {
            risks.extend([Risk::AuditWritten, Risk::DerivedCopies, Risk::IndexValues, Risk::RowsLinkable]);
        }
        if self.destructions.iter().any(|index| {
            matches!(
                self.entries.get(index).map(|entry| &entry.event),
                Some(Event::DestroyVersion(_) | Event::DestroyKey(_))
            )
        }) {
            risks.push(Risk::IndexValues);
        }
        // What its operator keeps of it, no token says.
        let token = |entry: &Entry| matches!(&entry.event, Event::EpochEffaced(event) if event.class.as_str() == MediumClass::Token.as_str());
        if self.entries.values().any(token) {
            risks.push(Risk::TokenBackup);
        }
        risks
    }
}

/// The log's own signature under a head: key id and signature.
fn signature(head: &SignedCheckpoint) -> Option<[u8; 68]> {
    let signature = head.note().signatures().first()?;
    let mut bytes = [0; 68];
    bytes[..4].copy_from_slice(&signature.id().0);
    bytes.get_mut(4..)?.copy_from_slice(signature.bytes().get(..64)?);
    Some(bytes)
}

fn now() -> Instant {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Instant::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
