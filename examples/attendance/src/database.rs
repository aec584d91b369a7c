//! SQLite or PostgreSQL, and the tables.

use std::path::Path;

use anyhow::{Context, bail};
use sqlx::{
    AssertSqlSafe, PgPool, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

/// A pool of connections.
#[derive(Debug, Clone)]
pub(crate) enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Runs the same on either pool: the statements are those that both databases take.
macro_rules! on {
    ($database:expr, $pool:ident => $run:expr) => {
        match $database {
            $crate::database::Database::Sqlite($pool) => $run,
            $crate::database::Database::Postgres($pool) => $run,
        }
    };
}
pub(crate) use on;

/// The tables, in the words that a database has for a UUID, for bytes, and for a moment. Sealed columns are bytes, and so are index
/// values. What is not sealed stands in the clear: whose row it is, and when.
fn tables(uuid: &str, bytes: &str, moment: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "CREATE TABLE IF NOT EXISTS companies (id TEXT PRIMARY KEY, standing TEXT NOT NULL DEFAULT 'active');
        CREATE TABLE IF NOT EXISTS employees (company_id TEXT NOT NULL, id TEXT NOT NULL,
            standing TEXT NOT NULL DEFAULT 'active', PRIMARY KEY (company_id, id));
        CREATE TABLE IF NOT EXISTS checkins (id {uuid} PRIMARY KEY, company_id TEXT NOT NULL, employee_id TEXT NOT NULL,
            name {bytes} NOT NULL, phone {bytes} NOT NULL, phone_index {bytes} NOT NULL, location {bytes} NOT NULL,
            at {moment} NOT NULL);
        CREATE INDEX IF NOT EXISTS checkins_phone ON checkins (company_id, phone_index);
        CREATE INDEX IF NOT EXISTS checkins_employee ON checkins (company_id, employee_id);"
    ))
}

impl Database {
    /// Opens a file of SQLite, and makes it if it is not there.
    pub(crate) async fn open_file(file: &Path) -> anyhow::Result<Self> {
        Self::open_sqlite(SqliteConnectOptions::new().filename(file)).await
    }

    /// Opens what a URL names.
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => Self::open_sqlite(url.parse()?).await,
            Some("postgres" | "postgresql") => {
                let pool = PgPool::connect(url).await.context("cannot reach the database")?;
                sqlx::raw_sql(tables("UUID", "BYTEA", "TIMESTAMPTZ")).execute(&pool).await?;
                Ok(Self::Postgres(pool))
            }
            _ => bail!("the database is `sqlite:PATH` or `postgres://…`"),
        }
    }

    async fn open_sqlite(options: SqliteConnectOptions) -> anyhow::Result<Self> {
        // Readers do not wait for the writer.
        let options = options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
        let pool = SqlitePool::connect_with(options).await.context("cannot open the database")?;
        sqlx::raw_sql(tables("BLOB", "BLOB", "TEXT")).execute(&pool).await?;
        Ok(Self::Sqlite(pool))
    }
}
