//! Outcomes of mutating calls, so that one that is sent again changes nothing.

use kms_proto::storage as stored;
use sha2::{Digest, Sha256};

use super::Table;
use crate::identity::IdentityName;
use crate::operation::Operation;

/// Outcomes of mutating calls.
pub enum Requests {}

/// A mutating call: its id is unique for one identity and operation only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// SHA-256 of who called: a name may be longer than a key of the store.
    identity: [u8; 32],
    operation: Operation,
    /// The caller's UUID.
    pub id: [u8; 16],
}

impl RequestKey {
    /// The call of this identity, for this operation, under this UUID.
    pub fn new(identity: &IdentityName, operation: Operation, id: [u8; 16]) -> Self {
        Self { identity: Sha256::digest(identity.to_string()).into(), operation, id }
    }
}

impl Table for Requests {
    type Key = RequestKey;
    type Group = ();
    type Value = stored::RequestRecord;
    const PREFIX: u8 = 0x15;
    const NAME: &'static str = "request";

    fn write_key(key: &RequestKey, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.id);
        out.extend_from_slice(&key.identity);
        out.extend_from_slice(key.operation.as_str().as_bytes());
    }
    fn write_group((): &(), _: &mut Vec<u8>) {}
    fn parse_key(bytes: &[u8]) -> Option<RequestKey> {
        let (id, rest) = bytes.split_first_chunk::<16>()?;
        let (identity, operation) = rest.split_first_chunk::<32>()?;
        let operation = std::str::from_utf8(operation).ok()?.parse().ok()?;
        Some(RequestKey { identity: *identity, operation, id: *id })
    }
}

/// Requests in order of time.
pub enum RequestTimes {}

impl Table for RequestTimes {
    /// Milliseconds since 1970, and the request's UUID.
    type Key = (u64, [u8; 16]);
    type Group = ();
    type Value = stored::RequestPointer;
    const PREFIX: u8 = 0x16;
    const NAME: &'static str = "request time";

    fn write_key((at, id): &Self::Key, out: &mut Vec<u8>) {
        out.extend_from_slice(&at.to_be_bytes());
        out.extend_from_slice(id);
    }
    fn write_group((): &(), _: &mut Vec<u8>) {}
    fn parse_key(bytes: &[u8]) -> Option<Self::Key> {
        let (at, id) = bytes.split_first_chunk::<8>()?;
        Some((u64::from_be_bytes(*at), id.try_into().ok()?))
    }
}
