//! What survives a process in these tests, and an attacker who kept all of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};

use kms_core::{
    commitment::{self, Hash},
    event::{Entry, Event},
    id::{CommitNumber, Epoch, InstanceId, KeyGen, LeafSlot, TenantSlot, Uid, VersionId},
    secret::SealSecret,
    tree::{ChildKey, LeafPayload, Place, TreeName, open_keys, open_record},
};
use kms_proto::storage::{HeadRecord, TreeRecord, VersionRecord};
use parking_lot::Mutex;
use prost::Message;

use super::super::{
    change::ChangeError,
    epoch::open_root,
    head::Head,
    log::Log,
    options::{Options, Rider, StartError, Started},
    recovery,
    redo::RedoStore,
    view,
    writer::{CommitFailed, Committed, Writer},
};
use crate::{
    effaceable::{Effaceable, SecretId, memory::MemoryMedium},
    records::{
        Versions, parse_key,
        tree::{self as tables, LogEntries, Nodes, TenantTrees},
    },
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

struct FaultyRedo(MemoryRedo, Faults, Option<super::Mutation>);

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
    fn mutation(&self) -> Option<super::Mutation> {
        self.2
    }
}

/// Everything durable of one instance.
#[derive(Clone)]
pub(super) struct World {
    pub(super) store: Arc<Hoard>,
    pub(super) medium: MemoryMedium,
    pub(super) redo: MemoryRedo,
    pub(super) fatal: Arc<Mutex<Option<String>>>,
    pub(super) mutation: Option<super::Mutation>,
}

pub(super) fn seal() -> SealSecret {
    SealSecret::copied_from(&[0x5E; 32]).unwrap()
}

impl World {
    pub(super) fn new() -> Self {
        let (store, medium, redo) = Default::default();
        let mut world = Self { store, medium, redo, fatal: Arc::default(), mutation: None };
        Writer::create(&*world.store, &mut world.medium, &seal(), INSTANCE).unwrap();
        world
    }

    /// The same once more, with a life of its own.
    pub(super) fn fork(&self) -> Self {
        let store = Hoard { ever: Mutex::new(self.store.ever.lock().clone()), ..Hoard::default() };
        let pairs = self.store.range(&[], None, usize::MAX).unwrap();
        let mut all =
            Some(Batch { writes: pairs.into_iter().map(|(key, value)| (key, Some(value))).collect() });
        for number in 1..=self.store.committed().0 {
            store.store.commit(CommitNumber(number), all.take().unwrap_or_default()).unwrap();
        }
        let redo = MemoryRedo {
            files: Arc::new(Mutex::new(self.redo.files.lock().clone())),
            ever: Arc::new(Mutex::new(self.redo.ever.lock().clone())),
        };
        let (store, medium, mutation) = (Arc::new(store), copy(&self.medium), self.mutation);
        Self { store, medium, redo, fatal: Arc::default(), mutation }
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
        let redo = Box::new(FaultyRedo(self.redo.clone(), faults.clone(), self.mutation));
        let fatal = self.fatal.clone();
        let mut options = Options::new("unused");
        options.erasure_interval = Duration::ZERO;
        options.fatal = Arc::new(move |why| *fatal.lock() = Some(why.into()));
        change(&mut options);
        recovery::start_with(store, medium, seal(), redo, options)
    }

    pub(super) fn head(&self) -> Head {
        Head::from_record(&view::stored::<tables::Head>(&*self.store, &()).unwrap().unwrap()).unwrap()
    }

