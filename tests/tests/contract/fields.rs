//! Field encryption: values, rows, persons, masked forms.

use kms_client::{
    Column, Context, DestroyReason, Error, KeyClass, Kms, Masked, Protect, Reason, RecordId, ToOpenField,
    ToSealField,
    api::{Binding, Change, CreateKey, DestroyKey, DestroyTarget, ReEncrypt, ToOpen, ToReEncrypt, ToSeal},
    protect::{FieldProblem, ProtectError},
};
use uuid::Uuid;

use crate::site::{Site, attendance, family, key, of_class, tenant, why};

#[derive(Clone, PartialEq, Protect)]
#[protect(table = "checkins", key = "attendance", tenant = "company_id", bind("company_id", "id"))]
pub(crate) struct CheckIn {
    company_id: String,
    id: Uuid,
    #[protect(encrypt, mask = "name")]
    name: String,
    #[protect(encrypt, text, index(eq, normalize = "phone", bits = 24), mask = "phone")]
    pub(crate) phone: String,
    #[protect(deterministic)]
    number: i64,
}

#[derive(Clone, PartialEq, Protect)]
#[protect(table = "checkins", key = "attendance", tenant = "company_id", bind("id"), per = "person")]
pub(crate) struct Visit {
    company_id: String,
    id: Uuid,
    person: String,
    #[protect(encrypt, mask = "phone")]
    phone: String,
    #[protect(encrypt)]
    place: String,
}

pub(crate) fn checkin(n: u32) -> CheckIn {
    CheckIn {
        company_id: "acme".into(),
        id: Uuid::from_u128(n.into()),
        name: format!("Person {n}"),
        phone: format!("138 0013 {n:04}"),
        number: i64::from(n) + 1_000_000,
    }
}

pub(crate) fn visit(n: u32, person: u32) -> Visit {
    Visit {
        company_id: "acme".into(),
        id: Uuid::from_u128(n.into()),
        person: format!("employee-{person}"),
        phone: format!("1380013{n:04}"),
        place: format!("gate {n}"),
    }
}

pub(crate) fn all<T, E: std::fmt::Debug>(results: Vec<Result<T, E>>) -> Vec<T> {
    results.into_iter().map(Result::unwrap).collect()
}

pub(crate) fn row(name: &str) -> RecordId {
    RecordId::try_from(name.as_bytes()).unwrap()
}

pub(crate) fn phone() -> Column {
    Column::randomized("checkins", "phone").unwrap()
}

pub(crate) fn context(pairs: &[(&str, &[u8])]) -> Context {
    Context::new(pairs.iter().copied()).unwrap()
}

pub(crate) async fn a_value_opens_where_it_was_sealed_and_nowhere_else(site: Site) {
    site.ground().await;
    site.tenant("other", &["attendance"]).await;
    let records = site.service().records(&tenant("acme"), &attendance());
    let sealed = records.seal(&phone(), &row("1"), b"138").await.unwrap();
    assert_eq!(records.open(&phone(), &row("1"), &sealed).await.unwrap().as_bytes(), b"138");

    let cold = site.service().records(&tenant("acme"), &attendance());
    assert_eq!(cold.open(&phone(), &row("1"), &sealed).await.unwrap().as_bytes(), b"138");
    for (column, at) in [
        (phone(), "2"),
        (Column::randomized("checkins", "name").unwrap(), "1"),
        (Column::randomized("visits", "phone").unwrap(), "1"),
    ] {
        assert_eq!(why(cold.open(&column, &row(at), &sealed).await), Reason::CiphertextRejected);
    }
    let elsewhere = site.service().records(&tenant("other"), &attendance());
    assert_eq!(why(elsewhere.open(&phone(), &row("1"), &sealed).await), Reason::KeyNotAccessible);
    // The server answers for what it is named, and for nothing else.
    let bound = Binding::Field {
        table: "checkins".parse().unwrap(),
        column: "phone".parse().unwrap(),
        record: row("1"),
    };
    for (whose, of) in [("acme", "payroll"), ("other", "attendance"), ("acme", "attendance.index")] {
        let opened = site.service().decrypt(&tenant(whose), &key(of), &bound, &sealed).await;
        assert_eq!(why(opened), Reason::KeyNotAccessible, "{whose} {of}");
    }

    // Of a deterministic column equal values are equal, in every row.
    let number = Column::deterministic("checkins", "number").unwrap();
    let one = records.seal(&number, &row("1"), b"17").await.unwrap();
    assert_eq!(one, cold.seal(&number, &row("2"), b"17").await.unwrap());
    assert_ne!(one, records.seal(&number, &row("1"), b"18").await.unwrap());
    assert_ne!(sealed, records.seal(&phone(), &row("1"), b"138").await.unwrap());
}

