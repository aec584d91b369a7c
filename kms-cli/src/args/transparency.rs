//! `kms cert`, `kms log`: the proof of a destruction, and the log it rests on.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use kms_core::names::{KeyName, TenantName};

use crate::words;

/// `kms cert`
#[derive(Debug, Subcommand)]
pub enum Cert {
    /// Gets the certificate that a version, a key or a tenant is destroyed; `kms verify` checks it
    Get(GetCert),
}

/// `kms cert get`
#[derive(Debug, Args)]
pub struct GetCert {
    /// The tenant; without `--key`, the certificate is about the tenant with all its keys
    #[arg(long, value_name = "T")]
    pub tenant: TenantName,
    /// The key; without `--version`, the certificate is about every version that it had
    #[arg(long, value_name = "K")]
    pub key: Option<KeyName>,
    /// The version
    #[arg(long, value_name = "N", requires = "key", value_parser = clap::value_parser!(u32).range(1..))]
    pub version: Option<u32>,
    /// Waits so long for what is still to happen: secrets to be effaced, leases to end
    #[arg(long, value_name = "TIME", value_parser = words::duration)]
    pub wait: Option<Duration>,
    /// An earlier checkpoint of yours: the certificate will prove that it goes on from it (for `kms verify --pin`)
    #[arg(long, value_name = "FILE")]
    pub since: Vec<PathBuf>,
    /// Where to write it; `-` is standard output
    pub out: PathBuf,
}

/// `kms log`
#[derive(Debug, Subcommand)]
pub enum Log {
    /// Saves the log's signed head (a C2SP checkpoint), to be compared with later ones
    Checkpoint {
        /// Where to write it; `-` is standard output
        out: PathBuf,
    },
    /// Saves the log's public key (a C2SP verifier key, one line); compare it with one that came another way
    Key {
        /// Where to write it; `-` is standard output
        out: PathBuf,
    },
    /// Saves the whole log in the C2SP tlog-tiles layout; run again, it adds what is new
    Mirror {
        /// Directory to write; made where absent
        dir: PathBuf,
    },
}
