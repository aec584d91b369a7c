//! Companies, their employees, and what they checked in. Everything personal in it is sealed on the way in and opened on the way out.

use kms_client::{Kms, Normalizer, TenantName, protect::sql};
use kms_core::names::SubjectName;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    checkin::{CheckIn, Place, SealedCheckIn},
    database::{Database, on},
    key_centre::KeyCentre,
    problem::Problem,
};

/// Companies of the example.
const COMPANIES: [&str; 2] = ["acme", "globex"];

/// The database, and the service's own connection to the key centre.
#[derive(Debug, Clone)]
pub(crate) struct Register {
    pub(crate) database: Database,
    pub(crate) kms: Kms,
}

/// A company, and whether it is `active` or `gone`.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub(crate) struct Company {
    pub(crate) id: String,
    pub(crate) standing: String,
}

/// An employee, and whether that person is `active`, has `left`, or is `erased`.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub(crate) struct Employee {
    pub(crate) company_id: String,
    pub(crate) id: String,
    pub(crate) standing: String,
}

/// What an employee hands in. The id is the page's: a check-in that is submitted twice is one row.
#[derive(Deserialize)]
pub(crate) struct NewCheckIn {
    pub(crate) id: Uuid,
    pub(crate) company: String,
    pub(crate) employee: String,
    pub(crate) name: String,
    pub(crate) phone: String,
    pub(crate) place: Place,
}

impl NewCheckIn {
    /// The row, where everything is as it should be.
    fn verified(self) -> Result<CheckIn, Problem> {
        let Self { id, company, employee, name, phone, place } = self;
        TenantName::try_from(&*company)?;
        SubjectName::try_from(&*employee)?;
        let name = name.trim().to_owned();
        if !(1..=200).contains(&name.chars().count()) || name.chars().any(char::is_control) {
            return Err(Problem::Invalid("a name has 1 to 200 characters"));
        }
        let numeric = |c: char| c.is_ascii_digit() || matches!(c, ' ' | '+' | '-' | '(' | ')' | '.' | '/');
        if !(5..=15).contains(&phone.chars().filter(char::is_ascii_digit).count())
            || phone.len() > 40
            || !phone.chars().all(numeric)
        {
            return Err(Problem::Invalid(
                "a phone number has 5 to 15 digits, and nothing else but + - ( ) . /",
            ));
        }
        if !(-90.0..=90.0).contains(&place.lat) || !(-180.0..=180.0).contains(&place.lon) {
            return Err(Problem::Invalid(
                "a place has a latitude of -90 to 90 and a longitude of -180 to 180",
            ));
        }
        // As precise as PostgreSQL keeps it.
        let now = OffsetDateTime::now_utc();
        let at = now.replace_microsecond(now.microsecond()).unwrap_or(now);
        Ok(CheckIn { id, company_id: company, employee_id: employee, name, phone, location: place, at })
    }
}

impl Register {
    /// Takes up the companies that are not there yet.
    pub(crate) async fn open(database: Database, keys: &KeyCentre) -> anyhow::Result<Self> {
        let register = Self { database, kms: keys.identities.service.clone() };
        for company in COMPANIES {
            let insert = "INSERT INTO companies (id) VALUES ($1) ON CONFLICT DO NOTHING";
            on!(&register.database, pool => { sqlx::query(insert).bind(company).execute(pool).await?; });
            if register.active(company).await.is_ok() {
                keys.take_up(company).await?;
            }
        }
        Ok(register)
    }

    pub(crate) async fn companies(&self) -> Result<Vec<Company>, Problem> {
        let select = "SELECT id, standing FROM companies ORDER BY id";
        Ok(on!(&self.database, pool => sqlx::query_as(select).fetch_all(pool).await?))
    }

    pub(crate) async fn employees(&self) -> Result<Vec<Employee>, Problem> {
        let select = "SELECT company_id, id, standing FROM employees ORDER BY company_id, id";
        Ok(on!(&self.database, pool => sqlx::query_as(select).fetch_all(pool).await?))
    }

