//! Certificates of destruction, as `docs/verifying.md` has them: what is in one, and how it stands in its file.
//!
//! Reading one proves nothing but its form; [`check::verify`] says what it is worth.
//!
//! # Layout
//! - [`body`], [`proofs`], [`sanitization`], [`risks`]: the sections, as plain structs; [`part`]: how they stand in canonical JSON.
//! - [`words`]: what the facts mean, for people.
//! - [`mod@check`]: whether one holds; [`policy`]: what is asked of it; [`replay`]: the whole log, read from its beginning.

pub mod body;
pub mod check;
pub mod part;
pub mod policy;
pub mod proofs;
pub mod replay;
pub mod risks;
pub mod sanitization;
pub mod words;

use body::Body;
use part::{NoPart, Part, sections};

use crate::canonical::{Malformed, Value};

/// Most bytes of a file: a key of some ten thousand versions.
pub const MAX_FILE: usize = 64 << 20;

sections! {
    /// A certificate, as signed as it came.
    Certificate {
        /// What is signed.
        certificate: Body,
        /// Ed25519, by the log's key, over [`Body::message`].
        signature: [u8; 64],
    }
}

/// A file that is no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Too large.
    #[error("the file has {0} bytes; a certificate has at most {MAX_FILE}")]
    Size(usize),
    /// No line feed at its end.
    #[error("the file does not end with one line feed; was it cut?")]
    End,
    /// Not canonical JSON.
    #[error("the file is not canonical JSON: {0}")]
    Malformed(#[from] Malformed),
    /// Not what a certificate is made of.
    #[error(transparent)]
    Part(#[from] NoPart),
}

impl Certificate {
    /// Signs a certificate.
    pub fn sign(body: Body, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Self {
        let signature = sign(&body.message());
        Self { certificate: body, signature }
    }

    /// The file.
    pub fn to_file(&self) -> Vec<u8> {
        let mut file = self.to_value().pretty().into_bytes();
        file.push(b'\n');
        file
    }

    /// Reads a file, of exactly the bytes that [`Self::to_file`] writes.
    ///
    /// # Errors
    /// Where it is none.
    pub fn from_file(file: &[u8]) -> Result<Self, FormError> {
        if file.len() > MAX_FILE {
            return Err(FormError::Size(file.len()));
        }
        let text = file.strip_suffix(b"\n").ok_or(FormError::End)?;
        Ok(Self::from_value(Value::from_pretty(text)?)?)
    }
}

#[cfg(test)]
mod tests;
