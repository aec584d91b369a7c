//! Refusals, message by message: with nothing of the client between that would hide a bad one.

use kms_client::{
    KeyClass, Reason,
    api::{CreateKey, CreateTenant},
};
use kms_proto::v1::{self, open_data_keys_request as ask, open_data_keys_response::item::Outcome};
use kms_tests::api::{Answer, Api, answer, context, destroy, field, fresh, reason};

use crate::site::{Site, key, of_class, tenant, why};

fn refused<T>(answered: Answer<T>) -> Reason {
    answered.err().unwrap_or_else(|| panic!("it was done"))
}

pub(crate) async fn messages_that_say_what_they_may_not_are_refused(site: Site) {
    site.ground().await;
    let (service, operator) = (site.api("attendance"), site.api("operator"));
    sealing(&service).await;
    batches(&service).await;
    managing(&operator).await;
    lists(&operator).await;
}

async fn sealing(service: &Api) {
    let large = vec![0; (64 << 10) + 1];
    let pairs: Vec<(String, &str)> = (0..17).map(|n| (format!("n{n}"), "v")).collect();
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (&**name, *value)).collect();
    let none = v1::Binding { binding: None };
    for (binding, expected) in [
        (none, Reason::BindingInvalid),
        (context(&pairs), Reason::ContextInvalid),
        (context(&[("Name", "v")]), Reason::ContextInvalid),
        (context(&[("a", "1"), ("a", "2")]), Reason::ContextInvalid),
        (context(&[("a", &"v".repeat(1_025))]), Reason::ContextInvalid),
        (field("", "phone", "1"), Reason::NameInvalid),
        (field("checkins", &"c".repeat(129), "1"), Reason::NameInvalid),
        (field("checkins", "phone", ""), Reason::NameInvalid),
    ] {
        let sealed = service.encrypt("acme", "attendance", b"x", binding).await;
        assert_eq!(refused(sealed), expected);
    }
    let sealed = service.encrypt("acme", "attendance", &large, context(&[])).await;
    assert_eq!(refused(sealed), Reason::PayloadTooLarge);
    assert_eq!(
        refused(service.decrypt("acme", "attendance", b"", context(&[])).await),
        Reason::FieldRequired
    );
    let stump = service.decrypt("acme", "attendance", b"KF", context(&[])).await;
    assert_eq!(refused(stump), Reason::CiphertextMalformed);
    let sealed = service.encrypt("acme", "attendance.index", b"x", context(&[])).await;
    assert_eq!(refused(sealed), Reason::KeyNotAccessible, "it may index with it, and nothing else");
    for length in [0, 70_000] {
        let drawn = service.crypto().generate_random(v1::GenerateRandomRequest { length }).await;
        assert_eq!(refused(answer(drawn)), Reason::FieldInvalid);
    }
}

async fn batches(service: &Api) {
    let item = v1::encrypt_batch_request::Item { plaintext: b"x".to_vec(), binding: Some(context(&[])) };
    let bad = v1::encrypt_batch_request::Item { plaintext: b"x".to_vec(), binding: None };
    let large = v1::encrypt_batch_request::Item { plaintext: vec![0; 64 << 10], ..item.clone() };
    let batch = |items: Vec<_>| {
        let mut stub = service.crypto();
        let message = v1::EncryptBatchRequest {
            tenant: "acme".into(),
            key: "attendance".into(),
            items,
            purpose: String::new(),
        };
        async move { answer(stub.encrypt_batch(message).await) }
    };
    assert_eq!(refused(batch(Vec::new()).await), Reason::FieldRequired);
    assert_eq!(refused(batch(vec![item.clone(); 1_001]).await), Reason::BatchTooLarge);
    assert_eq!(refused(batch(vec![large; 66]).await), Reason::PayloadTooLarge);
    let sealed = batch(vec![item, bad]).await.unwrap();
    use v1::encrypt_batch_response::item::Outcome;
    assert!(matches!(sealed.items[0].outcome, Some(Outcome::Ciphertext(_))));
    match &sealed.items[1].outcome {
        Some(Outcome::Error(error)) => assert_eq!(error.reason, Reason::BindingInvalid.as_str()),
        _ => panic!("it was done"),
    }
    let none: [&str; 0] = [];
    assert_eq!(refused(service.ensure("acme", "attendance", &none).await), Reason::FieldRequired);
    let many: Vec<String> = (0..10_001).map(|n| n.to_string()).collect();
    assert_eq!(refused(service.ensure("acme", "attendance", &many).await), Reason::BatchTooLarge);
}

