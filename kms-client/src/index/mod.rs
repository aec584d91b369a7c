//! Blind indexes: a few bits of a keyed hash beside a sealed column, so that equal values can be found without opening them.
//!
//! ```no_run
//! # async fn example(kms: kms_client::Kms) -> Result<(), Box<dyn std::error::Error>> {
//! use kms_client::{IndexedColumn, Normalizer};
//!
//! let index = kms.index(&"acme".parse()?, &"attendance.index".parse()?);
//! let phone = IndexedColumn::new("checkins", "phone", "eq", 20)?;
//! let stored = index.value(&phone, &Normalizer::Phone.normalize("+86 138 0013 8000")).await?;
//! // SELECT … WHERE phone_index IN (…), and what comes is opened and compared: 20 bits say "perhaps".
//! let probes = index.probes(&phone, &Normalizer::Phone.normalize("+86-138-0013-8000")).await?;
//! assert!(probes.contains(&stored));
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//! - this file: values and probes, under leases that hold every live version of the index key.
//! - `column`: one index of one column.
//! - `normalize`: what is equal to what, before it is hashed.

mod column;
mod normalize;
#[cfg(test)]
mod tests;

use kms_core::{
    id::VersionId,
    names::{KeyName, TenantName},
};
use kms_proto::reason::Reason;

pub use column::IndexedColumn;
pub use normalize::{Normalizer, UnknownNormalizer};

use crate::{
    clock::BootTime,
    error::Error,
    kms::Kms,
    lease::{IndexKeys, Scope, Want, What},
};

/// Makes blind indexes under one index key of one tenant.
#[derive(Debug, Clone)]
pub struct Indexes {
    kms: Kms,
    scope: Scope,
    key: KeyName,
}

/// One value to make an index of.
#[derive(Clone, Copy)]
pub struct ToIndex<'a> {
    /// Which index of which column.
    pub column: &'a IndexedColumn,
    /// The value as its normalizer left it.
    pub normalized: &'a [u8],
}

/// The versions of an index key that a client has under lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexVersions {
    /// Those that rows are looked for under, the newest first.
    pub live: Vec<VersionId>,
    /// The one that new rows are indexed under; `None` where the key takes no new values. For a lease's time after a rotation it is
    /// still the version before, because clients that do not know the new one would miss what is indexed under it.
    pub writes_under: Option<VersionId>,
}

impl IndexVersions {
    /// Whether rows are indexed under the newest version, so that those of older versions can be indexed anew.
    pub fn are_settled(&self) -> bool {
        self.writes_under.is_some() && self.writes_under.as_ref() == self.live.first()
    }
}

impl std::fmt::Debug for ToIndex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { column, normalized } = self;
        f.debug_struct("ToIndex")
            .field("column", column)
            .field("normalized", &format_args!("<{} bytes>", normalized.len()))
            .finish()
    }
}

impl Kms {
    /// Makes blind indexes under an index key of a tenant, one named `*.index`. Cheap; leases are shared by all clones of the client.
    pub fn index(&self, tenant: &TenantName, key: &KeyName) -> Indexes {
        let scope = Scope { tenant: tenant.clone(), purpose: self.terms.purpose.clone() };
        Indexes { kms: self.clone(), scope, key: key.clone() }
    }
}

impl Indexes {
    /// The same, stating a purpose to policy, whatever [`Kms::with_purpose`] said.
    #[must_use]
    pub fn with_purpose(mut self, purpose: &str) -> Self {
        self.scope.purpose = purpose.into();
        self
    }

    /// Whose key it is.
    pub fn tenant(&self) -> &TenantName {
        &self.scope.tenant
    }

    /// The index key.
    pub fn key(&self) -> &KeyName {
        &self.key
    }

    /// What stands beside a new value in its row. It says nothing of its version.
    ///
    /// # Errors
    /// Where there is no lease to be had, or the key takes no new values.
    pub async fn value(&self, column: &IndexedColumn, normalized: &[u8]) -> Result<Vec<u8>, Error> {
        self.leased(|keys, now| keys.value(column, normalized, now)).await?.ok_or(NO_NEW_VALUES)
    }

    /// The same for many values, in order. Makes one call where the lease is cold, none where it is warm.
    ///
    /// # Errors
    /// As [`Indexes::value`]; all fail together, since all are made under one lease or the one that follows it.
    pub async fn values(&self, items: &[ToIndex<'_>]) -> Result<Vec<Vec<u8>>, Error> {
        let mut values = Vec::with_capacity(items.len());
        for stretch in items.chunks(STRETCH) {
            let of_stretch = self.leased(|keys, now| {
                stretch
                    .iter()
                    .map(|item| keys.value(item.column, item.normalized, now))
                    .collect::<Option<Vec<_>>>()
            });
            values.extend(of_stretch.await?.ok_or(NO_NEW_VALUES)?);
            tokio::task::yield_now().await;
        }
        Ok(values)
    }

    /// What can stand beside an equal value, under any live version: a row whose index is among them is opened and compared.
    ///
    /// # Errors
    /// Where there is no lease to be had.
    pub async fn probes(&self, column: &IndexedColumn, normalized: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        self.leased(|keys, _| keys.probes(column, normalized)).await
    }

    /// The versions under lease.
    ///
    /// # Errors
    /// Where there is no lease to be had.
    pub async fn versions(&self) -> Result<IndexVersions, Error> {
        self.leased(IndexKeys::versions).await
    }

    /// Waits until new rows are indexed under the newest version: until then indexing rows anew leaves them where they are. After a
    /// rotation that takes up to a lease's time.
    ///
    /// # Errors
    /// Where there is no lease to be had, or the key takes no new values.
    pub async fn settled(&self) -> Result<IndexVersions, Error> {
        loop {
            // Asked anew each time: a lease from before a rotation does not know of it.
            let want = self.want();
            if let Some(before) = self.kms.shared.leases.peek(&want) {
                self.kms.lease_after(&want, &before).await?;
            }
            let (versions, settles) = self.leased(|keys, now| (keys.versions(now), keys.settles())).await?;
            if versions.writes_under.is_none() {
                return Err(NO_NEW_VALUES);
            }
            let Some(settles) = settles else { return Ok(versions) };
            self.kms.shared.leases.clock().sleep_until(settles).await;
        }
    }

    fn want(&self) -> Want {
        Want { scope: self.scope.clone(), what: What::Index { key: self.key.clone() } }
    }

    async fn leased<R>(&self, use_it: impl Fn(&IndexKeys, BootTime) -> R) -> Result<R, Error> {
        let want = self.want();
        let mut lease = self.kms.lease(&want).await?;
        for _ in 0..FRUITLESS {
            match lease.with_index_keys(|keys| use_it(keys, self.kms.shared.leases.now())) {
                Ok(used) => return Ok(used),
                Err(_) => lease = self.kms.lease_after(&want, &lease).await?,
            }
        }
        Err(OVER)
    }
}

/// Found on this side: the lease says so.
const NO_NEW_VALUES: Error = Error::Value { reason: Reason::KeyDeactivated };
const OVER: Error = Error::Local("leases end before they can be used; is the server's lease time too short?");
/// How often in a row a lease may end before it did anything.
const FRUITLESS: u32 = 3;
/// Values between two looks at whether other tasks want to run.
const STRETCH: usize = 1_024;
