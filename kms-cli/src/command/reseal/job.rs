//! What a run is to do, from options or from a schema.

use std::path::Path;

use kms_client::{
    Column, IndexedColumn, KeyName, Kms, Normalizer,
    protect::Schema,
    reseal::{Database, IndexColumn, Reseal, Table},
};

use crate::{args, failure::Failure};

/// What options or a schema say, before anybody is asked.
pub(super) enum Described {
    Schema(Schema),
    Options { key: KeyName, table: Table, columns: Vec<(String, Column)>, indexes: Vec<IndexColumn> },
}

/// Reads it.
///
/// # Errors
/// Where it says what cannot be.
pub(super) fn described(what: &args::Reseal) -> Result<Described, Failure> {
    if let Some(file) = &what.schema {
        return Ok(Described::Schema(schema(file)?));
    }
    // The command line has made sure of these.
    let (Some(key), Some(name), Some(id)) = (&what.key, &what.table, &what.id) else {
        return Err(Failure::usage("give --key, --table and --id, or --schema"));
    };
    let mut table = Table::new(what.sql_table.as_deref().unwrap_or(name.as_str()), id);
    table = table.bound_to(what.bind.iter().cloned());
    if let Some(column) = &what.tenant_column {
        table = table.of_tenant(column, &what.tenant);
    }
    if let Some(column) = &what.per {
        table = table.per_subject(column);
    }
    let column = |word: &String| {
        let (column, named) = match word.strip_suffix(":deterministic") {
            Some(column) => (column, Column::deterministic(name.as_str(), column)),
            None => (word.as_str(), Column::randomized(name.as_str(), word)),
        };
        Ok((column.to_owned(), named.map_err(Failure::usage)?))
    };
    let columns = what.columns.iter().map(column).collect::<Result<_, Failure>>()?;
    let indexes =
        what.indexes.iter().map(|word| index(word, name.as_str(), key)).collect::<Result<_, _>>()?;
    Ok(Described::Options { key: key.clone(), table, columns, indexes })
}

/// The run.
///
/// # Errors
/// Where a schema has a bad name, or does not say which column to walk by.
pub(super) fn job(
    described: Described,
    what: &args::Reseal,
    kms: &Kms,
    database: Database,
) -> Result<Reseal, Failure> {
    Ok(match described {
        Described::Schema(schema) => {
            let table = what.sql_table.as_deref().unwrap_or(&schema.stored_as);
            match &what.id {
                Some(id) => Reseal::described_by(kms, &what.tenant, &schema, (table, id), database)?,
                None => Reseal::described_as(kms, &what.tenant, &schema, table, database)?,
            }
        }
        Described::Options { key, table, columns, indexes } => {
            let run = Reseal::new(kms.records(&what.tenant, &key), database, table);
            let run = columns.into_iter().fold(run, |run, (name, column)| run.column(&name, column));
            indexes.into_iter().fold(run, Reseal::index)
        }
    })
}

fn schema(file: &Path) -> Result<Schema, Failure> {
    let refuse = |what: String| Failure::usage(format!("schema `{}` {what}", file.display()));
    let text = std::fs::read(file).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    serde_json::from_slice(&text)
        .map_err(|error| refuse(format!("is not what the derive describes one table by: {error}")))
}

/// Reads `phone=phone_index,bits=20,normalize=phone`.
fn index(word: &str, table: &str, key: &KeyName) -> Result<IndexColumn, Failure> {
    let wrong = |what: String| Failure::usage(format!("`--index {word}`: {what}"));
    let mut parts = word.split(',').map(|part| part.split_once('='));
    let Some(Some((of, stored_as))) = parts.next() else {
        return Err(wrong("write COLUMN=INDEX_COLUMN,bits=N, such as `phone=phone_index,bits=20`".into()));
    };
    let (mut bits, mut normalize, mut own_key, mut name) = (None, "none", None, "eq");
    for part in parts {
        match part {
            Some(("bits", said)) => {
                bits = Some(said.parse::<u16>().map_err(|_| wrong("`bits` is a number".into()))?)
            }
            Some(("normalize", said)) => normalize = said,
            Some(("key", said)) => own_key = Some(said.to_owned()),
            Some(("name", said)) => name = said,
            _ => {
                return Err(wrong("after the columns it takes `bits`, `normalize`, `key` and `name`".into()));
            }
        }
    }
    let bits = bits.ok_or_else(|| wrong("say how many bits the index keeps, such as `bits=20`".into()))?;
    let own_key = own_key.unwrap_or_else(|| format!("{}.index", key.family()));
    Ok(IndexColumn {
        stored_as: stored_as.into(),
        of: of.into(),
        key: own_key.parse().map_err(|error| wrong(format!("{error}")))?,
        index: IndexedColumn::new(table, of, name, bits).map_err(|error| wrong(error.to_string()))?,
        normalizer: normalize.parse::<Normalizer>().map_err(|error| wrong(error.to_string()))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_says_what_it_is_of_and_how_it_is_made() {
        let key = "attendance".parse().unwrap();
        let read = |word: &str| index(word, "checkins", &key);
        let short = read("phone=phone_index,bits=20").unwrap();
        assert_eq!((&*short.of, &*short.stored_as), ("phone", "phone_index"));
        assert_eq!(short.key.to_string(), "attendance.index");
        assert_eq!(short.index, IndexedColumn::new("checkins", "phone", "eq", 20).unwrap());
        assert_eq!(short.normalizer, Normalizer::None);
        let long = read("mail=m,normalize=email,key=hr.index,name=exact,bits=256").unwrap();
        assert_eq!((long.key.to_string(), long.normalizer), ("hr.index".to_owned(), Normalizer::Email));
        assert_eq!(long.index, IndexedColumn::new("checkins", "mail", "exact", 256).unwrap());
        for bad in [
            "phone",
            "phone=i",
            "phone=i,bits=0",
            "phone=i,bits=x",
            "phone=i,bits=20,more=1",
            "phone=i,bits=2,normalize=x",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
