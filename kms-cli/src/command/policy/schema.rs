//! What a program says of its columns, compared with the masks that are declared for them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use kms_client::MaskForm;
use serde::{Deserialize, de::DeserializeOwned};

use crate::failure::Failure;

/// A table as the derive describes it; what else it says is nothing to masks.
#[derive(Debug, Deserialize)]
pub(super) struct Table {
    /// In key derivation, which masks mean.
    table: String,
    /// In the database.
    #[serde(default)]
    stored_as: Option<String>,
    key: String,
    columns: Vec<Column>,
}

#[derive(Debug, Deserialize)]
struct Column {
    name: String,
    /// In the database.
    #[serde(default)]
    column: Option<String>,
    /// Where that is not the table's.
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    mask: Option<String>,
}

/// One table, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Written<T> {
    Many(Vec<T>),
    One(T),
}

impl<T> Written<T> {
    pub(super) fn into_tables(self) -> Vec<T> {
        match self {
            Self::Many(many) => many,
            Self::One(one) => vec![one],
        }
    }
}

/// A declared mask, from a file or from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) key: String,
    pub(super) table: String,
    pub(super) column: String,
    pub(super) form: String,
}

/// Reads schemas, each one table or a list of them.
///
/// # Errors
/// Where a file cannot be read, or is no schema.
pub(super) fn read(files: &[PathBuf]) -> Result<Vec<Table>, Failure> {
    let mut tables = Vec::new();
    for file in files {
        let shape = r#"{"table": "…", "key": "…", "columns": [{"name": "…", "mask": "phone"}]}"#;
        let written: Written<Table> =
            read_one(file, || format!("is not what the derive prints: {shape}, or a list of such"))?;
        tables.extend(written.into_tables());
    }
    Ok(tables)
}

/// Reads a file of tables; `otherwise` says what it should be, for what serde says of an untagged value helps nobody.
pub(super) fn read_one<T: DeserializeOwned>(
    file: &Path,
    otherwise: impl FnOnce() -> String,
) -> Result<Written<T>, Failure> {
    let refuse = |what: String| Failure::usage(format!("schema `{}` {what}", file.display()));
    let text = std::fs::read(file).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    serde_json::from_slice(&text).map_err(|_| refuse(otherwise()))
}

/// Every difference, a sentence each, in the order of the schema; of the declared masks only those of the schema's tables.
pub(super) fn compare(tables: &[Table], declared: &[Declared]) -> Vec<String> {
    let mut differences = Vec::new();
    for table in tables {
        differences.extend(table.columns.iter().filter_map(|column| difference(table, column, declared)));
    }
    let known: BTreeSet<_> = tables.iter().flat_map(Table::places).collect();
    let of_schema: BTreeSet<_> = known.iter().map(|(key, table, _)| (*key, *table)).collect();
    let renamed: BTreeSet<_> = tables.iter().flat_map(Table::names_in_the_database).collect();
    for mask in declared {
        let Declared { key, table, column, form } = mask;
        let place = (&**key, &**table, &**column);
        // What its own column's sentence speaks of already.
        let spoken_of = renamed.contains(&place) || tables.iter().any(|of| of.speaks_of(mask));
        if of_schema.contains(&(&**key, &**table)) && !known.contains(&place) && !spoken_of {
            differences.push(format!(
                "a mask `{form}` is declared for column `{column}` of table `{table}` under key `{key}`, which the schema does \
                 not have: a slip of the pen, or the column has another name now"
            ));
        }
    }
    differences
}

