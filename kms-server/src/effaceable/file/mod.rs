//! The medium `file`: one preallocated file with two slots, each as large as the spread of one secret.
//!
//! Effacing overwrites a slot in place, syncs, reads it back from below the page cache, and looks whether the file still lies where it lay
//! when the secret was written. What the disk does with that is looked into at each effacement ([`survey`]) and said in the evidence.
//!
//! # Layout
//! - this file: the medium; `layout`: its bytes; `disk`, `extents`: how they reach the disk, and where on it they lie.
//! - [`survey`]: what lies below the file; [`worth`]: what an overwrite is worth there.
//!
//! ATTACK: who can read this file before an effacement has the secret; who can write it can destroy the store. It belongs on another
//! file system than any copy of the data directory goes to.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use kms_core::{canonical::Text, id::InstanceId, secret::EpochSecret};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

mod disk;
mod extents;
mod layout;
pub mod survey;
#[cfg(test)]
mod tests;
pub mod worth;

use self::{
    disk::ReadBack,
    extents::{Extents, Places},
    layout::{HEADER, Header, Held, LENGTH, MediumId, SLOT, offset},
    survey::Facts,
    worth::{Judgement, judge},
};
use super::{
    Effaceable, EffaceableClass, EffaceableError, Evidence, KeptElsewhere, MediumName, SLOTS, SecretId,
    Worth, afsplit, lock::lock,
};

/// What the operator says of the place of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// Go on where an overwrite means nothing; certificates then say so.
    pub accept_unsuitable: bool,
    /// It is a magnetic disk that overwrites in place, without cache of flash or shingled tracks. Believed only where nothing found speaks against it.
    pub declared_magnetic: bool,
}

impl Terms {
    /// Any place will do; no standard is claimed.
    pub const ANYWHERE: Self = Self { accept_unsuitable: true, declared_magnetic: false };
}

/// The open file, locked.
#[derive(Debug)]
pub struct FileMedium {
    file: File,
    path: PathBuf,
    instance: InstanceId,
    id: MediumId,
    terms: Terms,
    /// What the slots held when they were last looked at: a slot in force is never taken for a free one.
    known: [Option<SecretId>; SLOTS],
}

impl FileMedium {
    /// Makes the file wherever it shall lie; for an instance in earnest see [`Self::create_on`].
    ///
    /// # Errors
    /// Where something is there already, or it cannot be written.
    pub fn create(path: &Path, instance: InstanceId) -> Result<Self, EffaceableError> {
        Self::create_on(path, instance, Terms::ANYWHERE)
    }

    /// Opens the file of this instance wherever it lies; for an instance in earnest see [`Self::open_on`].
    ///
    /// # Errors
    /// As [`Self::open_on`], but for the place.
    pub fn open(path: &Path, instance: InstanceId) -> Result<Self, EffaceableError> {
        Self::open_on(path, instance, Terms::ANYWHERE)
    }

