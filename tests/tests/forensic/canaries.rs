//! Keys and plaintexts that the test knows are looked for wherever the product writes: raw, in hex, in Base64.

use std::path::Path;

use kms_attacker::Search;
use kms_tests::search::Needles;

use crate::story::Story;

/// Everything that must stand in no file, with every form of it.
fn forms(secrets: impl IntoIterator<Item = Vec<u8>>) -> Search {
    let forms = secrets.into_iter().flat_map(|secret| Needles::of(&secret).forms().to_vec());
    Search::new(forms.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_and_no_plaintext_stands_in_a_file_a_log_a_metric_or_an_error() {
    let mut story = Story::whole().await;
    let in_time = story.attacker_in_time();
    let mut keys = in_time.secrets();
    // The seal's secret stands in its file, whose owner is asked to keep it elsewhere.
    assert!(keys.remove(&story.seal()));
    keys.extend(story.keys_of_use(&in_time));
    assert!(keys.len() > 100, "only {} keys", keys.len());
    let canaries: Vec<Vec<u8>> = keys.iter().map(|key| key.to_vec()).collect();
    let plaintexts = story.kept.iter().map(|kept| &kept.plaintext);
    let plaintexts = plaintexts.chain(story.leased.iter().map(|leased| &leased.plaintext)).cloned();
    let search = forms(canaries.into_iter().chain(plaintexts));
    for stretch in story.archive.stretches() {
        let found = search.found_in(&stretch.bytes);
        assert!(found.is_empty(), "{} after step {}", stretch.path.display(), stretch.step);
    }
    assert!(search.found_in(&story.medium()).is_empty(), "the medium");
    let written: Vec<_> = story.archive.files().into_iter().map(Path::to_path_buf).collect();
    for part in ["/store/store/sled/db", "/audit/", "redo-", "log-", "metrics-", "errors-", "certificate-"] {
        assert!(written.iter().any(|path| path.display().to_string().contains(part)), "{part}: {written:?}");
    }

    // The same search finds one that was left behind.
    let kept = story.kept[0].plaintext.clone();
    let key = *keys.first().unwrap();
    for leaked in [kept, key.to_vec(), hex::encode(key).into_bytes()] {
        let text = [b"level=debug value=", &leaked[..], b" done"].concat();
        story.archive.add("leaked", Path::new("leak"), text);
        let last = story.archive.stretches().last().unwrap();
        assert!(!search.found_in(&last.bytes).is_empty());
    }
}
