//! The chapter about an application: a table of its own in SQLite, sealed by a derive, as four people see it.

use std::{path::Path, time::Duration};

use kms_client::{
    Error, Kms, Protect, Reason,
    protect::{MaskedRow, ProtectError, sql},
};
use sqlx::{Row as _, SqlitePool, sqlite::SqliteConnectOptions};

use super::{Story, broken};
use crate::{
    failure::{Exit, Failure},
    print,
};

/// What the struct below looks like; the demo shows it.
const SOURCE: &str = include_str!("application.rs");
const TABLE: &str = "CREATE TABLE checkins (company_id TEXT, id INTEGER, employee_id TEXT, name BLOB, phone BLOB, phone_index BLOB)";
/// Nobody waits longer for a server that was stopped in the midst of the story.
const DEADLINE: Duration = Duration::from_secs(5);
const PEOPLE: [(&str, &str, &str); 3] = [
    ("e-17", "Lin Xiaoyu", "138 0013 8000"),
    ("e-23", "Zoë Übermüller", "+49 30 23125 758"),
    ("e-31", "Ксения Примерная", "+7 000 000-90-30"),
];
/// Whose key is destroyed.
const ERASED: &str = "e-17";

#[rustfmt::skip]
#[derive(Protect)]
#[protect(table = "checkins", key = "attendance", tenant = "company_id", bind("company_id", "id"), per = "employee_id")]
struct CheckIn {
    company_id: String,
    id: i64,
    employee_id: String,
    #[protect(encrypt, mask = "name")]
    name: String,
    #[protect(encrypt, index(eq, normalize = "phone", bits = 20), mask = "phone")]
    phone: String,
}

/// The application, and two others at the key centre.
struct Application {
    database: SqlitePool,
    service: Kms,
    hr: Kms,
    operator: Kms,
}

/// One row as four people see it.
struct Seen {
    employee: String,
    /// By the employee whose it is, HR, an administrator, a thief.
    by: [String; 4],
}

impl Story {
    pub(super) fn application(&self) -> Result<(), Failure> {
        self.chapter(
            "7. An application",
            "The attendance service itself, of another company: a table in SQLite, written and read by the struct that\n\
             it has anyway. One derive seals its columns, each employee's under a key of their own:",
        )?;
        let from = SOURCE.find("#[derive").ok_or_else(|| broken("its source is not there"))?;
        let text = SOURCE.get(from..).unwrap_or_default();
        self.tell(text.split_inclusive("\n}\n").next().unwrap_or_default())?;
        self.shown("operator", "tenant create globex", Exit::Done)?;
        self.shown("operator", "key create attendance --tenant globex --family --lease 5s", Exit::Done)?;
        self.shown("operator", "key create attendance.index --tenant globex --lease 5s", Exit::Done)?;
        // The story is told on a thread that may wait.
        tokio::runtime::Handle::current().block_on(self.four_people())
    }

    async fn four_people(&self) -> Result<(), Failure> {
        let connect = async |name: &str| {
            let profile = kms_client::Profile::load(self.profile(name)).map_err(Error::from)?;
            Kms::builder(profile).deadline(DEADLINE).connect().await
        };
        let application = Application {
            database: table(&self.dir.join("attendance.db")).await.map_err(broken)?,
            service: connect("attendance").await?,
            hr: connect("hr-portal").await?,
            operator: connect("operator").await?,
        };
        application.check_in().await?;
        self.tell("\nThree check in. The same rows, as four people see them:")?;
        let before = application.seen().await?;
        self.tell(&shown(&before))?;
        let found = application.with_phone("007-000-000-90-30").await?;
        self.tell(&format!("HR searches for 007-000-000-90-30, by a blind index: {}", found.join(", ")))?;

        let destroy = format!(
            "key destroy attendance/{ERASED} --tenant globex --all --now --force --reason subject-request"
        );
        let get = format!("cert get --tenant globex --key attendance/{ERASED} --wait 60s erased.json");
        self.tell(&format!("\n{ERASED} leaves and wants to be forgotten; no row is touched for it:"))?;
        self.shown("operator", &destroy, Exit::Done)?;
        self.shown("compliance", &get, Exit::Done)?;
        let after = application.seen().await?;
        self.tell(&shown(&after))?;
        application.database.close().await;

        let plain = |at: usize| format!("{}, {}", PEOPLE[at].1, PEOPLE[at].2);
        let as_told = found == ["e-31"]
            && before.iter().enumerate().all(|(at, row)| {
                row.by[0] == plain(at) && row.by[1].contains("****") && row.by[2] == "denied"
            })
            && after.iter().zip(&before).all(|(after, before)| match after.employee == ERASED {
                true => after.by[..3] == ["erased", "erased", "denied"] && after.by[3] == before.by[3],
                false => after.by == before.by,
            });
        match as_told {
            true => self.tell(&format!(
                "The row of {ERASED} is dead for all four, in every copy; the others live. `cargo run -p attendance` has it as a page."
            )),
            false => Err(broken("they see something else")),
        }
    }
}

