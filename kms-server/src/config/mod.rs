//! The configuration: one TOML file in which nothing unknown is accepted, parsed once into types.
//!
//! `kms-server/kms-server.toml` explains every option; a test compares the two. Any option with a plain value can be
//! overridden, by `--set section.option=value` or by the environment variable `KMS_SECTION_OPTION`.

mod check;
mod fields;
mod read;
mod value;

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use self::{
    check::{Finding, Severity, examine},
    fields::Problem,
};
use crate::{
    effaceable::{file::Terms, pkcs11::TokenOptions},
    tls::TlsFiles,
    transparency::Outside,
};

/// The version of the file's format.
pub const VERSION: u64 = 1;

/// The shipped file, in which every option is explained.
pub const SHIPPED: &str = include_str!("../../kms-server.toml");

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// Where services and operators connect; port 0 chooses a free one.
    pub listen: SocketAddr,
    /// The admin listener: plain HTTP.
    pub admin: SocketAddr,
    /// Directory of the store.
    pub data: PathBuf,
    /// The seal file.
    pub seal: PathBuf,
    /// Directory of the policies.
    pub policies: PathBuf,
    /// Whether gRPC reflection is offered (to whom policy lets).
    pub reflection: bool,
    /// The store.
    pub store: StoreConfig,
    /// Where epoch secrets lie.
    pub effaceable: EffaceableConfig,
    /// How often waiting erasures are carried out.
    pub erasure_interval: Duration,
    /// Certificates, roots, CRLs.
    pub tls: TlsFiles,
    /// The audit log.
    pub audit: AuditConfig,
    /// Bounds.
    pub limits: Limits,
    /// What the transparency log is held against.
    pub transparency: Outside,
    /// The log for operators.
    pub log: LogConfig,
}

/// The store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Which engine keeps it.
    pub engine: Engine,
    /// Bytes of page cache that the engine may use.
    pub cache: u64,
}

/// Storage engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// sled behind its sidecar.
    Sled,
    /// redb.
    Redb,
}

/// Where epoch secrets lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffaceableConfig {
    /// Directory of the medium; that of a `file` is never part of a backup.
    pub path: PathBuf,
    /// What medium it is.
    pub kind: MediumKind,
    /// The medium that the instance passes from, or passed from and could not efface yet.
    pub previous: Option<Box<EffaceableConfig>>,
}

/// Kinds of media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediumKind {
    /// A file that is overwritten in place.
    File(Terms),
    /// A key in a token.
    Pkcs11(TokenOptions),
}

impl EffaceableConfig {
    /// The file, where it is one.
    pub fn file(&self) -> PathBuf {
        self.path.join("epoch-secrets")
    }
}

/// The audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    /// Directory of the segments.
    pub directory: PathBuf,
    /// Bytes after which a segment ends.
    pub segment_size: u64,
    /// What a request waits for.
    pub durability: AuditDurability,
    /// Bytes that the segments may take; health warns at 80 % of them. The disk's own fill is watched always.
    pub quota: Option<u64>,
}

/// What a request waits for; can only be raised above what the key's class asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditDurability {
    /// What class and operation ask for.
    ByClass,
    /// Every line survives power loss before its reply.
    Synced,
}

/// Bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Requests in flight, of all callers.
    pub in_flight: usize,
    /// Requests in flight of one identity.
    pub in_flight_per_identity: usize,
    /// Requests a second of one identity.
    pub rate: u32,
    /// Requests that one identity may make at once on top of its rate.
    pub burst: u32,
    /// Longest time for a request; a caller's own deadline can only be shorter.
    pub deadline: Duration,
    /// Handshakes that may wait at once.
    pub handshakes: usize,
    /// Time for one handshake.
    pub handshake_timeout: Duration,
    /// Connections that may be open at once.
    pub connections: usize,
    /// Connections that one identity may have open at once.
    pub connections_per_identity: usize,
    /// Streams that one connection may have open at once.
    pub streams: u32,
    /// Bytes for keys, names, decisions and ciphers in memory.
    pub memory: u64,
    /// Longest time for requests in flight to end after SIGTERM.
    pub drain: Duration,
}

/// The log for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// For people or for machines.
    pub format: LogFormat,
    /// What is logged, in the syntax of `tracing`: `info`, `kms_server::tls=debug`.
    pub filter: String,
}

/// Form of the operators' log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text an event.
    Text,
    /// One JSON object an event.
    Json,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is wrong in these ways.
    #[error("the configuration `{}` is wrong:{}", path.display(), listed(problems))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// All that is wrong.
        problems: Vec<Problem>,
    },
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// What overrides the file, by `section.option`.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// From the command line: each must name an option.
    pub flags: BTreeMap<String, String>,
    /// From the environment: `KMS_…` variables, of which some may be meant for others.
    pub environment: BTreeMap<String, String>,
}

impl Overrides {
    /// The environment's, and `flags`.
    pub fn from_environment(flags: BTreeMap<String, String>) -> Self {
        Self { flags, environment: std::env::vars().filter(|(name, _)| name.starts_with("KMS_")).collect() }
    }
}

impl Config {
    /// Reads `file` with `overrides`.
    ///
    /// # Errors
    /// All that is wrong, not only the first thing.
    pub fn read(file: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(file)
            .map_err(|source| ConfigError::Unreadable { path: file.into(), source })?;
        Self::parse(&text, file, overrides)
            .map_err(|problems| ConfigError::Wrong { path: file.into(), problems })
    }

    /// Reads `file` however wrong it is: all problems, and the configuration as far as it can be understood, to be examined but
    /// never served.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn understood(
        file: &Path,
        overrides: &Overrides,
    ) -> Result<(Option<Self>, Vec<Problem>), ConfigError> {
        let text = fs::read_to_string(file)
            .map_err(|source| ConfigError::Unreadable { path: file.into(), source })?;
        let read::Parse { config, problems, .. } = read_with(&text, file, overrides);
        Ok((config, problems))
    }

    /// Reads `text` as if it stood in `file`.
    ///
    /// # Errors
    /// All that is wrong, not only the first thing.
    pub fn parse(text: &str, file: &Path, overrides: &Overrides) -> Result<Self, Vec<Problem>> {
        let read::Parse { config, problems, .. } = read_with(text, file, overrides);
        config.filter(|_| problems.is_empty()).ok_or(problems)
    }

    /// The directories and files whose change means a reload.
    pub fn watched(&self) -> Vec<PathBuf> {
        self.tls.paths().map(Path::to_path_buf).chain([self.policies.clone()]).collect()
    }
}

/// Two passes: the first learns the names of the options, so that the second knows which variables are meant.
fn read_with(text: &str, file: &Path, overrides: &Overrides) -> read::Parse {
    let options = read::parse(text, file, &overrides.flags).options;
    let mut all = overrides.flags.clone();
    for option in options {
        let variable = format!("KMS_{}", option.replace('.', "_").to_ascii_uppercase());
        if let Some(value) = overrides.environment.get(&variable) {
            all.entry(option).or_insert_with(|| value.clone());
        }
    }
    read::parse(text, file, &all)
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sled => "sled",
            Self::Redb => "redb",
        })
    }
}

#[cfg(test)]
mod tests;
