//! Masked forms: who sees them, of what, in which form; and that nothing else of a value ever leaves.

use std::fs;

use kms_client::{Column, Masked, RecordId, api::ToOpen};
use kms_proto::{
    reason::Reason,
    v1::{self, reveal_batch_response::item::Outcome},
};
use kms_tests::{
    Place,
    api::{Answer, Api, KEY, TENANT, answer, context, field, named, started},
    search::Needles,
};

const PHONE: &[u8] = b"13800131234";

async fn reveal(
    api: &Api,
    (tenant, key): (&str, &str),
    ciphertext: &[u8],
    binding: v1::Binding,
) -> Answer<(String, String)> {
    let message = v1::RevealRequest {
        tenant: tenant.into(),
        key: key.into(),
        ciphertext: ciphertext.into(),
        binding: Some(binding),
        purpose: String::new(),
    };
    let masked = answer(api.crypto().reveal(message).await)?.masked.unwrap();
    Ok((masked.text, masked.form))
}

fn phone(record: &str) -> v1::Binding {
    field("checkins", "phone", record)
}

fn shown(text: &str, form: &str) -> Answer<(String, String)> {
    Ok((text.into(), form.into()))
}

const MINE: (&str, &str) = (TENANT, KEY);

#[tokio::test]
async fn who_may_reveal_sees_the_masked_form_of_every_kind_of_value_and_may_not_open_it() {
    let (place, _server, operator, attendance) = started().await;
    let portal = Api::of(&place, "hr-portal").await;
    let records = attendance.kms.records(&TENANT.parse().unwrap(), &KEY.parse().unwrap());
    let (random, equal) = (
        Column::randomized("checkins", "phone").unwrap(),
        Column::deterministic("checkins", "phone").unwrap(),
    );
    let row = RecordId::try_from(&b"1"[..]).unwrap();
    let direct = context(&[("table", "checkins"), ("column", "phone"), ("record", "1")]);
    let mut sealed = vec![
        (records.seal(&random, &row, PHONE).await.unwrap(), phone("1")),
        (records.seal(&equal, &row, PHONE).await.unwrap(), phone("1")),
        (attendance.encrypt(TENANT, KEY, PHONE, phone("1")).await.unwrap(), phone("1")),
        (attendance.encrypt(TENANT, KEY, PHONE, direct.clone()).await.unwrap(), direct),
    ];
    operator.rotate(TENANT, KEY).await.unwrap();
    sealed.push((records.seal(&random, &row, PHONE).await.unwrap(), phone("1")));
    for (ciphertext, binding) in &sealed {
        let masked = reveal(&portal, MINE, ciphertext, binding.clone()).await;
        assert_eq!(masked, shown("138****1234", "phone"));
        let opened = portal.decrypt(TENANT, KEY, ciphertext, binding.clone()).await;
        assert_eq!(opened, Err(Reason::KeyNotAccessible));
        for other in [&attendance, &operator] {
            let refused = reveal(other, MINE, ciphertext, binding.clone()).await;
            assert_eq!(refused, Err(Reason::KeyNotAccessible), "{}", other.name);
        }
    }
    let leased = portal.kms.records(&TENANT.parse().unwrap(), &KEY.parse().unwrap());
    assert_eq!(
        leased.open(&random, &row, &sealed[0].0).await.unwrap_err().reason(),
        Some(Reason::KeyNotAccessible)
    );
}

#[tokio::test]
async fn what_the_server_alone_opens_is_revealed_through_the_same_door() {
    let (place, _server, operator, attendance) = started().await;
    operator.create_tenant("umbrella").await.unwrap();
    operator.create_key_of("umbrella", KEY, v1::KeyClass::L4).await.unwrap();
    let portal = Api::of(&place, "hr-portal").await;
    let (tenant, key) = ("umbrella".parse().unwrap(), KEY.parse().unwrap());
    let column = Column::randomized("checkins", "phone").unwrap();
    let row = RecordId::try_from(&b"1"[..]).unwrap();
    let sealed = attendance.kms.records(&tenant, &key).seal(&column, &row, PHONE).await.unwrap();
    let masked = portal.kms.records(&tenant, &key).reveal(&column, &row, &sealed).await.unwrap();
    let Masked { text, form, version } = &masked;
    assert_eq!((&**text, &**form, *version), ("138****1234", "phone", 1));
    assert!(!format!("{masked:?}").contains("138"));
}

