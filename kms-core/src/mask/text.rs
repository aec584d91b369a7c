//! Masked forms of texts. Characters are Unicode scalar values: their number bounds what is shown, and no table that changes with
//! each Unicode version decides what leaks; a character cut from its accents is the price.

use zeroize::Zeroizing;

use super::HIDDEN;

/// Digits of the longest number that is taken for a phone number: E.164 has 15, with an extension behind.
const MOST_DIGITS: usize = 20;
/// Characters of the longest domain (RFC 1035).
const LONGEST_DOMAIN: usize = 253;

pub(super) fn phone(value: &str) -> String {
    let separator = |c: char| matches!(c, ' ' | '-' | '.' | '/' | '(' | ')');
    let Some(digits) = only(value.trim().trim_start_matches('+'), separator, |c| c.is_ascii_digit()) else {
        return HIDDEN.into();
    };
    let national = ["0086", "86"].iter().find_map(|code| digits.strip_prefix(code));
    let national = national.filter(|rest| rest.len() == 11 && rest.starts_with('1')).unwrap_or(&digits);
    match national.len() {
        11..=MOST_DIGITS => between(national, 3, 4, HIDDEN),
        8..=10 => between(national, 0, 4, HIDDEN),
        _ => HIDDEN.into(),
    }
}

pub(super) fn name(value: &str) -> String {
    const REST: &str = "**";
    let mut letters = value.trim().chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(_)) if first.is_alphabetic() => format!("{first}{REST}"),
        _ => REST.into(),
    }
}

pub(super) fn email(value: &str) -> String {
    const REST: &str = "***";
    let Some((local, domain)) = value.trim().rsplit_once('@') else { return HIDDEN.into() };
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.');
    if local.is_empty()
        || !domain.contains('.')
        || domain.len() > LONGEST_DOMAIN
        || !domain.chars().all(plain)
    {
        return HIDDEN.into();
    }
    let mut letters = local.chars();
    match (letters.next(), letters.nth(1)) {
        // A third is there: more stays hidden than is shown.
        (Some(first), Some(_)) if first.is_alphanumeric() => format!("{first}{REST}@{domain}"),
        _ => format!("{REST}@{domain}"),
    }
}

pub(super) fn identity(value: &str) -> String {
    const LONG: &str = "********";
    match only(value.trim(), |c| matches!(c, ' ' | '-'), |c| c.is_ascii_alphanumeric()) {
        Some(signs) if signs.len() >= 15 => between(&signs, 3, 4, LONG),
        Some(signs) if signs.len() >= 8 => between(&signs, 0, 2, LONG),
        _ => LONG.into(),
    }
}

pub(super) fn last4(value: &str) -> String {
    match only(value.trim(), |c| matches!(c, ' ' | '-'), |c| c.is_ascii_alphanumeric()) {
        Some(signs) if signs.len() >= 8 => between(&signs, 0, 4, HIDDEN),
        _ => HIDDEN.into(),
    }
}

pub(super) fn custom(value: &str, first: usize, last: usize, replacement: &str) -> String {
    let length = value.chars().count();
    let shown = first + last;
    // As much stays hidden as is shown, and never nothing.
    let long_enough = shown > 0 && length >= 2 * shown;
    // ATTACK: what is shown goes to terminals and pages; a control character in it would act there.
    if !long_enough || value.chars().any(char::is_control) {
        return replacement.into();
    }
    between(value, first, last, replacement)
}

/// The value without its separators, where everything else in it is of the form.
fn only(
    value: &str,
    separator: impl Fn(char) -> bool,
    of_the_form: impl Fn(char) -> bool,
) -> Option<Zeroizing<String>> {
    // As long as the value from the beginning: a string that grows leaves a copy behind.
    let mut signs = Zeroizing::new(String::with_capacity(value.len()));
    signs.extend(value.chars().filter(|c| !separator(*c)));
    signs.chars().all(of_the_form).then_some(signs)
}

/// The first and the last characters; the value has more of them than that.
fn between(value: &str, first: usize, last: usize, hidden: &str) -> String {
    let length = value.chars().count();
    let mut masked: String = value.chars().take(first).collect();
    masked.push_str(hidden);
    masked.extend(value.chars().skip(length.saturating_sub(last)));
    masked
}
