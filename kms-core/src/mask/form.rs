//! The names of the forms: the same in `masks.toml`, in the derive's `mask = "…"`, on the wire and on the command line.

use std::{fmt, str::FromStr};

macro_rules! forms {
    ($($(#[$doc:meta])* $name:ident $word:literal),* $(,)?) => {
        /// What kind of masked form it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum MaskForm { $($(#[$doc])* $name),* }

        impl MaskForm {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }
        }

        impl FromStr for MaskForm {
            type Err = UnknownForm;
            fn from_str(word: &str) -> Result<Self, UnknownForm> {
                match word {
                    $($word => Ok(Self::$name),)*
                    _ => Err(UnknownForm(word.into())),
                }
            }
        }
    };
}

forms! {
    /// `138****1234`: of 11 to 20 digits the first 3 and the last 4, of 8 to 10 the last 4. Separators and the country code of
    /// an eleven-digit mobile number of China fall away, so that one number has one form.
    Phone "phone",
    /// `张**`: the first character.
    Name "name",
    /// `a***@example.com`: the first character of what stands before the `@`, and the domain.
    Email "email",
    /// `110********1234`: of 15 letters and digits or more the first 3 and the last 4, of 8 to 14 the last 2.
    Identity "identity",
    /// `****1234`: of 8 letters and digits or more the last 4.
    Last4 "last4",
    /// `{"lat":31.2,"lon":121.5}`: rounded.
    CoarseLocation "coarse-location",
    /// The first N and the last M characters, with a replacement between.
    Custom "custom",
}

/// A word that names no form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownForm(Box<str>);

impl fmt::Display for UnknownForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = MaskForm::ALL.iter().map(|form| format!("`{form}`")).collect();
        write!(f, "`{}` is no form of a mask; known are {}", self.0, words.join(", "))
    }
}

impl std::error::Error for UnknownForm {}

impl fmt::Display for MaskForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
