//! Several tenants in one table: one call for each, and none opens what is another's.

use kms_client::{
    DestroyReason, Reason,
    api::{Change, DestroyKey, DestroyTarget},
};

use super::{CheckIn, Scene, SealedCheckIn, checkin, client};

fn of(tenant: &str, n: u32) -> CheckIn {
    CheckIn { company_id: tenant.into(), ..checkin(n) }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_many_tenants_open_in_a_call_for_each_and_die_with_their_own_key() {
    let tenants = ["acme", "globex", "initech"];
    let scene = Scene::with(&tenants).await;
    let rows: Vec<CheckIn> = (1..=90).map(|n| of(tenants[n as usize % 3], n)).collect();
    let before = scene.service.server_calls();
    let twins = scene.service.seal_all(&rows).await;
    assert_eq!(scene.service.server_calls(), before + 3);
    let twins: Vec<SealedCheckIn> = twins.into_iter().collect::<Result<_, _>>().unwrap();
    let opened = scene.cold().await.open_all(twins.clone()).await;
    assert!(opened.iter().zip(&rows).all(|(opened, row)| opened.as_ref().unwrap() == row));

    // A row of one tenant passed off as another's, who has keys of their own.
    let mut stolen = twins[0].clone();
    let owner = std::mem::replace(&mut stolen.company_id, "acme".into());
    assert_ne!(owner, "acme");
    let error = scene.service.open(&stolen).await.map(|_| ()).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::KeyNotAccessible), "{error}");

    let (tenant, key) = ("globex".parse().unwrap(), "attendance".parse().unwrap());
    let destroy = DestroyKey {
        target: DestroyTarget::All,
        reason: DestroyReason::Test,
        ticket: String::new(),
        force: true,
        window: None,
        change: Change::default(),
    };
    scene.operator.destroy_key(&tenant, &key, destroy).await.unwrap();
    for (opened, row) in scene.cold().await.open_all(twins).await.iter().zip(&rows) {
        match row.company_id.as_str() {
            "globex" => {
                let error = opened.as_ref().map(|_| ()).unwrap_err();
                assert!(
                    matches!(error.reason(), Some(Reason::KeyDestroyed | Reason::KeyNotAccessible)),
                    "{error}"
                );
            }
            _ => assert!(opened.as_ref().unwrap() == row),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_open_gets_no_row_and_no_value() {
    let scene = Scene::with(&["acme"]).await;
    let twin = scene.service.seal(&checkin(1)).await.unwrap();
    for name in ["hr-portal", "operator", "compliance"] {
        let stranger = client(&scene.place, name).await;
        let error = stranger.open(&twin).await.map(|_| ()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("employee number"), "{name}");
        assert!(error.reason().is_some(), "{name}: {error}");
        assert!(stranger.seal(&checkin(2)).await.is_err(), "{name}");
    }
}
