//! The writer on real files: the embedded store, the `file` medium, the redo directory.

use std::{fs, path::Path, time::Duration};

use kms_core::id::VersionId;

use super::world::{INSTANCE, destroy, seal, tenant, versions};
use crate::{
    effaceable::{Effaceable, file::FileMedium},
    erasure::{
        Options, Started, Writer,
        redo::{RedoDirectory, RedoStore},
    },
    records::{group_bytes, tree::Nodes},
    store::{open, sidecar::Engine},
};

fn init(root: &Path) {
    let opened = open::create(&root.join("store"), Engine::Sled, INSTANCE).unwrap();
    let mut medium = FileMedium::create(&root.join("epochs"), INSTANCE).unwrap();
    Writer::create(&*opened.store, &mut medium, &seal(), INSTANCE).unwrap();
}

fn start(root: &Path) -> (Writer, Started) {
    let opened = open::open(&root.join("store")).unwrap();
    let medium = FileMedium::open(&root.join("epochs"), INSTANCE).unwrap();
    let mut options = Options::new(root.join("redo"));
    options.erasure_interval = Duration::ZERO;
    options.instance = Some(opened.instance);
    Writer::start(opened.store, Box::new(medium), seal(), options).unwrap()
}

fn contains(directory: &Path, needle: &[u8]) -> bool {
    fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => contains(&path, needle),
            false => fs::read(path).unwrap().windows(needle.len()).any(|window| window == needle),
        }
    })
}

#[tokio::test]
async fn a_destroyed_version_does_not_open_after_a_restart_although_its_record_is_still_on_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    init(root);
    let (writer, _) = start(root);
    let tenant = tenant(&writer).await.unwrap().value;
    let made = versions(&writer, tenant, 3).await.unwrap().value;
    let wrapped = record_of(&writer, made[1]);
    assert!(destroy(&writer, vec![made[1]]).await.unwrap().effaced);
    // What is superseded is collected with later commits.
    versions(&writer, tenant, 40).await.unwrap();
    let kept = writer.snapshot().open_version(made[0]).unwrap();
    writer.stop();
    drop(writer);

    let (writer, started) = start(root);
    assert!(started.effaced && started.rolled_forward.is_none());
    assert!(writer.snapshot().open_version(made[1]).is_err());
    assert_eq!(writer.snapshot().open_version(made[0]).unwrap().expose_secret(), kept.expose_secret());
    writer.stop();
    drop(writer);
    assert!(contains(&root.join("store"), &wrapped[..200]), "it was cryptography, not luck");
    let medium = FileMedium::open(&root.join("epochs"), INSTANCE).unwrap();
    assert_eq!(medium.list().unwrap().len(), 1);
}

/// The wrapped leaf of a version.
fn record_of(writer: &Writer, version: VersionId) -> Vec<u8> {
    let place = kms_core::tree::Place::leaf(version.tenant_slot(), version.leaf_slot());
    let prefix = group_bytes::<Nodes>(&(place, kms_core::id::KeyGen(1)));
    let store = &writer.published.store;
    let (_, value) = store.last(&prefix).unwrap().unwrap();
    super::super::view::decode::<Nodes>(&value).unwrap().wrapped
}

#[test]
fn a_redo_directory_gives_back_what_was_written_and_forgets_what_was_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("redo");
    let mut redo = RedoDirectory::open(&path).unwrap();
    redo.prepare().unwrap();
    let room = fs::metadata(path.join("spare")).unwrap().len();
    assert_eq!(room, 1024 * 1024);
    let epoch = kms_core::id::Epoch(7);
    redo.write(epoch, b"all of it").unwrap();
    let read = RedoDirectory::open(&path).unwrap().read().unwrap();
    assert_eq!(read[0].0, epoch);
    assert!(read[0].1.starts_with(b"all of it"));
    redo.delete(epoch).unwrap();
    redo.delete(epoch).unwrap();
    assert!(redo.read().unwrap().is_empty());
    redo.prepare().unwrap();
    let large = vec![1; 3 * 1024 * 1024];
    redo.write(epoch, &large).unwrap();
    assert!(redo.read().unwrap()[0].1.starts_with(&large));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reader_opens_a_version_once_its_destruction_was_answered() {
    let world = super::world::World::new();
    let writer = world.start();
    let tenant = tenant(&writer).await.unwrap().value;
    let made = versions(&writer, tenant, 40).await.unwrap().value;
    let kept = made[0];
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (snapshot, stop) = (writer.snapshot(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    // A version that lives always opens, whatever passes meanwhile.
                    snapshot.open_version(kept).unwrap();
                }
            })
        })
        .collect();
    for version in &made[1..] {
        destroy(&writer, vec![*version]).await.unwrap();
        assert!(writer.snapshot().open_version(*version).is_err());
        versions(&writer, tenant, 1).await.unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    writer.stop();
}
