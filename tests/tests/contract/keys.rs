//! The life of keys and tenants: rotated, suspended, destroyed.

use kms_client::{
    Column, DestroyReason, Error, LifecycleState, Reason, Records,
    api::{Change, CreateKey, CreateTenant, DestroyKey, DestroyTarget, DestroyTenant, Destroyed, RotateKey},
};
use uuid::Uuid;

use crate::{
    fields::{phone, row},
    site::{Site, attendance, key, tenant, why},
};

pub(crate) fn destroying(target: DestroyTarget) -> DestroyKey {
    DestroyKey {
        target,
        reason: DestroyReason::Test,
        ticket: "T-1".into(),
        force: false,
        window: None,
        change: Change::default(),
    }
}

pub(crate) fn destroying_tenant() -> DestroyTenant {
    DestroyTenant {
        reason: DestroyReason::ContractEnded,
        ticket: String::new(),
        window: None,
        change: Change::default(),
    }
}

/// What a client with nothing at hand does with the key.
fn cold(site: &Site) -> Records {
    site.service().records(&tenant("acme"), &attendance())
}

async fn seal(records: &Records) -> Result<Vec<u8>, Error> {
    records.seal(&phone(), &row("1"), b"138").await
}

async fn open(records: &Records, sealed: &[u8]) -> Result<Vec<u8>, Error> {
    records.open(&phone(), &row("1"), sealed).await.map(|opened| opened.as_bytes().to_vec())
}

async fn destroy(site: &Site, target: DestroyTarget, force: bool) -> Result<Destroyed, Error> {
    let how = DestroyKey { force, ..destroying(target) };
    site.operator().destroy_key(&tenant("acme"), &attendance(), how).await
}

pub(crate) async fn a_rotated_key_opens_what_it_sealed_and_seals_under_the_next_version(site: Site) {
    let operator = site.ground().await;
    let acme = tenant("acme");
    let badge = Column::deterministic("checkins", "badge").unwrap();
    let (old, equal) =
        (seal(&cold(&site)).await.unwrap(), cold(&site).seal(&badge, &row("1"), b"17").await.unwrap());
    let rotated = operator.rotate_key(&acme, &attendance(), RotateKey::default()).await.unwrap();
    assert_eq!((rotated.active_version, rotated.deterministic_version, rotated.revision), (2, 1, 2));
    let records = cold(&site);
    assert_eq!(open(&records, &old).await.unwrap(), b"138");
    assert_ne!(records.sealing_version(&phone()).await.unwrap(), rotated.versions[0].id);
    assert_eq!(records.sealing_version(&phone()).await.unwrap(), rotated.versions[1].id);
    assert_eq!(records.seal(&badge, &row("2"), b"17").await.unwrap(), equal, "equal values stay equal");

    let how = RotateKey { deterministic: true, ..RotateKey::default() };
    let rotated = operator.rotate_key(&acme, &attendance(), how).await.unwrap();
    assert_eq!((rotated.active_version, rotated.deterministic_version), (3, 3));
    let records = cold(&site);
    assert_ne!(records.seal(&badge, &row("2"), b"17").await.unwrap(), equal);
    assert_eq!(records.open(&badge, &row("9"), &equal).await.unwrap().as_bytes(), b"17");

    // A family's subjects follow when they next seal.
    let how = CreateKey { family: true, ..CreateKey::default() };
    site.tenant_with("people", &["attendance"], how).await;
    let (people, person) = (tenant("people"), key("attendance/17"));
    operator.create_key(&people, &person, CreateKey::default()).await.unwrap();
    let old = seal(&site.service().records(&people, &person)).await.unwrap();
    operator.rotate_key(&people, &attendance(), RotateKey::default()).await.unwrap();
    assert_eq!(operator.describe_key(&people, &person).await.unwrap().active_version, 1);
    let records = site.service().records(&people, &person);
    seal(&records).await.unwrap();
    assert_eq!(operator.describe_key(&people, &person).await.unwrap().active_version, 2);
    assert_eq!(open(&records, &old).await.unwrap(), b"138");
}

