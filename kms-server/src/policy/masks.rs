//! `masks.toml`: which masked form `Reveal` shows of which column. Strict as the policies beside it: wholly right, or not taken.

use std::{collections::HashMap, ops::Range};

use kms_core::{
    mask::{Mask, MaskForm},
    names::{ColumnName, FamilyName, NameError, TableName},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::problem::{Problem, line_at};

/// File name of the masks in a policy directory.
pub const MASKS_FILE: &str = "masks.toml";
/// Version of the file that this release reads.
const VERSION: u64 = 1;

/// One declared mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredMask {
    /// Name of the key, or of the family.
    pub family: FamilyName,
    /// The table.
    pub table: TableName,
    /// The column.
    pub column: ColumnName,
    /// What is shown.
    pub mask: Mask,
}

/// The masks in force. Where none is declared for a column, nothing of it is revealed.
#[derive(Debug, Default)]
pub struct Masks {
    /// Sorted by place.
    declared: Vec<DeclaredMask>,
}

impl DeclaredMask {
    /// What it is found by.
    fn place(&self) -> (&str, &str, &str) {
        (self.family.as_str(), self.table.as_str(), self.column.as_str())
    }
}

impl Masks {
    /// The mask of a column whose values are sealed under this key, or under subjects of this family.
    pub fn find(&self, family: &FamilyName, table: &TableName, column: &ColumnName) -> Option<&Mask> {
        let wanted = (family.as_str(), table.as_str(), column.as_str());
        let at = self.declared.binary_search_by(|declared| declared.place().cmp(&wanted)).ok()?;
        Some(&self.declared[at].mask)
    }

    /// All of them, sorted.
    pub fn all(&self) -> &[DeclaredMask] {
        &self.declared
    }

    /// Parses and validates the file.
    pub(super) fn read(text: &str) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader { text, problems: Vec::new() };
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            reader.problem(error.span(), error.message());
        }
        let mut declared = reader.document(document.get_ref());
        if !reader.problems.is_empty() {
            return Err(reader.problems);
        }
        declared.sort_by(|one, other| one.place().cmp(&other.place()));
        Ok(Self { declared })
    }
}

/// Reads on after a mistake, so that one reading finds them all.
struct Reader<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

/// A value as it stands in the file.
type Found<'d, 'a> = &'d Spanned<DeValue<'a>>;

