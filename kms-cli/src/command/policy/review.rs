//! `kms policy schema`: what a program says of its columns, in the words of a review.

use std::path::PathBuf;

use kms_client::protect::{ColumnSchema, Mode, Schema, Storage};
use serde_json::json;

use super::schema::{self, Written};
use crate::{failure::Failure, print, session::Session};

/// Prints schemas; asks no server.
///
/// # Errors
/// Where a file is no schema.
pub fn review(files: &[PathBuf], session: &Session) -> Result<(), Failure> {
    let mut tables: Vec<Schema> = Vec::new();
    for file in files {
        let read: Written<Schema> = schema::read_one(file, || {
            "does not describe a table wholly; print `STRUCT::SCHEMA` as JSON with the release that the program is built with".into()
        })?;
        tables.extend(read.into_tables());
    }
    session.answer(|| json!({ "tables": tables }), || in_words(&tables))
}

fn in_words(tables: &[Schema]) -> String {
    tables.iter().map(table).collect::<Vec<_>>().join("\n\n")
}

fn table(table: &Schema) -> String {
    let renamed = match table.stored_as == table.table {
        true => String::new(),
        false => format!(" (in the database `{}`)", table.stored_as),
    };
    let subject =
        table.per.as_ref().map_or(String::new(), |per| format!(", each `{per}` with a key of its own"));
    let head = format!(
        "table `{}`{renamed}: tenant from `{}`, rows told apart by {}{subject}",
        table.table,
        table.tenant,
        table.bind.iter().map(|column| format!("`{column}`")).collect::<Vec<_>>().join(", "),
    );
    let rows: Vec<_> = table.columns.iter().map(|column| row(table, column)).collect();
    let columns = print::table(&["column", "key", "class", "sealed", "index", "mask", "gives away"], &rows);
    format!("{}\n{columns}", print::harmless(&head))
}

fn row(table: &Schema, column: &ColumnSchema) -> Vec<String> {
    let name = match column.name == column.column {
        true => column.name.to_string(),
        false => format!("{} (in the database {})", column.name, column.column),
    };
    let index = column.index.as_ref().map_or(String::from("-"), |index| {
        format!("{}, {} bits, {}, key {}", index.column, index.bits, index.normalize, index.key)
    });
    let or_none = |said: &Option<std::borrow::Cow<'_, str>>| said.as_deref().unwrap_or("-").to_owned();
    vec![
        name,
        column.key.as_ref().unwrap_or(&table.key).to_string(),
        or_none(&column.class),
        sealed(column),
        index,
        or_none(&column.mask),
        gives_away(table, column),
    ]
}

fn sealed(column: &ColumnSchema) -> String {
    let mode = match column.mode {
        Mode::Encrypt => "encrypt",
        Mode::Deterministic => "deterministic",
    };
    let storage = if column.storage == Storage::Text { ", text" } else { "" };
    let most = column.max_len.map_or(String::new(), |most| format!(", at most {most}"));
    format!("{mode}{storage}{most}")
}

/// To who reads the database and has no key.
fn gives_away(table: &Schema, column: &ColumnSchema) -> String {
    let mut given = vec!["length".to_owned()];
    if column.nullable {
        given.push("whether there is a value".into());
    }
    if column.mode == Mode::Deterministic {
        given.push(match table.per {
            Some(_) => "which values of one subject are equal".into(),
            None => "which values are equal".into(),
        });
    }
    if let Some(index) = &column.index {
        given.push(match index.bits {
            ..=32 => "which values may be equal".into(),
            _ => "which values are equal".into(),
        });
    }
    if let Some(until) = &column.allow_plaintext_until {
        given.push(format!("what is not sealed yet, until {until}"));
    }
    given.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_sees_keys_modes_and_what_is_given_away() {
        let schema = r#"{"table": "staff", "stored_as": "people", "key": "attendance", "tenant": "company", "bind": ["id"],
            "per": "person", "columns": [
            {"name": "phone", "column": "mobile", "mode": "encrypt", "storage": "text", "nullable": true, "mask": "phone",
             "max_len": 255, "allow_plaintext_until": "2027-01-31", "class": "L3",
             "index": {"column": "phone_index", "name": "eq", "key": "attendance.index", "bits": 20, "normalize": "phone"}},
            {"name": "badge", "column": "badge", "mode": "deterministic", "storage": "bytes", "nullable": false, "key": "gate"}]}"#;
        let said = in_words(&[serde_json::from_str(schema).unwrap()]);
        for part in [
            "table `staff` (in the database `people`): tenant from `company`, rows told apart by `id`, each `person` with a key of its own",
            "phone (in the database mobile)  attendance  L3",
            "encrypt, text, at most 255",
            "phone_index, 20 bits, phone, key attendance.index",
            "length; whether there is a value; which values may be equal; what is not sealed yet, until 2027-01-31",
            "length; which values of one subject are equal",
        ] {
            assert!(said.contains(part), "{part}\n{said}");
        }
        assert!(said.lines().last().unwrap().contains("gate"), "{said}");
    }
}