    /// Makes the file, filled with random bytes so that nothing of it is a hole or was never written.
    ///
    /// # Errors
    /// Where something is there already, it cannot be written, or overwriting means nothing there and the terms do not accept that: then no
    /// file stays.
    pub fn create_on(path: &Path, instance: InstanceId, terms: Terms) -> Result<Self, EffaceableError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(path)?;
        let mut medium = Self::locked(file, path, instance, terms)?;
        if let Err(unsuitable) = medium.suitable() {
            std::fs::remove_file(path)?;
            return Err(unsuitable);
        }
        for slot in 0..SLOTS {
            medium.overwrite(slot)?;
        }
        getrandom::fill(&mut medium.id).map_err(no_random)?;
        // ORDER: the header is last; without it, nothing here is a medium.
        medium.file.write_all_at(&layout::header(instance, medium.id), 0)?;
        medium.file.sync_all()?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(medium)
    }

    /// Opens the file of this instance.
    ///
    /// # Errors
    /// Where it is in use, of another instance, cut, not a medium at all, or overwriting means nothing where it lies and the terms do not
    /// accept that. It is not changed.
    pub fn open_on(path: &Path, instance: InstanceId, terms: Terms) -> Result<Self, EffaceableError> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(EffaceableError::Missing(path.into()));
            }
            opened => opened?,
        };
        let mut medium = Self::locked(file, path, instance, terms)?;
        let metadata = medium.file.metadata()?;
        if !metadata.is_file() || metadata.len() < HEADER as u64 {
            return Err(EffaceableError::NotAMedium(path.into()));
        }
        let mut found = [0; HEADER];
        medium.file.read_exact_at(&mut found, 0)?;
        match layout::parse_header(&found) {
            Header::Foreign => return Err(EffaceableError::NotAMedium(path.into())),
            Header::Newer => return Err(EffaceableError::Version(path.into())),
            Header::Of(other, _) if other != instance => {
                return Err(EffaceableError::OtherInstance(path.into()));
            }
            Header::Of(_, id) => medium.id = id,
        }
        if metadata.len() != LENGTH {
            let (path, length) = (path.into(), metadata.len());
            return Err(EffaceableError::Length { path, length, wanted: LENGTH });
        }
        medium.suitable()?;
        medium.known = medium.ids()?;
        Ok(medium)
    }

    /// What overwriting is worth where it lies now.
    ///
    /// # Errors
    /// Where that cannot be looked into.
    pub fn worth(&self) -> Result<Worth, EffaceableError> {
        self.judge().map(|(judgement, _)| judgement.worth)
    }

    /// What overwriting would be worth there, for a file that is there or still to be made. Changes and locks nothing.
    ///
    /// # Errors
    /// Where that cannot be looked into.
    pub fn look_at(path: &Path, terms: Terms) -> Result<Judgement, EffaceableError> {
        // A file that may not be read is judged by its directory, a directory that is still to be made by the one above.
        let found = path.ancestors().find_map(|place| File::open(place).ok());
        let found =
            found.or_else(|| File::open(".").ok()).ok_or_else(|| EffaceableError::Missing(path.into()))?;
        Ok(judge(&Facts::of(&found)?, terms.declared_magnetic))
    }

    fn locked(file: File, path: &Path, instance: InstanceId, terms: Terms) -> Result<Self, EffaceableError> {
        let (path, id, known) = (path.to_path_buf(), MediumId::default(), [None; SLOTS]);
        match lock(&file)? {
            true => Ok(Self { file, path, instance, id, terms, known }),
            false => Err(EffaceableError::Locked(path)),
        }
    }

    fn judge(&self) -> Result<(Judgement, Option<Places>), EffaceableError> {
        let facts = Facts::of(&self.file)?;
        let places = facts.extents.map(|extents| extents.places);
        Ok((judge(&facts, self.terms.declared_magnetic), places))
    }

    /// What an overwrite is worth here, unless it is worth nothing and that is not accepted.
    fn suitable(&self) -> Result<(Worth, Option<Places>), EffaceableError> {
        let (judgement, places) = self.judge()?;
        match judgement.unsuitable {
            Some(why) if !self.terms.accept_unsuitable => {
                Err(EffaceableError::Unsuitable { path: self.path.clone(), why })
            }
            _ => Ok((judgement.worth, places)),
        }
    }

    fn places(&self) -> Result<Option<Places>, EffaceableError> {
        Ok(Extents::of(&self.file)?.map(|extents| extents.places))
    }

    fn held(&self) -> Result<[Option<Held>; SLOTS], EffaceableError> {
        Ok([self.slot(0)?, self.slot(1)?])
    }

    fn ids(&self) -> Result<[Option<SecretId>; SLOTS], EffaceableError> {
        Ok(self.held()?.map(|held| held.map(|held| held.id)))
    }

    /// What a slot holds; `None` where that cannot be put together.
    fn slot(&self, slot: usize) -> Result<Option<Held>, EffaceableError> {
        let mut spread = Zeroizing::new(vec![0; SLOT]);
        self.file.read_exact_at(&mut spread, offset(slot))?;
        Ok(layout::parse(&afsplit::merge(&spread), self.instance))
    }

    /// Overwrites a slot with random bytes, durably, and reads them back.
    fn overwrite(&self, slot: usize) -> Result<ReadBack, EffaceableError> {
        let mut random = vec![0; SLOT];
        getrandom::fill(&mut random).map_err(no_random)?;
        self.write(&random, slot)
    }

    fn write(&self, bytes: &[u8], slot: usize) -> Result<ReadBack, EffaceableError> {
        disk::write(&self.file, bytes, offset(slot))?
            .ok_or_else(|| EffaceableError::ReadBack(self.path.clone()))
    }

    /// Overwrites slots, with what they hold. One that lists nothing may hold most of a half-written secret: it is overwritten too.
    fn efface(
        &mut self,
        slots: impl Iterator<Item = (usize, Option<Held>)>,
    ) -> Result<Evidence, EffaceableError> {
        let (worth, before) = self.suitable()?;
        let (mut effaced, mut moved, mut how) = (Vec::new(), false, ReadBack::Direct);
        for (slot, held) in slots {
            if let Some(held) = held {
                moved |= held.places != before;
                effaced.push(held.id);
            }
            if self.overwrite(slot)? == ReadBack::AfterDrop {
                how = ReadBack::AfterDrop;
            }
            self.known[slot] = None;
        }
        moved |= self.places()? != before;
        Ok(evidence(effaced, worth, how, before.is_some().then_some(moved)))
    }
}

