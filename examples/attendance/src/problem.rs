//! What can be wrong with a request, and how it is told: in words for the person at the page, without any value and without the words
//! of a database.

use axum::{
    Json,
    extract::rejection::JsonRejection,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use kms_client::{NameError, protect::ProtectError};
use serde_json::json;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("{0}")]
    Invalid(&'static str),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("this is no request of the page")]
    Malformed(StatusCode),
    #[error("there is no such company")]
    NoCompany,
    #[error("the company has left")]
    CompanyLeft,
    #[error("the company has no such employee")]
    NoEmployee,
    #[error("the employee has left")]
    EmployeeLeft,
    #[error("the employee has not left; rights end before data does")]
    EmployeeStays,
    #[error("another check-in has this id")]
    OtherCheckIn,
    #[error("the key is destroyed; the last lease of it has not ended yet, so ask for the certificate later")]
    Pending,
    #[error("the certificate does not hold")]
    CertificateInvalid,
    #[error(transparent)]
    KeyCentre(#[from] kms_client::Error),
    #[error(transparent)]
    Row(#[from] ProtectError),
    #[error("the database failed; the service's log says more")]
    Database(#[from] sqlx::Error),
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) | Self::Name(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Malformed(status) => *status,
            Self::NoCompany | Self::NoEmployee => StatusCode::NOT_FOUND,
            Self::CompanyLeft | Self::EmployeeLeft => StatusCode::FORBIDDEN,
            Self::EmployeeStays | Self::OtherCheckIn | Self::Pending => StatusCode::CONFLICT,
            Self::KeyCentre(error) if error.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Row(error) if error.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
            Self::CertificateInvalid | Self::KeyCentre(_) | Self::Row(_) | Self::Database(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }
}

impl From<JsonRejection> for Problem {
    // The rejection's own words may repeat what was sent.
    fn from(rejection: JsonRejection) -> Self {
        Self::Malformed(rejection.status())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if let Self::Database(error) = &self {
            eprintln!("attendance: {error}");
        }
        (self.status(), Json(json!({ "error": self.to_string() }))).into_response()
    }
}
