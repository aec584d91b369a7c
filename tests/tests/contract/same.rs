//! The same story told to both: every description is the same, but for what is random and when it was.

use kms_client::{
    Kms,
    api::{Change, CreateKey, CreateTenant, DestroyTarget, Key, PageRequest, RotateKey, Tenant, UpdateKey},
    testing::Operation,
};

use crate::{
    keys::{destroying, destroying_tenant},
    site::{Site, attendance, family, key, tenant},
};

#[tokio::test]
async fn both_describe_tenants_and_keys_in_the_same_words_through_all_of_their_lives() {
    let told = |site: Site| async move { story(&site.operator()).await };
    let (real, in_memory) = (told(Site::real().await).await, told(Site::in_memory()).await);
    for (real, in_memory) in real.iter().zip(&in_memory) {
        assert_eq!(in_memory, real);
    }
    assert_eq!(in_memory.len(), real.len());
}

#[test]
fn operations_are_those_of_the_server() {
    for operation in Operation::ALL {
        let word: kms_server::operation::Operation = operation.as_str().parse().unwrap();
        assert_eq!(word.as_str(), operation.to_string());
    }
}

async fn story(kms: &Kms) -> Vec<String> {
    let (acme, people) = (tenant("acme"), tenant("people"));
    let (change, mut told) = (Change::default(), Vec::new());
    let how = CreateTenant { label: "A company".into(), ..CreateTenant::default() };
    told.push(of_tenant(kms.create_tenant(&acme, how).await.unwrap()));
    kms.create_tenant(&people, CreateTenant::default()).await.unwrap();
    let how = CreateKey { purposes: vec!["roster".into()], ..CreateKey::default() };
    told.push(of_key(kms.create_key(&acme, &attendance(), how).await.unwrap()));
    for _ in 0..2 {
        told.push(of_key(kms.rotate_key(&acme, &attendance(), RotateKey::default()).await.unwrap()));
    }
    let how = UpdateKey {
        lease: Some(std::time::Duration::from_secs(60)),
        purposes: Some(Vec::new()),
        ..UpdateKey::default()
    };
    told.push(of_key(kms.update_key(&acme, &attendance(), how).await.unwrap()));
    for target in [DestroyTarget::Version(2), DestroyTarget::Version(3)] {
        let destroyed = kms.destroy_key(&acme, &attendance(), destroying(target)).await.unwrap();
        told.push(format!("{:?} {} {}", destroyed.versions, destroyed.effaced, of_key(destroyed.key)));
    }
    told.push(of_key(kms.suspend_key(&acme, &attendance(), change).await.unwrap()));
    told.push(of_key(kms.resume_key(&acme, &attendance(), change).await.unwrap()));
    told.push(of_key(kms.rotate_key(&acme, &attendance(), RotateKey::default()).await.unwrap()));
    let versions = kms.list_versions_page(&acme, &attendance(), PageRequest::default()).await.unwrap();
    told.push(format!("{:?}", versions.items.iter().map(|v| (v.version, v.state)).collect::<Vec<_>>()));

    let how = CreateKey { family: true, ..CreateKey::default() };
    told.push(of_key(kms.create_key(&people, &attendance(), how).await.unwrap()));
    let names: Vec<_> = (0..3).map(|n| format!("employee {n}").parse().unwrap()).collect();
    kms.ensure_subjects(&people, &family(), &names).await;
    let person = key("attendance/employee 1");
    told.push(of_key(kms.describe_key(&people, &person).await.unwrap()));
    told.push(of_key(kms.suspend_key(&people, &attendance(), change).await.unwrap()));
    told.push(of_key(kms.describe_key(&people, &person).await.unwrap()));
    kms.resume_key(&people, &attendance(), change).await.unwrap();
    kms.destroy_key(&people, &person, destroying(DestroyTarget::All)).await.unwrap();
    told.push(of_key(kms.describe_key(&people, &person).await.unwrap()));
    let subjects = kms.list_subjects_page(&people, &family(), PageRequest::default()).await.unwrap();
    let mut states: Vec<_> = subjects.items.iter().map(|key| key.state).collect();
    states.sort_unstable();
    told.push(format!("{states:?}"));

    told.push(of_tenant(kms.suspend_tenant(&people, change).await.unwrap()));
    told.push(of_key(kms.describe_key(&people, &attendance()).await.unwrap()));
    told.push(of_tenant(kms.resume_tenant(&people, change).await.unwrap()));
    let label = kms.update_tenant(&people, Some("Persons".into()), change).await.unwrap();
    told.push(of_tenant(label));
    let destroyed = kms.destroy_tenant(&acme, destroying_tenant()).await.unwrap();
    told.push(of_tenant(destroyed.tenant));
    told.push(of_key(kms.describe_key(&acme, &attendance()).await.unwrap()));
    let tenants = kms.list_tenants_page(PageRequest::default()).await.unwrap();
    told.extend(tenants.items.into_iter().map(of_tenant));
    let keys = kms.list_keys_page(&acme, PageRequest::default()).await.unwrap();
    told.extend(keys.items.into_iter().map(of_key));
    told
}

fn of_tenant(tenant: Tenant) -> String {
    let Tenant { name, state, revision, created: _, destroyed, uid: _, slot, label, destroy_due } = tenant;
    let destroyed = destroyed.is_some();
    format!("{name} {state} r{revision} destroyed {destroyed} slot {slot} {label:?} due {destroy_due:?}")
}

fn of_key(key: Key) -> String {
    let versions: Vec<_> = key
        .versions
        .iter()
        .map(|version| {
            let (state, destroyed) = (version.state, version.destroyed.is_some());
            format!("{} {} {state} destroyed {destroyed}", version.version, version.id)
        })
        .collect();
    format!(
        "{} {} {} {} r{} {:?} lease {:?} active {} deterministic {} family {} due {:?} {:?} {versions:?}",
        key.tenant,
        key.name.family(),
        key.class,
        key.state,
        key.revision,
        key.purposes,
        key.lease,
        key.active_version,
        key.deterministic_version,
        key.family,
        key.destroy_due,
        key.rotate_due,
    )
}
