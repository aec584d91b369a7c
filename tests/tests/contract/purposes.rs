//! What for: keys that keep to their purposes, and a caller with rights for one.

use kms_client::{
    Context, Error, KeyClass, Kms, Reason,
    api::{Binding, CreateKey, ReEncrypt, ToOpen, ToSeal, UpdateKey},
};

use crate::{
    fields::{CheckIn, all, checkin, context, phone, row, visit},
    site::{Site, attendance, family, key, tenant, why},
};

const PURPOSE: &str = "payroll";

fn for_payroll() -> CreateKey {
    CreateKey { purposes: vec![PURPOSE.into()], ..CreateKey::default() }
}

/// The same caller, stating nothing and stating another purpose.
fn others(kms: &Kms) -> [Kms; 2] {
    [kms.clone(), kms.clone().with_purpose("marketing")]
}

fn bound(purpose: &str) -> (Context, Binding) {
    let context = context(&[("purpose", purpose.as_bytes())]);
    (context.clone(), Binding::Direct(context))
}

pub(crate) async fn a_key_for_one_purpose_seals_opens_searches_and_reveals_for_that_alone(site: Site) {
    site.tenant_with("acme", &["attendance", "attendance.index"], for_payroll()).await;
    let (acme, service, portal) = (tenant("acme"), site.service(), site.client("hr-portal"));
    let payroll = service.clone().with_purpose(PURPOSE);
    let twin = payroll.seal(&checkin(1)).await.unwrap();
    assert!(payroll.open(&twin).await.unwrap() == checkin(1));
    let probes = CheckIn::phone_index(&payroll, &acme, "138 0013 0001").await.unwrap();
    assert!(probes.as_slice().contains(&twin.phone_index));
    let twins = std::slice::from_ref(&twin);
    let shown = all(portal.clone().with_purpose(PURPOSE).open_masked(twins).await);
    assert_eq!(shown[0].column("phone").unwrap().as_ref().unwrap().text, "138****0001");

    for other in others(&service) {
        let denied = other.seal(&checkin(1)).await.map(|_| ()).unwrap_err();
        assert_eq!(denied.reason(), Some(Reason::KeyNotAccessible), "{denied}");
        let denied = other.open(&twin).await.map(|_| ()).unwrap_err();
        assert_eq!(denied.reason(), Some(Reason::KeyNotAccessible), "leased for another purpose: {denied}");
        let denied = CheckIn::phone_index(&other, &acme, "1").await.unwrap_err();
        assert_eq!(denied.reason(), Some(Reason::KeyNotAccessible), "{denied}");
    }
    for other in others(&portal) {
        let denied = all(other.open_masked(twins).await);
        let denied = denied[0].column("phone").unwrap().as_ref().unwrap_err();
        assert_eq!(denied.reason(), Some(Reason::KeyNotAccessible));
    }
    // To manage it is no use of it.
    let how = UpdateKey { purposes: Some(Vec::new()), ..UpdateKey::default() };
    site.operator().update_key(&acme, &attendance(), how).await.unwrap();
    assert!(site.service().records(&acme, &attendance()).seal(&phone(), &row("1"), b"138").await.is_ok());
}

