//! What happens between a look for subjects and the change that makes those that were missing.

use super::*;
use crate::keyring::tests::{Ground, KEY};

async fn ground() -> (Ground, Arc<KeyEntry>) {
    let ground = Ground::new(1 << 20).await;
    ground.turn(KEY, |key| key.family = true).await;
    let family = ground.key(KEY);
    (ground, family)
}

/// The hash of a subject's name, which leads nowhere yet.
fn missing(ground: &Ground, family: &KeyEntry, subject: &str) -> Hash {
    let found = find_all(&ground.keyring, family, &[subject.parse().unwrap()]).unwrap();
    assert!(found[0].1.is_none(), "the control: it is to be made");
    found[0].0
}

/// What comes of the change that makes those that are missing.
async fn make_missing(ground: &Ground, family: &Arc<KeyEntry>, hash: Hash) -> Result<Ensured, Refused> {
    let family = Arc::clone(family);
    let made = ground
        .keyring
        .writer()
        .commit(move |change| make_all(change, &family, &[hash], Text::lossy("somebody")));
    made.await.unwrap().value.remove(0)
}

#[tokio::test]
async fn a_subject_that_was_made_since_it_was_looked_for_is_not_made_twice() {
    let (ground, family) = ground().await;
    let hash = missing(&ground, &family, "one");
    let first = make_missing(&ground, &family, hash).await.unwrap();
    let second = make_missing(&ground, &family, hash).await.unwrap();
    assert!(first.created && !second.created);
    assert_eq!((first.id, first.version), (second.id, second.version));
}

#[tokio::test]
async fn one_that_was_made_and_destroyed_since_it_was_looked_for_is_not_made_again() {
    let (ground, family) = ground().await;
    let hash = missing(&ground, &family, "one");
    let made = make_missing(&ground, &family, hash).await.unwrap();
    let key = KeyRef::of_subject(family.name.family().clone(), made.id);
    ground.turn(&key.to_string(), |key| key.state = state_number(LifecycleState::Destroyed)).await;
    let late = make_missing(&ground, &family, hash).await;
    assert!(matches!(&late, Err(Refused::KeyDestroyed(gone)) if *gone == key), "{late:?}");
    let other = missing(&ground, &family, "other");
    assert!(make_missing(&ground, &family, other).await.unwrap().created);
}

#[tokio::test]
async fn nobody_is_made_in_a_family_that_was_suspended_since_or_made_anew() {
    let (ground, family) = ground().await;
    let hash = missing(&ground, &family, "one");
    let refused = async |why: &str| {
        let family = Arc::clone(&family);
        let made = ground
            .keyring
            .writer()
            .commit(move |change| make_all(change, &family, &[hash], Text::lossy("somebody")));
        let refused = Refused::from(made.await.unwrap_err()).reason();
        assert_eq!(refused.as_str(), why);
        let found = find_all(&ground.keyring, &ground.key(KEY), &["one".parse().unwrap()]).unwrap();
        assert!(found[0].1.is_none());
    };
    ground.turn(KEY, |key| key.state = state_number(LifecycleState::Suspended)).await;
    refused("KEY_SUSPENDED").await;
    ground.turn(KEY, |key| (key.state, key.uid) = (state_number(LifecycleState::Active), vec![9; 16])).await;
    refused("KEY_DESTROYED").await;
}
