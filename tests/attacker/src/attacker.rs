//! The attacker: whatever follows from the secrets at hand and the records carved, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Archive, EpochSecret, Record, Secret,
    brute::{self, Epoch, Seal},
    payload::Payload,
    record::Kind,
    sealed,
};

/// What one attacker has and got.
#[derive(Debug, Clone)]
pub struct Attacker {
    records: Vec<Record>,
    /// Attempts at epochs, as the log tells everyone.
    attempts: BTreeSet<(u64, [u8; 16])>,
    seal: Seal,
    secrets: BTreeSet<Secret>,
    /// Payloads of opened records, by number of the record.
    opened: BTreeMap<usize, (Secret, Payload)>,
}

impl Attacker {
    /// One who has these copies, and the seal's secret.
    pub fn new(archive: &Archive, seal: Secret) -> Self {
        let mut attacker = Self {
            records: Vec::new(),
            attempts: BTreeSet::new(),
            seal: Seal::new(&seal),
            secrets: BTreeSet::new(),
            opened: BTreeMap::new(),
        };
        let mut seen = BTreeSet::new();
        for stretch in archive.stretches() {
            let carved = Record::carve(&stretch.bytes);
            attacker.records.extend(carved.into_iter().filter(|record| seen.insert(record.identity())));
            attacker.attempts.extend(attempts(&stretch.bytes));
        }
        attacker.learn([seal]);
        attacker
    }

    /// Has these epoch secrets too.
    pub fn learn_epochs(&mut self, epochs: &[EpochSecret]) {
        self.attempts.extend(epochs.iter().map(|one| (one.epoch, one.attempt)));
        self.learn(epochs.iter().map(|one| one.secret));
    }

    /// Has these secrets too: tries each on every record that is not open yet, as its key and as the epoch secret behind it, and goes
    /// on with what that gives.
    pub fn learn(&mut self, secrets: impl IntoIterator<Item = Secret>) {
        let mut untried: Vec<Secret> = secrets.into_iter().collect();
        while let Some(secret) = untried.pop() {
            if self.secrets.insert(secret) {
                untried.extend(self.follow(&secret));
            }
        }
    }

    /// Tries windows as [`Self::learn`] does secrets, and goes on with those that open something; gives how many did. Of records that
    /// one key opens, as their headers say, one is tried: see [`Self::one_key_a_name`].
    pub fn try_windows(&mut self, windows: &[Secret]) -> usize {
        let closed = self.closed_keys();
        let keys: Vec<Secret> =
            brute::run(windows, &closed, &self.seal, &self.epochs()).iter().map(|hit| hit.key).collect();
        let hits = keys.len();
        self.learn(keys);
        hits
    }

    fn follow(&mut self, secret: &Secret) -> Vec<Secret> {
        let epochs = self.epochs();
        let mut gained: Vec<Secret> = epochs
            .iter()
            .map(|epoch| (epoch.root, self.seal.kek(secret, epoch)))
            .filter_map(|(root, kek)| root.is_opened_by(&kek).then_some(kek))
            .collect();
        for (number, record) in self.records.iter().enumerate() {
            if self.opened.contains_key(&number) {
                continue;
            }
            if let Some(content) = record.open(secret) {
                let payload = Payload::parse(record.kind, &content);
                gained.extend(payload.secrets());
                self.opened.insert(number, (*secret, payload));
            }
        }
        gained
    }

