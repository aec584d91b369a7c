//! Generated messages and services; the `.proto` files beside this crate are the source.
//!
//! # Layout
//! - [`v1`]: the served API, package `kms.v1`.
//! - [`storage`]: what the server stores, package `kms.storage.v1`.
//! - [`reason`], [`refusal`]: why a call was refused, and how that is written in a status.
//! - [`codec`]: how messages become bytes.
//! - `redact`: `Debug` for messages that carry plaintext or keys.

pub mod codec;
pub mod reason;
mod redact;
pub mod refusal;

/// The served API, package `kms.v1`.
pub mod v1 {
    tonic::include_proto!("kms.v1");

    /// The encoded descriptors of the package, for reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kms_v1_descriptor.bin"));
}

/// What the server stores, package `kms.storage.v1`.
pub mod storage {
    tonic::include_proto!("kms.storage.v1");
}
