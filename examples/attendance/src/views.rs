//! One table as four people see it.

use kms_client::{
    Kms, Reason,
    protect::{MaskedRow, ProtectError},
};
use serde::Serialize;
use sqlx::Row as _;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use crate::{
    checkin::{CheckIn, SealedCheckIn},
    database::on,
    key_centre::Identities,
    problem::Problem,
    register::Register,
};

/// All four.
#[derive(Debug, Serialize)]
pub(crate) struct Views {
    employee: View,
    hr: View,
    admin: View,
    thief: View,
}

/// What one of them sees.
#[derive(Debug, Default, Serialize)]
struct View {
    /// Why there is nothing to see.
    refused: Option<String>,
    columns: &'static [&'static str],
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    id: Uuid,
    cells: Vec<Cell>,
}

/// What stands in a cell.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
enum Cell {
    Shown(String),
    Moment(String),
    Sealed(String),
    Dead { word: &'static str, why: String },
}

impl Views {
    /// Of a company's table, and of one employee's own rows in it.
    pub(crate) async fn of(
        register: &Register,
        keys: &Identities,
        company: &str,
        employee: &str,
    ) -> Result<Self, Problem> {
        let all = register.rows(company, None).await?;
        Ok(Self {
            employee: own(register, company, employee).await?,
            hr: masked(&keys.hr, &all).await,
            thief: raw(register, company).await?,
            admin: administered(&keys.operator, all).await,
        })
    }
}

/// The employee asks the service, which opens the employee's rows and no others; who has left has no rights any more.
async fn own(register: &Register, company: &str, employee: &str) -> Result<View, Problem> {
    match register.employee(company, employee).await? {
        None => return Ok(View::refused("nobody has checked in yet")),
        Some(known) if known.standing != "active" => return Ok(View::refused(Problem::EmployeeLeft)),
        Some(_) => {}
    }
    let sealed = register.rows(company, Some(employee)).await?;
    let places: Vec<_> = sealed.iter().map(|row| (row.id, row.at)).collect();
    let opened = register.kms.open_all(sealed).await;
    let rows = places.into_iter().zip(opened).map(|((id, at), opened)| {
        let cells = match opened {
            Ok(CheckIn { name, phone, location, .. }) => {
                [name, phone, format!("{:.4}, {:.4}", location.lat, location.lon)].map(Cell::Shown)
            }
            Err(error) => std::array::from_fn(|_| Cell::dead(error.reason(), &error)),
        };
        Row { id, cells: [Cell::moment(at)].into_iter().chain(cells).collect() }
    });
    Ok(View { refused: None, columns: &["when", "name", "phone", "place"], rows: rows.collect() })
}

/// HR asks the key centre itself, which opens and masks: not even this service sees more than HR does.
async fn masked(hr: &Kms, sealed: &[SealedCheckIn]) -> View {
    let rows = sealed.iter().zip(hr.open_masked(sealed).await).map(|(row, masked)| {
        let shown = ["name", "phone", "location"].map(|column| masked_cell(&masked, column));
        let known = [Cell::moment(row.at), Cell::Shown(row.employee_id.clone())];
        Row { id: row.id, cells: known.into_iter().chain(shown).collect() }
    });
    View { refused: None, columns: &["when", "employee", "name", "phone", "place"], rows: rows.collect() }
}

fn masked_cell(row: &Result<MaskedRow, ProtectError>, column: &str) -> Cell {
    match row.as_ref().map(|row| row.column(column)) {
        Ok(Some(Ok(masked))) if column == "location" => Cell::Shown(place(&masked.text)),
        Ok(Some(Ok(masked))) => Cell::Shown(masked.text.clone()),
        Ok(Some(Err(error))) => Cell::dead(error.reason(), error),
        Ok(None) => Cell::Shown(String::new()),
        Err(error) => Cell::dead(error.reason(), error),
    }
}

/// The administrator's own certificate opens nothing: policy refuses, and the refusal is on record.
async fn administered(operator: &Kms, sealed: Vec<SealedCheckIn>) -> View {
    match operator.open_all(sealed).await.into_iter().find_map(Result::err) {
        Some(refusal) => View::refused(refusal),
        None => View::refused("there is nothing to open yet"),
    }
}

/// What lies in the database, as it lies there.
async fn raw(register: &Register, company: &str) -> Result<View, Problem> {
    let select = "SELECT id, at, employee_id, name, phone, phone_index, location FROM checkins WHERE company_id = $1 ORDER BY at, id";
    let rows = on!(&register.database, pool => {
        let mut rows = Vec::new();
        for row in sqlx::query(select).bind(company).fetch_all(pool).await? {
            let mut cells = vec![Cell::moment(row.try_get("at")?), Cell::Shown(row.try_get("employee_id")?)];
            for column in ["name", "phone", "phone_index", "location"] {
                let bytes: Vec<u8> = row.try_get(column)?;
                cells.push(Cell::Sealed(bytes.iter().map(|byte| format!("{byte:02x}")).collect()));
            }
            rows.push(Row { id: row.try_get("id")?, cells });
        }
        rows
    });
    Ok(View { refused: None, columns: &["when", "employee", "name", "phone", "phone index", "place"], rows })
}

impl View {
    fn refused(why: impl ToString) -> Self {
        Self { refused: Some(why.to_string()), ..Self::default() }
    }
}

impl Cell {
    fn moment(at: OffsetDateTime) -> Self {
        Self::Moment(at.format(&Rfc3339).unwrap_or_else(|_| at.to_string()))
    }

    fn dead(reason: Option<Reason>, error: &impl ToString) -> Self {
        let word = match reason {
            Some(Reason::KeyDestroyed | Reason::TenantDestroyed) => "erased",
            Some(Reason::KeyNotAccessible) => "no key",
            _ => "does not open",
        };
        Self::Dead { word, why: error.to_string() }
    }
}

/// A masked place is the JSON of a [`Place`](crate::checkin::Place) with fewer decimals.
fn place(masked: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(masked) {
        Ok(place) => format!("{}, {}", place["lat"], place["lon"]),
        Err(_) => masked.to_owned(),
    }
}