async fn table(file: &Path) -> Result<SqlitePool, sqlx::Error> {
    let pool =
        SqlitePool::connect_with(SqliteConnectOptions::new().filename(file).create_if_missing(true)).await?;
    sqlx::raw_sql(TABLE).execute(&pool).await?;
    Ok(pool)
}

impl Application {
    /// All that an application does to seal, and to store.
    async fn check_in(&self) -> Result<(), Failure> {
        let row = |(id, (employee, name, phone)): (i64, (&str, &str, &str))| CheckIn {
            company_id: "globex".into(),
            id,
            employee_id: employee.into(),
            name: name.into(),
            phone: phone.into(),
        };
        let rows: Vec<_> = (1..).zip(PEOPLE).map(row).collect();
        let sealed = self.service.seal_all(&rows).await;
        let sealed: Vec<_> = sealed.into_iter().collect::<Result<_, _>>().map_err(broken)?;
        sql::insert(&sealed).map_err(broken)?.execute(&self.database).await.map_err(broken)?;
        Ok(())
    }

    async fn rows(&self) -> Result<Vec<SealedCheckIn>, Failure> {
        let rows = sqlx::query_as("SELECT * FROM checkins ORDER BY id").fetch_all(&self.database);
        rows.await.map_err(broken)
    }

    async fn seen(&self) -> Result<Vec<Seen>, Failure> {
        let rows = self.rows().await?;
        let employees: Vec<_> = rows.iter().map(|row| row.employee_id.clone()).collect();
        let masked = self.hr.open_masked(&rows).await;
        let opened = self.service.open_all(rows).await;
        let administered = self.operator.open_all(self.rows().await?).await;
        let raw = sqlx::query("SELECT name FROM checkins ORDER BY id").fetch_all(&self.database);
        let mut seen = Vec::new();
        let people = employees.into_iter().zip(opened).zip(masked).zip(administered);
        for ((((employee, own), masked), administered), raw) in people.zip(raw.await.map_err(broken)?) {
            let stolen: Vec<u8> = raw.try_get("name").map_err(broken)?;
            let by = [text(own), masked_text(masked), text(administered), hex::encode(stolen)];
            seen.push(Seen { employee, by });
        }
        Ok(seen)
    }

    /// Employees with this number. The index keeps so few bits that an application opens what is found, and compares; among three rows
    /// no other is found.
    async fn with_phone(&self, phone: &str) -> Result<Vec<String>, Failure> {
        let tenant = "globex".parse().map_err(broken)?;
        let mut found = Vec::new();
        for probe in CheckIn::phone_index(&self.service, &tenant, phone).await.map_err(broken)? {
            let rows = sqlx::query("SELECT employee_id FROM checkins WHERE phone_index = $1").bind(probe);
            for row in rows.fetch_all(&self.database).await.map_err(broken)? {
                found.push(row.try_get("employee_id").map_err(broken)?);
            }
        }
        Ok(found)
    }
}

fn text(opened: Result<CheckIn, ProtectError>) -> String {
    match opened {
        Ok(CheckIn { name, phone, .. }) => format!("{name}, {phone}"),
        Err(error) => word(error.reason()),
    }
}

fn masked_text(masked: Result<MaskedRow, ProtectError>) -> String {
    let columns = match &masked {
        Ok(row) => ["name", "phone"].map(|column| row.column(column)),
        Err(error) => return word(error.reason()),
    };
    match columns {
        [Some(Ok(name)), Some(Ok(phone))] => format!("{name}, {phone}"),
        [Some(Err(error)), _] | [_, Some(Err(error))] => word(error.reason()),
        _ => "nothing".into(),
    }
}

fn word(reason: Option<Reason>) -> String {
    match reason {
        Some(Reason::KeyDestroyed) => "erased".into(),
        Some(Reason::KeyNotAccessible) => "denied".into(),
        reason => format!("{reason:?}"),
    }
}

fn shown(seen: &[Seen]) -> String {
    let row = |Seen { employee, by: [own, hr, administrator, thief] }: &Seen| {
        let thief = print::brief(thief, 41);
        vec![employee.clone(), own.clone(), hr.clone(), administrator.clone(), thief]
    };
    let headings = ["row of", "the employee", "HR", "an administrator", "a thief, of the name"];
    print::table(&headings, &seen.iter().map(row).collect::<Vec<_>>())
}