pub(crate) async fn what_is_no_ciphertext_or_was_cut_is_told_from_what_was_changed(site: Site) {
    site.ground().await;
    let kms = site.service();
    let records = kms.records(&tenant("acme"), &attendance());
    let sealed = records.seal(&phone(), &row("1"), b"138 0013 8000").await.unwrap();
    let bound = Binding::Field {
        table: "checkins".parse().unwrap(),
        column: "phone".parse().unwrap(),
        record: row("1"),
    };
    let mut changed = sealed.clone();
    *changed.last_mut().unwrap() ^= 1;
    let cut = sealed[..sealed.len() - 1].to_vec();
    let mut other_version = sealed.clone();
    other_version[9] ^= 0x40;
    let mut other_data_key = sealed.clone();
    other_data_key[13] ^= 0x40;
    for (what, ciphertext, here, there) in [
        ("changed", changed, Reason::CiphertextRejected, Reason::CiphertextRejected),
        ("cut", cut, Reason::CiphertextRejected, Reason::CiphertextRejected),
        ("stump", sealed[..10].to_vec(), Reason::CiphertextMalformed, Reason::CiphertextMalformed),
        ("plaintext", b"138 0013 8000".to_vec(), Reason::CiphertextMalformed, Reason::CiphertextMalformed),
        ("version that is not", other_version, Reason::KeyNotAccessible, Reason::KeyNotAccessible),
        ("data key that is not", other_data_key, Reason::CiphertextRejected, Reason::CiphertextRejected),
    ] {
        assert_eq!(why(records.open(&phone(), &row("1"), &ciphertext).await), here, "{what}");
        let opened = kms.decrypt(&tenant("acme"), &attendance(), &bound, &ciphertext).await;
        assert_eq!(why(opened), there, "{what}, at the server");
    }
    // One bad value of a batch is no other's.
    let (column, rows) = (phone(), [row("1"), row("2")]);
    let item = |at: usize| ToOpenField { column: &column, record: &rows[at], ciphertext: &sealed };
    let opened = records.open_batch(&[item(0), item(1)]).await;
    assert!(opened[0].is_ok());
    assert_eq!(opened[1].as_ref().err().and_then(Error::reason), Some(Reason::CiphertextRejected));
}

pub(crate) async fn rows_are_sealed_listed_and_found_with_one_call_when_cold_and_none_when_warm(site: Site) {
    site.ground().await;
    let kms = site.service();
    let rows: Vec<CheckIn> = (1..=200).map(checkin).collect();
    let twins = all(kms.seal_all(&rows).await);
    assert_eq!(kms.server_calls(), 1);
    let cold = site.service();
    for _ in 0..2 {
        assert_eq!(all(cold.open_all(twins.clone()).await), rows);
        assert_eq!(cold.server_calls(), 1, "no call for a row");
    }
    let probes = CheckIn::phone_index(&cold, &tenant("acme"), "(138) 0013-0042").await.unwrap().into_vec();
    let found: Vec<u32> =
        (1..).zip(&twins).filter(|(_, twin)| probes.contains(&twin.phone_index)).map(|(n, _)| n).collect();
    assert!(found.contains(&42) && found.len() < 10, "{found:?}");
    assert_eq!(twins[16].number, kms.seal(&checkin(17)).await.unwrap().number);

    // A value moved to another row is that row's error alone.
    let mut moved = twins;
    moved[3].name = moved[4].name.clone();
    let opened = cold.open_all(moved).await;
    assert_eq!(opened[3].as_ref().unwrap_err().reason(), Some(Reason::CiphertextRejected));
    assert_eq!(opened.iter().filter(|row| row.is_ok()).count(), 199);
}

