//! Keys that keep to their purposes, and rows that state one.

use kms_client::{Reason, api::CreateKey};

use super::{Scene, checkin, client};

#[tokio::test(flavor = "multi_thread")]
async fn rows_under_a_key_for_one_purpose_are_sealed_opened_and_revealed_for_that_purpose_only() {
    let scene = Scene::with(&[]).await;
    let tenant = "acme".parse().unwrap();
    scene.operator.create_tenant(&tenant, Default::default()).await.unwrap();
    for key in ["attendance", "attendance.index"] {
        let how = CreateKey { purposes: vec!["payroll".into()], ..CreateKey::default() };
        scene.operator.create_key(&tenant, &key.parse().unwrap(), how).await.unwrap();
    }
    let payroll = scene.service.clone().with_purpose("payroll");
    let row = checkin(2);
    let twin = payroll.seal(&row).await.unwrap();
    assert!(payroll.open(&twin).await.unwrap() == row);
    let phone = super::CheckIn::phone_index(&payroll, &tenant, "13800130002").await.unwrap();
    assert!(phone.as_slice().contains(twin.phone_index.as_ref().unwrap()));

    // Leases for one purpose serve no other, and none is as good as another.
    for other in [scene.service.clone(), scene.service.clone().with_purpose("marketing")] {
        let denied = other.open(&twin).await.map(|_| ()).unwrap_err();
        assert_eq!(denied.reason(), Some(Reason::KeyNotAccessible), "{denied}");
        let denied = other.seal(&row).await.map(|_| ()).unwrap_err();
        assert_eq!(denied.reason(), Some(Reason::KeyNotAccessible), "{denied}");
        super::CheckIn::phone_index(&other, &tenant, "13800130002").await.unwrap_err();
    }
    let portal = client(&scene.place, "hr-portal").await;
    let shown = portal.clone().with_purpose("payroll").open_masked(std::slice::from_ref(&twin)).await;
    let shown = shown[0].as_ref().unwrap().column("phone").unwrap().as_ref().unwrap();
    assert_eq!(shown.text, "138****0002");
    let denied = portal.open_masked(&[twin]).await;
    let denied = denied[0].as_ref().unwrap().column("phone").unwrap().as_ref().unwrap_err();
    assert_eq!(denied.reason(), Some(Reason::KeyNotAccessible));
}
