//! What a database can bring that somebody wrote to, cut, or changed: told by row and column, with no value shown.

use kms_client::{
    Protect, Reason,
    protect::{FieldProblem, ProtectError, sql},
};
use kms_tests::PostgreSql;
use sqlx::PgPool;
use uuid::Uuid;

use super::{CheckIn, Scene, SealedCheckIn, checkin, sqlite};

fn tells_nothing(told: &str) {
    for hidden in ["employee number", "138 0013", "never sealed"] {
        assert!(!told.contains(hidden), "{told}");
    }
}

fn refused(opened: &Result<CheckIn, ProtectError>) -> &ProtectError {
    let error = opened.as_ref().map(|_| ()).unwrap_err();
    tells_nothing(&format!("{error} {error:?}"));
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_that_was_tampered_with_says_so_and_the_others_are_listed() {
    let scene = Scene::with(&["acme", "globex"]).await;
    let pool = sqlite::pool(&scene).await;
    sqlx::query(sqlite::TABLE).execute(&pool).await.unwrap();
    let rows: Vec<CheckIn> = (0..12).map(checkin).collect();
    let twins: Vec<_> = scene.service.seal_all(&rows).await.into_iter().collect::<Result<_, _>>().unwrap();
    sql::insert(&twins).unwrap().execute(&pool).await.unwrap();
    let twelve = Uuid::from_u128(12);
    for (row, change) in [
        (0, "company_id = 'globex'"),
        (1, "id = x'0000000000000000000000000000000c'"),
        (2, "phone = substr(phone, 1, 60)"),
        (3, "employee = substr(employee, 1, 40)"),
        (4, "employee = CAST('never sealed' AS BLOB)"),
        (5, "employee = x''"),
        (6, "employee = badge"),
        (7, "employee = (SELECT employee FROM checkins WHERE id = x'00000000000000000000000000000008')"),
        (8, "phone = NULL"),
    ] {
        let statement = format!("UPDATE checkins SET {change} WHERE id = ?");
        let changed = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(Uuid::from_u128(row));
        assert_eq!(changed.execute(&pool).await.unwrap().rows_affected(), 1, "{change}");
    }
    let listed: Vec<SealedCheckIn> =
        sqlx::query_as("SELECT * FROM checkins ORDER BY at, rowid").fetch_all(&pool).await.unwrap();
    let opened = scene.cold().await.open_all(listed).await;

    // Of another tenant, whose keys open nothing of this one.
    assert_eq!(refused(&opened[0]).reason(), Some(Reason::KeyNotAccessible));
    assert_eq!(
        refused(&opened[1]).reason(),
        Some(Reason::CiphertextRejected),
        "{twelve} was bound to another id"
    );
    for (row, column) in [(2, "phone"), (3, "employee")] {
        let error = refused(&opened[row]);
        assert_eq!(error.column(), column, "cut");
        assert!(
            matches!(error.reason(), Some(Reason::CiphertextMalformed | Reason::CiphertextRejected)),
            "{error}"
        );
    }
    for row in [4, 5] {
        assert!(matches!(refused(&opened[row]).problem(), FieldProblem::Plaintext), "{row}");
    }
    assert!(matches!(refused(&opened[6]).problem(), FieldProblem::OtherMode));
    assert_eq!(refused(&opened[7]).reason(), Some(Reason::CiphertextRejected), "of another row");
    // Who writes to the database can delete, and nothing shows that there was something.
    assert!(opened[8].as_ref().unwrap().phone.is_none());
    for row in 9..12 {
        assert!(opened[row].as_ref().unwrap() == &rows[row]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_column_that_was_tampered_with_misleads_the_search_and_nothing_else() {
    let scene = Scene::with(&["acme"]).await;
    let pool = sqlite::pool(&scene).await;
    sqlx::query(sqlite::TABLE).execute(&pool).await.unwrap();
    let rows: Vec<CheckIn> = [2, 4, 6].map(checkin).into();
    let twins: Vec<_> = scene.service.seal_all(&rows).await.into_iter().collect::<Result<_, _>>().unwrap();
    sql::insert(&twins).unwrap().execute(&pool).await.unwrap();
    for (row, index) in [(2, twins[1].phone_index.clone().unwrap().into_bytes()), (6, vec![0xFF; 300])] {
        let tampered = sqlx::query("UPDATE checkins SET phone_index = ? WHERE id = ?").bind(index);
        tampered.bind(Uuid::from_u128(row)).execute(&pool).await.unwrap();
    }
    let probes =
        CheckIn::phone_index(&scene.service, &"acme".parse().unwrap(), "138 0013 0004").await.unwrap();
    let found =
        sqlx::query_as::<_, SealedCheckIn>("SELECT * FROM checkins WHERE phone_index = ? ORDER BY badge");
    let found = found.bind(&probes.as_slice()[0]).fetch_all(&pool).await.unwrap();
    assert_eq!(found.len(), 2, "the one looked for, and one that was made to look like it");
    let opened = scene.service.open_all(found).await.into_iter().map(Result::unwrap);
    let right: Vec<_> = opened.filter(|row| row.phone.as_deref() == Some("138 0013 0004")).collect();
    assert!(right == [checkin(4)], "opened and compared, one is left");
    let all: Vec<SealedCheckIn> = sqlx::query_as("SELECT * FROM checkins").fetch_all(&pool).await.unwrap();
    assert!(scene.service.open_all(all).await.iter().all(Result::is_ok));
}

fn extremes() -> Vec<CheckIn> {
    vec![
        CheckIn { employee: String::new(), phone: Some(String::new()), ..checkin(1) },
        CheckIn { employee: "x".repeat(3 << 20), phone: None, ..checkin(2) },
        CheckIn {
            employee: "\u{0}\u{1F9D1}'\"; DROP TABLE checkins; --".into(),
            badge: i64::MIN,
            ..checkin(3)
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_very_long_and_odd_values_come_back_from_sqlite() {
    let scene = Scene::with(&["acme"]).await;
    let pool = sqlite::pool(&scene).await;
    sqlx::query(sqlite::TABLE).execute(&pool).await.unwrap();
    let twins: Vec<_> =
        scene.service.seal_all(&extremes()).await.into_iter().collect::<Result<_, _>>().unwrap();
    sql::insert(&twins).unwrap().execute(&pool).await.unwrap();
    let listed: Vec<SealedCheckIn> =
        sqlx::query_as("SELECT * FROM checkins ORDER BY rowid").fetch_all(&pool).await.unwrap();
    let opened = scene.service.open_all(listed).await.into_iter().map(Result::unwrap);
    assert!(opened.eq(extremes()));
}

/// The same table, of a program that does not say how much its column holds.
#[derive(Clone, Protect)]
#[protect(table = "notes", key = "attendance", tenant = "company_id", bind("id"))]
struct Note {
    company_id: String,
    id: Uuid,
    #[protect(encrypt, text)]
    body: String,
}

/// And of one that does.
#[derive(Clone, Protect)]
#[protect(table = "notes", key = "attendance", tenant = "company_id", bind("id"), sealed = "SealedMeasured")]
struct Measured {
    company_id: String,
    id: Uuid,
    #[protect(encrypt, text, max_len = 120)]
    body: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_cuts_nothing_unseen_and_a_changed_column_is_an_error_and_no_panic() {
    let Some(postgres) = PostgreSql::start() else { return };
    let scene = Scene::with(&["acme"]).await;
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    let table = "CREATE TABLE notes (company_id text NOT NULL, id uuid PRIMARY KEY, body varchar(120))";
    sqlx::query(table).execute(&pool).await.unwrap();
    let id = Uuid::from_u128(1);
    let body = "never sealed in the clear, ".repeat(3);

    // Where the length is known nothing too long is ever sealed; elsewhere the database refuses it, or is made to cut it.
    let measured = Measured { company_id: "acme".into(), id, body: body.clone() };
    let error = scene.service.seal(&measured).await.map(|_| ()).unwrap_err();
    assert!(matches!(error.problem(), FieldProblem::TooLong { max: 120, .. }), "{error}");
    tells_nothing(&format!("{error} {error:?}"));
    let twin = scene.service.seal(&Note { company_id: "acme".into(), id, body }).await.unwrap();
    let error = sql::insert(std::slice::from_ref(&twin)).unwrap().execute(&pool).await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("22001"), "{error}");
    tells_nothing(&format!("{error} {error:?}"));
    let cut = sqlx::query("INSERT INTO notes VALUES ($1, $2, $3::varchar(120))");
    cut.bind("acme").bind(id).bind(&twin.body).execute(&pool).await.unwrap();
    let list = || async {
        sqlx::query_as::<_, SealedNote>("SELECT * FROM notes").persistent(false).fetch_all(&pool).await
    };
    let opened = scene.service.open_all(list().await.unwrap()).await.remove(0);
    let error = opened.map(|_| ()).unwrap_err();
    assert!(
        matches!(error.reason(), Some(Reason::CiphertextMalformed | Reason::CiphertextRejected)),
        "{error}"
    );
    assert_eq!((error.table(), error.column()), ("notes", "body"));

    // A migration that changed the column under the program.
    sqlx::query("UPDATE notes SET body = NULL").execute(&pool).await.unwrap();
    let error = list().await.map(|_| ()).unwrap_err();
    assert!(matches!(error, sqlx::Error::ColumnDecode { .. }), "{error}");
    for change in [
        "ALTER TABLE notes ALTER COLUMN body TYPE bytea USING '\\x4b01'::bytea",
        "ALTER TABLE notes ALTER COLUMN body TYPE int USING 5",
        "ALTER TABLE notes DROP COLUMN body",
    ] {
        sqlx::query(sqlx::AssertSqlSafe(change.to_owned())).execute(&pool).await.unwrap();
        let error = list().await.map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("body"), "{error}");
    }

    let table = "CREATE TABLE checkins (company_id text NOT NULL, id uuid PRIMARY KEY, employee bytea NOT NULL, \
                 phone varchar(255), phone_index bytea, badge bytea NOT NULL, seen bytea NOT NULL, at timestamptz NOT NULL)";
    sqlx::query(table).execute(&pool).await.unwrap();
    let twins: Vec<_> =
        scene.service.seal_all(&extremes()).await.into_iter().collect::<Result<_, _>>().unwrap();
    sql::insert(&twins).unwrap().execute(&pool).await.unwrap();
    let listed: Vec<SealedCheckIn> =
        sqlx::query_as("SELECT * FROM checkins ORDER BY id").fetch_all(&pool).await.unwrap();
    assert!(scene.service.open_all(listed).await.into_iter().map(Result::unwrap).eq(extremes()));
    sqlx::query("UPDATE checkins SET employee = substr(employee, 1, 40), phone = left(phone, 70)")
        .execute(&pool)
        .await
        .unwrap();
    let listed: Vec<SealedCheckIn> = sqlx::query_as("SELECT * FROM checkins").fetch_all(&pool).await.unwrap();
    for opened in scene.service.open_all(listed).await {
        assert!(["employee", "phone"].contains(&refused(&opened).column()), "one of those that were cut");
    }
}
