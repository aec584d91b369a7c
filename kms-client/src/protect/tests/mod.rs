//! Structs sealed and opened against a key centre in memory.

mod bad_input;
mod batches;
mod binding;
mod calls;
mod class;
mod index;
mod migrate;
mod secrets;
mod stream;
mod subjects;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::*;
use crate::{Kms, Protect};

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Point {
    lat: f64,
    lon: f64,
}

#[derive(Clone, PartialEq, Protect)]
#[protect(
    table = "checkins",
    key = "attendance",
    tenant = "company_id",
    bind("company_id", "id"),
    derive(PartialEq)
)]
struct CheckIn {
    company_id: String,
    id: Uuid,
    #[protect(encrypt)]
    employee: String,
    #[protect(encrypt, text, mask = "phone", max_len = 255)]
    phone: String,
    #[protect(encrypt, class = "L2")]
    location: Option<Point>,
    #[protect(deterministic)]
    badge: i64,
    #[protect(encrypt)]
    photo: Option<Vec<u8>>,
    note: Option<String>,
}

fn checkin(n: u128) -> CheckIn {
    CheckIn {
        company_id: "acme".into(),
        id: Uuid::from_u128(n),
        employee: format!("李雷 {n}"),
        phone: "138 0013 8000".into(),
        location: n.is_multiple_of(2).then_some(Point { lat: 31.25, lon: 121.5 }),
        badge: 17,
        photo: None,
        note: Some("gate 2".into()),
    }
}

async fn sealed(kms: &Kms, rows: &[CheckIn]) -> Vec<SealedCheckIn> {
    kms.seal_all(rows).await.into_iter().collect::<Result<_, _>>().unwrap()
}

/// Why a row was not opened; the row is not shown.
async fn refusal<S: SealedRow + Clone>(kms: &Kms, row: &S) -> ProtectError {
    kms.open(row).await.map(|_| ()).unwrap_err()
}
