//! A value opens where it was sealed and nowhere else.

use kms_proto::reason::Reason;
use uuid::Uuid;

use super::{CheckIn, FieldProblem, Sealed, SealedCheckIn, checkin, refusal, sealed};
use crate::{Protect, testing::scene};

/// The same row in another table.
#[derive(Clone, Protect)]
#[protect(table = "visits", key = "attendance", tenant = "company_id", bind("company_id", "id"))]
struct Visit {
    company_id: String,
    id: Uuid,
    #[protect(encrypt)]
    employee: String,
    #[protect(encrypt)]
    host: String,
}

/// The same table under another key.
#[derive(Clone, Protect)]
#[protect(table = "checkins", key = "payroll", tenant = "company_id", bind("company_id", "id"))]
struct Paid {
    company_id: String,
    id: Uuid,
    #[protect(encrypt)]
    employee: String,
}

fn rejected(error: &super::ProtectError, column: &str) {
    assert_eq!((error.reason(), error.column()), (Some(Reason::CiphertextRejected), column), "{error}");
}

#[tokio::test]
async fn a_value_moved_to_another_row_column_table_or_key_does_not_open() {
    let scene = scene();
    let twins = sealed(&scene.kms, &[checkin(1), checkin(2)]).await;
    let mut moved = twins[0].clone();
    moved.employee = twins[1].employee.clone();
    rejected(&refusal(&scene.kms, &moved).await, "employee");

    let visit =
        Visit { company_id: "acme".into(), id: Uuid::from_u128(1), employee: "a".into(), host: "b".into() };
    let visit = scene.kms.seal(&visit).await.unwrap();
    let mut moved = visit.clone();
    moved.host = visit.employee.clone();
    rejected(&refusal(&scene.kms, &moved).await, "host");
    let mut moved = visit.clone();
    moved.employee = twins[0].employee.clone();
    rejected(&refusal(&scene.kms, &moved).await, "employee");

    let paid = Paid { company_id: "acme".into(), id: Uuid::from_u128(1), employee: "a".into() };
    let mut moved = scene.kms.seal(&paid).await.unwrap();
    assert_eq!(scene.kms.open(&moved).await.unwrap().employee, "a");
    moved.employee = twins[0].employee.clone();
    rejected(&refusal(&scene.kms, &moved).await, "employee");
    assert!(scene.kms.open(&twins[0]).await.unwrap() == checkin(1), "where it belongs it opens");
}

#[tokio::test]
async fn a_row_whose_bound_columns_change_does_not_open() {
    let scene = scene();
    let twin = sealed(&scene.kms, &[checkin(1)]).await.remove(0);
    let mut renumbered = twin.clone();
    renumbered.id = Uuid::from_u128(9);
    rejected(&refusal(&scene.kms, &renumbered).await, "employee");
    let mut given_away = twin.clone();
    given_away.company_id = "globex".into();
    let error = refusal(&scene.kms, &given_away).await;
    assert_eq!(
        error.reason(),
        Some(Reason::KeyNotAccessible),
        "the tenant is looked up from the key: {error}"
    );
}

#[tokio::test]
async fn a_deterministic_value_does_not_open_in_a_column_that_binds_rows() {
    let scene = scene();
    let twin = sealed(&scene.kms, &[checkin(1)]).await.remove(0);
    let loose = crate::Column::deterministic("checkins", "employee").unwrap();
    let records = scene.records();
    let planted = records.seal(&loose, &crate::testing::row("any"), b"mallory").await.unwrap();
    let mut moved = twin.clone();
    moved.employee = Sealed::from(planted);
    let error = refusal(&scene.kms, &moved).await;
    assert!(matches!(error.problem(), FieldProblem::OtherMode), "{error}");

    let bound = crate::Column::randomized("checkins", "badge").unwrap();
    let planted = records.seal(&bound, &crate::testing::row("any"), b"17").await.unwrap();
    let mut moved = twin;
    moved.badge = Sealed::from(planted);
    let error = refusal(&scene.kms, &moved).await;
    assert!(matches!(error.problem(), FieldProblem::OtherMode), "{error}");
}

#[tokio::test]
async fn nor_is_it_shown_masked_there() {
    let scene = scene();
    scene.declare_masks(&[("checkins", "phone", "phone")]);
    let twin = sealed(&scene.kms, &[checkin(1)]).await.remove(0);
    let loose = crate::Column::deterministic("checkins", "phone").unwrap();
    let planted = scene.records().seal(&loose, &crate::testing::row("any"), b"13900131234").await.unwrap();
    let moved = SealedCheckIn { phone: crate::text::encode(&planted).into(), ..twin.clone() };
    let rows = scene.kms.open_masked(&[twin, moved]).await;
    let shown = rows[0].as_ref().unwrap().column("phone").unwrap().as_ref().unwrap();
    assert_eq!(shown.text, "138****8000");
    let error = rows[1].as_ref().map(|_| ()).unwrap_err();
    assert!(matches!(error.problem(), FieldProblem::OtherMode) && error.column() == "phone", "{error}");
}

#[tokio::test]
async fn one_row_that_does_not_open_harms_no_other() {
    let scene = scene();
    let rows: Vec<CheckIn> = (1..=5).map(checkin).collect();
    let mut twins = sealed(&scene.kms, &rows).await;
    twins[2].id = Uuid::from_u128(77);
    twins[3].company_id = "No Tenant".into();
    let opened = scene.kms.open_all(twins).await;
    let fine: Vec<bool> = opened.iter().map(Result::is_ok).collect();
    assert_eq!(fine, [true, true, false, false, true]);
    let error = opened[3].as_ref().unwrap_err();
    assert_eq!((error.column(), error.reason()), ("company_id", Some(Reason::NameInvalid)));
}