impl Reader<'_> {
    fn problem(&mut self, at: Option<Range<usize>>, text: impl Into<String>) {
        let line = at.map(|span| line_at(self.text, span.start));
        self.problems.push(Problem { file: MASKS_FILE.into(), line, text: text.into() });
    }

    fn document(&mut self, table: &DeTable<'_>) -> Vec<DeclaredMask> {
        self.refuse_others(table, &["version", "mask"]);
        match find(table, "version") {
            None => {
                self.problem(None, format!("`version` is missing; write `version = {VERSION}` at the top"))
            }
            Some(found) if number(found) != Some(VERSION) => {
                self.problem(Some(found.span()), format!("this release reads `version = {VERSION}`"));
            }
            Some(_) => {}
        }
        let mut declared: Vec<DeclaredMask> = Vec::new();
        let entries = match find(table, "mask").map(|found| (found, found.get_ref())) {
            None => return declared,
            Some((_, DeValue::Array(entries))) => entries,
            Some((found, _)) => {
                self.problem(Some(found.span()), "masks are written as `[[mask]]`");
                return declared;
            }
        };
        let mut stands: HashMap<(FamilyName, TableName, ColumnName), usize> = HashMap::new();
        for entry in entries.iter() {
            let DeValue::Table(fields) = entry.get_ref() else {
                self.problem(Some(entry.span()), "masks are written as `[[mask]]`, each with its own lines");
                continue;
            };
            let Some(mask) = self.mask(fields, entry.span()) else { continue };
            let line = line_at(self.text, entry.span().start);
            let place = (mask.family.clone(), mask.table.clone(), mask.column.clone());
            match stands.get(&place) {
                Some(first) => {
                    let text = format!(
                        "column `{}` of table `{}` under key `{}` has its mask in line {first} already; leave one of them out",
                        mask.column, mask.table, mask.family
                    );
                    self.problem(Some(entry.span()), text);
                }
                None => drop(stands.insert(place, line)),
            }
            declared.push(mask);
        }
        declared
    }

    fn mask(&mut self, fields: &DeTable<'_>, at: Range<usize>) -> Option<DeclaredMask> {
        let family = self.required(fields, &at, "key", |text| {
            if text.contains('/') {
                return Err(
                    "names a subject; masks are for the whole family, so write the part before `/`".into()
                );
            }
            FamilyName::try_from(text).map_err(in_words)
        });
        let table = self.required(fields, &at, "table", |text| TableName::try_from(text).map_err(in_words));
        let column =
            self.required(fields, &at, "column", |text| ColumnName::try_from(text).map_err(in_words));
        let form = self.required(fields, &at, "form", |text| {
            text.parse::<MaskForm>().map_err(|unknown| format!(": {unknown}"))
        });
        // Which terms belong is known only with the form.
        let mask = self.terms(fields, form?, &at);
        Some(DeclaredMask { family: family?, table: table?, column: column?, mask: mask? })
    }

    fn terms(&mut self, fields: &DeTable<'_>, form: MaskForm, at: &Range<usize>) -> Option<Mask> {
        const NAMES: [&str; 4] = ["key", "table", "column", "form"];
        let terms: &[&str] = match form {
            MaskForm::CoarseLocation => &["decimals"],
            MaskForm::Custom => &["first", "last", "replacement"],
            _ => &[],
        };
        self.refuse_others(fields, &[&NAMES, terms].concat());
        let made = match form {
            MaskForm::CoarseLocation => match find(fields, "decimals") {
                None => Mask::of(form),
                Some(_) => {
                    let decimals = self.count(fields, at, "decimals")?;
                    Mask::coarse_location(u8::try_from(decimals).unwrap_or(u8::MAX))
                }
            },
            MaskForm::Custom => {
                let (first, last) = (self.count(fields, at, "first"), self.count(fields, at, "last"));
                let replacement = self.required(fields, at, "replacement", |text| Ok(text.to_owned()));
                Mask::custom(first?, last?, &replacement?)
            }
            form => Mask::of(form),
        };
        made.map_err(|error| self.problem(Some(at.clone()), error.to_string())).ok()
    }

    fn required<T>(
        &mut self,
        fields: &DeTable<'_>,
        at: &Range<usize>,
        option: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Some(found) = find(fields, option) else {
            self.problem(Some(at.clone()), format!("the mask has no `{option}`"));
            return None;
        };
        let parsed = match found.get_ref().as_str() {
            Some(text) => parse(text),
            None => Err("must be text".into()),
        };
        let said = |what: String| match what.strip_prefix(':') {
            Some(rest) => format!("`{option}`:{rest}"),
            None => format!("`{option}` {what}"),
        };
        parsed.map_err(|what| self.problem(Some(found.span()), said(what))).ok()
    }

    fn count(&mut self, fields: &DeTable<'_>, at: &Range<usize>, option: &str) -> Option<usize> {
        let Some(found) = find(fields, option) else {
            self.problem(Some(at.clone()), format!("the mask has no `{option}`"));
            return None;
        };
        let count = number(found).and_then(|number| usize::try_from(number).ok());
        if count.is_none() {
            self.problem(Some(found.span()), format!("`{option}` must be a whole number, not negative"));
        }
        count
    }

    fn refuse_others(&mut self, table: &DeTable<'_>, known: &[&str]) {
        for (name, _) in table.iter() {
            let option = name.get_ref().as_ref();
            if !known.contains(&option) {
                let text = format!("`{option}` means nothing here; known are `{}`", known.join("`, `"));
                self.problem(Some(name.span()), text);
            }
        }
    }
}

fn find<'d, 'a>(table: &'d DeTable<'a>, option: &str) -> Option<Found<'d, 'a>> {
    table.iter().find(|(name, _)| name.get_ref().as_ref() == option).map(|(_, value)| value)
}

