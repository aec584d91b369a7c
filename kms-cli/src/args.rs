//! What can be typed. The names here are a contract with scripts: they are added to, never changed.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use kms_core::{
    names::{KeyName, TableName, TenantName},
    state::{DestroyReason, KeyClass},
};

use kms_server::audit::Pin;

use crate::words;

/// The key centre from the command line: tenants, keys, files, columns, audit, policy.
#[derive(Debug, Parser)]
#[command(
    name = "kms",
    version,
    max_term_width = 110,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 5 denied, 6 server unreachable, \
                  7 some items failed and the rest is done.\n\
                  New here? `kms demo` tells the whole story in a few seconds."
)]
pub struct Cli {
    /// Profile: TOML with `endpoint`, `ca`, `cert` and `key` (paths relative to the file)
    #[arg(
        long,
        global = true,
        env = "KMS_PROFILE",
        value_name = "FILE",
        help_heading = "Connection and output"
    )]
    pub profile: Option<PathBuf>,
    /// How results, and errors on stderr, are written
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORM",
        help_heading = "Connection and output"
    )]
    pub output: Output,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tenants: the unit of isolation
    #[command(subcommand)]
    Tenant(Tenant),
    /// Keys of a tenant, and their versions
    #[command(subcommand)]
    Key(Key),
    /// Seals what comes on stdin, under the active version of a key
    Encrypt(Crypt),
    /// Opens what comes on stdin
    Decrypt(Crypt),
    /// Opens and seals again, under the active version, another key or another context; the plaintext stays on the server
    Reencrypt(Reencrypt),
    /// Seals, opens or reseals columns of a CSV or JSON Lines file
    #[command(subcommand)]
    Columns(Columns),
    /// Seals a file of any size
    SealFile(WholeFile),
    /// Opens a file that `seal-file` made; a cut or reordered file does not open
    OpenFile(WholeFile),
    /// Who did what, allowed by which rule
    #[command(subcommand)]
    Audit(Audit),
    /// Policies: checked here, explained by the server
    #[command(subcommand)]
    Policy(Policy),
    /// Shows the whole story on a server of its own, in a temporary directory
    Demo,
    /// Measures a server of its own against a bare echo with the same TLS
    Bench(Bench),
    /// Prints a completion script
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// The server, for `demo` and `bench`: the command line of `kms-server`.
    #[command(name = "__server", hide = true, disable_help_flag = true)]
    Server {
        /// As for `kms-server`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// The bare echo, for `bench`.
    #[command(name = "__echo", hide = true)]
    Echo {
        /// A server's data directory, for its certificates.
        #[arg(long)]
        data: PathBuf,
    },
}

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
}

/// When and why something is destroyed.
#[derive(Debug, Args)]
pub struct Destruction {
    /// Destroys at once. Without it a single version goes at once, anything wider in 7 days (not in this release)
    #[arg(long, conflicts_with = "after")]
    pub now: bool,
    /// Destroys after this time; can be cancelled until then (not in this release)
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
    /// Creates a key with its first version
    Create {
        /// Name: a-z, 0-9, and after the first also `.`, `_`, `-`
        key: KeyName,
        /// Whose
        #[command(flatten)]
        of: OfTenant,
        /// Makes a family, which has subjects (not in this release)
        #[arg(long)]
        family: bool,
        /// How sensitive the data is: L1 to L4
        #[arg(long, default_value = "L2")]
        class: KeyClass,
        /// What the key may be used for, as policy sees it
        #[arg(long = "purpose", value_name = "WORD")]
        purposes: Vec<String>,
        /// How often it should be rotated, such as `90d`
        #[arg(long, value_name = "TIME", value_parser = words::duration)]
        rotate_every: Option<Duration>,
        /// How long a client may hold a data key, such as `5m`
        #[arg(long, value_name = "TIME", value_parser = words::duration)]
        lease: Option<Duration>,
    },
    /// Lists the keys of a tenant
    List {
        /// Whose
        #[command(flatten)]
        of: OfTenant,
    },
    /// Shows a key and its versions
    Describe(OneKey),
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
        /// Destroys the active version although clients hold leases to seal under it: what they sealed is lost
        #[arg(long)]
        force: bool,
    },
}

