use super::*;

fn rotated() -> Entry {
    let event = KeyRotate {
        tenant_uid: Uid([1; 16]),
        key: "attendance".parse().unwrap(),
        key_uid: Uid([2; 16]),
        class: KeyClass::L2,
        number: 2,
        version_uid: Uid([3; 16]),
        slot: LeafSlot(7),
        alg: 1,
        kc: [4; 32],
        origin: Origin::Generated,
    };
    Entry {
        at: Instant::from_millis(1_795_780_800_123),
        by: Text::lossy("spiffe://dev.local/operator"),
        commit: CommitNumber(9),
        event: event.into(),
    }
}

#[test]
fn an_entry_is_written_as_the_specification_says() {
    let bytes = String::from_utf8(rotated().to_bytes()).unwrap();
    let expected = concat!(
        r#"{"alg":1,"at":"2026-11-27T12:00:00.123Z","by":"spiffe://dev.local/operator","class":"L2","commit":9,"#,
        r#""kc":"0404040404040404040404040404040404040404040404040404040404040404","key":"attendance","#,
        r#""key_uid":"02020202020202020202020202020202","number":2,"origin":"generated","slot":7,"#,
        r#""tenant_uid":"01010101010101010101010101010101","type":"KEY_ROTATE","v":1,"#,
        r#""version_uid":"03030303030303030303030303030303"}"#
    );
    assert_eq!(bytes, expected);
    assert_eq!(Entry::from_bytes(bytes.as_bytes()), Ok(rotated()));
}

#[test]
fn scopes_tell_events_of_one_type_apart() {
    let (tenant_uid, key_uid, key) = (Uid([1; 16]), Uid([2; 16]), "k".parse::<KeyName>().unwrap());
    let (epoch, reason, ticket) = (Epoch(3), DestroyReason::Test, Text::default());
    let version = DestroyVersion {
        tenant_uid,
        key: key.clone(),
        key_uid,
        number: 1,
        version_uid: Uid([5; 16]),
        slot: LeafSlot(1),
        last: 2,
        live: 1,
        epoch,
        reason,
        ticket: ticket.clone(),
    };
    let all = DestroyKey { tenant_uid, key, key_uid, last: 2, live: 0, epoch, reason, ticket };
    for event in [Event::from(version), all.into(), CancelTenant { tenant_uid }.into()] {
        let entry = Entry { event, ..rotated() };
        assert_eq!(Entry::from_bytes(&entry.to_bytes()), Ok(entry));
    }
}

#[test]
fn a_member_too_many_too_few_or_of_another_form_is_no_entry() {
    let text = String::from_utf8(rotated().to_bytes()).unwrap();
    for (from, to) in [
        (r#""alg":1,"#, ""),
        (r#""alg":1,"#, r#""alg":1,"algo":1,"#),
        (r#""alg":1"#, r#""alg":65536"#),
        (r#""alg":1"#, r#""alg":"1""#),
        (r#""number":2"#, r#""number":4294967296"#),
        ("0404", "040A"),
        ("0404", "04"),
        ("KEY_ROTATE", "KEY_TURN"),
        (r#""v":1"#, r#""v":2"#),
        ("generated", "found"),
        (r#""slot":7"#, r#""scope":"key","slot":7"#),
        (".123Z", "Z"),
    ] {
        let wrong = text.replacen(from, to, 1);
        assert_ne!(wrong, text);
        assert!(Entry::from_bytes(wrong.as_bytes()).is_err(), "{from} {to}");
    }
}

#[test]
fn effaced_secrets_have_one_spelling() {
    let secrets = Secrets(vec![(Epoch(1), Attempt([7; 16])), (Epoch(2), Attempt([8; 16]))]);
    assert_eq!(Secrets::from_value(&secrets.to_value()), Some(secrets));
    assert_eq!(Secrets::from_value(&Value::Text(Text::default())), Some(Secrets(Vec::new())));
    for wrong in ["1:", " ", "01:07070707070707070707070707070707", "1:07070707070707070707070707070707 "] {
        assert_eq!(Secrets::from_value(&Value::Text(wrong.parse().unwrap())), None, "{wrong}");
    }
}
