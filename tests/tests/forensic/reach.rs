//! What an attacker reaches who has everything but the effaced epoch secrets.

use std::time::Instant;

use kms_attacker::{Attacker, Secret, windows};

use crate::story::Story;

/// What opens of the values that users kept, by name.
fn opened(attacker: &Attacker, story: &Story) -> Vec<String> {
    let opens = |kept: &&crate::story::Kept| match attacker.open(&kept.ciphertext) {
        Some(plaintext) => {
            assert!(plaintext == kept.plaintext, "{} opens to something else", kept.name());
            true
        }
        None => false,
    };
    story.kept.iter().filter(opens).map(crate::story::Kept::name).collect()
}

fn kept(story: &Story, which: impl Fn(bool) -> bool) -> Vec<String> {
    let kept = story.kept.iter().filter(|kept| which(kept.destroyed));
    kept.map(crate::story::Kept::name).collect()
}

/// Tried: every secret that follows, and every 32 bytes of every file of every step and of the medium as it is now (raw, and decoded
/// from hex and Base64), as key of every record that was carved and is not open yet, and as the epoch secret of every epoch. That is
/// some 2.2 million windows, most of them the medium's, on 14 missing keys and 3 epochs: 22 s of processor time. (What stands between
/// a record's key and its content is looked for in the files by `canaries`.)
#[tokio::test(flavor = "multi_thread")]
async fn what_was_destroyed_is_reached_with_the_old_epoch_secrets_and_with_nothing_else() {
    let story = Story::whole().await;
    let (live, destroyed) = (kept(&story, |destroyed| !destroyed), kept(&story, |destroyed| destroyed));
    assert!(live.len() >= 4 && destroyed.len() >= 4, "{live:?} {destroyed:?}");

    let mut attacker = story.attacker();
    assert_eq!(
        opened(&attacker, &story),
        live,
        "what lives is reached, which shows that the attacker works; and no more"
    );
    let (closed, keys) = (attacker.closed().len(), attacker.closed_keys().len());
    assert!(attacker.records().len() > 25 && closed > 15, "{} records", attacker.records().len());

    let started = Instant::now();
    let medium = story.medium();
    let stretches = story.archive.stretches().iter().map(|stretch| &*stretch.bytes);
    let windows = windows::of(stretches.chain([&*medium]));
    assert!(windows.len() > 2_000_000, "{} windows", windows.len());
    assert_eq!(attacker.try_windows(&windows), 0, "some window of some file is a key");
    println!(
        "{} windows of {} files ({} MiB in all copies) on {keys} keys of {closed} closed records of {}: {:.1?}",
        windows.len(),
        story.archive.files().len(),
        story.archive.bytes_copied() >> 20,
        attacker.records().len(),
        started.elapsed()
    );
    assert_eq!(opened(&attacker, &story), live);

    let in_time = story.attacker_in_time();
    assert_eq!(
        opened(&in_time, &story),
        kept(&story, |_| true),
        "the same attacker with the old epoch secrets"
    );
    assert!(in_time.one_key_a_name(), "records that name one key have one: no key was left untried");
    assert_eq!(in_time.closed().len(), 0, "every record that was carved is one, and was in reach once");

    // The key of a destroyed leaf, left behind in a log, is noticed.
    let leaked = leaf_key(&in_time, &attacker);
    let text = format!("level=debug wrapped under {} again", hex::encode_upper(leaked));
    assert_eq!(attacker.try_windows(&windows::of([text.as_bytes()])), 1);
    assert_eq!(opened(&attacker, &story).len(), live.len() + 1);
}

/// A key that opens a leaf to the one attacker, and is out of the other's reach.
fn leaf_key(with: &Attacker, without: &Attacker) -> Secret {
    let closed = without.closed();
    let leaf =
        closed.iter().find(|record| record.kind == kms_attacker::record::Kind::Leaf && record.index != 0);
    let leaf = leaf.unwrap();
    with.secrets().into_iter().find(|secret| leaf.is_opened_by(secret)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_seal_nothing_is_reached_at_all() {
    let story = Story::whole().await;
    let mut seal = story.seal();
    seal[31] ^= 1;
    let mut attacker = Attacker::new(&story.archive, seal);
    attacker.learn_epochs(&story.epoch_secrets());
    attacker.learn_epochs(&story.media);
    assert_eq!(attacker.closed().len(), attacker.records().len());
    assert_eq!(opened(&attacker, &story), Vec::<String>::new());
}