fn number(found: Found<'_, '_>) -> Option<u64> {
    let integer = found.get_ref().as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn in_words(error: NameError) -> String {
    format!(": {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::EXAMPLES;

    fn problems(text: &str) -> Vec<String> {
        let found = Masks::read(text).err().unwrap_or_default();
        found.iter().map(ToString::to_string).collect()
    }

    fn find<'m>(masks: &'m Masks, (family, table, column): (&str, &str, &str)) -> Option<&'m Mask> {
        masks.find(&family.parse().unwrap(), &table.parse().unwrap(), &column.parse().unwrap())
    }

    const PHONE: &str =
        "[[mask]]\nkey = \"attendance\"\ntable = \"checkins\"\ncolumn = \"phone\"\nform = \"phone\"\n";

    #[test]
    fn the_example_declares_every_form_and_nothing_of_other_columns_tables_or_keys() {
        let (_, text) = EXAMPLES.iter().find(|(name, _)| *name == MASKS_FILE).unwrap();
        let masks = Masks::read(text).unwrap();
        for form in MaskForm::ALL {
            assert!(masks.all().iter().any(|declared| declared.mask.form() == *form), "{form}");
        }
        let phone = find(&masks, ("attendance", "checkins", "phone")).unwrap();
        assert_eq!(phone.form(), MaskForm::Phone);
        for other in [
            ("attendance", "checkins", "salary"),
            ("attendance", "payslips", "phone"),
            ("payroll", "checkins", "phone"),
            ("attendance", "checkins", "Phone"),
        ] {
            assert_eq!(find(&masks, other), None, "{other:?}");
        }
    }

    #[test]
    fn a_file_without_masks_reveals_nothing_and_is_in_order() {
        assert!(Masks::read("version = 1\n").unwrap().all().is_empty());
        assert!(find(&Masks::default(), ("attendance", "checkins", "phone")).is_none());
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let text = format!(
            "version = 2\nmasks = 1\n{PHONE}form_ = \"x\"\n[[mask]]\nkey = \"attendance/employee-17\"\ntable = \"\"\ncolumn = 1\nform = \"fone\"\n[[mask]]\nform = \"name\"\n"
        );
        let found = problems(&text);
        let expected = [
            "masks.toml:2: `masks` means nothing here",
            "masks.toml:1: this release reads `version = 1`",
            "masks.toml:8: `form_` means nothing here; known are `key`, `table`, `column`, `form`",
            "masks.toml:10: `key` names a subject",
            "masks.toml:11: `table`: ",
            "masks.toml:12: `column` must be text",
            "masks.toml:13: `form`: `fone` is no form of a mask; known are `phone`",
            "masks.toml:14: the mask has no `key`",
            "masks.toml:14: the mask has no `table`",
            "masks.toml:14: the mask has no `column`",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (said, part) in found.iter().zip(expected) {
            assert!(said.starts_with(part), "{said} is not {part}");
        }
        assert!(problems("[[mask]").iter().any(|said| said.starts_with("masks.toml:1: ")));
        assert!(problems("")[0].contains("write `version = 1` at the top"));
        assert!(
            problems("version = 1\nmask = 3")[0].starts_with("masks.toml:2: masks are written as `[[mask]]`")
        );
        assert!(problems("version = 1\nmask = [3]")[0].contains("[[mask]]"));
    }

    #[test]
    fn a_column_has_one_mask() {
        let found = problems(&format!(
            "version = 1\n{PHONE}{}",
            PHONE.replace("form = \"phone\"", "form = \"name\"")
        ));
        let [said] = &found[..] else { panic!("{found:?}") };
        assert!(
            said.starts_with("masks.toml:7: column `phone`") && said.contains("in line 2 already"),
            "{said}"
        );
        let other = PHONE.replace("checkins", "visits");
        assert_eq!(Masks::read(&format!("version = 1\n{PHONE}{other}")).unwrap().all().len(), 2);
    }

    #[test]
    fn terms_belong_to_their_form_and_stay_within_bounds() {
        let with = |form: &str, terms: &str| {
            problems(&format!(
                "version = 1\n{}{terms}",
                PHONE
                    .replace("\"phone\"\n", "\"x\"\n")
                    .replace("form = \"x\"", &format!("form = \"{form}\""))
            ))
        };
        assert_eq!(with("coarse-location", ""), [""; 0]);
        assert_eq!(with("coarse-location", "decimals = 2"), [""; 0]);
        assert_eq!(with("custom", "first = 1\nlast = 0\nreplacement = \"…\""), [""; 0]);
        for (form, terms, part) in [
            ("coarse-location", "decimals = 3", "at most 2 decimals"),
            ("coarse-location", "decimals = 258", "at most 2 decimals"),
            ("coarse-location", "decimals = -1", "whole number"),
            ("coarse-location", "decimals = \"1\"", "whole number"),
            ("phone", "decimals = 1", "`decimals` means nothing here"),
            ("name", "first = 1", "`first` means nothing here"),
            ("custom", "first = 1\nlast = 0", "no `replacement`"),
            ("custom", "first = 30\nlast = 30\nreplacement = \"*\"", "at most 32 characters"),
            ("custom", "first = 1\nlast = 0\nreplacement = \"\"", "1 to 32 characters"),
            ("custom", "first = 1\nlast = 0\nreplacement = \"\\u001b[2J\"", "control character"),
        ] {
            let found = with(form, terms);
            assert!(found.len() == 1 && found[0].contains(part), "{form} {terms}: {found:?}");
            assert!(found[0].starts_with("masks.toml:"), "{found:?}");
        }
    }
}
