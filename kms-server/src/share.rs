//! What one identity holds of the server at a time: connections, and calls in hand. Looked up once for each connection, counted
//! without a lock for each call.
//!
//! ATTACK: whoever has one certificate, without any right, must not take all places of those that everybody shares.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

use crate::identity::IdentityName;

/// What one identity holds.
#[derive(Debug, Default)]
pub struct Share {
    connections: AtomicUsize,
    calls: AtomicUsize,
    watches: AtomicUsize,
}

/// One place that an identity holds, until it is dropped.
#[derive(Debug)]
pub struct Place {
    share: Arc<Share>,
    of: fn(&Share) -> &AtomicUsize,
}

impl Share {
    /// A place among its connections, where fewer than `most` are taken.
    pub fn connect(self: &Arc<Self>, most: usize) -> Option<Place> {
        self.take(most, |share| &share.connections)
    }

    /// A place among its calls, where fewer than `most` are taken.
    pub fn call(self: &Arc<Self>, most: usize) -> Option<Place> {
        self.take(most, |share| &share.calls)
    }

    /// A place among its streams of key events, where fewer than `most` are taken.
    pub fn watch(self: &Arc<Self>, most: usize) -> Option<Place> {
        self.take(most, |share| &share.watches)
    }

    fn take(self: &Arc<Self>, most: usize, of: fn(&Self) -> &AtomicUsize) -> Option<Place> {
        // Taken first, then looked at: two at once never both get the last place.
        let place = Place { share: Arc::clone(self), of };
        (of(self).fetch_add(1, Ordering::AcqRel) < most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.of)(&self.share).fetch_sub(1, Ordering::AcqRel);
    }
}

/// The shares of all identities that hold something.
#[derive(Debug, Default)]
pub struct Shares(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    shares: HashMap<IdentityName, Weak<Share>>,
    /// Those that hold nothing any more are forgotten when there are as many as this.
    sweep_at: usize,
}

impl Shares {
    /// The share of an identity.
    pub fn of(&self, identity: &IdentityName) -> Arc<Share> {
        let mut held = self.0.lock();
        if let Some(share) = held.shares.get(identity).and_then(Weak::upgrade) {
            return share;
        }
        if held.shares.len() >= held.sweep_at {
            held.shares.retain(|_, share| share.strong_count() > 0);
            held.sweep_at = 2 * held.shares.len() + 64;
        }
        let share = Arc::default();
        held.shares.insert(identity.clone(), Arc::downgrade(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> IdentityName {
        IdentityName::Spiffe(name.into())
    }

    #[test]
    fn places_are_counted_for_one_identity_over_all_its_connections_and_given_back() {
        let shares = Shares::default();
        let (first, again, other) = (shares.of(&name("a")), shares.of(&name("a")), shares.of(&name("b")));
        let (one, two) = (first.call(2).unwrap(), again.call(2).unwrap());
        assert!(first.call(2).is_none() && again.call(2).is_none());
        assert!(other.call(2).is_some() && first.connect(1).is_some(), "of another, or of another kind");
        assert!(first.watch(1).is_some(), "of another kind");
        drop(one);
        assert!(again.call(2).is_some());
        drop(two);
    }

    #[test]
    fn an_identity_that_holds_nothing_is_forgotten() {
        let shares = Shares::default();
        let kept = shares.of(&name("kept"));
        for n in 0..1000 {
            drop(shares.of(&name(&n.to_string())));
        }
        assert!(shares.0.lock().shares.len() <= 2 * 65);
        assert!(Arc::ptr_eq(&kept, &shares.of(&name("kept"))));
    }
}