#[tokio::test]
async fn each_column_has_its_own_form_and_one_without_is_not_revealed() {
    let (place, _server, _, attendance) = started().await;
    let portal = Api::of(&place, "hr-portal").await;
    for (column, value, expected) in [
        ("name", "李雷", shown("李**", "name")),
        ("email", "li.lei@example.com", shown("l***@example.com", "email")),
        ("identity_number", "11010519491231002X", shown("110********002X", "identity")),
        ("card", "6222021234567890", shown("****7890", "last4")),
        (
            "location",
            r#"{"lat":31.2304,"lon":121.4737}"#,
            shown(r#"{"lat":31.2,"lon":121.5}"#, "coarse-location"),
        ),
        ("badge", "AB123456CD", shown("AB****CD", "custom")),
        ("location", "the north entrance", Err(Reason::MaskDoesNotFit)),
        ("salary", "12000", Err(Reason::MaskNotDeclared)),
    ] {
        let bound = field("checkins", column, "1");
        let sealed = attendance.encrypt(TENANT, KEY, value.as_bytes(), bound.clone()).await.unwrap();
        assert_eq!(reveal(&portal, MINE, &sealed, bound).await, expected, "{column}");
    }
    let bytes = attendance.encrypt(TENANT, KEY, &[0xff, 0xfe, 0x31], phone("1")).await.unwrap();
    assert_eq!(reveal(&portal, MINE, &bytes, phone("1")).await, Err(Reason::MaskDoesNotFit));
    for unplaced in [
        context(&[]),
        context(&[("table", "checkins")]),
        context(&[("table", ""), ("column", "phone")]),
        context(&[("table", "payslips"), ("column", "phone")]),
    ] {
        let sealed = attendance.encrypt(TENANT, KEY, PHONE, unplaced.clone()).await.unwrap();
        assert_eq!(reveal(&portal, MINE, &sealed, unplaced).await, Err(Reason::MaskNotDeclared));
    }
}

#[tokio::test]
async fn a_value_is_not_revealed_in_another_place_key_or_tenant_than_its_own() {
    let (place, _server, operator, attendance) = started().await;
    let portal = Api::of(&place, "hr-portal").await;
    operator.create_tenant("umbrella").await.unwrap();
    operator.create_key("umbrella", KEY).await.unwrap();
    operator.create_key(TENANT, "payroll").await.unwrap();
    let sealed = attendance.encrypt(TENANT, KEY, PHONE, phone("1")).await.unwrap();
    // ATTACK: a form that shows more is not to be had by naming its column.
    for elsewhere in [
        phone("2"),
        field("checkins", "badge", "1"),
        field("checkins", "card", "1"),
        context(&[("table", "checkins"), ("column", "phone"), ("record", "1")]),
    ] {
        assert_eq!(reveal(&portal, MINE, &sealed, elsewhere).await, Err(Reason::CiphertextRejected));
    }
    for other in [("umbrella", KEY), (TENANT, "payroll"), (TENANT, "nothing"), ("nobody", KEY)] {
        let refused = reveal(&portal, other, &sealed, phone("1")).await;
        assert_eq!(refused, Err(Reason::KeyNotAccessible), "{other:?}");
    }
    let cut = reveal(&portal, MINE, &sealed[..20], phone("1")).await;
    assert_eq!(cut, Err(Reason::CiphertextMalformed));
    operator.suspend(TENANT, KEY).await.unwrap();
    assert_eq!(reveal(&portal, MINE, &sealed, phone("1")).await, Err(Reason::KeySuspended));
    operator.resume(TENANT, KEY).await.unwrap();
    operator.rotate(TENANT, KEY).await.unwrap();
    operator.destroy(TENANT, KEY, Some(1)).await.unwrap();
    assert_eq!(reveal(&portal, MINE, &sealed, phone("1")).await, Err(Reason::KeyDestroyed));
}

#[tokio::test]
async fn each_item_of_a_batch_is_revealed_for_itself_and_the_audit_counts_them() {
    let (place, _server, operator, attendance) = started().await;
    let (portal, compliance) = (Api::of(&place, "hr-portal").await, Api::of(&place, "compliance").await);
    operator.create_tenant("umbrella").await.unwrap();
    operator.create_key("umbrella", KEY).await.unwrap();
    let sealed = attendance.encrypt(TENANT, KEY, PHONE, phone("1")).await.unwrap();
    let salary = attendance.encrypt(TENANT, KEY, b"12000", field("checkins", "salary", "1")).await.unwrap();
    let theirs = attendance.encrypt("umbrella", KEY, PHONE, phone("1")).await.unwrap();
    let item = |ciphertext: &[u8], binding| v1::reveal_batch_request::Item {
        ciphertext: ciphertext.into(),
        binding,
    };
    let items = vec![
        item(&sealed, Some(phone("1"))),
        item(&sealed, Some(phone("2"))),
        item(&sealed, None),
        item(&salary, Some(field("checkins", "salary", "1"))),
        item(&theirs, Some(phone("1"))),
        item(b"nonsense", Some(phone("1"))),
        item(&sealed, Some(phone("1"))),
    ];
    let batch = |items| v1::RevealBatchRequest {
        tenant: TENANT.into(),
        key: KEY.into(),
        items,
        purpose: String::new(),
    };
    let answered = answer(portal.crypto().reveal_batch(named("batch-1", batch(items))).await).unwrap();
    let results: Vec<_> = answered.items.into_iter().map(|item| item.outcome.unwrap()).collect();
    for at in [0, 6] {
        let Outcome::Masked(masked) = &results[at] else { panic!("item {at}: {results:?}") };
        assert_eq!((&*masked.text, &*masked.form, masked.version), ("138****1234", "phone", 1));
    }
    for (at, reason) in [
        (1, Reason::CiphertextRejected),
        (2, Reason::BindingInvalid),
        (3, Reason::MaskNotDeclared),
        (4, Reason::KeyNotAccessible),
        (5, Reason::CiphertextMalformed),
    ] {
        let Outcome::Error(error) = &results[at] else { panic!("item {at} was revealed") };
        assert_eq!((&*error.reason, error.code), (reason.as_str(), reason.code() as i32));
    }
    let version = operator.describe_key(TENANT, KEY).await.unwrap().versions[0].id;
    let filter = v1::AuditFilter { request_id: "batch-1".into(), ..v1::AuditFilter::default() };
    let [line] = &compliance.lines(filter).await[..] else { panic!("not one line") };
    assert_eq!((&line["operation"], &line["key"]), (&"Reveal".into(), &KEY.into()));
    assert_eq!((&line["items"], &line["failed"]), (&6.into(), &4.into()));
    assert_eq!(line["versions"], serde_json::json!([version.to_string()]));

    let many = |count| vec![item(&sealed, Some(phone("1"))); count];
    let called =
        async |count| answer(portal.crypto().reveal_batch(batch(many(count))).await).map(|a| a.items.len());
    assert_eq!(called(1_000).await, Ok(1_000));
    assert_eq!(called(1_001).await, Err(Reason::BatchTooLarge));
    assert_eq!(called(0).await, Err(Reason::FieldRequired));
    let refused = answer(attendance.crypto().reveal_batch(batch(many(2))).await).map(drop);
    assert_eq!(refused, Err(Reason::KeyNotAccessible));

    // The client cuts what is longer than one call takes.
    let binding = kms_client::api::Binding::Field {
        table: "checkins".parse().unwrap(),
        column: "phone".parse().unwrap(),
        record: RecordId::try_from(&b"1"[..]).unwrap(),
    };
    let items: Vec<_> =
        (0..1_500).map(|_| ToOpen { ciphertext: &sealed, binding: binding.clone() }).collect();
    let (tenant, key) = (TENANT.parse().unwrap(), KEY.parse().unwrap());
    let revealed = portal.kms.reveal_batch(&tenant, &key, &items).await;
    assert!(
        revealed.len() == 1_500
            && revealed.iter().all(|masked| masked.as_ref().unwrap().text == "138****1234")
    );
}

/// Items that policy tells apart by their purpose: denied ones share a line, the others are revealed.
#[tokio::test]
async fn a_purpose_that_policy_denies_leaves_the_other_items_alone() {
    let (place, server, _, attendance) = started().await;
    let (portal, compliance) = (Api::of(&place, "hr-portal").await, Api::of(&place, "compliance").await);
    fs::write(
        place.path("policies/no-marketing.cedar"),
        r#"@id("no-marketing") @says("nothing is revealed for marketing")
           forbid (principal, action == Action::"Reveal", resource)
           when { context has purpose && context.purpose == "marketing" };"#,
    )
    .unwrap();
    server.hang_up();
    server.wait_for_log("policies reloaded", 1);
    let bound = |purpose| context(&[("table", "checkins"), ("column", "phone"), ("purpose", purpose)]);
    let mut items = Vec::new();
    for purpose in ["payroll", "marketing", "payroll", "marketing"] {
        let ciphertext = attendance.encrypt(TENANT, KEY, PHONE, bound(purpose)).await.unwrap();
        items.push(v1::reveal_batch_request::Item { ciphertext, binding: Some(bound(purpose)) });
    }
    let ask = async |id: &str, items: Vec<_>, purpose: &str| {
        let (tenant, key, purpose) = (TENANT.into(), KEY.into(), purpose.into());
        let message = v1::RevealBatchRequest { tenant, key, items, purpose };
        answer(portal.crypto().reveal_batch(named(id, message)).await).map(|answered| {
            let one = |item: v1::reveal_batch_response::Item| match item.outcome.unwrap() {
                Outcome::Masked(masked) => Ok(masked.text),
                Outcome::Error(error) => Err(error.reason.parse::<Reason>().unwrap()),
            };
            answered.items.into_iter().map(one).collect::<Vec<_>>()
        })
    };
    let denied = Err(Reason::KeyNotAccessible);
    let masked = Ok("138****1234".to_owned());
    // What a value is bound to counts, not what the caller says beside it.
    let results = ask("purposes", items.clone(), "payroll").await.unwrap();
    assert_eq!(results, [masked.clone(), denied.clone(), masked, denied]);
    let filter = v1::AuditFilter { request_id: "purposes".into(), ..v1::AuditFilter::default() };
    let mut lines = compliance.lines(filter).await;
    lines.sort_by_key(|line| line["outcome"].to_string());
    let said: Vec<_> = lines.iter().map(|line| (line["outcome"].clone(), line["items"].clone())).collect();
    assert_eq!(said, [("allowed".into(), 2.into()), ("denied".into(), 2.into())]);
    items.retain(|item| item.binding == Some(bound("marketing")));
    assert_eq!(ask("denied", items, "").await, Err(Reason::KeyNotAccessible));

    let sealed = attendance.encrypt(TENANT, KEY, PHONE, phone("1")).await.unwrap();
    let item = v1::reveal_batch_request::Item { ciphertext: sealed, binding: Some(phone("1")) };
    assert_eq!(ask("said", vec![item.clone()], "marketing").await, Err(Reason::KeyNotAccessible));
    assert!(ask("unsaid", vec![item], "").await.unwrap()[0].is_ok());
}

#[tokio::test]
async fn another_form_shows_from_the_reload_on_and_a_broken_file_changes_nothing() {
    let (place, server, _, attendance) = started().await;
    let portal = Api::of(&place, "hr-portal").await;
    let sealed = attendance.encrypt(TENANT, KEY, PHONE, phone("1")).await.unwrap();
    let now = async || reveal(&portal, MINE, &sealed, phone("1")).await;
    assert_eq!(now().await, shown("138****1234", "phone"));

    let masks = |form: &str| {
        format!(
            "version = 1\n[[mask]]\nkey = \"{KEY}\"\ntable = \"checkins\"\ncolumn = \"phone\"\nform = \"{form}\"\n"
        )
    };
    place.replace("policies/masks.toml", &masks("last4"));
    server.hang_up();
    server.wait_for_log("policies reloaded", 1);
    assert_eq!(now().await, shown("****1234", "last4"));

    place.replace("policies/masks.toml", &masks("fone"));
    server.hang_up();
    server.wait_for_log("masks.toml:6: `form`: `fone` is no form of a mask", 1);
    assert!(server.log().contains("those loaded before stay in force"));
    assert_eq!(now().await, shown("****1234", "last4"));
    let config = place.path("kms-server.toml");
    let (code, stdout, stderr) = kms_tests::server::run(&["check-config", config.to_str().unwrap()]);
    let said = format!("{stdout}{stderr}");
    assert!(code == Some(2) && said.contains("masks.toml:6: `form`: `fone`"), "{code:?} {said}");

    place.replace("policies/masks.toml", "version = 1\n");
    server.hang_up();
    server.wait_for_log("policies reloaded", 2);
    assert_eq!(now().await, Err(Reason::MaskNotDeclared));
    fs::remove_file(place.path("policies/masks.toml")).unwrap();
    server.hang_up();
    server.wait_for_log("policies reloaded", 3);
    assert_eq!(now().await, Err(Reason::MaskNotDeclared));
    assert_eq!(attendance.decrypt(TENANT, KEY, &sealed, phone("1")).await.unwrap(), PHONE, "no byte changed");
}

#[tokio::test]
async fn the_masks_in_force_are_told_page_by_page_to_those_who_may_ask_policy() {
    let (place, _server, operator, attendance) = started().await;
    let portal = Api::of(&place, "hr-portal").await;
    let page = async |api: &Api, key: &str, page_token: String| {
        let message = v1::ListMasksRequest { key: key.into(), page_size: 3, page_token };
        answer(api.policy().list_masks(message).await)
    };
    for stranger in [&portal, &attendance] {
        assert_eq!(page(stranger, "", String::new()).await, Err(Reason::PolicyDenied), "{}", stranger.name);
    }
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let answered = page(&operator, "", token).await.unwrap();
        assert!(answered.masks.len() <= 3 && answered.policy_epoch == 1);
        all.extend(answered.masks);
        token = answered.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let columns: Vec<_> = all.iter().map(|mask| &*mask.column).collect();
    let expected = ["badge", "card", "email", "employee", "identity_number", "location", "name", "phone"];
    assert_eq!(columns, expected);
    let badge = &all[0];
    assert_eq!((&*badge.key, &*badge.table, &*badge.form), (KEY, "checkins", "custom"));
    assert_eq!(badge.terms, "first 2, last 2, `****`");
    assert_eq!(page(&operator, "payroll", String::new()).await.unwrap().masks, []);
    assert_eq!(page(&operator, "", "!".into()).await, Err(Reason::PageTokenInvalid));
    assert_eq!(page(&operator, "No Key", String::new()).await, Err(Reason::NameInvalid));
}

#[tokio::test]
async fn nothing_of_a_revealed_value_is_in_any_file_log_or_error() {
    const SECRETS: [(&str, &str); 4] = [
        ("phone", "13871946502"),
        ("name", "canary-name-of-somebody"),
        ("location", "canary-location-4711-0815"),
        ("salary", "canary-salary-2718-2818"),
    ];
    let place = Place::new();
    let server = place.start_with(&["--set", "log.filter=trace"]);
    let (_, attendance) = Api::ground(&place).await;
    let (portal, compliance) = (Api::of(&place, "hr-portal").await, Api::of(&place, "compliance").await);
    let mut errors = String::new();
    for (column, secret) in SECRETS {
        let bound = field("checkins", column, "1");
        let sealed = attendance.encrypt(TENANT, KEY, secret.as_bytes(), bound.clone()).await.unwrap();
        for api in [&portal, &attendance] {
            let message = v1::RevealRequest {
                tenant: TENANT.into(),
                key: KEY.into(),
                ciphertext: sealed.clone(),
                binding: Some(bound.clone()),
                purpose: String::new(),
            };
            match api.crypto().reveal(message).await {
                Ok(masked) => errors += &format!("{masked:?}"),
                Err(status) => errors += &format!("{status:?} {}", String::from_utf8_lossy(status.details())),
            }
        }
    }
    assert!(errors.contains("MASK_DOES_NOT_FIT") && errors.contains("MASK_NOT_DECLARED"), "{errors}");
    let lines = compliance.lines(v1::AuditFilter { operation: "Reveal".into(), ..Default::default() }).await;
    assert_eq!(lines.len(), 8);
    let log = server.log();
    server.kill();
    for (what, secret) in SECRETS {
        let needles = Needles::of(secret.as_bytes());
        assert_eq!(needles.files(&place.dir()), [""; 0].map(std::path::PathBuf::from), "{what}");
        assert!(!needles.are_in(log.as_bytes()), "{what} in the log");
        assert!(!needles.are_in(errors.as_bytes()), "{what} in {errors}");
        assert!(!lines.iter().any(|line| needles.are_in(line.to_string().as_bytes())), "{what} in the audit");
    }
    assert!(!errors.contains("138****6502"), "Debug shows no masked form either");
}
