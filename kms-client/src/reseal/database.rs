//! What a run asks of a database, whichever it is.

#[cfg(feature = "postgres")]
use super::postgres;
#[cfg(feature = "sqlite")]
use super::sqlite;
use super::{
    columns::ColumnNames,
    error::ResealError,
    row::{Change, Row, Scalar, Written},
    table::Table,
};

/// A database with a table to reseal.
#[derive(Debug, Clone)]
pub struct Database(Engine);

#[derive(Debug, Clone)]
enum Engine {
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::SqlitePool),
    #[cfg(feature = "postgres")]
    Postgres(sqlx::PgPool),
}

/// What [`Database::connect`] understands.
const KNOWN: &str = "`sqlite:PATH` or `postgres://`";

impl Database {
    /// Opens `sqlite:PATH` or `postgres://USER@HOST/DATABASE`; the password can stand in `PGPASSWORD` or a password file instead.
    ///
    /// # Errors
    /// Where there is no such database, or it does not let us in.
    pub async fn connect(url: &str) -> Result<Self, ResealError> {
        #[cfg(feature = "sqlite")]
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return Ok(Self(Engine::Sqlite(sqlite::open(path).await?)));
        }
        #[cfg(feature = "postgres")]
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self(Engine::Postgres(postgres::connect(url).await?)));
        }
        Err(ResealError::UnknownDatabase { known: KNOWN })
    }

    /// The table, looked at: that it is there, and that its columns can be what they should.
    pub(super) async fn inspect(
        &self,
        table: &Table,
        columns: &ColumnNames,
    ) -> Result<Inspected, ResealError> {
        match &self.0 {
            #[cfg(feature = "sqlite")]
            Engine::Sqlite(pool) => sqlite::Rows::inspect(pool, table, columns).await.map(Inspected::Sqlite),
            #[cfg(feature = "postgres")]
            Engine::Postgres(pool) => {
                postgres::Rows::inspect(pool, table, columns).await.map(Inspected::Postgres)
            }
        }
    }
}

#[cfg(feature = "sqlite")]
impl From<sqlx::SqlitePool> for Database {
    fn from(pool: sqlx::SqlitePool) -> Self {
        Self(Engine::Sqlite(pool))
    }
}

#[cfg(feature = "postgres")]
impl From<sqlx::PgPool> for Database {
    fn from(pool: sqlx::PgPool) -> Self {
        Self(Engine::Postgres(pool))
    }
}

/// A table that can be walked.
#[derive(Debug, Clone)]
pub(super) enum Inspected {
    #[cfg(feature = "sqlite")]
    Sqlite(sqlite::Rows),
    #[cfg(feature = "postgres")]
    Postgres(postgres::Rows),
}

/// Where a page begins.
#[derive(Debug, Clone)]
pub(super) enum Start {
    /// With this id.
    At(Scalar),
    /// Behind it.
    After(Scalar),
}

/// Calls the same method of either.
macro_rules! either {
    ($self:ident, $rows:ident => $call:expr) => {
        match $self {
            #[cfg(feature = "sqlite")]
            Inspected::Sqlite($rows) => $call.await,
            #[cfg(feature = "postgres")]
            Inspected::Postgres($rows) => $call.await,
        }
    };
}

impl Inspected {
    /// The first and the last id; `None` where there are no rows.
    pub(super) async fn ends(&self) -> Result<Option<(Scalar, Scalar)>, ResealError> {
        either!(self, rows => rows.ends()).map_err(|error| ResealError::statement(&error))
    }

    /// How many rows there are, and how many of them have a value and no id.
    pub(super) async fn count(&self) -> Result<(u64, u64), ResealError> {
        either!(self, rows => rows.count()).map_err(|error| ResealError::statement(&error))
    }

    /// At most so many rows in the order of their ids.
    pub(super) async fn page(&self, from: &Start, to: &Scalar, most: usize) -> Result<Vec<Row>, ResealError> {
        either!(self, rows => rows.page(from, to, most)).map_err(|error| ResealError::statement(&error))
    }

    /// Writes rows that still hold what was read, all in one transaction; says which they were. Ids rise.
    pub(super) async fn write(&self, changes: &[Change]) -> Result<Written, ResealError> {
        either!(self, rows => rows.write(changes)).map_err(|error| ResealError::statement(&error))
    }

    /// Rows in one transaction.
    pub(super) fn step(&self) -> usize {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => 250,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => 1_000,
        }
    }
}
