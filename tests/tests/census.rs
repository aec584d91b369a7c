//! The census against a real server: what clients say that they use, who has not said it, and what destroying asks of it.

// Where a test's setting up fails, the test has failed: a panic with a line number is its message.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::{Duration, Instant};

use kms_client::{
    Column, DestroyReason, KeyName, Kms, Profile, Reason, RecordId, Records, TenantName,
    api::{Change, CreateKey, CreateTenant, DestroyKey, DestroyTarget, RotateKey, SubjectsUse, VersionUse},
};
use kms_proto::v1::{
    self,
    open_data_keys_request::{Existing, Item, UseReport, item},
};
use kms_tests::{Api, Place, Server, cli};

/// Renewed, and with it reported, within that.
const LEASE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);

struct Scene {
    place: Place,
    server: Server,
    operator: Kms,
}

fn names() -> (TenantName, KeyName) {
    ("acme".parse().unwrap(), "attendance".parse().unwrap())
}

async fn client(place: &Place, name: &str) -> Kms {
    Kms::connect(Profile::load(place.profile(name)).unwrap()).await.unwrap()
}

async fn scene() -> Scene {
    let place = Place::new();
    let server = place.start();
    let operator = client(&place, "operator").await;
    let (tenant, key) = names();
    operator.create_tenant(&tenant, CreateTenant::default()).await.unwrap();
    let how = CreateKey { lease: Some(LEASE), ..CreateKey::default() };
    operator.create_key(&tenant, &key, how).await.unwrap();
    Scene { place, server, operator }
}

fn destruction(version: u32, window: Option<Duration>) -> DestroyKey {
    DestroyKey {
        target: DestroyTarget::Version(version),
        reason: DestroyReason::Superseded,
        ticket: String::new(),
        force: false,
        window,
        change: Change::default(),
    }
}

async fn version(kms: &Kms, number: u32) -> VersionUse {
    let (tenant, key) = names();
    let census = kms.census(&tenant, &key).await.unwrap();
    census.versions.into_iter().find(|used| used.version == number).unwrap()
}