    /// What an attacker gets at who has every record ever written, the seal, and these secrets of the medium.
    pub(super) fn reach(&self, secrets: &MemoryMedium) -> BTreeSet<VersionId> {
        let ever = self.store.ever.lock();
        let mut records: BTreeMap<_, Vec<TreeRecord>> = BTreeMap::new();
        let mut heads = Vec::new();
        for (key, value) in ever.iter() {
            if let Some(address) = parse_key::<Nodes>(key) {
                let record = TreeRecord::decode(value.as_slice()).unwrap();
                records.entry((address.place, address.key_gen)).or_default().push(record);
            } else if parse_key::<tables::Head>(key).is_some() {
                heads.push(Head::from_record(&HeadRecord::decode(value.as_slice()).unwrap()).unwrap());
            }
        }
        for redo in self.redo.ever.lock().iter() {
            let redo = super::super::redo::Redo::decode(redo).unwrap();
            heads.push(redo.last_head(redo.base.next()).unwrap());
            for (key, value) in redo.staged.iter().chain([&redo.head]).flat_map(|batch| &batch.writes) {
                if let (Some(address), Some(value)) = (parse_key::<Nodes>(key), value) {
                    let record = TreeRecord::decode(value.as_slice()).unwrap();
                    records.entry((address.place, address.key_gen)).or_default().push(record);
                }
            }
        }
        let mut reached = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for id in secrets.list().unwrap() {
            let secret = secrets.read(id).unwrap().unwrap();
            for head in heads.iter().filter(|head| head.secret() == id) {
                let root = Arc::new(open_root(&seal(), &secret, head).unwrap());
                let place = Place::root(TreeName::Top, head.top_height);
                let mut open = vec![(place, ChildKey { key_gen: KeyGen(id.epoch.0), key: root })];
                while let Some((place, key)) = open.pop() {
                    if !seen.insert((place, key.key_gen, *key.key.expose_secret())) {
                        continue;
                    }
                    // A tree's root is known to its parent by slot; the level is tried.
                    let places = match (place.tree, place.level) {
                        (TreeName::Top, 0) => {
                            let tree = TreeName::Tenant(TenantSlot(place.index.try_into().unwrap()));
                            (1..=7).map(|level| Place::root(tree, level)).collect()
                        }
                        // A grown tree's root: the same key, one level down or up, in older records.
                        (tree, level) if place.index == 0 && level > 0 => {
                            (1..=7).map(|level| Place::root(tree, level)).collect()
                        }
                        _ => vec![place],
                    };
                    for place in places {
                        for record in records.get(&(place, key.key_gen)).into_iter().flatten() {
                            let header = kms_core::record::header(&record.wrapped).unwrap();
                            if place.level == 0 {
                                let opened =
                                    open_record(INSTANCE, place, &key, header.record_ver, &record.wrapped);
                                if opened.is_ok() {
                                    let TreeName::Tenant(tenant) = place.tree else { unreachable!() };
                                    let slot = LeafSlot(place.index.try_into().unwrap());
                                    reached.insert(VersionId::new(tenant, slot));
                                }
                            } else if let Ok(children) =
                                open_keys(INSTANCE, place, &key, header.record_ver, &record.wrapped)
                            {
                                let children = children.into_iter().enumerate();
                                open.extend(
                                    children.filter_map(|(slot, key)| Some((place.child(slot), key?))),
                                );
                            }
                        }
                    }
                }
            }
        }
        reached
    }

    /// The state as the payloads themselves say it: what is live, and the state root.
    pub(super) fn recount(&self) -> (BTreeSet<VersionId>, Hash) {
        let head = self.head();
        let secret = self.medium.read(head.secret()).unwrap().expect("the secret in force");
        let root = Arc::new(open_root(&seal(), &secret, &head).expect("the root opens"));
        let mut live = BTreeSet::new();
        let top = ChildKey { key_gen: KeyGen(head.epoch.0), key: root };
        let hash = self.recount_below(Place::root(TreeName::Top, head.top_height), &top, &mut live);
        let count = live.iter().filter(|id| id.leaf_slot().0 != 0).count() as u64;
        self.check_log(&head);
        (live, commitment::state_root(head.top_height, &hash, count))
    }

    /// Every entry of the log.
    pub(super) fn log(&self) -> Vec<Entry> {
        let entries = view::range::<LogEntries>(&*self.store, &[], &(), None, usize::MAX).unwrap();
        assert!(entries.iter().map(|(index, _)| *index).eq(0..entries.len() as u64), "no entry is missing");
        entries.iter().map(|(_, record)| Entry::from_bytes(&record.entry).unwrap()).collect()
    }

