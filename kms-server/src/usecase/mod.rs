//! What the key centre does, one file each. A use case takes its permit by value and returns an [`Unrecorded`] result.
//!
//! # Layout
//! - data plane: [`seal`], [`open`], [`reveal`], [`reencrypt`], [`envelope_key`], [`lease`], [`lease_index`], [`random`].
//! - tenants: [`create_tenant`], [`change_tenant`], [`destroy_tenant`]; keys: [`create_key`], [`subjects`], [`change_key`],
//!   [`rotate_key`], [`destroy_key`]; reading both: [`describe`], [`census`].
//! - later: [`schedule_key`], [`schedule_tenant`], [`confirm_clock`]; [`due`] carries out what fell due; `schedule` keeps the rows.
//! - what policy says: [`explain`], [`list_masks`].
//! - compliance: [`read_audit`], [`read_log`], [`certify`].
//! - what they share: [`refused`], [`mutation`] (idempotence), [`revision`], `data_key_ids`.
//!
//! [`Unrecorded`]: crate::gate::Unrecorded

pub mod census;
pub mod certify;
pub mod change_key;
pub mod change_tenant;
pub mod confirm_clock;
pub mod create_key;
pub mod create_tenant;
mod data_key_ids;
pub mod describe;
pub mod destroy_key;
pub mod destroy_tenant;
pub mod due;
pub mod envelope_key;
pub mod explain;
mod follow_family;
pub mod lease;
pub mod lease_index;
pub mod list_masks;
pub mod mutation;
pub mod open;
pub mod random;
pub mod read_audit;
pub mod read_log;
pub mod reencrypt;
pub mod refused;
pub mod reveal;
pub mod revision;
pub mod rotate_key;
mod schedule;
pub mod schedule_key;
pub mod schedule_tenant;
pub mod seal;
pub mod subjects;
