//! The writer on a token.

use std::path::Path;

use kms_core::{
    id::{Attempt, InstanceId, Uid},
    secret::{EpochSecret, SealSecret},
};
use kms_server::{
    effaceable::{Effaceable, SecretId, pkcs11::TokenMedium},
    erasure::{ChangeError, Options, Started, Writer},
    store::{open, sidecar::Engine},
};
use kms_tests::soft_token::{SoftToken, with_token};

const INSTANCE: InstanceId = InstanceId([7; 16]);

fn seal() -> SealSecret {
    SealSecret::copied_from(&[0x5E; 32]).unwrap()
}

fn medium(token: &SoftToken) -> TokenMedium {
    TokenMedium::open(&token.path("medium"), token.options(), INSTANCE).unwrap()
}

fn start(token: &SoftToken, root: &Path) -> (Writer, Started) {
    let store = open::open(&root.join("store")).unwrap().store;
    Writer::start(store, Box::new(medium(token)), seal(), Options::new(root.join("redo"))).unwrap()
}

#[test]
fn an_instance_lives_on_a_token_and_what_a_dead_process_left_there_is_destroyed() {
    let name = "writer::an_instance_lives_on_a_token_and_what_a_dead_process_left_there_is_destroyed";
    with_token(name, |token| {
        let root = tempfile::tempdir().unwrap();
        let store = open::create(&root.path().join("store"), Engine::Sled, INSTANCE).unwrap().store;
        Writer::create(&*store, &mut medium(token), &seal(), INSTANCE).unwrap();
        drop(store);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();

        let (writer, _) = start(token, root.path());
        let made = runtime.block_on(writer.commit(|change| {
            let tenant = change.create_tenant_tree(Uid::random()?)?.slot;
            let leaf =
                |change: &mut kms_server::erasure::Change<'_>| change.create_leaf(tenant, Uid::random()?);
            Ok::<_, ChangeError>([leaf(change)?.version, leaf(change)?.version])
        }));
        let [destroyed, kept] = made.unwrap().value;
        let done = runtime.block_on(writer.destroy(move |change| {
            change.destroy_version(destroyed, 0);
            Ok::<_, ChangeError>(())
        }));
        let done = done.unwrap();
        assert!(done.effaced && writer.snapshot().erased(done.epoch).unwrap());
        let material = *writer.snapshot().open_version(kept).unwrap().expose_secret();
        writer.stop();
        drop(writer);
        assert_eq!(token.objects(), 1);

        // What a process leaves that was killed after P1: with the file, and before it.
        for file in [true, false] {
            let mut left = medium(token);
            let stray = SecretId { epoch: done.epoch.next(), attempt: Attempt::random().unwrap() };
            left.prepare(stray, &EpochSecret::random().unwrap()).unwrap();
            drop(left);
            if !file {
                let name = format!("{}-{}", stray.epoch, stray.attempt);
                std::fs::remove_file(token.path("medium").join(name)).unwrap();
            }
            assert_eq!(token.objects(), 2);
            let (writer, started) = start(token, root.path());
            assert!(started.effaced && started.epoch == done.epoch);
            assert_eq!(token.objects(), 1);
            assert!(writer.snapshot().open_version(destroyed).is_err());
            assert_eq!(*writer.snapshot().open_version(kept).unwrap().expose_secret(), material);
            writer.stop();
        }
    });
}
