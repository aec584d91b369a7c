//! What request tasks read through: typed records, and the walk from the root to the material of a version.

use std::sync::Arc;

use kms_core::{
    commitment::{self, ALG_AES_256, ALG_INDEX_KEY},
    id::{CommitNumber, Epoch, LeafSlot, RecordVer, TenantSlot, Uid, VersionId},
    secret::VersionMaterial,
    subject_index::SubjectIndex,
    tree::{ChildKey, FAN_OUT, LeafPayload, NodeError, Place, TreeName, open_keys, open_record},
};
use kms_proto::storage::TreeRecord;

use super::{
    head::Head,
    published::{LogHead, Published, Roots},
    view::{self, RecordError},
};
use crate::{
    effaceable::MediumName,
    records::{
        Row, Table, group_bytes, key_bytes, parse_key,
        tree::{self, Epochs, Nodes, RunningLeases, TenantTrees},
    },
};

/// Reads what is durable. Cheap to make and to clone.
#[derive(Clone)]
pub struct Snapshot {
    published: Arc<Published>,
}

/// A version's material cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenVersionError {
    /// It was destroyed, with its tenant or alone, or never was.
    #[error("the key version does not exist, or was destroyed")]
    NotThere,
    /// Its records do not open.
    #[error("the records of the key version are damaged: {0}")]
    Damaged(#[from] NodeError),
    /// A record is missing on the way to it.
    #[error("a tree record on the way to the key version is missing")]
    Missing,
    /// It changed under the reader's feet, over and over.
    #[error("the store changed too often while the key version was read; try again")]
    Busy,
    /// A record cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
}

const TRIES: usize = 32;

impl Snapshot {
    pub(super) fn new(published: Arc<Published>) -> Self {
        Self { published }
    }