/// Seals and opens until the census knows of it: reports come with renewals.
async fn use_until_known(operator: &Kms, service: &Kms) -> VersionUse {
    let (tenant, key) = names();
    let records = service.records(&tenant, &key);
    let column = Column::randomized("checkins", "phone").unwrap();
    let row = RecordId::try_from(&b"1"[..]).unwrap();
    let began = Instant::now();
    loop {
        let sealed = records.seal(&column, &row, b"138").await.unwrap();
        records.open(&column, &row, &sealed).await.unwrap();
        let used = version(operator, 1).await;
        if used.columns.iter().any(|column| column.opens > 0 && column.seals > 0) {
            return used;
        }
        assert!(began.elapsed() < PATIENCE, "{used:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_used_is_counted_by_column_and_a_restart_forgets_nothing() {
    let scene = scene().await;
    let quiet = version(&scene.operator, 1).await;
    assert!(quiet.columns.is_empty() && quiet.holders.is_empty() && quiet.is_complete());
    let used = use_until_known(&scene.operator, &client(&scene.place, "attendance").await).await;
    let [column] = &used.columns[..] else { panic!("{used:?}") };
    assert_eq!((column.table.as_str(), column.column.as_str()), ("checkins", "phone"));
    let [holder] = &used.holders[..] else { panic!("{used:?}") };
    assert_eq!(holder.identity, "spiffe://dev.local/attendance");
    assert!(used.is_complete());

    assert!(scene.server.terminate().success());
    let _server = scene.place.start();
    let again = version(&client(&scene.place, "operator").await, 1).await;
    assert!(again.columns[0].opens >= column.opens && again.columns[0].seals >= column.seals, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_leased_a_version_and_said_nothing_is_named() {
    let scene = scene().await;
    let (tenant, key) = names();
    let service = client(&scene.place, "attendance").await;
    let column = Column::randomized("checkins", "phone").unwrap();
    let row = RecordId::try_from(&b"1"[..]).unwrap();
    service.records(&tenant, &key).seal(&column, &row, b"138").await.unwrap();
    let used = version(&scene.operator, 1).await;
    assert_eq!(used.holders[0].last_report_day, None);
    assert!(used.columns.is_empty() && !used.is_complete(), "{used:?}");
    let profile = scene.place.profile("operator");
    let said = cli::kms(Some(&profile), ["key", "census", "attendance", "--tenant", "acme"]).ok();
    assert!(said.stdout.contains("spiffe://dev.local/attendance was leased it"), "{said:?}");
    let denied = service.census(&tenant, &key).await.unwrap_err();
    assert_eq!(denied.exit_code(), 5, "who may not describe the key learns nothing of its users");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_never_leased_a_version_cannot_make_it_look_used() {
    let scene = scene().await;
    let id = version(&scene.operator, 1).await.id;
    let stranger = Api::of(&scene.place, "hr-portal").await;
    let report = |version_id| UseReport {
        version_id,
        table: "checkins".into(),
        column: "phone".into(),
        seals: 5,
        opens: 5,
        moved: 0,
    };
    let message = v1::OpenDataKeysRequest {
        tenant: "acme".into(),
        items: vec![Item {
            item: Some(item::Item::Existing(Existing {
                version_id: id.get(),
                data_key_id: 1,
                key: String::new(),
            })),
        }],
        uses: vec![report(id.get()), report(u64::MAX)],
        ..v1::OpenDataKeysRequest::default()
    };
    stranger.crypto().open_data_keys(message).await.unwrap();
    let used = version(&scene.operator, 1).await;
    assert!(used.columns.is_empty() && used.holders.is_empty(), "{used:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_in_use_is_destroyed_only_by_force_and_what_dies_is_said() {
    let scene = scene().await;
    let (tenant, key) = names();
    use_until_known(&scene.operator, &client(&scene.place, "attendance").await).await;
    scene.operator.rotate_key(&tenant, &key, RotateKey::default()).await.unwrap();
    let profile = scene.place.profile("operator");
    let destroy = "key destroy attendance --tenant acme --version 1 --reason superseded";
    let said = cli::kms(Some(&profile), destroy.split(' '));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("in use: checkins.phone") && said.stderr.contains("use force"), "{said:?}");
    assert_eq!(version(&scene.operator, 1).await.version, 1, "it is still there");
    // The server itself says so, whoever asks and for whatever moment.
    for window in [None, Some(Duration::from_secs(7 * 86_400))] {
        let error = scene.operator.destroy_key(&tenant, &key, destruction(1, window)).await.unwrap_err();
        assert_eq!((error.reason(), error.exit_code()), (Some(Reason::VersionInUse), 1), "{error}");
        assert!(error.to_string().contains("in use: checkins.phone, last on 20"), "{error}");
    }
    cli::kms(Some(&profile), destroy.split(' ').chain(["--force"])).ok();
    let census = scene.operator.census(&tenant, &key).await.unwrap();
    assert_eq!(census.versions.iter().map(|used| used.version).collect::<Vec<_>>(), [2]);
    let error = scene.operator.destroy_key(&tenant, &key, destruction(1, None)).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::KeyDestroyed), "what is gone is not in use");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_nobody_said_to_use_is_destroyed_without_force() {
    let scene = scene().await;
    let (tenant, key) = names();
    scene.operator.rotate_key(&tenant, &key, RotateKey::default()).await.unwrap();
    scene.operator.rotate_key(&tenant, &key, RotateKey::default()).await.unwrap();
    // Leased it and said nothing: a matter for the census, not for the guard.
    let service = client(&scene.place, "attendance").await;
    let column = Column::randomized("checkins", "phone").unwrap();
    let row = RecordId::try_from(&b"1"[..]).unwrap();
    service.records(&tenant, &key).seal(&column, &row, b"138").await.unwrap();
    let done = scene.operator.destroy_key(&tenant, &key, destruction(2, None)).await.unwrap();
    assert_eq!(done.versions, [2]);
}

/// What is known of a family's subjects.
async fn subjects(kms: &Kms, family: &KeyName) -> Vec<SubjectsUse> {
    kms.census(&names().0, family).await.unwrap().subjects
}

#[tokio::test(flavor = "multi_thread")]
async fn uses_of_subjects_are_counted_together_by_the_rotations_of_their_family_and_nobody_is_named() {
    let scene = scene().await;
    let (tenant, family): (_, KeyName) = (names().0, "attendance-of-people".parse().unwrap());
    let how = CreateKey { lease: Some(LEASE), family: true, ..CreateKey::default() };
    scene.operator.create_key(&tenant, &family, how).await.unwrap();
    let profile = scene.place.profile("operator");
    let policy = r#"@id("people") @says("the attendance service seals and opens under the keys of people") @tenants("any")
        permit (principal == Service::"spiffe://dev.local/attendance",
                action in [Action::"seals", Action::"opens", Action::"ensures"], resource is Key)
        when { resource.family == "attendance-of-people" };"#;
    std::fs::write(scene.place.path("policies/people.cedar"), policy).unwrap();
    scene.server.hang_up();
    scene.server.wait_for_log("policies reloaded", 1);

    let service = client(&scene.place, "attendance").await;
    let people = ["zebra-1", "zebra-2", "zebra-3"].map(|name| name.parse().unwrap());
    for made in service.ensure_subjects(&tenant, family.family(), &people).await {
        made.unwrap();
    }
    let key = |name: &str| -> KeyName { format!("{family}/{name}").parse().unwrap() };
    let column = Column::randomized("checkins", "phone").unwrap();
    let row = RecordId::try_from(&b"1"[..]).unwrap();
    let mut sealed = Vec::new();
    for name in ["zebra-1", "zebra-2"] {
        let records = service.records(&tenant, &key(name));
        sealed.push((records.clone(), records.seal(&column, &row, b"138").await.unwrap()));
    }
    let open_until = async |sealed: &[(Records, Vec<u8>)], enough: &dyn Fn(&[SubjectsUse]) -> bool| {
        let began = Instant::now();
        loop {
            for (records, sealed) in sealed {
                records.open(&column, &row, sealed).await.unwrap();
            }
            let known = subjects(&scene.operator, &family).await;
            if enough(&known) {
                return known;
            }
            assert!(began.elapsed() < PATIENCE, "{known:?}");
        }
    };
    let known =
        open_until(&sealed, &|known| known.iter().any(|used| used.columns.iter().any(|used| used.opens > 0)))
            .await;
    let [together] = &known[..] else { panic!("{known:?}") };
    assert_eq!(
        (together.rotations, together.is_older, together.columns.len()),
        (0, false, 1),
        "{together:?}"
    );
    assert_eq!(together.columns[0].table, "checkins");
    assert_eq!(together.holders[0].identity, "spiffe://dev.local/attendance");
    for format in [None, Some(["-o", "json"])] {
        let words = format!("key census {family} --tenant acme");
        let said = cli::kms(Some(&profile), words.split(' ').chain(format.into_iter().flatten())).ok();
        assert!(said.stdout.contains("checkins") && !said.stdout.contains("zebra"), "{said:?}");
    }

    // Those of the next versions are told apart, whatever numbers they have.
    scene.operator.rotate_key(&tenant, &family, RotateKey::default()).await.unwrap();
    assert!(subjects(&scene.operator, &family).await[0].is_older);
    let records = service.records(&tenant, &key("zebra-1"));
    let version = |sealed: &[u8]| kms_core::field::Header::parse(sealed).unwrap().version;
    let began = Instant::now();
    let newer = loop {
        // Its lease under the version before may run on for a moment.
        let newer = records.seal(&column, &row, b"139").await.unwrap();
        if version(&newer) != version(&sealed[0].1) {
            break newer;
        }
        assert!(began.elapsed() < PATIENCE);
    };
    sealed.push((records, newer));
    let known = open_until(&sealed, &|known| known.len() > 1 && !known[1].columns.is_empty()).await;
    assert_eq!(
        known.iter().map(|used| (used.rotations, used.is_older)).collect::<Vec<_>>(),
        [(0, true), (1, false)]
    );

    // A version that somebody uses is not destroyed without force; one that nobody uses is, though others are used.
    for name in ["zebra-2", "zebra-3"] {
        scene.operator.rotate_key(&tenant, &key(name), RotateKey::default()).await.unwrap();
    }
    let error = scene.operator.destroy_key(&tenant, &key("zebra-2"), destruction(1, None)).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::VersionInUse), "{error}");
    assert!(
        error.to_string().contains("in use: checkins.phone") && !error.to_string().contains("zebra"),
        "{error}"
    );
    let done = scene.operator.destroy_key(&tenant, &key("zebra-3"), destruction(1, None)).await.unwrap();
    assert_eq!(done.versions, [1]);
}
