//! Words on the command line that stand for values: times, moments, pairs, operations; and values as words.

use std::time::{Duration, SystemTime};

use kms_core::names::Context;
use kms_server::{identity::IdentityName, operation::Operation};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{args::ContextPair, failure::Failure};

const UNITS: [(&str, u64); 5] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)];

/// `90d`, `5m`, `30s`: a whole number and one of s, m, h, d, w.
///
/// # Errors
/// Where it is anything else, or nothing.
pub fn duration(word: &str) -> Result<Duration, String> {
    let help = || "give a whole number and a unit, such as `30s`, `5m`, `2h`, `90d` or `2w`".to_owned();
    let at = word.find(|c: char| !c.is_ascii_digit()).ok_or_else(help)?;
    let (number, unit) = word.split_at(at);
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(help)?;
    let number: u64 = number.parse().map_err(|_| help())?;
    match number.checked_mul(*seconds) {
        Some(0) => Err("the time must be more than nothing".into()),
        Some(seconds) if seconds <= 100 * 366 * 86_400 => Ok(Duration::from_secs(seconds)),
        _ => Err("that is more than a hundred years".into()),
    }
}

/// The shortest such word.
pub fn of_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let fits = |(_, unit): &&(&str, u64)| seconds.is_multiple_of(*unit) && seconds >= *unit;
    let (name, unit) = UNITS.iter().rev().filter(|(n, _)| *n != "w").find(fits).unwrap_or(&UNITS[0]);
    format!("{}{name}", seconds / unit)
}

/// RFC 3339, or a time ago.
///
/// # Errors
/// Where it is neither.
pub fn moment(word: &str) -> Result<SystemTime, String> {
    if let Ok(ago) = duration(word) {
        return SystemTime::now().checked_sub(ago).ok_or_else(|| "that is before all clocks".into());
    }
    OffsetDateTime::parse(word, &Rfc3339)
        .map(SystemTime::from)
        .map_err(|_| "give a moment such as `2026-11-04T08:00:00Z`, or a time ago such as `2h`".into())
}

/// RFC 3339 in UTC.
pub fn of_moment(moment: SystemTime) -> String {
    OffsetDateTime::from(moment).format(&Rfc3339).unwrap_or_default()
}

/// `name=value` pairs as a context. What is wrong is said without the values.
///
/// # Errors
/// Where one is not a pair, a name breaks the rules or stands twice, a value is too long, or there are too many.
pub fn context(pairs: &[ContextPair]) -> Result<Context, Failure> {
    let parted: Option<Vec<_>> = pairs.iter().map(|ContextPair(pair)| pair.split_once('=')).collect();
    let parted = parted.ok_or_else(|| Failure::usage("a context is given as NAME=VALUE"))?;
    Context::new(parted.into_iter().map(|(name, value)| (name, value.as_bytes()))).map_err(Failure::usage)
}

/// The name of an operation.
///
/// # Errors
/// Where it names none.
pub fn operation(word: &str) -> Result<String, String> {
    let known = |o: &&Operation| o.as_str().eq_ignore_ascii_case(word);
    match Operation::ALL.iter().find(known) {
        Some(operation) => Ok(operation.as_str().into()),
        None => Err("there is no such operation; `kms policy explain --help` lists them".into()),
    }
}

/// An identity in full, as the audit and policies have it.
///
/// # Errors
/// Where it is a part of one, or none.
pub fn identity(word: &str) -> Result<String, String> {
    match word.parse::<IdentityName>() {
        Ok(_) => Ok(word.into()),
        Err(_) => Err("an identity is `spiffe://DOMAIN/PATH` or `spki:sha256:HEX`, in full".into()),
    }
}

/// One character; `\t` and `tab` are a tab.
///
/// # Errors
/// Where it is more or less than one.
pub fn delimiter(word: &str) -> Result<char, String> {
    let mut characters = word.chars();
    match (word, characters.next(), characters.next()) {
        ("\\t" | "tab", ..) => Ok('\t'),
        (_, Some(one), None) => Ok(one),
        _ => Err("give one character, or `\\t` for a tab".into()),
    }
}

/// A number with its thousands apart.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.char_indices() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 row`, `2 rows`.
pub fn count(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", thousands(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        assert_eq!(duration("90d").unwrap(), Duration::from_secs(90 * 86_400));
        assert_eq!(duration("5m").unwrap(), Duration::from_secs(300));
        assert_eq!(duration("2w").unwrap(), Duration::from_secs(14 * 86_400));
        for wrong in ["", "5", "d", "5x", "-5d", "1.5h", "5 m", "0s", "99999999999d", "5mm"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for (seconds, word) in [(300, "5m"), (90 * 86_400, "90d"), (61, "61s"), (0, "0s"), (604_800, "7d")] {
            assert_eq!(of_duration(Duration::from_secs(seconds)), word);
        }
    }

    #[test]
    fn a_moment_is_a_date_or_a_time_ago() {
        assert_eq!(of_moment(moment("2026-11-04T08:00:00+02:00").unwrap()), "2026-11-04T06:00:00Z");
        let then = moment("2h").unwrap();
        let ago = SystemTime::now().duration_since(then).unwrap();
        assert!((7200..7260).contains(&ago.as_secs()));
        assert!(moment("yesterday").is_err());
    }

    #[test]
    fn an_identity_is_given_in_full() {
        let spki = format!("spki:sha256:{}", "0".repeat(64));
        for whole in ["spiffe://dev.local/hr-portal", &spki] {
            assert_eq!(identity(whole).as_deref(), Ok(whole));
        }
        for part in ["hr-portal", "dev.local/hr-portal", "spiffe://", "spki:sha256:00", ""] {
            assert!(identity(part).unwrap_err().contains("spiffe://DOMAIN/PATH"), "{part}");
        }
    }

    #[test]
    fn a_wrong_pair_is_named_without_its_value() {
        assert_eq!(context(&["a=b=c".into()]).unwrap().value("a"), Some(&b"b=c"[..]));
        let long = format!("a=secret{}", "x".repeat(1024));
        for wrong in [&["secret"][..], &["PURPOSE=secret"], &["=secret"], &["a=secret", "a=secret"], &[&long]]
        {
            let pairs: Vec<ContextPair> = wrong.iter().map(|w| (*w).into()).collect();
            let failure = context(&pairs).unwrap_err();
            assert_eq!(failure.exit, crate::failure::Exit::Usage);
            assert!(!failure.message.contains("secret"), "{failure}");
            assert!(!format!("{pairs:?}").contains("secret"), "values are not shown");
        }
    }

    #[test]
    fn numbers_are_read_in_thousands() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!((count(1, "row"), count(2000, "row")), ("1 row".into(), "2,000 rows".into()));
    }
}