pub(crate) async fn what_the_server_seals_itself_is_for_the_purpose_that_is_bound_or_stated(site: Site) {
    let how = CreateKey { class: Some(KeyClass::L4), ..for_payroll() };
    site.tenant_with("acme", &["attendance"], how).await;
    let (acme, name, service) = (tenant("acme"), attendance(), site.service());
    let payroll = service.clone().with_purpose(PURPOSE);
    let records = |kms: &Kms| kms.records(&acme, &name);
    let sealed = records(&payroll).seal(&phone(), &row("1"), b"138").await.unwrap();
    assert_eq!(records(&payroll).open(&phone(), &row("1"), &sealed).await.unwrap().as_bytes(), b"138");
    let stating = records(&service).with_purpose(PURPOSE);
    assert!(stating.open(&phone(), &row("1"), &sealed).await.is_ok(), "of these records alone");
    for other in others(&service) {
        assert_eq!(why(records(&other).seal(&phone(), &row("1"), b"138").await), Reason::KeyNotAccessible);
        assert_eq!(why(records(&other).open(&phone(), &row("1"), &sealed).await), Reason::KeyNotAccessible);
    }

    // What a value is bound to counts before what is stated.
    let ((ours, to_ours), (theirs, to_theirs)) = (bound(PURPOSE), bound("marketing"));
    let sealed = service.encrypt(&acme, &name, &to_ours, b"x").await.unwrap().ciphertext;
    assert!(service.decrypt(&acme, &name, &to_ours, &sealed).await.is_ok());
    assert_eq!(why(payroll.encrypt(&acme, &name, &to_theirs, b"x").await), Reason::KeyNotAccessible);
    assert_eq!(why(payroll.decrypt(&acme, &name, &to_theirs, &sealed).await), Reason::KeyNotAccessible);
    assert!(service.generate_data_key(&acme, &name, &ours, false).await.is_ok());
    assert_eq!(why(payroll.generate_data_key(&acme, &name, &theirs, false).await), Reason::KeyNotAccessible);
    let nothing = context(&[]);
    assert!(payroll.generate_data_key(&acme, &name, &nothing, false).await.is_ok());
    assert_eq!(why(service.generate_data_key(&acme, &name, &nothing, false).await), Reason::KeyNotAccessible);
    let again = |to: Option<Binding>| ReEncrypt {
        source_binding: to_ours.clone(),
        destination_key: None,
        destination_binding: to,
    };
    let nowhere = Binding::Direct(nothing);
    assert!(payroll.reencrypt(&acme, &name, &sealed, &again(Some(nowhere.clone()))).await.is_ok());
    for (kms, to) in [(&service, nowhere), (&payroll, to_theirs.clone())] {
        let refused = kms.reencrypt(&acme, &name, &sealed, &again(Some(to))).await;
        assert_eq!(why(refused), Reason::KeyNotAccessible);
    }

    // In a batch each item is for its own.
    let item = |binding: &Binding| ToSeal { plaintext: b"x", binding: binding.clone() };
    let reasons = |results: Vec<Result<Vec<u8>, Error>>| -> Vec<Option<Reason>> {
        results.into_iter().map(|result| result.err().and_then(|error| error.reason())).collect()
    };
    let mixed = service.encrypt_batch(&acme, &name, &[item(&to_theirs), item(&to_ours)]).await;
    assert_eq!(reasons(mixed), [Some(Reason::KeyNotAccessible), None]);
    let denied = service.encrypt_batch(&acme, &name, &[item(&to_theirs), item(&to_theirs)]).await;
    assert_eq!(reasons(denied), [Some(Reason::KeyNotAccessible); 2]);
    let item = |binding: &Binding| ToOpen { ciphertext: &sealed, binding: binding.clone() };
    let mixed = service.decrypt_batch(&acme, &name, &[item(&to_theirs), item(&to_ours)]).await;
    assert_eq!(why(mixed.into_iter().next().unwrap()), Reason::KeyNotAccessible);
}

pub(crate) async fn who_may_something_for_one_purpose_may_nothing_for_another(site: Site) {
    site.admit_roster();
    let how = CreateKey { family: true, ..CreateKey::default() };
    site.tenant_with("acme", &["attendance"], how).await;
    let (acme, anybody) = (tenant("acme"), site.client("roster"));
    let roster = anybody.clone().with_purpose("roster");
    let rows: Vec<_> = (0..4).map(|n| visit(n, n % 2)).collect();
    let twins = all(roster.seal_all(&rows).await);
    assert_eq!(all(roster.open_all(twins.clone()).await), rows);
    let people = || async {
        site.operator().list_subjects_page(&acme, &family(), Default::default()).await.unwrap().items.len()
    };
    assert_eq!(people().await, 2, "made on first use, for that purpose");

    let names = ["employee-7".parse().unwrap()];
    for other in others(&anybody) {
        for sealed in other.seal_all(&[visit(9, 9), visit(0, 0)]).await {
            assert_eq!(sealed.map(|_| ()).unwrap_err().reason(), Some(Reason::KeyNotAccessible));
        }
        for opened in other.open_all(twins.clone()).await {
            assert_eq!(opened.map(|_| ()).unwrap_err().reason(), Some(Reason::KeyNotAccessible));
        }
        let refused = other.ensure_subjects(&acme, &family(), &names).await;
        assert!(refused.into_iter().all(|subject| why(subject) == Reason::KeyNotAccessible));
        let drawn = other.records(&acme, &key("attendance/employee-0")).data_key_to_seal().await;
        assert_eq!(why(drawn), Reason::KeyNotAccessible);
    }
    assert_eq!(people().await, 2, "nobody was made for another");
    assert!(
        roster.ensure_subjects(&acme, &family(), &names).await.into_iter().all(|subject| subject.is_ok())
    );
    assert_eq!(people().await, 3);
}
