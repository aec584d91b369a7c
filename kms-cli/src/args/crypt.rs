//! `kms encrypt`, `kms decrypt`, `kms reveal`, `kms reencrypt`, and the key they name.

use clap::Args;
use kms_core::names::{ColumnName, KeyName, TableName, TenantName};

/// The key to seal or open with.
#[derive(Debug, Args)]
pub struct WithKey {
    /// The tenant that the key belongs to
    #[arg(long, value_name = "T")]
    pub tenant: TenantName,
    /// The key
    #[arg(long, value_name = "K")]
    pub key: KeyName,
}

/// `kms encrypt`, `kms decrypt`
#[derive(Debug, Args)]
pub struct Crypt {
    /// With what
    #[command(flatten)]
    pub with: WithKey,
    /// Binds the ciphertext to a pair that must be given again to open it; any number, in any order
    #[arg(long, value_name = "NAME=VALUE")]
    pub context: Vec<ContextPair>,
}

/// One pair of a context as typed. Checked only by [`crate::words::context`], for clap would print what it refuses.
#[derive(Clone, PartialEq, Eq)]
pub struct ContextPair(pub String);

impl From<&str> for ContextPair {
    fn from(word: &str) -> Self {
        Self(word.into())
    }
}

impl std::fmt::Debug for ContextPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ContextPair(..)")
    }
}

/// `kms reveal`
#[derive(Debug, Args)]
pub struct Reveal {
    /// With what; a family where its subjects sealed the value
    #[command(flatten)]
    pub with: WithKey,
    /// Table that the value is bound to
    #[arg(long, value_name = "NAME")]
    pub table: TableName,
    /// Column that the value is bound to
    #[arg(long, value_name = "NAME")]
    pub column: ColumnName,
    /// Record id that the value is bound to
    #[arg(long, value_name = "ID")]
    pub record: String,
}

/// `kms reencrypt`
#[derive(Debug, Args)]
pub struct Reencrypt {
    /// With what, and how it was bound
    #[command(flatten)]
    pub from: Crypt,
    /// Seals under this key instead
    #[arg(long, value_name = "K")]
    pub to_key: Option<KeyName>,
    /// Binds to these pairs instead of those of --context
    #[arg(long, value_name = "NAME=VALUE", conflicts_with = "no_context")]
    pub to_context: Vec<ContextPair>,
    /// Binds to no context
    #[arg(long)]
    pub no_context: bool,
}