    /// One record.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Value>, RecordError> {
        self.check()?;
        let key = key_bytes::<T>(key);
        // ORDER: the store first. Whoever sees a value that is not durable yet finds the one before it hidden here.
        let value = self.published.store.get(&key)?;
        let value = match self.published.before().get(&key) {
            Some(before) => before.clone(),
            None => value,
        };
        value.map(|value| view::decode::<T>(&value)).transpose()
    }

    /// Records of a group after a key, in order, at most `limit`.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn range<T: Table>(
        &self,
        group: &T::Group,
        after: Option<&T::Key>,
        limit: usize,
    ) -> Result<Vec<Row<T>>, RecordError> {
        self.check()?;
        view::range_then::<T>(&*self.published.store, group, after, limit, || self.published.before())
    }

    /// Number of the last durable commit.
    pub fn revision(&self) -> CommitNumber {
        self.published.roots().revision
    }

    /// How far the transparency log has come.
    pub fn log(&self) -> LogHead {
        self.published.roots().log
    }

    /// Whether nothing that is left leads to what an epoch destroyed: the secrets before it are effaced, and no lease runs of a
    /// data key that led to it.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn erased(&self, epoch: Epoch) -> Result<bool, RecordError> {
        let effaced = self.get::<Epochs>(&epoch)?.is_some_and(|record| record.effaced.is_some());
        Ok(effaced && self.get::<RunningLeases>(&epoch)?.is_none())
    }

    /// An entry of the log as it was hashed, of those that [`Self::log`] counts.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn log_entry(&self, index: u64) -> Result<Vec<u8>, RecordError> {
        self.check()?;
        super::log::entry(&*self.published.store, index)
    }

    /// The hash of 2^level entries of the log from index·2^level on, all of them among those that [`Self::log`] counts.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn log_subtree(&self, level: u8, index: u64) -> Result<commitment::Hash, RecordError> {
        self.check()?;
        super::log::subtree(&*self.published.store, level, index)
    }

    /// Media that may hold a secret, as the last commit lists them; the one with the secret in force first.
    ///
    /// # Errors
    /// Where the record cannot be read.
    pub fn media(&self) -> Result<Vec<MediumName>, RecordError> {
        let head = self.get::<tree::Head>(&())?.ok_or(RecordError::Damaged(tree::Head::NAME))?;
        Ok(Head::from_record(&head)?.media)
    }

    /// The epoch in force. Whoever keeps what [`Self::open_version`] gave reads it before, and again after keeping it.
    pub fn epoch(&self) -> Epoch {
        self.published.roots().epoch
    }

    /// The material of a version: walks from the root to its leaf, and checks the leaf against its commitment.
    ///
    /// # Errors
    /// [`OpenVersionError::NotThere`] where it was destroyed or never was.
    pub fn open_version(&self, version: VersionId) -> Result<VersionMaterial, OpenVersionError> {
        self.open_leaf(version, ALG_AES_256)
    }

    /// A tenant's subject index key, the leaf at slot 0 of its tree.
    ///
    /// # Errors
    /// [`OpenVersionError::NotThere`] where the tenant was destroyed or never was.
    pub fn open_index(&self, tenant: TenantSlot) -> Result<SubjectIndex, OpenVersionError> {
        self.open_leaf(VersionId::new(tenant, LeafSlot(0)), ALG_INDEX_KEY).map(SubjectIndex::new)
    }

    fn open_leaf(&self, version: VersionId, alg: u16) -> Result<VersionMaterial, OpenVersionError> {
        for _ in 0..TRIES {
            self.check()?;
            let roots = self.published.roots();
            let walked = self.walk(&roots, version, alg);
            let now = self.published.roots();
            self.check()?;
            match walked {
                // ATTACK: a version destroyed during the walk must not leave it.
                Ok(_) if now.epoch != roots.epoch => {}
                // Records of the trees as they were may have been collected meanwhile.
                Err(OpenVersionError::Missing | OpenVersionError::Damaged(_))
                    if now.revision != roots.revision => {}
                walked => return walked,
            }
        }
        Err(OpenVersionError::Busy)
    }

    fn walk(&self, roots: &Roots, version: VersionId, alg: u16) -> Result<VersionMaterial, OpenVersionError> {
        let (tenant, leaf) = (version.tenant_slot(), version.leaf_slot());
        let top = ChildKey { key_gen: kms_core::id::KeyGen(roots.epoch.0), key: roots.root.clone() };
        let (tenant_key, _) = self.descend(roots, TreeName::Top, roots.top_height, top, tenant.0)?;
        // ORDER: the height after the key: a tree that grew in between has the same key one level higher.
        let shape = view::stored::<TenantTrees>(&*self.published.store, &tenant)?;
        let shape = shape.filter(|shape| shape.destroyed_epoch == 0).ok_or(OpenVersionError::NotThere)?;
        let height = u8::try_from(shape.height).map_err(|_| RecordError::Damaged(TenantTrees::NAME))?;
        let (leaf_key, committed) =
            self.descend(roots, TreeName::Tenant(tenant), height, tenant_key, leaf.0)?;

        let place = Place::leaf(tenant, leaf);
        let (record_ver, record) = self.node(place, &leaf_key)?;
        let payload = open_record(roots.instance, place, &leaf_key, record_ver, &record.wrapped);
        let payload = LeafPayload::decode(&payload.map_err(NodeError::from)?).map_err(NodeError::from)?;
        let uid = Uid::try_from(record.uid.as_slice()).map_err(|_| NodeError::Uid)?;
        let kc = commitment::key_commitment(uid, payload.alg, &payload.blind, &payload.material);
        if committed != Some(commitment::leaf_hash(uid, leaf, payload.alg, &kc)) {
            return Err(NodeError::Commitment.into());
        }
        // ATTACK: an index key must not come out where a version was asked for, nor the other way round.
        if payload.alg == alg { Ok(payload.material) } else { Err(OpenVersionError::NotThere) }
    }

    /// From a tree's root to the key of one of its slots, and the hash that stands beside it above leaves.
    fn descend(
        &self,
        roots: &Roots,
        tree: TreeName,
        height: u8,
        mut key: ChildKey,
        slot: u32,
    ) -> Result<(ChildKey, Option<commitment::Hash>), OpenVersionError> {
        if !kms_core::tree::holds(height, slot) {
            return Err(OpenVersionError::NotThere);
        }
        let mut hash = None;
        for level in (1..=height).rev() {
            let place = Place::above(tree, level, slot);
            let (record_ver, record) = self.node(place, &key)?;
            let mut children = open_keys(roots.instance, place, &key, record_ver, &record.wrapped)?;
            let at = Place::above(tree, level - 1, slot).child_slot();
            if level == 1 && matches!(tree, TreeName::Tenant(_)) {
                hash = leaf_hash_at(&record, &children, at);
            }
            key = children[at].take().ok_or(OpenVersionError::NotThere)?;
        }
        Ok((key, hash))
    }

    fn node(&self, place: Place, key: &ChildKey) -> Result<(RecordVer, TreeRecord), OpenVersionError> {
        let prefix = group_bytes::<Nodes>(&(place, key.key_gen));
        let last = self.published.store.last(&prefix).map_err(RecordError::from)?;
        let (key, value) = last.ok_or(OpenVersionError::Missing)?;
        let address = parse_key::<Nodes>(&key).ok_or(RecordError::Damaged(Nodes::NAME))?;
        Ok((address.record_ver, view::decode::<Nodes>(&value)?))
    }

    fn check(&self) -> Result<(), RecordError> {
        if self.published.is_stopped() { Err(RecordError::Stopped) } else { Ok(()) }
    }
}

/// The hash of one leaf, among those that stand beside its node.
fn leaf_hash_at(
    record: &TreeRecord,
    children: &[Option<ChildKey>; FAN_OUT],
    slot: usize,
) -> Option<commitment::Hash> {
    let before = children[..slot].iter().flatten().count();
    record.leaf_hashes.as_chunks::<32>().0.get(before).copied()
}
