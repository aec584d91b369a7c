//! Which version seals under a key now. What is under it stays; what is under another is older, once that has been made sure.

use std::collections::{HashMap, HashSet};

use kms_core::{
    field::{Header, Kind},
    id::VersionId,
    names::{KeyName, RecordId},
};
use kms_proto::reason::Reason;

use crate::{
    error::Error,
    records::{Column, Records},
};

/// Row that nobody has: where the server seals by itself, a value sealed for it says under which version.
const NO_ROW: &[u8] = b"kms reseal";
/// Keys that are remembered: subjects come by the million.
const REMEMBERED: usize = 20_000;

/// A key, and whether equal values stay equal under it.
pub(super) type Under = (KeyName, bool);

/// A key that was met.
#[derive(Debug)]
pub(super) struct Met<'c> {
    /// A column whose values are to be under it.
    pub(super) column: &'c Column,
    /// Versions that values of it are under.
    pub(super) versions: HashSet<VersionId>,
}

/// What seals under each key that was met.
#[derive(Debug, Default)]
pub(super) struct Newest {
    known: HashMap<Under, Known>,
}

#[derive(Debug)]
struct Known {
    seals: Result<(Kind, VersionId), Error>,
    /// Versions that are known to be older.
    older: HashSet<VersionId>,
}

impl Newest {
    /// How values are sealed now; or why the key seals nothing any more.
    pub(super) fn of(&self, under: &Under) -> Result<(Kind, VersionId), Error> {
        match self.known.get(under).map(|known| &known.seals) {
            Some(seals) => seals.clone(),
            None => Err(Error::Local("a key was met and not asked about")),
        }
    }

    /// A key that seals.
    pub(super) fn any(&self) -> Option<Under> {
        self.known.iter().find_map(|(under, known)| known.seals.is_ok().then(|| under.clone()))
    }

    /// Asks about a key again when it is met next.
    pub(super) fn forget(&mut self, key: &KeyName) {
        self.known.retain(|(known, _), _| known != key);
    }

    /// Makes sure of keys, and of versions that were met under them: in one call, however many keys they are.
    // INVARIANT: nothing is sealed back: our lease may be older than what a live writer has sealed under by now. What was met before
    // we asked, and is not what we are told, is older.
    pub(super) async fn meet(
        &mut self,
        records: &Records,
        met: HashMap<Under, Met<'_>>,
    ) -> Result<(), Error> {
        if self.known.len() > REMEMBERED {
            self.known.clear();
        }
        let (under, met): (Vec<Under>, Vec<_>) =
            met.into_iter().filter(|(under, met)| self.is_unsure(under, &met.versions)).unzip();
        if under.is_empty() {
            return Ok(());
        }
        let told = records.sealing_versions_anew(&under).await;
        for ((under, Met { column, versions }), told) in under.into_iter().zip(met).zip(told) {
            let seals = match told {
                Ok(version) if under.1 => Ok((Kind::Deterministic, version)),
                Ok(version) => Ok((Kind::Randomized, version)),
                Err(error) if error.reason() == Some(Reason::ClassReleasesNoDataKeys) => {
                    ask_server(&records.under(&under.0), column).await
                }
                Err(error) => Err(error),
            };
            // Of one subject it concerns its rows; of the key of a table all of them.
            if let Err(error) = &seals
                && !(under.0.subject().is_some() && is_about_one_key(error))
            {
                return Err(error.clone());
            }
            let known = self
                .known
                .entry(under)
                .or_insert_with(|| Known { seals: seals.clone(), older: HashSet::new() });
            known.older.extend(known.seals.as_ref().ok().map(|(_, before)| *before));
            known.older.extend(versions);
            if let Ok((_, version)) = &seals {
                known.older.remove(version);
            }
            known.seals = seals;
        }
        Ok(())
    }

    fn is_unsure(&self, under: &Under, met: &HashSet<VersionId>) -> bool {
        let Some(known) = self.known.get(under) else { return true };
        let Ok((_, version)) = &known.seals else { return false };
        met.iter().any(|met| met != version && !known.older.contains(met))
    }
}

/// Whether what went wrong with a row's value may go well with another row's.
pub(super) fn concerns_one_row(key: &KeyName, error: &Error) -> bool {
    error.is_about_one_value() || (key.subject().is_some() && is_about_one_key(error))
}

/// Whether other keys may still be used.
fn is_about_one_key(error: &Error) -> bool {
    error.is_about_one_value()
        || matches!(error.reason(), Some(Reason::KeySuspended | Reason::KeyDeactivated | Reason::KeyIsFamily))
}

/// Has the server seal: the header says under which version it does.
async fn ask_server(records: &Records, column: &Column) -> Result<(Kind, VersionId), Error> {
    let sealed = records.seal(column, &RecordId::try_from(NO_ROW)?, b"").await?;
    let header = Header::parse(&sealed)
        .map_err(|_| Error::Unsupported("the key centre sealed a value in a form unknown here"))?;
    Ok((header.kind, header.version))
}
