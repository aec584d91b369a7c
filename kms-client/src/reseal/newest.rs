//! Which version seals a column now. What is under it stays; what is under another is older, once that has been made sure.

use std::collections::HashSet;

use kms_core::{
    field::{Header, Kind},
    id::VersionId,
    names::RecordId,
};
use kms_proto::reason::Reason;

use crate::{
    error::Error,
    records::{Column, Records},
};

/// Row that nobody has: where the server seals by itself, a value sealed for it says under which version.
const NO_ROW: &[u8] = b"kms reseal";

/// What seals one column.
#[derive(Debug)]
pub(super) struct Newest {
    column: Column,
    kind: Kind,
    version: VersionId,
    /// Versions that are known to be older.
    older: HashSet<VersionId>,
}

impl Newest {
    pub(super) async fn of(records: &Records, column: &Column) -> Result<Self, Error> {
        let (kind, version) = ask(records, column).await?;
        Ok(Self { column: column.clone(), kind, version, older: HashSet::new() })
    }

    /// Whether a value needs no reseal.
    pub(super) fn is_that_of(&self, header: &Header) -> bool {
        self.kind == header.kind && self.version == header.version
    }

    /// Makes sure of versions that were met.
    // INVARIANT: nothing is sealed back: our lease may be older than what a live writer has sealed under by now. What was met before
    // we asked, and is not what we are told, is older.
    pub(super) async fn meet(
        &mut self,
        records: &Records,
        met: impl Iterator<Item = VersionId>,
    ) -> Result<(), Error> {
        let unknown: Vec<_> = met.filter(|v| *v != self.version && !self.older.contains(v)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let (kind, version) = ask(records, &self.column).await?;
        if version != self.version {
            self.older.insert(self.version);
        }
        self.older.extend(unknown.into_iter().filter(|met| *met != version));
        (self.kind, self.version) = (kind, version);
        Ok(())
    }
}

/// Asks the server, whatever lease is at hand.
async fn ask(records: &Records, column: &Column) -> Result<(Kind, VersionId), Error> {
    let kind = if column.is_deterministic() { Kind::Deterministic } else { Kind::Randomized };
    match records.sealing_version_anew(column).await {
        Ok(version) => Ok((kind, version)),
        Err(error) if error.reason() == Some(Reason::ClassReleasesNoDataKeys) => {
            let sealed = records.seal(column, &RecordId::try_from(NO_ROW)?, b"").await?;
            let header = Header::parse(&sealed)
                .map_err(|_| Error::Unsupported("the key centre sealed a value in a form unknown here"))?;
            Ok((header.kind, header.version))
        }
        Err(error) => Err(error),
    }
}
