//! Masked forms: what somebody sees of a value who may not see the value. Pure functions of (mask, value).
//!
//! INVARIANT: what is shown depends on the characters that are shown and on nothing else of the value: two values that differ only
//! in what is hidden have one masked form, of one length. Whatever is too short, or not of the form's shape, is hidden wholly.
//!
//! # Layout
//! - this file: the masks, and what applies them; [`MaskForm`]: their names.
//! - `form`: the names; `text`: forms of texts; `place`: coarse locations.

mod form;
mod place;
#[cfg(test)]
mod tests;
mod text;

pub use form::{MaskForm, UnknownForm};

/// What stands for what is hidden, however long that is.
const HIDDEN: &str = "****";

/// Most characters that a custom mask shows.
pub const MAX_SHOWN: usize = 32;
/// Most characters of a custom replacement.
pub const MAX_REPLACEMENT: usize = 32;
/// Most decimals of a coarse location: 0.01 degrees are some 1.1 km.
pub const MAX_DECIMALS: u8 = 2;

/// How values of one column are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask(Terms);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Terms {
    Phone,
    Name,
    Email,
    Identity,
    Last4,
    CoarseLocation { decimals: u8 },
    Custom { first: usize, last: usize, replacement: Box<str> },
}

/// Terms that no mask may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MaskTermsError {
    /// More than [`MAX_DECIMALS`].
    #[error("a coarse location has at most {MAX_DECIMALS} decimals")]
    Decimals,
    /// More than [`MAX_SHOWN`].
    #[error("a custom mask shows at most {MAX_SHOWN} characters, `first` and `last` together")]
    Shown,
    /// Empty, too long, or with control characters.
    #[error("a replacement has 1 to {MAX_REPLACEMENT} characters, none of them a control character")]
    Replacement,
    /// Its terms are missing: [`Mask::custom`].
    #[error("a custom mask needs terms: how many characters it shows, and what it puts for the others")]
    NoTerms,
}

/// The value is not what the mask is for. Nothing of it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// Not UTF-8: bytes have no masked form.
    #[error("the value is no text, and bytes have no masked form")]
    NoText,
    /// Neither `{"lat": …, "lon": …}` nor `lat,lon`, or not on this planet.
    #[error("the value is no place: neither JSON with the numbers `lat` and `lon`, nor `lat,lon`")]
    NoPlace,
}

impl Mask {
    /// The mask of a form, with the form's own terms.
    ///
    /// # Errors
    /// For the custom form, which has none of its own.
    pub fn of(form: MaskForm) -> Result<Self, MaskTermsError> {
        Ok(Self(match form {
            MaskForm::Phone => Terms::Phone,
            MaskForm::Name => Terms::Name,
            MaskForm::Email => Terms::Email,
            MaskForm::Identity => Terms::Identity,
            MaskForm::Last4 => Terms::Last4,
            MaskForm::CoarseLocation => Terms::CoarseLocation { decimals: 1 },
            MaskForm::Custom => return Err(MaskTermsError::NoTerms),
        }))
    }

    /// Shows latitude and longitude with so many decimals: 1 where [`Mask::of`] is used, some 11 km.
    ///
    /// # Errors
    /// Where it would be too exact.
    pub fn coarse_location(decimals: u8) -> Result<Self, MaskTermsError> {
        if decimals > MAX_DECIMALS {
            return Err(MaskTermsError::Decimals);
        }
        Ok(Self(Terms::CoarseLocation { decimals }))
    }

    /// Shows the first and the last characters (Unicode scalar values) of values at least twice as long as what is shown, and of
    /// shorter ones nothing but the replacement.
    ///
    /// # Errors
    /// Where it would show too much, or the replacement cannot stand in a line of text.
    pub fn custom(first: usize, last: usize, replacement: &str) -> Result<Self, MaskTermsError> {
        if first.saturating_add(last) > MAX_SHOWN {
            return Err(MaskTermsError::Shown);
        }
        if !(1..=MAX_REPLACEMENT).contains(&replacement.chars().count())
            || replacement.chars().any(char::is_control)
        {
            return Err(MaskTermsError::Replacement);
        }
        Ok(Self(Terms::Custom { first, last, replacement: replacement.into() }))
    }

    /// Its form.
    pub fn form(&self) -> MaskForm {
        match self.0 {
            Terms::Phone => MaskForm::Phone,
            Terms::Name => MaskForm::Name,
            Terms::Email => MaskForm::Email,
            Terms::Identity => MaskForm::Identity,
            Terms::Last4 => MaskForm::Last4,
            Terms::CoarseLocation { .. } => MaskForm::CoarseLocation,
            Terms::Custom { .. } => MaskForm::Custom,
        }
    }

    /// The terms in words, as `first 2, last 2, "****"`; empty where the form says it all.
    pub fn terms(&self) -> String {
        match &self.0 {
            Terms::CoarseLocation { decimals: 1 } => "1 decimal".into(),
            Terms::CoarseLocation { decimals } => format!("{decimals} decimals"),
            Terms::Custom { first, last, replacement } => {
                format!("first {first}, last {last}, `{replacement}`")
            }
            _ => String::new(),
        }
    }

    /// The masked form of a value in its plaintext encoding ([`crate::encoding`]).
    ///
    /// # Errors
    /// Where the value is not what the mask is for; then there is nothing to show.
    pub fn apply(&self, plaintext: &[u8]) -> Result<String, MaskError> {
        let value = str::from_utf8(plaintext).map_err(|_| MaskError::NoText)?;
        Ok(match &self.0 {
            Terms::Phone => text::phone(value),
            Terms::Name => text::name(value),
            Terms::Email => text::email(value),
            Terms::Identity => text::identity(value),
            Terms::Last4 => text::last4(value),
            Terms::Custom { first, last, replacement } => text::custom(value, *first, *last, replacement),
            Terms::CoarseLocation { decimals } => place::coarse(value, *decimals)?,
        })
    }
}
