//! What can be typed. The names here are a contract with scripts: they are added to, never changed.
//!
//! Doc comments in these files are the help that `kms` prints: written for the one who types.

mod audit;
mod bench;
mod crypt;
mod keys;
mod reseal;
mod tables;
mod transparency;

use std::{ffi::OsString, path::PathBuf};

use clap::{Parser, Subcommand, ValueEnum};

pub use audit::{Audit, AuditFilter, Policy};
pub use bench::{Bench, BenchCall};
pub use crypt::{ContextPair, Crypt, Reencrypt, Reveal, WithKey};
pub use keys::{Clock, Destruction, Key, OfTenant, OneKey, Tenant};
pub use reseal::{DatabaseUrl, Reseal};
pub use tables::{Columns, ColumnsJob, FileFormat, OpenJob, SealJob, WholeFile};
pub use transparency::{Cert, GetCert, Log, Verify};

/// The key centre from the command line: tenants, keys, files, columns, audit, policy.
#[derive(Debug, Parser)]
#[command(
    name = "kms",
    version,
    max_term_width = 110,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 5 denied, 6 server unreachable, \
                  7 some items failed and the rest is done; of `verify`, see its help.\n\
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
    /// For which purpose keys are used, as policy sees it: a key that was created with `--purpose` works for its own purposes only
    #[arg(long, global = true, value_name = "WORD", help_heading = "Connection and output")]
    pub purpose: Option<String>,
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
    /// Seals what comes on stdin, at most 64 KiB, under the active version of a key; binary, so send it to a file: `> FILE`
    Encrypt(Crypt),
    /// Opens what `encrypt` made and comes on stdin
    Decrypt(Crypt),
    /// Shows the masked form of a sealed value on stdin, `kf1.` text or binary; the server masks it, in the form it has for the column
    Reveal(Reveal),
    /// Opens and seals again, under the active version, another key or another context; the plaintext stays on the server
    Reencrypt(Reencrypt),
    /// Seals, opens or reseals columns of a CSV or JSON Lines file
    #[command(subcommand)]
    Columns(Columns),
    /// Reseals columns of a database table in place, beside live writers, under the version that seals now
    Reseal(Reseal),
    /// Seals a file of any size
    SealFile(WholeFile),
    /// Opens a file that `seal-file` made; a cut or reordered file does not open
    OpenFile(WholeFile),
    /// Certificates of destruction
    #[command(subcommand)]
    Cert(Cert),
    /// Checks a certificate of destruction, offline: needs no server and no profile
    Verify(Verify),
    /// The public log of what was created and destroyed
    #[command(subcommand)]
    Log(Log),
    /// The server's clock, where it went forward
    #[command(subcommand)]
    Clock(Clock),
    /// Who did what, allowed by which rule
    #[command(subcommand)]
    Audit(Audit),
    /// Policies: checked here, explained by the server
    #[command(subcommand)]
    Policy(Policy),
    /// Shows the whole story on a server of its own, in a temporary directory
    Demo,
    /// Checks everything between this machine and an answer of the server, and says what is wrong and what to do
    Doctor,
    /// Measures a server of its own against a bare echo with the same TLS
    Bench(Bench),
    /// Prints a completion script
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Writes the manual pages, one a command
    Man {
        /// Directory for them, made where it is not there; for example `~/.local/share/man/man1`
        dir: PathBuf,
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

#[cfg(test)]
mod tests;
