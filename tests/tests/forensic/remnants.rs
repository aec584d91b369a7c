//! Records of what was destroyed are still on the disk: what keeps them closed is that their keys are gone, not that they are.

use std::fs;

use kms_attacker::{Record, Search, record::Kind, sealed};

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
    assert!(Search::new(vec![b"KMR1".to_vec()]).found_in(&file).contains(&0));
}
