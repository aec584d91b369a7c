//! What fits each by itself and not together; names; types that give a value away.

use std::collections::HashSet;

use syn::{Error, GenericArgument, LitStr, PathArguments, Result, Type};

use crate::model::{Field, Previous, Protected, Table};

/// Types with so few values that equality is as good as the value.
const LOW_ENTROPY: &[&str] = &["bool", "u8", "i8"];
/// Types whose JSON is not what other languages write for a time.
const OTHER_TIMES: &[&str] = &["DateTime", "NaiveDateTime", "Timestamp", "SystemTime"];

/// Those of `kms_core::mask`.
const FORMS: &[&str] = &["phone", "name", "email", "identity", "last4", "coarse-location", "custom"];

pub(crate) fn check(table: &Table) -> Result<()> {
    if table.protected().next().is_none() {
        let words = "no field is protected: add `#[protect(encrypt)]` to those that shall be";
        return Err(Error::new(table.ident.span(), words));
    }
    named(table, &table.tenant, "tenant")?;
    for field in &table.bind {
        named(table, field, "bind")?;
    }
    if let Some(per) = &table.per {
        named(table, per, "per")?;
    }
    long_name(&table.table)?;
    table.name.as_ref().map_or(Ok(()), long_name)?;
    key_name(&table.key)?;
    let mut columns = HashSet::new();
    for field in &table.fields {
        let index = field.protected.as_ref().and_then(|protected| protected.index.as_ref());
        for column in std::iter::once(&field.column).chain(index.map(|index| &index.column)) {
            if !columns.insert(column) {
                let words = format!("two columns are called `{column}`; name one with `column = \"..\"`");
                return Err(Error::new(field.ident.span(), words));
            }
        }
    }
    for (field, protected) in table.protected() {
        let class = protected.class.as_ref().or(table.class.as_ref());
        if let Some(class) = class.filter(|class| !["L1", "L2", "L3", "L4"].contains(&class.value().as_str()))
        {
            return Err(Error::new(class.span(), "classes are L1, L2, L3 and L4"));
        }
        if let Some(class) = class.filter(|class| protected.deterministic && class.value() == "L4") {
            let words = format!(
                "`{}` is deterministic, which takes data keys, and keys of class L4 release none: `encrypt` it, or name another class",
                field.ident
            );
            return Err(Error::new(class.span(), words));
        }
        of_field(field, protected)?;
        of_index(field, protected)?;
        for previous in protected.previous.iter().filter(|previous| previous.shared) {
            shared(table, field, previous)?;
        }
    }
    Ok(())
}

/// With the key of a column would change the key of its index, which is named after it, and searches would miss what is there.
fn of_index(field: &Field, protected: &Protected) -> Result<()> {
    let unnamed = protected.index.as_ref().is_some_and(|index| index.key.is_none());
    match protected.previous.iter().find_map(|previous| previous.key.as_ref()).filter(|_| unnamed) {
        None => Ok(()),
        Some(older) => Err(Error::new(
            field.ident.span(),
            format!(
                "the index key is named after the key, so under another one searches would miss every row that is there: name the one \
                 that indexed them, as `index(.., key = \"{}.index\")`",
                older.value()
            ),
        )),
    }
}

/// A key that was everybody's leads to keys that are each subject's.
fn shared(table: &Table, field: &Field, previous: &Previous) -> Result<()> {
    let wrong = |words: &str| Err(Error::new(field.ident.span(), words));
    if table.per.is_none() {
        return wrong(
            "`shared` is for tables whose rows have a key for each subject now: add `per = \"..\"` to the struct, or leave it out",
        );
    }
    let now = field.protected.as_ref().and_then(|protected| protected.key.as_ref()).unwrap_or(&table.key);
    match &previous.key {
        Some(key) if key.value() != now.value() => Ok(()),
        _ => wrong(
            "a family seals nothing itself, so the key that was everybody's is another one: write `previous(key = \"..\", shared)`",
        ),
    }
}

/// The field must be there, readable before anything is opened, and never NULL.
fn named(table: &Table, name: &LitStr, role: &str) -> Result<()> {
    let wrong = |words: String| Err(Error::new(name.span(), words));
    match table.field(name) {
        None => wrong(format!("`{role}` names `{}`, and the struct has no such field", name.value())),
        Some(field) if field.protected.is_some() => wrong(format!(
            "`{role}` names `{}`, which is sealed: it has to be read before anything can be opened; name a field in the clear",
            name.value()
        )),
        Some(field) if field.optional => {
            wrong(format!("`{role}` names `{}`, which may be NULL: name one that never is", name.value()))
        }
        Some(_) => Ok(()),
    }
}

