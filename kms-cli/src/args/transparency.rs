//! `kms cert`, `kms verify`, `kms log`: the proof of a destruction, whether it holds, and the log it rests on.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use kms_core::{
    id::Uid,
    names::{KeyName, SubjectName, TenantName},
};

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
    /// The tenant's uid, where its name was given away again; it stands in the log and in the operator's answer to its destruction
    #[arg(long, value_name = "HEX", conflicts_with = "key", value_parser = uid)]
    pub uid: Option<Uid>,
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
    /// Of a subject named in `--key`: where to write the salt that its name stands in the certificate with; `OUT.salt` where this is left
    /// out. Hand it to those who may know whom the certificate is about (for `kms verify --name`)
    #[arg(long, value_name = "FILE", requires = "key")]
    pub salt: Option<PathBuf>,
    /// Where to write it; `-` is standard output
    pub out: PathBuf,
}

/// 16 bytes in hexadecimal.
fn uid(text: &str) -> Result<Uid, &'static str> {
    let bytes = hex::decode(text).ok().and_then(|bytes| Uid::try_from(bytes.as_slice()).ok());
    bytes.ok_or("must be 32 hexadecimal digits")
}

/// `kms verify`
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 erased, 1 invalid, 3 erased with residual risks that the policy does not accept (without a policy: any), \
                  4 the erasure is still pending, 2 wrong usage: a file that is not what it should be."
)]
pub struct Verify {
    /// The certificate; `-` is standard input
    pub certificate: PathBuf,
    /// The log's public key, from elsewhere than the certificate (`kms log key`)
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// What is asked for, and which risks are accepted; TOML: `minimum_class`, `approvals`, `accept`, `witnesses`, `log_key`
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// A checkpoint of the log, from elsewhere (`kms log checkpoint`)
    #[arg(long, value_name = "FILE")]
    pub pin: Option<PathBuf>,
    /// The whole log (`kms log mirror`); every entry is read
    #[arg(long, value_name = "DIR")]
    pub mirror: Option<PathBuf>,
    /// The subject whose key it is to have been: its name, without the family's
    #[arg(long, value_name = "SUBJECT", requires = "salt")]
    pub name: Option<SubjectName>,
    /// The salt that came with the certificate
    #[arg(long, value_name = "FILE", requires = "name")]
    pub salt: Option<PathBuf>,
    /// Writes what was found as one HTML page that prints well, to be filed
    #[arg(long, value_name = "OUT.html")]
    pub report: Option<PathBuf>,
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
    /// Hands in a checkpoint that witnesses cosigned: certificates carry their signatures from then on
    Cosign {
        /// A checkpoint of `kms log checkpoint` with the witnesses' lines under it (C2SP tlog-cosignature)
        file: PathBuf,
    },
    /// Saves the whole log in the C2SP tlog-tiles layout; run again, it adds what is new
    Mirror {
        /// Directory to write; made where absent
        dir: PathBuf,
    },
}
