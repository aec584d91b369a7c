//! How an application tests itself with the key centre in memory. The guide shows the marked part, and the last test holds it to that.

// BEGIN
use kms_client::{
    Kms, Protect, Reason,
    protect::ProtectError,
    testing::{InMemoryKeyCentre, Operation, Rights},
};

#[derive(Clone, PartialEq, Protect)]
#[protect(table = "checkins", key = "attendance", tenant = "company", bind("company", "id"))]
struct CheckIn {
    company: String,
    id: uuid::Uuid,
    #[protect(encrypt, index(eq, normalize = "phone", bits = 20), mask = "phone")]
    phone: String,
}

/// Your code, which takes its client and knows nothing of tests.
async fn day(kms: &Kms, rows: Vec<SealedCheckIn>) -> Vec<Result<CheckIn, ProtectError>> {
    kms.open_all(rows).await
}

fn centre() -> Result<InMemoryKeyCentre, Box<dyn std::error::Error>> {
    let centre = InMemoryKeyCentre::new();
    centre.create_tenant("acme")?;
    centre.create_key("acme", "attendance")?;
    centre.create_key("acme", "attendance.index")?;
    centre.declare_masks(
        r#"
        version = 1
        [[mask]]
        key = "attendance"
        table = "checkins"
        column = "phone"
        form = "phone"
        "#,
    )?;
    centre.restrict("portal", Rights::to([Operation::Reveal]).on_keys(["attendance"]));
    Ok(centre)
}

#[tokio::test]
async fn a_day_costs_one_call_and_the_portal_sees_masked_numbers() -> Result<(), Box<dyn std::error::Error>> {
    let centre = centre()?;
    let checkin = |n: u128| CheckIn {
        company: "acme".into(),
        id: uuid::Uuid::from_u128(n),
        phone: format!("138 0013 {n:04}"),
    };
    let rows: Vec<_> = (0..100).map(checkin).collect();
    let sealed: Vec<_> =
        centre.client("writer").seal_all(&rows).await.into_iter().collect::<Result<_, _>>()?;

    let reader = centre.client("reader");
    let calls = centre.calls();
    assert!(day(&reader, sealed.clone()).await.into_iter().all(|row| row.is_ok()));
    assert_eq!(centre.calls() - calls, 1, "no call for a row");

    let portal = centre.client("portal");
    let denied = day(&portal, sealed.clone()).await.remove(0).unwrap_err();
    assert_eq!(denied.reason(), Some(Reason::KeyNotAccessible));
    let masked = portal.open_masked(&sealed[..1]).await.remove(0)?;
    assert_eq!(masked.column("phone").unwrap().as_ref().unwrap().text, "138****0000");
    Ok(())
}

#[tokio::test]
async fn a_suspended_key_opens_nothing_within_moments() -> Result<(), Box<dyn std::error::Error>> {
    let (centre, acme, key) = (centre()?, "acme".parse()?, "attendance".parse()?);
    let row = CheckIn { company: "acme".into(), id: uuid::Uuid::nil(), phone: "138 0013 8000".into() };
    let kms = centre.client("service");
    let sealed = kms.seal(&row).await?;
    assert_eq!(kms.open(&sealed).await?, row);

    centre.client("operator").suspend_key(&acme, &key, Default::default()).await?;
    assert!(centre.purged().await, "every client was told, and has purged what it had");
    assert_eq!(kms.open(&sealed).await.unwrap_err().reason(), Some(Reason::KeySuspended));
    Ok(())
}
// END

#[tokio::test]
async fn a_key_for_one_purpose_and_rights_for_one_are_kept_to_it() {
    let centre = centre().unwrap();
    centre.create_tenant("globex").unwrap();
    for key in ["attendance", "attendance.index"] {
        centre.create_key_for("globex", key, ["salaries"]).unwrap();
    }
    let row = |company: &str| CheckIn {
        company: company.into(),
        id: uuid::Uuid::nil(),
        phone: "138 0013 8000".into(),
    };
    let kms = centre.client("service");
    let salaries = kms.clone().with_purpose("salaries");
    let sealed = salaries.seal(&row("globex")).await.unwrap();
    assert_eq!(salaries.open(&sealed).await.unwrap(), row("globex"));
    let denied = kms.open(&sealed).await.unwrap_err();
    assert_eq!(denied.reason(), Some(Reason::KeyNotAccessible));
    assert!(kms.seal(&row("acme")).await.is_ok(), "a key that lists none is for all");

    centre.restrict("service", Rights::all().for_purposes(["salaries"]));
    for kms in [centre.client("service"), centre.client("service").with_purpose("marketing")] {
        let denied = kms.seal(&row("acme")).await.unwrap_err();
        assert_eq!(denied.reason(), Some(Reason::KeyNotAccessible));
    }
    assert!(centre.client("service").with_purpose("salaries").seal(&row("acme")).await.is_ok());
}

#[tokio::test]
async fn what_is_destroyed_is_waited_for_until_each_client_has_purged_it() {
    let centre = centre().unwrap();
    let (acme, row) = ("acme".parse().unwrap(), kms_client::RecordId::try_from(&b"1"[..]).unwrap());
    let phone = kms_client::Column::randomized("checkins", "phone").unwrap();
    // All that the client holds.
    let records = centre.client("service").records(&acme, &"attendance".parse().unwrap());
    records.seal(&phone, &row, b"138").await.unwrap();
    let destroy = kms_client::api::DestroyKey {
        target: kms_client::api::DestroyTarget::All,
        reason: kms_client::DestroyReason::Test,
        ticket: String::new(),
        force: false,
        window: None,
        change: Default::default(),
    };
    centre.client("operator").destroy_key(&acme, records.key(), destroy).await.unwrap();
    assert!(centre.purged().await);
    let refused = records.seal(&phone, &row, b"138").await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::KeyDestroyed));
}

#[test]
fn the_guide_shows_this_very_code() {
    let (own, guide) = (include_str!("own_code.rs"), include_str!("../../docs/field-encryption.md"));
    let (_, shown) = own.split_once("// BEGIN\n").unwrap();
    let (shown, _) = shown.split_once("// END\n").unwrap();
    assert!(guide.contains(shown), "copy the part between the marks into the guide");
}
