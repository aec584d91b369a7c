//! What is stored of a check-in, and how it is protected.

use kms_client::Protect;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// A check-in. Each employee's rows are under a key of their own, so that one person can be erased; HR finds a full phone number by
/// its index, and sees names, phones and places masked.
#[derive(Clone, Protect)]
#[protect(
    table = "checkins",
    key = "attendance",
    tenant = "company_id",
    bind("company_id", "id"),
    per = "employee_id"
)]
pub(crate) struct CheckIn {
    pub(crate) id: Uuid,
    pub(crate) company_id: String,
    pub(crate) employee_id: String,
    #[protect(encrypt, mask = "name")]
    pub(crate) name: String,
    #[protect(encrypt, index(eq, normalize = "phone", bits = 20), mask = "phone")]
    pub(crate) phone: String,
    #[protect(encrypt, mask = "coarse-location")]
    pub(crate) location: Place,
    pub(crate) at: OffsetDateTime,
}

/// Where somebody stood, in degrees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) lat: f64,
    pub(crate) lon: f64,
}
