//! The census: what still used which version of a key, as far as clients have said.

use std::time::SystemTime;

use kms_core::{
    id::VersionId,
    names::{KeyName, TenantName},
};
use kms_proto::v1;

use super::{
    convert::{self, Unclear},
    tenants::client,
};
use crate::{error::Error, kms::Kms};

/// What is known of the uses of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// Its versions that are not destroyed, the oldest first.
    pub versions: Vec<VersionUse>,
    /// For how many days uses are kept.
    pub days_kept: u32,
    /// Of a family: uses under its subjects' keys, the oldest versions first.
    pub subjects: Vec<SubjectsUse>,
    /// The server has more of these than it told.
    pub more_subjects: bool,
}

/// Uses of those versions of a family's subjects that were made after as many rotations of the family. No subject is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectsUse {
    /// How often it had been rotated.
    pub rotations: u64,
    /// Whether it was rotated since: subjects have newer versions, or get them when they are next to seal.
    pub is_older: bool,
    /// What used them.
    pub columns: Vec<ColumnUse>,
    /// Who was leased some.
    pub holders: Vec<Holder>,
    /// Columns and holders that the server had no room for.
    pub left_out: u64,
}

/// Uses of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionUse {
    /// Its number.
    pub version: u32,
    /// Its address, as it stands in values.
    pub id: VersionId,
    /// What used it.
    pub columns: Vec<ColumnUse>,
    /// Who was leased it.
    pub holders: Vec<Holder>,
    /// Columns and holders that the server had no room for.
    pub left_out: u64,
}

/// Uses of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnUse {
    /// The table, as values are bound to it.
    pub table: String,
    /// The column.
    pub column: String,
    /// Values sealed.
    pub seals: u64,
    /// Values opened.
    pub opens: u64,
    /// Of those, values that a reseal opened: to seal them anew in their place, or to see whether their index is current.
    pub moved: u64,
    /// Beginning of the last day, in UTC, of which a use was reported; of one that moved values, where there was no other.
    pub last_day: SystemTime,
}

/// Somebody who was leased data keys of the version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Who.
    pub identity: String,
    /// The last day on which it was leased some.
    pub last_leased_day: SystemTime,
    /// The last day on which it said what it did with them; `None`: never.
    pub last_report_day: Option<SystemTime>,
}

impl VersionUse {
    /// Whether everybody who held a lease has said something since, and the server had room for all that was said. Not that all was
    /// said: a client keeps the uses of 10,000 columns until it tells them, each subject's version apart, and leaves out what is more;
    /// and what was done under a lease after its holder's last call is told with the next.
    pub fn is_complete(&self) -> bool {
        is_complete(&self.holders, self.left_out)
    }

    /// Uses on or after a moment; what only moved values is none.
    pub fn used_since(&self, moment: SystemTime) -> impl Iterator<Item = &ColumnUse> {
        self.columns.iter().filter(move |column| column.keeps_in_use() && column.last_day >= moment)
    }
}

impl SubjectsUse {
    /// As [`VersionUse::is_complete`].
    pub fn is_complete(&self) -> bool {
        is_complete(&self.holders, self.left_out)
    }
}

impl ColumnUse {
    /// Whether there was a use that still needs the version: any but those that moved values.
    pub fn keeps_in_use(&self) -> bool {
        self.seals > 0 || self.opens > self.moved
    }
}

fn is_complete(holders: &[Holder], left_out: u64) -> bool {
    let said = |holder: &Holder| holder.last_report_day.is_some_and(|day| day >= holder.last_leased_day);
    left_out == 0 && holders.iter().all(said)
}

impl Kms {
    /// What still used which version of a key.
    pub async fn census(&self, tenant: &TenantName, key: &KeyName) -> Result<Census, Error> {
        let message = v1::CensusRequest { tenant: tenant.to_string(), key: key.to_string() };
        let called =
            self.call(message, |channel, request| async move { client(channel).census(request).await });
        called.await?.convert(|census| {
            let versions = census.versions.into_iter().map(version).collect::<Result<_, _>>()?;
            let subjects = census.subjects.into_iter().map(subjects).collect::<Result<_, _>>()?;
            let (days_kept, more_subjects) = (census.days_kept, census.more_subjects);
            Ok(Census { versions, days_kept, subjects, more_subjects })
        })
    }
}

fn version(message: v1::VersionUse) -> Result<VersionUse, Unclear> {
    Ok(VersionUse {
        version: message.version,
        id: message.version_id.into(),
        columns: message.columns.into_iter().map(column).collect::<Result<_, _>>()?,
        holders: message.holders.into_iter().map(holder).collect::<Result<_, _>>()?,
        left_out: message.left_out,
    })
}

fn subjects(message: v1::SubjectsUse) -> Result<SubjectsUse, Unclear> {
    Ok(SubjectsUse {
        rotations: message.rotations,
        is_older: message.is_older,
        columns: message.columns.into_iter().map(column).collect::<Result<_, _>>()?,
        holders: message.holders.into_iter().map(holder).collect::<Result<_, _>>()?,
        left_out: message.left_out,
    })
}

fn column(used: v1::ColumnUse) -> Result<ColumnUse, Unclear> {
    Ok(ColumnUse {
        table: used.table,
        column: used.column,
        seals: used.seals,
        opens: used.opens,
        moved: used.moved,
        last_day: convert::time(used.last_day)?,
    })
}

fn holder(holder: v1::LeaseHolder) -> Result<Holder, Unclear> {
    Ok(Holder {
        identity: holder.identity,
        last_leased_day: convert::time(holder.last_leased_day)?,
        last_report_day: convert::optional_time(holder.last_report_day)?,
    })
}