    /// That there is this company, and that it has not left.
    pub(crate) async fn active(&self, company: &str) -> Result<(), Problem> {
        let select = "SELECT id, standing FROM companies WHERE id = $1";
        let found: Option<Company> =
            on!(&self.database, pool => sqlx::query_as(select).bind(company).fetch_optional(pool).await?);
        match found {
            None => Err(Problem::NoCompany),
            Some(company) if company.standing != "active" => Err(Problem::CompanyLeft),
            Some(_) => Ok(()),
        }
    }

    pub(crate) async fn employee(&self, company: &str, id: &str) -> Result<Option<Employee>, Problem> {
        let select = "SELECT company_id, id, standing FROM employees WHERE company_id = $1 AND id = $2";
        Ok(
            on!(&self.database, pool => sqlx::query_as(select).bind(company).bind(id).fetch_optional(pool).await?),
        )
    }

    /// Verifies, seals and stores a check-in.
    pub(crate) async fn check_in(&self, new: NewCheckIn) -> Result<(), Problem> {
        let row = new.verified()?;
        self.active(&row.company_id).await?;
        let known = self.employee(&row.company_id, &row.employee_id).await?;
        if known.is_some_and(|employee| employee.standing != "active") {
            return Err(Problem::EmployeeLeft);
        }
        // Sealed before the transaction begins: no lock waits for a key.
        let sealed = [self.kms.seal(&row).await?];
        let take_up = "INSERT INTO employees (company_id, id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        // Locks the employee's row. Who leaves at this moment has left before, or after, and no row is written in between.
        let employed = "UPDATE employees SET standing = 'active' WHERE company_id = $1 AND id = $2 AND standing = 'active'";
        let CheckIn { id, company_id, employee_id, .. } = row;
        on!(&self.database, pool => {
            let mut transaction = pool.begin().await?;
            sqlx::query(take_up).bind(&company_id).bind(&employee_id).execute(&mut *transaction).await?;
            let active = sqlx::query(employed).bind(&company_id).bind(&employee_id).execute(&mut *transaction).await?;
            if active.rows_affected() == 0 {
                return Err(Problem::EmployeeLeft);
            }
            match sql::insert(&sealed)?.execute(&mut *transaction).await {
                Ok(_) => transaction.commit().await?,
                Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                    transaction.rollback().await?;
                    return self.is_of(id, &company_id, &employee_id).await;
                }
                Err(error) => return Err(error.into()),
            }
        });
        Ok(())
    }

    /// That a check-in, which is there already, is this employee's.
    async fn is_of(&self, id: Uuid, company: &str, employee: &str) -> Result<(), Problem> {
        let rows = self.rows(company, Some(employee)).await?;
        rows.iter().any(|row| row.id == id).then_some(()).ok_or(Problem::OtherCheckIn)
    }

    /// The sealed rows of a company, or of one of its employees.
    pub(crate) async fn rows(
        &self,
        company: &str,
        employee: Option<&str>,
    ) -> Result<Vec<SealedCheckIn>, Problem> {
        let select = "SELECT * FROM checkins WHERE company_id = $1 AND employee_id = COALESCE($2, employee_id) ORDER BY at, id";
        Ok(
            on!(&self.database, pool => sqlx::query_as(select).bind(company).bind(employee).fetch_all(pool).await?),
        )
    }

    /// Rows with this phone number. The index finds few, which are opened and compared: it keeps so few bits that others may be found too.
    pub(crate) async fn with_phone(&self, company: &str, phone: &str) -> Result<Vec<Uuid>, Problem> {
        self.active(company).await?;
        let tenant = TenantName::try_from(company)?;
        let select = "SELECT * FROM checkins WHERE company_id = $1 AND phone_index = $2 ORDER BY at, id";
        let mut found: Vec<SealedCheckIn> = Vec::new();
        for probe in CheckIn::phone_index(&self.kms, &tenant, phone).await? {
            on!(&self.database, pool => {
                found.extend(sqlx::query_as(select).bind(company).bind(&probe).fetch_all(pool).await?);
            });
        }
        let number = |phone: &str| Normalizer::Phone.normalize(phone);
        let wanted = number(phone);
        let opened = self.kms.open_all(found).await.into_iter().flatten();
        let right = opened.filter(|row| number(&row.phone).as_bytes() == wanted.as_bytes());
        Ok(right.map(|row| row.id).collect())
    }
}
