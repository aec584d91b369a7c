//! Entries as they are served, up to 256 at a time (C2SP tlog-tiles): for each, 2 bytes of length, big-endian, then the entry.

use super::tile::FULL_WIDTH;

/// Most bytes of an entry: what two bytes of length can say.
pub const MAX_ENTRY: usize = u16::MAX as usize;

/// Bytes that are no bundle, or entries that make none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Longer than the length can say.
    #[error("an entry has {0} bytes; at most {MAX_ENTRY} are allowed")]
    EntryTooLong(usize),
    /// More entries than a bundle holds.
    #[error("a bundle holds at most {FULL_WIDTH} entries")]
    TooMany,
    /// The last entry is cut short.
    #[error("the bundle ends within an entry")]
    Cut,
}

/// Writes a bundle.
///
/// # Errors
/// Where an entry is longer than 65,535 bytes, or there are more than 256.
pub fn encode<E: AsRef<[u8]>>(entries: &[E]) -> Result<Vec<u8>, BundleError> {
    if entries.len() > usize::from(FULL_WIDTH) {
        return Err(BundleError::TooMany);
    }
    let mut bundle = Vec::new();
    for entry in entries.iter().map(AsRef::as_ref) {
        let length = u16::try_from(entry.len()).map_err(|_| BundleError::EntryTooLong(entry.len()))?;
        bundle.extend_from_slice(&length.to_be_bytes());
        bundle.extend_from_slice(entry);
    }
    Ok(bundle)
}

/// Reads a bundle; the caller compares the number of entries with the width in its path.
///
/// # Errors
/// Where it is cut, or holds more than 256 entries.
pub fn decode(bundle: &[u8]) -> Result<Vec<&[u8]>, BundleError> {
    let mut entries = Vec::new();
    let mut rest = bundle;
    while !rest.is_empty() {
        if entries.len() == usize::from(FULL_WIDTH) {
            return Err(BundleError::TooMany);
        }
        let (length, after) = rest.split_first_chunk().ok_or(BundleError::Cut)?;
        let (entry, after) =
            after.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(BundleError::Cut)?;
        entries.push(entry);
        rest = after;
    }
    Ok(entries)
}
