//! Coarse locations: the cell of a grid that a place lies in.

use serde_json::Value;

use super::MaskError;

/// Rounds both numbers. All places of one cell have one masked form; a place that was coarser before is shown as its cell.
pub(super) fn coarse(value: &str, decimals: u8) -> Result<String, MaskError> {
    let (latitude, longitude) = read(value.trim()).ok_or(MaskError::NoPlace)?;
    let (latitude, longitude) = (rounded(latitude, decimals), rounded(longitude, decimals));
    Ok(format!("{{\"lat\":{latitude},\"lon\":{longitude}}}"))
}

/// JSON with the numbers `lat` and `lon`, whatever else is in it; or `lat,lon`.
fn read(value: &str) -> Option<(f64, f64)> {
    let (latitude, longitude) = if value.starts_with('{') {
        let place: Value = serde_json::from_str(value).ok()?;
        (place.get("lat")?.as_f64()?, place.get("lon")?.as_f64()?)
    } else {
        let (latitude, longitude) = value.split_once(',')?;
        (number(latitude)?, number(longitude)?)
    };
    let on_earth = latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
    on_earth.then_some((latitude, longitude))
}

/// Plain decimal: neither `inf` nor `1e5`, which Rust reads too.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    text.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '.')).then(|| text.parse().ok())?
}

fn rounded(degrees: f64, decimals: u8) -> String {
    let text = format!("{degrees:.*}", usize::from(decimals));
    // Just south of the equator is not another cell than just north of it.
    let is_zero = !text.contains(|c: char| c.is_ascii_digit() && c != '0');
    match text.strip_prefix('-') {
        Some(zero) if is_zero => zero.to_owned(),
        _ => text,
    }
}
