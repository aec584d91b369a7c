//! Records of what was destroyed are still on the disk: what keeps them closed is that their keys are gone, not that they are.

use std::{fs, path::Path};

use kms_attacker::{Attacker, Record, record::Kind, sealed};

use crate::story::Story;

#[tokio::test(flavor = "multi_thread")]
async fn the_records_of_destroyed_leaves_are_still_in_the_files_of_the_store() {
    let story = Story::whole().await;
    let file = fs::read(story.place.path("store/store/sled/db")).unwrap();
    let carved = Record::carve(&file);
    let (attacker, in_time) = (story.attacker(), story.attacker_in_time());
    let known = in_time.secrets();
    for kept in story.kept.iter().filter(|kept| kept.destroyed) {
        let (tenant, leaf) = sealed::address(&kept.ciphertext).unwrap();
        let found = carved
            .iter()
            .find(|record| record.kind == Kind::Leaf && (record.tenant, record.index) == (tenant, leaf));
        let Some(record) = found else {
            unreachable!("{}: sled has written over the leaf, so the test says nothing", kept.name())
        };
        assert!(
            known.iter().any(|secret| record.is_opened_by(secret)),
            "{}: it was in reach once",
            kept.name()
        );
        assert!(!attacker.secrets().iter().any(|secret| record.is_opened_by(secret)), "{}", kept.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_redo_of_a_destruction_was_there_for_a_moment_and_leads_nowhere_either() {
    let story = Story::whole().await;
    let (attacker, in_time) = (story.attacker(), story.attacker_in_time());
    let is_redo = |path: &Path| path.file_name().unwrap().to_string_lossy().starts_with("redo-");
    let redos = story.archive.stretches().iter().filter(|stretch| is_redo(&stretch.path));
    let carved: Vec<Vec<Record>> = redos.map(|redo| Record::carve(&redo.bytes)).collect();
    assert_eq!(carved.len(), 3, "a version, a key, a tenant");
    let opens = |attacker: &Attacker, record: &Record| {
        attacker.secrets().iter().any(|secret| record.is_opened_by(secret))
    };
    let mut roots = Vec::new();
    for records in &carved {
        assert!(records.len() >= 2, "a root and a node at least");
        assert!(records.iter().all(|record| opens(&in_time, record)));
        roots.extend(records.iter().filter(|record| record.kind == Kind::Root));
    }
    let in_reach: Vec<_> = roots.iter().map(|root| (root.epoch, opens(&attacker, root))).collect();
    assert_eq!(in_reach, [(2, false), (3, false), (4, true)]);
}
