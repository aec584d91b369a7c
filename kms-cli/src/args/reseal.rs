//! `kms reseal`: a table of a database, in place.

use std::{fmt, num::NonZeroU32, path::PathBuf};

use clap::Args;
use kms_core::names::{KeyName, TableName, TenantName};

/// `kms reseal`
#[derive(Debug, Args)]
#[command(after_help = "\
Walks the table by its id, opens what is not under the version that seals now, and seals it again: in small transactions, and only \
where a row still holds what was read, so that applications go on writing meanwhile. A killed run has lost nothing: run it again. \
It ends when a whole walk found nothing to do; then the older version can be destroyed, once the leases under it have ended.\n\n\
The record id that binds a value to its row is the id's text; where values were bound to other or further columns, name these with \
`--bind` in the order of the application. NULL stays NULL. Values are `kf1.` text or bytes.\n\n\
A blind index named by `--index` is made anew in the same walk, where it is not what the newest version of its key makes of the value. \
After a rotation of the index key the run waits first, up to a lease's time, until applications index new rows under it.\n\n\
With `--schema`, the description that `#[derive(Protect)]` gives of a struct says all of that: `serde_json::to_string(CheckIn::SCHEMA)`. \
Then values of its `previous(..)` schemes move to the present one, and what was never sealed is sealed, where and as long as \
`allow_plaintext(..)` takes it: look at `--dry-run` first, for whoever can write to the database can write such values.\n\n\
Exit code 0: nothing is left. 7: some cells do not open, or live writers go on writing under an older version. Rows of a subject whose \
key is destroyed are passed over and named.")]
pub struct Reseal {
    /// `sqlite:PATH` or `postgres://USER@HOST/DATABASE`; a password is better kept in PGPASSWORD or a password file
    #[arg(long, env = "KMS_DATABASE", hide_env_values = true, value_name = "URL")]
    pub database: DatabaseUrl,
    /// Whose rows
    #[arg(long, value_name = "T")]
    pub tenant: TenantName,
    /// A file with the table's schema in JSON, as the derive describes it: in place of key, columns, indexes and what binds them
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "key", "table", "columns", "indexes", "bind", "tenant_column", "per"
    ])]
    pub schema: Option<PathBuf>,
    /// The key; with `--per` the family
    #[arg(long, value_name = "K", required_unless_present = "schema")]
    pub key: Option<KeyName>,
    /// Name that the values are bound to, usually that of the table
    #[arg(long, value_name = "NAME", required_unless_present = "schema")]
    pub table: Option<TableName>,
    /// The column with the row ids: integers, text or UUIDs, unique
    #[arg(long, value_name = "COLUMN", required_unless_present = "schema")]
    pub id: Option<String>,
    /// A column to reseal; `NAME:deterministic` keeps equal values equal. Give it once for each column
    #[arg(long = "column", value_name = "COLUMN[:deterministic]", required_unless_present = "schema")]
    pub columns: Vec<String>,
    /// A blind index to make anew, of a column that is named: how many bits it keeps, how values are normalized [default: none], under
    /// which key [default: K.index], and its own name [default: eq]
    #[arg(long = "index", value_name = "COLUMN=INDEX_COLUMN,bits=N[,normalize=RULE][,key=K][,name=NAME]")]
    pub indexes: Vec<String>,
    /// The column that names a row's subject, where each has a key of its own
    #[arg(long, value_name = "COLUMN")]
    pub per: Option<String>,
    /// The table as the database names it, where that is another name; PostgreSQL takes `SCHEMA.TABLE` too
    #[arg(long, value_name = "NAME")]
    pub sql_table: Option<String>,
    /// A column that values are bound to, where that is not `--id` alone. Give it once for each column
    #[arg(long, value_name = "COLUMN")]
    pub bind: Vec<String>,
    /// The column that says whose a row is, where tenants share the table: rows of others are passed over
    #[arg(long, value_name = "COLUMN")]
    pub tenant_column: Option<String>,
    /// Opens what is to be resealed, and writes nothing to the table
    #[arg(long)]
    pub dry_run: bool,
    /// Writes at most so many rows a second
    #[arg(long, value_name = "ROWS")]
    pub rate: Option<NonZeroU32>,
}

/// Where a database is, perhaps with a password: never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(pub String);

impl From<&str> for DatabaseUrl {
    fn from(word: &str) -> Self {
        Self(word.into())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(<hidden>)")
    }
}