fn of_field(field: &Field, protected: &Protected) -> Result<()> {
    let wrong = |words: String| Err(Error::new(field.ident.span(), words));
    let kind = field.type_name();
    if protected.deterministic && protected.index.is_some() {
        return wrong(
            "a deterministic column is searched by itself; leave out `index`, or `encrypt` it".into(),
        );
    }
    if LOW_ENTROPY.contains(&kind.as_str()) && !protected.accepts_low_entropy {
        if protected.deterministic {
            return wrong(format!(
                "a `{kind}` has so few values that `deterministic` shows which is which by how often each occurs; `encrypt` it, or write \
                 `low_entropy = \"accepted\"`"
            ));
        }
        if protected.index.is_some() {
            return wrong(format!(
                "a `{kind}` has so few values that an index shows which is which by how often each occurs; leave it out, or write \
                 `low_entropy = \"accepted\"`"
            ));
        }
    }
    if OTHER_TIMES.contains(&kind.as_str()) && !protected.json && !has_its_offset(&field.inner) {
        return wrong(format!(
            "a `{kind}` would be sealed as JSON, which clients in other languages do not read as a time; make it a `time::OffsetDateTime` \
             or, with the feature `chrono`, a `chrono::DateTime<Utc>`; or write `json` if that is meant"
        ));
    }
    let normalized = protected.index.as_ref().filter(|index| index.normalize != "none");
    if let Some(index) = normalized.filter(|_| kind != "String" && kind != "str") {
        return wrong(format!(
            "`normalize = \"{}\"` is for text; leave it out for a `{kind}`",
            index.normalize
        ));
    }
    for name in [&protected.name, &protected.index.as_ref().and_then(|index| index.name.clone())]
        .into_iter()
        .flatten()
    {
        long_name(name)?;
    }
    protected.key.as_ref().map_or(Ok(()), key_name)?;
    if let Some(key) = protected.index.as_ref().and_then(|index| index.key.as_ref()) {
        key_name(key)?;
        if !key.value().ends_with(".index") {
            return Err(Error::new(key.span(), "index keys are named `*.index`"));
        }
    }
    for previous in &protected.previous {
        [&previous.table, &previous.column].into_iter().flatten().try_for_each(long_name)?;
        previous.key.as_ref().map_or(Ok(()), key_name)?;
    }
    if let Some(mask) = protected.mask.as_ref().filter(|mask| !FORMS.contains(&mask.value().as_str())) {
        return Err(Error::new(
            mask.span(),
            format!("no mask has that form; there are {}", FORMS.join(", ")),
        ));
    }
    match protected.until.as_ref().filter(|until| !is_date(&until.value())) {
        Some(until) => Err(Error::new(until.span(), "write a day that there is, as \"2027-01-31\"")),
        None => Ok(()),
    }
}

/// Whether it is a `chrono::DateTime` that this release writes as a time.
fn has_its_offset(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    let Some(last) = path.path.segments.last().filter(|last| last.ident == "DateTime") else { return false };
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return false };
    let zone = |argument: &GenericArgument| match argument {
        GenericArgument::Type(Type::Path(zone)) => {
            zone.path.segments.last().is_some_and(|zone| zone.ident == "Utc" || zone.ident == "FixedOffset")
        }
        _ => false,
    };
    cfg!(feature = "chrono") && arguments.args.iter().all(zone)
}

/// The rules of `kms_core::names`.
fn key_name(name: &LitStr) -> Result<()> {
    let value = name.value();
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let rest = |c: u8| plain(c) || matches!(c, b'.' | b'_' | b'-');
    match value.as_bytes() {
        [first, others @ ..] if plain(*first) && others.len() < 63 && others.iter().all(|c| rest(*c)) => {
            Ok(())
        }
        _ => Err(Error::new(
            name.span(),
            "a key's name has 1 to 63 of a-z and 0-9, after the first also `.`, `_` and `-`; for a key of each subject write `per`",
        )),
    }
}

fn long_name(name: &LitStr) -> Result<()> {
    match name.value().len() {
        1..=128 => Ok(()),
        _ => Err(Error::new(name.span(), "a name has 1 to 128 bytes")),
    }
}

fn is_date(text: &str) -> bool {
    let part = |range, len| {
        let part: &str = text.get(range).filter(|part: &&str| part.len() == len)?;
        part.bytes().all(|c| c.is_ascii_digit()).then(|| part.parse::<u32>().ok()).flatten()
    };
    let (Some(year), Some(month), Some(day)) = (part(0..4, 4), part(5..7, 2), part(8..10, 2)) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-' && (1..=days).contains(&day)
}
