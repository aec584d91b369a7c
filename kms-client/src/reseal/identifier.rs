//! Names in SQL text. Values never stand there: they are bound.

/// A name as an identifier, whatever it holds.
// ATTACK: names come from a command line; in quotes, with quotes doubled, they end nothing and begin nothing.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Numbered places for bound values.
#[derive(Debug, Default)]
pub(super) struct Binds(usize);

impl Binds {
    /// The next place: `$1`, `$2`, …, which both databases understand.
    pub(super) fn next(&mut self) -> String {
        self.0 += 1;
        format!("${}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_inside_its_quotes() {
        assert_eq!(quoted("phone"), "\"phone\"");
        assert_eq!(quoted("a\"; DROP TABLE t; --"), "\"a\"\"; DROP TABLE t; --\"");
        assert_eq!(quoted("\"\""), "\"\"\"\"\"\"");
    }
}
