//! What each form shows, and that it never shows more.

use proptest::prelude::*;

use super::*;

fn mask(form: MaskForm) -> Mask {
    match form {
        MaskForm::Custom => Mask::custom(2, 2, HIDDEN).unwrap(),
        form => Mask::of(form).unwrap(),
    }
}

fn shown(form: MaskForm, value: &str) -> String {
    mask(form).apply(value.as_bytes()).unwrap()
}

#[test]
fn each_form_shows_what_it_promises() {
    use MaskForm::*;
    for (form, value, masked) in [
        (Phone, "13800131234", "138****1234"),
        (Phone, "138 0013 1234", "138****1234"),
        (Phone, "+86 138-0013-1234", "138****1234"),
        (Phone, "008613800131234", "138****1234"),
        (Phone, "+44 20 7946 09581", "442****9581"),
        (Phone, "(020) 946 0958", "****0958"),
        (Name, "张三", "张**"),
        (Name, "欧阳娜娜", "欧**"),
        (Name, " Ada Lovelace ", "A**"),
        (Email, "ada.lovelace@example.com", "a***@example.com"),
        (Email, "ada@例子.公司", "a***@例子.公司"),
        (Identity, "11010519491231002X", "110********002X"),
        (Identity, "110105-19491231-002X", "110********002X"),
        (Identity, "E12345678", "********78"),
        (Last4, "6222 0212 3456 7890", "****7890"),
        (Last4, "622202123456", "****3456"),
        (CoarseLocation, r#"{"lat":31.2304,"lon":121.4737}"#, r#"{"lat":31.2,"lon":121.5}"#),
        (
            CoarseLocation,
            r#" {"accuracy": 4, "lon": -0.04, "lat": 51, "street": "x"} "#,
            r#"{"lat":51.0,"lon":0.0}"#,
        ),
        (CoarseLocation, "31.2304, 121.4737", r#"{"lat":31.2,"lon":121.5}"#),
        (CoarseLocation, "-33.8688,-151.2093", r#"{"lat":-33.9,"lon":-151.2}"#),
        (Custom, "AB-1234-CD", "AB****CD"),
        (Custom, "京A·12345学警", "京A****学警"),
    ] {
        assert_eq!(shown(form, value), masked, "{form} {value}");
    }
    let coarser = Mask::coarse_location(0).unwrap().apply(b"31.2304,121.4737");
    assert_eq!(coarser.unwrap(), r#"{"lat":31,"lon":121}"#);
    let nothing = Mask::custom(0, 0, "hidden").unwrap();
    assert_eq!(nothing.apply(b"whatever is there").unwrap(), "hidden");
}

#[test]
fn what_is_too_short_or_of_another_shape_is_hidden_wholly() {
    use MaskForm::*;
    for (form, value, masked) in [
        (Phone, "", "****"),
        (Phone, "1234567", "****"),
        (Phone, "call Ada: 13800131234", "****"),
        (Phone, "１３８００１３１２３４", "****"),
        (Phone, "123456789012345678901", "****"),
        (Name, "", "**"),
        (Name, "张", "**"),
        (Name, "\u{202e}evil", "**"),
        (Email, "", "****"),
        (Email, "ada", "****"),
        (Email, "@example.com", "****"),
        (Email, "ada@localhost", "****"),
        (Email, "ada@example.com (work)", "****"),
        (Email, "ab@example.com", "***@example.com"),
        (Identity, "1234567", "********"),
        (Identity, "11010519491231002?", "********"),
        (Last4, "1234567", "****"),
        (Last4, "6222_0212_3456_7890", "****"),
        (Custom, "1234567", "****"),
        (Custom, "12345678\n", "****"),
    ] {
        assert_eq!(shown(form, value), masked, "{form} {value:?}");
    }
}

#[test]
fn what_is_no_place_or_no_text_is_an_error_that_tells_nothing_of_it() {
    for value in [
        "",
        "Nanjing Road 17",
        "31.2304",
        "31.2304;121.4737",
        "91,0",
        "0,181",
        "NaN,0",
        "inf,0",
        "1e1,0",
        "{}",
        "[31.2,121.5]",
        r#"{"lat":31.2}"#,
        r#"{"lat":"31.2304","lon":"121.4737"}"#,
        r#"{"lat":31.2304,"lon":121.4737"#,
        r#"{"lat":null,"lon":121.4737}"#,
    ] {
        let error = mask(MaskForm::CoarseLocation).apply(value.as_bytes()).unwrap_err();
        assert_eq!(error, MaskError::NoPlace, "{value}");
        assert!(value.is_empty() || !error.to_string().contains(value));
    }
    for form in MaskForm::ALL {
        assert_eq!(mask(*form).apply(b"\xff\xfe138").unwrap_err(), MaskError::NoText, "{form}");
    }
}

#[test]
fn terms_that_would_show_too_much_are_refused() {
    assert_eq!(Mask::coarse_location(3), Err(MaskTermsError::Decimals));
    assert_eq!(Mask::custom(17, 16, "*"), Err(MaskTermsError::Shown));
    assert_eq!(Mask::custom(usize::MAX, 1, "*"), Err(MaskTermsError::Shown));
    for replacement in ["", "a\nb", "\u{1b}[2J", &"*".repeat(33)] {
        assert_eq!(Mask::custom(1, 1, replacement), Err(MaskTermsError::Replacement));
    }
    assert_eq!(Mask::of(MaskForm::Custom), Err(MaskTermsError::NoTerms));
}

#[test]
fn each_word_names_its_form_and_no_other_word_does() {
    for form in MaskForm::ALL {
        assert_eq!(form.as_str().parse(), Ok(*form));
        assert_eq!(mask(*form).form(), *form);
    }
    let unknown = "fone".parse::<MaskForm>().unwrap_err().to_string();
    assert!(unknown.contains("`fone`") && unknown.contains("`coarse-location`"), "{unknown}");
}

/// Most characters of the value that a form of texts shows; of an e-mail address, beside its domain.
fn most_shown(form: MaskForm) -> usize {
    match form {
        MaskForm::Phone | MaskForm::Identity => 7,
        MaskForm::Name | MaskForm::Email => 1,
        MaskForm::Last4 | MaskForm::Custom => 4,
        MaskForm::CoarseLocation => 0,
    }
}

/// Texts of every form, and texts of none.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9 +()-]{0,24}",
        "[0-9A-Za-z -]{0,24}",
        "[a-z.@]{0,12}@[a-z]{1,8}\\.[a-z]{2,4}",
        "\\PC{0,24}",
        "[张三李四欧阳]{0,6}",
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn a_text_never_shows_wholly_and_never_more_than_its_form_says(value in value()) {
        for form in MaskForm::ALL.iter().filter(|form| **form != MaskForm::CoarseLocation) {
            let masked = shown(*form, &value);
            // A value that consists of what stands for hidden characters looks like any other that is hidden.
            if !value.contains('*') && !value.is_empty() {
                prop_assert!(!masked.contains(&value), "{} {}", form, masked);
            }
            let domain = match form {
                MaskForm::Email => masked.split_once('@').map_or(0, |(_, domain)| domain.chars().count() + 1),
                _ => 0,
            };
            let of_value = masked.chars().filter(|c| *c != '*').count() - domain;
            prop_assert!(of_value <= most_shown(*form), "{} {}", form, masked);
        }
    }

    #[test]
    fn what_is_hidden_changes_nothing_not_even_the_length(
        (head, tail) in ("1[0-9]{2}", "[0-9]{4}"), one in "[0-9]{4,13}", other in "[0-9]{4,13}",
    ) {
        for form in [MaskForm::Phone, MaskForm::Last4] {
            let with = |middle: &str| shown(form, &format!("{head}{middle}{tail}"));
            prop_assert_eq!(with(&one), with(&other));
        }
        let with = |middle: &str| shown(MaskForm::Identity, &format!("{head}{middle}0000{tail}"));
        prop_assert_eq!(with(&one), with(&other));
    }

    #[test]
    fn names_addresses_and_custom_values_hide_their_middle(
        first in "[a-zA-Z张李]", one in "[a-z李三 ]{2,30}x", other in "[a-z李三 ]{2,30}x",
    ) {
        let name = |rest: &str| shown(MaskForm::Name, &format!("{first}{rest}"));
        prop_assert_eq!(name(&one), name(&other));
        let address = |rest: &str| shown(MaskForm::Email, &format!("{first}{rest}@example.com"));
        prop_assert_eq!(address(&one), address(&other));
        let custom = |rest: &str| shown(MaskForm::Custom, &format!("ab{first}{rest}yyyyyz"));
        prop_assert_eq!(custom(&one), custom(&other));
    }

    #[test]
    fn a_custom_mask_hides_at_least_as_much_as_it_shows(
        value in "[a-zé李]{0,80}", first in 0usize..17, last in 0usize..16,
    ) {
        let masked = Mask::custom(first, last, "*").unwrap().apply(value.as_bytes()).unwrap();
        let of_value = masked.chars().filter(|c| *c != '*').count();
        prop_assert!(of_value * 2 <= value.chars().count());
        prop_assert!(of_value == 0 || of_value == first + last);
    }

    #[test]
    fn all_places_of_a_cell_look_the_same(
        latitude in -899i32..899, longitude in -1799i32..1799, one in -0.049f64..0.049, other in -0.049f64..0.049,
    ) {
        let cell = |offset: f64| {
            let (latitude, longitude) = (f64::from(latitude) / 10.0 + offset, f64::from(longitude) / 10.0 - offset);
            let written = format!("{latitude},{longitude}");
            let json = format!("{{\"lat\":{latitude},\"lon\":{longitude}}}");
            (mask(MaskForm::CoarseLocation).apply(json.as_bytes()).unwrap(), written)
        };
        let ((one, text), (other, _)) = (cell(one), cell(other));
        prop_assert_eq!(&one, &other);
        // Very small numbers are written as 1e-17 in neither.
        if let Ok(short) = mask(MaskForm::CoarseLocation).apply(text.as_bytes()) {
            prop_assert_eq!(short, one);
        }
    }
}
