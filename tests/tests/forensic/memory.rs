//! The memory of the process: what is in use is there, what was destroyed is not.

use std::{collections::BTreeSet, io};

use kms_attacker::{Search, Secret};
use kms_tests::search::Needles;

use crate::story::Story;

/// Which of these secrets are in the memory of the server, in any form, and where. `None` where the system lets nobody look into it.
fn in_memory(story: &Story, secrets: &BTreeSet<Secret>) -> Option<Vec<(Secret, String)>> {
    let secrets: Vec<Secret> = secrets.iter().copied().collect();
    let forms: Vec<_> = secrets.iter().map(|secret| Needles::of(secret).forms().to_vec()).collect();
    let owner: Vec<usize> =
        forms.iter().enumerate().flat_map(|(number, forms)| vec![number; forms.len()]).collect();
    let pid = story.server.pid().as_raw_nonzero().get().unsigned_abs();
    let memory = match Search::new(forms.concat()).found_in_process(pid) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return None,
        memory => memory.unwrap(),
    };
    assert!(memory.bytes > 10 << 20, "only {} bytes of memory were read", memory.bytes);
    let place = |place: kms_attacker::search::Place| {
        (secrets[owner[place.needle]], format!("{:x} {}", place.address, place.mapping))
    };
    Some(memory.places.into_iter().map(place).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_that_was_destroyed_is_left_in_the_memory_of_the_server() {
    let mut story = Story::used().await;
    let before = story.attacker();
    let materials: BTreeSet<Secret> = before.materials().into_values().collect();
    let of_use = story.keys_of_use(&before);
    let Some(found) = in_memory(&story, &of_use) else {
        let skipped = "skipped: the system lets nobody look into the memory of another process";
        assert!(std::env::var_os("KMS_REQUIRE_SERVICES").is_none(), "{skipped}");
        println!("{skipped}");
        return;
    };
    let found: BTreeSet<Secret> = found.into_iter().map(|(secret, _)| secret).collect();
    // Of a use the last key is there, prepared; the data key before it is not kept.
    assert!(found.len() >= story.kept.len() + story.leased.len(), "{} of {}", found.len(), of_use.len());
    let found = in_memory(&story, &materials).unwrap();
    let warm: BTreeSet<_> =
        story.kept.iter().map(|kept| kms_attacker::sealed::address(&kept.ciphertext)).collect();
    let found: BTreeSet<Secret> = found.into_iter().map(|(secret, _)| secret).collect();
    assert_eq!(found.len(), warm.len(), "what is in use is found: the search works");

    story.destroy().await;
    let (now, in_time) = (story.attacker(), story.attacker_in_time());
    let mut gone: BTreeSet<Secret> = in_time.secrets().difference(&now.secrets()).copied().collect();
    let of_use: BTreeSet<Secret> =
        story.keys_of_use(&in_time).difference(&story.keys_of_use(&now)).copied().collect();
    gone.extend(&of_use);
    assert!(gone.len() > 60, "only {} destroyed secrets are looked for", gone.len());
    let left = in_memory(&story, &gone).unwrap().into_iter().map(|(secret, place)| {
        let name = if of_use.contains(&secret) { "a key of use".into() } else { in_time.name(&secret) };
        format!("{name}, at {place}")
    });
    let left: Vec<String> = left.collect();
    assert!(left.is_empty(), "{} destroyed secrets are in memory:\n{}", left.len(), left.join("\n"));
}
