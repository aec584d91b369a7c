//! Sealed rows in real databases, under keys of a real server.

// Where a test's setting up fails, the test has failed: a panic with a line number is its message.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod hostile;
mod outage;
mod postgres;
mod purposes;
mod rows;
mod schemas;
mod sqlite;
mod subjects;
mod tenants;
mod versions;

use kms_client::{
    Kms, Profile, Protect,
    api::{CreateKey, CreateTenant},
};
use kms_tests::{Place, Server};
use time::{Duration, OffsetDateTime, macros::datetime};
use uuid::Uuid;

#[derive(Clone, PartialEq, Protect)]
#[protect(table = "checkins", key = "attendance", tenant = "company_id", bind("company_id", "id"))]
struct CheckIn {
    company_id: String,
    id: Uuid,
    #[protect(encrypt)]
    employee: String,
    #[protect(encrypt, text, index(eq, normalize = "phone", bits = 24), mask = "phone", max_len = 255)]
    phone: Option<String>,
    #[protect(deterministic)]
    badge: i64,
    #[protect(encrypt)]
    seen: OffsetDateTime,
    at: OffsetDateTime,
}

fn checkin(n: u32) -> CheckIn {
    CheckIn {
        company_id: "acme".into(),
        id: Uuid::from_u128(n.into()),
        employee: format!("employee number {n:05}"),
        phone: n.is_multiple_of(2).then(|| format!("138 0013 {n:04}")),
        badge: i64::from(n) + 1_000_000_000,
        seen: datetime!(2026-11-28 09:30:00.25 UTC) + Duration::seconds(n.into()),
        at: datetime!(2026-11-28 10:00:00 UTC),
    }
}

struct Scene {
    place: Place,
    server: Server,
    operator: Kms,
    service: Kms,
}

impl Scene {
    /// Tenants with a key `attendance`, and the service that may use it.
    async fn with(tenants: &[&str]) -> Self {
        let place = Place::new();
        let server = place.start();
        let operator = client(&place, "operator").await;
        for tenant in tenants {
            let tenant = tenant.parse().unwrap();
            operator.create_tenant(&tenant, CreateTenant::default()).await.unwrap();
            for key in ["attendance", "attendance.index"] {
                operator.create_key(&tenant, &key.parse().unwrap(), CreateKey::default()).await.unwrap();
            }
        }
        let service = client(&place, "attendance").await;
        Self { place, server, operator, service }
    }

    /// The service started anew, with nothing at hand.
    async fn cold(&self) -> Kms {
        client(&self.place, "attendance").await
    }
}

async fn client(place: &Place, name: &str) -> Kms {
    Kms::connect(Profile::load(place.profile(name)).unwrap()).await.unwrap()
}
