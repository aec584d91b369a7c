//! The reader: JSON of the kinds that canonical JSON has; whether it is spelled canonically is for the caller to compare.

use super::{MAX_DEPTH, Members, Text, TextError, Value};

/// The bytes are not canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Something else was expected.
    #[error("byte {at} is not part of canonical JSON")]
    Unexpected {
        /// Where.
        at: usize,
    },
    /// It ends too early.
    #[error("it ends in the middle of a value")]
    Cut,
    /// A name stands twice in one object.
    #[error("the member `{0}` stands twice")]
    Twice(Text),
    /// More than is ever needed.
    #[error("lists and objects lie too deep in one another")]
    Deep,
    /// A string that is not allowed.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The value is there, and spelled another way.
    #[error(
        "it is not spelled canonically: members sorted, one space a level, no escapes, no leading zeroes"
    )]
    NotCanonical,
}

pub(super) fn value(bytes: &[u8]) -> Result<Value, Malformed> {
    let mut reader = Reader { bytes, at: 0 };
    let value = reader.value(0)?;
    reader.space();
    match reader.at == bytes.len() {
        true => Ok(value),
        false => Err(Malformed::Unexpected { at: reader.at }),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Result<u8, Malformed> {
        self.space();
        self.bytes.get(self.at).copied().ok_or(Malformed::Cut)
    }

    fn take(&mut self, expected: u8) -> Result<(), Malformed> {
        match self.peek()? {
            found if found == expected => {
                self.at += 1;
                Ok(())
            }
            _ => Err(Malformed::Unexpected { at: self.at }),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed::Deep);
        }
        match self.peek()? {
            b'"' => Ok(Value::Text(self.text()?)),
            b'0'..=b'9' => self.number(),
            b'[' => {
                let mut items = Vec::new();
                self.series(*b"[]", |reader| {
                    items.push(reader.value(depth + 1)?);
                    Ok(())
                })?;
                Ok(Value::List(items))
            }
            b'{' => {
                let mut members = Members::new();
                self.series(*b"{}", |reader| {
                    let name = reader.text()?;
                    reader.take(b':')?;
                    let value = reader.value(depth + 1)?;
                    match members.insert(name.as_str().to_owned(), value) {
                        None => Ok(()),
                        Some(_) => Err(Malformed::Twice(name)),
                    }
                })?;
                Ok(Value::Object(members))
            }
            _ => Err(Malformed::Unexpected { at: self.at }),
        }
    }

    fn series(
        &mut self,
        [open, close]: [u8; 2],
        mut item: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.take(open)?;
        if self.peek()? == close {
            return self.take(close);
        }
        loop {
            item(self)?;
            match self.peek()? {
                b',' => self.at += 1,
                _ => return self.take(close),
            }
        }
    }

    fn text(&mut self) -> Result<Text, Malformed> {
        self.take(b'"')?;
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'"').ok_or(Malformed::Cut)?;
        let text = std::str::from_utf8(&rest[..length]).map_err(|_| TextError)?;
        self.at += length + 1;
        Ok(text.parse()?)
    }

    fn number(&mut self) -> Result<Value, Malformed> {
        let at = self.at;
        let digits = self.bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        let text = std::str::from_utf8(&self.bytes[at..self.at]).map_err(|_| TextError)?;
        let number = text.parse::<i64>().ok().and_then(|number| u64::try_from(number).ok());
        number.map(Value::Number).ok_or(Malformed::Unexpected { at })
    }
}
