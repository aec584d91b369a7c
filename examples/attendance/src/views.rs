//! One table as four people see it.

use kms_client::{Kms, protect::MaskedRow};
use serde::Serialize;
use sqlx::Row as _;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use crate::{
    checkin::{CheckIn, SealedCheckIn},
    database::on,
    key_centre::Identities,
    register::Register,
};

/// What one of them sees.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) struct View {
    #[serde(skip_serializing_if = "Option::is_none")]
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
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Cell {
    Shown(String),
    Sealed { sealed: String },
    Dead { dead: String },
}

/// All four.
#[derive(Debug, Serialize)]
pub(crate) struct Views {
    employee: View,
    hr: View,
    admin: View,
    thief: View,
}

const OWN: &[&str] = &["at", "name", "phone", "place"];
const DAY: &[&str] = &["at", "employee", "name", "phone", "place"];
const RAW: &[&str] = &["at", "employee_id", "name", "phone", "phone_index", "location"];

impl Views {
    /// Of a company's table, and of one employee's own rows in it.
    pub(crate) async fn of(
        register: &Register,
        keys: &Identities,
        company: &str,
        employee: &str,
    ) -> anyhow::Result<Self> {
        let all = register.rows(company, None).await?;
        Ok(Self {
            employee: own(register, company, employee).await?,
            admin: administered(&keys.operator, all.clone()).await,
            hr: View::of(DAY, masked(&keys.hr, all).await),
            thief: View::of(RAW, raw(register, company).await?),
        })
    }
}

/// The employee asks the service, which opens the employee's rows and no others; who has left has no rights any more.
async fn own(register: &Register, company: &str, employee: &str) -> anyhow::Result<View> {
    match register.employee(company, employee).await? {
        None => return Ok(View::refused(format!("no employee of {company} is chosen"))),
        Some(known) if known.left => return Ok(View::refused(format!("{employee} has left {company}"))),
        Some(_) => {}
    }
    let sealed = register.rows(company, Some(employee)).await?;
    Ok(View::of(OWN, opened_by(&register.kms, sealed).await))
}

/// The administrator's own certificate opens nothing: policy refuses, and the refusal is on record.
async fn administered(operator: &Kms, sealed: Vec<SealedCheckIn>) -> View {
    match operator.open_all(sealed).await.into_iter().find_map(Result::err) {
        Some(refusal) => View::refused(refusal.to_string()),
        None => View::refused("there is nothing to open yet".into()),
    }
}

async fn opened_by(kms: &Kms, sealed: Vec<SealedCheckIn>) -> Vec<Row> {
    let places: Vec<_> = sealed.iter().map(|row| (row.id, row.at)).collect();
    let opened = kms.open_all(sealed).await;
    let row = |((id, at), opened): ((Uuid, OffsetDateTime), _)| {
        let mut cells = vec![Cell::Shown(moment(at))];
        match opened {
            Ok(CheckIn { name, phone, location, .. }) => {
                let place = format!("{:.4}, {:.4}", location.lat, location.lon);
                cells.extend([name, phone, place].map(Cell::Shown));
            }
            Err(error) => cells.push(Cell::Dead { dead: format!("{error}") }),
        }
        Row { id, cells }
    };
    places.into_iter().zip(opened).map(row).collect()
}

/// HR asks the key centre itself, which opens and masks: not even this service sees more than HR does.
async fn masked(hr: &Kms, sealed: Vec<SealedCheckIn>) -> Vec<Row> {
    let masked = hr.open_masked(&sealed).await;
    let row = |(row, masked): (&SealedCheckIn, Result<MaskedRow, _>)| {
        let mut cells = vec![Cell::Shown(moment(row.at)), Cell::Shown(row.employee_id.clone())];
        match masked {
            Ok(masked) => {
                cells.extend(["name", "phone", "location"].map(|column| match masked.column(column) {
                    Some(Ok(shown)) => Cell::Shown(shown.text.clone()),
                    Some(Err(error)) => Cell::Dead { dead: error.to_string() },
                    None => Cell::Dead { dead: "not shown".into() },
                }))
            }
            Err(error) => cells.push(Cell::Dead { dead: format!("{error}") }),
        }
        Row { id: row.id, cells }
    };
    sealed.iter().zip(masked).map(row).collect()
}

/// What lies in the database, as it lies there.
async fn raw(register: &Register, company: &str) -> anyhow::Result<Vec<Row>> {
    let select = "SELECT id, at, employee_id, name, phone, phone_index, location FROM checkins WHERE company_id = $1 ORDER BY id";
    Ok(on!(&register.database, pool => {
        let rows = sqlx::query(select).bind(company).fetch_all(pool).await?;
        rows.iter().map(|row| {
            let mut cells = vec![Cell::Shown(moment(row.try_get("at")?)), Cell::Shown(row.try_get("employee_id")?)];
            for column in ["name", "phone", "phone_index", "location"] {
                let bytes: Vec<u8> = row.try_get(column)?;
                cells.push(Cell::Sealed { sealed: bytes.iter().map(|byte| format!("{byte:02x}")).collect() });
            }
            anyhow::Ok(Row { id: row.try_get("id")?, cells })
        }).collect::<Result<_, _>>()?
    }))
}

impl View {
    fn of(columns: &'static [&'static str], rows: Vec<Row>) -> Self {
        Self { refused: None, columns, rows }
    }

    fn refused(why: String) -> Self {
        Self { refused: Some(why), columns: &[], rows: Vec::new() }
    }
}

fn moment(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}