pub(crate) async fn a_suspended_key_or_tenant_neither_seals_nor_opens_until_resumed(site: Site) {
    let operator = site.ground().await;
    let acme = tenant("acme");
    let sealed = seal(&cold(&site)).await.unwrap();

    let suspended = operator.suspend_key(&acme, &attendance(), Change::default()).await.unwrap();
    assert_eq!(suspended.state, LifecycleState::Suspended);
    assert_eq!(why(seal(&cold(&site)).await), Reason::KeySuspended);
    assert_eq!(why(open(&cold(&site), &sealed).await), Reason::KeySuspended);
    assert_eq!(
        why(operator.rotate_key(&acme, &attendance(), RotateKey::default()).await),
        Reason::StateForbids
    );
    operator.resume_key(&acme, &attendance(), Change::default()).await.unwrap();
    assert_eq!(open(&cold(&site), &sealed).await.unwrap(), b"138");

    operator.suspend_tenant(&acme, Change::default()).await.unwrap();
    assert_eq!(why(seal(&cold(&site)).await), Reason::TenantSuspended);
    assert_eq!(why(open(&cold(&site), &sealed).await), Reason::TenantSuspended);
    assert_eq!(
        why(operator.create_key(&acme, &key("more"), CreateKey::default()).await),
        Reason::TenantSuspended
    );
    assert_eq!(
        why(operator.rotate_key(&acme, &attendance(), RotateKey::default()).await),
        Reason::TenantSuspended
    );
    operator.resume_tenant(&acme, Change::default()).await.unwrap();
    assert!(seal(&cold(&site)).await.is_ok());

    // Whoever suspends a family suspends its subjects.
    let how = CreateKey { family: true, ..CreateKey::default() };
    site.tenant_with("people", &["attendance"], how).await;
    let (people, person) = (tenant("people"), key("attendance/17"));
    operator.create_key(&people, &person, CreateKey::default()).await.unwrap();
    let sealed = seal(&site.service().records(&people, &person)).await.unwrap();
    operator.suspend_key(&people, &attendance(), Change::default()).await.unwrap();
    let records = site.service().records(&people, &person);
    assert_eq!(why(open(&records, &sealed).await), Reason::KeySuspended);
    let rotated = operator.rotate_key(&people, &person, RotateKey::default()).await;
    assert_eq!(why(rotated), Reason::KeySuspended);
    let names = ["18".parse().unwrap()];
    let ensured = site.service().ensure_subjects(&people, attendance().family(), &names).await;
    assert!(ensured.into_iter().all(|subject| why(subject) == Reason::KeySuspended));
}

pub(crate) async fn what_is_destroyed_never_opens_again_and_says_what_it_was(site: Site) {
    let operator = site.ground().await;
    let acme = tenant("acme");
    let old = seal(&cold(&site)).await.unwrap();
    operator.rotate_key(&acme, &attendance(), RotateKey::default()).await.unwrap();
    let new = seal(&cold(&site)).await.unwrap();

    assert_eq!(why(destroy(&site, DestroyTarget::Version(9), false).await), Reason::VersionNotFound);
    // Version 1 seals deterministic columns still, which nobody was leased.
    let destroyed = destroy(&site, DestroyTarget::Version(1), false).await.unwrap();
    assert_eq!((destroyed.versions, destroyed.effaced), (vec![1], true));
    assert_eq!(
        (destroyed.key.state, destroyed.key.deterministic_version, destroyed.key.versions[0].state),
        (LifecycleState::Active, 2, LifecycleState::Destroyed),
        "erased once the leases have ended that were given to clients which nobody has heard of since"
    );
    assert_eq!(why(destroy(&site, DestroyTarget::Version(1), false).await), Reason::KeyDestroyed);
    assert_eq!(why(open(&cold(&site), &old).await), Reason::KeyDestroyed);
    assert_eq!(open(&cold(&site), &new).await.unwrap(), b"138");

    let destroyed = destroy(&site, DestroyTarget::All, false).await.unwrap();
    assert_eq!((destroyed.versions, destroyed.key.state), (vec![2], LifecycleState::Destroyed));
    assert_eq!(why(open(&cold(&site), &new).await), Reason::KeyDestroyed);
    assert_eq!(why(seal(&cold(&site)).await), Reason::KeyDestroyed);
    assert_eq!(why(destroy(&site, DestroyTarget::All, false).await), Reason::KeyDestroyed);
    assert_eq!(
        why(operator.suspend_key(&acme, &attendance(), Change::default()).await),
        Reason::KeyDestroyed
    );

    site.tenant("gone", &["attendance"]).await;
    let gone = tenant("gone");
    let sealed = seal(&site.service().records(&gone, &attendance())).await.unwrap();
    let destroyed = operator.destroy_tenant(&gone, destroying_tenant()).await.unwrap();
    assert_eq!((destroyed.tenant.state, destroyed.effaced), (LifecycleState::Destroyed, true));
    let records = site.service().records(&gone, &attendance());
    assert_eq!(why(open(&records, &sealed).await), Reason::KeyDestroyed);
    assert_eq!(why(seal(&records).await), Reason::TenantDestroyed);
    assert_eq!(
        why(operator.create_key(&gone, &key("more"), CreateKey::default()).await),
        Reason::TenantDestroyed
    );
    assert_eq!(why(operator.resume_tenant(&gone, Change::default()).await), Reason::TenantDestroyed);
}

pub(crate) async fn a_version_that_clients_seal_under_is_not_destroyed_unless_forced(site: Site) {
    site.ground().await;
    let records = cold(&site);
    let sealed = seal(&records).await.unwrap();
    assert_eq!(why(destroy(&site, DestroyTarget::Version(1), false).await), Reason::SealingLeasesRun);
    assert!(open(&cold(&site), &sealed).await.is_ok(), "nothing happened");
    let destroyed = destroy(&site, DestroyTarget::Version(1), true).await.unwrap();
    assert_eq!(destroyed.versions, [1]);
    assert_eq!(why(open(&cold(&site), &sealed).await), Reason::KeyDestroyed);
}