async fn managing(operator: &Api) {
    let create = v1::CreateKeyRequest {
        request_id: fresh(),
        tenant: "acme".into(),
        key: "new".into(),
        ..v1::CreateKeyRequest::default()
    };
    let second = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    for (message, expected) in [
        (v1::CreateKeyRequest { request_id: String::new(), ..create.clone() }, Reason::FieldRequired),
        (v1::CreateKeyRequest { request_id: "one".into(), ..create.clone() }, Reason::RequestIdInvalid),
        (v1::CreateKeyRequest { key: "New".into(), ..create.clone() }, Reason::NameInvalid),
        (
            v1::CreateKeyRequest { key: "a//".to_owned() + &"0".repeat(32), ..create.clone() },
            Reason::NameInvalid,
        ),
        (v1::CreateKeyRequest { key_class: 9, ..create.clone() }, Reason::FieldInvalid),
        (v1::CreateKeyRequest { lease: second(0), ..create.clone() }, Reason::FieldInvalid),
        (v1::CreateKeyRequest { lease: second(86_401), ..create.clone() }, Reason::FieldInvalid),
        (v1::CreateKeyRequest { purposes: vec![String::new()], ..create.clone() }, Reason::FieldInvalid),
        (v1::CreateKeyRequest { tenant: "nobody".into(), ..create.clone() }, Reason::TenantNotAccessible),
        (v1::CreateKeyRequest { key: "payroll/17".into(), ..create.clone() }, Reason::KeyIsNoFamily),
        (
            v1::CreateKeyRequest { key: "payroll/17".into(), family: true, ..create.clone() },
            Reason::FieldInvalid,
        ),
        (v1::CreateKeyRequest { key: "nothing/17".into(), ..create.clone() }, Reason::KeyNotAccessible),
    ] {
        let what = format!("{message:?}");
        assert_eq!(refused(answer(operator.keys().create_key(message).await)), expected, "{what}");
    }
    let gone = destroy("acme", "payroll", None);
    for (message, expected) in [
        (v1::DestroyKeyRequest { target: None, ..gone.clone() }, Reason::FieldRequired),
        (v1::DestroyKeyRequest { reason: 0, ..gone.clone() }, Reason::FieldRequired),
        (v1::DestroyKeyRequest { reason: 77, ..gone.clone() }, Reason::FieldInvalid),
        (v1::DestroyKeyRequest { ticket: "a b".into(), ..gone.clone() }, Reason::FieldInvalid),
        (destroy("acme", "nothing", None), Reason::KeyNotAccessible),
    ] {
        assert_eq!(refused(answer(operator.keys().destroy_key(message).await)), expected);
    }
    let label = v1::CreateTenantRequest { request_id: fresh(), tenant: "new".into(), label: "a\nb".into() };
    assert_eq!(refused(answer(operator.keys().create_tenant(label).await)), Reason::FieldInvalid);
    assert_eq!(refused(operator.create_tenant("New").await), Reason::NameInvalid);
    assert_eq!(refused(operator.describe_key("acme", "No").await), Reason::NameInvalid);
}

async fn lists(operator: &Api) {
    let message = v1::ListTenantsRequest { page_size: 0, page_token: "junk".into() };
    assert_eq!(refused(answer(operator.keys().list_tenants(message).await)), Reason::PageTokenInvalid);
    operator.create_tenant("second").await.unwrap();
    let message = v1::ListTenantsRequest { page_size: 1, page_token: String::new() };
    let first = answer(operator.keys().list_tenants(message).await).unwrap();
    assert_eq!(first.tenants.iter().map(|tenant| &*tenant.name).collect::<Vec<_>>(), ["acme"]);
    let token = first.next_page_token;
    let message = v1::ListTenantsRequest { page_size: 1, page_token: token.clone() };
    let second = answer(operator.keys().list_tenants(message).await).unwrap();
    assert_eq!(second.tenants.iter().map(|tenant| &*tenant.name).collect::<Vec<_>>(), ["second"]);
    let keys =
        v1::ListKeysRequest { tenant: "acme".into(), page_token: token, ..v1::ListKeysRequest::default() };
    assert_eq!(refused(answer(operator.keys().list_keys(keys).await)), Reason::PageTokenInvalid);
    for (family, expected) in [("nothing", Reason::KeyDestroyed), ("No", Reason::NameInvalid)] {
        let (tenant, family) = ("acme".into(), family.into());
        let message = v1::ListKeysRequest { tenant, family, ..v1::ListKeysRequest::default() };
        assert_eq!(refused(answer(operator.keys().list_keys(message).await)), expected);
    }
}