    fn epochs(&self) -> Vec<Epoch<'_>> {
        let roots = self.closed().into_iter().filter(|record| record.kind == Kind::Root);
        let attempts = |root: &Record| {
            let epoch = root.epoch;
            self.attempts.iter().filter(move |(of, _)| *of == epoch).map(|(_, attempt)| attempt)
        };
        roots.flat_map(|root| attempts(root).map(move |attempt| Epoch::new(root, attempt))).collect()
    }

    /// All records that were carved.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Those that are not open.
    pub fn closed(&self) -> Vec<&Record> {
        let is_closed = |(number, _): &(usize, &Record)| !self.opened.contains_key(number);
        self.records.iter().enumerate().filter(is_closed).map(|(_, record)| record).collect()
    }

    /// One closed record for each key that is missing.
    pub fn closed_keys(&self) -> Vec<&Record> {
        let mut closed = self.closed();
        closed.sort_by_key(|record| record.key_name());
        closed.dedup_by_key(|record| record.key_name());
        closed
    }

    /// Whether the open records that name one key were opened by one.
    pub fn one_key_a_name(&self) -> bool {
        let mut keys = BTreeMap::new();
        self.opened
            .iter()
            .all(|(number, (key, _))| *keys.entry(self.records[*number].key_name()).or_insert(*key) == *key)
    }

    /// Everything secret that the attacker has, and got; what stands between keys and contents too.
    pub fn secrets(&self) -> BTreeSet<Secret> {
        let derived = self.opened.iter().flat_map(|(number, (key, _))| self.records[*number].derived(key));
        self.secrets.iter().copied().chain(derived).collect()
    }

    /// What a secret that the attacker got is, in words that give nothing of it away.
    pub fn name(&self, secret: &Secret) -> String {
        let of = |(number, (key, payload)): (&usize, &(Secret, Payload))| {
            let record = &self.records[*number];
            let what = match () {
                () if key == secret => "key",
                () if record.derived(key).contains(secret) => "key derived from that",
                () if payload.material.as_ref() == Some(secret) => "material",
                () if payload.blind.as_ref() == Some(secret) => "blind",
                () => return None,
            };
            let (kind, tenant, index, epoch) =
                (record.kind, record.tenant as i64, record.index, record.epoch);
            Some(format!("{what} of a record, {kind:?}, tenant {tenant}, index {index}, epoch {epoch}"))
        };
        self.opened.iter().find_map(of).unwrap_or_else(|| "a secret of the medium, or of nothing".into())
    }

    /// Materials of versions that the attacker got, by tenant's slot and leaf's.
    pub fn materials(&self) -> BTreeMap<(u64, u64), Secret> {
        let of = |(number, (_, payload)): (&usize, &(Secret, Payload))| {
            let record = &self.records[*number];
            Some(((record.tenant, record.index), payload.material?))
        };
        self.opened.iter().filter_map(of).collect()
    }

    /// Opens a user's ciphertext with any material there is.
    pub fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        self.materials().values().find_map(|material| sealed::open(sealed, material))
    }
}

/// Attempts that entries of the log name: `"attempt":"…"`, and after it, in the order of members, `"epoch":…`.
fn attempts(bytes: &[u8]) -> Vec<(u64, [u8; 16])> {
    const NAME: &[u8] = b"\"attempt\":\"";
    let at = |(at, _): (usize, &u8)| bytes[at..].strip_prefix(NAME);
    let read = |rest: &[u8]| {
        let mut attempt = [0; 16];
        hex::decode_to_slice(rest.get(..32)?, &mut attempt).ok()?;
        let entry = String::from_utf8_lossy(rest.get(32..)?.split(|byte| *byte == b'}').next()?);
        let epoch = entry.split_once("\"epoch\":")?.1;
        let digits: String = epoch.chars().take_while(char::is_ascii_digit).collect();
        Some((digits.parse().ok()?, attempt))
    };
    bytes.iter().enumerate().filter(|(_, byte)| **byte == b'"').filter_map(at).filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::record::tests::reference;

    fn archive() -> Archive {
        let mut archive = Archive::default();
        let entry =
            format!(r#"{{"attempt":"{}","by":"kms","epoch":7,"type":"GENESIS"}}"#, hex::encode([0x55; 16]));
        let records = ["root_record", "node_record", "leaf_record"].map(reference);
        archive.add("only", Path::new("db"), [&entry.into_bytes()[..], &records.concat()].concat());
        archive
    }

    fn epoch(secret: u8) -> EpochSecret {
        EpochSecret { epoch: 7, attempt: [0x55; 16], secret: [secret; 32] }
    }

    #[test]
    fn the_epoch_secret_opens_the_root_and_the_node_key_what_hangs_below() {
        let mut attacker = Attacker::new(&archive(), [0x33; 32]);
        assert_eq!((attacker.records().len(), attacker.closed().len()), (3, 3));
        attacker.learn_epochs(&[epoch(0x44)]);
        assert!(attacker.secrets().contains(&[0x66; 32]), "the root key");
        assert!(attacker.materials().is_empty());
        attacker.learn([[0x77; 32]]);
        assert_eq!(attacker.materials(), BTreeMap::from([((5, 288), [0xAA; 32])]));
        assert_eq!(attacker.open(&reference("direct")).unwrap(), b"078-05-1120");
        assert!(attacker.closed().is_empty());
    }

    #[test]
    fn another_seal_or_epoch_secret_opens_nothing() {
        let mut other_seal = Attacker::new(&archive(), [0x32; 32]);
        other_seal.learn_epochs(&[epoch(0x44)]);
        let mut other_secret = Attacker::new(&archive(), [0x33; 32]);
        other_secret.learn_epochs(&[epoch(0x45)]);
        for attacker in [other_seal, other_secret] {
            assert_eq!(attacker.closed().len(), 3);
            assert_eq!(attacker.open(&reference("direct")), None);
        }
    }

    #[test]
    fn a_window_that_is_a_key_or_an_epoch_secret_is_gone_on_with() {
        let mut attacker = Attacker::new(&archive(), [0x33; 32]);
        assert_eq!(attacker.try_windows(&[[1; 32], [2; 32]]), 0);
        assert_eq!(attacker.try_windows(&[[1; 32], [0x44; 32], [0x77; 32]]), 2);
        assert_eq!(attacker.materials().len(), 1);
    }
}
