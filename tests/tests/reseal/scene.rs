//! A key centre with a key, and a database with a table sealed under it.

use std::time::Duration;

use kms_client::{
    Column, DestroyReason, Kms, Profile, RecordId, Records, TenantName,
    api::{Change, CreateKey, CreateTenant, DestroyKey, DestroyTarget, RotateKey},
    text,
};
use kms_tests::{
    Place, PostgreSql, Server,
    cli::{self, Said},
};
use sqlx::{AssertSqlSafe, PgPool, Row as _, SqlitePool, sqlite::SqliteConnectOptions};

/// Leases end while a test runs.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// The key centre.
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) server: Server,
    pub(crate) operator: Kms,
    pub(crate) service: Kms,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let place = Place::new();
        let server = place.start();
        let scene = Self {
            operator: client(&place, "operator").await,
            service: client(&place, "attendance").await,
            place,
            server,
        };
        for tenant in ["acme", "globex"] {
            let tenant = tenant.parse().unwrap();
            scene.operator.create_tenant(&tenant, CreateTenant::default()).await.unwrap();
            let how = CreateKey { lease: Some(LEASE), ..CreateKey::default() };
            for key in ["attendance", "attendance.index"] {
                scene.operator.create_key(&tenant, &key.parse().unwrap(), how.clone()).await.unwrap();
            }
        }
        scene
    }

    pub(crate) async fn cold(&self) -> Kms {
        client(&self.place, "attendance").await
    }

    pub(crate) async fn rotate(&self, deterministic: bool) {
        let how = RotateKey { deterministic, ..RotateKey::default() };
        self.operator.rotate_key(&tenant(), &"attendance".parse().unwrap(), how).await.unwrap();
    }

    pub(crate) async fn rotate_index(&self) {
        let index = "attendance.index".parse().unwrap();
        self.operator.rotate_key(&tenant(), &index, RotateKey::default()).await.unwrap();
    }

    pub(crate) async fn destroy(&self, version: u32) {
        let what = DestroyKey {
            target: DestroyTarget::Version(version),
            reason: DestroyReason::Test,
            ticket: String::new(),
            force: true,
            window: None,
            change: Change::default(),
        };
        let done = self.operator.destroy_key(&tenant(), &"attendance".parse().unwrap(), what).await.unwrap();
        assert!(done.effaced);
    }

    /// What `kms reseal` is called with for the table of [`Db`].
    pub(crate) fn words(&self, db: &Db, more: &[&str]) -> Vec<String> {
        let usual = "reseal --tenant acme --key attendance --table checkins --id id -o json --database";
        let words = usual.split(' ').chain([db.url()]).chain(more.iter().copied());
        words.map(str::to_owned).collect()
    }

    pub(crate) fn reseal(&self, db: &Db, more: &[&str]) -> Said {
        cli::kms(Some(&self.place.profile("attendance")), self.words(db, more))
    }
}

async fn client(place: &Place, name: &str) -> Kms {
    Kms::connect(Profile::load(place.profile(name)).unwrap()).await.unwrap()
}

pub(crate) fn tenant() -> TenantName {
    "acme".parse().unwrap()
}

pub(crate) fn records(kms: &Kms) -> Records {
    kms.records(&tenant(), &"attendance".parse().unwrap())
}

pub(crate) fn column(name: &str) -> Column {
    Column::randomized("checkins", name).unwrap()
}

pub(crate) fn row(id: &str) -> RecordId {
    RecordId::try_from(id.as_bytes()).unwrap()
}

/// A value as text columns hold it.
pub(crate) async fn sealed(kms: &Kms, name: &str, id: &str, plaintext: &str) -> String {
    text::encode(&records(kms).seal(&column(name), &row(id), plaintext.as_bytes()).await.unwrap())
}

/// What a text cell opens to.
pub(crate) async fn opened(kms: &Kms, column: &Column, id: &str, cell: &str) -> String {
    let opened = records(kms).open(column, &row(id), &text::decode(cell).unwrap()).await.unwrap();
    String::from_utf8(opened.as_bytes().to_vec()).unwrap()
}

/// A database of a test's own.
pub(crate) struct Db {
    url: String,
    pub(crate) pool: Pool,
    _directory: Option<tempfile::TempDir>,
    _cluster: Option<PostgreSql>,
}

#[derive(Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Db {
    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("attendance.db");
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true)
            .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(30));
        let pool = SqlitePool::connect_with(options).await.unwrap();
        let url = format!("sqlite:{}", file.display());
        Self { url, pool: Pool::Sqlite(pool), _directory: Some(directory), _cluster: None }
    }

    pub(crate) async fn postgres() -> Option<Self> {
        let cluster = PostgreSql::start()?;
        let pool = PgPool::connect(&cluster.url()).await.unwrap();
        Some(Self {
            url: cluster.url(),
            pool: Pool::Postgres(pool),
            _directory: None,
            _cluster: Some(cluster),
        })
    }

    /// Every database that there is here.
    pub(crate) async fn each() -> Vec<Self> {
        [Some(Self::sqlite().await), Self::postgres().await].into_iter().flatten().collect()
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Pool {
    /// Runs a statement with texts bound; says how many rows it touched.
    pub(crate) async fn run(&self, sql: &str, texts: &[Option<&str>]) -> u64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(pool) => {
                let query = texts.iter().fold(sqlx::query(sql), |query, text| query.bind(*text));
                query.execute(pool).await.unwrap().rows_affected()
            }
            Self::Postgres(pool) => {
                let query = texts.iter().fold(sqlx::query(sql), |query, text| query.bind(*text));
                query.execute(pool).await.unwrap().rows_affected()
            }
        }
    }

    /// Rows of texts.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(pool) => {
                let rows = sqlx::query(sql).fetch_all(pool).await.unwrap();
                rows.iter().map(|row| (0..row.len()).map(|at| row.get(at)).collect()).collect()
            }
            Self::Postgres(pool) => {
                let rows = sqlx::query(sql).fetch_all(pool).await.unwrap();
                rows.iter().map(|row| (0..row.len()).map(|at| row.get(at)).collect()).collect()
            }
        }
    }
}

/// What `-o json` said.
pub(crate) fn report(said: &Said) -> serde_json::Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("no report: {said:?}"))
}
