//! What is wrong with a policy directory: every mistake, each with its file and line, so that one reading mends them all.

use std::{fmt, ops::Range, path::PathBuf};

use miette::Diagnostic;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// File name inside the directory; empty where the directory itself is meant.
    pub file: String,
    /// Line, counted from 1, where there is one.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.is_empty(), self.line) {
            (true, _) => f.write_str(&self.text),
            (false, None) => write!(f, "{}: {}", self.file, self.text),
            (false, Some(line)) => write!(f, "{}:{line}: {}", self.file, self.text),
        }
    }
}

/// Why a policy directory is not taken. Nothing of it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyProblems {
    /// The directory, where the policies came from one.
    pub directory: Option<PathBuf>,
    /// All that is wrong; never empty.
    pub problems: Vec<Problem>,
    /// Whether policies loaded before stay in force.
    pub old_stays: bool,
}

impl fmt::Display for PolicyProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.directory {
            Some(directory) => write!(f, "the policies in `{}` are not taken", directory.display())?,
            None => f.write_str("the policies are not taken")?,
        }
        if self.old_stays {
            f.write_str("; those loaded before stay in force")?;
        }
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for PolicyProblems {}

/// One statement of a policy file, with the place it stands at.
#[derive(Debug, Clone)]
pub(super) struct Statement<'a> {
    pub(super) file: &'a str,
    /// The whole file.
    text: &'a str,
    /// Where in it the statement stands, from the end of the one before.
    range: Range<usize>,
}

impl<'a> Statement<'a> {
    /// Cuts a policy file at each `;` that ends a policy. What is cut wrongly does not parse; nothing is lost.
    pub(super) fn all(file: &'a str, text: &'a str) -> Vec<Self> {
        let mut statements = Vec::new();
        let (mut start, mut content, mut rest) = (0, false, text.char_indices().peekable());
        while let Some((at, letter)) = rest.next() {
            match letter {
                '/' if matches!(rest.peek(), Some((_, '/'))) => {
                    while rest.next_if(|(_, next)| *next != '\n').is_some() {}
                }
                '"' => {
                    content = true;
                    while let Some((_, inner)) = rest.next() {
                        match inner {
                            '\\' => drop(rest.next()),
                            '"' => break,
                            _ => {}
                        }
                    }
                }
                ';' => {
                    statements.push(Self { file, text, range: start..at + 1 });
                    (start, content) = (at + 1, false);
                }
                letter if letter.is_whitespace() => {}
                _ => content = true,
            }
        }
        if content {
            statements.push(Self { file, text, range: start..text.len() });
        }
        statements
    }

    pub(super) fn text(&self) -> &'a str {
        &self.text[self.range.clone()]
    }

    /// A mistake in this statement as a whole.
    pub(super) fn problem(&self, text: impl Into<String>) -> Problem {
        self.at(self.first_word(), text)
    }

    /// A mistake that Cedar found, at the place it names.
    pub(super) fn diagnosed(&self, mistake: &(impl Diagnostic + ?Sized)) -> Problem {
        let offset = first_label(mistake).unwrap_or_else(|| self.first_word());
        self.at(offset, in_words(mistake))
    }

    fn at(&self, offset: usize, text: impl Into<String>) -> Problem {
        let line = line_at(self.text, self.range.start + offset);
        Problem { file: self.file.to_owned(), line: Some(line), text: text.into() }
    }

    /// Where the statement's own text begins, after space and comments.
    fn first_word(&self) -> usize {
        let mut offset = 0;
        for line in self.text().split_inclusive('\n') {
            let inner = line.trim_start();
            if !inner.is_empty() && !inner.starts_with("//") {
                return offset + line.len() - inner.len();
            }
            offset += line.len();
        }
        0
    }
}

/// A mistake that Cedar found in a whole file.
pub(super) fn diagnosed(file: &str, text: &str, mistake: &(impl Diagnostic + ?Sized)) -> Problem {
    let line = first_label(mistake).map(|offset| line_at(text, offset));
    Problem { file: file.to_owned(), line, text: in_words(mistake) }
}

fn first_label(mistake: &(impl Diagnostic + ?Sized)) -> Option<usize> {
    mistake.labels().and_then(|mut labels| labels.next()).map(|label| label.offset())
}

fn in_words(mistake: &(impl Diagnostic + ?Sized)) -> String {
    match mistake.help() {
        Some(help) => format!("{mistake} ({help})"),
        None => mistake.to_string(),
    }
}

/// The line, counted from 1, that a byte of a text stands in.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    1 + before.filter(|byte| **byte == b'\n').count()
}
