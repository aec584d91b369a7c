//! The medium `file`, in its plain form: one preallocated file with two slots, each as large as the spread of one secret.
//!
//! Effacing overwrites a slot in place, syncs, and reads back. What the disk below does with an overwrite is not known here, so the
//! class is `none`: the erase is described, no standard is claimed. (Reading back past the page cache, the check that the extents
//! stay where they are, and the classes of media come later.)
//!
//! ```text
//! 0        header, written once: "KMSE" | version u16 | zeros to 8 | instance 16 | zeros | at 480 .. 512: SHA-256 of bytes 0..480
//! 4096     slot 0: 1 MiB, the spread (afsplit.rs) of
//!            0 "KMSE/E1\0"  8 epoch u64  16 attempt 16  32 secret 32  64 SHA-256(instance || bytes 0..64) 32  96 zeros 32
//! 1 MiB + 4096  slot 1
//! ```
//! A slot that was half written, or overwritten, is random bytes to whoever puts it together: it is not listed, and may be written.
//!
//! ATTACK: who can read this file before an effacement has the secret; who can write it can destroy the store. It belongs on another
//! file system than any copy of the data directory goes to.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use kms_core::{
    id::{Attempt, Epoch, InstanceId},
    secret::EpochSecret,
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    Effaceable, EffaceableClass, EffaceableError, Evidence, SLOTS, SecretId,
    afsplit::{self, Block},
    lock::lock,
};

const MAGIC: &[u8; 4] = b"KMSE";
const VERSION: u16 = 1;
const HEADER: usize = 512;
const HEADER_BODY: usize = 480;
const FIRST_SLOT: u64 = 4096;
const SLOT: usize = 1024 * 1024;
const LENGTH: u64 = FIRST_SLOT + (SLOTS * SLOT) as u64;
const BLOCK_MAGIC: &[u8; 8] = b"KMSE/E1\0";

/// The open file, locked.
#[derive(Debug)]
pub struct FileMedium {
    file: File,
    path: PathBuf,
    instance: InstanceId,
    /// What the slots held when they were last looked at: a slot in force is never taken for a free one.
    known: [Option<SecretId>; SLOTS],
}

impl FileMedium {
    /// Makes the file, filled with random bytes so that nothing of it is a hole.
    ///
    /// # Errors
    /// Where something is there already, or it cannot be written.
    pub fn create(path: &Path, instance: InstanceId) -> Result<Self, EffaceableError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(path)?;
        let medium = Self { file, path: path.into(), instance, known: [None; SLOTS] }.locked()?;
        for slot in 0..SLOTS {
            medium.overwrite(slot)?;
        }
        // ORDER: the header is last; without it, nothing here is a medium.
        medium.file.write_all_at(&header(instance), 0)?;
        medium.file.sync_all()?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(medium)
    }

    /// Opens the file of this instance.
    ///
    /// # Errors
    /// Where it is in use, of another instance, cut, or not a medium at all. It is not changed.
    pub fn open(path: &Path, instance: InstanceId) -> Result<Self, EffaceableError> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(EffaceableError::Missing(path.into()));
            }
            opened => opened?,
        };
        let mut medium = Self { file, path: path.into(), instance, known: [None; SLOTS] }.locked()?;
        let (length, metadata) = (medium.file.metadata()?.len(), medium.file.metadata()?);
        if !metadata.is_file() || length < HEADER as u64 {
            return Err(EffaceableError::NotAMedium(path.into()));
        }
        let mut found = [0; HEADER];
        medium.file.read_exact_at(&mut found, 0)?;
        if !found.starts_with(MAGIC) || Sha256::digest(&found[..HEADER_BODY])[..] != found[HEADER_BODY..] {
            return Err(EffaceableError::NotAMedium(path.into()));
        }
        if found[4..6] != VERSION.to_be_bytes() {
            return Err(EffaceableError::Version(path.into()));
        }
        if found[8..24] != instance.0 {
            return Err(EffaceableError::OtherInstance(path.into()));
        }
        if length != LENGTH {
            return Err(EffaceableError::Length { path: path.into(), length, wanted: LENGTH });
        }
        medium.known = medium.ids()?;
        Ok(medium)
    }

    fn locked(self) -> Result<Self, EffaceableError> {
        if lock(&self.file)? { Ok(self) } else { Err(EffaceableError::Locked(self.path)) }
    }

    fn ids(&self) -> Result<[Option<SecretId>; SLOTS], EffaceableError> {
        let id = |slot| self.slot(slot).map(|found| found.map(|(id, _)| id));
        Ok([id(0)?, id(1)?])
    }

    /// What a slot holds; `None` where that cannot be put together.
    fn slot(&self, slot: usize) -> Result<Option<(SecretId, EpochSecret)>, EffaceableError> {
        let mut spread = Zeroizing::new(vec![0; SLOT]);
        self.file.read_exact_at(&mut spread, offset(slot))?;
        Ok(parse(&afsplit::merge(&spread), self.instance))
    }

    /// Overwrites a slot with random bytes, durably, and reads them back.
    fn overwrite(&self, slot: usize) -> Result<(), EffaceableError> {
        let mut random = vec![0; SLOT];
        getrandom::fill(&mut random).map_err(no_random)?;
        self.file.write_all_at(&random, offset(slot))?;
        self.file.sync_data()?;
        let mut back = vec![0; SLOT];
        self.file.read_exact_at(&mut back, offset(slot))?;
        if back == random { Ok(()) } else { Err(EffaceableError::ReadBack(self.path.clone())) }
    }
}