/// `moved`: whether the file lies elsewhere than where the secrets were written; `None` where the file system does not say.
fn evidence(effaced: Vec<SecretId>, worth: Worth, how: ReadBack, moved: Option<bool>) -> Evidence {
    let extents = match moved {
        Some(false) => "extents unchanged since the secret was written (FIEMAP)",
        Some(true) => {
            "extents changed since the secret was written (FIEMAP): the places before were not overwritten"
        }
        None => "the file system does not say where its extents lie",
    };
    let (class, assurance) = match moved {
        Some(true) => (
            EffaceableClass::None,
            Text::lossy("none claimed: the file was moved on its disk while it held the secret"),
        ),
        _ => (worth.class, worth.assurance),
    };
    Evidence {
        effaced,
        class,
        assurance,
        technique: Text::lossy(
            "the slot of 1 MiB over which the secret was spread (anti-forensic split) was overwritten in place with random bytes, fdatasync",
        ),
        media: worth.media,
        verification: Text::lossy(&format!("every byte {}; {extents}", how.words())),
    }
}

impl Effaceable for FileMedium {
    fn class(&self) -> EffaceableClass {
        self.worth().map_or(EffaceableClass::None, |worth| worth.class)
    }

    fn name(&self) -> MediumName {
        MediumName { kind: "file".into(), id: hex::encode(self.id), place: self.path.display().to_string() }
    }

    fn prepare(&mut self, id: SecretId, secret: &EpochSecret) -> Result<(), EffaceableError> {
        if self.known.contains(&Some(id)) {
            return Err(EffaceableError::There(id));
        }
        let Some(free) = self.known.iter().position(Option::is_none) else {
            return Err(EffaceableError::Full);
        };
        let mut spread = Zeroizing::new(vec![0; SLOT]);
        let block = layout::block(id, secret, self.places()?, self.instance);
        afsplit::split(&block, &mut spread).map_err(no_random)?;
        // ORDER: the other slot is not touched; a crash here leaves this one as random bytes, or whole.
        self.write(&spread, free)?;
        match self.slot(free)? {
            Some(held)
                if held.id == id && held.secret.expose_secret().ct_eq(secret.expose_secret()).into() =>
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
                Some(held) if held.id == id => return Ok(Some(held.secret)),
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
        let held = self.held()?;
        let Some(kept) = held.iter().position(|held| held.as_ref().is_some_and(|held| held.id == keep))
        else {
            return Err(EffaceableError::NothingKept(keep));
        };
        let evidence = self.efface(held.into_iter().enumerate().filter(|(slot, _)| *slot != kept))?;
        match self.slot(kept)?.is_some_and(|held| held.id == keep) {
            true => Ok(evidence),
            false => Err(EffaceableError::ReadBack(self.path.clone())),
        }
    }

    fn efface_all(&mut self, _: &KeptElsewhere) -> Result<Evidence, EffaceableError> {
        let held = self.held()?;
        self.efface(held.into_iter().enumerate())
    }
}

fn no_random(error: getrandom::Error) -> io::Error {
    io::Error::other(error.to_string())
}
