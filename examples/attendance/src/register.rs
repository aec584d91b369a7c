//! Companies, their employees, and what they checked in. Everything personal in it is sealed on the way in and opened on the way out.

use anyhow::bail;
use kms_client::{Kms, TenantName, protect::sql};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    checkin::{CheckIn, Place, SealedCheckIn},
    database::{Database, on},
    key_centre::KeyCentre,
};

/// Companies of the example.
const COMPANIES: [&str; 2] = ["acme", "globex"];

/// The database, and the service's own connection to the key centre.
#[derive(Debug, Clone)]
pub(crate) struct Register {
    pub(crate) database: Database,
    pub(crate) kms: Kms,
}

/// A company.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub(crate) struct Company {
    pub(crate) name: String,
    pub(crate) gone: bool,
}

/// An employee.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub(crate) struct Employee {
    pub(crate) company: String,
    pub(crate) id: String,
    pub(crate) left: bool,
    pub(crate) erased: bool,
}

/// What an employee hands in.
#[derive(Deserialize)]
pub(crate) struct NewCheckIn {
    pub(crate) company: String,
    pub(crate) employee: String,
    pub(crate) name: String,
    pub(crate) phone: String,
    pub(crate) place: Place,
}

impl Register {
    /// Takes up the companies that are not there yet.
    pub(crate) async fn open(database: Database, keys: &KeyCentre) -> anyhow::Result<Self> {
        let register = Self { database, kms: keys.identities.service.clone() };
        for company in COMPANIES {
            let known = register.companies().await?.iter().any(|known| known.name == company);
            if !known {
                keys.take_up(company).await?;
                let insert = "INSERT INTO companies (id) VALUES ($1)";
                on!(&register.database, pool => { sqlx::query(insert).bind(company).execute(pool).await?; });
            }
        }
        Ok(register)
    }

    pub(crate) async fn companies(&self) -> anyhow::Result<Vec<Company>> {
        let select = "SELECT id AS name, gone <> 0 AS gone FROM companies ORDER BY id";
        Ok(on!(&self.database, pool => sqlx::query_as(select).fetch_all(pool).await?))
    }

    pub(crate) async fn employees(&self) -> anyhow::Result<Vec<Employee>> {
        let select = "SELECT company_id AS company, id, left_it <> 0 AS \"left\", erased <> 0 AS erased FROM employees ORDER BY id";
        Ok(on!(&self.database, pool => sqlx::query_as(select).fetch_all(pool).await?))
    }

    pub(crate) async fn employee(&self, company: &str, id: &str) -> anyhow::Result<Option<Employee>> {
        Ok(self.employees().await?.into_iter().find(|known| known.company == company && known.id == id))
    }

    /// Verifies, seals and stores a check-in; answers its row.
    pub(crate) async fn check_in(&self, new: NewCheckIn) -> anyhow::Result<Uuid> {
        let NewCheckIn { company, employee, name, phone, place } = new;
        if name.trim().is_empty() || name.chars().count() > 200 {
            bail!("a name has 1 to 200 characters");
        }
        let digits = phone.chars().filter(char::is_ascii_digit).count();
        if !(5..=15).contains(&digits) {
            bail!("a phone number has 5 to 15 digits");
        }
        if !(-90.0..=90.0).contains(&place.lat) || !(-180.0..=180.0).contains(&place.lon) {
            bail!("a place has a latitude of -90 to 90 and a longitude of -180 to 180");
        }
        if self.employee(&company, &employee).await?.is_some_and(|known| known.left) {
            bail!("{employee} has left {company}");
        }
        let row = CheckIn {
            company_id: company.clone(),
            id: Uuid::now_v7(),
            employee_id: employee.clone(),
            name,
            phone,
            location: place,
            // As precise as PostgreSQL keeps it.
            at: OffsetDateTime::now_utc().replace_nanosecond(0)?,
        };
        let id = row.id;
        let sealed = [self.kms.seal(&row).await?];
        let insert = "INSERT INTO employees (company_id, id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        on!(&self.database, pool => {
            let mut transaction = pool.begin().await?;
            sqlx::query(insert).bind(company).bind(employee).execute(&mut *transaction).await?;
            sql::insert(&sealed)?.execute(&mut *transaction).await?;
            transaction.commit().await?;
        });
        Ok(id)
    }

    /// The sealed rows of a company, or of one of its employees.
    pub(crate) async fn rows(
        &self,
        company: &str,
        employee: Option<&str>,
    ) -> anyhow::Result<Vec<SealedCheckIn>> {
        let select = "SELECT * FROM checkins WHERE company_id = $1 AND employee_id = COALESCE($2, employee_id) ORDER BY id";
        Ok(
            on!(&self.database, pool => sqlx::query_as(select).bind(company).bind(employee).fetch_all(pool).await?),
        )
    }

    /// Rows with this phone number: few are found by the index, opened, and compared.
    pub(crate) async fn with_phone(&self, company: &str, phone: &str) -> anyhow::Result<Vec<Uuid>> {
        let tenant: TenantName = company.parse()?;
        let digits = |phone: &str| phone.chars().filter(char::is_ascii_digit).collect::<String>();
        let wanted = digits(phone);
        let mut found: Vec<SealedCheckIn> = Vec::new();
        for probe in CheckIn::phone_index(&self.kms, &tenant, phone).await? {
            let select = "SELECT * FROM checkins WHERE company_id = $1 AND phone_index = $2 ORDER BY id";
            found.extend(on!(&self.database, pool => {
                let rows: Vec<SealedCheckIn> = sqlx::query_as(select).bind(company).bind(&probe).fetch_all(pool).await?;
                rows
            }));
        }
        let opened = self.kms.open_all(found).await.into_iter().flatten();
        Ok(opened.filter(|row| digits(&row.phone) == wanted).map(|row| row.id).collect())
    }
}
