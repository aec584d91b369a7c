//! `masks.toml` as the real server takes it: which masked form is revealed of which column. The contract's tests hold both readers to
//! the same files.

use std::collections::BTreeMap;

use kms_core::{
    mask::{Mask, MaskForm},
    names::{ColumnName, FamilyName, TableName},
};
use serde::Deserialize;

/// Version of the file that this release reads.
const VERSION: u64 = 1;

type Place = (FamilyName, TableName, ColumnName);

/// The masks in force. Where none is declared for a column, nothing of it is revealed.
#[derive(Debug, Default)]
pub(super) struct Masks(BTreeMap<Place, Mask>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u64,
    #[serde(default)]
    mask: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key: String,
    table: String,
    column: String,
    form: String,
    decimals: Option<u64>,
    first: Option<usize>,
    last: Option<usize>,
    replacement: Option<String>,
}

impl Masks {
    /// Reads the text of a `masks.toml`; says what is wrong with it.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        if file.version != VERSION {
            return Err(format!("this release reads `version = {VERSION}`"));
        }
        let mut masks = BTreeMap::new();
        for entry in &file.mask {
            let (place, mask) = entry.read().map_err(|what| {
                format!(
                    "column `{}` of table `{}` under key `{}`: {what}",
                    entry.column, entry.table, entry.key
                )
            })?;
            if masks.insert(place, mask).is_some() {
                let (column, table, key) = (&entry.column, &entry.table, &entry.key);
                return Err(format!("column `{column}` of table `{table}` under key `{key}` has two masks"));
            }
        }
        Ok(Self(masks))
    }

    pub(super) fn find(&self, family: &FamilyName, table: &TableName, column: &ColumnName) -> Option<&Mask> {
        self.0.get(&(family.clone(), table.clone(), column.clone()))
    }

    /// All of them, sorted.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Place, &Mask)> {
        self.0.iter()
    }
}

impl Entry {
    fn read(&self) -> Result<(Place, Mask), String> {
        let form: MaskForm = self.form.parse().map_err(words)?;
        if self.decimals.is_some() && form != MaskForm::CoarseLocation {
            return Err(format!("`decimals` means nothing for `{form}`"));
        }
        let custom = self.first.is_some() || self.last.is_some() || self.replacement.is_some();
        if custom && form != MaskForm::Custom {
            return Err(format!("`first`, `last` and `replacement` mean nothing for `{form}`"));
        }
        let mask = match (form, self.decimals) {
            (MaskForm::CoarseLocation, Some(decimals)) => {
                Mask::coarse_location(u8::try_from(decimals).unwrap_or(u8::MAX))
            }
            (MaskForm::Custom, _) => match (self.first, self.last, &self.replacement) {
                (Some(first), Some(last), Some(replacement)) => Mask::custom(first, last, replacement),
                _ => return Err("the form `custom` needs `first`, `last` and `replacement`".into()),
            },
            (form, _) => Mask::of(form),
        };
        let family = FamilyName::try_from(&*self.key).map_err(words)?;
        let (table, column) = (
            self.table.parse().map_err(words::<kms_core::names::NameError>)?,
            self.column.parse().map_err(words::<kms_core::names::NameError>)?,
        );
        Ok(((family, table, column), mask.map_err(words)?))
    }
}

fn words<E: std::fmt::Display>(error: E) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: &str =
        "[[mask]]\nkey = \"attendance\"\ntable = \"checkins\"\ncolumn = \"phone\"\nform = \"phone\"\n";

    #[test]
    fn a_file_is_read_wholly_or_not_at_all() {
        let file = |masks: &str| Masks::read(&format!("version = 1\n{masks}"));
        let found = file(PHONE).unwrap();
        let (table, column) = ("checkins".parse().unwrap(), "phone".parse().unwrap());
        assert!(found.find(&"attendance".parse().unwrap(), &table, &column).is_some());
        assert!(found.find(&"payroll".parse().unwrap(), &table, &column).is_none());

        for (text, part) in [
            (PHONE.repeat(2), "two masks"),
            (PHONE.replace("\"phone\"\n", "\"fone\"\n"), "fone"),
            (format!("{PHONE}decimals = 1\n"), "decimals"),
            (format!("{PHONE}first = 1\n"), "first"),
            (format!("{PHONE}colour = 1\n"), "colour"),
            (PHONE.replace("key = \"attendance\"", "key = \"attendance/17\""), "key"),
            (PHONE.replace("form = \"phone\"", "form = \"custom\""), "replacement"),
        ] {
            let said = file(&text).unwrap_err();
            assert!(said.contains(part), "{text}: {said}");
        }
        assert!(Masks::read("version = 2").unwrap_err().contains("version = 1"));
        assert!(Masks::read("").is_err());
    }
}