pub(crate) async fn a_version_that_clients_said_to_use_is_not_destroyed_unless_forced(site: Site) {
    let operator = site.ground().await;
    let acme = tenant("acme");
    let records = cold(&site);
    let sealed = seal(&records).await.unwrap();
    for _ in 0..2 {
        operator.rotate_key(&acme, &attendance(), RotateKey::default()).await.unwrap();
    }
    // What was sealed is said with the next call for data keys.
    assert_eq!(open(&records, &sealed).await.unwrap(), b"138");
    let error = destroy(&site, DestroyTarget::Version(1), false).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::VersionInUse), "{error}");
    assert!(error.to_string().contains("in use: checkins.phone, last on 20"), "{error}");
    assert!(open(&cold(&site), &sealed).await.is_ok(), "nothing happened");
    // Of the next one nobody said anything.
    assert_eq!(destroy(&site, DestroyTarget::Version(2), false).await.unwrap().versions, [2]);
    assert_eq!(destroy(&site, DestroyTarget::Version(1), true).await.unwrap().versions, [1]);
    assert_eq!(why(destroy(&site, DestroyTarget::Version(1), false).await), Reason::KeyDestroyed);
    assert_eq!(why(open(&cold(&site), &sealed).await), Reason::KeyDestroyed);

    // A key or a tenant that is destroyed whole is meant to die with what it sealed.
    let records = cold(&site);
    let sealed = seal(&records).await.unwrap();
    open(&records, &sealed).await.unwrap();
    assert_eq!(destroy(&site, DestroyTarget::All, false).await.unwrap().versions, [3]);
}

pub(crate) async fn a_name_of_something_destroyed_can_be_used_again_for_something_else(site: Site) {
    let operator = site.ground().await;
    let acme = tenant("acme");
    let sealed = seal(&cold(&site)).await.unwrap();
    assert_eq!(
        why(operator.create_key(&acme, &attendance(), CreateKey::default()).await),
        Reason::AlreadyExists
    );
    assert_eq!(why(operator.create_tenant(&acme, CreateTenant::default()).await), Reason::AlreadyExists);

    destroy(&site, DestroyTarget::All, false).await.unwrap();
    let family = CreateKey { family: true, ..CreateKey::default() };
    assert_eq!(why(operator.create_key(&acme, &attendance(), family).await), Reason::StateForbids);
    let made = operator.create_key(&acme, &attendance(), CreateKey::default()).await.unwrap();
    let numbers: Vec<u32> = made.versions.iter().map(|version| version.version).collect();
    assert_eq!((made.active_version, numbers), (2, vec![2]));
    assert_eq!(why(open(&cold(&site), &sealed).await), Reason::KeyDestroyed);
    let sealed = seal(&cold(&site)).await.unwrap();

    operator.destroy_tenant(&acme, destroying_tenant()).await.unwrap();
    let again = operator.create_tenant(&acme, CreateTenant::default()).await.unwrap();
    assert_eq!((again.slot.0, again.state), (1, LifecycleState::Active));
    operator.create_key(&acme, &attendance(), CreateKey::default()).await.unwrap();
    assert_eq!(why(open(&cold(&site), &sealed).await), Reason::KeyNotAccessible, "of another tenant");
    assert!(seal(&cold(&site)).await.is_ok());
}

pub(crate) async fn a_change_happens_once_and_two_operators_collide_visibly(site: Site) {
    let operator = site.ground().await;
    let acme = tenant("acme");
    let change = Change { request_id: Some(Uuid::new_v4()), expected_revision: None };
    for _ in 0..2 {
        let how = RotateKey { change, ..RotateKey::default() };
        let rotated = operator.rotate_key(&acme, &attendance(), how).await.unwrap();
        assert_eq!(rotated.active_version, 2, "the same request again");
    }
    let other = RotateKey { change, deterministic: true };
    assert_eq!(why(operator.rotate_key(&acme, &attendance(), other).await), Reason::RequestIdReused);

    let stale = Change { request_id: None, expected_revision: Some(1) };
    assert_eq!(why(operator.suspend_key(&acme, &attendance(), stale).await), Reason::RevisionMismatch);
    let seen = Change { request_id: None, expected_revision: Some(2) };
    assert_eq!(operator.suspend_key(&acme, &attendance(), seen).await.unwrap().revision, 3);
    let stale = Change { request_id: None, expected_revision: Some(7) };
    assert_eq!(why(operator.suspend_tenant(&acme, stale).await), Reason::RevisionMismatch);
    let how = DestroyKey {
        change: Change { request_id: Some(Uuid::new_v4()), expected_revision: None },
        ..destroying(DestroyTarget::All)
    };
    for _ in 0..2 {
        let destroyed = operator.destroy_key(&acme, &attendance(), how.clone()).await.unwrap();
        assert_eq!(destroyed.versions, [1, 2]);
    }
}
