//! Every candidate tried on every record: as the record's key, and as the epoch secret behind a root's.

use std::thread;

use crate::{Secret, hkdf::Hmac, record::Record};

/// What an epoch's root key is made from, but for the epoch secret.
#[derive(Debug, Clone)]
pub struct Epoch<'a> {
    /// A root record of the epoch.
    pub root: &'a Record,
    info: [u8; 40],
}

impl<'a> Epoch<'a> {
    /// The epoch of a root record, in one attempt.
    pub fn new(root: &'a Record, attempt: &[u8; 16]) -> Self {
        let mut info = [0; 40];
        info[..16].copy_from_slice(&root.instance);
        info[16..24].copy_from_slice(&root.epoch.to_be_bytes());
        info[24..].copy_from_slice(attempt);
        Self { root, info }
    }
}

/// The seal's secret, ready to be joined with epoch secrets.
#[derive(Debug, Clone)]
pub struct Seal {
    salt: Hmac,
    joined: [u8; 72],
}

impl Seal {
    /// `HKDF(salt "kms/root-kek/v1", LP(S) || LP(E), instance || epoch || attempt)` waits for E and the epoch.
    pub fn new(seal: &Secret) -> Self {
        let mut joined = [0; 72];
        let parts = [&32u32.to_be_bytes()[..], seal, &32u32.to_be_bytes()].concat();
        joined[..parts.len()].copy_from_slice(&parts);
        Self { salt: Hmac::new(b"kms/root-kek/v1"), joined }
    }

    /// Ready for any epoch.
    #[inline]
    fn join(&self, epoch_secret: &Secret) -> Hmac {
        let mut joined = self.joined;
        joined[40..].copy_from_slice(epoch_secret);
        Hmac::new(&self.salt.tag(&joined))
    }

    /// The key of an epoch's root record.
    pub fn kek(&self, epoch_secret: &Secret, epoch: &Epoch<'_>) -> Secret {
        kek(&self.join(epoch_secret), epoch)
    }
}

#[inline]
fn kek(joined: &Hmac, epoch: &Epoch<'_>) -> Secret {
    let mut message = [1; 41];
    message[..40].copy_from_slice(&epoch.info);
    joined.tag(&message)
}

/// A candidate that is the key of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// The key.
    pub key: Secret,
    /// Which of the records.
    pub record: usize,
}

/// Tries them all, on all processors.
pub fn run(candidates: &[Secret], records: &[&Record], seal: &Seal, epochs: &[Epoch<'_>]) -> Vec<Hit> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = candidates.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let running: Vec<_> = candidates
            .chunks(share)
            .map(|share| {
                scope.spawn(|| share.iter().flat_map(|one| try_one(one, records, seal, epochs)).collect())
            })
            .collect();
        let found: Vec<Vec<Hit>> = running.into_iter().filter_map(|thread| thread.join().ok()).collect();
        assert_eq!(found.len(), candidates.len().div_ceil(share), "a thread panicked");
        found.concat()
    })
}

#[inline]
fn try_one(candidate: &Secret, records: &[&Record], seal: &Seal, epochs: &[Epoch<'_>]) -> Vec<Hit> {
    let mut hits = Vec::new();
    for (record, tried) in records.iter().enumerate() {
        if tried.is_opened_by(candidate) {
            hits.push(Hit { key: *candidate, record });
        }
    }
    let joined = seal.join(candidate);
    for epoch in epochs {
        let key = kek(&joined, epoch);
        if epoch.root.is_opened_by(&key) {
            let of = |record: &&Record| record.identity() == epoch.root.identity();
            hits.extend(records.iter().position(of).map(|record| Hit { key, record }));
        }
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::reference;

    #[test]
    fn a_key_and_an_epoch_secret_are_found_among_many_and_nothing_else_is() {
        let records: Vec<Record> = ["root_record", "node_record", "leaf_record"]
            .map(|name| Record::parse(&reference(name)).unwrap())
            .into();
        let records: Vec<&Record> = records.iter().collect();
        let epochs = [Epoch::new(records[0], &[0x55; 16])];
        let mut candidates: Vec<Secret> = (0..200u8).map(|n| [n.wrapping_mul(7) | 1; 32]).collect();
        candidates.retain(|one| ![[0x77; 32], [0x44; 32]].contains(one) && one[0] != 0x88);
        let seal = Seal::new(&[0x33; 32]);
        assert_eq!(run(&candidates, &records, &seal, &epochs), []);
        candidates.insert(3, [0x44; 32]);
        candidates.push([0x77; 32]);
        let kek: Secret = reference("root_kek").try_into().unwrap();
        let hits = run(&candidates, &records, &seal, &epochs);
        assert_eq!(hits, [Hit { key: kek, record: 0 }, Hit { key: [0x77; 32], record: 1 }]);
        assert_eq!(run(&candidates, &records[..1], &Seal::new(&[0x32; 32]), &epochs), [], "another seal");
        assert_eq!(run(&[], &records, &seal, &epochs), []);
    }
}
