//! `kms tenant`, `kms key`: what operators type.

use std::time::Duration;

use clap::{Args, Subcommand};
use kms_core::{
    names::{FamilyName, KeyName, TenantName},
    state::{DestroyReason, KeyClass},
};

use crate::words;

/// `kms tenant`
#[derive(Debug, Subcommand)]
pub enum Tenant {
    /// Creates a tenant
    Create {
        /// Name: a-z, 0-9, and after the first also `.`, `_`, `-`; it never changes
        tenant: TenantName,
        /// A label for people
        #[arg(long, default_value = "")]
        label: String,
    },
    /// Shows a tenant
    Describe {
        /// Its name
        tenant: TenantName,
    },
    /// Lists the tenants
    List,
    /// Destroys a tenant with every key it ever had
    Destroy {
        /// Its name
        tenant: TenantName,
        /// When, and why
        #[command(flatten)]
        terms: Destruction,
    },
    /// Calls off a destruction that is scheduled
    CancelDestroy {
        /// Its name
        tenant: TenantName,
    },
}

/// When and why something is destroyed.
#[derive(Debug, Args)]
pub struct Destruction {
    /// Destroys at once. Without it a single version goes at once, anything wider in 7 days
    #[arg(long, conflicts_with = "after")]
    pub now: bool,
    /// Destroys after this time; can be called off until then, and what is to go opens and does not seal
    #[arg(long = "in", value_name = "TIME", value_parser = words::duration)]
    pub after: Option<Duration>,
    /// Why: retention-ended, subject-request, contract-ended, compromise, superseded, test, other
    #[arg(long, value_name = "CODE")]
    pub reason: DestroyReason,
    /// Reference into your ticket system
    #[arg(long, value_name = "REF", default_value = "")]
    pub ticket: String,
}

/// The tenant that a key belongs to.
#[derive(Debug, Args)]
pub struct OfTenant {
    /// The tenant that the key belongs to
    #[arg(long = "tenant", value_name = "T")]
    pub tenant: TenantName,
}

/// `kms key`
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Creates a key with its first version, a family, or the key of one subject
    Create {
        /// Name: a-z, 0-9, and after the first also `.`, `_`, `-`; or FAMILY/SUBJECT, also where its key was destroyed
        key: KeyName,
        /// Whose
        #[command(flatten)]
        of: OfTenant,
        /// Makes a family: it seals nothing itself, its subjects do, each under a key of its own with the settings given here
        #[arg(long)]
        family: bool,
        /// How sensitive the data is: L1 public or nearly so; L2 the usual; L3 the audit is on disk before an answer leaves; L4 as
        /// L3, and no data key leaves the server, which seals and opens each value itself. It never changes [default: L2]
        #[arg(long, value_name = "L1..L4")]
        class: Option<KeyClass>,
        /// What the key may be used for, as policy sees it
        #[arg(id = "purpose", long = "purpose", value_name = "WORD")]
        purposes: Vec<String>,
        /// How often it should be rotated, such as `90d`
        #[arg(long, value_name = "TIME", value_parser = words::duration)]
        rotate_every: Option<Duration>,
        /// How long a client may hold a data key, such as `5m`
        #[arg(long, value_name = "TIME", value_parser = words::duration)]
        lease: Option<Duration>,
    },
    /// Sees that subjects of a family have keys, but those whose key was destroyed
    Ensure {
        /// The family
        family: FamilyName,
        /// Whose
        #[command(flatten)]
        of: OfTenant,
        /// Names of subjects; `-` for one a line on stdin, which keeps them out of the list of processes
        #[arg(required = true, value_name = "SUBJECT")]
        subjects: Vec<String>,
    },
    /// Lists the keys of a tenant, or those of a family's subjects
    List {
        /// Whose
        #[command(flatten)]
        of: OfTenant,
        /// Lists the keys of this family's subjects, by id: their names are stored nowhere
        #[arg(long, value_name = "FAMILY")]
        family: Option<FamilyName>,
    },
    /// Shows a key and its versions
    Describe(OneKey),
    /// Shows what still used which version, as far as clients have said, and who has not said it
    Census(OneKey),
    /// Makes a new active version; older ones open on
    Rotate {
        /// Which
        #[command(flatten)]
        which: OneKey,
        /// Deterministic columns move to the new version too, and must be resealed
        #[arg(long)]
        deterministic: bool,
    },
    /// Stops a key: it neither seals nor opens until resumed
    Suspend(OneKey),
    /// Lets a suspended key work again
    Resume(OneKey),
    /// Destroys one version, or all: what they sealed never opens again
    #[command(group = clap::ArgGroup::new("target").required(true).args(["version", "all"]))]
    Destroy {
        /// Which
        #[command(flatten)]
        which: OneKey,
        /// The version to destroy
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        version: Option<u32>,
        /// Destroys every version
        #[arg(long)]
        all: bool,
        /// When, and why
        #[command(flatten)]
        terms: Destruction,
        /// Destroys a version although it is in use, or clients hold leases to seal under it: what is sealed under it is lost
        #[arg(long)]
        force: bool,
    },
    /// Calls off a destruction that is scheduled
    #[command(group = clap::ArgGroup::new("target").required(true).args(["version", "all"]))]
    CancelDestroy {
        /// Which
        #[command(flatten)]
        which: OneKey,
        /// The version whose destruction is scheduled
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        version: Option<u32>,
        /// The key as a whole
        #[arg(long)]
        all: bool,
    },
}

/// `kms clock`
#[derive(Debug, Subcommand)]
pub enum Clock {
    /// Says that the server's clock is right although it went forward: what is scheduled, and waits since then, goes on
    Confirm,
}

/// A key by name.
#[derive(Debug, Args)]
pub struct OneKey {
    /// NAME, or FAMILY/SUBJECT, or FAMILY//ID by the subject's id
    pub key: KeyName,
    /// Whose
    #[command(flatten)]
    pub of: OfTenant,
}
