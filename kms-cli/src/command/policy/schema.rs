//! What a program says of its columns, compared with the masks that are declared for them.

use std::{collections::BTreeSet, path::PathBuf};

use kms_client::MaskForm;
use serde::Deserialize;

use crate::failure::Failure;

/// A table as the derive describes it; what else it says is nothing to masks.
#[derive(Debug, Deserialize)]
pub(super) struct Table {
    table: String,
    key: String,
    columns: Vec<Column>,
}

#[derive(Debug, Deserialize)]
struct Column {
    name: String,
    #[serde(default)]
    mask: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Many(Vec<Table>),
    One(Table),
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
        let refuse = |what: String| Failure::usage(format!("schema `{}` {what}", file.display()));
        let text = std::fs::read(file).map_err(|error| refuse(format!("cannot be read: {error}")))?;
        let written = serde_json::from_slice(&text).map_err(|_| {
            // What serde says of an untagged value helps nobody.
            let shape = r#"{"table": "…", "key": "…", "columns": [{"name": "…", "mask": "phone"}]}"#;
            refuse(format!("is not what the derive prints: {shape}, or a list of such"))
        })?;
        match written {
            Written::Many(many) => tables.extend(many),
            Written::One(one) => tables.push(one),
        }
    }
    Ok(tables)
}

/// Every difference, a sentence each, in the order of the schema; of the declared masks only those of the schema's tables.
pub(super) fn compare(tables: &[Table], declared: &[Declared]) -> Vec<String> {
    let mut differences = Vec::new();
    for table in tables {
        differences.extend(table.columns.iter().filter_map(|column| difference(table, column, declared)));
    }
    let known: BTreeSet<_> = tables.iter().flat_map(Table::places).collect();
    let of_schema: BTreeSet<_> = tables.iter().map(|table| (table.family(), &*table.table)).collect();
    for mask in declared.iter().filter(|mask| of_schema.contains(&(&*mask.key, &*mask.table))) {
        if !known.contains(&(&*mask.key, &*mask.table, &*mask.column)) {
            let Declared { key, table, column, form } = mask;
            differences.push(format!(
                "a mask `{form}` is declared for column `{column}` of table `{table}` under key `{key}`, which the schema does \
                 not have: a slip of the pen, or the column has another name now"
            ));
        }
    }
    differences
}

fn difference(of: &Table, column: &Column, declared: &[Declared]) -> Option<String> {
    let (family, table, name) = (of.family(), &of.table, &column.name);
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
        (Some(says), None) => Some(match declared.iter().find(named) {
            Some(other) => format!(
                "{what} says mask `{says}`, and it is declared under key `{}` alone: nothing is revealed",
                other.key
            ),
            None => format!("{what} says mask `{says}`, and none is declared: nothing is revealed"),
        }),
    }
}

fn forms() -> String {
    let forms: Vec<_> = MaskForm::ALL.iter().map(|form| format!("`{form}`")).collect();
    forms.join(", ")
}

impl Table {
    /// Masks are declared for the family, whichever subject seals a row.
    fn family(&self) -> &str {
        self.key.split('/').next().unwrap_or_default()
    }

    fn places(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.columns.iter().map(|column| (self.family(), &*self.table, &*column.name))
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
