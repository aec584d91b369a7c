//! AES-256-GCM over 32 zero bytes and the plaintext: what randomized and direct values share.
//!
//! A key that opens the value makes 32 zero bytes of its first two blocks, which another key does with 2^-128 at best. This
//! commits to the key, not to the context.

use std::cell::RefCell;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::{Header, OpenError, SealError};
use crate::{
    aead::{Aes256GcmKey, Bulk, NONCE, TAG},
    id::DataKeyId,
    nonce,
    secret::Plaintext,
};

/// Header, nonce, zero bytes and tag.
pub(super) const OVERHEAD: usize = BODY + ZEROS.len() + TAG;

const ZEROS: [u8; 32] = [0; 32];
const BODY: usize = Header::LEN + NONCE;
const START: usize = BODY + ZEROS.len();

thread_local! {
    /// Kept from call to call, so that sealing allocates its output only.
    static AAD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A prepared key together with the header it seals under.
pub(super) struct Committing {
    key: Bulk,
    /// What each sealed value begins with before it is encrypted: header, room for the nonce, zero bytes.
    start: [u8; START],
    /// What [`Header::parse`] would say of the header, so that nothing is sealed that never opens.
    sound: Result<(), DataKeyId>,
}

impl Committing {
    pub(super) fn new(key: &[u8; 32], header: Header) -> Self {
        let sound = header.kind.may_have(header.data_key).then_some(()).ok_or(header.data_key);
        let mut start = [0; START];
        start[..Header::LEN].copy_from_slice(&header.to_bytes());
        Self { key: Bulk::new(key), start, sound }
    }

    pub(super) fn header(&self) -> &[u8] {
        &self.start[..Header::LEN]
    }

    /// Seals under a fresh nonce; `aad` writes what is authenticated, from its first byte.
    pub(super) fn seal(
        &self,
        aad: impl FnOnce(&mut Vec<u8>),
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        self.sound.map_err(SealError::DataKey)?;
        self.seal_with(|nonce| nonce::fill(nonce).map_err(SealError::Random), aad, plaintext)
    }

    /// As [`Self::seal`], with `nonce` written by another: for the vectors only.
    pub(super) fn seal_with(
        &self,
        nonce: impl FnOnce(&mut [u8; NONCE]) -> Result<(), SealError>,
        aad: impl FnOnce(&mut Vec<u8>),
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let mut place = [0; NONCE];
        nonce(&mut place)?;
        let mut start = self.start;
        start[Header::LEN..BODY].copy_from_slice(&place);
        let mut out = Vec::with_capacity(OVERHEAD + plaintext.len());
        out.extend_from_slice(&start);
        out.extend_from_slice(plaintext);
        out.extend_from_slice(&[0; TAG]);
        match with_aad(aad, |aad| self.key.seal(&place, aad, &mut out[BODY..])) {
            Ok(()) => Ok(out),
            Err(_) => {
                out.zeroize();
                Err(SealError::TooLong)
            }
        }
    }

    /// Opens a value that must have been sealed under this header.
    pub(super) fn open(
        &self,
        aad: impl FnOnce(&mut Vec<u8>),
        ciphertext: &[u8],
    ) -> Result<Plaintext, OpenError> {
        // A value of another key would fail at its tag; the caller should have looked at the header first.
        if Header::parse(ciphertext)?.to_bytes() != self.header() {
            return Err(OpenError::DoesNotOpen);
        }
        let (nonce, sealed) =
            ciphertext[Header::LEN..].split_first_chunk::<NONCE>().ok_or(OpenError::DoesNotOpen)?;
        let mut opened = Plaintext::from(sealed.to_vec());
        let bytes = opened.bytes_mut();
        let len =
            with_aad(aad, |aad| self.key.open(nonce, aad, bytes)).map_err(|_| OpenError::DoesNotOpen)?;
        // ATTACK: AES-GCM alone lets one ciphertext open under two keys.
        if len < ZEROS.len() || !are_zero(&bytes[..ZEROS.len()]) {
            return Err(OpenError::DoesNotOpen);
        }
        bytes.copy_within(ZEROS.len()..len, 0);
        bytes.truncate(len - ZEROS.len());
        Ok(opened)
    }
}

/// In constant time: all bytes are joined before one comparison is made.
fn are_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |joined, byte| joined | byte).ct_eq(&0).into()
}

fn with_aad<R>(write: impl FnOnce(&mut Vec<u8>), then: impl FnOnce(&[u8]) -> R) -> R {
    AAD.with_borrow_mut(|aad| {
        aad.clear();
        write(aad);
        then(aad)
    })
}
