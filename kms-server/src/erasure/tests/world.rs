//! What survives a process in these tests, and an attacker who kept all of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};

use kms_core::{
    commitment::Hash,
    event::Entry,
    id::{CommitNumber, Epoch, InstanceId, TenantSlot, Uid, VersionId},
    secret::SealSecret,
};
use kms_proto::storage::VersionRecord;
use parking_lot::Mutex;

use super::{
    super::{
        change::ChangeError,
        head::Head,
        mistake::Mistake,
        options::{Options, Rider, StartError, Started},
        recovery,
        redo::RedoStore,
        writer::{CommitFailed, Committed, Writer},
    },
    attacker, recount,
};
use crate::{
    effaceable::{Effaceable, SecretId, memory::MemoryMedium},
    records::Versions,
    store::{
        Batch, CommitError, Pair, ReadError, Store,
        fault::{Faults, FaultyMedium, FaultyStore},
        memory::MemoryStore,
    },
};

pub(super) const INSTANCE: InstanceId = InstanceId([7; 16]);

/// A store that remembers every record it was ever given, as the disk of a log-structured engine may.
#[derive(Default)]
pub(super) struct Hoard {
    pub(super) store: MemoryStore,
    pub(super) ever: Mutex<Vec<Pair>>,
}

impl Store for Hoard {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.store.get(key)
    }
    fn range(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, ReadError> {
        self.store.range(prefix, after, limit)
    }
    fn last(&self, prefix: &[u8]) -> Result<Option<Pair>, ReadError> {
        self.store.last(prefix)
    }
    fn committed(&self) -> CommitNumber {
        self.store.committed()
    }
    fn commit(&self, number: CommitNumber, batch: Batch) -> Result<(), CommitError> {
        let writes = batch.writes.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
        self.ever.lock().extend(writes);
        self.store.commit(number, batch)
    }
}

/// Redos in memory.
#[derive(Clone, Default)]
pub(super) struct MemoryRedo {
    pub(super) files: Arc<Mutex<BTreeMap<Epoch, Vec<u8>>>>,
    /// Every redo ever written.
    pub(super) ever: Arc<Mutex<Vec<Vec<u8>>>>,
}

struct FaultyRedo(MemoryRedo, Faults);

