//! The client against a real server: leases, rotation, destruction, class L4, and the bindings the server seals itself.

// Where a test's setting up fails, the test has failed: a panic with a line number is its message.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use kms_client::{
    Column, DestroyReason, KeyClass, Kms, Profile, Reason, RecordId, Records, ToOpenField, ToSealField,
    api::{Binding, Change, CreateKey, CreateTenant, DestroyKey, DestroyTarget, Health, RotateKey},
};
use kms_tests::{Place, Server};

struct Scene {
    place: Place,
    _server: Server,
    operator: Kms,
    service: Kms,
}

async fn client(place: &Place, name: &str) -> Kms {
    Kms::connect(Profile::load(place.profile(name)).unwrap()).await.unwrap()
}

/// A tenant `acme` with a key `attendance` of a class.
async fn scene(class: KeyClass) -> Scene {
    let place = Place::new();
    let server = place.start();
    let (operator, service) = (client(&place, "operator").await, client(&place, "attendance").await);
    let (tenant, key) = ("acme".parse().unwrap(), "attendance".parse().unwrap());
    operator.create_tenant(&tenant, CreateTenant::default()).await.unwrap();
    let how = CreateKey { class: Some(class), ..CreateKey::default() };
    operator.create_key(&tenant, &key, how).await.unwrap();
    Scene { place, _server: server, operator, service }
}

fn records(kms: &Kms) -> Records {
    kms.records(&"acme".parse().unwrap(), &"attendance".parse().unwrap())
}

fn row(name: &str) -> RecordId {
    RecordId::try_from(name.as_bytes()).unwrap()
}

fn phone() -> Column {
    Column::randomized("checkins", "phone").unwrap()
}

fn destroy(target: DestroyTarget) -> DestroyKey {
    DestroyKey {
        target,
        reason: DestroyReason::Test,
        ticket: String::new(),
        force: true,
        window: None,
        change: Change::default(),
    }
}

#[tokio::test]
async fn records_outlive_rotation_and_die_with_their_version() {
    let scene = scene(KeyClass::L2).await;
    let sealing = records(&scene.service);
    let (column, rows) = (phone(), (0..500).map(|n| row(&n.to_string())).collect::<Vec<_>>());
    let items: Vec<_> =
        rows.iter().map(|record| ToSealField { column: &column, record, plaintext: b"138" }).collect();
    let before = scene.service.server_calls();
    let older: Vec<_> = sealing.seal_batch(&items).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(scene.service.server_calls(), before + 1, "one call for the batch");

    let (tenant, key) = (sealing.tenant(), sealing.key());
    scene.operator.rotate_key(tenant, key, RotateKey::default()).await.unwrap();
    let cold = client(&scene.place, "attendance").await;
    let newer = records(&cold).seal(&column, &rows[0], b"139").await.unwrap();
    let mut to_open: Vec<_> = rows
        .iter()
        .zip(&older)
        .map(|(record, ciphertext)| ToOpenField { column: &column, record, ciphertext })
        .collect();
    to_open.push(ToOpenField { column: &column, record: &rows[0], ciphertext: &newer });
    let opened = records(&cold).open_batch(&to_open).await;
    assert!(opened.iter().all(Result::is_ok), "{:?}", opened.iter().find_map(|one| one.as_ref().err()));

    let done = scene.operator.destroy_key(tenant, key, destroy(DestroyTarget::Version(1))).await.unwrap();
    assert!(done.effaced && done.versions == [1]);
    let colder = client(&scene.place, "attendance").await;
    let opened = records(&colder).open_batch(&to_open).await;
    let (last, rest) = opened.split_last().unwrap();
    assert_eq!(last.as_ref().unwrap().as_bytes(), b"139");
    for one in rest {
        let error = one.as_ref().unwrap_err();
        assert!(matches!(error.reason(), Some(Reason::KeyDestroyed | Reason::KeyNotAccessible)), "{error}");
    }
}

#[tokio::test]
async fn deterministic_columns_stay_equal_across_rotation() {
    let scene = scene(KeyClass::L2).await;
    let sealing = records(&scene.service);
    let staff = Column::deterministic("checkins", "staff").unwrap();
    let first = sealing.seal(&staff, &row("1"), b"17").await.unwrap();
    let (tenant, key) = (sealing.tenant(), sealing.key());
    scene.operator.rotate_key(tenant, key, RotateKey::default()).await.unwrap();
    let cold = client(&scene.place, "attendance").await;
    assert_eq!(records(&cold).seal(&staff, &row("2"), b"17").await.unwrap(), first);
    assert_eq!(records(&cold).open(&staff, &row("2"), &first).await.unwrap().as_bytes(), b"17");
}

#[tokio::test]
async fn a_key_of_class_l4_seals_and_opens_on_the_server_only() {
    let scene = scene(KeyClass::L4).await;
    let sealing = records(&scene.service);
    assert!(sealing.sealer(&phone()).await.unwrap().is_none());
    let sealed = sealing.seal(&phone(), &row("1"), b"138").await.unwrap();
    assert_eq!(sealing.open(&phone(), &row("1"), &sealed).await.unwrap().as_bytes(), b"138");
    let moved = sealing.open(&phone(), &row("2"), &sealed).await.unwrap_err();
    assert_eq!(moved.reason(), Some(Reason::CiphertextRejected));
}

fn place_of(column: &Column, record: &RecordId) -> Binding {
    let (table, column) = (column.table().clone(), column.column().clone());
    Binding::Field { table, column, record: record.clone() }
}

#[tokio::test]
async fn what_the_server_seals_for_a_place_the_client_opens_in_that_place() {
    let scene = scene(KeyClass::L2).await;
    let (records, column, record) = (records(&scene.service), phone(), row("1"));
    let binding = place_of(&column, &record);
    let sealed = scene.service.encrypt(records.tenant(), records.key(), &binding, b"138").await.unwrap();
    let opened = records.open(&column, &record, &sealed.ciphertext).await.unwrap();
    assert_eq!(opened.as_bytes(), b"138");
}

#[tokio::test]
async fn what_the_client_seals_for_a_place_the_server_opens_in_that_place_only() {
    let scene = scene(KeyClass::L2).await;
    let (records, column, record) = (records(&scene.service), phone(), row("1"));
    let sealed = records.seal(&column, &record, b"139").await.unwrap();
    let (tenant, key, kms) = (records.tenant(), records.key(), &scene.service);
    let opened = kms.decrypt(tenant, key, &place_of(&column, &record), &sealed).await.unwrap();
    assert_eq!(opened.plaintext.as_bytes(), b"139");
    let moved = kms.decrypt(tenant, key, &place_of(&column, &row("2")), &sealed).await.unwrap_err();
    assert_eq!(moved.reason(), Some(Reason::CiphertextRejected));
}

#[tokio::test]
async fn who_may_not_open_is_leased_nothing() {
    let scene = scene(KeyClass::L2).await;
    let sealed = records(&scene.service).seal(&phone(), &row("1"), b"138").await.unwrap();
    for name in ["hr-portal", "operator", "compliance"] {
        let stranger = client(&scene.place, name).await;
        let error = records(&stranger).open(&phone(), &row("1"), &sealed).await.unwrap_err();
        assert_eq!(error.exit_code(), 5, "{name}: {error}");
        assert!(error.request_id().is_some());
        assert!(records(&stranger).seal(&phone(), &row("1"), b"x").await.is_err(), "{name}");
    }
    assert_eq!(scene.service.health("").await.unwrap(), Health::Serving);
}
