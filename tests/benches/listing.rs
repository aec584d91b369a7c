//! What it costs to list sealed rows of a real PostgreSQL beside the same rows unsealed.
//!
//! Both are read through the same driver into structs of their own; the sealed ones once whole and then opened, and once opened as
//! they come.

#![expect(clippy::unwrap_used, reason = "where setting up fails there is nothing to measure")]

mod measure;

use futures_util::{StreamExt as _, TryStreamExt as _};
use kms_client::{
    Kms, Profile, Protect,
    api::{CreateKey, CreateTenant},
    protect::sql,
};
use kms_tests::{Place, PostgreSql};
use measure::{CPU, WALL, in_turns, took};
use sqlx::{FromRow, PgPool, Row as _, postgres::PgRow};
use tokio::runtime::Runtime;

const ROWS: i64 = 10_000;
const ROUNDS: usize = 30;

#[derive(Clone, Protect)]
#[protect(table = "people", key = "attendance", tenant = "company_id", bind("id"))]
struct Person {
    company_id: String,
    id: i64,
    #[protect(encrypt)]
    name: String,
    #[protect(encrypt)]
    phone: String,
    #[protect(encrypt)]
    email: String,
    #[protect(encrypt)]
    street: String,
    #[protect(encrypt)]
    born: i64,
}

/// Unsealed, as an application without any of this reads it.
impl<'r> FromRow<'r, PgRow> for Person {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            company_id: row.try_get("company_id")?,
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            phone: row.try_get("phone")?,
            email: row.try_get("email")?,
            street: row.try_get("street")?,
            born: row.try_get("born")?,
        })
    }
}

fn person(id: i64) -> Person {
    Person {
        company_id: "acme".into(),
        id,
        name: format!("Li Lei {id}"),
        phone: "138 0013 8000".into(),
        email: "li.lei@example.com".into(),
        street: "Nanjing Road 17, Shanghai".into(),
        born: 19_900_101,
    }
}

const TABLES: &str = "CREATE TABLE people (company_id text, id bigint PRIMARY KEY, name bytea, phone bytea, email bytea, street bytea, \
                      born bytea);
                      CREATE TABLE unsealed (company_id text, id bigint PRIMARY KEY, name text, phone text, email text, street text, \
                      born bigint)";
const SEALED: &str = "SELECT * FROM people";
const UNSEALED: &str = "SELECT * FROM unsealed";

async fn warm(place: &Place) -> Kms {
    let client = async |name| Kms::connect(Profile::load(place.profile(name)).unwrap()).await.unwrap();
    let (operator, kms) = (client("operator").await, client("attendance").await);
    let (tenant, key) = ("acme".parse().unwrap(), "attendance".parse().unwrap());
    operator.create_tenant(&tenant, CreateTenant::default()).await.unwrap();
    operator.create_key(&tenant, &key, CreateKey::default()).await.unwrap();
    kms
}

async fn fill(pool: &PgPool, kms: &Kms) {
    sqlx::raw_sql(TABLES).execute(pool).await.unwrap();
    let rows: Vec<Person> = (1..=ROWS).map(person).collect();
    for rows in rows.chunks(1_000) {
        let twins: Vec<SealedPerson> =
            kms.seal_all(rows).await.into_iter().collect::<Result<_, _>>().unwrap();
        sql::insert(&twins).unwrap().execute(pool).await.unwrap();
        for row in rows {
            let insert = sqlx::query("INSERT INTO unsealed VALUES ($1, $2, $3, $4, $5, $6, $7)");
            let insert = insert.bind(&row.company_id).bind(row.id).bind(&row.name).bind(&row.phone);
            insert.bind(&row.email).bind(&row.street).bind(row.born).execute(pool).await.unwrap();
        }
    }
    sqlx::query("VACUUM ANALYZE").execute(pool).await.unwrap();
}

async fn unsealed(pool: &PgPool) -> Vec<Person> {
    sqlx::query_as(UNSEALED).fetch_all(pool).await.unwrap()
}

async fn sealed(pool: &PgPool) -> Vec<SealedPerson> {
    sqlx::query_as(SEALED).fetch_all(pool).await.unwrap()
}

async fn fetched_then_opened(pool: &PgPool, kms: &Kms) -> Vec<Person> {
    kms.open_all(sealed(pool).await).await.into_iter().collect::<Result<_, _>>().unwrap()
}

async fn opened_as_they_come(pool: &PgPool, kms: &Kms) -> Vec<Person> {
    let rows = kms.open_stream(sqlx::query_as::<_, SealedPerson>(SEALED).fetch(pool));
    rows.map(|row| row.unwrap()).try_collect().await.unwrap()
}

fn main() {
    let Some(postgres) = PostgreSql::start() else { return };
    let (place, runtime) = (Place::new(), Runtime::new().unwrap());
    let _server = place.start();
    let kms = runtime.block_on(warm(&place));
    let pool = runtime.block_on(PgPool::connect(&postgres.url())).unwrap();
    runtime.block_on(fill(&pool, &kms));
    for opened in [
        runtime.block_on(fetched_then_opened(&pool, &kms)),
        runtime.block_on(opened_as_they_come(&pool, &kms)),
    ] {
        assert!(opened.len() == ROWS as usize && opened.iter().all(|row| row.born == 19_900_101));
    }
    let calls = kms.server_calls();
    let turns = in_turns(
        ROUNDS,
        &mut [
            &mut || took(|| runtime.block_on(unsealed(&pool))),
            &mut || took(|| runtime.block_on(sealed(&pool))),
            &mut || took(|| runtime.block_on(fetched_then_opened(&pool, &kms))),
            &mut || took(|| runtime.block_on(opened_as_they_come(&pool, &kms))),
        ],
    );
    assert_eq!(kms.server_calls(), calls, "warm");
    println!("{ROWS} rows of five fields listed unsealed: {:.1?}", turns.least(0, WALL));
    let names = [
        "sealed, not opened",
        "sealed, fetched and then opened",
        "sealed, opened as they come (at most 1.5)",
    ];
    for (name, contender) in names.into_iter().zip(1..) {
        println!(
            "{name}: {:.2}x, best turns {:.2}x ({:.1?}); processor time of the client {:.2}x",
            turns.ratio(contender, 0, WALL),
            turns.ratio_of_least(contender, 0, WALL),
            turns.least(contender, WALL),
            turns.ratio(contender, 0, CPU),
        );
    }
}
