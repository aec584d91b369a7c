//! What must hold of a disk after a start on it, however the process before was stopped.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use kms_core::{
    id::VersionId,
    transparency::{Frontier, leaf_hash},
};

use super::{
    super::{
        attacker,
        crash::Work,
        recount::{self, recount},
        world::{INSTANCE, copy, destroy, versions},
    },
    place::{Base, FIRST, SECOND, living, open_medium, open_store, redo_path, start_on},
    replay::State,
};
use crate::{
    effaceable::{Effaceable, file::FileMedium},
    erasure::{mistake::Mistake, snapshot::OpenVersionError, view},
    records::{Versions, tree::TenantTrees},
    store::Store,
};
/// What the one who checks knows.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) base: &'a Base,
    /// What is on the disk.
    pub(super) state: &'a State,
    pub(super) work: Work,
    /// What the program had said when it was stopped.
    pub(super) acks: &'a [String],
    /// Every redo that was written.
    pub(super) redos: &'a [Vec<u8>],
    /// What the start does wrongly.
    pub(super) mistake: Option<Mistake>,
    /// Whether to look at what comes after, too.
    pub(super) goes_on: bool,
}

impl Known<'_> {
    fn said(&self, what: &str) -> bool {
        self.acks.iter().any(|ack| ack.split(' ').next() == Some(what))
    }
}

/// Panics where something does not hold.
pub(super) fn check(root: &Path, known: &Known<'_>) {
    let Known { base, mistake, .. } = *known;
    no_secret_lies_in(known.state);
    let store = open_store(root);
    {
        // Before anything is brought to its end.
        let medium = open_medium(root, mistake).unwrap();
        recount::nothing_is_certified_that_is_there(&*store, &medium);
        if known.said("refused") && known.said("destroyed") {
            assert_eq!(medium.list().unwrap().len(), 1, "the attempt that was refused has left its secret");
        }
    }
    let (writer, started) = start_on(root, store.clone(), mistake).unwrap();
    assert!(started.effaced);
    let (snapshot, mut lives) = (writer.snapshot(), living(&*store));
    lives.retain(|version| !tenant_is_gone(&*store, *version));
    lives.iter().for_each(|version| drop(snapshot.open_version(*version).unwrap()));
    writer.stop();

    let medium = copy(&open_medium(root, mistake).unwrap());
    assert_eq!(medium.list().unwrap(), [recount::head(&*store).secret()], "one secret, and no other");
    let redos = std::fs::read_dir(redo_path(root)).unwrap();
    assert!(redos.map(|entry| entry.unwrap().file_name()).all(|name| name == "spare"));

    let counted = recount(&*store, &medium);
    assert_eq!(counted.state_root, recount::head(&*store).state_root);
    recount::check_log(&*store, &medium);
    the_log_goes_on_from_what_was_said(&*store, known.acks);

    let leaves = counted.leaves;
    let found: BTreeSet<_> = leaves.keys().copied().filter(|version| version.leaf_slot().0 != 0).collect();
    all_or_nothing(known, &found);
    assert_eq!(lives, found, "the records of those that live say so, and no others");
    for version in &found {
        let record = view::stored::<Versions>(&*store, version).unwrap().unwrap();
        assert_eq!(record.key_commitment, leaves[version], "its material is what was committed to");
        assert!(base.live.get(version).is_none_or(|commitment| *commitment == leaves[version]));
    }

    let mut ever = base.pairs.clone();
    ever.extend(store.range(&[], None, usize::MAX).unwrap());
    let mut reached = attacker::reach(&ever, known.redos, &medium);
    reached.retain(|version| version.leaf_slot().0 != 0);
    assert_eq!(reached, found, "nothing destroyed comes back, whatever the attacker kept");
    drop((medium, writer, snapshot));
    if known.goes_on {
        goes_on(root, &store, &found);
    }
}

/// Records of versions of a destroyed tenant say nothing of it.
fn tenant_is_gone(store: &dyn Store, version: VersionId) -> bool {
    let shape = view::stored::<TenantTrees>(store, &version.tenant_slot()).unwrap().unwrap();
    shape.destroyed_epoch != 0
}

/// Of the work either all was done or nothing, and it was done or not as the program said.
fn all_or_nothing(known: &Known<'_>, found: &BTreeSet<VersionId>) {
    let live: BTreeSet<_> = known.base.live.keys().copied().collect();
    let left = known.work.left(FIRST, &live);
    let there: BTreeSet<_> = found.intersection(&live).copied().collect();
    let made = found.difference(&live).count();
    let (done, undone) = (there == left, there == live);
    assert!(
        done || undone,
        "half done: {} of {} are there, {} should be left",
        there.len(),
        live.len(),
        left.len()
    );
    assert!(done || !known.said("done"), "what was acknowledged is there");
    assert!(undone || !known.said("refused"), "what was refused is not done");
    // Besides, those that it said it made, and one that it may have been making or destroying.
    let count = |what: &str| known.acks.iter().filter(|ack| ack.starts_with(what)).count();
    let said = count("made") - count("destroyed");
    let going = usize::from(known.said("refused") && !known.said("destroyed"));
    assert!((said.saturating_sub(going)..=said + 1).contains(&made), "{made} were made, and it said {said}");
}

/// No copy of the data directory takes a secret along.
fn no_secret_lies_in(state: &State) {
    for (path, content) in state.files().filter(|(path, _)| path.starts_with("data")) {
        if content.starts_with(b"KMSE") {
            let copy = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(copy.path(), content).unwrap();
            let secrets = FileMedium::open(copy.path(), INSTANCE).unwrap().list().unwrap();
            assert!(secrets.is_empty(), "a copy of {} has {} secrets", path.display(), secrets.len());
        }
    }
}

/// Every state of the log that was published is the beginning of this one.
fn the_log_goes_on_from_what_was_said(store: &dyn Store, acks: &[String]) {
    let log = recount::raw_log(store);
    for ack in acks {
        let mut words = ack.split(' ').skip(1);
        let (Some(size), Some(root)) = (words.next(), words.next()) else { continue };
        let size: usize = size.parse().unwrap();
        assert!(log.len() >= size, "the log has {} entries, and {size} were published", log.len());
        let mut edge = Frontier::new();
        log[..size].iter().for_each(|entry| edge.append(leaf_hash(entry)));
        assert_eq!(hex::encode(edge.root()), root, "the log is another than was published");
    }
}

/// It starts again, makes and destroys.
fn goes_on(root: &Path, store: &Arc<dyn Store>, found: &BTreeSet<VersionId>) {
    let (writer, started) = start_on(root, store.clone(), None).unwrap();
    assert!(started.effaced && started.rolled_forward.is_none());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let made = versions(&writer, SECOND, 2).await.unwrap().value;
        assert!(destroy(&writer, vec![made[0]]).await.unwrap().effaced);
        let snapshot = writer.snapshot();
        assert!(matches!(snapshot.open_version(made[0]), Err(OpenVersionError::NotThere)));
        snapshot.open_version(made[1]).unwrap();
        found.iter().for_each(|version| drop(snapshot.open_version(*version).unwrap()));
    });
    writer.stop();
    let medium = open_medium(root, None).unwrap();
    assert_eq!(recount(&**store, &medium).state_root, recount::head(&**store).state_root);
}
