//! What a database, a schema change or a caller can bring.

use kms_proto::reason::Reason;
use uuid::Uuid;

use super::{CheckIn, FieldProblem, Sealed, SealedCheckIn, SealedText, checkin, refusal, sealed};
use crate::{
    Protect,
    testing::{ATTENDANCE, scene},
};

#[tokio::test]
async fn empty_and_very_long_values_come_back_and_what_does_not_fit_is_refused_before_it_is_stored() {
    let scene = scene();
    let mut row = CheckIn { employee: String::new(), photo: Some(Vec::new()), ..checkin(1) };
    let twin = scene.kms.seal(&row).await.unwrap();
    assert!(scene.kms.open(&twin).await.unwrap() == row, "empty is not NULL");

    row.photo = Some(vec![0xA5; 3 << 20]);
    let twin = scene.kms.seal(&row).await.unwrap();
    assert!(scene.kms.open(&twin).await.unwrap() == row);

    // The most that 255 characters of text hold when sealed: 251 of base64 are 188 bytes, less 74.
    row.phone = "1".repeat(114);
    assert!(scene.kms.seal(&row).await.unwrap().phone.as_str().len() <= 255);
    row.phone.push('1');
    let error = scene.kms.seal(&row).await.map(|_| ()).unwrap_err();
    assert!(matches!(error.problem(), FieldProblem::TooLong { max: 255, .. }), "{error}");
    assert_eq!((error.table(), error.column()), ("checkins", "phone"));
}

#[tokio::test]
async fn what_is_cut_changed_or_never_sealed_is_refused_by_column() {
    let scene = scene();
    let twin = sealed(&scene.kms, &[checkin(2)]).await.remove(0);
    let employee = twin.employee.as_bytes().to_vec();
    let mut flipped = employee.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (bytes, reason) in [
        (employee[..40].to_vec(), Some(Reason::CiphertextMalformed)),
        (employee[..employee.len() - 1].to_vec(), Some(Reason::CiphertextRejected)),
        (flipped, Some(Reason::CiphertextRejected)),
        (Vec::new(), None),
        (b"zebra".to_vec(), None),
    ] {
        let error =
            refusal(&scene.kms, &SealedCheckIn { employee: Sealed::from(bytes), ..twin.clone() }).await;
        assert_eq!((error.reason(), error.column()), (reason, "employee"), "{error}");
        assert!(!format!("{error} {error:?}").contains("zebra"));
    }
    let text = SealedText::from(format!("{}=", twin.phone.as_str()));
    let error = refusal(&scene.kms, &SealedCheckIn { phone: text, ..twin.clone() }).await;
    assert_eq!((error.reason(), error.column()), (Some(Reason::CiphertextMalformed), "phone"));
}

/// `CheckIn` as a later release has it: `badge` is smaller, `location` a number, `note` must be there.
#[derive(Clone, Protect)]
#[protect(
    table = "checkins",
    key = "attendance",
    tenant = "company_id",
    bind("company_id", "id"),
    sealed = "SealedLater"
)]
struct Later {
    company_id: String,
    id: Uuid,
    #[protect(deterministic)]
    badge: u16,
    #[protect(encrypt)]
    employee: i64,
    #[protect(encrypt)]
    location: Option<Vec<u32>>,
}

#[tokio::test]
async fn a_type_that_has_changed_is_an_error_of_its_column_and_shows_no_value() {
    let scene = scene();
    let row = CheckIn { badge: 70_000, ..checkin(2) };
    let twin = scene.kms.seal(&row).await.unwrap();
    let later = SealedLater {
        company_id: twin.company_id.clone(),
        id: twin.id,
        badge: twin.badge.clone(),
        employee: twin.employee.clone(),
        location: twin.location.clone(),
    };
    let error = refusal(&scene.kms, &later).await;
    assert!(matches!(error.problem(), FieldProblem::Range) && error.column() == "badge", "{error}");
    let small = scene.kms.seal(&checkin(2)).await.unwrap().badge;
    let later = SealedLater { badge: small, ..later };
    let error = refusal(&scene.kms, &later).await;
    assert!(matches!(error.problem(), FieldProblem::Encoding(_)) && error.column() == "employee", "{error}");
    assert!(!format!("{error} {error:?}").contains("李雷"));
    let number = Later { company_id: "acme".into(), id: twin.id, badge: 1, employee: 5, location: None };
    let number = scene.kms.seal(&number).await.unwrap().employee;
    let later = SealedLater { employee: number, ..later };
    let error = refusal(&scene.kms, &later).await;
    assert!(matches!(error.problem(), FieldProblem::Json { .. }) && error.column() == "location", "{error}");
    assert!(!format!("{error} {error:?}").contains("31.25"));
}

#[tokio::test]
async fn a_row_that_names_no_tenant_or_row_is_refused_and_not_shown() {
    let scene = scene();
    let rows = [CheckIn { company_id: "Zebra & Co".into(), ..checkin(1) }, checkin(2)];
    let results = scene.kms.seal_all(&rows).await;
    let error = results[0].as_ref().map(|_| ()).unwrap_err();
    assert_eq!((error.column(), error.reason()), ("company_id", Some(Reason::NameInvalid)), "{error}");
    assert!(results[1].is_ok());
    assert!(!format!("{error} {error:?}").contains("Zebra"), "{error:?}");
}

#[tokio::test]
async fn denials_reach_each_row_and_say_whether_trying_again_helps() {
    let scene = scene();
    let twins = sealed(&scene.kms, &[checkin(1), checkin(2)]).await;
    scene.suspend(ATTENDANCE).await;
    for opened in scene.cold().open_all(twins.clone()).await {
        let error = opened.map(|_| ()).unwrap_err();
        assert_eq!((error.reason(), error.is_retryable()), (Some(Reason::KeySuspended), false));
    }
    scene.centre.stop();
    let warm = scene.kms.open_all(twins.clone()).await;
    assert!(warm.iter().all(|opened| opened.as_ref().unwrap_err().is_retryable()), "to open it was cold");
}