pub(crate) async fn each_person_has_a_key_and_one_can_be_erased(site: Site) {
    let operator = site.operator();
    let how = CreateKey { family: true, ..CreateKey::default() };
    site.tenant_with("acme", &["attendance"], how).await;
    let (acme, kms) = (tenant("acme"), site.service());
    let rows: Vec<Visit> = (0..60).map(|n| visit(n, n % 20)).collect();
    let twins = all(kms.seal_all(&rows).await);
    let cold = site.service();
    assert_eq!(all(cold.open_all(twins.clone()).await), rows);
    assert_eq!(cold.server_calls(), 1, "one call over twenty persons");

    let names: Vec<_> = ["employee-3", "employee-4", "employee-99"].map(|name| name.parse().unwrap()).into();
    let ensured = all(kms.ensure_subjects(&acme, &family(), &names).await);
    assert_eq!(ensured.iter().map(|subject| subject.created).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(all(kms.ensure_subjects(&acme, &family(), &names[2..]).await)[0].id, ensured[2].id);

    let erase = DestroyKey {
        target: DestroyTarget::All,
        reason: DestroyReason::SubjectRequest,
        ticket: String::new(),
        force: false,
        window: None,
        change: Change::default(),
    };
    let person = key("attendance/employee-3");
    let destroyed = operator.destroy_key(&acme, &person, erase).await.unwrap();
    assert_eq!(destroyed.versions, [1]);
    site.told().await;
    for (opened, row) in site.service().open_all(twins.clone()).await.into_iter().zip(&rows) {
        let reason = opened.err().and_then(|error| error.reason());
        assert_eq!(reason, (row.person == "employee-3").then_some(Reason::KeyDestroyed));
    }
    // A late writer does not make the person again; an operator can, and what was sealed before stays dead.
    let again = kms.ensure_subjects(&acme, &family(), &names).await;
    assert_eq!(again[0].as_ref().unwrap_err().reason(), Some(Reason::KeyDestroyed));
    assert!(again[1].is_ok());
    assert_eq!(
        why(site.operator().create_key(&acme, &key("attendance/employee-4"), CreateKey::default()).await),
        Reason::AlreadyExists
    );
    let made = operator.create_key(&acme, &person, CreateKey::default()).await.unwrap();
    assert_eq!((made.name.subject_id(), made.active_version), (Some(ensured[0].id), 2));
    let sealed = site.service().seal(&visit(3, 3)).await.unwrap();
    assert_eq!(site.service().open(&sealed).await.unwrap(), visit(3, 3));
    let opened = site.service().open(&twins[3]).await.unwrap_err();
    assert_eq!(opened.reason(), Some(Reason::KeyDestroyed));

    // The family itself seals nothing, and what is no family has no subjects.
    let records = site.service().records(&acme, &attendance());
    assert_eq!(why(records.seal(&phone(), &row("1"), b"x").await), Reason::KeyIsFamily);
    operator.create_key(&acme, &key("payroll"), CreateKey::default()).await.unwrap();
    let refused = operator.ensure_subjects(&acme, &"payroll".parse().unwrap(), &names).await;
    assert!(refused.into_iter().all(|subject| why(subject) == Reason::KeyIsNoFamily));
    assert_eq!(
        site.operator().list_subjects_page(&acme, &family(), Default::default()).await.unwrap().items.len(),
        21
    );
}

fn text(masked: &Result<Masked, Error>) -> Result<&str, Reason> {
    masked.as_ref().map(|masked| &*masked.text).map_err(|error| error.reason().unwrap())
}

pub(crate) async fn masked_forms_are_revealed_of_declared_columns_and_to_those_with_rights(site: Site) {
    site.ground().await;
    let acme = tenant("acme");
    let kms = site.service();
    let twins = all(kms.seal_all(&[checkin(8_000), checkin(8_001)]).await);
    let portal = site.client("hr-portal");
    let masked = all(portal.open_masked(&twins).await);
    assert_eq!(portal.server_calls(), 1);
    assert_eq!(text(masked[0].column("phone").unwrap()), Ok("138****8000"));
    assert!(text(masked[1].column("name").unwrap()).unwrap().starts_with('P'));

    let records = portal.records(&acme, &attendance());
    let sealer = kms.records(&acme, &attendance());
    let salary = Column::randomized("checkins", "salary").unwrap();
    let sealed = sealer.seal(&salary, &row("1"), b"1000").await.unwrap();
    assert_eq!(why(records.reveal(&salary, &row("1"), &sealed).await), Reason::MaskNotDeclared);
    let location = Column::randomized("checkins", "location").unwrap();
    let sealed = sealer.seal(&location, &row("1"), b"nowhere").await.unwrap();
    assert_eq!(why(records.reveal(&location, &row("1"), &sealed).await), Reason::MaskDoesNotFit);
    let sealed = sealer.seal(&phone(), &row("1"), b"13800138000").await.unwrap();
    assert_eq!(records.reveal(&phone(), &row("1"), &sealed).await.unwrap().form, "phone");
    assert_eq!(why(records.reveal(&phone(), &row("2"), &sealed).await), Reason::CiphertextRejected);
    // Who may reveal may not therefore open, nor the other way about.
    assert_eq!(why(records.open(&phone(), &row("1"), &sealed).await), Reason::KeyNotAccessible);
    assert_eq!(why(sealer.reveal(&phone(), &row("1"), &sealed).await), Reason::KeyNotAccessible);
    assert_eq!(
        why(site.operator().records(&acme, &attendance()).reveal(&phone(), &row("1"), &sealed).await),
        Reason::KeyNotAccessible
    );

    // Values of subjects are revealed under the name of their family.
    let how = CreateKey { family: true, ..CreateKey::default() };
    site.tenant_with("people", &["attendance"], how).await;
    let visits = [0, 1].map(|n| Visit { company_id: "people".into(), ..visit(n, n) });
    let twins = all(site.service().seal_all(&visits).await);
    let masked = all(site.client("hr-portal").open_masked(&twins).await);
    assert_eq!(text(masked[1].column("phone").unwrap()), Ok("138****0001"));
    // And of others they are not, whatever is declared of their columns.
    let people = portal.records(&tenant("people"), &attendance());
    assert_eq!(why(people.reveal(&salary, &row("1"), &sealed).await), Reason::KeyNotAccessible);
    assert_eq!(why(people.reveal(&phone(), &row("1"), &sealed).await), Reason::KeyNotAccessible);
}

pub(crate) async fn a_key_of_class_l4_leaves_no_data_keys_and_seals_each_value_itself(site: Site) {
    site.tenant_with("acme", &["attendance"], of_class(KeyClass::L4)).await;
    let (kms, acme) = (site.service(), tenant("acme"));
    let records = kms.records(&acme, &attendance());
    assert_eq!(why(records.data_key_to_seal().await), Reason::ClassReleasesNoDataKeys);
    let (column, rows) = (phone(), [row("1"), row("2")]);
    let items =
        rows.each_ref().map(|record| ToSealField { column: &column, record, plaintext: b"13800138000" });
    let sealed = all(records.seal_batch(&items).await);
    assert_eq!(records.open(&phone(), &row("1"), &sealed[0]).await.unwrap().as_bytes(), b"13800138000");
    assert_eq!(why(records.open(&phone(), &row("2"), &sealed[0]).await), Reason::CiphertextRejected);
    let masked =
        site.client("hr-portal").records(&acme, &attendance()).reveal(&phone(), &row("2"), &sealed[1]).await;
    assert_eq!(text(&masked), Ok("138****8000"));
}

#[derive(Clone, PartialEq, Protect)]
#[protect(table = "checkins", key = "attendance", tenant = "company_id", bind("id"), class = "L3")]
struct Sensitive {
    company_id: String,
    id: Uuid,
    #[protect(encrypt)]
    place: String,
}

/// The same, as a release had it that said nothing of classes.
#[derive(Clone, PartialEq, Protect)]
#[protect(
    table = "checkins",
    key = "attendance",
    tenant = "company_id",
    bind("id"),
    sealed = "SealedUndeclared"
)]
struct Undeclared {
    company_id: String,
    id: Uuid,
    #[protect(encrypt)]
    place: String,
}

