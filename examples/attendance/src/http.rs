//! The page, and what it asks. One person at one machine tries the example, so there is no login: who asks is a matter of which part of
//! the page asks.

use std::net::IpAddr;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRequest, Query, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header, uri::Authority},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    ending,
    key_centre::Identities,
    problem::Problem,
    register::{NewCheckIn, Register},
    views::Views,
};

/// More than any request of the page has.
const MAX_BODY: usize = 16 * 1024;

/// Sent with everything: our own script and style and nothing else, no page of others around ours, no copy in a cache.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// What requests work on.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) register: Register,
    pub(crate) keys: Identities,
}

/// An employee of a company; or the company as a whole.
#[derive(Deserialize)]
struct Whose {
    company: String,
    employee: Option<String>,
}

impl Whose {
    fn employee(&self) -> Result<&str, Problem> {
        self.employee.as_deref().ok_or(Problem::NoEmployee)
    }
}

#[derive(Deserialize)]
struct Search {
    company: String,
    phone: String,
}

/// All routes.
pub(crate) fn routes(service: Service) -> Router {
    let file = |kind: &'static str, text: &'static str| {
        get(move || async move { ([(header::CONTENT_TYPE, kind)], text) })
    };
    Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("../page/index.html")))
        .route("/page.css", file("text/css; charset=utf-8", include_str!("../page/page.css")))
        .route("/page.js", file("text/javascript; charset=utf-8", include_str!("../page/page.js")))
        .route("/icon.svg", file("image/svg+xml", include_str!("../page/icon.svg")))
        .route("/api/state", get(state))
        .route("/api/views", get(views))
        .route("/api/checkins", post(check_in))
        .route("/api/search", post(search))
        .route("/api/leave", post(leave))
        .route("/api/erase", post(erase))
        .route("/api/certificate", get(certificate))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn(guarded))
        .with_state(service)
}

async fn state(State(service): State<Service>) -> Result<Json<Value>, Problem> {
    let Service { register, .. } = service;
    Ok(Json(json!({ "companies": register.companies().await?, "employees": register.employees().await? })))
}

async fn views(
    State(service): State<Service>,
    Query(whose): Query<Whose>,
) -> Result<impl IntoResponse, Problem> {
    let Service { register, keys } = service;
    let employee = whose.employee.as_deref().unwrap_or_default();
    Ok(Json(Views::of(&register, &keys, &whose.company, employee).await?))
}

async fn check_in(State(service): State<Service>, Asked(new): Asked<NewCheckIn>) -> Done {
    service.register.check_in(new).await?;
    DONE
}

async fn search(
    State(service): State<Service>,
    Asked(search): Asked<Search>,
) -> Result<impl IntoResponse, Problem> {
    let ids = service.register.with_phone(&search.company, &search.phone).await?;
    Ok(Json(json!({ "ids": ids })))
}

async fn leave(State(service): State<Service>, Asked(whose): Asked<Whose>) -> Done {
    ending::leave(&service.register, &whose.company, whose.employee()?).await?;
    DONE
}

/// Destroys the key of an employee or of a company; answers once the certificate proves it, with what stays for a policy to accept.
async fn erase(
    State(service): State<Service>,
    Asked(whose): Asked<Whose>,
) -> Result<impl IntoResponse, Problem> {
    let Service { register, keys } = service;
    match &whose.employee {
        Some(employee) => ending::erase(&register, &keys, &whose.company, employee).await?,
        None => ending::erase_company(&register, &keys, &whose.company).await?,
    }
    let certificate = ending::certificate(&keys, &whose.company, whose.employee.as_deref()).await?;
    Ok(Json(json!({ "risks": ending::checked(&keys, &certificate).await? })))
}

async fn certificate(
    State(service): State<Service>,
    Query(whose): Query<Whose>,
) -> Result<impl IntoResponse, Problem> {
    let file = ending::certificate(&service.keys, &whose.company, whose.employee.as_deref()).await?;
    // The page gives the file its name.
    let kept = (header::CONTENT_DISPOSITION, "attachment");
    Ok(([(header::CONTENT_TYPE, "application/json"), kept], file))
}

type Done = Result<Json<Value>, Problem>;
const DONE: Done = Ok(Json(Value::Null));

/// A request's JSON.
struct Asked<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Asked<T> {
    type Rejection = Problem;

    // ATTACK: only JSON is taken, which a page of others cannot send here without asking first; and nobody answers that it may.
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Json(asked) = Json::from_request(request, state).await?;
        Ok(Self(asked))
    }
}

async fn guarded(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let mut response = match host.is_some_and(is_this_machine) {
        true => next.run(request).await,
        false => StatusCode::MISDIRECTED_REQUEST.into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// ATTACK: a page of others whose name is made to lead to this machine (DNS rebinding) would be one with ours.
fn is_this_machine(host: &str) -> bool {
    let Ok(host) = host.parse::<Authority>() else { return false };
    let address = host.host().trim_start_matches('[').trim_end_matches(']').parse();
    host.host() == "localhost" || address.is_ok_and(|address: IpAddr| address.is_loopback())
}
