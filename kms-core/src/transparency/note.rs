//! Signed text (C2SP signed-note): a text that ends in a newline, a blank line, and lines `— name base64(key id || signature)`.
//!
//! A [`Note`] is only parsed: its text means nothing before [`Note::verify`].

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::key::{KeyId, KeyName, NamedKey, VerifierKey};

/// Most bytes of a note.
pub const MAX_NOTE: usize = 1 << 20;
/// Most signature lines of a note.
pub const MAX_SIGNATURES: usize = 100;
const LINE_START: &str = "— ";

/// Why a note is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// More bytes than a note may have.
    #[error("the note is longer than {MAX_NOTE} bytes")]
    TooLong,
    /// Not UTF-8, or with a control character other than newline.
    #[error("the note is not plain text: it is not UTF-8, or has a control character in it")]
    NotPlainText,
    /// A text without its last newline.
    #[error("the note's text does not end in a newline")]
    NoLastNewline,
    /// No blank line, or nothing after it.
    #[error("the note has no blank line with signatures after it")]
    NoSignatures,
    /// A line after the blank one that is no signature.
    #[error("line {line} after the note's last blank line is not a signature")]
    NotASignature {
        /// Counted from 1.
        line: usize,
    },
    /// More lines than anyone should have to check.
    #[error("the note has more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// A known key's signature that is not one of this text.
    #[error("the signature of `{name}+{id}` does not belong to this text")]
    InvalidSignature {
        /// Name of the key.
        name: KeyName,
        /// Id of the key.
        id: KeyId,
    },
    /// Nobody signed whose key is known.
    #[error("the note has no signature of a known key")]
    NoKnownSignature,
}

/// A text and the signatures under it, none of them verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// A text that nobody has signed yet.
    ///
    /// # Errors
    /// Where the text does not end in a newline, has control characters, or is too long.
    pub fn new(text: String) -> Result<Self, NoteError> {
        check_plain(&text)?;
        if !text.ends_with('\n') {
            return Err(NoteError::NoLastNewline);
        }
        Ok(Self { text, signatures: Vec::new() })
    }

    /// Reads a note. What it accepts, [`fmt::Display`] writes again byte by byte.
    ///
    /// # Errors
    /// Where the bytes are not a note with at least one signature line.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE {
            return Err(NoteError::TooLong);
        }
        let note = str::from_utf8(bytes).map_err(|_| NoteError::NotPlainText)?;
        check_plain(note)?;
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::NoSignatures)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::NoSignatures)?;
        let mut signatures = Vec::new();
        for (at, line) in lines.split('\n').enumerate() {
            if at == MAX_SIGNATURES {
                return Err(NoteError::TooManySignatures);
            }
            signatures.push(NoteSignature::parse(line).ok_or(NoteError::NotASignature { line: at + 1 })?);
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// The text, its last newline included.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures in the order of their lines, of unknown keys too.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Puts a signature under the text, in place of any by the same key.
    ///
    /// # Errors
    /// Where there are too many already.
    pub fn add(&mut self, signature: NoteSignature) -> Result<(), NoteError> {
        let by_another = |old: &NoteSignature| (&old.name, old.id) != (&signature.name, signature.id);
        if self.signatures.iter().filter(|old| by_another(old)).count() >= MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        self.signatures.retain(by_another);
        self.signatures.push(signature);
        Ok(())
    }

    /// Checks every signature of a known key, ignores all others, and says whose there were.
    ///
    /// # Errors
    /// Where a known key's signature is not one of this text, or no known key signed.
    pub fn verify<'k>(&self, keys: &'k [VerifierKey]) -> Result<Vec<&'k VerifierKey>, NoteError> {
        let mut signers: Vec<&VerifierKey> = Vec::new();
        for signature in &self.signatures {
            let mut named = keys.iter().filter(|key| key.0.made(signature)).peekable();
            if named.peek().is_none() {
                continue;
            }
            // Two keys may share a name and an id, by design of whoever made the second: either may have signed.
            match named.find(|key| key.verify(&self.text, signature).is_ok()) {
                Some(key) if signers.contains(&key) => {}
                Some(key) => signers.push(key),
                None => return Err(signature.invalid()),
            }
        }
        if signers.is_empty() { Err(NoteError::NoKnownSignature) } else { Ok(signers) }
    }

    /// The signatures that name a key.
    pub(super) fn signatures_of(&self, key: &NamedKey) -> impl Iterator<Item = &NoteSignature> {
        self.signatures.iter().filter(|signature| key.made(signature))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

/// One signature line, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    name: KeyName,
    id: KeyId,
    // INVARIANT: not empty.
    bytes: Vec<u8>,
}

impl NoteSignature {
    /// A line put together again from its parts.
    pub(crate) fn new(name: KeyName, id: KeyId, bytes: &[u8]) -> Self {
        Self { name, id, bytes: bytes.to_vec() }
    }

    /// Reads a line, without its newline; `None` for anything else.
    pub fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(LINE_START)?.split_once(' ')?;
        let bytes = BASE64_STANDARD.decode(encoded).ok()?;
        let (id, signature) = bytes.split_first_chunk()?;
        let name = name.parse().ok()?;
        (!signature.is_empty()).then(|| Self::new(name, KeyId(*id), signature))
    }

    /// Who signed, as the line says.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// With which key, as the line says.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The signature; what is in it depends on the key's algorithm.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn invalid(&self) -> NoteError {
        NoteError::InvalidSignature { name: self.name.clone(), id: self.id }
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.id.0, &self.bytes[..]].concat();
        write!(f, "{LINE_START}{} {}", self.name, BASE64_STANDARD.encode(bytes))
    }
}

fn check_plain(text: &str) -> Result<(), NoteError> {
    match text {
        _ if text.len() > MAX_NOTE => Err(NoteError::TooLong),
        _ if text.contains(|found: char| found < ' ' && found != '\n') => Err(NoteError::NotPlainText),
        _ => Ok(()),
    }
}