impl Effaceable for FileMedium {
    fn class(&self) -> EffaceableClass {
        EffaceableClass::None
    }

    fn prepare(&mut self, id: SecretId, secret: &EpochSecret) -> Result<(), EffaceableError> {
        if self.known.contains(&Some(id)) {
            return Err(EffaceableError::There(id));
        }
        let Some(free) = self.known.iter().position(Option::is_none) else {
            return Err(EffaceableError::Full);
        };
        let mut spread = Zeroizing::new(vec![0; SLOT]);
        afsplit::split(&block(id, secret, self.instance), &mut spread).map_err(no_random)?;
        // ORDER: the other slot is not touched; a crash here leaves this one as random bytes, or whole.
        self.file.write_all_at(&spread, offset(free))?;
        self.file.sync_data()?;
        match self.slot(free)? {
            Some((there, back))
                if there == id && back.expose_secret().ct_eq(secret.expose_secret()).into() =>
            {
                self.known[free] = Some(id);
                Ok(())
            }
            _ => Err(EffaceableError::ReadBack(self.path.clone())),
        }
    }

    fn read(&self, id: SecretId) -> Result<Option<EpochSecret>, EffaceableError> {
        for slot in 0..SLOTS {
            match self.slot(slot)? {
                Some((there, secret)) if there == id => return Ok(Some(secret)),
                _ => {}
            }
        }
        Ok(None)
    }

    fn list(&self) -> Result<Vec<SecretId>, EffaceableError> {
        let mut ids: Vec<_> = self.ids()?.into_iter().flatten().collect();
        ids.sort_unstable();
        Ok(ids)
    }

    fn efface_except(&mut self, keep: SecretId) -> Result<Evidence, EffaceableError> {
        let there = self.ids()?;
        let Some(kept) = there.iter().position(|id| *id == Some(keep)) else {
            return Err(EffaceableError::NothingKept(keep));
        };
        // A slot that lists nothing may hold most of a half-written secret: it is overwritten too.
        for slot in (0..SLOTS).filter(|slot| *slot != kept) {
            self.overwrite(slot)?;
            self.known[slot] = None;
        }
        if self.slot(kept)?.is_none_or(|(id, _)| id != keep) {
            return Err(EffaceableError::ReadBack(self.path.clone()));
        }
        let effaced = there.into_iter().flatten().filter(|id| *id != keep).collect();
        Ok(Evidence {
            effaced,
            class: self.class(),
            technique: "overwritten in place with random bytes, fdatasync, read back",
        })
    }
}

fn no_random(error: getrandom::Error) -> io::Error {
    io::Error::other(error.to_string())
}

fn offset(slot: usize) -> u64 {
    FIRST_SLOT + (slot * SLOT) as u64
}

fn header(instance: InstanceId) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(MAGIC);
    header[4..6].copy_from_slice(&VERSION.to_be_bytes());
    header[8..24].copy_from_slice(&instance.0);
    let sum = Sha256::digest(&header[..HEADER_BODY]);
    header[HEADER_BODY..].copy_from_slice(&sum);
    header
}