pub(crate) async fn names_that_lead_nowhere_and_names_of_others_have_one_face(site: Site) {
    site.ground().await;
    let service = site.api("attendance");
    for (tenant, key) in [
        ("acme", "nothing"),
        ("acme", "payroll"),
        ("nobody", "attendance"),
        ("acme", "attendance/17"),
        ("acme", "attendance//0123456789abcdef0123456789abcdef"),
    ] {
        let sealed = service.encrypt(tenant, key, b"x", context(&[])).await;
        assert_eq!(refused(sealed), Reason::KeyNotAccessible, "{tenant} {key}");
        assert_eq!(
            refused(service.ensure(tenant, key, &["1"]).await),
            Reason::KeyNotAccessible,
            "{tenant} {key}"
        );
    }
    for (tenant, key) in [("acme", "No"), ("No", "attendance"), ("acme", "attendance/")] {
        let sealed = service.encrypt(tenant, key, b"x", context(&[])).await;
        assert_eq!(refused(sealed), Reason::NameInvalid, "{tenant} {key}");
    }
}

pub(crate) async fn who_has_no_rights_is_denied(site: Site) {
    site.ground().await;
    let (service, operator, portal) = (site.api("attendance"), site.api("operator"), site.api("hr-portal"));
    let sealed = service.encrypt("acme", "attendance", b"x", field("checkins", "phone", "1")).await.unwrap();

    for api in [&service, &portal] {
        assert_eq!(refused(api.create_tenant("more").await), Reason::TenantNotAccessible);
        assert_eq!(refused(api.create_key("acme", "more").await), Reason::KeyNotAccessible);
        assert_eq!(refused(api.describe_key("acme", "attendance").await), Reason::KeyNotAccessible);
        assert_eq!(refused(api.rotate("acme", "attendance").await), Reason::KeyNotAccessible);
        assert_eq!(refused(api.destroy("acme", "attendance", None).await), Reason::KeyNotAccessible);
        assert_eq!(refused(api.destroy_tenant("acme").await), Reason::TenantNotAccessible);
        let list = v1::ListTenantsRequest::default();
        assert_eq!(refused(answer(api.keys().list_tenants(list).await)), Reason::PolicyDenied);
        let masks = v1::ListMasksRequest::default();
        assert_eq!(refused(answer(api.policy().list_masks(masks).await)), Reason::PolicyDenied);
    }
    for api in [&operator, &portal] {
        let binding = || field("checkins", "phone", "1");
        assert_eq!(
            refused(api.encrypt("acme", "attendance", b"x", binding()).await),
            Reason::KeyNotAccessible
        );
        assert_eq!(
            refused(api.decrypt("acme", "attendance", &sealed, binding()).await),
            Reason::KeyNotAccessible
        );
        let drawn = api.crypto().generate_random(v1::GenerateRandomRequest { length: 1 }).await;
        assert_eq!(refused(answer(drawn)), Reason::PolicyDenied);
    }
    let masks = answer(operator.policy().list_masks(v1::ListMasksRequest::default()).await).unwrap();
    let phone = |mask: &v1::DeclaredMask| mask.column == "phone" && mask.form == "phone";
    assert!(masks.masks.len() == 8 && masks.masks.iter().any(phone));
}

fn current(key: &str, deterministic: bool) -> ask::item::Item {
    ask::item::Item::Current(ask::Current { key: key.into(), deterministic })
}

