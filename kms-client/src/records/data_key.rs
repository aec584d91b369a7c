//! A leased data key for formats other than fields, as sealed files.

use std::sync::Arc;

use kms_core::{
    id::{DataKeyId, VersionId},
    secret::DataKey,
};
use kms_proto::reason::Reason;

use super::{Records, open::other_key};
use crate::{error::Error, lease::Lease};

/// A data key under lease, to derive other keys from.
#[derive(Debug, Clone)]
pub struct DataKeyLease {
    lease: Arc<Lease>,
}

impl Records {
    /// The data key that seals now.
    ///
    /// # Errors
    /// Where there is no lease to be had; keys of class L4 release none.
    pub async fn data_key_to_seal(&self) -> Result<DataKeyLease, Error> {
        Ok(DataKeyLease { lease: self.kms.lease(&self.want_to_seal(false)).await? })
    }

    /// The data key that a header names.
    ///
    /// # Errors
    /// Where there is no lease to be had, or the data key belongs to another key than this.
    pub async fn data_key_to_open(
        &self,
        version: VersionId,
        data_key: DataKeyId,
    ) -> Result<DataKeyLease, Error> {
        if data_key.is_server_own() {
            return Err(Error::Value { reason: Reason::ServerOwnDataKey });
        }
        let lease = self.kms.lease(&self.want_to_open((version, data_key))).await?;
        if *lease.key() != self.key {
            return Err(other_key(&lease, &self.key));
        }
        Ok(DataKeyLease { lease })
    }
}

impl DataKeyLease {
    /// The version it was derived from.
    pub fn version(&self) -> VersionId {
        self.lease.version()
    }

    /// Which data key of that version.
    pub fn data_key_id(&self) -> DataKeyId {
        self.lease.data_key_id()
    }

    /// Shows the data key to `use_it`; what is derived from it is the caller's to wipe.
    ///
    /// # Errors
    /// Where the lease has ended: ask for another.
    pub fn with_data_key<R>(&self, use_it: impl FnOnce(&DataKey) -> R) -> Result<R, Error> {
        let used = self.lease.with_data_key(use_it);
        used.map_err(|_| Error::Unsupported("the lease of the data key has ended; ask for another"))
    }
}