fn block(id: SecretId, secret: &EpochSecret, instance: InstanceId) -> Block {
    let mut block = Zeroizing::new([0; afsplit::BLOCK]);
    block[..8].copy_from_slice(BLOCK_MAGIC);
    block[8..16].copy_from_slice(&id.epoch.0.to_be_bytes());
    block[16..32].copy_from_slice(&id.attempt.0);
    block[32..64].copy_from_slice(secret.expose_secret());
    let sum = checksum(&block, instance);
    block[64..96].copy_from_slice(&sum);
    block
}

fn parse(block: &Block, instance: InstanceId) -> Option<(SecretId, EpochSecret)> {
    if !block.starts_with(BLOCK_MAGIC) || checksum(block, instance)[..] != block[64..96] {
        return None;
    }
    let mut epoch = [0; 8];
    epoch.copy_from_slice(&block[8..16]);
    let mut attempt = Attempt([0; 16]);
    attempt.0.copy_from_slice(&block[16..32]);
    let id = SecretId { epoch: Epoch(u64::from_be_bytes(epoch)), attempt };
    Some((id, EpochSecret::copied_from(&block[32..64])?))
}

fn checksum(block: &Block, instance: InstanceId) -> [u8; 32] {
    Sha256::new().chain_update(instance.0).chain_update(&block[..64]).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: InstanceId = InstanceId([7; 16]);

    fn id(epoch: u64) -> SecretId {
        SecretId { epoch: Epoch(epoch), attempt: Attempt([epoch as u8; 16]) }
    }

    fn secret(byte: u8) -> EpochSecret {
        EpochSecret::copied_from(&[byte; 32]).unwrap()
    }

    struct Fixture {
        _directory: tempfile::TempDir,
        path: PathBuf,
    }

    impl Fixture {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("medium");
            drop(FileMedium::create(&path, INSTANCE).unwrap());
            Self { _directory: directory, path }
        }

        fn open(&self) -> FileMedium {
            FileMedium::open(&self.path, INSTANCE).unwrap()
        }

        fn refusal(&self) -> EffaceableError {
            FileMedium::open(&self.path, INSTANCE).unwrap_err()
        }

        fn raw(&self) -> File {
            OpenOptions::new().read(true).write(true).open(&self.path).unwrap()
        }
    }

    fn holds(medium: &FileMedium, epoch: u64) -> bool {
        medium.read(id(epoch)).unwrap().is_some_and(|found| *found.expose_secret() == [epoch as u8; 32])
    }

    #[test]
    fn a_secret_is_read_back_after_a_restart_and_gone_after_effacement() {
        let fixture = Fixture::new();
        let mut medium = fixture.open();
        assert!(medium.list().unwrap().is_empty());
        for epoch in 1..5 {
            medium.prepare(id(epoch), &secret(epoch as u8)).unwrap();
            drop(medium);
            medium = fixture.open();
            let evidence = medium.efface_except(id(epoch)).unwrap();
            let before: Vec<_> = (1..epoch).rev().take(1).map(id).collect();
            assert_eq!(evidence.effaced, before);
            assert_eq!(medium.list().unwrap(), [id(epoch)]);
            assert!(holds(&medium, epoch));
            assert!(medium.read(id(epoch - 1)).unwrap().is_none());
        }
    }

    #[test]
    fn a_third_secret_and_one_that_is_there_are_refused_and_harm_nothing() {
        let fixture = Fixture::new();
        let mut medium = fixture.open();
        medium.prepare(id(1), &secret(1)).unwrap();
        assert!(matches!(medium.prepare(id(1), &secret(9)), Err(EffaceableError::There(_))));
        medium.prepare(id(2), &secret(2)).unwrap();
        assert!(matches!(medium.prepare(id(3), &secret(3)), Err(EffaceableError::Full)));
        assert!(holds(&medium, 1) && holds(&medium, 2));
    }

    #[test]
    fn nothing_is_effaced_where_the_secret_to_keep_is_not_there() {
        let fixture = Fixture::new();
        let mut medium = fixture.open();
        medium.prepare(id(1), &secret(1)).unwrap();
        let outcome = medium.efface_except(id(2));
        assert!(matches!(outcome, Err(EffaceableError::NothingKept(kept)) if kept == id(2)));
        assert!(holds(&medium, 1));
    }

    #[test]
    fn any_page_of_a_slot_is_needed() {
        let fixture = Fixture::new();
        let mut medium = fixture.open();
        medium.prepare(id(1), &secret(1)).unwrap();
        let raw = fixture.raw();
        for page in (0..SLOT).step_by(4096).step_by(17) {
            let mut kept = [0; 4096];
            raw.read_exact_at(&mut kept, FIRST_SLOT + page as u64).unwrap();
            raw.write_all_at(&[0; 4096], FIRST_SLOT + page as u64).unwrap();
            assert!(medium.slot(0).unwrap().is_none(), "page at {page}");
            raw.write_all_at(&kept, FIRST_SLOT + page as u64).unwrap();
        }
        assert!(holds(&medium, 1));
    }

    #[test]
    fn a_write_torn_at_any_sector_leaves_the_secret_in_force_and_a_slot_that_can_be_used() {
        let fixture = Fixture::new();
        let mut medium = fixture.open();
        medium.prepare(id(1), &secret(1)).unwrap();
        let before = std::fs::read(&fixture.path).unwrap();
        medium.prepare(id(2), &secret(2)).unwrap();
        let after = std::fs::read(&fixture.path).unwrap();
        let changed =
            (0..before.len()).step_by(512).filter(|at| before[*at..at + 512] != after[*at..at + 512]);
        let changed: Vec<_> = changed.collect();
        assert_eq!(changed.len(), SLOT / 512, "only the free slot is written");
        let raw = fixture.raw();
        for lost in [
            &changed[..1],
            &changed[changed.len() - 1..],
            &changed[700..],
            &changed[..700],
            &changed[300..301],
        ] {
            raw.write_all_at(&after, 0).unwrap();
            for at in lost {
                raw.write_all_at(&before[*at..at + 512], *at as u64).unwrap();
            }
            drop(medium);
            medium = fixture.open();
            assert_eq!(medium.list().unwrap(), [id(1)]);
            assert!(holds(&medium, 1));
            medium.prepare(id(3), &secret(3)).unwrap();
            assert_eq!(medium.efface_except(id(1)).unwrap().effaced, [id(3)]);
            assert!(holds(&medium, 1));
        }
    }

    #[test]
    fn remains_that_are_not_listed_are_overwritten_too() {
        let fixture = Fixture::new();
        let mut medium = fixture.open();
        medium.prepare(id(1), &secret(1)).unwrap();
        medium.prepare(id(2), &secret(2)).unwrap();
        let raw = fixture.raw();
        raw.write_all_at(&[0; 512], offset(1)).unwrap();
        let torn = std::fs::read(&fixture.path).unwrap();
        assert_eq!(medium.efface_except(id(1)).unwrap().effaced, []);
        let after = std::fs::read(&fixture.path).unwrap();
        let at = offset(1) as usize;
        assert!((at..after.len()).step_by(512).all(|at| torn[at..at + 512] != after[at..at + 512]));
        assert_eq!(torn[..at], after[..at]);
    }

    #[test]
    fn a_file_in_use_of_another_instance_cut_or_foreign_is_refused_and_not_changed() {
        let fixture = Fixture::new();
        let medium = fixture.open();
        assert!(matches!(fixture.refusal(), EffaceableError::Locked(_)));
        drop(medium);
        let other = FileMedium::open(&fixture.path, InstanceId([8; 16])).unwrap_err();
        assert!(matches!(other, EffaceableError::OtherInstance(_)));
        assert!(FileMedium::create(&fixture.path, INSTANCE).is_err());
        drop(fixture.open());
        let raw = fixture.raw();
        for length in [LENGTH + 1, LENGTH - 1, FIRST_SLOT, HEADER as u64] {
            raw.set_len(length).unwrap();
            assert!(matches!(fixture.refusal(), EffaceableError::Length { .. }));
            assert_eq!(raw.metadata().unwrap().len(), length);
        }
        raw.set_len(100).unwrap();
        assert!(matches!(fixture.refusal(), EffaceableError::NotAMedium(_)));
        raw.set_len(LENGTH).unwrap();
        assert!(matches!(fixture.refusal(), EffaceableError::NotAMedium(_)));
        std::fs::remove_file(&fixture.path).unwrap();
        assert!(matches!(fixture.refusal(), EffaceableError::Missing(_)));
    }

    #[test]
    fn a_newer_version_is_refused() {
        let fixture = Fixture::new();
        let mut newer = header(INSTANCE);
        newer[5] = 2;
        let sum = Sha256::digest(&newer[..HEADER_BODY]);
        newer[HEADER_BODY..].copy_from_slice(&sum);
        fixture.raw().write_all_at(&newer, 0).unwrap();
        assert!(matches!(fixture.refusal(), EffaceableError::Version(_)));
    }
}