fn existing(version_id: u64, data_key_id: u32, key: &str) -> ask::item::Item {
    ask::item::Item::Existing(ask::Existing { version_id, data_key_id, key: key.into() })
}

fn index(key: &str) -> ask::item::Item {
    ask::item::Item::Index(ask::Index { key: key.into() })
}

async fn lease(api: &Api, items: Vec<Option<ask::item::Item>>) -> Answer<Vec<Outcome>> {
    let items = items.into_iter().map(|item| ask::Item { item }).collect();
    let message =
        v1::OpenDataKeysRequest { tenant: "acme".into(), items, ..v1::OpenDataKeysRequest::default() };
    let answered = answer(api.crypto().open_data_keys(message).await)?;
    Ok(answered.items.into_iter().map(|item| item.outcome.unwrap()).collect())
}

pub(crate) async fn leases_are_refused_item_by_item(site: Site) {
    let operator = site.ground().await;
    operator.create_tenant(&tenant("vault"), CreateTenant::default()).await.unwrap();
    operator.create_key(&tenant("vault"), &key("attendance"), of_class(KeyClass::L4)).await.unwrap();
    let no_index = operator.create_key(&tenant("acme"), &key("more"), CreateKey::default()).await.unwrap();
    let service = site.api("attendance");
    let leased = lease(&service, vec![Some(current("attendance", false))]).await.unwrap().remove(0);
    let Outcome::Leased(leased) = leased else { panic!("it was refused") };
    let version = leased.version_id;
    let own = 1 << 31;

    let asked = [
        (Some(existing(version, leased.data_key_id, "")), None),
        (Some(existing(version, leased.data_key_id, "attendance")), None),
        (Some(existing(version, leased.data_key_id, "payroll")), Some(Reason::KeyNotAccessible)),
        (Some(existing(version, leased.data_key_id + 7, "")), Some(Reason::CiphertextRejected)),
        (Some(existing(version, 0, "")), Some(Reason::CiphertextRejected)),
        (Some(existing(version, own, "")), Some(Reason::ServerOwnDataKey)),
        (Some(existing(version + 1_000, 1, "")), Some(Reason::KeyNotAccessible)),
        (Some(existing(1 << 32 | 1, 1, "")), Some(Reason::KeyNotAccessible)),
        (Some(existing(no_index.versions[0].id.get(), 1, "")), Some(Reason::KeyNotAccessible)),
        (Some(current("nothing", false)), Some(Reason::KeyNotAccessible)),
        (Some(current("No", false)), Some(Reason::KeyNotAccessible)),
        (Some(current("payroll", true)), Some(Reason::KeyNotAccessible)),
        (Some(current("attendance.index", false)), Some(Reason::KeyNotAccessible)),
        (Some(index("attendance")), Some(Reason::KeyUseMismatch)),
        (Some(index("attendance.index")), None),
        (None, Some(Reason::FieldRequired)),
    ];
    let items = asked.iter().map(|(item, _)| item.clone()).collect();
    let outcomes = lease(&service, items).await.unwrap();
    for ((item, expected), outcome) in asked.iter().zip(outcomes) {
        let refused = match outcome {
            Outcome::Error(error) => Some(error.reason.parse().unwrap()),
            _ => None,
        };
        assert_eq!(refused, *expected, "{item:?}");
    }
    assert_eq!(refused(lease(&service, Vec::new()).await), Reason::FieldRequired);
    let many = vec![Some(current("attendance", false)); 10_001];
    assert_eq!(refused(lease(&service, many).await), Reason::BatchTooLarge);
    assert_eq!(
        refused(lease(&service, vec![Some(index("attendance.index")); 101]).await),
        Reason::BatchTooLarge
    );
    let message = v1::OpenDataKeysRequest {
        tenant: "acme".into(),
        items: vec![ask::Item { item: Some(current("attendance", false)) }],
        client_instance: "me".into(),
        ..v1::OpenDataKeysRequest::default()
    };
    let answered = service.crypto().open_data_keys(message).await.unwrap_err();
    assert_eq!(reason(&answered), Reason::FieldInvalid);
    let kms = site.service().records(&tenant("vault"), &key("attendance"));
    assert_eq!(why(kms.data_key_to_seal().await), Reason::ClassReleasesNoDataKeys);
}
