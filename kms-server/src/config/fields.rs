//! Reading a TOML table option by option, and remembering everything that is wrong with it.
//!
//! serde stops at the first error; an operator wants all of them, with their lines. Knows TOML, not this server's options.

use std::{borrow::Cow, cell::RefCell, collections::BTreeMap, fmt, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where in the file, counted from 1.
    pub line: Option<usize>,
    /// The option, as `section.option`; empty where it is about the whole file.
    pub option: String,
    /// What, and what to do.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.option.is_empty() {
            write!(f, "`{}` ", self.option)?;
        }
        f.write_str(&self.what)
    }
}

/// The document, what overrides it, and what was found.
pub(super) struct Document<'a> {
    text: &'a str,
    overrides: &'a BTreeMap<String, String>,
    problems: RefCell<Vec<Problem>>,
    /// Every scalar option that was asked for.
    asked: RefCell<Vec<String>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str, overrides: &'a BTreeMap<String, String>) -> Self {
        Self { text, overrides, problems: RefCell::default(), asked: RefCell::default() }
    }

    pub(super) fn problem(&self, at: Option<Range<usize>>, option: &str, what: impl Into<String>) {
        let line =
            at.map(|span| 1 + self.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count());
        self.problems.borrow_mut().push(Problem { line, option: option.into(), what: what.into() });
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        let asked = self.asked.into_inner();
        let mut problems = self.problems.into_inner();
        for option in self.overrides.keys().filter(|option| !asked.contains(option)) {
            let what = "is given on the command line, but there is no such option".into();
            problems.push(Problem { line: None, option: option.clone(), what });
        }
        problems.sort_by_key(|problem| problem.line);
        problems
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }
}

/// One table of the document.
pub(super) struct Fields<'d, 'a> {
    document: &'d Document<'a>,
    /// `None` for a section that is not there: its options have their defaults.
    table: Option<&'d DeTable<'a>>,
    /// `section.`, or empty at the top.
    prefix: String,
    known: Vec<&'static str>,
}

/// What an option's value is read with: the value, or in words what it should be.
pub(super) type Parsed<T> = Result<T, String>;

impl<'d, 'a> Fields<'d, 'a> {
    pub(super) fn top(document: &'d Document<'a>, table: &'d DeTable<'a>) -> Self {
        Self { document, table: Some(table), prefix: String::new(), known: Vec::new() }
    }

    /// An option that must be there.
    pub(super) fn required<T>(
        &mut self,
        option: &'static str,
        parse: impl FnOnce(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<T> {
        self.known.push(option);
        let name = format!("{}{option}", self.prefix);
        self.document.asked.borrow_mut().push(name.clone());
        let (value, span): (Cow<'_, DeValue<'_>>, _) = match self.document.overrides.get(&name) {
            Some(text) => (Cow::Owned(override_value(text)), None),
            None => {
                let found = self.find(option)?;
                (Cow::Borrowed(found.get_ref()), Some(found.span()))
            }
        };
        parse(&value).map_err(|what| self.document.problem(span, &name, what)).ok()
    }

    /// An option with a default.
    pub(super) fn or<T>(
        &mut self,
        option: &'static str,
        default: T,
        parse: impl FnOnce(&DeValue<'_>) -> Parsed<T>,
    ) -> T {
        self.optional(option, parse).unwrap_or(default)
    }

    /// An option that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        option: &'static str,
        parse: impl FnOnce(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<T> {
        let overridden = self.document.overrides.contains_key(&format!("{}{option}", self.prefix));
        if overridden || self.position(option).is_some() {
            return self.required(option, parse);
        }
        self.known.push(option);
        self.document.asked.borrow_mut().push(format!("{}{option}", self.prefix));
        None
    }

    /// A table of its own; an absent one has only absent options.
    pub(super) fn section(&mut self, option: &'static str) -> Fields<'d, 'a> {
        self.known.push(option);
        let prefix = format!("{}{option}.", self.prefix);
        let table = self.position(option).and_then(|found| match found.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => {
                self.document.problem(
                    Some(found.span()),
                    &format!("{}{option}", self.prefix),
                    "must be a table",
                );
                None
            }
        });
        Fields { document: self.document, table, prefix, known: Vec::new() }
    }

    /// An array of tables.
    pub(super) fn sections(&mut self, option: &'static str) -> Vec<Fields<'d, 'a>> {
        self.known.push(option);
        let name = format!("{}{option}", self.prefix);
        let Some(found) = self.position(option) else { return Vec::new() };
        let DeValue::Array(array) = found.get_ref() else {
            self.document.problem(Some(found.span()), &name, format!("must be written as `[[{name}]]`"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (n, entry) in array.iter().enumerate() {
            match entry.get_ref() {
                DeValue::Table(table) => sections.push(Fields {
                    document: self.document,
                    table: Some(table),
                    prefix: format!("{name}[{n}]."),
                    known: Vec::new(),
                }),
                _ => self.document.problem(Some(entry.span()), &name, "must hold tables"),
            }
        }
        sections
    }

    /// Whether the section was written at all.
    pub(super) fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// Says a thing about an option of this table that its own parser could not know.
    pub(super) fn problem(&self, option: &str, what: impl Into<String>) {
        let span = self.position(option).map(Spanned::span);
        self.document.problem(span, &format!("{}{option}", self.prefix), what);
    }

    /// Refuses the options that nobody asked for.
    pub(super) fn finish(self) {
        for (name, _) in self.table.into_iter().flat_map(DeTable::iter) {
            let option = name.get_ref().as_ref();
            if !self.known.contains(&option) {
                let known = self.known.join("`, `");
                let what = format!("is no option; known here: `{known}`");
                self.document.problem(Some(name.span()), &format!("{}{option}", self.prefix), what);
            }
        }
    }

    fn find(&self, option: &str) -> Option<&'d Spanned<DeValue<'a>>> {
        let found = self.position(option);
        if found.is_none() {
            self.document.problem(None, &format!("{}{option}", self.prefix), "is missing");
        }
        found
    }

    fn position(&self, option: &str) -> Option<&'d Spanned<DeValue<'a>>> {
        self.table?.iter().find(|(name, _)| name.get_ref().as_ref() == option).map(|(_, value)| value)
    }
}

/// `5` and `true` are what TOML takes them for; what TOML does not understand is text.
fn override_value(text: &str) -> DeValue<'_> {
    match DeValue::parse(text).map(Spanned::into_inner) {
        Ok(value @ (DeValue::Integer(_) | DeValue::Boolean(_) | DeValue::Array(_))) => value,
        _ => DeValue::String(Cow::Borrowed(text)),
    }
}
