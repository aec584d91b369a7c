//! The hash chain: `hash(n) = SHA-256(hash(n-1) || line n up to its hash)`, each line carrying its own.
//!
//! A line is `{"v":1,"seq":N,BODY,"hash":"HEX"}` and a line break; the bytes hashed are those before `,"hash"`. A chain alone proves
//! nothing against whoever can write the file: [`super::head`] signs where it stands.

use std::fmt;

use kms_core::id::InstanceId;
use sha2::{Digest, Sha256};

use super::line::{push_hex, push_number};

/// How every line begins; an unknown version is refused.
pub(super) const PREFIX: &[u8] = br#"{"v":1,"seq":"#;
const HASH_FIELD: &[u8] = br#","hash":""#;
const END: &[u8] = b"\"}";
/// Bytes from the comma before the hash to the end of the line, without the line break.
const TAIL: usize = HASH_FIELD.len() + 64 + END.len();

/// Hash of the chain after a line.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainHash(pub [u8; 32]);

impl ChainHash {
    /// What the first line of an instance's audit follows.
    pub(super) fn genesis(instance: InstanceId) -> Self {
        let hash = Sha256::new().chain_update(b"kms/audit/chain/v1").chain_update(instance.0);
        Self(hash.finalize().into())
    }

    fn follow(self, unsealed: &[u8]) -> Self {
        Self(Sha256::new().chain_update(self.0).chain_update(unsealed).finalize().into())
    }

    /// Reads 64 hexadecimal digits.
    pub fn from_hex(digits: &[u8]) -> Option<Self> {
        let mut hash = [0; 32];
        hex::decode_to_slice(digits, &mut hash).ok()?;
        Some(Self(hash))
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainHash({self})")
    }
}

/// Where a chain stands: how many lines it has had, and the hash of the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Number of the next line.
    pub(super) count: u64,
    /// Hash of the line before.
    pub(super) hash: ChainHash,
}

impl Position {
    /// Where an empty audit stands.
    pub(super) fn start(instance: InstanceId) -> Self {
        Self { count: 0, hash: ChainHash::genesis(instance) }
    }

    /// Writes the next line at the end of `out` and returns its number.
    pub(super) fn append(&mut self, out: &mut Vec<u8>, body: &[u8]) -> u64 {
        let (start, sequence) = (out.len(), self.count);
        out.reserve(PREFIX.len() + 20 + 1 + body.len() + TAIL + 1);
        out.extend_from_slice(PREFIX);
        push_number(out, sequence);
        out.push(b',');
        out.extend_from_slice(body);
        self.hash = self.hash.follow(&out[start..]);
        out.extend_from_slice(HASH_FIELD);
        push_hex(out, &self.hash.0);
        out.extend_from_slice(END);
        out.push(b'\n');
        self.count += 1;
        sequence
    }
}

/// A line taken apart, not yet believed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sealed<'a> {
    /// The number it claims.
    pub(super) sequence: u64,
    /// The bytes its hash is over.
    unsealed: &'a [u8],
    /// The hash it claims.
    pub(super) hash: ChainHash,
}

impl<'a> Sealed<'a> {
    /// Takes a line (without its line break) apart; `None` where it does not have the shape of one.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let (unsealed, tail) = line.split_at_checked(line.len().checked_sub(TAIL)?)?;
        let digits = tail.strip_prefix(HASH_FIELD)?.strip_suffix(END)?;
        // One way to write a hash: the bytes after `unsealed` must not be open to edits either.
        if digits.iter().any(u8::is_ascii_uppercase) {
            return None;
        }
        Some(Self { sequence: sequence_of(unsealed)?, unsealed, hash: ChainHash::from_hex(digits)? })
    }

    /// Whether it follows a line with this hash unchanged.
    pub(super) fn follows(&self, previous: ChainHash) -> bool {
        previous.follow(self.unsealed) == self.hash
    }
}

/// The number a line claims, read from its first bytes.
pub(super) fn sequence_of(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(PREFIX)?;
    let digits = &rest[..rest.iter().position(|byte| *byte == b',')?];
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_follows_its_predecessor_and_no_other() {
        let mut position = Position::start(InstanceId([7; 16]));
        let (start, mut out) = (position.hash, Vec::new());
        position.append(&mut out, br#""type":"a""#);
        let first = position.hash;
        position.append(&mut out, br#""type":"b""#);
        let lines: Vec<_> = out.split(|byte| *byte == b'\n').collect();
        let [one, two] = [lines[0], lines[1]].map(|line| Sealed::parse(line).unwrap());
        assert_eq!((one.sequence, two.sequence), (0, 1));
        assert!(one.follows(start) && two.follows(first));
        assert!(!one.follows(first) && !two.follows(start));
        assert!(serde_json::from_slice::<serde_json::Value>(lines[1]).unwrap()["hash"].is_string());
    }
}
