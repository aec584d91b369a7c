//! `kms-server dev`: everything a server needs, made on first use.
pub mod authority;
