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
    /// Beginning of the last day, in UTC, of which a use was reported.
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
    /// Whether everybody who held a lease has said since what was done under it, and there was room for all of it.
    pub fn is_complete(&self) -> bool {
        let said = |holder: &Holder| holder.last_report_day.is_some_and(|day| day >= holder.last_leased_day);
        self.left_out == 0 && self.holders.iter().all(said)
    }

    /// Uses on or after a moment.
    pub fn used_since(&self, moment: SystemTime) -> impl Iterator<Item = &ColumnUse> {
        self.columns.iter().filter(move |column| column.last_day >= moment)
    }
}

impl Kms {
    /// What still used which version of a key.
    pub async fn census(&self, tenant: &TenantName, key: &KeyName) -> Result<Census, Error> {
        let message = v1::CensusRequest { tenant: tenant.to_string(), key: key.to_string() };
        let called =
            self.call(message, |channel, request| async move { client(channel).census(request).await });
        called.await?.convert(|census| {
            let versions = census.versions.into_iter().map(version).collect::<Result<_, _>>()?;
            Ok(Census { versions, days_kept: census.days_kept })
        })
    }
}

fn version(message: v1::VersionUse) -> Result<VersionUse, Unclear> {
    let column = |used: v1::ColumnUse| {
        Ok(ColumnUse {
            table: used.table,
            column: used.column,
            seals: used.seals,
            opens: used.opens,
            last_day: convert::time(used.last_day)?,
        })
    };
    let holder = |holder: v1::LeaseHolder| {
        Ok(Holder {
            identity: holder.identity,
            last_leased_day: convert::time(holder.last_leased_day)?,
            last_report_day: convert::optional_time(holder.last_report_day)?,
        })
    };
    Ok(VersionUse {
        version: message.version,
        id: message.version_id.into(),
        columns: message.columns.into_iter().map(column).collect::<Result<_, Unclear>>()?,
        holders: message.holders.into_iter().map(holder).collect::<Result<_, Unclear>>()?,
        left_out: message.left_out,
    })
}
