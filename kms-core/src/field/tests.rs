//! Claims about all three kinds at once.

use proptest::prelude::*;

use super::*;
use crate::{
    id::VersionId,
    names::{Context, RecordId},
    secret::{DataKey, VersionMaterial},
    vectors,
};

const VERSION: u64 = 5 << 32 | 288;
const LEASED: u32 = 19;
const OWN: u32 = 1 << 31 | 19;
const VALUE: &[u8] = b"078-05-1120";

/// Everything a value is bound to; the default is that of the vectors.
#[derive(Clone)]
struct Place {
    material: u8,
    version: u64,
    leased: u32,
    own: u32,
    tenant: String,
    table: String,
    column: String,
    record: Vec<u8>,
    context: Vec<(String, Vec<u8>)>,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            material: 0xAA,
            version: VERSION,
            leased: LEASED,
            own: OWN,
            tenant: "tenant-a".into(),
            table: "customers".into(),
            column: "ssn".into(),
            record: b"row-42".to_vec(),
            context: vec![("purpose".into(), b"billing".to_vec()), ("actor".into(), b"svc".to_vec())],
        }
    }
}

impl Place {
    fn data_key(&self, id: u32) -> DataKey {
        let material = VersionMaterial::copied_from(&[self.material; 32]).unwrap();
        material.data_key(VersionId::from(self.version), DataKeyId::from(id))
    }

