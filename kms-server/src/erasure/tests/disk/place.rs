//! An instance on real files, as an installation lays them out, and what is known of it before anything happens.
//!
//! ```text
//! data/store   the embedded store          epochs   the effaceable medium
//! data/redo    the redo directory          acks     what the program said; no part of the disk
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kms_core::{
    commitment::Hash,
    id::{TenantSlot, VersionId},
};

use kms_proto::storage::VersionRecord;
use prost::Message;

use super::{
    super::{recount::recount, world::*},
    record::ACKS,
    replay::State,
};
use crate::{
    effaceable::{EffaceableError, file::FileMedium},
    erasure::{Options, StartError, Started, Writer, mistake::Mistake},
    records::{Table, Versions, parse_key},
    store::{Pair, Store, open, sidecar::Engine},
};

/// Versions of the first tenant: with those of the second, two thirds of them are a batch of twenty. All have one node above them, with
/// room for what is made later.
const VERSIONS: usize = 28;

/// The tenants.
pub(super) const FIRST: TenantSlot = TenantSlot(0);
pub(super) const SECOND: TenantSlot = TenantSlot(1);

/// Where the medium lies; by mistake, where a copy of the data directory takes it along.
fn medium_path(root: &Path, mistake: Option<Mistake>) -> PathBuf {
    match mistake {
        Some(Mistake::MediumInBackup) => root.join("data/epochs"),
        _ => root.join("epochs"),
    }
}

pub(super) fn redo_path(root: &Path) -> PathBuf {
    root.join("data/redo")
}

pub(super) fn open_medium(root: &Path, mistake: Option<Mistake>) -> Result<FileMedium, EffaceableError> {
    FileMedium::open(&medium_path(root, mistake), INSTANCE)
}

pub(super) fn open_store(root: &Path) -> Arc<dyn Store> {
    open::open(&root.join("data/store")).unwrap().store
}

pub(super) fn start_on(
    root: &Path,
    store: Arc<dyn Store>,
    mistake: Option<Mistake>,
) -> Result<(Writer, Started), StartError> {
    let medium = open_medium(root, mistake)?;
    let mut options = Options::new(redo_path(root));
    options.erasure_interval = Duration::ZERO;
    options.instance = Some(INSTANCE);
    options.mistake = mistake;
    Writer::start(store, Box::new(medium), seal(), options)
}

/// Says something that the recorder puts in order with what is done.
pub(super) fn say(root: &Path, what: &str) {
    let mut acks = OpenOptions::new().append(true).create(true).open(root.join(ACKS)).unwrap();
    // One line to one write.
    acks.write_all(format!("{what}\n").as_bytes()).unwrap();
}

/// An instance with two tenants, one epoch past, closed.
pub(super) struct Base {
    pub(super) state: State,
    /// Live versions, with their key commitments.
    pub(super) live: BTreeMap<VersionId, Hash>,
    /// Every record then.
    pub(super) pairs: Vec<Pair>,
}

impl Base {
    pub(super) fn new(mistake: Option<Mistake>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir(root.join("data")).unwrap();
        let opened = open::create(&root.join("data/store"), Engine::Sled, INSTANCE).unwrap();
        let mut medium = FileMedium::create(&medium_path(root, mistake), INSTANCE).unwrap();
        Writer::create(&*opened.store, &mut medium, &seal(), INSTANCE).unwrap();
        drop(medium);
        let at = mistake.filter(|mistake| *mistake == Mistake::MediumInBackup);
        let (writer, _) = start_on(root, opened.store.clone(), at).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for (slot, count) in [(FIRST, VERSIONS + 1), (SECOND, 2)] {
                assert_eq!(tenant(&writer).await.unwrap().value, slot);
                versions(&writer, slot, count).await.unwrap();
            }
            let one = *living(&*opened.store).first().unwrap();
            destroy(&writer, vec![one]).await.unwrap();
        });
        writer.stop();
        let mut live = recount(&*opened.store, &open_medium(root, mistake).unwrap()).leaves;
        live.retain(|version, _| version.leaf_slot().0 != 0);
        let pairs = opened.store.range(&[], None, usize::MAX).unwrap();
        drop((writer, opened));
        // So that the first start of a process makes the redo directory.
        Self { state: State::read(root).without("data/redo"), live, pairs }
    }
}

/// Versions whose records say that they live.
pub(super) fn living(store: &dyn Store) -> BTreeSet<VersionId> {
    let pairs = store.range(&[Versions::PREFIX], None, usize::MAX).unwrap().into_iter();
    let lives = |value: &[u8]| VersionRecord::decode(value).unwrap().destroyed_epoch == 0;
    pairs.filter(|(_, value)| lives(value)).map(|(key, _)| parse_key::<Versions>(&key).unwrap()).collect()
}
