//! `kms audit`, `kms policy`: what compliance and security ask.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kms_core::names::{FamilyName, KeyName, TenantName};
use kms_server::audit::Pin;

use crate::words;

/// `kms audit`
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Shows lines, oldest first
    Query {
        /// Which
        #[command(flatten)]
        filter: AuditFilter,
        /// Stops after this many
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
    /// Shows lines as they are written, until interrupted
    Tail {
        /// Which
        #[command(flatten)]
        filter: AuditFilter,
    },
    /// Writes the segments as they stand on the server's disk into a directory, for `verify` and for keeping
    Export {
        /// First segment wanted
        #[arg(long, value_name = "N", default_value_t = 0)]
        from_segment: u64,
        /// Directory to write; made where absent
        dir: PathBuf,
    },
    /// Checks an export offline: finds an edited, cut or reordered line
    Verify {
        /// Directory that `export` wrote, or the server's own
        dir: PathBuf,
        /// File with the public key that must have signed the heads, kept from elsewhere; without it, `audit.pub` of the
        /// directory, which proves only that lines and key fit together
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// A head known from elsewhere, such as what the last `verify` printed: shows that the end was not cut off
        #[arg(long, value_name = "COUNT:HASH")]
        pin: Option<Pin>,
        /// Where the first segment must begin, if older ones were deleted: the head that `verify` printed then
        #[arg(long, value_name = "COUNT:HASH")]
        start: Option<Pin>,
    },
    /// Deletes segments on the server that an export holds
    Delete {
        /// The last segment to delete
        #[arg(long, value_name = "N")]
        through_segment: u64,
        /// The export that holds them; it is verified first
        #[arg(long, value_name = "DIR")]
        export: PathBuf,
    },
}

/// Conditions that a line must meet, all of them.
#[derive(Debug, Default, Args)]
pub struct AuditFilter {
    /// Of this tenant
    #[arg(long, value_name = "T")]
    pub tenant: Option<TenantName>,
    /// Of this key
    #[arg(long, value_name = "K")]
    pub key: Option<KeyName>,
    /// By this identity: `spiffe://dev.local/attendance` or `spki:sha256:HEX`, in full
    #[arg(long, value_name = "ID", value_parser = words::identity)]
    pub identity: Option<String>,
    /// Of this operation, such as `Encrypt`
    #[arg(long, value_name = "OP", value_parser = words::operation)]
    pub operation: Option<String>,
    /// With this outcome
    #[arg(long, value_parser = ["allowed", "denied", "failed"])]
    pub outcome: Option<String>,
    /// Of this call
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,
    /// From this moment on: RFC 3339, or a time ago such as `2h`
    #[arg(long, value_name = "WHEN", value_parser = words::moment)]
    pub from: Option<std::time::SystemTime>,
    /// Before this moment
    #[arg(long, value_name = "WHEN", value_parser = words::moment)]
    pub until: Option<std::time::SystemTime>,
}

/// `kms policy`
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Checks a directory of policies offline, as strictly as the server does
    Check {
        /// The directory
        dir: PathBuf,
        /// Compares its masks with what a program says of its columns: the derive's description, as JSON. Exit code 1 where they
        /// differ. Give it once for each file
        #[arg(long = "schema", value_name = "FILE")]
        schemas: Vec<PathBuf>,
    },
    /// Shows what the server reveals of which column, and in which form
    Masks {
        /// Of this key or family only
        #[arg(long, value_name = "K")]
        key: Option<FamilyName>,
        /// Compares what the server has with what a program says of its columns, as `check` does
        #[arg(long = "schema", value_name = "FILE")]
        schemas: Vec<PathBuf>,
    },
    /// Prints what a program says of its columns, for a review: keys, modes, indexes, masks, and what each gives away. Offline
    Schema {
        /// The derive's description, as JSON
        #[arg(required = true, value_name = "FILE")]
        schemas: Vec<PathBuf>,
    },
    /// Asks the server what it would decide, and why
    #[command(after_help = after_operations())]
    Explain {
        /// Whose request: a SPIFFE ID or `spki:sha256:HEX`
        #[arg(long = "as", value_name = "IDENTITY", value_parser = words::identity)]
        identity: String,
        /// What they would do
        #[arg(long, value_name = "OP", value_parser = words::operation)]
        operation: String,
        /// With whose key
        #[arg(long, value_name = "T")]
        tenant: Option<TenantName>,
        /// With which key
        #[arg(long, value_name = "K", requires = "tenant")]
        key: Option<KeyName>,
        /// For which purpose
        #[arg(long, value_name = "WORD", default_value = "")]
        purpose: String,
    },
}

fn after_operations() -> String {
    let all: Vec<_> = kms_server::operation::Operation::ALL.iter().map(|o| o.as_str()).collect();
    format!("Operations: {}.", all.join(", "))
}
