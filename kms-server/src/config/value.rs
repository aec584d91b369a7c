//! From TOML values to types: durations with units, sizes with units, addresses, choices.

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::de::DeValue;

use super::fields::Parsed;

pub(super) fn text(value: &DeValue<'_>) -> Parsed<String> {
    match value.as_str() {
        Some("") => Err("must not be empty".into()),
        Some(text) => Ok(text.into()),
        None => Err(format!("must be text, not {}", value.type_str())),
    }
}

pub(super) fn flag(value: &DeValue<'_>) -> Parsed<bool> {
    value.as_bool().ok_or_else(|| "must be `true` or `false`".into())
}

pub(super) fn address(value: &DeValue<'_>) -> Parsed<SocketAddr> {
    let text = text(value)?;
    text.parse().map_err(|_| {
        format!("is `{text}`; must be an address and a port, like `127.0.0.1:7443` or `[::]:7443`")
    })
}

/// A path; a relative one counts from the directory of the configuration file.
pub(super) fn path(base: &Path) -> impl Fn(&DeValue<'_>) -> Parsed<PathBuf> {
    move |value| text(value).map(|text| base.join(text))
}

pub(super) fn paths(base: &Path) -> impl Fn(&DeValue<'_>) -> Parsed<Vec<PathBuf>> {
    move |value| {
        let items = value.as_array().ok_or("must be a list of files, like `[\"ca.pem\"]`")?;
        items.iter().map(|item| path(base)(item.get_ref())).collect()
    }
}

/// A list of texts.
pub(super) fn list(value: &DeValue<'_>) -> Parsed<Vec<String>> {
    let items = value.as_array().ok_or("must be a list of texts, like `[\"one\"]`")?;
    items.iter().map(|item| text(item.get_ref())).collect()
}

pub(super) fn integer<T: TryFrom<u64>>(range: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Parsed<T> {
    move |value| {
        let number = value
            .as_integer()
            .and_then(|integer| u64::from_str_radix(integer.as_str(), integer.radix()).ok())
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(words: &[(&str, T)]) -> impl Fn(&DeValue<'_>) -> Parsed<T> {
    move |value| {
        let given = value.as_str().unwrap_or_default();
        words.iter().find(|(word, _)| *word == given).map(|(_, choice)| *choice).ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            format!("must be {}", words.join(" or "))
        })
    }
}

pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&DeValue<'_>) -> Parsed<Duration> {
    const UNITS: &[(&str, u64)] =
        &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    move |value| {
        let milliseconds = value.as_str().and_then(|text| with_unit(text, UNITS)).map(Duration::from_millis);
        milliseconds.filter(|duration| range.contains(duration)).ok_or_else(|| {
            format!("must be text like `250ms`, `10s`, `5m`, from {:?} to {:?}", range.start(), range.end())
        })
    }
}

/// Bytes.
pub(super) fn size(range: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Parsed<u64> {
    const UNITS: &[(&str, u64)] = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    move |value| {
        let bytes = value.as_str().and_then(|text| with_unit(text, UNITS));
        bytes.filter(|bytes| range.contains(bytes)).ok_or_else(|| {
            format!(
                "must be text like `64 KiB`, `256 MiB`, `1 GiB`, from {} to {} bytes",
                range.start(),
                range.end()
            )
        })
    }
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> DeValue<'_> {
        DeValue::String(text.into())
    }

    #[test]
    fn units_are_understood() {
        let any = duration(Duration::ZERO..=Duration::MAX);
        assert_eq!(any(&given("250ms")), Ok(Duration::from_millis(250)));
        assert_eq!(any(&given("5m")), Ok(Duration::from_secs(300)));
        assert_eq!(any(&given("90 d")), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(size(0..=u64::MAX)(&given("256 MiB")), Ok(256 << 20));
    }

    #[test]
    fn what_is_not_a_number_with_a_unit_is_refused() {
        let any = duration(Duration::ZERO..=Duration::MAX);
        for wrong in ["", "5", "s", "-5s", "5 sec", "1.5s", "99999999999999999999d", "999999999999999999d"] {
            assert!(any(&given(wrong)).is_err(), "{wrong}");
        }
        assert!(size(0..=100)(&given("1 KiB")).is_err(), "out of range");
        assert!(size(0..=100)(&given("1 kb")).is_err());
    }
}