    /// The log says of every epoch that it was committed, of the last state what it is, and of no secret that it is gone which is not.
    fn check_log(&self, head: &Head) {
        let log = self.log();
        assert_eq!(log.len() as u64, head.log_size);
        assert_eq!(Log::read(&*self.store, head).unwrap().root(), head.log_root);
        assert!(log.is_sorted_by_key(|entry| (entry.commit, entry.at)));
        let there = self.medium.list().unwrap();
        let (mut epoch, mut state_root) = (Epoch(1), None);
        let mut done = BTreeSet::new();
        for entry in &log {
            match &entry.event {
                Event::EpochCommit(commit) => {
                    assert_eq!(commit.epoch, epoch.next());
                    epoch = commit.epoch;
                    state_root = Some(commit.state_root);
                }
                Event::EpochEffaced(effaced) => {
                    assert!(effaced.epoch <= epoch);
                    done.insert(effaced.epoch);
                    let gone = effaced
                        .effaced
                        .0
                        .iter()
                        .map(|(epoch, attempt)| SecretId { epoch: *epoch, attempt: *attempt });
                    gone.for_each(|gone| assert!(!there.contains(&gone), "{gone:?} is there"));
                }
                _ => {}
            }
        }
        assert_eq!(epoch, head.epoch);
        if done.contains(&epoch) {
            let missing: Vec<_> = (2..epoch.0).filter(|number| !done.contains(&Epoch(*number))).collect();
            assert!(missing.is_empty(), "nothing will ever say of {missing:?} that they were effaced");
        }
        if let (Some(Event::EpochCommit(_)), Some(state_root)) =
            (log.last().map(|entry| &entry.event), state_root)
        {
            assert_eq!(state_root, head.state_root);
        }
    }

    fn recount_below(&self, place: Place, key: &ChildKey, live: &mut BTreeSet<VersionId>) -> Hash {
        if place.tree == TreeName::Top && place.level == 0 {
            let tenant = TenantSlot(place.index.try_into().unwrap());
            let shape = view::stored::<TenantTrees>(&*self.store, &tenant).unwrap().unwrap();
            let height = u8::try_from(shape.height).unwrap();
            let root = self.recount_below(Place::root(TreeName::Tenant(tenant), height), key, live);
            return commitment::tenant_hash(Uid::try_from(shape.uid.as_slice()).unwrap(), height, &root);
        }
        let prefix = crate::records::group_bytes::<Nodes>(&(place, key.key_gen));
        let (address, value) = self.store.last(&prefix).unwrap().expect("the record its parent names");
        let ver = parse_key::<Nodes>(&address).unwrap().record_ver;
        let record = TreeRecord::decode(value.as_slice()).unwrap();
        if place.level == 0 {
            let TreeName::Tenant(tenant) = place.tree else { unreachable!() };
            let slot = LeafSlot(place.index.try_into().unwrap());
            let leaf = LeafPayload::decode(&open_record(INSTANCE, place, key, ver, &record.wrapped).unwrap())
                .unwrap();
            let uid = Uid::try_from(record.uid.as_slice()).unwrap();
            live.insert(VersionId::new(tenant, slot));
            let kc = commitment::key_commitment(uid, leaf.alg, &leaf.blind, &leaf.material);
            return commitment::leaf_hash(uid, slot, leaf.alg, &kc);
        }
        let children = open_keys(INSTANCE, place, key, ver, &record.wrapped).unwrap();
        let hashes = std::array::from_fn(|slot| {
            let key = children[slot].as_ref()?;
            Some(self.recount_below(place.child(slot), key, live))
        });
        commitment::fold_children(&hashes, 5 * usize::from(place.level - 1))
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
pub(super) fn copy(medium: &MemoryMedium) -> MemoryMedium {
    let mut copied = MemoryMedium::default();
    for id in medium.list().unwrap() {
        copied.prepare(id, &medium.read(id).unwrap().unwrap()).unwrap();
    }
    copied
}

pub(super) fn ids(medium: &MemoryMedium) -> Vec<SecretId> {
    medium.list().unwrap()
}