/// A key by name.
#[derive(Debug, Args)]
pub struct OneKey {
    /// NAME, or FAMILY/SUBJECT
    pub key: KeyName,
    /// Whose
    #[command(flatten)]
    pub of: OfTenant,
}

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

/// One pair of a context as typed. Checked only by [`words::context`], for clap would print what it refuses.
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

/// `kms columns`
#[derive(Debug, Subcommand)]
pub enum Columns {
    /// Plaintext to `kf1.` text
    Seal(ColumnsJob),
    /// `kf1.` text to plaintext
    Open(OpenJob),
    /// `kf1.` text to `kf1.` text under the active version; what is already under it stays as it is
    Reseal(OpenJob),
}

/// Which cells of which file.
#[derive(Debug, Args)]
#[command(after_help = "\
What is not named is written back as it was: byte-order mark, line endings, delimiter, column order, quoting, line breaks inside
quotes. Blank lines are dropped and counted. An empty CSV cell is sealed too; a JSON value that is absent or null stays so. A
JSON value that is not text is sealed into a string that remembers it (\"\\u006bf1.…\"), so that it opens as what it was.

The record id binds each cell to its row: it must be present and not empty. That ids are unique is up to you: cells of two
rows with the same id could be exchanged without anybody noticing.

A deterministic column shows which rows hold equal values, so that you can search and join; its cells are not bound to their
rows. OUT is written whole or not at all. At the end stderr says rows, cells, key-server calls and seconds.")]
pub struct ColumnsJob {
    /// With what
    #[command(flatten)]
    pub with: WithKey,
    /// Name that the cells are bound to, usually that of the database table
    #[arg(long, value_name = "NAME")]
    pub table: TableName,
    /// The column that holds the record id
    #[arg(long, value_name = "COLUMN")]
    pub id: String,
    /// A column to turn; `NAME:deterministic` keeps equal values equal. Give it once for each column
    #[arg(long = "column", value_name = "COLUMN[:deterministic]", required = true)]
    pub columns: Vec<String>,
    /// How the file is written; without it, the extension says it
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<FileFormat>,
    /// What divides the cells of a CSV row; `\t` is a tab
    #[arg(long, value_name = "CHAR", value_parser = words::delimiter)]
    pub delimiter: Option<char>,
    /// File to read; `-` is stdin
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// File to write; `-` is stdout
    #[arg(value_name = "OUT")]
    pub out: PathBuf,
}

/// `kms columns open`, `kms columns reseal`
#[derive(Debug, Args)]
pub struct OpenJob {
    /// Which cells
    #[command(flatten)]
    pub job: ColumnsJob,
    /// A cell that does not open stays sealed, and the run goes on; it then ends with exit code 7
    #[arg(long)]
    pub keep_going: bool,
}

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    /// Comma-separated values with a header row (`.csv`, `.tsv`)
    Csv,
    /// One JSON object a line (`.jsonl`, `.ndjson`)
    Jsonl,
}

