//! Emptying one medium beside another.

use kms_core::id::{Attempt, Epoch};

use super::{super::memory::MemoryMedium, *};

fn id(epoch: u64) -> SecretId {
    SecretId { epoch: Epoch(epoch), attempt: Attempt([epoch as u8; 16]) }
}

/// A medium that holds these.
fn holding(name: &'static str, epochs: &[u64]) -> MemoryMedium {
    let mut medium = MemoryMedium::named(name);
    for epoch in epochs {
        medium.prepare(id(*epoch), &EpochSecret::random().unwrap()).unwrap();
    }
    medium
}

fn media(current: &MemoryMedium, others: &[&MemoryMedium], listed: &[&MemoryMedium]) -> Media {
    let others = others.iter().map(|other| Box::new((*other).clone()) as Box<dyn Effaceable>).collect();
    let listed: Vec<_> = listed.iter().map(|medium| medium.name()).collect();
    Media::new(Box::new(current.clone()), others, &listed)
}

#[test]
fn an_old_medium_is_emptied_once_the_new_one_holds_what_is_in_force() {
    let (old, new) = (holding("old", &[1]), holding("new", &[]));
    let mut both = media(&new, &[&old], &[&old, &new]);
    assert_eq!(both.names(id(1)).unwrap(), [old.name(), new.name()]);
    assert_eq!(both.efface_except(id(1)).unwrap().effaced, [], "what is in force stays where it is");
    assert_eq!(old.list().unwrap(), [id(1)]);
    both.prepare(id(2), &EpochSecret::random().unwrap()).unwrap();
    assert_eq!(both.list().unwrap(), [id(1), id(2)]);
    let evidence = both.efface_except(id(2)).unwrap();
    assert_eq!(evidence.effaced, [id(1)]);
    assert_eq!(evidence.media.as_str(), "memory new; and memory old");
    assert!(old.list().unwrap().is_empty());
    assert_eq!(both.names(id(2)).unwrap(), [new.name()]);
}

#[test]
fn nothing_is_emptied_where_none_has_what_is_to_be_kept() {
    let (old, new) = (holding("old", &[1]), holding("new", &[2]));
    let mut both = media(&new, &[&old], &[&old, &new]);
    assert!(matches!(both.efface_except(id(3)), Err(EffaceableError::NothingKept(_))));
    assert_eq!((old.list().unwrap(), new.list().unwrap()), (vec![id(1)], vec![id(2)]));
}

#[test]
fn a_listed_medium_that_is_not_there_withholds_the_evidence_and_the_rest_is_effaced() {
    let (lost, new) = (holding("lost", &[1]), holding("new", &[2, 3]));
    let mut media = media(&new, &[], &[&lost, &new]);
    for _ in 0..2 {
        let outcome = media.efface_except(id(3));
        assert!(matches!(outcome, Err(EffaceableError::Unreachable(name)) if name == lost.name()));
        assert!(media.is_settled(id(3)));
    }
    assert_eq!(new.list().unwrap(), [id(3)]);
    assert_eq!(media.names(id(3)).unwrap(), [new.name(), lost.name()]);
    media.prepare(id(4), &EpochSecret::random().unwrap()).unwrap();
    assert!(!media.is_settled(id(3)));
}

#[test]
fn a_medium_that_is_given_and_not_listed_is_left_alone() {
    let (strange, new) = (holding("strange", &[1]), holding("new", &[2, 3]));
    let mut media = media(&new, &[&strange], &[&new]);
    assert_eq!(media.efface_except(id(3)).unwrap().effaced, [id(2)]);
    assert_eq!(strange.list().unwrap(), [id(1)]);
    assert_eq!(media.list().unwrap(), [id(3)]);
}
