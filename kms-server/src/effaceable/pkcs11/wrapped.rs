//! The secrets as the token wrapped them, in files beside each other: of no use without the token, so that a copy harms nothing.
//!
//! ```text
//! EPOCH-ATTEMPT   0 "KMST"  4 version u16  6 how u8  7 zero  8 instance 16  24 epoch u64  32 attempt 16  48 iv 12  60 length u32
//!                 64 ciphertext  then SHA-256 over all before
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use kms_core::id::InstanceId;
use sha2::{Digest, Sha256};

use super::{error::TokenError, library::Wrapping};
use crate::effaceable::{EffaceableError, SecretId, lock::lock};

const MAGIC: &[u8; 4] = b"KMST";
const VERSION: u16 = 1;
const HEAD: usize = 64;
const SUM: usize = 32;
/// Far more than a wrapped secret has.
const LONGEST: u64 = 4096;

/// A secret as a token wrapped it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrapped {
    pub(super) how: Wrapping,
    pub(super) iv: [u8; 12],
    pub(super) ciphertext: Vec<u8>,
}

/// The directory, locked.
#[derive(Debug)]
pub(super) struct WrappedFiles {
    directory: PathBuf,
    instance: InstanceId,
    _lock: File,
}

impl WrappedFiles {
    /// Opens the directory; makes it where it is not there.
    pub(super) fn open(directory: &Path, instance: InstanceId) -> Result<Self, EffaceableError> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let held = directory.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&held)?;
        match lock(&file)? {
            true => Ok(Self { directory: directory.into(), instance, _lock: file }),
            false => Err(EffaceableError::Locked(held)),
        }
    }

    pub(super) fn put(&self, id: SecretId, wrapped: &Wrapped) -> Result<(), EffaceableError> {
        let (path, new) = (self.path(id), self.directory.join("new"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&self.encode(id, wrapped))?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        // ORDER: a secret whose file has no name on the disk is lost with the power.
        self.sync()
    }

    pub(super) fn get(&self, id: SecretId) -> Result<Option<Wrapped>, EffaceableError> {
        let path = self.path(id);
        let bytes = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
            Ok(facts) if facts.len() > LONGEST => return Err(TokenError::Damaged(path).into()),
            Ok(_) => fs::read(&path)?,
        };
        match self.decode(id, &bytes) {
            Some(wrapped) => Ok(Some(wrapped)),
            None => Err(TokenError::Damaged(path).into()),
        }
    }

    /// Removes all but one: tidiness only, for without the token's key none of them is worth anything.
    pub(super) fn remove_except(&self, keep: Option<SecretId>) -> Result<(), EffaceableError> {
        let keep = keep.map(|keep| self.path(keep));
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if Some(&path) != keep.as_ref() && path.file_name().is_some_and(|name| name != "lock") {
                fs::remove_file(path)?;
            }
        }
        self.sync()
    }

    fn sync(&self) -> Result<(), EffaceableError> {
        Ok(File::open(&self.directory)?.sync_all()?)
    }

    fn path(&self, id: SecretId) -> PathBuf {
        self.directory.join(format!("{}-{}", id.epoch, id.attempt))
    }

    fn encode(&self, id: SecretId, wrapped: &Wrapped) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + wrapped.ciphertext.len() + SUM);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&[wrapped.how.number(), 0]);
        bytes.extend_from_slice(&self.instance.0);
        bytes.extend_from_slice(&id.epoch.0.to_be_bytes());
        bytes.extend_from_slice(&id.attempt.0);
        bytes.extend_from_slice(&wrapped.iv);
        bytes.extend_from_slice(&u32::try_from(wrapped.ciphertext.len()).unwrap_or(0).to_be_bytes());
        bytes.extend_from_slice(&wrapped.ciphertext);
        bytes.extend_from_slice(&Sha256::digest(&bytes));
        bytes
    }

    fn decode(&self, id: SecretId, bytes: &[u8]) -> Option<Wrapped> {
        let (body, sum) = bytes.split_last_chunk::<SUM>()?;
        let (head, ciphertext) = body.split_first_chunk::<HEAD>()?;
        let wrapped = Wrapped {
            how: Wrapping::of_number(head[6])?,
            iv: head[48..60].try_into().ok()?,
            ciphertext: ciphertext.to_vec(),
        };
        // What it encodes to again is all that it may be.
        (Sha256::digest(body)[..] == sum[..] && self.encode(id, &wrapped) == bytes).then_some(wrapped)
    }
}

#[cfg(test)]
mod tests {
    use kms_core::id::{Attempt, Epoch};

    use super::*;

    const INSTANCE: InstanceId = InstanceId([7; 16]);

    fn id(epoch: u64) -> SecretId {
        SecretId { epoch: Epoch(epoch), attempt: Attempt([epoch as u8; 16]) }
    }

    #[test]
    fn what_was_put_is_read_back_by_its_own_name_and_whole_only() {
        let directory = tempfile::tempdir().unwrap();
        let files = WrappedFiles::open(directory.path(), INSTANCE).unwrap();
        let wrapped = Wrapped { how: Wrapping::Gcm, iv: [3; 12], ciphertext: vec![9; 48] };
        files.put(id(1), &wrapped).unwrap();
        files.put(id(2), &wrapped).unwrap();
        assert_eq!(files.get(id(1)).unwrap(), Some(wrapped));
        assert_eq!(files.get(id(3)).unwrap(), None);
        let whole = fs::read(files.path(id(1))).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(files.path(id(1)), &changed).unwrap();
            assert!(files.get(id(1)).is_err(), "byte {at}");
            fs::write(files.path(id(1)), &whole[..at]).unwrap();
            assert!(files.get(id(1)).is_err(), "cut at {at}");
        }
        fs::rename(files.path(id(2)), files.path(id(1))).unwrap();
        assert!(files.get(id(1)).is_err(), "under the name of another");
    }

    #[test]
    fn one_process_has_the_directory_and_removing_spares_what_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let files = WrappedFiles::open(directory.path(), INSTANCE).unwrap();
        assert!(matches!(WrappedFiles::open(directory.path(), INSTANCE), Err(EffaceableError::Locked(_))));
        let wrapped = Wrapped { how: Wrapping::KeyWrap, iv: [0; 12], ciphertext: vec![1; 40] };
        for epoch in 1..4 {
            files.put(id(epoch), &wrapped).unwrap();
        }
        files.remove_except(Some(id(2))).unwrap();
        assert!(files.get(id(1)).unwrap().is_none() && files.get(id(3)).unwrap().is_none());
        assert!(files.get(id(2)).unwrap().is_some());
        files.remove_except(None).unwrap();
        assert!(files.get(id(2)).unwrap().is_none());
    }
}