/// `kms seal-file`, `kms open-file`
#[derive(Debug, Args)]
pub struct WholeFile {
    /// With what
    #[command(flatten)]
    pub with: WithKey,
    /// File to read; `-` is stdin
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// File to write; `-` is stdout
    #[arg(value_name = "OUT")]
    pub out: PathBuf,
}

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
    /// By this identity, such as `spiffe://dev.local/attendance`
    #[arg(long, value_name = "ID")]
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
    },
    /// Asks the server what it would decide, and why
    #[command(after_help = after_operations())]
    Explain {
        /// Whose request: a SPIFFE ID or `spki:sha256:HEX`
        #[arg(long = "as", value_name = "IDENTITY")]
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

/// `kms bench`
#[derive(Debug, Args)]
pub struct Bench {
    /// What to measure beside the echo
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["encrypt", "decrypt"])]
    pub calls: Vec<BenchCall>,
    /// Callers at a time
    #[arg(long, value_delimiter = ',', default_values = ["1", "8", "64"], value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub concurrency: Vec<u32>,
    /// HTTP/2 connections
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub connections: u32,
    /// Bytes of each value
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=65536))]
    pub payload: u32,
    /// Values a call
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub batch: u32,
    /// Length of each turn
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Turns; each figure is the median
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub turns: u32,
    /// Class of the key: L1 and L2 write the audit before the reply, L3 and L4 sync it
    #[arg(long, default_value = "L2")]
    pub class: KeyClass,
    /// Where the servers keep their data, and so which disk is measured; without it, a temporary directory
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// A call that `bench` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BenchCall {
    /// Seals values; in batches where --batch is more than 1
    Encrypt,
    /// Opens values
    Decrypt,
    /// Opens and seals again
    Reencrypt,
    /// Is leased data keys to open with
    OpenDataKeys,
    /// Makes envelope keys
    GenerateDataKey,
    /// Draws random bytes
    GenerateRandom,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("kms").chain(line.split_whitespace()))
    }

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_contract_is_taken() {
        for line in [
            "tenant create acme",
            "tenant describe acme",
            "tenant list",
            "tenant destroy acme --now --reason contract-ended --ticket OPS-1",
            "tenant destroy acme --in 7d --reason contract-ended",
            "key create attendance --tenant acme --family --class L3 --rotate-every 90d --lease 5m",
            "key list --tenant acme",
            "key describe attendance/employee-17 --tenant acme",
            "key rotate attendance --tenant acme --deterministic",
            "key suspend attendance --tenant acme",
            "key resume attendance --tenant acme",
            "key destroy attendance --tenant acme --version 1 --reason retention-ended",
            "key destroy attendance --tenant acme --all --now --reason test --force",
            "encrypt --tenant acme --key attendance --context a=b --context c=d",
            "decrypt --tenant acme --key attendance",
            "reencrypt --tenant acme --key attendance --context a=b --to-key other --to-context a=c",
            "columns seal --tenant acme --key attendance --table checkins --id id --column name --column phone:deterministic in.csv out.csv",
            "columns open --tenant acme --key attendance --table checkins --id id --column name --keep-going - -",
            "columns reseal --tenant acme --key attendance --table t --id id --column n --format jsonl --delimiter ; a b",
            "seal-file --tenant acme --key attendance a b",
            "open-file --tenant acme --key attendance a -",
            "audit query --tenant acme --operation encrypt --outcome denied --from 2h --limit 5 -o json",
            "audit tail",
            "audit export dir",
            "audit verify dir",
            "audit delete --through-segment 3 --export dir",
            "policy check policies",
            "policy explain --as spiffe://dev.local/hr-portal --operation Decrypt --tenant acme --key attendance",
            "demo",
            "bench --concurrency 1,8,64 --connections 4 --payload 64 --batch 1 --seconds 2",
            "completions bash",
            "--profile a.toml -o json tenant list",
            "tenant list --profile a.toml --output json",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
    }

    #[test]
    fn what_makes_no_sense_is_not_taken() {
        for line in [
            "",
            "tenant create Acme",
            "tenant destroy acme --now",
            "tenant destroy acme --now --reason because",
            "tenant destroy acme --now --in 7d --reason test",
            "key create a --tenant acme --class L5",
            "key create a",
            "key destroy a --tenant acme --reason test",
            "key destroy a --tenant acme --version 1 --all --reason test",
            "key destroy a --tenant acme --version 0 --reason test",
            "columns seal --tenant a --key k --table t --id id in out",
            "columns seal --tenant a --key k --table t --id id --column c --keep-going in out",
            "columns seal --tenant a --key k --table t --id id --column c --delimiter ab in out",
            "policy explain --as x --operation Fly",
            "audit query --from yesterday",
            "key cancel-destroy a --tenant acme --all",
            "cert get --tenant acme",
            "verify cert.json",
            "-o yaml tenant list",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