fn differs(error: &ProtectError, of: KeyClass) {
    match error.problem() {
        FieldProblem::Kms(Error::OtherClass { declared: KeyClass::L3, actual, .. }) => {
            assert_eq!((*actual, error.column()), (of, "place"));
        }
        _ => panic!("{error}"),
    }
}

pub(crate) async fn a_column_lies_under_a_key_of_the_class_that_it_declares_and_under_no_other(site: Site) {
    for (name, class) in [("l2", KeyClass::L2), ("l3", KeyClass::L3), ("l4", KeyClass::L4)] {
        site.tenant_with(name, &["attendance"], of_class(class)).await;
        let (company_id, place) = (name.to_owned(), "gate 1".to_owned());
        let row = Undeclared { company_id, id: Uuid::from_u128(1), place };
        let SealedUndeclared { company_id, id, place } = site.service().seal(&row).await.unwrap();
        let twin = SealedSensitive { company_id, id, place };
        let row = Sensitive { company_id: row.company_id, id, place: row.place };
        let (sealed, opened) = (site.service().seal(&row).await, site.service().open(&twin).await);
        match class {
            KeyClass::L3 => {
                assert!(site.service().open(&sealed.unwrap()).await.unwrap() == row);
                assert!(opened.unwrap() == row);
            }
            KeyClass::L4 => differs(&sealed.map(|_| ()).unwrap_err(), class),
            _ => {
                differs(&sealed.map(|_| ()).unwrap_err(), class);
                differs(&opened.map(|_| ()).unwrap_err(), class);
            }
        }
    }
}