fn difference(of: &Table, column: &Column, declared: &[Declared]) -> Option<String> {
    let (family, table, name) = (column.family(of), &of.table, &column.name);
    let what = format!("column `{name}` of table `{table}` under key `{family}`");
    let named = |mask: &&Declared| mask.table == *table && mask.column == *name;
    let found = declared.iter().filter(named).find(|mask| mask.key == family);
    match (&column.mask, found) {
        (None, None) => None,
        (Some(says), _) if says.parse::<MaskForm>().is_err() => {
            Some(format!("{what} says mask `{says}`, which is no form; known are {}", forms()))
        }
        (Some(says), Some(mask)) if *says == mask.form => None,
        (Some(says), Some(mask)) => {
            Some(format!("{what} says mask `{says}`, and declared is `{}`: that is what is shown", mask.form))
        }
        (None, Some(mask)) => {
            Some(format!("{what} says no mask, and `{}` is declared: it is revealed", mask.form))
        }
        (Some(says), None) => {
            Some(match (declared.iter().find(named), in_the_database(of, column, declared)) {
                (Some(other), _) if column.key.is_some() && other.key == family_of(&of.key) => format!(
                    "{what} says mask `{says}`, and it is declared under key `{}`, which is the table's: the column has a key of its \
                 own, so declare it under that; nothing is revealed",
                    other.key
                ),
                (Some(other), _) => format!(
                    "{what} says mask `{says}`, and it is declared under key `{}` alone: nothing is revealed",
                    other.key
                ),
                (None, Some(mask)) => format!(
                    "{what} says mask `{says}`, and it is declared for column `{}` of table `{}`, which is what the database calls it: \
                 masks go by the names that values are bound to, `{table}` and `{name}`; nothing is revealed",
                    mask.column, mask.table
                ),
                (None, None) => {
                    format!("{what} says mask `{says}`, and none is declared: nothing is revealed")
                }
            })
        }
    }
}

/// A mask that was declared by the names that a renamed table or column has in the database.
fn in_the_database<'a>(of: &Table, column: &Column, declared: &'a [Declared]) -> Option<&'a Declared> {
    let (family, tables, columns) = (column.family(of), of.names(), column.names());
    let means = |mask: &&Declared| {
        mask.key == family && tables.contains(&&*mask.table) && columns.contains(&&*mask.column)
    };
    declared.iter().find(means)
}

/// Masks are declared for the family, whichever subject seals a row.
fn family_of(key: &str) -> &str {
    key.split('/').next().unwrap_or_default()
}

fn forms() -> String {
    let forms: Vec<_> = MaskForm::ALL.iter().map(|form| format!("`{form}`")).collect();
    forms.join(", ")
}

impl Table {
    /// What it is called: in key derivation, and in the database.
    fn names(&self) -> Vec<&str> {
        std::iter::once(&self.table).chain(&self.stored_as).map(String::as_str).collect()
    }

    fn places(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.columns.iter().map(|column| (column.family(self), &*self.table, &*column.name))
    }

    fn names_in_the_database(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        let masked = self.columns.iter().filter(|column| column.mask.is_some());
        masked.filter_map(|column| Some((column.family(self), &*self.table, column.column.as_deref()?)))
    }

    /// Whether a mask is of a column that has a key of its own, and was declared under another.
    fn speaks_of(&self, mask: &Declared) -> bool {
        let is = |column: &&Column| column.name == mask.column && column.mask.is_some();
        mask.table == self.table
            && self.columns.iter().find(is).is_some_and(|column| column.family(self) != mask.key)
    }
}

impl Column {
    fn family<'a>(&'a self, table: &'a Table) -> &'a str {
        family_of(self.key.as_ref().unwrap_or(&table.key))
    }

    /// What it is called: in key derivation, and in the database.
    fn names(&self) -> Vec<&str> {
        std::iter::once(&self.name).chain(&self.column).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"[
        {"table": "checkins", "key": "attendance", "columns": [
            {"name": "phone", "mode": "randomized", "index": {"bits": 20}, "mask": "phone"},
            {"name": "employee", "mode": "deterministic", "index": null, "mask": null},
            {"name": "email", "mode": "direct", "mask": "email"},
            {"name": "location", "mode": "randomized"}]}]"#;

