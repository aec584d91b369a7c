use proptest::prelude::*;

use super::*;

fn values() -> impl Strategy<Value = Value> {
    let text = "[ !#-\\[\\]-~]{0,8}".prop_map(|text| Value::Text(text.parse().unwrap()));
    let leaf = prop_oneof![text, (0..=i64::MAX as u64).prop_map(Value::Number)];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            prop::collection::btree_map("[a-z_]{1,6}", inner, 0..6).prop_map(Value::Object),
        ]
    })
}

proptest! {
    #[test]
    fn both_forms_read_back_as_what_they_were_and_not_as_each_other(value in values()) {
        let (compact, pretty) = (value.compact(), value.pretty());
        prop_assert_eq!(Value::from_compact(compact.as_bytes()), Ok(value.clone()));
        prop_assert_eq!(Value::from_pretty(pretty.as_bytes()), Ok(value));
        prop_assert_eq!(Value::from_compact(pretty.as_bytes()).is_ok(), compact == pretty);
    }

    #[test]
    fn no_byte_can_be_changed_without_changing_the_value(value in values(), at: prop::sample::Index, flip in 1u8..) {
        let mut bytes = value.pretty().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert_ne!(Value::from_pretty(&bytes), Ok(value));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, json in "[\\[\\]{}\":,0-9a \n\\\\-]{0,40}") {
        drop(Value::from_compact(&bytes));
        drop(Value::from_pretty(json.as_bytes()));
    }

    #[test]
    fn instants_have_one_spelling(millis in 0..=253_402_300_799_999i64) {
        let instant = Instant::from_millis(millis);
        prop_assert_eq!(instant.to_string().parse(), Ok(instant));
    }
}

#[test]
fn the_pretty_form_is_that_of_python() {
    let value = Value::from_compact(br#"{"a":[],"b":[1,{"c":"x"}],"d":{}}"#).unwrap();
    // json.dumps(value, indent=1, sort_keys=True)
    let python = "{\n \"a\": [],\n \"b\": [\n  1,\n  {\n   \"c\": \"x\"\n  }\n ],\n \"d\": {}\n}";
    assert_eq!(value.pretty(), python);
}

#[test]
fn what_is_spelled_otherwise_is_refused() {
    for wrong in [
        r#"{"b":1,"a":1}"#,
        r#"{"a":1,"a":1}"#,
        r#"{"a": 1}"#,
        r#"[01]"#,
        r#"[-1]"#,
        r#"[1.0]"#,
        r#"[1e3]"#,
        r#"[9223372036854775808]"#,
        r#"[null]"#,
        r#"[true]"#,
        r#"["\u0041"]"#,
        r#"["é"]"#,
        r#"[1,]"#,
        r#"[1"#,
        r#"1 "#,
        "",
        &"[".repeat(100_000),
    ] {
        assert!(Value::from_compact(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn instants_that_are_none_are_refused() {
    for wrong in [
        "2026-02-30T00:00:00.000Z",
        "2026-11-27T12:00:00Z",
        "2026-11-27T12:00:00.000+00:00",
        "2026-11-27t12:00:00.000Z",
        "2026-11-27T24:00:00.000Z",
        "+026-11-27T12:00:00.000Z",
        "1969-12-31T23:59:59.999Z",
        "",
    ] {
        assert!(wrong.parse::<Instant>().is_err(), "{wrong}");
    }
}