pub(crate) async fn envelope_keys_open_with_their_context_and_values_are_sealed_again_unseen(site: Site) {
    site.ground().await;
    let (kms, acme, mine) = (site.service(), tenant("acme"), context(&[("file", b"1")]));
    let other = Binding::Direct(context(&[("file", b"2")]));
    let made = kms.generate_data_key(&acme, &attendance(), &mine, true).await.unwrap();
    let mine = Binding::Direct(mine);
    let opened = kms.decrypt(&acme, &attendance(), &mine, &made.ciphertext).await.unwrap();
    assert_eq!(opened.plaintext.as_bytes(), made.plaintext.unwrap().as_bytes());
    assert_eq!(
        why(kms.decrypt(&acme, &attendance(), &other, &made.ciphertext).await),
        Reason::CiphertextRejected
    );
    let unseen = kms.generate_data_key(&acme, &attendance(), &context(&[]), false).await.unwrap();
    assert!(unseen.plaintext.is_none());

    let how = ReEncrypt {
        source_binding: mine.clone(),
        destination_key: None,
        destination_binding: Some(other.clone()),
    };
    let again = kms.reencrypt(&acme, &attendance(), &made.ciphertext, &how).await.unwrap();
    assert_eq!((again.source_version, again.version), (1, 1));
    assert_eq!(
        kms.decrypt(&acme, &attendance(), &other, &again.ciphertext).await.unwrap().plaintext.as_bytes(),
        opened.plaintext.as_bytes()
    );
    assert_eq!(
        why(kms.reencrypt(&acme, &attendance(), &again.ciphertext, &how).await),
        Reason::CiphertextRejected
    );
    let elsewhere = ReEncrypt { destination_key: Some(key("payroll")), ..how.clone() };
    assert_eq!(
        why(kms.reencrypt(&acme, &attendance(), &made.ciphertext, &elsewhere).await),
        Reason::KeyNotAccessible
    );

    // In batches, each item for itself.
    batches(&kms, &made.ciphertext, &mine, &other).await;
    assert_eq!(kms.generate_random(32).await.unwrap().len(), 32);
}

async fn batches(kms: &Kms, sealed: &[u8], mine: &Binding, other: &Binding) {
    let acme = tenant("acme");
    let items = [mine, other].map(|binding| ToOpen { ciphertext: sealed, binding: binding.clone() });
    let opened = kms.decrypt_batch(&acme, &attendance(), &items).await;
    assert!(opened[0].is_ok());
    assert_eq!(opened[1].as_ref().err().and_then(Error::reason), Some(Reason::CiphertextRejected));
    let items = [mine, other].map(|binding| ToReEncrypt {
        ciphertext: sealed,
        source_binding: binding.clone(),
        destination_binding: None,
    });
    let resealed = kms.reencrypt_batch(&acme, &attendance(), None, &items).await;
    assert!(resealed[0].is_ok());
    assert_eq!(resealed[1].as_ref().err().and_then(Error::reason), Some(Reason::CiphertextRejected));
    let items = [b"a", b"b"].map(|plaintext| ToSeal { plaintext, binding: mine.clone() });
    let sealed = all(kms.encrypt_batch(&acme, &attendance(), &items).await);
    let opened = kms.decrypt(&acme, &attendance(), mine, &sealed[1]).await.unwrap();
    assert_eq!(opened.plaintext.as_bytes(), b"b");
}
