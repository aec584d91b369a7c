//! What ends a run. Shows names and what the database says of itself; never a value, never the password of a URL.

use crate::error::Error;

/// Why a run ended before its time. What it had written stays; run it again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResealError {
    /// Neither of the databases that are known here.
    #[error("the database is to begin with {known}")]
    UnknownDatabase {
        /// What it may begin with.
        known: &'static str,
    },
    /// The URL is not one.
    #[error("the URL of the database cannot be read; write `postgres://USER@HOST/DATABASE`")]
    Url,
    /// The database cannot be reached, or does not let us in.
    #[error("the database cannot be opened: {0}")]
    Connect(String),
    /// There is no such table.
    #[error(
        "the database has no table `{0}`; views cannot be resealed, and names are taken letter for letter"
    )]
    NoTable(String),
    /// There is no such column.
    #[error("table `{table}` has no column `{column}`; it has {found}")]
    NoColumn {
        /// Where it was looked for.
        table: String,
        /// As given.
        column: String,
        /// What is there.
        found: String,
    },
    /// Rows could be passed over.
    #[error(
        "`{column}` of table `{table}` may hold one id twice: give a column with a primary key or a unique index of its \
         own"
    )]
    NotUnique {
        /// The table.
        table: String,
        /// The column with the ids.
        column: String,
    },
    /// A column of a type that cannot be what it should.
    #[error("column `{column}` is of type {found}; {needed}")]
    Type {
        /// The column.
        column: String,
        /// Its type.
        found: String,
        /// What it has to be.
        needed: &'static str,
    },
    /// What was asked for does not fit together.
    #[error("{0}")]
    Usage(String),
    /// The database refused a statement, or went away.
    #[error("the database failed: {0}; what was resealed stays, run it again")]
    Database(String),
    /// The key centre refused, or cannot be reached.
    #[error(transparent)]
    KeyCentre(#[from] Error),
    /// A task ended without a result.
    #[error("the run broke off; please report this")]
    Lost,
}

impl ResealError {
    /// A fault of a statement.
    pub(super) fn statement(error: &sqlx::Error) -> Self {
        Self::Database(words(error))
    }

    /// A fault of a connection.
    pub(super) fn connection(error: &sqlx::Error) -> Self {
        Self::Connect(words(error))
    }

    /// As a word for programs.
    pub fn reason_word(&self) -> &str {
        match self {
            Self::UnknownDatabase { .. } | Self::Url | Self::Usage(_) => "USAGE",
            Self::Connect(_) => "DATABASE_UNREACHABLE",
            Self::NoTable(_) => "NO_SUCH_TABLE",
            Self::NoColumn { .. } => "NO_SUCH_COLUMN",
            Self::NotUnique { .. } => "ID_NOT_UNIQUE",
            Self::Type { .. } => "COLUMN_TYPE",
            Self::Database(_) => "DATABASE_FAILED",
            Self::KeyCentre(error) => error.reason_word(),
            Self::Lost => "INTERNAL",
        }
    }

    /// Whether what was asked for can never work as it was asked.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::UnknownDatabase { .. }
                | Self::Url
                | Self::Usage(_)
                | Self::NoTable(_)
                | Self::NoColumn { .. }
                | Self::NotUnique { .. }
                | Self::Type { .. }
        )
    }
}

/// The database's message and code, without the details, in which it may quote a row.
fn words(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => match error.code() {
            Some(code) => format!("{} ({code})", error.message()),
            None => error.message().to_owned(),
        },
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::PoolTimedOut => "no connection in time".into(),
        sqlx::Error::Tls(error) => format!("TLS: {error}"),
        sqlx::Error::RowNotFound => "a row that must be there is not".into(),
        _ => "the connection or an answer cannot be used".into(),
    }
}