impl RedoStore for FaultyRedo {
    fn write(&mut self, epoch: Epoch, bytes: &[u8]) -> io::Result<()> {
        self.1.step("redo write", || {
            self.0.ever.lock().push(bytes.to_vec());
            self.0.files.lock().insert(epoch, bytes.to_vec());
            Ok(())
        })
    }
    fn read(&self) -> io::Result<Vec<(Epoch, Vec<u8>)>> {
        Ok(self.0.files.lock().iter().map(|(epoch, bytes)| (*epoch, bytes.clone())).collect())
    }
    fn delete(&mut self, epoch: Epoch) -> io::Result<()> {
        self.1.step("redo delete", || {
            self.0.files.lock().remove(&epoch);
            Ok(())
        })
    }
    fn prepare(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything durable of one instance.
#[derive(Clone)]
pub(super) struct World {
    pub(super) store: Arc<Hoard>,
    pub(super) medium: MemoryMedium,
    pub(super) redo: MemoryRedo,
    pub(super) fatal: Arc<Mutex<Option<String>>>,
    pub(super) mistake: Option<Mistake>,
}

pub(super) fn seal() -> SealSecret {
    SealSecret::copied_from(&[0x5E; 32]).unwrap()
}

impl World {
    pub(super) fn new() -> Self {
        let (store, medium, redo) = Default::default();
        let mut world = Self { store, medium, redo, fatal: Arc::default(), mistake: None };
        Writer::create(&*world.store, &mut world.medium, &seal(), INSTANCE).unwrap();
        world
    }

    /// The same once more, with a life of its own.
    pub(super) fn fork(&self) -> Self {
        let store = Hoard { ever: Mutex::new(self.store.ever.lock().clone()), ..Hoard::default() };
        let pairs = self.store.range(&[], None, usize::MAX).unwrap();
        let mut all = Some(Batch {
            writes: pairs.into_iter().map(|(key, value)| (key, Some(value))).collect(),
            ..Batch::default()
        });
        for number in 1..=self.store.committed().0 {
            store.store.commit(CommitNumber(number), all.take().unwrap_or_default()).unwrap();
        }
        let redo = MemoryRedo {
            files: Arc::new(Mutex::new(self.redo.files.lock().clone())),
            ever: Arc::new(Mutex::new(self.redo.ever.lock().clone())),
        };
        let (store, medium, mistake) = (Arc::new(store), copy(&self.medium), self.mistake);
        Self { store, medium, redo, fatal: Arc::default(), mistake }
    }

    pub(super) fn start(&self) -> Writer {
        self.start_with(&Faults::none()).unwrap().0
    }

    pub(super) fn start_with(&self, faults: &Faults) -> Result<(Writer, Started), StartError> {
        self.start_as(faults, |_| {})
    }

    pub(super) fn start_every(&self, interval: Duration) -> Writer {
        self.start_as(&Faults::none(), |options| options.erasure_interval = interval).unwrap().0
    }

    pub(super) fn start_riding(&self, rider: Rider) -> Writer {
        self.start_as(&Faults::none(), |options| options.rider = rider).unwrap().0
    }

    pub(super) fn start_as(
        &self,
        faults: &Faults,
        change: impl FnOnce(&mut Options),
    ) -> Result<(Writer, Started), StartError> {
        let store = Arc::new(FaultyStore::new(self.store.clone(), faults.clone()));
        let medium = Box::new(FaultyMedium::new(self.medium.clone(), faults.clone()));
        let redo = Box::new(FaultyRedo(self.redo.clone(), faults.clone()));
        let fatal = self.fatal.clone();
        let mut options = Options::new("unused");
        options.erasure_interval = Duration::ZERO;
        options.fatal = Arc::new(move |why| *fatal.lock() = Some(why.into()));
        options.mistake = self.mistake;
        change(&mut options);
        recovery::start_with(store, medium, seal(), redo, options)
    }

    pub(super) fn head(&self) -> Head {
        recount::head(&*self.store)
    }

    /// What an attacker gets at who has every record ever written, the seal, and these secrets of the medium.
    pub(super) fn reach(&self, secrets: &MemoryMedium) -> BTreeSet<VersionId> {
        attacker::reach(&self.store.ever.lock(), &self.redo.ever.lock(), secrets)
    }

    /// The state as the payloads themselves say it: what is live, and the state root.
    pub(super) fn recount(&self) -> (BTreeSet<VersionId>, Hash) {
        let counted = recount::recount(&*self.store, &self.medium);
        recount::check_log(&*self.store, &self.medium);
        (counted.leaves.into_keys().collect(), counted.state_root)
    }

    /// Every entry of the log.
    pub(super) fn log(&self) -> Vec<Entry> {
        recount::log(&*self.store)
    }
}

pub(super) type Made<R> = Result<Committed<R>, CommitFailed<ChangeError>>;

/// Makes a tenant.
pub(super) async fn tenant(writer: &Writer) -> Made<TenantSlot> {
    writer.commit(|change| Ok::<_, ChangeError>(change.create_tenant_tree(Uid::random()?)?.slot)).await
}

/// Makes versions, with their records, in one change.
pub(super) async fn versions(writer: &Writer, tenant: TenantSlot, count: usize) -> Made<Vec<VersionId>> {
    writer.commit(move |change| (0..count).map(|_| version(change, tenant)).collect()).await
}

pub(super) fn version(
    change: &mut super::super::Change<'_>,
    tenant: TenantSlot,
) -> Result<VersionId, ChangeError> {
    let leaf = change.create_leaf(tenant, Uid::random()?)?;
    let record = VersionRecord {
        tenant_slot: leaf.version.tenant_slot().0,
        leaf_slot: leaf.version.leaf_slot().0,
        key_commitment: leaf.key_commitment.to_vec(),
        ..VersionRecord::default()
    };
    change.put::<Versions>(&leaf.version, &record);
    Ok(leaf.version)
}

/// Destroys versions, and says so in their records.
pub(super) async fn destroy(writer: &Writer, versions: Vec<VersionId>) -> Made<()> {
    let destroyed = writer.destroy(move |change| {
        for version in &versions {
            change.destroy_version(*version, 0);
            let mut record = change.get::<Versions>(version)?.unwrap_or_default();
            record.destroyed_epoch = change.epoch().0;
            change.put::<Versions>(version, &record);
        }
        Ok(())
    });
    destroyed.await
}

/// Secrets as they are now, for an attacker to keep.
pub(super) fn copy(medium: &dyn Effaceable) -> MemoryMedium {
    let mut copied = MemoryMedium::default();
    for id in medium.list().unwrap() {
        copied.prepare(id, &medium.read(id).unwrap().unwrap()).unwrap();
    }
    copied
}

pub(super) fn ids(medium: &MemoryMedium) -> Vec<SecretId> {
    medium.list().unwrap()
}
