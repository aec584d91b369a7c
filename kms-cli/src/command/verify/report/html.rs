//! Markup with values in it. Only what is a literal of this program is markup; everything else is escaped, because there is no other way in.

use std::fmt::{self, Write};

/// `html!(page; "<p>" (value) "</p>")`: literals are markup, what stands in parentheses is escaped.
macro_rules! html {
    ($page:expr;) => {};
    ($page:expr; $markup:literal $($rest:tt)*) => {
        $page.markup($markup);
        $crate::command::verify::report::html::html!($page; $($rest)*)
    };
    ($page:expr; ($data:expr) $($rest:tt)*) => {
        $page.text(&$data);
        $crate::command::verify::report::html::html!($page; $($rest)*)
    };
}

pub(super) use html;

/// A page that grows.
#[derive(Default)]
pub(super) struct Html(String);

impl Html {
    /// Markup of our own: a literal.
    pub(super) fn markup(&mut self, literal: &'static str) {
        self.0.push_str(literal);
    }

    /// Anything else.
    pub(super) fn text(&mut self, data: impl fmt::Display) {
        // Writing to a string does not fail.
        write!(Escaped(&mut self.0), "{data}").ok();
    }

    /// A sentence, in which what stands between backticks is what can be typed or stands in a file.
    pub(super) fn prose(&mut self, sentence: &str) {
        for (at, part) in sentence.split('`').enumerate() {
            match at % 2 {
                0 => self.text(part),
                _ => {
                    html!(self; "<span class=\"code\">" (part) "</span>");
                }
            }
        }
    }

    /// Another piece, which was made in the same way.
    pub(super) fn piece(&mut self, piece: Self) {
        self.0.push_str(&piece.0);
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            match char {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // ATTACK: what turns the direction of writing, or is not seen, could make a page say something else.
                char if char.is_control()
                    || matches!(char, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
                {
                    self.0.push('\u{fffd}');
                }
                char => self.0.push(char),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_never_markup() {
        let mut page = Html::default();
        html!(page; "<p title=\"" ("\" onclick='x'") "\">" ("<script>&\u{202e}\n") (7) "</p>");
        assert_eq!(
            page.finish(),
            "<p title=\"&quot; onclick=&#39;x&#39;\">&lt;script&gt;&amp;\u{fffd}\u{fffd}7</p>"
        );
        let mut page = Html::default();
        page.prose("give `--key <F>` & `more");
        assert_eq!(
            page.finish(),
            "give <span class=\"code\">--key &lt;F&gt;</span> &amp; <span class=\"code\">more</span>"
        );
    }
}
