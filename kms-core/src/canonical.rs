//! Canonical JSON: the one spelling of a value, so that a hash or a signature over it is over the value. See `docs/verifying.md`.
//!
//! Objects, lists, strings of printable ASCII without `"` and `\`, integers from 0 to 2^63−1; members sorted. Nothing is ever escaped.

use std::collections::BTreeMap;

pub use read::Malformed;
pub use text::{Instant, Text, TextError};

mod read;
mod text;

/// Lists and objects may lie this deep in one another.
const MAX_DEPTH: usize = 8;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(Text),
    /// An integer, at most 2^63−1.
    Number(u64),
    /// A list.
    List(Vec<Value>),
    /// An object.
    Object(Members),
}

/// Members of an object, sorted by name.
pub type Members = BTreeMap<String, Value>;

/// The two spellings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// No white space at all: what is hashed.
    Compact,
    /// One space a level, as `json.dumps(value, indent=1, sort_keys=True)` of Python: what people see.
    Pretty,
}

impl Value {
    /// Reads the compact form, and nothing else.
    ///
    /// # Errors
    /// Where the bytes are not the compact form of a value.
    pub fn from_compact(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::read(bytes, Form::Compact)
    }

    /// Reads the pretty form, and nothing else.
    ///
    /// # Errors
    /// Where the bytes are not the pretty form of a value.
    pub fn from_pretty(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::read(bytes, Form::Pretty)
    }

    fn read(bytes: &[u8], form: Form) -> Result<Self, Malformed> {
        let value = read::value(bytes)?;
        // Whatever else it could be spelled like is not canonical.
        match value.write(form).into_bytes() == bytes {
            true => Ok(value),
            false => Err(Malformed::NotCanonical),
        }
    }

    /// The compact form.
    pub fn compact(&self) -> String {
        self.write(Form::Compact)
    }

    /// The pretty form, without a line feed at its end.
    pub fn pretty(&self) -> String {
        self.write(Form::Pretty)
    }

    fn write(&self, form: Form) -> String {
        let mut out = String::new();
        self.append(form, 0, &mut out);
        out
    }

    fn append(&self, form: Form, depth: usize, out: &mut String) {
        match self {
            Self::Text(text) => quote(text.as_str(), out),
            Self::Number(number) => out.push_str(&number.to_string()),
            Self::List(items) => series(['[', ']'], items.iter(), form, depth, out, |item, out| {
                item.append(form, depth + 1, out);
            }),
            Self::Object(members) => {
                series(['{', '}'], members.iter(), form, depth, out, |(name, value), out| {
                    quote(name, out);
                    out.push_str(if form == Form::Pretty { ": " } else { ":" });
                    value.append(form, depth + 1, out);
                });
            }
        }
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    out.push_str(text);
    out.push('"');
}

fn series<T>(
    [open, close]: [char; 2],
    items: impl ExactSizeIterator<Item = T>,
    form: Form,
    depth: usize,
    out: &mut String,
    mut append: impl FnMut(T, &mut String),
) {
    let line = |depth: usize, out: &mut String| {
        if form == Form::Pretty {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', depth));
        }
    };
    out.push(open);
    let some = items.len() > 0;
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(',');
        }
        line(depth + 1, out);
        append(item, out);
    }
    if some {
        line(depth, out);
    }
    out.push(close);
}

#[cfg(test)]
mod tests;
