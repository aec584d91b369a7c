//! SQLite or PostgreSQL, by URL, and the tables.

use std::str::FromStr;

use anyhow::{Context, bail};
use sqlx::{PgPool, SqlitePool, sqlite::SqliteConnectOptions};

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

const PEOPLE: &str = "CREATE TABLE IF NOT EXISTS companies (id TEXT PRIMARY KEY, gone INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE IF NOT EXISTS employees (company_id TEXT NOT NULL, id TEXT NOT NULL, left_it INTEGER NOT NULL DEFAULT 0,
        erased INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (company_id, id));";
const CHECKINS: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS checkins (company_id TEXT NOT NULL, id BLOB PRIMARY KEY, employee_id TEXT NOT NULL, name BLOB NOT NULL,
        phone BLOB NOT NULL, phone_index BLOB NOT NULL, location BLOB NOT NULL, at TEXT NOT NULL);",
    "CREATE TABLE IF NOT EXISTS checkins (company_id TEXT NOT NULL, id UUID PRIMARY KEY, employee_id TEXT NOT NULL, name BYTEA NOT NULL,
        phone BYTEA NOT NULL, phone_index BYTEA NOT NULL, location BYTEA NOT NULL, at TIMESTAMPTZ NOT NULL);",
];
const INDEX: &str = "CREATE INDEX IF NOT EXISTS checkins_phone ON checkins (company_id, phone_index);";

impl Database {
    /// Opens it, and makes the tables that are not there.
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
        let database = match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => {
                let options = SqliteConnectOptions::from_str(url)?.create_if_missing(true);
                Self::Sqlite(SqlitePool::connect_with(options).await.context("cannot open the database")?)
            }
            Some("postgres" | "postgresql") => {
                Self::Postgres(PgPool::connect(url).await.context("cannot reach the database")?)
            }
            _ => bail!("the database is `sqlite:PATH` or `postgres://...`"),
        };
        let checkins = match database {
            Self::Sqlite(_) => CHECKINS[0],
            Self::Postgres(_) => CHECKINS[1],
        };
        for statements in [PEOPLE, checkins, INDEX] {
            on!(&database, pool => { sqlx::raw_sql(statements).execute(pool).await?; });
        }
        Ok(database)
    }
}