    fn column<R>(&self, then: impl FnOnce(Column<'_>) -> R) -> R {
        let tenant = self.tenant.parse().unwrap();
        let table = self.table.parse().unwrap();
        let column = self.column.parse().unwrap();
        then(Column { tenant: &tenant, table: &table, column: &column })
    }

    fn randomized(&self) -> FieldCipher {
        let id = DataKeyId::from(self.leased);
        self.column(|column| FieldCipher::new(&self.data_key(self.leased), self.version.into(), id, column))
    }

    fn deterministic(&self) -> DeterministicCipher {
        self.column(|column| DeterministicCipher::new(&self.data_key(0), self.version.into(), column))
    }

    fn direct(&self) -> DirectCipher {
        DirectCipher::new(&self.data_key(self.own), self.version.into(), self.own.into())
    }

    fn record(&self) -> RecordId {
        RecordId::try_from(&self.record[..]).unwrap()
    }

    fn context(&self) -> Context {
        Context::new(self.context.iter().map(|(name, value)| (name.as_str(), value.as_slice()))).unwrap()
    }

    fn seal(&self, kind: Kind, plaintext: &[u8]) -> Vec<u8> {
        match kind {
            Kind::Randomized => self.randomized().seal(&self.record(), plaintext).unwrap(),
            Kind::Deterministic => self.deterministic().seal(plaintext).unwrap(),
            Kind::Direct => self.direct().seal(&self.context(), plaintext).unwrap(),
        }
    }

    fn open(&self, kind: Kind, ciphertext: &[u8]) -> Result<Vec<u8>, OpenError> {
        let opened = match kind {
            Kind::Randomized => self.randomized().open(&self.record(), ciphertext),
            Kind::Deterministic => self.deterministic().open(ciphertext),
            Kind::Direct => self.direct().open(&self.context(), ciphertext),
        };
        opened.map(|plaintext| plaintext.to_vec())
    }
}

const KINDS: [Kind; 3] = [Kind::Randomized, Kind::Deterministic, Kind::Direct];

#[test]
fn each_kind_is_as_in_the_vectors() {
    let here = Place::default();
    let randomized = here.randomized().seal_with(&[7; 12], &here.record(), VALUE);
    let direct = here.direct().seal_with(&[8; 12], &here.context(), VALUE);
    let sealed = [randomized, here.seal(Kind::Deterministic, VALUE), direct];
    for ((kind, name), sealed) in
        KINDS.into_iter().zip(["field_random", "field_deterministic", "direct"]).zip(sealed)
    {
        assert_eq!(sealed, vectors::reference(name), "{name}");
        assert_eq!(sealed.len(), VALUE.len() + kind.overhead(), "{name}");
        assert_eq!(here.open(kind, &sealed).unwrap(), VALUE, "{name}");
    }
}

#[test]
fn a_header_is_the_address_of_its_key() {
    let sealed = Place::default().seal(Kind::Randomized, VALUE);
    let header = Header::parse(&sealed).unwrap();
    assert_eq!(header, Header { kind: Kind::Randomized, version: VERSION.into(), data_key: LEASED.into() });
}

#[test]
fn a_value_opens_nowhere_but_in_its_place() {
    type Move = fn(&mut Place);
    let moves: [(&str, &[Kind], Move); 10] = [
        ("material", &KINDS, |place| place.material = 0xAB),
        ("version", &KINDS, |place| place.version += 1),
        ("leased data key", &[Kind::Randomized], |place| place.leased += 1),
        ("own data key", &[Kind::Direct], |place| place.own += 1),
        ("tenant", &[Kind::Randomized, Kind::Deterministic], |place| place.tenant = "tenant-b".into()),
        ("table", &[Kind::Randomized, Kind::Deterministic], |place| place.table = "orders".into()),
        ("column", &[Kind::Randomized, Kind::Deterministic], |place| place.column = "name".into()),
        ("record", &[Kind::Randomized], |place| place.record = b"row-43".to_vec()),
        ("context value", &[Kind::Direct], |place| place.context[0].1 = b"research".to_vec()),
        ("context pair", &[Kind::Direct], |place| place.context.truncate(1)),
    ];
    let here = Place::default();
    for (what, kinds, change) in moves {
        let mut there = here.clone();
        change(&mut there);
        for &kind in kinds {
            let sealed = here.seal(kind, VALUE);
            assert_eq!(here.open(kind, &sealed).unwrap(), VALUE);
            assert_eq!(
                there.open(kind, &sealed),
                Err(OpenError::DoesNotOpen),
                "{kind:?} moved to another {what}"
            );
        }
    }
}

#[test]
fn names_that_join_to_the_same_text_are_different_places() {
    let here = Place { table: "ab".into(), column: "c".into(), ..Place::default() };
    let there = Place { table: "a".into(), column: "bc".into(), ..Place::default() };
    for kind in [Kind::Randomized, Kind::Deterministic] {
        assert_eq!(there.open(kind, &here.seal(kind, VALUE)), Err(OpenError::DoesNotOpen));
    }
}

#[test]
fn a_header_rewritten_to_the_expected_one_does_not_open() {
    let here = Place::default();
    let there = Place { version: VERSION + 1, ..Place::default() };
    for kind in KINDS {
        let mut moved = here.seal(kind, VALUE);
        moved[..Header::LEN].copy_from_slice(&there.seal(kind, VALUE)[..Header::LEN]);
        assert_eq!(there.open(kind, &moved), Err(OpenError::DoesNotOpen));
    }
}

#[test]
fn a_value_without_the_zero_bytes_does_not_open() {
    use crate::aead::{Aes256GcmKey, Bulk};
    let here = Place::default();
    let header = Header { kind: Kind::Direct, version: VERSION.into(), data_key: OWN.into() };
    let mut key = [0; 32];
    crate::kdf::derive(b"", here.data_key(OWN).expose_secret(), &[b"kms/direct/v1"], &mut key);
    let aad = [&header.to_bytes()[..], b"kms/direct/v1"].concat();
    for (first, opens) in [(0, true), (1, false)] {
        let mut content = [0; 32 + 5 + 16];
        content[31] = first;
        Bulk::new(&key).seal(&[9; 12], &aad, &mut content).unwrap();
        let sealed = [&header.to_bytes()[..], &[9; 12], &content].concat();
        assert_eq!(here.direct().open(&Context::default(), &sealed).is_ok(), opens);
    }
}

#[test]
fn deterministic_values_are_equal_where_plaintexts_are_and_randomized_are_not() {
    let here = Place::default();
    let other = Place { record: b"row-43".to_vec(), ..Place::default() };
    assert_eq!(here.seal(Kind::Deterministic, VALUE), other.seal(Kind::Deterministic, VALUE));
    assert_ne!(here.seal(Kind::Deterministic, VALUE), here.seal(Kind::Deterministic, b"078-05-1121"));
    assert_ne!(here.seal(Kind::Randomized, VALUE), here.seal(Kind::Randomized, VALUE));
    assert_ne!(here.seal(Kind::Direct, VALUE), here.seal(Kind::Direct, VALUE));
}

#[test]
fn a_kind_is_not_opened_as_another() {
    let here = Place::default();
    for (sealed_as, opened_as) in KINDS.into_iter().zip(KINDS.into_iter().cycle().skip(1)) {
        let opened = here.open(opened_as, &here.seal(sealed_as, VALUE));
        assert_eq!(opened, Err(OpenError::DoesNotOpen));
    }
}

#[test]
fn data_key_ids_fit_their_kind_or_are_refused() {
    for (kind, id) in [(1, 0), (2, LEASED), (2, OWN), (3, 0), (3, LEASED)] {
        let forged = [&header::write(kind, VERSION.into(), id.into())[..], &[0; 80]].concat();
        assert_eq!(Header::parse(&forged), Err(FormatError::DataKey(id.into())), "kind {kind}");
    }
    let leased_to_nobody = Place { leased: 0, own: LEASED, ..Place::default() };
    let refused = leased_to_nobody.randomized().seal(&leased_to_nobody.record(), VALUE);
    assert!(matches!(refused, Err(SealError::DataKey(id)) if id.get() == 0));
    let refused = leased_to_nobody.direct().seal(&leased_to_nobody.context(), VALUE);
    assert!(matches!(refused, Err(SealError::DataKey(id)) if id.get() == LEASED));
}

#[test]
fn debug_of_ciphers_shows_nothing_of_them() {
    let here = Place::default();
    let shown = format!("{:?} {:?} {:?}", here.randomized(), here.deterministic(), here.direct());
    assert_eq!(shown, "FieldCipher(..) DeterministicCipher(..) DirectCipher(..)");
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(&KINDS[..])
}

proptest! {
    #[test]
    fn what_was_sealed_opens(
        kind in any_kind(), plaintext in prop::collection::vec(any::<u8>(), 0..2000),
        record in prop::collection::vec(any::<u8>(), 1..1024), table in "\\PC{1,40}", column in "\\PC{1,40}",
    ) {
        let here = Place { record, table, column, ..Place::default() };
        let sealed = here.seal(kind, &plaintext);
        prop_assert_eq!(sealed.len(), plaintext.len() + kind.overhead());
        prop_assert_eq!(here.open(kind, &sealed).unwrap(), plaintext);
    }

    #[test]
    fn no_flipped_bit_opens(kind in any_kind(), plaintext in prop::collection::vec(any::<u8>(), 0..60), bit: prop::sample::Index) {
        let here = Place::default();
        let mut sealed = here.seal(kind, &plaintext);
        let bit = bit.index(sealed.len() * 8);
        sealed[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(here.open(kind, &sealed).is_err());
    }

    #[test]
    fn no_cut_or_longer_value_opens(kind in any_kind(), plaintext in prop::collection::vec(any::<u8>(), 0..40)) {
        let here = Place::default();
        let sealed = here.seal(kind, &plaintext);
        for len in 0..sealed.len() {
            prop_assert!(here.open(kind, &sealed[..len]).is_err(), "{} of {}", len, sealed.len());
        }
        prop_assert!(here.open(kind, &[&sealed[..], &[0]].concat()).is_err());
    }

    #[test]
    fn reading_a_header_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..120), kind in 0u8..6) {
        Header::parse(&bytes).ok();
        let marked = [&[header::MAGIC, kind], &bytes[..]].concat();
        if let Ok(header) = Header::parse(&marked) {
            prop_assert_eq!(&header.to_bytes()[..], &marked[..Header::LEN]);
            let here = Place::default();
            prop_assert!(KINDS.into_iter().all(|kind| here.open(kind, &marked).is_err()));
        }
    }
}
