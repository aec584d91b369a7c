//! The page, and what it asks. One person at one machine tries the example: who asks is a matter of which part of the page asks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    ending::{self, Ended},
    key_centre::Identities,
    register::{NewCheckIn, Register},
    views::Views,
};

/// Nothing but our own page and script, and no other page around it.
const POLICY: (HeaderName, &str) = (
    header::CONTENT_SECURITY_POLICY,
    "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
);

/// What requests work on.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) register: Register,
    pub(crate) keys: Identities,
    pub(crate) certificates: Certificates,
}

/// Certificates of this run, by number.
pub(crate) type Certificates = Arc<Mutex<HashMap<Uuid, Vec<u8>>>>;

#[derive(Deserialize)]
struct Whose {
    company: String,
    #[serde(default)]
    employee: String,
}

#[derive(Deserialize)]
struct Search {
    company: String,
    phone: String,
}

/// What went wrong, for the page; it names no value.
struct Failure(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "error": format!("{:#}", self.0) }))).into_response()
    }
}

type Answer<T> = Result<Json<T>, Failure>;

/// All routes.
pub(crate) fn routes(service: Service) -> Router {
    let file = |kind: &'static str, text: &'static str| {
        get(move || async move { ([(header::CONTENT_TYPE, kind), POLICY], text) })
    };
    Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("../page/index.html")))
        .route("/page.css", file("text/css", include_str!("../page/page.css")))
        .route("/page.js", file("text/javascript", include_str!("../page/page.js")))
        .route("/api/state", get(state))
        .route("/api/views", get(views))
        .route("/api/checkins", post(check_in))
        .route("/api/search", post(search))
        .route("/api/leave", post(leave))
        .route("/api/erase", post(erase))
        .route("/api/erase-company", post(erase_company))
        .route("/api/certificates/{number}", get(certificate))
        .with_state(service)
}

async fn state(State(service): State<Service>) -> Answer<impl Serialize> {
    let Service { register, .. } = service;
    Ok(Json(json!({ "companies": register.companies().await?, "employees": register.employees().await? })))
}

async fn views(State(service): State<Service>, Query(whose): Query<Whose>) -> Answer<Views> {
    let Service { register, keys, .. } = service;
    Ok(Json(Views::of(&register, &keys, &whose.company, &whose.employee).await?))
}

async fn check_in(State(service): State<Service>, Json(new): Json<NewCheckIn>) -> Answer<impl Serialize> {
    Ok(Json(json!({ "id": service.register.check_in(new).await? })))
}

async fn search(State(service): State<Service>, Json(asked): Json<Search>) -> Answer<impl Serialize> {
    Ok(Json(json!({ "ids": service.register.with_phone(&asked.company, &asked.phone).await? })))
}

async fn leave(State(service): State<Service>, Json(whose): Json<Whose>) -> Answer<impl Serialize> {
    ending::leave(&service.register, &whose.company, &whose.employee).await?;
    Ok(Json(json!({})))
}

async fn erase(State(service): State<Service>, Json(whose): Json<Whose>) -> Answer<impl Serialize> {
    let ended = ending::erase(&service.register, &service.keys, &whose.company, &whose.employee).await?;
    Ok(kept(&service, ended))
}

async fn erase_company(State(service): State<Service>, Json(whose): Json<Whose>) -> Answer<impl Serialize> {
    let ended = ending::erase_company(&service.register, &service.keys, &whose.company).await?;
    Ok(kept(&service, ended))
}

fn kept(service: &Service, Ended { certificate, verdict }: Ended) -> Json<Value> {
    let number = Uuid::now_v7();
    service.certificates.lock().unwrap_or_else(PoisonError::into_inner).insert(number, certificate);
    Json(json!({ "certificate": format!("/api/certificates/{number}"), "verdict": verdict }))
}

async fn certificate(
    State(service): State<Service>,
    Path(number): Path<Uuid>,
) -> Result<Response, StatusCode> {
    let kept = service.certificates.lock().unwrap_or_else(PoisonError::into_inner);
    let file = kept.get(&number).cloned().ok_or(StatusCode::NOT_FOUND)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], Bytes::from(file)).into_response())
}
