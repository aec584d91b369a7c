//! Equality search.

use kms_proto::reason::Reason;
use uuid::Uuid;

use super::BlindIndexValue;
use crate::{
    Protect,
    testing::{SETTLING, TENANT, scene, scene_of_families},
};

const OPEN: &str = "OpenDataKeys";
const INDEX_KEY: &str = "attendance.index";

#[derive(Clone, Protect)]
#[protect(table = "people", key = "attendance", tenant = "company_id", bind("id"))]
struct Person {
    company_id: String,
    id: Uuid,
    #[protect(encrypt, index(eq, normalize = "phone", bits = 64, long_index = "accepted"))]
    phone: String,
    #[protect(encrypt, index(eq, bits = 20, name = "exact", column = "number_bidx"))]
    number: Option<u64>,
}

fn person(n: u64) -> Person {
    Person {
        company_id: "acme".into(),
        id: Uuid::from_u128(n.into()),
        phone: format!("138 0013 {n:04}"),
        number: n.is_multiple_of(2).then_some(n),
    }
}

#[tokio::test]
async fn indexes_and_data_keys_come_in_one_call_and_equal_values_are_found() {
    let scene = scene();
    let rows: Vec<Person> = (1..=200).map(person).collect();
    let twins: Vec<SealedPerson> =
        scene.kms.seal_all(&rows).await.into_iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(scene.calls(OPEN), 1);
    let tenant = TENANT.parse().unwrap();
    let probes = Person::phone_index(&scene.kms, &tenant, "(138) 0013-0017").await.unwrap();
    let found: Vec<_> = twins.iter().filter(|twin| probes.as_slice().contains(&twin.phone_index)).collect();
    assert_eq!(found.iter().map(|twin| twin.id).collect::<Vec<_>>(), [Uuid::from_u128(17)]);
    assert_eq!(scene.calls(OPEN), 1, "the index key is at hand");

    assert_eq!((&twins[0].number, &twins[0].number_bidx), (&None, &None), "NULL has no index");
    let probes = Person::number_index(&scene.kms, &tenant, &18).await.unwrap();
    let found =
        |twin: &&SealedPerson| probes.as_slice().iter().any(|probe| twin.number_bidx.as_ref() == Some(probe));
    assert!(twins.iter().filter(found).any(|twin| twin.id == Uuid::from_u128(18)));
    assert_eq!(probes.as_slice()[0].as_bytes().len(), 3, "20 bits");
    assert_eq!(SealedPerson::COLUMNS, ["company_id", "id", "phone", "phone_index", "number", "number_bidx"]);
}

#[tokio::test]
async fn probes_cover_every_live_version_of_the_index_key() {
    let scene = scene();
    let older = scene.kms.seal(&person(1)).await.unwrap();
    scene.rotate(INDEX_KEY).await;
    scene.centre.advance(SETTLING);
    let cold = scene.cold();
    let newer = cold.seal(&person(1)).await.unwrap();
    assert_ne!(older.phone_index, newer.phone_index);
    let probes =
        Person::phone_index(&cold, &TENANT.parse().unwrap(), "13800130001").await.unwrap().into_vec();
    assert_eq!(probes, [newer.phone_index.clone(), older.phone_index.clone()], "the newest first");
    for twin in [&older, &newer] {
        assert_eq!(cold.open(twin).await.unwrap().phone, "138 0013 0001");
    }
}

#[tokio::test]
async fn an_index_that_was_tampered_with_misleads_the_search_and_opens_nothing_else() {
    let scene = scene();
    let mut twin = scene.kms.seal(&person(1)).await.unwrap();
    twin.phone_index = BlindIndexValue::from(vec![0; 8]);
    assert_eq!(
        scene.kms.open(&twin).await.unwrap().phone,
        "138 0013 0001",
        "what is found is opened and compared"
    );
}

#[tokio::test]
async fn without_the_index_key_nothing_is_sealed_and_the_column_is_named() {
    let scene = scene();
    scene.suspend(INDEX_KEY).await;
    let error = scene.kms.seal(&person(1)).await.map(|_| ()).unwrap_err();
    assert_eq!((error.column(), error.reason()), ("phone", Some(Reason::KeySuspended)), "{error}");
    let error = Person::phone_index(&scene.kms, &TENANT.parse().unwrap(), "1").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::KeySuspended));
}

#[derive(Clone, Protect)]
#[protect(table = "gates", key = "attendance", tenant = "in", bind("type"))]
struct Gate {
    r#in: String,
    r#type: String,
    #[protect(encrypt, index(eq, bits = 20))]
    r#ref: String,
    #[protect(encrypt, index(eq, bits = 20, column = "r#as"))]
    r#mod: String,
}

#[tokio::test]
async fn fields_named_as_words_of_the_language_are_columns_named_so() {
    let scene = scene();
    let gate = Gate { r#in: "acme".into(), r#type: "g".into(), r#ref: "1".into(), r#mod: "2".into() };
    let twin = scene.kms.seal(&gate).await.unwrap();
    assert_eq!(SealedGate::COLUMNS, ["in", "type", "ref", "ref_index", "mod", "r#as"]);
    assert_eq!((&*Gate::SCHEMA.tenant, &*Gate::SCHEMA.bind[0]), ("in", "type"));
    let probes = Gate::ref_index(&scene.kms, &TENANT.parse().unwrap(), "1").await.unwrap();
    assert!(probes.as_slice().contains(&twin.ref_index));
    assert_eq!(scene.kms.open(&twin).await.unwrap().r#mod, "2");
}

macro_rules! guest {
    ($name:ident, $sealed:literal, [$($table:tt)*], [$($phone:tt)*]) => {
        #[derive(Clone, Protect)]
        #[protect(table = "guests", tenant = "company_id", bind("id"), sealed = $sealed, $($table)*)]
        struct $name {
            company_id: String,
            id: Uuid,
            person: String,
            #[protect(encrypt, $($phone)*)]
            phone: String,
        }

        impl $name {
            fn of(n: u128) -> Self {
                let (company_id, person, phone) = ("acme".into(), n.to_string(), "138 0013 0001".into());
                Self { company_id, id: Uuid::from_u128(n), person, phone }
            }
        }
    };
}

guest!(
    Early,
    "SealedEarly",
    [key = "tenancy"],
    [index(eq, normalize = "phone", bits = 64, long_index = "accepted")]
);
guest!(
    Late,
    "SealedLate",
    [key = "attendance", per = "person"],
    [
        index(eq, normalize = "phone", bits = 64, long_index = "accepted", key = "tenancy.index"),
        previous(key = "tenancy", shared)
    ]
);

#[tokio::test]
async fn a_search_finds_old_rows_and_new_ones_after_each_person_got_a_key() {
    let scene = scene_of_families();
    scene.create(["tenancy", "tenancy.index"]);
    let early = scene.kms.seal(&Early::of(1)).await.unwrap();
    let SealedEarly { company_id, id, person, phone, phone_index } = early;
    let early = SealedLate { company_id, id, person, phone, phone_index };
    let late = scene.kms.seal(&Late::of(2)).await.unwrap();
    let cold = scene.cold();
    let probes = Late::phone_index(&cold, &TENANT.parse().unwrap(), "138-0013-0001").await.unwrap();
    let rows = [early, late].into_iter().filter(|row| probes.as_slice().contains(&row.phone_index));
    let found: Vec<_> = cold.open_all(rows).await.into_iter().map(|row| row.unwrap().id.as_u128()).collect();
    assert_eq!(found, [1, 2]);
}