    fn tables(text: &str) -> Vec<Table> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(&[file.path().to_owned()]).unwrap()
    }

    fn mask(key: &str, column: &str, form: &str) -> Declared {
        Declared { key: key.into(), table: "checkins".into(), column: column.into(), form: form.into() }
    }

    #[test]
    fn what_agrees_is_not_spoken_of() {
        let of_others = Declared { table: "payslips".into(), ..mask("attendance", "amount", "custom") };
        let declared =
            [mask("attendance", "phone", "phone"), mask("attendance", "email", "email"), of_others];
        assert_eq!(compare(&tables(SCHEMA), &declared), [""; 0]);
        let of_subjects = SCHEMA.replace("\"attendance\"", "\"attendance/employee-17\"");
        assert_eq!(compare(&tables(&of_subjects), &declared), [""; 0]);
        let alone = SCHEMA.trim().trim_start_matches('[').trim_end_matches(']');
        assert_eq!(compare(&tables(alone), &declared), [""; 0]);
    }

    #[test]
    fn each_difference_is_a_sentence() {
        let schema = SCHEMA.replace("\"mask\": null", "\"mask\": \"nmae\"");
        let declared = [
            mask("attendance", "phone", "last4"),
            mask("payroll", "email", "email"),
            mask("attendance", "location", "coarse-location"),
            mask("attendance", "mobile", "phone"),
        ];
        let said = compare(&tables(&schema), &declared);
        let parts = [
            "`phone` of table `checkins` under key `attendance` says mask `phone`, and declared is `last4`",
            "says mask `nmae`, which is no form; known are `phone`, `name`",
            "says mask `email`, and it is declared under key `payroll` alone",
            "`location` of table `checkins` under key `attendance` says no mask, and `coarse-location` is declared",
            "for column `mobile` of table `checkins` under key `attendance`, which the schema does not have",
        ];
        assert_eq!(said.len(), parts.len(), "{said:#?}");
        for (sentence, part) in said.iter().zip(parts) {
            assert!(sentence.contains(part), "{sentence}");
        }
        assert!(compare(&tables(SCHEMA), &[])[0].ends_with("and none is declared: nothing is revealed"));
    }

    #[test]
    fn a_column_with_a_key_of_its_own_is_looked_for_under_that_key() {
        let schema = r#"{"table": "checkins", "key": "attendance", "columns": [
            {"name": "phone", "mask": "phone"}, {"name": "salary", "key": "payroll", "mask": "last4"}]}"#;
        let phone = mask("attendance", "phone", "phone");
        assert_eq!(compare(&tables(schema), &[phone.clone(), mask("payroll", "salary", "last4")]), [""; 0]);
        let said = compare(&tables(schema), &[phone.clone(), mask("attendance", "salary", "last4")]);
        assert_eq!(said.len(), 1, "{said:#?}");
        assert!(said[0].contains("under key `payroll`") && said[0].contains("key of its own"), "{said:?}");
        let said = compare(&tables(schema), &[phone, mask("payroll", "salry", "last4")]);
        assert_eq!(said.len(), 2, "{said:#?}");
        assert!(said[1].contains("`salry`") && said[1].contains("under key `payroll`"), "{said:?}");
    }

    #[test]
    fn a_mask_by_the_name_of_the_database_is_told_what_the_name_is() {
        let schema = r#"{"table": "staff", "stored_as": "people", "key": "attendance", "columns": [
            {"name": "employee", "column": "full_name", "mask": "name"}]}"#;
        let named =
            |table: &str, column| Declared { table: table.into(), ..mask("attendance", column, "name") };
        assert_eq!(compare(&tables(schema), &[named("staff", "employee")]), [""; 0]);
        for wrong in [named("people", "full_name"), named("staff", "full_name"), named("people", "employee")]
        {
            let said = compare(&tables(schema), std::slice::from_ref(&wrong));
            assert_eq!(said.len(), 1, "{wrong:?}: {said:#?}");
            assert!(
                said[0].contains("the database calls it") && said[0].contains("`staff` and `employee`"),
                "{said:?}"
            );
        }
    }

    #[test]
    fn what_is_no_schema_is_refused_with_the_shape_it_should_have() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for text in ["", "{}", "[1]", r#"{"table": "checkins", "columns": []}"#] {
            std::fs::write(file.path(), text).unwrap();
            let refused = read(&[file.path().to_owned()]).unwrap_err();
            assert!(refused.to_string().contains("\"columns\""), "{refused}");
        }
        assert!(read(&["/nowhere/schema.json".into()]).is_err());
    }
}
