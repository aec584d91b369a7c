//! Values of (table, column, record id), sealed and opened here with leased data keys (KF1), singly and in batches.
//!
//! # Layout
//! - `column`: where values stand and how they are sealed.
//! - `seal`, `open`: batches. A warm batch makes no call, a cold one makes one.
//! - `values`, `grouped`: what a batch is made of, and what parts of it have in common.
//! - `stretch`: values one after another under one lease.
//! - `remote`: what the server seals and opens itself: keys of class L4, and data keys that it keeps.
//! - `reveal`: masked forms, which only the server makes.
//! - `sealer`: one column without waiting, for whoever seals by the million.
//! - `data_key`: a leased data key for other formats, as files.

mod column;
mod data_key;
mod grouped;
mod open;
mod remote;
mod reveal;
mod seal;
mod sealer;
mod stretch;
#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

use kms_core::{
    id::VersionId,
    names::{KeyName, RecordId, TenantName},
    secret::Plaintext,
};

pub use column::{Column, ToOpenField, ToSealField};
pub use data_key::DataKeyLease;
pub(crate) use grouped::Grouped;
pub use sealer::{ColumnSealer, Pause};
pub(crate) use values::{Results, Under, Values};

use crate::{
    error::Error,
    kms::Kms,
    lease::{Lease, Scope, Want, What},
};

/// Seals and opens values under one key of one tenant.
#[derive(Debug, Clone)]
pub struct Records {
    kms: Kms,
    scope: Scope,
    key: KeyName,
    /// Whether what is opened is to be sealed anew: the census counts that apart.
    moves: bool,
}

impl Kms {
    /// Seals and opens values under one key of one tenant. Cheap; leases are shared by all clones of the client.
    pub fn records(&self, tenant: &TenantName, key: &KeyName) -> Records {
        let scope = Scope { tenant: tenant.clone(), purpose: self.terms.purpose.clone() };
        Records { kms: self.clone(), scope, key: key.clone(), moves: false }
    }
}

impl Records {
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

    /// The key.
    pub fn key(&self) -> &KeyName {
        &self.key
    }

    /// Seals one value.
    ///
    /// # Errors
    /// Where there is no lease to be had, or the value cannot be sealed.
    pub async fn seal(&self, column: &Column, record: &RecordId, plaintext: &[u8]) -> Result<Vec<u8>, Error> {
        let mut sealed = self.seal_batch(&[ToSealField { column, record, plaintext }]).await;
        sealed.pop().unwrap_or(Err(NO_RESULT))
    }

    /// Opens one value.
    ///
    /// # Errors
    /// Where there is no lease to be had; or the value does not open in this place, without saying why.
    pub async fn open(
        &self,
        column: &Column,
        record: &RecordId,
        ciphertext: &[u8],
    ) -> Result<Plaintext, Error> {
        let mut opened = self.open_batch(&[ToOpenField { column, record, ciphertext }]).await;
        opened.pop().unwrap_or(Err(NO_RESULT))
    }

    /// The version that seals values now; those sealed under another are due for a reseal.
    ///
    /// # Errors
    /// Where there is no lease to be had; keys of class L4 release none.
    pub async fn sealing_version(&self, column: &Column) -> Result<VersionId, Error> {
        Ok(self.kms.lease(&self.want_to_seal(column.is_deterministic())).await?.version())
    }

    /// The same for other keys of the tenant and kinds of columns, asked of the server whatever leases are at hand; in order.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) async fn sealing_versions_anew(
        &self,
        under: &[(KeyName, bool)],
    ) -> Vec<Result<VersionId, Error>> {
        let want = |(key, deterministic): &(KeyName, bool)| self.under(key).want_to_seal(*deterministic);
        let wants: Vec<Want> = under.iter().map(want).collect();
        let leased = self.kms.leases_anew(&self.scope, &wants).await;
        leased.into_iter().map(|lease| Ok(lease?.version())).collect()
    }

    /// Index keys of the same tenant, for the same purpose.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn indexes(&self, key: &KeyName) -> crate::index::Indexes {
        self.kms.index(&self.scope.tenant, key).with_purpose(&self.scope.purpose)
    }

    /// The class of one of the tenant's keys, as the server said it last.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn class_of(&self, key: &KeyName) -> Option<kms_core::state::KeyClass> {
        self.kms.shared.leases.class_of(&self.scope.tenant, key)
    }

    /// Whether what was done with the tenant's keys did not all fit into the last call.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn has_more_to_tell(&self) -> bool {
        self.kms.shared.leases.has_more_to_tell(&self.scope.tenant)
    }

    /// The same, by whom values are opened in order to seal them anew in their place: that holds up the destruction of no version.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn moving(self, moves: bool) -> Self {
        Self { moves, ..self }
    }

    /// Sees that subjects of one of the tenant's families have keys, for the same purpose.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) async fn ensure_subjects(
        &self,
        family: &kms_core::names::FamilyName,
        subjects: &[kms_core::names::SubjectName],
    ) -> Vec<Result<crate::api::Subject, Error>> {
        self.kms.ensure_for(&self.scope.tenant, family, &self.scope.purpose, subjects).await
    }

    /// The same, in the name of another key.
    pub(crate) fn under(&self, key: &KeyName) -> Self {
        Self { kms: self.kms.clone(), scope: self.scope.clone(), key: key.clone(), moves: self.moves }
    }

    /// Leases at hand or fetched, in order; all that are missing come in one call.
    async fn leases(&self, wants: &[Want]) -> Vec<Result<Arc<Lease>, Error>> {
        match wants {
            [want] => vec![self.kms.lease(want).await],
            wants => self.kms.leases(&self.scope, wants).await,
        }
    }

    pub(crate) fn want_to_seal(&self, deterministic: bool) -> Want {
        Want { scope: self.scope.clone(), what: What::Seal { key: self.key.clone(), deterministic } }
    }
}

/// Stands where a result is filled in before anybody sees it.
const NO_RESULT: Error = Error::Local("an item of a batch was left without a result");
/// How often in a row a lease may end before it did anything.
const FRUITLESS: u32 = 3;
/// Items between two looks at whether other tasks want to run.
const STRETCH: usize = 1_024;
