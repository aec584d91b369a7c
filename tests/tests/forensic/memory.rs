//! The memory of the process: what lives is there, what was destroyed is not.

use std::collections::BTreeSet;

use kms_attacker::{Search, Secret, sealed};
use kms_tests::search::Needles;

use crate::story::{COLUMN, Story};

/// Which of these secrets are in the memory of the server, in any form, and in which mappings.
fn in_memory(story: &Story, secrets: &BTreeSet<Secret>) -> Vec<(Secret, String)> {
    let secrets: Vec<Secret> = secrets.iter().copied().collect();
    let forms: Vec<_> = secrets.iter().map(|secret| Needles::of(secret).forms().to_vec()).collect();
    let owner: Vec<usize> =
        forms.iter().enumerate().flat_map(|(number, forms)| vec![number; forms.len()]).collect();
    let pid = story.server.pid().as_raw_nonzero().get().unsigned_abs();
    let memory = Search::new(forms.concat()).found_in_process(pid).unwrap();
    assert!(memory.bytes > 10 << 20, "only {} bytes of memory were read", memory.bytes);
    let found = memory.places.into_iter();
    found
        .map(|place| (secrets[owner[place.needle]], format!("{:x} {}", place.address, place.mapping)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_that_was_destroyed_is_left_in_the_memory_of_the_server() {
    let mut story = Story::begin().await;
    story.create("acme", &["payroll", "ledger", "checkins"]).await;
    story.create("globex", &["customers"]).await;
    story.seal_with_each().await;
    story.rotate("acme", "payroll").await;
    story.seal_with_each().await;
    let mut columns = Vec::new();
    for (tenant, key) in [("acme", "ledger"), ("globex", "customers")] {
        columns.extend(story.use_columns(tenant, key).await.into_iter().map(|sealed| (tenant, sealed)));
    }
    let before = story.attacker();
    let materials = before.materials();
    let mut warm: BTreeSet<Secret> = BTreeSet::new();
    for kept in &story.kept {
        let material = materials[&sealed::address(&kept.ciphertext).unwrap()];
        warm.extend([material, sealed::keys(&kept.ciphertext, &material)[1]]);
    }
    let mut of_columns = BTreeSet::new();
    for (tenant, ciphertext) in &columns {
        let material = materials[&sealed::address(ciphertext).unwrap()];
        let keys = sealed::column_keys(ciphertext, &material, [tenant, COLUMN[0], COLUMN[1]]);
        warm.extend(&keys[1..]);
        of_columns.extend(keys);
    }
    let found: BTreeSet<Secret> = in_memory(&story, &warm).into_iter().map(|(secret, _)| secret).collect();
    assert_eq!(found.len(), warm.len(), "what is in use is found in memory: the search works");

    story.destroy_version("acme", "payroll", 1).await;
    story.destroy_key("acme", "ledger").await;
    story.destroy_tenant("globex").await;
    let (now, in_time) = (story.attacker(), story.attacker_in_time());
    let mut gone: BTreeSet<Secret> = in_time.secrets().difference(&now.secrets()).copied().collect();
    for kept in story.kept.iter().filter(|kept| kept.destroyed) {
        let material = in_time.materials()[&sealed::address(&kept.ciphertext).unwrap()];
        assert!(gone.contains(&material));
        gone.extend(sealed::keys(&kept.ciphertext, &material));
    }
    gone.extend(&of_columns);
    let left: Vec<String> = in_memory(&story, &gone)
        .into_iter()
        .map(|(secret, place)| match of_columns.contains(&secret) {
            true => format!("key of a column at {place}"),
            false => format!("{} at {place}", in_time.name(&secret)),
        })
        .collect();
    assert!(
        left.is_empty(),
        "{} of {} destroyed secrets are in memory:\n{}",
        left.len(),
        gone.len(),
        left.join("\n")
    );
}
