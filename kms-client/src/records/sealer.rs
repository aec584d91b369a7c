//! One column without waiting: for whoever seals by the million on a thread of their own.

use std::sync::Arc;

use kms_core::names::RecordId;

use super::{Column, Records, column::seal_error, seal::releases_none};
use crate::{
    error::Error,
    lease::{Lease, Prepared, Stop, Want},
};

/// How many seals are taken from the budget at a time.
const BLOCK: u64 = 256;

/// Seals values of one column without waiting, until its lease has to be renewed.
///
/// ```no_run
/// # use kms_client::{ColumnSealer, Error, Pause, RecordId};
/// # async fn example(mut sealer: ColumnSealer, row: RecordId) -> Result<Vec<u8>, Error> {
/// loop {
///     match sealer.seal(&row, b"value") {
///         Ok(sealed) => return Ok(sealed),
///         Err(Pause::Renew) => sealer.renew().await?,
///         Err(Pause::Failed(error)) => return Err(error),
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct ColumnSealer {
    records: Records,
    column: Column,
    want: Want,
    lease: Arc<Lease>,
    prepared: Arc<Prepared>,
    taken: u64,
}

/// Why a value was not sealed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Pause {
    /// The lease or its budget is used up: call [`ColumnSealer::renew`], then seal again.
    #[error("the lease has to be renewed")]
    Renew,
    /// This value cannot be sealed.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl Records {
    /// A sealer of one column, with a lease at hand. Each thread wants its own.
    ///
    /// `None` where the key releases no data keys (class L4): seal with [`Records::seal_batch`] then.
    ///
    /// # Errors
    /// Where there is no lease to be had.
    pub async fn sealer(&self, column: &Column) -> Result<Option<ColumnSealer>, Error> {
        if self.kms.shared.leases.releases_none(&self.scope.tenant, &self.key) {
            return Ok(None);
        }
        let want = self.want_to_seal(column.is_deterministic());
        let lease = match self.kms.lease(&want).await {
            Ok(lease) => lease,
            Err(error) if releases_none(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let prepared = prepare(&lease, column)?;
        Ok(Some(ColumnSealer {
            records: self.clone(),
            column: column.clone(),
            want,
            lease,
            prepared,
            taken: 0,
        }))
    }
}

impl ColumnSealer {
    /// Seals a value. Never waits, allocates nothing but the result.
    ///
    /// # Errors
    /// [`Pause::Renew`] where the lease has to be renewed first.
    pub fn seal(&mut self, record: &RecordId, plaintext: &[u8]) -> Result<Vec<u8>, Pause> {
        if self.taken == 0 {
            self.taken = self.lease.take_seals(&self.prepared, BLOCK).map_err(|_: Stop| Pause::Renew)?;
            self.records.kms.after_use(&self.want, &self.lease);
        }
        let sealed = self.lease.seal_taken(&self.prepared, record, plaintext);
        let sealed = sealed.map_err(|_: Stop| Pause::Renew)?;
        self.taken -= 1;
        sealed.map_err(|error| Pause::Failed(seal_error(&error)))
    }

    /// Takes the lease that is current now, and waits for one where there is none.
    ///
    /// # Errors
    /// Where there is no lease to be had.
    pub async fn renew(&mut self) -> Result<(), Error> {
        let kms = &self.records.kms;
        let lease = kms.lease_after(&self.want, &self.lease).await?;
        let prepared = prepare(&lease, &self.column)?;
        self.prepared.give_back(std::mem::take(&mut self.taken));
        (self.lease, self.prepared) = (lease, prepared);
        Ok(())
    }

    /// The column.
    pub fn column(&self) -> &Column {
        &self.column
    }
}

impl Drop for ColumnSealer {
    fn drop(&mut self) {
        self.prepared.give_back(self.taken);
    }
}

fn prepare(lease: &Lease, column: &Column) -> Result<Arc<Prepared>, Error> {
    let prepared = lease.prepared_for_one(column.table(), column.column());
    prepared
        .map_err(|_: Stop| Error::Local("the lease ended as it began; is the server's lease time too short?"))
}
